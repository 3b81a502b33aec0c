"""Rows of a matrix, dense or sparse, one at a time or a few together: what stochastic gradients ask of the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

__all__ = ["PIECE", "Batch", "DenseRows", "Rows", "SparseRows"]

HIGHEST = lax.Precision.HIGHEST
# Non-zeros of a sparse row that are gathered at a time.
PIECE = 128
# Non-zeros of several sparse rows that are gathered at a time.
TOGETHER = 1024
IN_BOUNDS = "promise_in_bounds"


class Batch(eqx.Module):
    """Rows x_i that are read together; `w` is (p, k), `u` (b, k)."""

    def dot(self, w: Array) -> Array:
        """``x_i w``, (b, k)."""
        raise NotImplementedError

    def squares(self) -> Array:
        """``‖x_i‖²``, (b,)."""
        raise NotImplementedError

    def add(self, w: Array, u: Array) -> Array:
        """``w + Σ x_i u_iᵀ``."""
        raise NotImplementedError


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

    def batch(self, chosen: Array) -> Batch:
        """Those of the numbers `chosen`, (b,); a negative number is a row of zeros."""
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

    def batch(self, chosen):
        return _DenseBatch(jnp.where(chosen[:, None] >= 0, self.X[jnp.maximum(chosen, 0)], 0))


class _DenseBatch(Batch):
    X: Array

    def dot(self, w):
        return jnp.matmul(self.X, w, precision=HIGHEST)

    def squares(self):
        return jnp.square(self.X).sum(1)

    def add(self, w, u):
        return w + jnp.einsum("np,nk->pk", self.X, u, precision=HIGHEST)


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

    def batch(self, chosen):
        first, last = (self.starts[jnp.maximum(chosen, 0) + i] for i in (0, 1))
        length = jnp.where(chosen >= 0, last - first, 0)
        ends = jnp.cumsum(length)
        return _SparseBatch(self.indices, self.values, ends, first - (ends - length))


class _SparseBatch(Batch):
    """The non-zeros of some rows, one row after the other: number e is of the first row that ends after e."""

    indices: Array
    values: Array
    ends: Array
    offsets: Array

    def _pieces(self, body: Any, init: Any) -> Any:
        """Fold over pieces of the non-zeros: their rows in the batch, columns and values."""
        last = len(self.ends) - 1

        def piece(j: Array, carry: Any) -> Any:
            number = j * TOGETHER + jnp.arange(TOGETHER, dtype=self.ends.dtype)
            row = jnp.minimum(jnp.searchsorted(self.ends, number, side="right").astype(jnp.int32), last)
            there = number < self.ends[last]
            place = jnp.where(there, number + self.offsets[row], 0)
            return body(row, self.indices[place], jnp.where(there, self.values[place], 0), carry)

        return lax.fori_loop(0, -(-self.ends[last] // TOGETHER), piece, init)

    def dot(self, w):
        def body(row: Array, column: Array, value: Array, f: Array) -> Array:
            return f.at[row].add(value[:, None] * w[column], indices_are_sorted=True, mode=IN_BOUNDS)

        return self._pieces(body, jnp.zeros((len(self.ends), w.shape[1]), w.dtype))

    def squares(self):
        def body(row: Array, column: Array, value: Array, sums: Array) -> Array:
            return sums.at[row].add(jnp.square(value), indices_are_sorted=True, mode=IN_BOUNDS)

        return self._pieces(body, jnp.zeros(len(self.ends), self.values.dtype))

    def add(self, w, u):
        def body(row: Array, column: Array, value: Array, w: Array) -> Array:
            return w.at[column].add(value[:, None] * u[row], mode=IN_BOUNDS)

        return self._pieces(body, w)
