"""Rows with targets, batch by batch: from arrays, streams, and any iterable of batches, in an order that can be repeated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from jaxlearn.access.scan import BLOCKS, ROWS, permutation
from jaxlearn.access.streamed import Streamed

from .inputs import FLOATS, check_sample_weight

__all__ = ["Batch", "batches_of_arrays", "batches_of_iterable", "batches_of_stream", "is_iterable_of_batches"]


class Batch(NamedTuple):
    """Some rows.

    Attributes
    ----------
    X : ndarray, CSR or jax.Array, (b, n_features)
    y : ndarray, (b,) or (b, k)
    sample_weight : ndarray, (b,)
    name : str
        What an error message calls it.
    """

    X: Any
    y: np.ndarray
    sample_weight: np.ndarray
    name: str


def is_iterable_of_batches(X: Any, y: Any) -> bool:
    """Whether X gives (X, y) or (X, y, sample_weight) when it is iterated over, and is no matrix itself."""
    if y is not None or isinstance(X, Streamed | list | tuple | str) or scipy.sparse.issparse(X):
        return False
    matrix = any(hasattr(X, name) for name in ("shape", "__array__", "__dataframe__"))
    return not matrix and isinstance(X, Iterable)


def batches_of_arrays(
    X: Any, y: np.ndarray, sample_weight: np.ndarray, size: int, *, seed: int, shuffle: bool = True
) -> Iterator[Batch]:
    """Batches of `size` rows, the last one shorter; their order is a pure function of the seed."""
    n = X.shape[0]
    order = permutation(n, seed, ROWS) if shuffle else None
    for start in range(0, n, size):
        rows: Any = slice(start, start + size) if order is None else order[start : start + size]
        yield Batch(X[rows], y[rows], sample_weight[rows], f"batch {start // size}")


def batches_of_stream(
    X: Streamed, y: np.ndarray, sample_weight: np.ndarray, size: int, *, seed: int, shuffle: bool = True
) -> Iterator[Batch]:
    """Batches from the blocks of a stream: blocks in an order of their own, and the rows inside of each."""
    reader = X.reader
    n_blocks = reader.n_blocks
    order = None
    if n_blocks is not None and shuffle and reader.source.addressable:
        order = permutation(n_blocks, seed, BLOCKS).tolist()
    scale = reader.source.scale
    for block in reader.blocks(order):
        rows = np.asarray(block.rows)[: block.n_rows]
        rows = rows.astype(np.float64 if rows.dtype == np.float64 else np.float32)  # a copy: the buffer is filled anew
        rows = rows if scale is None else rows * scale.astype(rows.dtype)[None]
        here = slice(block.first, block.first + block.n_rows)
        if len(y[here]) != block.n_rows:
            raise ValueError(f"`y` has {len(y)} values, and the stream has more rows.")
        check_finite_rows(rows, reader.name(block))
        inside = permutation(block.n_rows, seed, ROWS, block.first) if shuffle else np.arange(block.n_rows)
        for start in range(0, block.n_rows, size):
            chosen = inside[start : start + size]
            yield Batch(rows[chosen], y[here][chosen], sample_weight[here][chosen], reader.name(block))


def batches_of_iterable(batches: Iterable[Any]) -> Iterator[Batch]:
    """Whatever the iterable gives, checked: tuples (X, y) or (X, y, sample_weight) of arrays."""
    n_features = dtype = None
    for i, item in enumerate(batches):
        name = f"batch {i}"
        if not isinstance(item, tuple | list) or len(item) not in (2, 3):
            raise ValueError(f"{name} is {type(item).__name__}; expected a tuple (X, y) or (X, y, sample_weight).")
        X = item[0].tocsr() if scipy.sparse.issparse(item[0]) else np.asarray(item[0])
        y = np.asarray(item[1])
        if X.ndim != 2 or (n_features is not None and X.shape[1] != n_features):
            raise ValueError(f"{name} has X of shape {X.shape}; expected (rows, {n_features or 'n_features'}).")
        if y.shape[:1] != X.shape[:1]:
            raise ValueError(f"{name} has {X.shape[0]} rows and {y.shape[:1]} targets.")
        X = X if X.dtype in FLOATS else X.astype(np.float64 if X.dtype.kind in "iub" else np.float32)
        if dtype is not None and X.dtype != dtype:
            raise ValueError(f"{name} has dtype {X.dtype}; those before had {dtype}.")
        n_features, dtype = X.shape[1], X.dtype
        check_finite_rows(np.asarray(X.data if scipy.sparse.issparse(X) else X), name)
        yield Batch(X, y, check_sample_weight(item[2] if len(item) == 3 else None, X.shape[0], X.dtype), name)


def check_finite_rows(rows: np.ndarray, name: str) -> None:
    """Refuse NaN and infinity, by the name of the batch."""
    if not np.isfinite(rows).all():
        kind = "NaN" if np.isnan(rows).any() else "infinity or a value too large for its dtype"
        raise ValueError(f"Input X contains {kind}: see {name}.")
