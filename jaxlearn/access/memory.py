"""Memory that a CPU device uses where it lies, and copies into it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

__all__ = ["aligned", "fill", "n_cores"]

# Bytes that a thread copies at a time.
CHUNK = 1 << 23


def n_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros, at a multiple of 64 bytes. Arrays that begin elsewhere are copied for each program."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def fill(target: np.ndarray, source: np.ndarray, shift: np.ndarray | None = None) -> None:
    """``target[:len(source)] = source − shift``, by several threads where there is much: new memory is slow at first."""
    step = max(1, CHUNK // max(source[:1].nbytes, 1))

    def one(first: int) -> None:
        rows = slice(first, min(first + step, len(source)))
        if shift is None:
            target[rows] = source[rows]
        else:
            np.subtract(source[rows], shift, out=target[rows])

    if len(source) <= step:
        one(0)
    else:
        with ThreadPoolExecutor() as pool:
            list(pool.map(one, range(0, len(source), step)))
