"""Least squares seen through columns: what coordinate and working-set solvers ask of the data.

``f(b) = ½ Σ ω_i (y_i − X_i b)²`` with ω summing to one; b is (p,), or (p, k) for k targets, whose sum f is then. `Quadratic`
is the protocol; `GramQuadratic` holds the moments and never touches X again; `GroupedQuadratic` sees groups of features. The
realisation over a design's columns lives in access, as every reading of X does.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

__all__ = ["GramQuadratic", "GroupedQuadratic", "LocalQuadratic", "Quadratic", "spread"]


class Quadratic(eqx.Module):
    """A least-squares objective, served column-wise. A *point* is what it remembers of a coefficient vector.

    Attributes
    ----------
    correlation : (p,) or (p, k)
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

    def restricted(self, columns: Array, at: tuple[Array, Array, Array]) -> Quadratic:
        """The problem in ``b_W`` alone, from b_W, ``X_Wᵀ ω r`` and ``Σ ω r²`` where all other coefficients are zero."""
        gram, (coef, g, energy) = self.gram(columns), at
        return LocalQuadratic(g, energy, jnp.diagonal(gram), gram, coef)

    def working(self, columns: Array, at: tuple[Array, Array, Array]) -> Quadratic:
        """As `restricted`, in the form that `FeatureSign` or `WideFeatureSign` solves soonest."""
        return self.restricted(columns, at)


class GramQuadratic(Quadratic):
    """Least squares from its moments; ``gram_matrix`` is (p, p)."""

    gram_matrix: Array

    def _rows(self, columns: Array) -> Array:
        """Rows of the matrix; all of them, in order, without a copy."""
        return self.gram_matrix if len(columns) == len(self.gram_matrix) else self.gram_matrix[columns]

    def start(self, columns, coef):
        g = self.correlation - _times(coef, self._rows(columns))
        return g, jnp.maximum(self.energy - jnp.sum(coef * (self.correlation[columns] + g[columns])), 0)

    def correlations(self, point):
        return point

    def correlations_at(self, point, columns):
        return point[0][columns]

    def move(self, point, columns, step):
        g, energy = point
        moved = g - _times(step, self._rows(columns))
        return moved, jnp.maximum(energy - jnp.sum(step * (g[columns] + moved[columns])), 0)

    def gram(self, columns):
        return self.gram_matrix if len(columns) == len(self.gram_matrix) else self.gram_matrix[columns][:, columns]


class LocalQuadratic(GramQuadratic):
    """Least squares around given coefficients, `origin`, where its correlation and energy are.

    What is computed is the change since then. Near the origin that has all its digits, where moments at zero would cancel: so
    a gradient read from X, in any precision, is refined and not computed anew.
    """

    origin: Array

    def start(self, columns, coef):
        """The point `coef`, for all columns in order."""
        return self.move((self.correlation, self.energy), columns, coef - self.origin)


class GroupedQuadratic(Quadratic):
    """Least squares whose coefficients are those of groups of features, (J, m), and whose columns are the groups.

    Attributes
    ----------
    inner : Quadratic
        Of the features, for one target.
    index : (J, m) of int32
        Features of each group; their number, p, fills up where a group has less than m.
    """

    inner: Quadratic
    index: Array

    @classmethod
    def of(cls, inner: Quadratic, index: Array) -> GroupedQuadratic:
        """The same objective, by groups."""
        index = jnp.asarray(index)
        squares = spread(inner.squares, index).sum(1)  # a trace bounds the curvature of a group
        return cls(spread(inner.correlation, index), inner.energy, squares, inner, index)

    @property
    def serves(self):  # type: ignore[override]
        return self.inner.serves

    def start(self, columns, coef):
        index, p = self.index[columns].ravel(), len(self.inner.squares)
        if len(index) < p:
            return self.inner.start(jnp.minimum(index, p - 1), coef.ravel())
        everything = jnp.zeros(p, coef.dtype).at[index].set(coef.ravel(), mode="drop")
        return self.inner.start(jnp.arange(p, dtype=jnp.int32), everything)

    def correlations(self, point):
        g, energy = self.inner.correlations(point)
        return spread(g, self.index), energy

    def gram(self, columns):
        index, p = self.index[columns].ravel(), len(self.inner.squares)
        at, there = jnp.minimum(index, p - 1), index < p
        # of as many columns as there are, in whatever order, an inner one would think that they are all in order
        gram = self.inner.gram(at) if len(at) < p else self.inner.gram(jnp.arange(p, dtype=jnp.int32))[at][:, at]
        return jnp.where(there[:, None] & there[None, :], gram, 0)

    def restricted(self, columns, at):
        gram, (coef, g, energy) = self.gram(columns), at
        inner = LocalQuadratic(g.ravel(), energy, jnp.diagonal(gram), gram, coef.ravel())
        largest = inner.squares.reshape(g.shape).max(1)
        return GroupedQuadratic(g, energy, largest, inner, jnp.arange(g.size, dtype=jnp.int32).reshape(g.shape))


def spread(values: Array, index: Array) -> Array:
    """(J, m) of what features (p,) have, zero where `index` is p."""
    return jnp.where(index < len(values), values[jnp.minimum(index, len(values) - 1)], 0)


def _times(b: Array, rows: Array) -> Array:
    """``rowsᵀ b``."""
    if b.ndim == 1:
        return jnp.matmul(b, rows, precision=lax.Precision.HIGHEST)
    return jnp.einsum("jt,jp->pt", b, rows, precision=lax.Precision.HIGHEST)
