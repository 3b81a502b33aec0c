"""Systems with a diagonal plus a matrix of low rank, by the Sherman–Morrison–Woodbury formula."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from . import cholesky
from .crossprod import crossprod

__all__ = ["DiagonalPlusGram"]

HIGHEST = lax.Precision.HIGHEST


class DiagonalPlusGram(eqx.Module):
    """``P = diag(d) + Rᵀ R`` for d > 0 (p,) and R (r, p), factored.

    ``P⁻¹ = D⁻¹ − D⁻¹ Rᵀ (I + R D⁻¹ Rᵀ)⁻¹ R D⁻¹`` costs a factor of r × r; where r ≥ p, P itself is factored.
    """

    diagonal: Array
    rows: Array
    lower: Array

    @classmethod
    def of(cls, diagonal: Array, rows: Array) -> DiagonalPlusGram:
        """Factor it."""
        n_rows, n_features = rows.shape
        if n_rows < n_features:
            core = jnp.matmul(rows / diagonal[None], rows.T, precision=HIGHEST) + jnp.eye(n_rows, dtype=rows.dtype)
        else:
            core = crossprod(rows, rows) + jnp.diag(diagonal)
        return cls(diagonal, rows, cholesky.factor(core))

    def solve(self, v: Array) -> Array:
        """``P⁻¹ v`` for v (p,) or (p, k)."""
        if self.rows.shape[0] >= self.rows.shape[1]:
            return cholesky.solve(self.lower, v)
        diagonal = self.diagonal if v.ndim == 1 else self.diagonal[:, None]
        v = v / diagonal
        inner = cholesky.solve(self.lower, jnp.matmul(self.rows, v, precision=HIGHEST))
        if v.ndim == 1:
            return v - jnp.matmul(inner, self.rows, precision=HIGHEST) / diagonal
        return v - jnp.einsum("rp,rk->pk", self.rows, inner, precision=HIGHEST) / diagonal
