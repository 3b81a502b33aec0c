"""Least squares seen through columns: what coordinate and working-set solvers ask of the data.

``f(b) = ½ Σ ω_i (y_i − X_i b)²`` with ω summing to one. `Quadratic` is the protocol; `GramQuadratic` holds the moments
and never touches X again. The realisation over a design's columns lives in access, as every reading of X does.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

__all__ = ["GramQuadratic", "Quadratic"]


class Quadratic(eqx.Module):
    """A least-squares objective, served column-wise. A *point* is what it remembers of a coefficient vector.

    Attributes
    ----------
    correlation : (p,)
        ``Xᵀ ω y``: the negative gradient at zero.
    energy : scalar
        ``Σ ω y²``, twice the objective at zero: the unit of the tolerance.
    squares : (p,)
        ``Σ ω X_j²``, the curvature along each coordinate.
    """

    serves: ClassVar[frozenset[str]] = frozenset({"columns"})
    on_host: ClassVar[bool] = False

    correlation: Array
    energy: Array
    squares: Array

    def start(self, columns: Array, coef: Array) -> Any:
        """The point that is `coef` on `columns` and zero elsewhere."""
        raise NotImplementedError

    def correlations(self, point: Any) -> tuple[Array, Array]:
        """``(Xᵀ ω r, Σ ω r²)`` with r = y − X b: one pass over X."""
        raise NotImplementedError

    def correlations_at(self, point: Any, columns: Array) -> Array:
        """``X_Wᵀ ω r``."""
        raise NotImplementedError

    def move(self, point: Any, columns: Array, step: Array) -> Any:
        """The point after ``b_W += step``."""
        raise NotImplementedError

    def gram(self, columns: Array) -> Array:
        """``X_Wᵀ diag(ω) X_W``, (K, K)."""
        raise NotImplementedError


class GramQuadratic(Quadratic):
    """Least squares from its moments; ``gram_matrix`` is (p, p)."""

    gram_matrix: Array

    def _rows(self, columns: Array) -> Array:
        """Rows of the matrix; all of them, in order, without a copy."""
        return self.gram_matrix if len(columns) == len(self.gram_matrix) else self.gram_matrix[columns]

    def start(self, columns, coef):
        g = self.correlation - _times(coef, self._rows(columns))
        return g, jnp.maximum(self.energy - coef @ (self.correlation[columns] + g[columns]), 0)

    def correlations(self, point):
        return point

    def correlations_at(self, point, columns):
        return point[0][columns]

    def move(self, point, columns, step):
        g, energy = point
        moved = g - _times(step, self._rows(columns))
        return moved, jnp.maximum(energy - step @ (g[columns] + moved[columns]), 0)

    def gram(self, columns):
        return self.gram_matrix if len(columns) == len(self.gram_matrix) else self.gram_matrix[columns][:, columns]


def _times(b: Array, rows: Array) -> Array:
    return jnp.matmul(b, rows, precision=lax.Precision.HIGHEST)
