"""Reading a source on the host, pass by pass: blocks of one shape, the next one read while the last is at work."""

from __future__ import annotations

import contextlib
import itertools
import operator
import queue
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .memory import aligned
from .source import ONCE, Source

__all__ = ["Block", "Progress", "Reader", "report"]


class Progress(NamedTuple):
    """How far a reader is.

    Attributes
    ----------
    n_passes : int
        Passes begun.
    rows : int
        Rows of this pass that have been dealt with.
    n_samples : int or None
        All rows of this pass, where their number is known.
    bytes_read : int
        In all passes.
    seconds : float
        Since this pass began.
    """

    n_passes: int
    rows: int
    n_samples: int | None
    bytes_read: int
    seconds: float


class Block(NamedTuple):
    """Rows in a buffer that will be used again.

    Attributes
    ----------
    rows : ndarray, (block_size, n_features)
        Zero from row `n_rows` on.
    n_rows : int
    first : int
        Row of the source that `rows` begins with.
    """

    rows: np.ndarray
    n_rows: int
    first: int


class Reader:
    """Two buffers: one is filled by a thread while the other is at work.

    Parameters
    ----------
    source : Source
    block_size : int
        Rows in a block; the last one is filled up with zeros.
    progress : callable, optional
        Called with a `Progress` after each block.

    Attributes
    ----------
    n_samples : int or None
        Known from the source, or after one pass to its end.
    n_passes, bytes_read : int
        Since the reader was made; a pass counts when it begins.
    """

    def __init__(self, source: Source, block_size: int, progress: Callable[[Progress], Any] | None = None):
        if block_size < 1:
            raise ValueError(f"`block_size` must be at least 1, got {block_size}.")
        self.source, self.block_size, self.progress = source, block_size, progress
        self.dtype = buffer_dtype(source.dtype)
        self.n_samples = source.n_samples
        self.n_passes = self.bytes_read = 0
        self._marks: dict[int, Any] = {}  # of the blocks that were met, by their numbers

    @property
    def n_blocks(self) -> int | None:
        """Blocks of a whole pass, where the number of rows is known."""
        return None if self.n_samples is None else -(-self.n_samples // self.block_size)

    @property
    def exhausted(self) -> bool:
        """Whether another pass is impossible."""
        return self.n_passes > 0 and not self.source.rereadable

    def blocks(self, order: Sequence[int] | None = None) -> Iterator[Block]:
        """One pass; a block may be used until the next one is asked for.

        Parameters
        ----------
        order : sequence of int, optional
            Numbers of the blocks to read, in this order, instead of all in turn. Those of a source that is not
            addressable come in its own order: it takes a run ``i, i + 1, …`` to the last one, and skips what is before.
        """
        if self.exhausted:
            raise ValueError(ONCE)
        order = self._checked(order)
        if not order:
            return
        self.n_passes += 1
        began, rows, expected = time.perf_counter(), 0, self._n_rows(order)
        with contextlib.closing(self._fetched(order)) as fetched:
            for buffer, i, n_rows, mark in fetched:
                block = Block(buffer, n_rows, i * self.block_size)
                if self._marks.setdefault(i, mark) != mark:
                    raise ValueError(f"The source has changed since it was first read: {self.name(block)} differs.")
                yield block
                del buffer, block  # rows on a device make room for others when nothing names them
                rows += n_rows
                self.bytes_read += n_rows * self.source.n_features * self.source.dtype.itemsize
                if self.progress is not None:
                    seconds = time.perf_counter() - began
                    self.progress(Progress(self.n_passes, rows, expected, self.bytes_read, seconds))

    def name(self, block: Block) -> str:
        """What an error message calls `block`."""
        i = block.first // self.block_size
        return f"block {i} (rows {block.first} to {block.first + block.n_rows - 1})"

    def _checked(self, order: Sequence[int] | None) -> Sequence[int]:
        n_blocks = self.n_blocks
        if order is None:
            return range(sys.maxsize if n_blocks is None else n_blocks)
        order = order if isinstance(order, range) else [operator.index(i) for i in order]
        if not order:
            return order
        ends = (order[0], order[-1]) if isinstance(order, range) else (min(order), max(order))
        if min(ends) < 0 or (n_blocks is not None and max(ends) >= n_blocks):
            there = "from 0 on" if n_blocks is None else f"0 to {n_blocks - 1}"
            raise ValueError(f"`order` holds the numbers {min(ends)} to {max(ends)}; blocks are numbered {there}.")
        if not self.source.addressable:
            run = order.step == 1 if isinstance(order, range) else all(b == a + 1 for a, b in itertools.pairwise(order))
            if not run or (n_blocks is not None and order[-1] != n_blocks - 1):
                raise ValueError(
                    "An iterator gives its blocks in turn: `order` must be a run of numbers to the last one."
                )
        return order

    def _n_rows(self, order: Sequence[int]) -> int | None:
        """Rows of a pass."""
        if self.n_samples is None or self.n_blocks is None:
            return None
        missing = self.n_blocks * self.block_size - self.n_samples
        return len(order) * self.block_size - missing * order.count(self.n_blocks - 1)

    def _fetched(self, order: Sequence[int]) -> Generator[tuple[Any, int, int, Any]]:
        """Rows, number, number of rows and checksum of each block."""
        free: queue.Queue[Any] = queue.Queue()
        filled: queue.Queue[Any] = queue.Queue()
        for _ in range(2):
            free.put(aligned((self.block_size, self.source.n_features), self.dtype))
        thread = threading.Thread(target=self._fill, args=(order, free, filled), daemon=True)
        thread.start()
        try:
            while not isinstance(item := filled.get(), int):
                if isinstance(item, BaseException):
                    raise item
                yield item
                free.put(item[0])
        finally:
            free.put(None)  # the thread ends at its next block
            thread.join()
        if self.n_samples not in (None, item):
            raise ValueError(f"The source has changed: it had {self.n_samples} rows, pass {self.n_passes} met {item}.")
        self.n_samples = item
        if not self.source.addressable and order[0] > -(-item // self.block_size):
            raise ValueError(f"`order` begins at block {order[0]}, and the source ends after {item} rows.")

    def _fill(self, order: Sequence[int], free: queue.Queue, filled: queue.Queue) -> None:
        """Fill buffers as they come free; then tell how many rows there are."""
        try:
            if self.source.addressable:
                read, numbers, turn = self._read, order, None
            else:  # to its end, whatever was expected
                turn = _Turn(self.source.pieces())
                read, numbers = turn.read, itertools.count(order[0])
            for i in numbers:
                if (buffer := free.get()) is None:
                    return
                if not (n_rows := read(i * self.block_size, buffer)):
                    break
                if turn and i > order[-1]:
                    raise ValueError(f"The source goes on behind block {order[-1]}, which was to be the last one.")
                buffer[n_rows:] = 0
                filled.put((buffer, i, n_rows, _checksum(buffer)))
            filled.put(turn.first if turn else self.n_samples)
        except BaseException as error:  # whatever it is, it belongs to the thread that waits
            filled.put(error)

    def _read(self, first: int, out: np.ndarray) -> int:
        n_rows = min(len(out), (self.n_samples or 0) - first)
        self.source.read(first, out[:n_rows])
        return n_rows


class _Turn:
    """Pieces of any number of rows, read one after the other."""

    def __init__(self, pieces: Iterator[np.ndarray]):
        self.pieces, self.piece = pieces, np.empty((0, 0))
        self.first = 0  # the row that the piece begins with

    def read(self, first: int, out: np.ndarray) -> int:
        """Rows from `first` on, not before those read last: as many as `out` holds, or as are left."""
        done = 0
        while done < len(out):
            at = first + done - self.first
            if at < len(self.piece):
                taken = min(len(out) - done, len(self.piece) - at)
                np.copyto(out[done : done + taken], self.piece[at : at + taken], casting="same_kind")
                done += taken
            else:
                self.first += len(self.piece)
                if (piece := next(self.pieces, None)) is None:
                    self.piece = self.piece[:0]
                    break
                self.piece = piece
        return done


def buffer_dtype(stored: np.dtype) -> np.dtype:
    """As stored, in the byte order of the machine; integers that float32 does not hold, and JAX would cut, are converted."""
    wide_integer = stored.kind in "iu" and stored.itemsize > 2
    return np.dtype(np.float32) if wide_integer else stored.newbyteorder("=")


LINE = 512  # numbers of 8 bytes that are summed at once


def _checksum(buffer: np.ndarray) -> int:
    """Of all bits and of their order, at the speed of memory."""
    raw = buffer.reshape(-1).view(np.uint8)
    end = len(raw) - len(raw) % (8 * LINE)
    rest = np.zeros(8 * LINE, np.uint8)
    rest[: len(raw) - end] = raw[end:]
    total = 0
    for part in (raw[:end], rest):
        lines = part.view(np.uint64).reshape(-1, LINE)
        for sums in (lines.sum(0, dtype=np.uint64), lines.sum(1, dtype=np.uint64)):
            odd = 2 * np.arange(len(sums), dtype=np.uint64) + np.uint64(1)
            total = 3 * total + int((sums * odd).sum(dtype=np.uint64))
    return total % 2**64


def report(progress: Progress) -> None:
    """Write a line to standard error: pass, share of the rows, bytes per second."""
    share = "" if progress.n_samples is None else f"{progress.rows / progress.n_samples:4.0%}, "
    rate = f"{progress.rows / max(progress.seconds, 1e-9):,.0f} rows/s"
    done = progress.rows == progress.n_samples
    line = f"\rpass {progress.n_passes}: {share}{progress.rows:,} rows, {progress.bytes_read / 1e9:.2f} GB read, {rate}"
    sys.stderr.write(line + ("\n" if done else ""))
    sys.stderr.flush()
