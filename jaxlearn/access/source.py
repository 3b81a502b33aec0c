"""Where streamed rows come from, on the host: arrays, memory maps, `.npy` files, folders of them, iterators of blocks."""

from __future__ import annotations

import hashlib
import itertools
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Arrays", "Blocks", "Permuted", "Source", "digest", "may_stay", "open_source", "read_exactly"]

# Rows of a file that are read one by one, at random, for no more than what setting them aside in order would cost.
ROW_BYTES = 1 << 18
# Rows, and columns, of an array that its fingerprint is taken from.
SAMPLE = 64, 256
# Share of the machine's memory that the system's cache is taken to hold from one pass to the next.
CACHED = 0.5


class Source:
    """Rows on the host, or a function that makes them.

    Attributes
    ----------
    n_samples : int or None
        None where it is not known before the rows have been read.
    n_features : int
    dtype : dtype
        As stored.
    scale : ndarray, (n_features,), or None
        What the stored numbers are to be multiplied by, column by column.
    rereadable : bool
        Whether the rows can be read more than once.
    addressable : bool
        Whether `read` gives any of the rows, in any order; n_samples is then known. If not, `pieces` gives all in turn.
    by_row : bool
        Whether single rows, at random, cost little more than as many that follow each other.
    """

    n_samples: int | None
    n_features: int
    dtype: np.dtype
    scale: np.ndarray | None = None
    rereadable: bool = True
    addressable: bool = False
    by_row: bool = False

    def head(self, n_rows: int) -> Any:
        """At most `n_rows` of the first rows, as stored; they remain to be read."""
        raise NotImplementedError

    def read(self, first: int, out: np.ndarray) -> None:
        """Fill `out`, of the dtype of a buffer, with the rows from `first` on."""
        raise NotImplementedError

    def take(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Fill `out` with these rows of an addressable source."""
        for at in np.argsort(rows, kind="stable"):  # a disk is read forwards
            self.read(int(rows[at]), out[at : at + 1])

    def pieces(self) -> Iterator[np.ndarray]:
        """All rows once, in order, in arrays of any number of rows."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """A short text that another source, or this one after a change, is most unlikely to share."""
        raise NotImplementedError


def digest(*parts: Any) -> str:
    """Sixteen hexadecimal digits of bytes, and of what anything else is written as."""
    total = hashlib.sha256()
    for part in parts:
        raw = part if isinstance(part, bytes) else repr(part).encode()
        total.update(len(raw).to_bytes(8, "little") + raw)
    return total.hexdigest()[:16]


def read_exactly(file: int, out: np.ndarray, at: int, *, stay: bool = True) -> None:
    """Fill a contiguous `out` with the bytes of a file, given as a descriptor, from `at` on; they may `stay` in the cache."""
    view, begin = out.reshape(-1).view(np.uint8).data, at
    while view:
        done = os.preadv(file, [view], at)
        if not done:
            raise ValueError("The source has changed: a file is shorter than it was.")
        view, at = view[done:], at + done
    if not stay and hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, begin, at - begin, os.POSIX_FADV_DONTNEED)


def may_stay(n_bytes: int) -> bool:
    """Whether the system's cache is likely to hold so much from one pass to the next.

    If not, what has been read is best dropped at once: the next pass would find little of it, and to keep it costs a
    processor more than to read it, and others what they would have used again.
    """
    if not hasattr(os, "posix_fadvise"):  # nothing can be dropped
        return True
    return n_bytes <= CACHED * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class _Mapped:
    """Rows of a file that is mapped into memory.

    They are read without the map where they lie in it as they are: that takes half the time of its page faults. What is
    read by the map stays in the system's cache, and leaves this process.
    """

    def __init__(self, array: np.ndarray, memmap: Any):
        self.array, self.memmap, self.map = array, memmap, memmap._mmap
        self.size = self.map.size()
        inside = array.ctypes.data - np.frombuffer(self.map, np.uint8).ctypes.data
        self.at = memmap.offset - memmap.offset % mmap.ALLOCATIONGRANULARITY + inside  # where it begins in the file
        self.plain = hasattr(os, "preadv") and memmap.mode in ("r", "r+") and array.flags.c_contiguous

    def read(self, first: int, out: np.ndarray, stay: bool) -> None:
        if self.map.size() < self.size:  # to read beyond the end of a file ends the process
            raise ValueError(
                f"The source has changed: a file is shorter than it was, {self.map.size()} bytes for {self.size}."
            )
        if self.plain and self.array.dtype == out.dtype:
            with open(self.memmap.filename, "rb", buffering=0) as file:
                read_exactly(file.fileno(), out, self.at + first * self.array.strides[0], stay=stay)
        else:
            np.copyto(out, self.array[first : first + len(out)], casting="same_kind")
            if hasattr(mmap, "MADV_DONTNEED"):
                self.map.madvise(mmap.MADV_DONTNEED)

    def identity(self) -> tuple[Any, ...]:
        with open(self.memmap.filename, "rb") as file:
            stat, header = os.fstat(file.fileno()), file.read(self.memmap.offset)
        return stat.st_size, stat.st_mtime_ns, header, self.at, self.array.strides


class Arrays(Source):
    """Arrays (n_i, p) one below the other; memory maps are read piece by piece and never held."""

    addressable = True

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
        self.starts = np.cumsum([0, *map(len, self.arrays)])
        self.n_samples = int(self.starts[-1])
        self.maps = [_mapped(array) for array in self.arrays]
        self.in_memory = not any(self.maps)
        self.stay = may_stay(sum(mapped.array.nbytes for mapped in self.maps if mapped))
        self.by_row = self.in_memory or self.n_features * self.dtype.itemsize >= ROW_BYTES

    def head(self, n_rows):
        return np.asarray(next((a for a in self.arrays if len(a)), self.arrays[0])[:n_rows])

    def read(self, first, out):
        i = int(np.searchsorted(self.starts, first, side="right")) - 1
        while len(out):
            at = first - int(self.starts[i])
            n_rows = min(len(out), len(self.arrays[i]) - at)
            if mapped := self.maps[i]:
                mapped.read(at, out[:n_rows], self.stay)
            else:
                np.copyto(out[:n_rows], self.arrays[i][at : at + n_rows], casting="same_kind")
            first, out, i = first + n_rows, out[n_rows:], i + 1

    def take(self, rows, out):
        if not self.in_memory:
            super().take(rows, out)
        elif len(self.arrays) == 1 and self.dtype == out.dtype:
            np.take(self.arrays[0], rows, axis=0, out=out, mode="clip")  # other modes gather in a copy first
        else:
            parts = np.searchsorted(self.starts, rows, side="right") - 1
            for i in np.unique(parts):
                here = parts == i
                out[here] = self.arrays[i][rows[here] - self.starts[i]]

    def fingerprint(self):
        return digest(
            *(
                (array.shape, array.dtype.str, mapped.identity() if mapped else _sample(array))
                for array, mapped in zip(self.arrays, self.maps, strict=True)
            )
        )


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

    def fingerprint(self):
        return digest(self.first.shape, self.first.dtype.str, self.first.tobytes())


class Permuted(Source):
    """Rows of an addressable source in another order, gathered while they are read.

    Parameters
    ----------
    rows : array, or what else `open_source` takes
        Best an array in memory: rows of a file are read one by one.
    permutation : ndarray of int
        Row i is row ``permutation[i]`` of `rows`.
    """

    addressable = by_row = True

    def __init__(self, rows: Any, permutation: np.ndarray):
        self.source, self.permutation = open_source(rows), np.asarray(permutation)
        if not self.source.addressable:
            raise ValueError("The rows of an iterator come in its own order.")
        if self.permutation.ndim != 1 or self.permutation.dtype.kind not in "iu":
            raise ValueError("`permutation` must be a 1D array of row numbers.")
        n_samples = self.source.n_samples or 0
        if len(self.permutation) and not 0 <= self.permutation.min() <= self.permutation.max() < n_samples:
            raise ValueError(f"`permutation` must hold numbers of {n_samples} rows, from 0 on.")
        self.n_samples, self.n_features = len(self.permutation), self.source.n_features
        self.dtype, self.scale = self.source.dtype, self.source.scale

    def head(self, n_rows):
        out = np.empty((min(n_rows, len(self.permutation)), self.n_features), self.dtype.newbyteorder("="))
        self.read(0, out)
        return out

    def read(self, first, out):
        self.source.take(self.permutation[first : first + len(out)], out)

    def take(self, rows, out):
        self.source.take(self.permutation[rows], out)

    def fingerprint(self):
        return digest(self.source.fingerprint(), self.permutation.tobytes())


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


def _mapped(array: Any) -> _Mapped | None:
    """The file that `array` shows, if it is a view of one: of a map that is a copy on write, changes would be lost."""
    view = array
    while isinstance(view, np.ndarray):
        if isinstance(view, np.memmap) and isinstance(view._mmap, mmap.mmap):  # type: ignore[attr-defined]
            shared = view.mode != "c" and view.filename is not None and array.size > 0
            return _Mapped(array, view) if shared else None
        view = view.base
    return None


def _sample(array: np.ndarray) -> bytes:
    """Numbers of some rows and columns, evenly spaced."""
    rows, columns = (
        np.linspace(0, size - 1, min(size, most)).astype(int) for size, most in zip(array.shape, SAMPLE, strict=True)
    )
    return array[np.ix_(rows, columns)].tobytes()


def open_source(rows: Any) -> Source:
    """The source that `rows` names.

    Parameters
    ----------
    rows : array, list of arrays, path, iterable or callable
        A path is an `.npy` file, a folder whose `.npy` files follow each other in the order of their names, or one that
        `write_tiles` has written.
    """
    if isinstance(rows, Source):
        return rows
    if isinstance(rows, str | Path):
        from .tiles import Tiles, holds_tiles  # which is itself made of what is in here

        if holds_tiles(Path(rows)):
            return Tiles(rows)
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
