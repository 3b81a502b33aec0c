"""Columns in blocks, in single precision, for several weightings of the same rows: what sweeps of coordinate descent read."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

__all__ = ["ColumnBlocks"]


class ColumnBlocks(eqx.Module):
    """The columns of F least-squares problems ``½ Σ_i ω_fi (y_fi − (X − m_f)_i b_f)²``, in J blocks of B.

    Residuals sum to zero in every weighting, so that no mean need be taken from a correlation.

    Attributes
    ----------
    columns : (J, B, n)
        Zero where a last block is filled up.
    sample_weight : (F, n)
        ω.
    mean : (J, F, B)
        m; zero, if nothing is centred.
    grams : (J, F, B, B)
        ``(X_B − m)ᵀ ω (X_B − m)``.
    order : (J B,)
        Which column lies where.
    """

    columns: Array
    sample_weight: Array
    mean: Array
    grams: Array
    order: Array

    @classmethod
    def of(cls, columns: Array, sample_weight: Array, mean: Array, size: int) -> ColumnBlocks:
        """From all columns, (p, n), and their means, (F, p)."""
        (p, n_samples), n_blocks = columns.shape, -(-len(columns) // size)
        extra = n_blocks * size - p
        blocks = jnp.pad(columns, ((0, extra), (0, 0))).reshape(n_blocks, size, n_samples)
        means = _blocked(jnp.pad(mean, ((0, 0), (0, extra))), n_blocks)
        order = jnp.arange(n_blocks * size, dtype=jnp.int32)
        return cls(blocks, sample_weight, means, _grams(blocks, sample_weight, means), order)

    def correlations(self, residual: Array, block: Array) -> Array:
        """``(X_B − m)ᵀ ω r``, (F, B)."""
        return _product("fn,bn->fb", self.sample_weight * residual, self.columns[block])

    def moved(self, residual: Array, block: Array, step: Array) -> Array:
        """The residuals, (F, n), after ``b_B += step``, (F, B)."""
        back = (step * self.mean[block]).sum(1)
        return residual - (_product("fb,bn->fn", step, self.columns[block]) - back[:, None])

    def spread(self, values: Array) -> Array:
        """(..., p) of columns in their own order as (J, ..., B) of blocks; zero where these are filled up."""
        extra = len(self.order) - values.shape[-1]
        values = jnp.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, extra)])[..., self.order]
        return _blocked(values, len(self.columns))

    def gathered(self, values: Array, p: int) -> Array:
        """The inverse of `spread`, for p columns."""
        flat = jnp.moveaxis(values, 0, -2).reshape(*values.shape[1:-1], -1)
        return flat[..., jnp.argsort(self.order)[:p]]

    def sorted(self, score: Array) -> ColumnBlocks:
        """With columns by decreasing score, (J, B), of equal ones in their order: a copy of X, and all Gram matrices anew."""
        n_blocks, _, n_samples = self.columns.shape
        place = jnp.argsort(-score.ravel(), stable=True)
        columns = self.columns.reshape(-1, n_samples)[place].reshape(self.columns.shape)
        mean = _blocked(jnp.moveaxis(self.mean, 0, 1).reshape(self.mean.shape[1], -1)[:, place], n_blocks)
        grams = _grams(columns, self.sample_weight, mean)
        return ColumnBlocks(columns, self.sample_weight, mean, grams, self.order[place])


def _blocked(values: Array, n_blocks: int) -> Array:
    """(..., J B) as (J, ..., B)."""
    return jnp.moveaxis(values.reshape(*values.shape[:-1], n_blocks, -1), -2, 0)


def _grams(columns: Array, sample_weight: Array, mean: Array) -> Array:
    def of_block(block: tuple[Array, Array]) -> Array:
        x, m = block
        return _product("fbn,cn->fbc", sample_weight[:, None, :] * x[None], x) - m[:, :, None] * m[:, None, :]

    return lax.map(of_block, (columns, mean))


def _product(what: str, a: Array, b: Array) -> Array:
    return jnp.einsum(what, a, b, precision=lax.Precision.HIGHEST)
