"""Single rows of a matrix, dense or sparse, read and added one at a time: what learning sample by sample asks of the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

__all__ = ["PIECE", "DenseRows", "Rows", "SparseRows"]

HIGHEST = lax.Precision.HIGHEST
# Non-zeros of a sparse row that are gathered at a time.
PIECE = 64


class Rows(eqx.Module):
    """Rows x_i of X; `w` is (p, k), `u` (k,)."""

    def dot(self, i: Array, w: Array) -> Array:
        """``x_i w``, (k,)."""
        raise NotImplementedError

    def square(self, i: Array) -> Array:
        """``‖x_i‖²``."""
        raise NotImplementedError

    def add(self, i: Array, w: Array, u: Array) -> Array:
        """``w + x_i uᵀ``."""
        raise NotImplementedError

    def touched(
        self, i: Array, change: Callable[..., tuple[Array, ...]], arrays: tuple[Array, ...]
    ) -> tuple[Array, ...]:
        """`arrays`, (p, k) each, with rows where x_i has entries replaced by what `change` makes of them."""
        raise NotImplementedError


class DenseRows(Rows):
    """Rows of an (n, p) array."""

    X: Array

    def dot(self, i, w):
        return jnp.matmul(self.X[i], w, precision=HIGHEST)

    def square(self, i):
        return jnp.sum(jnp.square(self.X[i]))

    def add(self, i, w, u):
        return w + self.X[i][:, None] * u[None]

    def touched(self, i, change, arrays):
        return change(*arrays)


class SparseRows(Rows):
    """Rows in compressed form; `indices` and `values` are padded by `PIECE` zeros at their end."""

    starts: Array
    indices: Array
    values: Array

    def _pieces(self, i: Array, body: Any, init: Any) -> Any:
        """Fold over the pieces of a row: their columns, their values, and which are there."""
        first, last = self.starts[i], self.starts[i + 1]

        def piece(j: Array, carry: Any) -> Any:
            at = first + j * PIECE
            there = at + jnp.arange(PIECE, dtype=at.dtype) < last
            columns = lax.dynamic_slice_in_dim(self.indices, at, PIECE)
            values = jnp.where(there, lax.dynamic_slice_in_dim(self.values, at, PIECE), 0)
            return body(columns, values, there, carry)

        return lax.fori_loop(0, -(-(last - first) // PIECE), piece, init)

    def dot(self, i, w):
        zero = jnp.zeros(w.shape[1], w.dtype)
        return self._pieces(i, lambda c, v, there, sum: sum + jnp.matmul(v, w[c], precision=HIGHEST), zero)

    def square(self, i):
        return self._pieces(i, lambda c, v, there, sum: sum + v @ v, jnp.zeros((), self.values.dtype))

    def add(self, i, w, u):
        return self._pieces(i, lambda c, v, there, w: w.at[c].add(v[:, None] * u[None]), w)

    def touched(self, i, change, arrays):
        def body(columns: Array, values: Array, there: Array, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
            target = jnp.where(there, columns, len(arrays[0]))  # beyond the end, and dropped
            new = change(*(a[columns] for a in arrays))
            return tuple(a.at[target].set(part, mode="drop") for a, part in zip(arrays, new, strict=True))

        return self._pieces(i, body, arrays)
