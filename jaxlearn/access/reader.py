"""Reading a source on the host, pass by pass: blocks of one shape, the next one read while the last is at work."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .source import ONCE, Source, copy_rows

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
        All rows, where their number is known.
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
        Known from the source, or after one pass.
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
        self._marks: list[int] = []  # of the blocks that the first pass met

    @property
    def exhausted(self) -> bool:
        """Whether another pass is impossible."""
        return self.n_passes > 0 and not self.source.rereadable

    def blocks(self) -> Iterator[Block]:
        """One pass; a block may be used until the next one is asked for."""
        if self.exhausted:
            raise ValueError(ONCE)
        self.n_passes += 1
        free: queue.Queue[Any] = queue.Queue()
        filled: queue.Queue[Any] = queue.Queue()
        for _ in range(2):
            free.put(_aligned((self.block_size, self.source.n_features), self.dtype))
        thread = threading.Thread(target=self._fill, args=(free, filled), daemon=True)
        thread.start()
        began, rows = time.perf_counter(), 0
        try:
            while (item := filled.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                buffer, n_rows, mark = item
                block = Block(buffer, n_rows, rows)
                self._check(block, mark)
                yield block
                rows += n_rows
                self.bytes_read += n_rows * self.source.n_features * self.source.dtype.itemsize
                if self.progress is not None:
                    seconds = time.perf_counter() - began
                    self.progress(Progress(self.n_passes, rows, self.n_samples, self.bytes_read, seconds))
                free.put(buffer)
        finally:
            free.put(None)  # the thread ends at its next block
            thread.join()
        if self.n_samples is not None and rows != self.n_samples:
            raise ValueError(f"The source has changed: it had {self.n_samples} rows, pass {self.n_passes} met {rows}.")
        self.n_samples = rows

    def _check(self, block: Block, mark: int) -> None:
        """Refuse a block whose `mark`, a checksum, is not that of an earlier pass."""
        i = block.first // self.block_size
        if i == len(self._marks):
            self._marks.append(mark)
        elif self._marks[i] != mark:
            raise ValueError(f"The source has changed since it was first read: {self.name(block)} differs.")

    def name(self, block: Block) -> str:
        """What an error message calls `block`."""
        i = block.first // self.block_size
        return f"block {i} (rows {block.first} to {block.first + block.n_rows - 1})"

    def _fill(self, free: queue.Queue, filled: queue.Queue) -> None:
        try:
            buffer, used = free.get(), 0
            for piece in self.source.pieces():
                at = 0
                while at < len(piece) and buffer is not None:
                    taken = min(self.block_size - used, len(piece) - at)
                    copy_rows(piece, at, buffer[used : used + taken])
                    used, at = used + taken, at + taken
                    if used == self.block_size:
                        self.source.release()
                        filled.put((buffer, used, _checksum(buffer)))
                        buffer, used = free.get(), 0
                if buffer is None:
                    return
            if used:
                buffer[used:] = 0
                filled.put((buffer, used, _checksum(buffer)))
            filled.put(None)
        except BaseException as error:  # whatever it is, it belongs to the thread that waits
            filled.put(error)


def buffer_dtype(stored: np.dtype) -> np.dtype:
    """As stored, in the byte order of the machine; integers that float32 does not hold, and JAX would cut, are converted."""
    wide_integer = stored.kind in "iu" and stored.itemsize > 2
    return np.dtype(np.float32) if wide_integer else stored.newbyteorder("=")


def _aligned(shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """Memory that a CPU device uses where it lies; other alignments it copies."""
    size = shape[0] * shape[1] * dtype.itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


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
