"""Numbers in fewer bits, on the host: int8 and float16, with a scale for each column where they need one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from .memory import n_cores

__all__ = ["LARGEST", "Quantizer", "TooLarge", "column_scale"]

LARGEST = {"int8": 127.0, "float16": 65504.0, "float32": float(np.finfo(np.float32).max)}
# Columns whose largest number is within these are stored in float16 as they are: numbers a thousand times smaller keep
# their eleven bits, and numbers that are still to come may be two hundred times larger.
PLAIN_HALF = 2.0**-4, 2.0**8
# Bytes that a thread converts at once.
CHUNK_BYTES = 1 << 22


class TooLarge(ValueError):
    """A number that the scale of its column does not reach."""


class Quantizer:
    """From rows as a source has them to rows as they are stored.

    Parameters
    ----------
    dtype : {"int8", "float16", "float32"}
        Stored.
    given : ndarray, (n_features,), or None
        Scale that the source has.
    columns : ndarray of int, (n_features,), or None
        Stored column j is feature ``columns[j]``.
    scale : ndarray, (n_features,), or None
        What stored numbers are multiplied by, in the order of the stored columns.
    """

    def __init__(self, dtype: str, given: Any = None, columns: Any = None, scale: Any = None):
        self.dtype, self.given, self.columns, self.scale = dtype, given, columns, scale

    def largest(self, rows: np.ndarray, numbers: np.ndarray, name: str) -> np.ndarray:
        """Largest absolute number of each stored column; `numbers` and `name` say in an error message which rows these are."""

        def largest(at: slice) -> np.ndarray:
            return self._largest(self._values(rows[at]), numbers[at], name)

        return np.max(_by_chunks(largest, rows), axis=0)

    def __call__(self, rows: np.ndarray, numbers: np.ndarray, name: str) -> np.ndarray:
        """Rows as stored.

        Raises
        ------
        ValueError
            A number is not finite, or too large for float32.
        TooLarge
            A number needs another scale.
        """
        stored = np.empty(rows.shape, self.dtype)
        limit = np.float64(LARGEST[self.dtype] * (1 + 1e-6))  # what rounding a scale to float32 adds is rounded away
        limit = limit if self.scale is None else limit * self.scale

        def store(at: slice) -> None:
            values = self._values(rows[at])
            if (self._largest(values, numbers[at], name) > limit).any():
                raise TooLarge(f"Numbers in {name} are too large for {self.dtype}.")
            if self.scale is not None:
                values = values / self.scale[None]
            stored[at] = np.rint(values) if self.dtype == "int8" else values

        _by_chunks(store, rows)
        return stored

    def _values(self, rows: np.ndarray) -> np.ndarray:
        """What the numbers stand for, in the order of the stored columns."""
        values = rows.astype(np.result_type(rows.dtype, np.float32), copy=False)
        if self.given is not None:
            values = values * self.given[None]
        return values if self.columns is None else values.take(self.columns, axis=1)

    def _largest(self, values: np.ndarray, numbers: np.ndarray, name: str) -> np.ndarray:
        largest = np.maximum(values.max(0), -values.min(0))  # NaN if a number is
        if not (largest <= LARGEST["float32"]).all():
            bad = numbers[~(np.abs(values) <= LARGEST["float32"]).all(1)]
            more = ", …" if len(bad) > 5 else ""
            raise ValueError(
                "Input X contains NaN, infinity or a value too large for float32: see "
                f"{name}, rows {', '.join(map(str, bad[:5]))}{more}."
            )
        return largest


def _by_chunks(work: Callable[[slice], Any], rows: np.ndarray) -> list[Any]:
    """By all cores: to narrow a number takes longer than to read it."""
    step = max(1, CHUNK_BYTES // (4 * rows.shape[1]))
    with ThreadPoolExecutor(n_cores()) as pool:
        return list(pool.map(work, (slice(first, first + step) for first in range(0, len(rows), step))))


def column_scale(dtype: str, largest: np.ndarray, exact: bool) -> np.ndarray | None:
    """What numbers of `dtype` are to be multiplied by, for columns whose largest numbers are these; None if by one.

    int8 has 127 steps up to the largest number. A scale of float16 is a power of two, which rounds nothing. It puts the
    largest of all numbers (`exact`) where float16 ends, and the largest of the first rows in the middle of its range:
    later ones may be sixty thousand times larger, and as many times smaller before they lose bits.
    """
    tiny = np.finfo(np.float32).tiny
    if dtype == "int8":
        return np.where(largest > 0, np.maximum(largest / LARGEST[dtype], tiny), 1).astype(np.float32)
    low, high = PLAIN_HALF
    if dtype == "float32" or ((largest == 0) | ((largest >= low) & (largest <= high))).all():
        return None
    _, exponents = np.frexp(np.maximum(largest, tiny))  # the largest is between a half and one of that power
    exponents = np.clip(exponents - 15 if exact else exponents, -126, 127)
    return np.where(largest > 0, np.ldexp(np.float32(1), exponents), 1).astype(np.float32)
