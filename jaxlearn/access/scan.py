"""The scan pattern, driven from the host: batches of rows in an order that is a pure function of seed, epoch and place.

Rows in memory are shuffled as a whole; of a stream its blocks are, and the rows inside of each. Where a scan stands is three
numbers, so that it can be left and taken up again.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .reader import Reader
from .streamed import Streamed
from .virtual import Virtual

__all__ = ["COLUMNS", "BatchSizes", "Place", "Scan", "Segment", "in_order", "permutation"]

# Batches of one dispatch.
DISPATCH = 16
# A batch is no larger than this share of the samples that were learnt from.
GROWTH = 0.05
# What a batch of the largest size takes, in single precision, unless it has fewer rows than there are atoms.
BATCH_BYTES = 1 << 28
# Words of the keys of permutations: of rows in memory or of a block, of blocks, of rows that are held out, of columns.
ROWS, BLOCKS, HELD_OUT, COLUMNS = range(4)


class Place(NamedTuple):
    """Where a scan stands: in an epoch, before a row of a block, both counted in the order of that epoch."""

    epoch: int = 0
    block: int = 0
    row: int = 0
    seen: int = 0
    """Samples learnt from so far."""


class BatchSizes(NamedTuple):
    """Batches that grow fourfold from `smallest` to `largest`, as samples are learnt from: each size is a compiled program."""

    smallest: int
    largest: int

    @classmethod
    def automatic(cls, n_components: int, n_features: int) -> BatchSizes:
        """About four samples for each atom, from 256 to 2048, in 256 MB or what the dictionary takes."""
        fits = max(BATCH_BYTES // (4 * n_features), n_components)
        largest = min(max(256, 4 * n_components), 2048, fits)
        largest = 1 << (largest.bit_length() - 1 + (largest & (largest - 1) > 0 and largest < fits))
        return cls(max(largest // 4, 1), largest)

    def at(self, place: Place) -> int:
        """The largest size that has grown, and that the place is a multiple of."""
        size = self.largest
        while size > self.smallest and (size > GROWTH * place.seen or place.row % size):
            size = max(size // 4, self.smallest)
        return size


class Segment(NamedTuple):
    """Batches of one dispatch.

    Attributes
    ----------
    X : Array, (n, p)
        Rows as stored.
    order : Array, (m,) of int32
        Rows of X in the order of this epoch, batch after batch; −1 is none.
    first, count : int
        Batches of `size` rows.
    size : int
    offset : int
        Row i of X is sample ``offset + i``.
    place : Place
        Where the scan stands when they have been learnt from.
    n_rows : int
        Samples among them.
    """

    X: Array
    order: Array
    first: int
    count: int
    size: int
    offset: int
    place: Place
    n_rows: int


def permutation(n: int, *words: int) -> np.ndarray:
    """A permutation of n that is a pure function of some numbers, in any version of NumPy: its raw bits are promised."""
    seed = np.random.SeedSequence([word % 2**32 for word in words])
    return np.argsort(np.random.Philox(seed).random_raw(n), kind="stable")


def in_order(stored: Any, columns: np.ndarray | None) -> np.ndarray:
    """A copy of an array (…, n_features) whose column j is feature ``columns[j]``, in the order of the features."""
    stored = np.array(stored)
    if columns is not None:
        stored[..., columns] = stored.copy()
    return stored


class Scan:
    """Rows, and the order in which they are learnt from.

    Parameters
    ----------
    rows : Array, (n, p), or Streamed
        A stream whose blocks are shorter than a batch is read in longer blocks.
    sizes : BatchSizes
    seed : int
    shuffle : bool
        Otherwise rows come in their own order, as those of an iterator do in any case, but for the order inside of a block.
    n_held_out : int
        Rows that are kept out: any of those in memory, or of a file; of an iterator the first.

    Attributes
    ----------
    reader : Reader or None
        Of a stream; counts passes and bytes.
    """

    def __init__(self, rows: Any, sizes: BatchSizes, seed: int, *, shuffle: bool = True, n_held_out: int = 0):
        self.sizes, self.seed, self.shuffle, self.n_held_out = sizes, seed, shuffle, n_held_out
        self.rows, self.reader = rows, None
        if isinstance(rows, Streamed):
            self.reader = rows.reader
            if self.reader.block_size < sizes.largest and type(self.reader) is Reader:
                self.reader = Reader(self.reader.source, sizes.largest, self.reader.progress)
            largest = min(sizes.largest, self.reader.block_size)
            self.sizes = BatchSizes(min(sizes.smallest, largest), largest)

    @property
    def scale(self) -> np.ndarray | None:
        """What columns as stored are to be multiplied by."""
        return None if self.reader is None else self.reader.source.scale

    @property
    def n_samples(self) -> int | None:
        """All rows, those held out included; None where it is not known yet."""
        return len(self.rows) if self.reader is None else self.reader.n_samples

    @cached_property
    def _lots(self) -> np.ndarray:
        """Numbers of rows in the order they are drawn in: where single rows cost much, or cannot be had, the first ones."""
        if self.reader is not None and (not self.reader.source.addressable or isinstance(self.reader.source, Virtual)):
            return np.arange(len(self.reader.source.head(self.reader.block_size)))
        return permutation(self.n_samples or 0, self.seed, HELD_OUT)

    @property
    def held_out_rows(self) -> np.ndarray:
        """Numbers of the rows that are kept out."""
        return self._lots[: self.n_held_out]

    @property
    def held_out(self) -> np.ndarray:
        """The rows that are kept out, as they are meant: scaled."""
        return self._rows(self.held_out_rows)

    def sample(self, n_rows: int) -> np.ndarray:
        """At most so many of the other rows, drawn without replacement."""
        return self._rows(self._lots[self.n_held_out : self.n_held_out + n_rows])

    def _rows(self, rows: np.ndarray) -> np.ndarray:
        if self.reader is None:
            return np.asarray(self.rows[rows])
        source = self.reader.source
        if source.addressable and not isinstance(source, Virtual):
            out = np.zeros((len(rows), source.n_features), self.reader.dtype)
            source.take(rows, out)
        else:
            out = np.asarray(source.head(self.reader.block_size))[rows]
        out = out.astype(np.float64 if out.dtype == np.float64 else np.float32)
        return out if source.scale is None else out * source.scale.astype(out.dtype)[None]

    def segments(self, start: Place, *, dispatch: int = DISPATCH) -> Generator[Segment]:
        """What remains of an epoch; a segment must have been learnt from before the next one is asked for."""
        for block, X, n_rows, offset in self._blocks(start):
            order = self._order(start.epoch, offset, n_rows)
            there = int((order >= 0).sum())
            place = start._replace(block=block, row=start.row if block == start.block else 0)
            on_device = jnp.asarray(order)
            while place.row < there:
                size = self.sizes.at(place)
                count = min(dispatch, -(-(there - place.row) // size))
                n_learnt = min(count * size, there - place.row)
                first = place.row // size
                place = place._replace(row=place.row + count * size, seen=place.seen + n_learnt)
                yield Segment(X, on_device, first, count, size, offset, place, n_learnt)
            start = place

    def next_epoch(self, place: Place) -> Place:
        """Where the epoch that follows begins."""
        return Place(place.epoch + 1, 0, 0, place.seen)

    def _blocks(self, start: Place) -> Iterator[tuple[int, Any, int, int]]:
        if self.reader is None:
            yield 0, self.rows, len(self.rows), 0
            return
        n_blocks = self.reader.n_blocks
        order: Any = None
        if n_blocks is not None:
            order = np.arange(n_blocks)
            if self.shuffle and self.reader.source.addressable:
                order = permutation(n_blocks, self.seed, BLOCKS, start.epoch)
            order = order[start.block :].tolist()
        elif start.block:
            raise ValueError("Where a scan stands in an iterator is known when its rows have been counted.")
        for i, block in enumerate(self.reader.blocks(order), start.block):
            X = jax.device_put(block.rows)
            if X.dtype.kind == "f" and not _finite(X, jnp.int32(block.n_rows)):
                raise ValueError(f"Input X contains NaN or infinity: see {self.reader.name(block)}.")
            yield i, X, block.n_rows, block.first
            del X, block

    def _order(self, epoch: int, offset: int, n_rows: int) -> np.ndarray:
        order = permutation(n_rows, self.seed, ROWS, epoch, offset) if self.shuffle else np.arange(n_rows)
        if self.n_held_out:
            order = order[~np.isin(order + offset, self.held_out_rows)]
        length = -(-max(n_rows, 1) // self.sizes.largest) * self.sizes.largest
        return np.pad(order.astype(np.int32), (0, length - len(order)), constant_values=-1)


@jax.jit
def _finite(X: Array, n_rows: Array) -> Array:
    there = jnp.arange(len(X), dtype=jnp.int32) < n_rows
    return (jnp.isfinite(X).all(1) | ~there).all()
