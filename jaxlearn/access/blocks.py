"""Dense rows that lie on one device, summed over some at a time: what a fold makes of a block stays in the cache.

A weighted copy of X, predictions, a shift: whole, each costs a pass through memory. A step of Newton's method, 30 to 300
features in double precision, took 0.4 to 0.7 times as long by blocks of a megabyte.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from .dense import Dense, as_design
from .design import Design, filled
from .reduce import combine

__all__ = ["Blocks", "in_blocks"]

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
        Rows of a block, which divides the number of rows.
    offset : Array, (p,), optional
        Taken from each row, block by block.
    """

    size: int = eqx.field(static=True, default=UNIT)
    offset: Array | None = None

    @property
    def _whole(self) -> Dense:
        """Without blocks: a copy, if there is an offset."""
        return Dense(self.X if self.offset is None else self.X - self.offset[None], self.axis_name, self.near_zero)

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
        return self._whole.row_squares()

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
        offset = location if self.offset is None else self.offset + location
        return Blocks(self.X, self.axis_name, size=self.size, offset=offset)

    def fold(self, lift, query, *rows, merge=None, whole=False):
        if whole or merge is not None:  # few pieces are merged rather than many
            return combine(lift(query, self, *filled(rows, self)), self.axis_name, merge)

        def block(i: Array) -> Any:
            X, *aligned = (lax.dynamic_slice_in_dim(a, i * self.size, self.size) for a in (self.X, *filled(rows, self)))
            return lift(query, Dense(X if self.offset is None else X - self.offset[None]), *aligned)

        shapes = jax.eval_shape(block, jnp.int32(0))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        add = lambda i, sums: jax.tree.map(jnp.add, sums, block(i))  # noqa: E731
        return combine(lax.fori_loop(0, self.shape[0] // self.size, add, zeros), self.axis_name)


def in_blocks(X: Any, axis_name: str | None = None) -> Design:
    """`X` as a design, in blocks where it is an array of enough rows; only where it is known to lie on one device.

    Parameters
    ----------
    X : Design, or Array (n, p)
        In a program that the compiler partitions, a loop over blocks would gather X: use `as_design` there. Accelerators,
        for which a block of a megabyte is a launch, get no blocks.
    axis_name : str, optional
    """
    design = as_design(X, axis_name)
    if type(design) is not Dense or design.shape[0] % UNIT or jax.default_backend() != "cpu":
        return design
    (n_samples, n_features), itemsize = design.shape, design.dtype.itemsize
    n_units, most = n_samples // UNIT, max(BLOCK_BYTES // (UNIT * n_features * itemsize), 1)
    size = UNIT * max(m for m in range(1, min(most, n_units) + 1) if n_units % m == 0)
    if size == n_samples:
        return design
    return Blocks(design.X, axis_name, design.near_zero, size)
