"""Where streamed rows come from, on the host: arrays, memory maps, `.npy` files, folders of them, iterators of blocks."""

from __future__ import annotations

import itertools
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Arrays", "Blocks", "Rows", "Source", "copy_rows", "open_source"]


class Rows:
    """Rows of a file that is mapped into memory, read without the map: that takes half the time of its page faults.

    Parameters
    ----------
    array : memmap, (n, p), C-contiguous
    file : int
        A descriptor.
    """

    def __init__(self, array: np.memmap, file: int):
        self.array, self.file = array, file
        start = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY  # where the map begins in the file
        self.offset = start + array.ctypes.data - np.frombuffer(array._mmap, np.uint8).ctypes.data  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return len(self.array)

    def read(self, first: int, out: np.ndarray) -> None:
        """Fill `out`, of the same dtype, with rows from `first` on."""
        view, at = out.data.cast("B"), self.offset + first * self.array.strides[0]
        while view:
            done = os.preadv(self.file, [view], at)
            if not done:
                raise ValueError("The source has changed: a file is shorter than it was.")
            view, at = view[done:], at + done


def copy_rows(piece: np.ndarray | Rows, first: int, out: np.ndarray) -> None:
    """Rows of a piece from `first` on, as many as `out` holds, in its dtype."""
    array = piece.array if isinstance(piece, Rows) else piece
    if isinstance(piece, Rows) and array.dtype == out.dtype:
        piece.read(first, out)
    else:
        np.copyto(out, array[first : first + len(out)], casting="same_kind")


class Source:
    """Rows on the host, in pieces of any number of rows.

    Attributes
    ----------
    n_samples : int or None
        None where it is not known before the rows have been read.
    n_features : int
    dtype : dtype
        As stored.
    rereadable : bool
        Whether `pieces` may be called again.
    """

    n_samples: int | None
    n_features: int
    dtype: np.dtype
    rereadable: bool = True

    def head(self, n_rows: int) -> np.ndarray:
        """At most `n_rows` of the first rows; they remain to be read."""
        raise NotImplementedError

    def pieces(self) -> Iterator[np.ndarray | Rows]:
        """All rows once, in order."""
        raise NotImplementedError

    def release(self) -> None:
        """Called after each block: what is held of rows already read may go."""


class Arrays(Source):
    """Arrays (n_i, p) one below the other; memory maps are read piece by piece and never held."""

    def __init__(self, arrays: Sequence[Any]):
        if not arrays:
            raise ValueError("Expected at least one array of rows, got none.")
        self.arrays = list(arrays)
        first = self.arrays[0]
        if first.ndim != 2:
            raise ValueError(f"Expected a 2D array of rows, got an array of shape {first.shape}.")
        self.n_features, self.dtype = first.shape[1], np.dtype(first.dtype)
        for i, array in enumerate(self.arrays):
            _check_piece(array, i, self)
        self.n_samples = sum(len(array) for array in self.arrays)
        self.maps = [(m, m.size()) for m in map(_memory_map, self.arrays) if m is not None]

    def head(self, n_rows):
        return np.asarray(next((a for a in self.arrays if len(a)), self.arrays[0])[:n_rows])

    def pieces(self):
        for m, size in self.maps:
            if m.size() < size:  # to read beyond the end of a file ends the process
                raise ValueError(f"The source has changed: a file is shorter than it was, {m.size()} bytes for {size}.")
        for array in self.arrays:
            if _is_plain_map(array):
                with open(array.filename, "rb", buffering=0) as file:
                    yield Rows(array, file.fileno())
            else:
                yield array

    def release(self):
        for m, _ in self.maps:  # the pages stay in the system's cache, and leave this process
            m.madvise(mmap.MADV_DONTNEED)


class Blocks(Source):
    """Blocks of rows from an iterable, or from a function that returns one.

    Parameters
    ----------
    blocks : iterable of ndarray, or callable without arguments
        An iterator is used up by one pass; a sequence, or a function, may be read again.
    """

    n_samples = None

    def __init__(self, blocks: Any):
        self.make: Callable[[], Any] = blocks if callable(blocks) else lambda: blocks
        iterator = iter(self.make())
        self.rereadable = callable(blocks) or iterator is not blocks
        try:
            self.first = np.asarray(next(iterator))
        except StopIteration:
            raise ValueError("The iterator of blocks yields none.") from None
        if self.first.ndim != 2:
            raise ValueError(f"Expected 2D blocks of rows; block 0 has shape {self.first.shape}.")
        self.n_features, self.dtype = self.first.shape[1], self.first.dtype
        _check_piece(self.first, 0, self)
        self.rest: Iterator[Any] | None = None if self.rereadable else iterator

    def head(self, n_rows):
        return self.first[:n_rows]

    def pieces(self):
        if self.rereadable:
            blocks = iter(self.make())
        else:
            if self.rest is None:
                raise ValueError(ONCE)
            blocks, self.rest = itertools.chain([self.first], self.rest), None
        for i, block in enumerate(blocks):
            block = np.asarray(block)
            _check_piece(block, i, self)
            yield block


ONCE = (
    "An iterator can be read once, and another pass is needed: give a function that returns a new iterator, a sequence "
    "of blocks or a file, or choose a solver that reads the data once."
)


def _check_piece(piece: Any, i: int, source: Source) -> None:
    if piece.ndim != 2 or piece.shape[1] != source.n_features:
        raise ValueError(f"Block {i} has shape {piece.shape}; expected (rows, {source.n_features}), as block 0.")
    if piece.dtype != source.dtype:
        raise ValueError(f"Block {i} has dtype {piece.dtype}; expected {source.dtype}, as block 0.")
    if piece.dtype.kind not in "fiub":
        raise ValueError(f"Block {i} has dtype {piece.dtype}, which is not a real number.")


def _is_plain_map(array: Any) -> bool:
    """Whether `array` shows the bytes of a file as they are."""
    return (
        hasattr(os, "preadv")
        and isinstance(array, np.memmap)
        and array.filename is not None
        and array.mode in ("r", "r+")
        and isinstance(array._mmap, mmap.mmap)  # type: ignore[attr-defined]
        and array.flags.c_contiguous
        and array.size > 0
    )


def _memory_map(array: Any) -> mmap.mmap | None:
    """The map that a view of a memory map reads from."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array if isinstance(array, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") else None


def open_source(rows: Any) -> Source:
    """The source that `rows` names.

    Parameters
    ----------
    rows : array, list of arrays, path, iterable or callable
        A path is an `.npy` file, or a folder whose `.npy` files follow each other in the order of their names.
    """
    if isinstance(rows, Source):
        return rows
    if isinstance(rows, str | Path):
        return Arrays([np.load(path, mmap_mode="r", allow_pickle=False) for path in _npy_files(Path(rows))])
    if isinstance(rows, np.ndarray):
        return Arrays([rows])
    if isinstance(rows, list | tuple) and rows and all(isinstance(block, np.ndarray) for block in rows):
        return Arrays(rows)
    if callable(rows) or hasattr(rows, "__iter__"):
        return Blocks(rows)
    raise TypeError(
        f"Rows cannot be read from a {type(rows).__name__}: expected an array, a path to `.npy` files, an iterable of "
        "blocks or a function that returns one."
    )


def _npy_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(path.glob("*.npy"))
    if not files:
        raise FileNotFoundError(f"'{path}' is neither an .npy file nor a folder that holds some.")
    return files
