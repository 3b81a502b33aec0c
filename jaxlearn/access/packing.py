"""The host side of observed entries: from compressed rows to `Observed`, in sizes that nearby matrices share."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from .buckets import row_bucket
from .host import entry_bucket
from .observed import Observed

__all__ = ["pack"]

# Numbers that a batch gathers, with its small Gram matrices.
BATCH_NUMBERS = 1 << 21
# Pieces have about a third of the mean length of a row, between these: long ones make faster products, short ones pad less.
SHORTEST, LONGEST = 16, 128


def pack(indptr: np.ndarray, columns: np.ndarray, values: np.ndarray, n_columns: int, *, n_features: int) -> Observed:
    """Entries in compressed rows, as batches that nearby matrices share the shape of.

    Parameters
    ----------
    indptr : (n_rows + 1,)
        Row i has the entries from ``indptr[i]`` to ``indptr[i + 1]``.
    columns, values : (n_entries,)
    n_columns : int
    n_features : int
        K, numbers that are to be gathered for each entry: a batch is smaller where they are many.

    Returns
    -------
    Observed
        Numbers of rows and of columns are rounded up by `row_bucket`. A batch has room for the longest row.
    """
    counts = np.diff(indptr)
    n_rows, n_columns = row_bucket(len(counts)), row_bucket(n_columns)
    there = np.flatnonzero(counts)
    width = int(np.clip(_power(int(counts[there].mean()) // 2), SHORTEST, LONGEST))
    pieces = -(-counts[there] // width)
    n_pieces = max(_power(BATCH_NUMBERS // (n_features * (width + n_features))), entry_bucket(int(pieces.max())), 32)
    ends = np.concatenate([[0], np.cumsum(pieces)])
    firsts = [0]  # rows that begin a batch
    while firsts[-1] < len(there):
        firsts.append(int(np.searchsorted(ends, ends[firsts[-1]] + n_pieces, side="right")) - 1)
    n_filled, batch_rows = len(firsts) - 1, entry_bucket(int(np.diff(firsts).max()))
    shape = entry_bucket(n_filled), n_pieces

    batch = np.repeat(np.arange(n_filled), np.diff(firsts))  # of each row that is there
    place, first_piece = np.arange(len(there)) - np.take(firsts, batch), ends[:-1] - ends[np.take(firsts, batch)]
    rows = np.full((shape[0], batch_rows), n_rows, np.int32)
    rows[batch, place] = there
    owner = np.full(shape, batch_rows, np.int32)
    within = np.arange(ends[-1]) - np.repeat(ends[:-1], pieces)
    owner[np.repeat(batch, pieces), np.repeat(first_piece, pieces) + within] = np.repeat(place, pieces)

    lengths = counts[there]
    within = np.arange(len(values)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    start = (batch * n_pieces + first_piece) * width  # pieces of a row follow each other
    at = np.repeat(start, lengths) + within
    filled, taken = np.zeros((*shape, width), values.dtype), np.full((*shape, width), n_columns, np.int32)
    filled.reshape(-1)[at], taken.reshape(-1)[at] = values, columns
    padded = np.zeros(n_rows, values.dtype)
    padded[: len(counts)] = counts
    arrays = (filled, taken, owner, rows, padded, np.int32(n_filled))
    return Observed(*map(jnp.asarray, arrays), n_columns=n_columns)  # pyright: ignore[reportCallIssue]


def _power(size: int) -> int:
    """The largest power of two that is not above it."""
    return 1 << max(size.bit_length() - 1, 0)
