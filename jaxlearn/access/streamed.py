"""A dense matrix that stays on the host or on disk, and is folded block by block: two blocks are held, never more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .blocks import UNIT, in_blocks
from .buckets import row_bucket
from .dense import Dense
from .design import PRESENT, Design
from .reader import Block, Progress, Reader, report
from .source import open_source

__all__ = ["Streamed", "stream"]

BLOCK_BYTES = 1 << 26


class _Opaque:
    """A leaf that no JAX transformation takes: a compiled function given a stream is an error, not a copy of it."""

    def __init__(self, reader: Reader):
        self.reader = reader


class Streamed(Design):
    """Row blocks on the host; every call that reads them is one pass, driven from the host. `stream` makes one.

    No `jit` may take it as an argument.

    Parameters
    ----------
    handle : opaque
        What reads the source.
    offset : Array, (n_features,), optional
        Subtracted from every block on the device.
    """

    serves: ClassVar[frozenset[str]] = frozenset({"fold", "map"})
    on_host: ClassVar[bool] = True

    handle: _Opaque
    offset: Array | None = None

    @property
    def reader(self) -> Reader:
        """Counts passes and bytes."""
        return self.handle.reader

    @property
    def rereadable(self):
        return self.reader.source.rereadable

    @property
    def n_features(self) -> int:
        """Columns, known before any row is read."""
        return self.reader.source.n_features

    @property
    def shape(self):
        if self.reader.n_samples is None:
            raise ValueError("The number of rows of this source is not known before it has been read once.")
        return self.reader.n_samples, self.n_features

    @property
    def dtype(self):
        wide = self.reader.dtype == np.float64
        return jax.dtypes.canonicalize_dtype(np.float64 if wide else np.float32)

    def matvec(self, b):
        return jnp.concatenate([part[:n_rows] for n_rows, part in self._parts(_matvec, b)])

    def rmatvec(self, u):
        return self.fold(_rmatvec, None, u)

    def gram(self, d):
        return self.fold(_gram, None, d)

    def squares(self, d):
        return self.fold(_squares, None, d)

    def head(self) -> Dense:
        """The first block, in memory; it remains to be read."""
        source, block_size = self.reader.source, self.reader.block_size
        rows = _scaled(jnp.asarray(source.head(block_size).astype(self.reader.dtype, copy=False)), source.scale)
        return Dense(rows if self.offset is None else rows - self.offset[None])

    def location(self):
        """The mean of the first block."""
        return self.head().X.mean(0)

    def shifted(self, location):
        return Streamed(self.handle, location if self.offset is None else self.offset + location)

    def map(self, lift: Any, query: Any) -> Any:
        """What `lift` makes of each row, in order: NumPy arrays, (n_samples, ...)."""
        parts = [jax.tree.map(lambda a, n=n: np.array(a[:n]), part) for n, part in self._parts(lift, query)]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

    def count(self) -> int:
        """Number of rows; a source that does not tell is read once."""
        if self.reader.n_samples is None:
            self.fold(_count, None, PRESENT)
        return self.shape[0]

    def fold(self, lift, query, *rows, merge=None, whole=False):
        total = None
        for _, part in self._parts(lift, query, *rows, summed=merge is None and not whole):
            if merge is not None:
                total = _merge(merge, (part,) if total is None else (total, part))
            elif total is None:
                total, kinds = jax.tree.map(_in_double, part), jax.tree.map(lambda leaf: leaf.dtype, part)
            else:
                total = jax.tree.map(lambda sum, leaf: sum + np.asarray(leaf), total, part)
        return (
            total if merge is not None else jax.tree.map(lambda sum, kind: jnp.asarray(sum.astype(kind)), total, kinds)
        )

    def _parts(self, lift: Any, query: Any, *rows: Any, summed: bool = False) -> Iterator[tuple[int, Any]]:
        """The number of rows of each block, in order, and what `lift` makes of it; where only sums count, in smaller blocks."""
        reader = self.reader
        rows = tuple(row if row is PRESENT else np.asarray(row) for row in rows)
        scale = None if reader.source.scale is None else jnp.asarray(reader.source.scale)
        for block in reader.blocks():
            X = jax.device_put(block.rows)  # on a CPU the buffer itself: it is free again when the part is ready
            local = tuple(_padded(row, block, len(block.rows)) for row in rows)
            part, finite = jax.block_until_ready(_lift(lift, query, X, (scale, self.offset), local, summed=summed))
            if not finite:
                raise ValueError(f"Input X contains NaN or infinity: see {reader.name(block)}.")
            n_rows = block.n_rows
            del X, block
            yield n_rows, part


def stream(
    rows: Any,
    *,
    block_size: int | None = None,
    progress: bool | Callable[[Progress], Any] = False,
) -> Streamed:
    """Rows that stay where they are, and are read block by block as often as a fit needs them.

    Parameters
    ----------
    rows : array, path, list of arrays, iterable or callable
        A NumPy array or memory map (n_samples, n_features); the path of an `.npy` file, or of a folder of them, which
        follow each other in the order of their names, or that `write_tiles` has written; an iterable of blocks of
        rows, or a function without arguments that returns one. An iterator is used up by one pass; all else may be read
        again, and must not have changed. float16, integers and booleans are converted to float32 on the device.
    block_size : int, optional
        Rows in a block; by default as many as take 64 MB in float32. Two blocks as stored are held in memory, and what
        the fit makes of one.
    progress : bool or callable, default=False
        True writes a line to standard error; a function is called with a `Progress` after each block.

    Returns
    -------
    Streamed

    Raises
    ------
    ValueError
        When blocks differ in columns or dtype; while reading, when one holds NaN, or is not what it was in an earlier
        pass.

    Examples
    --------
    >>> import numpy as np
    >>> X = stream(np.ones((10, 3), np.float32), block_size=4)
    >>> X.shape, float(X.rmatvec(np.ones(10, np.float32))[0]), X.reader.n_passes
    ((10, 3), 10.0, 1)
    """
    source = open_source(rows)
    if block_size is None:
        block_size = max(1, BLOCK_BYTES // (4 * max(source.n_features, 1)))
        block_size = block_size // UNIT * UNIT or block_size
        block_size = min(block_size, max(row_bucket(source.n_samples or block_size), 1))
    return Streamed(_Opaque(Reader(source, block_size, report if progress is True else progress or None)))


def _padded(row: Any, block: Block, size: int) -> Any:
    if row is PRESENT:
        return np.int32(block.n_rows)  # which the compiled program turns into ones and zeros
    local = row[block.first : block.first + block.n_rows]
    if len(local) != block.n_rows:
        raise ValueError(f"Expected one value for each row of `X`, got {len(row)} values for more rows.")
    return np.pad(local, [(0, size - block.n_rows)] + [(0, 0)] * (local.ndim - 1))


def _in_double(leaf: Any) -> np.ndarray:
    """Sums over many blocks are made in double precision, whatever the precision of each."""
    leaf = np.asarray(leaf)
    return leaf.astype(np.float64) if leaf.dtype.kind == "f" else leaf


@partial(jax.jit, static_argnames=("lift", "summed"))
def _lift(
    lift: Any, query: Any, X: Array, change: tuple[Any, Any], rows: tuple[Any, ...], *, summed: bool
) -> tuple[Any, Array]:
    """The part of a block, and whether all of it is finite; `change` is a scale of the columns and an offset, or None."""
    scale, offset = change
    block = in_blocks(_scaled(X, scale)) if summed else Dense(_scaled(X, scale))
    present = jnp.arange(len(X), dtype=jnp.int32)
    local = tuple((present < row).astype(block.dtype) if row.ndim == 0 else row for row in rows)
    block = block if offset is None else block.shifted(offset)
    return block.fold(lift, query, *local) if summed else lift(query, block, *local), jnp.isfinite(X).all()


def _scaled(X: Array, scale: Any) -> Array:
    """The numbers that stored ones stand for, in the precision of the fit."""
    X = X.astype(jnp.float64 if X.dtype == jnp.float64 else jnp.float32)
    return X if scale is None else X * jnp.asarray(scale, X.dtype)[None]


@partial(jax.jit, static_argnames="merge")
def _merge(merge: Any, parts: tuple[Any, ...]) -> Any:
    return merge(jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts))


def _count(_: None, block: Design, w: Array) -> Array:
    return w.sum()


def _matvec(b: Array, block: Design) -> Array:
    return block.matvec(b)


def _rmatvec(_: None, block: Design, u: Array) -> Array:
    return block.rmatvec(u)


def _gram(_: None, block: Design, d: Array) -> Array:
    return block.gram(d)


def _squares(_: None, block: Design, d: Array) -> Array:
    return block.squares(d)
