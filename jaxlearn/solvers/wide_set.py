"""Feature-sign Newton on more columns than there are rows: products with the rows, and no Gram matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.linalg import cholesky
from jaxlearn.linalg.crossprod import crossprod
from jaxlearn.linalg.woodbury import DiagonalPlusGram

from .feature_sign import SHORTEST_BURST, FeatureSign
from .quadratic import Quadratic

__all__ = ["RowQuadratic", "WideFeatureSign", "is_wide"]

# From so many columns on, and three for every two rows, the rows are read in the place of a Gram matrix: 2048 columns of 800
# rows took 0.05 s for a Newton step, with a Gram matrix 0.15.
LEAST_WIDE = 1024
HIGHEST = lax.Precision.HIGHEST


def is_wide(n_columns: int, n_rows: int) -> bool:
    """Whether so many columns are better served by their rows."""
    return n_columns >= LEAST_WIDE and 2 * n_columns > 3 * n_rows


class RowQuadratic(Quadratic):
    """Least squares around given coefficients, `origin`, where its correlation and energy are.

    Attributes
    ----------
    rows : (n, K)
        ``√ω X``: all columns, in order.
    origin : (K,)
    """

    rows: Array
    origin: Array

    def start(self, columns, coef):
        """The point `coef`, for all columns in order."""
        step = coef - self.origin
        g = self.correlation - _gram_times(self.rows, step)
        return g, jnp.maximum(self.energy - jnp.sum(step * (self.correlation + g)), 0)

    def correlations(self, point):
        return point


class WideFeatureSign(FeatureSign):
    """Feature-sign Newton on K columns of fewer rows.

    *Minimises* ``½ ‖R b − y‖² + Σ l1 |b| + ½ Σ l2 b²`` over b ∈ Rᴷ, or over b ≥ 0, for a `RowQuadratic` with rows R, (n, K).

    *Step* as of `FeatureSign`, with ``Rᵀ (R d)`` in the place of a product with a Gram matrix. The Newton system is solved by
    the formula of Woodbury, ``(R_Aᵀ R_A + l2)⁻¹`` from a factor of ``I + R_A l2⁻¹ R_Aᵀ``; where l2 is too small for its
    digits to survive, from the Gram matrix all the same.

    *Cost per step* a factor of (n, n), 2 n² K + n³ / 3, and n/8, n/4, … 2 n products, 4 n K each.

    Parameters
    ----------
    l1, l2, positive
        As of `FeatureSign`.
    n_rows : int
        Bursts are measured by it.
    """

    n_rows: int = eqx.field(static=True, default=1)

    def _hessian(self, quadratic: Any) -> Array:
        return quadratic.rows

    def _burst(self, share, coef):
        return jnp.int32(max(SHORTEST_BURST, round(share * self.n_rows / 2)))

    def _times(self, hessian, d):
        return _gram_times(hessian, d) + self.l2 * d

    def _rough(self, hessian, energy) -> Callable[[Array], Array]:
        if hessian.dtype == jnp.float32:
            return lambda d: self._times(hessian, d)
        # in units in which neither leaves the range of single precision
        largest = jnp.max(jnp.square(hessian).sum(0) + self.l2)
        unit = jnp.where(largest > 0, largest, 1)
        length = jnp.where(energy > 0, jnp.sqrt(energy / unit), 1)
        rows, l2 = (hessian * lax.rsqrt(unit)).astype(jnp.float32), (self.l2 / unit).astype(jnp.float32)

        def times(d: Array) -> Array:
            short = (d / length).astype(jnp.float32)
            return unit * length * (_gram_times(rows, short) + l2 * short)

        return times

    def _solve(self, hessian, active, b):
        # digits are lost in proportion to the largest eigenvalue over l2
        safe = self.l2.min() > jnp.sqrt(jnp.finfo(b.dtype).eps) * jnp.max(jnp.square(hessian).sum(0))

        def by_rows() -> Array:
            rows = jnp.where(active[None], hessian, 0)
            return DiagonalPlusGram.of(jnp.where(active, self.l2, 1), rows).solve(jnp.where(active, b, 0))

        def by_columns() -> Array:
            gram = crossprod(hessian, hessian)
            return cholesky.packed_solve(gram + jnp.diag(self.l2), active, b)

        return lax.cond(safe, by_rows, by_columns)


def _gram_times(rows: Array, d: Array) -> Array:
    return jnp.matmul(jnp.matmul(rows, d, precision=HIGHEST), rows, precision=HIGHEST)
