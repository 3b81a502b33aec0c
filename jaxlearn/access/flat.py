"""Rows of an array of the host that programs of a CPU read where they lie.

A CPU device uses memory of the host as it is if it begins at a multiple of 64 bytes, which rows of NumPy's arrays seldom do:
they are copied for each program, which takes longer than to sum them. Here a program is given a line of numbers that begins
so, and is told where in it the rows begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .blocks import Blocks
from .dense import Dense

__all__ = ["Flat", "pieces"]

ALIGNMENT = 64


class Flat(Blocks):
    """Rows in blocks, as of a line of numbers.

    Parameters
    ----------
    X : Array, ((n + 1) n_features,)
    size : int
        Rows of a block, which divides n.
    n_features : int
    start : int32 scalar
        Where in X the first of n rows begins, less than `n_features`.
    """

    n_features: int = eqx.field(static=True, default=1)
    start: Any = 0

    @property
    def shape(self):
        return len(self.X) // self.n_features - 1, self.n_features

    def some(self, index):
        columns = jnp.arange(self.n_features, dtype=jnp.int32)
        rows = self.X[self.start + index[:, None] * self.n_features + columns[None]]
        return Dense(rows if self.offset is None else rows - self.offset[None], self.axis_name)

    def _rows(self, first, n_rows):
        place = self.start + first * self.n_features
        return lax.dynamic_slice_in_dim(self.X, place, n_rows * self.n_features).reshape(n_rows, self.n_features)


def pieces(
    X: np.ndarray, n_rows: int, size: int, dtype: Any = None
) -> Iterator[tuple[slice | np.ndarray, Flat | None]]:
    """Which rows make a piece, and these where they lie, as far as a CPU can read them there; None is for the caller to copy.

    Parameters
    ----------
    X : ndarray, (n, p)
    n_rows : int
        A piece has at most so many rows, if they are copied, or as many. Pieces begin alike in memory: their bytes are a
        multiple of 64.
    size : int
        Rows of a block, which divides `n_rows`.
    dtype : dtype, optional
        What rows must be to be read where they lie.
    """
    n_samples, n_features = X.shape
    head = whole = before = 0
    fits = X.flags.c_contiguous and X.dtype == (dtype or X.dtype) and n_rows * n_features * X.itemsize % ALIGNMENT == 0
    if fits and jax.default_backend() == "cpu":
        before = -X.ctypes.data % ALIGNMENT // X.itemsize
        whole = max((X.size - before - n_features) // (n_rows * n_features), 0)
        head = -(-before // n_features) if whole else 0
    tail = head + whole * n_rows
    # first those that take longest, copied; rows before the first piece go with those after the last
    if head:
        rest = np.r_[0:head, tail:n_samples]
        yield from ((rest[i : i + n_rows], None) for i in range(0, len(rest), n_rows))
    else:
        yield from ((slice(i, min(i + n_rows, n_samples)), None) for i in range(tail, n_samples, n_rows))
    line, start = X.reshape(-1) if whole else X, head * n_features - before
    for first in range(head, tail, n_rows):
        place = first * n_features - start
        part = jax.device_put(line[place : place + (n_rows + 1) * n_features], may_alias=True)
        yield slice(first, first + n_rows), Flat(part, None, False, size, None, n_features, np.int32(start))
