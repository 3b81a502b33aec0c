"""Dense rows that lie on one device, summed over some at a time: what a fold makes of a block stays in the cache.

A weighted copy of X, predictions, a shift: whole, each costs a pass through memory. A step of Newton's method, 30 to 300
features in double precision, took 0.4 to 0.7 times as long by blocks of a megabyte.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from .dense import Dense, as_design
from .design import Design, filled
from .reduce import combine

__all__ = ["Blocks", "block_rows", "in_blocks"]

# One block; what a fold makes of it shares a cache of two with it.
BLOCK_BYTES = 1 << 20
# Numbers of rows are multiples of this: buckets of more than 8192 are.
UNIT = 1024


class Blocks(Dense):
    """Rows of an array of this device; the compiler must not have to partition it.

    Parameters
    ----------
    X, axis_name, near_zero
        As of `Dense`.
    size : int
        Rows of a block; where it does not divide their number, what is left is a program of its own.
    offset : Array, (p,), optional
        Taken from each row, block by block.
    """

    size: int = eqx.field(static=True, default=UNIT)
    offset: Array | None = None

    @property
    def _whole(self) -> Dense:
        """Without blocks: a copy, if there is an offset."""
        return Dense(self._block(jnp.int32(0), self.shape[0]).X, self.axis_name, self.near_zero)

    def matvec(self, b):
        return self._whole.matvec(b)

    def rmatvec(self, u):
        return self._whole.rmatvec(u)

    def gram(self, d):
        return self._whole.gram(d)

    def squares(self, d):
        return self._whole.squares(d)

    def energy(self, d):
        return self._whole.energy(d)

    def moments(self, d, location):
        return self._whole.moments(d, location)

    def take(self, columns):
        return self._whole.take(columns)

    def rows_at(self, index):
        return self.some(index).X

    def row_squares(self):
        return self.over_blocks(lambda rows: rows.row_squares())

    def grouped(self, labels, d, n_groups):
        return self._whole.grouped(labels, d, n_groups)

    def some(self, index):
        return (
            self._whole.some(index) if self.offset is None else Dense(self.X[index] - self.offset[None], self.axis_name)
        )

    @property
    def entries(self):
        return self._whole.entries

    def shifted(self, location):
        if self.near_zero:
            return self
        return dataclasses.replace(self, offset=location if self.offset is None else self.offset + location)

    def _rows(self, first: Array, n_rows: int) -> Array:
        """So many rows from the first on, as they are stored."""
        return lax.dynamic_slice_in_dim(self.X, first, n_rows)

    def _block(self, first: Array, n_rows: int) -> Dense:
        X = self._rows(first, n_rows)
        return Dense(X if self.offset is None else X - self.offset[None])

    def over_blocks(self, program: Callable[[Dense], Any]) -> Any:
        """What a program makes of each row, block by block: arrays (n, ...)."""
        n_samples, size = self.shape[0], self.size
        # the last block ends with the last row, and may tell some rows twice
        first = jnp.minimum(jnp.arange(0, n_samples, size, dtype=jnp.int32), n_samples - size)
        place = (first[:, None] + jnp.arange(size, dtype=jnp.int32)[None]).ravel()

        def joined(parts: Array) -> Array:
            rows = parts.reshape(-1, *parts.shape[2:])
            return jnp.zeros((n_samples, *rows.shape[1:]), rows.dtype).at[place].set(rows) if n_samples % size else rows

        return jax.tree.map(joined, lax.map(lambda i: program(self._block(i, size)), first))

    def fold(self, lift, query, *rows, merge=None, whole=False):
        if whole or merge is not None:  # few pieces are merged rather than many
            return combine(lift(query, self, *filled(rows, self)), self.axis_name, merge)

        def block(first: Array, n_rows: int) -> Any:
            aligned = [lax.dynamic_slice_in_dim(a, first, n_rows) for a in filled(rows, self)]
            return lift(query, self._block(first, n_rows), *aligned)

        n_blocks, left = divmod(self.shape[0], self.size)
        shapes = jax.eval_shape(lambda: block(jnp.int32(0), self.size))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        add = lambda i, sums: jax.tree.map(jnp.add, sums, block(i * self.size, self.size))  # noqa: E731
        sums = lax.fori_loop(0, n_blocks, add, zeros)
        sums = jax.tree.map(jnp.add, sums, block(jnp.int32(n_blocks * self.size), left)) if left else sums
        return combine(sums, self.axis_name)


def in_blocks(X: Any, axis_name: str | None = None, *, n_bytes: int = BLOCK_BYTES, unit: int = UNIT) -> Design:
    """`X` as a design, in blocks where it is an array of enough rows; only where it is known to lie on one device.

    Parameters
    ----------
    X : Design, or Array (n, p)
        In a program that the compiler partitions, a loop over blocks would gather X: use `as_design` there. Accelerators,
        for which a block of a megabyte is a launch, get no blocks.
    axis_name : str, optional
    n_bytes : int
        Of a block, at most, if that is a unit of rows.
    unit : int
        A block has a multiple of so many rows, and X too, or is left whole.
    """
    design = as_design(X, axis_name)
    if type(design) is not Dense or jax.default_backend() != "cpu":
        return design
    n_samples, n_features = design.shape
    size = block_rows(n_samples, n_features * design.dtype.itemsize, n_bytes, unit)
    return design if size == n_samples else Blocks(design.X, axis_name, design.near_zero, size)


def block_rows(n_samples: int, row_bytes: int, n_bytes: int = BLOCK_BYTES, unit: int = UNIT) -> int:
    """Rows of a block: a multiple of `unit` that divides the number of rows, or all of them where that has no such divisor."""
    if n_samples % unit:
        return n_samples
    n_units, most = n_samples // unit, max(n_bytes // (unit * row_bytes), 1)
    return unit * max(m for m in range(1, min(most, n_units) + 1) if n_units % m == 0)
