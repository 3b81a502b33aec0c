"""Rows with targets, batch by batch: from arrays, streams, and any iterable of batches, in an order that can be repeated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from jaxlearn.access.scan import BLOCKS, ROWS, in_order, permutation
from jaxlearn.access.streamed import Streamed

from .inputs import FLOATS, check_sample_weight

__all__ = [
    "Batch",
    "Kind",
    "as_meant",
    "taken",
    "batches_of_arrays",
    "batches_of_iterable",
    "batches_of_stream",
    "checked",
    "is_iterable_of_batches",
    "kind_of",
]


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
    X: Streamed, y: np.ndarray, sample_weight: np.ndarray, size: int, *, seed: int, shuffle: bool = True, epoch: int = 0
) -> Iterator[Batch]:
    """Batches from the blocks of a stream: blocks in an order of the epoch, and the rows inside of each."""
    reader = X.reader
    n_blocks, n_seen = reader.n_blocks, 0
    order = None
    if n_blocks is not None and shuffle and reader.source.addressable:
        order = permutation(n_blocks, seed, BLOCKS, epoch).tolist()
    for block in reader.blocks(order):
        name = reader.name(block)
        rows = as_meant(np.asarray(block.rows)[: block.n_rows], reader.source)
        here = slice(block.first, block.first + block.n_rows)
        if len(y[here]) != block.n_rows:
            raise ValueError(f"`y` has {len(y)} values, and the stream has more rows: see {name}.")
        check_finite_rows(rows, name)
        inside = permutation(block.n_rows, seed, ROWS, epoch, block.first) if shuffle else np.arange(block.n_rows)
        for start in range(0, block.n_rows, size):
            chosen = inside[start : start + size]
            yield Batch(rows[chosen], y[here][chosen], sample_weight[here][chosen], name)
        n_seen += block.n_rows
    if n_seen != len(y):
        raise ValueError(f"The stream ended after {n_seen} rows, and `y` has {len(y)} values.")


def as_meant(rows: np.ndarray, source: Any) -> np.ndarray:
    """A copy, since buffers are filled anew, of rows as stored: as floating-point numbers, scaled, features in order."""
    rows = rows.astype(np.float64 if rows.dtype == np.float64 else np.float32)
    rows = rows if source.scale is None else rows * source.scale.astype(rows.dtype)[None]
    columns = getattr(source, "columns", None)
    return rows if columns is None else in_order(rows, columns)


def taken(reader: Any, chosen: np.ndarray) -> np.ndarray:
    """Rows of an addressable source by their numbers, as they are meant."""
    out = np.zeros((len(chosen), reader.source.n_features), reader.dtype)
    reader.source.take(chosen, out)
    return as_meant(out, reader.source)


class Kind(NamedTuple):
    """What all batches of an iterable share."""

    shape: tuple[int, ...]
    """Of a sample."""
    dtype: np.dtype
    sparse: bool


def kind_of(batch: Batch) -> Kind:
    """Of this batch."""
    return Kind(batch.X.shape[1:], np.dtype(batch.X.dtype), scipy.sparse.issparse(batch.X))


def batches_of_iterable(batches: Iterable[Any]) -> Iterator[Batch]:
    """Whatever the iterable gives, checked: tuples (X, y) or (X, y, sample_weight) of arrays."""
    kind = None
    for i, item in enumerate(batches):
        batch = checked(item, f"batch {i}", kind)
        kind = kind_of(batch)
        yield batch


def checked(item: Any, name: str, kind: Kind | None, *, any_shape: bool = False) -> Batch:
    """One of the tuples that an iterable gives, of the same kind as those before.

    Parameters
    ----------
    item : tuple
        (X, y) or (X, y, sample_weight).
    name : str
    kind : Kind or None
        None for the first one.
    any_shape : bool
        Samples may be other than vectors.
    """
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        raise ValueError(f"{name} is {type(item).__name__}; expected a tuple (X, y) or (X, y, sample_weight).")
    X = item[0].tocsr() if scipy.sparse.issparse(item[0]) else np.asarray(item[0])
    y = np.asarray(item[1])
    if (X.ndim != 2 and not (any_shape and X.ndim > 2)) or (kind is not None and X.shape[1:] != kind.shape):
        shape = "n_features" if kind is None else ", ".join(map(str, kind.shape))
        raise ValueError(f"{name} has X of shape {X.shape}; expected (rows, {shape}).")
    if y.shape[:1] != X.shape[:1]:
        raise ValueError(f"{name} has {X.shape[0]} rows and {y.shape[:1]} targets.")
    X = X if X.dtype in FLOATS else X.astype(np.float64 if X.dtype.kind in "iub" else np.float32)
    if kind is not None and X.dtype != kind.dtype:
        raise ValueError(f"{name} has dtype {X.dtype}; those before had {kind.dtype}.")
    if kind is not None and scipy.sparse.issparse(X) != kind.sparse:
        raise ValueError(f"{name} is {'dense' if kind.sparse else 'sparse'}; those before were not.")
    check_finite_rows(np.asarray(X.data if scipy.sparse.issparse(X) else X), name)
    try:
        weight = check_sample_weight(item[2] if len(item) == 3 else None, X.shape[0], X.dtype)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return Batch(X, y, weight, name)


def check_finite_rows(rows: np.ndarray, name: str) -> None:
    """Refuse NaN and infinity, by the name of the batch."""
    if not np.isfinite(rows).all():
        kind = "NaN" if np.isnan(rows).any() else "infinity or a value too large for its dtype"
        raise ValueError(f"Input X contains {kind}: see {name}.")
