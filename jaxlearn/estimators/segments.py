"""Rows with targets that pass by in each epoch, cut to segments of one shape: one compiled program learns from all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse

from jaxlearn.access.scan import ROWS, permutation
from jaxlearn.access.streamed import Streamed
from jaxlearn.access.virtual import Virtual

from .batches import Batch, Kind, batches_of_stream, checked, is_iterable_of_batches, kind_of, taken
from .inputs import _target, check_sample_weight
from .rows import mapped

__all__ = ["Passing", "Source", "numeric_targets", "open_rows", "refuse_passing", "refuse_unseen"]

# Rows of a segment, and bytes, up to which small batches of an iterable are put together: each segment is a dispatch.
TOGETHER, TOGETHER_BYTES = 1024, 1 << 24


class Source:
    """Where the batches of an epoch come from.

    Attributes
    ----------
    kind : Kind
        Of the rows.
    y : ndarray
        All targets of a stream, those of the first batch of an iterable.
    weight : ndarray or None
        All weights of a stream.
    n_rows : int or None
        None where an iterable does not tell.
    n_together : int
        Rows of a segment, or a few more.
    rereadable : bool
        Whether there may be a second epoch.
    """

    kind: Kind
    y: np.ndarray
    weight: np.ndarray | None
    n_rows: int | None
    n_together: int
    rereadable: bool

    def batches(self, epoch: int, seed: int, shuffle: bool) -> Iterator[Batch]:
        """All of an epoch, of any number of rows each."""
        raise NotImplementedError

    def sample(self, n_rows: int, seed: int) -> np.ndarray | None:
        """At most so many rows, drawn at random; None where that would cost much, or is impossible."""
        return None


class _StreamSource(Source):
    def __init__(self, X: Streamed, y: np.ndarray, sample_weight: Any):
        reader = X.reader
        if reader.n_samples is not None and len(y) != reader.n_samples:
            raise ValueError(f"X has {reader.n_samples} rows, and y {len(y)}.")
        dtype = np.dtype(np.float64 if reader.dtype == np.float64 else np.float32)
        self.X, self.y, self.n_rows, self.n_together = X, y, len(y), reader.block_size
        self.weight = weight = check_sample_weight(sample_weight, len(y), dtype)
        self.read = partial(batches_of_stream, X, y, weight, reader.block_size)
        self.kind, self.rereadable = Kind((X.n_features,), dtype, False), X.rereadable

    def batches(self, epoch, seed, shuffle):
        return self.read(seed=seed, shuffle=shuffle, epoch=epoch)

    def sample(self, n_rows, seed):
        reader = self.X.reader
        source = reader.source
        if not source.addressable or isinstance(source, Virtual):
            return None
        chosen = permutation(len(self.y), seed, ROWS)[:n_rows]  # those of the same rows in memory
        return taken(reader, chosen)


class _IterableSource(Source):
    n_rows = weight = None

    def __init__(self, iterable: Iterable[Any], max_iter: int, any_shape: bool):
        self.iterable, self.any_shape = iterable, any_shape
        iterator = iter(iterable)
        self.rereadable = iterator is not iterable
        _refuse_second_pass(self.rereadable, max_iter, "an iterable that can be iterated again")
        first = next(iterator, None)
        if first is None:
            raise ValueError("The iterable gave no batch.")
        batch = checked(first, "batch 0", None, any_shape=any_shape)
        self.kind, self.y = kind_of(batch), batch.y
        row_bytes = max(int(np.prod(self.kind.shape)) * self.kind.dtype.itemsize, 1)
        self.n_together = max(len(batch.y), min(TOGETHER, TOGETHER_BYTES // row_bytes), 1)
        self.begun: Any = batch, iterator  # of the first epoch

    def batches(self, epoch, seed, shuffle):
        (first, iterator), self.begun = self.begun or (None, iter(self.iterable)), None
        n_batches = 0
        if first is not None:
            yield first
            first, n_batches = None, 1
        for item in iterator:
            name = f"batch {n_batches}" + (f" of epoch {epoch + 1}" if epoch else "")
            yield checked(item, name, self.kind, any_shape=self.any_shape)
            n_batches += 1
        if not n_batches:
            raise ValueError(
                f"Epoch {epoch + 1} got no batch: the iterable is used up. Set max_iter=1, or give one that can be iterated "
                "again."
            )


def open_rows(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    multi_output: bool = True,
    y_numeric: bool = True,
    any_shape: bool = False,
) -> Source | None:
    """The source that X is, where it is not held in memory: a stream, a large memory map, or an iterable of batches.

    Parameters
    ----------
    estimator : object
        Its `max_iter` says how often the source will be read; its `early_stopping` is refused.
    X, y, sample_weight
        Given to `fit`.
    multi_output, y_numeric : bool
        Of the targets.
    any_shape : bool
        Samples may be other than vectors.
    """
    X = mapped(X)
    if not isinstance(X, Streamed) and not is_iterable_of_batches(X, y):
        return None
    if getattr(estimator, "early_stopping", False):
        raise ValueError(
            "early_stopping holds out rows, and a stream or an iterable passes all of them by: set early_stopping=False, and "
            "end the fit by `tol` and `n_iter_no_change`, or by `max_iter`."
        )
    source: Source
    if isinstance(X, Streamed):
        _refuse_second_pass(X.rereadable, estimator.max_iter, "`stream` a function that returns a new iterator")
        source = _StreamSource(X, _target(estimator, y, multi_output, y_numeric), sample_weight)
    else:
        if sample_weight is not None:
            raise ValueError("Weights of an iterable of batches come with them: as (X, y, sample_weight).")
        source = _IterableSource(X, estimator.max_iter, any_shape)
    vars(estimator).pop("feature_names_in_", None)
    if len(source.kind.shape) == 1:
        estimator.n_features_in_ = source.kind.shape[0]
    return source


def _refuse_second_pass(rereadable: bool, max_iter: int, remedy: str) -> None:
    if not rereadable and max_iter > 1:
        raise ValueError(
            f"An iterator can be read once, and max_iter={max_iter} asks for epoch 2: set max_iter=1, or give {remedy}."
        )


def refuse_passing(X: Any, y: Any) -> None:
    """`partial_fit` takes what is at hand."""
    if isinstance(X, Streamed) or is_iterable_of_batches(X, y):
        raise ValueError(
            "partial_fit learns from rows in memory: a stream, or an iterable of batches, is learnt from by fit."
        )


class Passing:
    """Segments of `size` rows, a multiple of the batch size: the same batches, however the source is cut.

    Parameters
    ----------
    source : Source
    encode : callable
        What a program is given, instead of a batch as it comes: a batch with other targets and weights.
    batch_size : int
    """

    def __init__(self, source: Source, encode: Callable[[Batch], Batch], batch_size: int):
        self.source, self.encode, self.batch_size = source, encode, batch_size
        self.size = -(-source.n_together // batch_size) * batch_size
        self._begun: tuple[list[Batch], Iterator[Batch]] | None = None  # what was looked at of an epoch, and the rest

    def sample(self, n_rows: int, seed: int, shuffle: bool) -> Any:
        """At most so many rows, before an epoch is learnt from: those it begins with, if need be."""
        drawn = self.source.sample(n_rows, seed)
        if drawn is not None:
            return drawn
        seen, segments = [], self._cut(0, seed, shuffle)
        while sum(len(segment.y) for segment in seen) < n_rows and (segment := next(segments, None)) is not None:
            seen.append(segment)
        self._begun = seen, segments
        return _stacked([segment.X for segment in seen])[:n_rows]

    def segments(self, epoch: int, seed: int, shuffle: bool) -> Iterator[Batch]:
        """All of an epoch; the last one may have fewer rows."""
        (seen, rest), self._begun = self._begun or ([], self._cut(epoch, seed, shuffle)), None
        while seen:
            yield seen.pop(0)
        yield from rest

    def _cut(self, epoch: int, seed: int, shuffle: bool) -> Iterator[Batch]:
        held: list[Batch] = []
        n_held = 0
        for batch in map(self.encode, self.source.batches(epoch, seed, shuffle)):
            start, n_rows = 0, len(batch.y)
            while start < n_rows:
                part = slice(start, start + self.size - n_held)
                held.append(Batch(batch.X[part], batch.y[part], batch.sample_weight[part], batch.name))
                n_held, start = n_held + len(held[-1].y), part.stop
                if n_held == self.size:
                    yield _joined(held)
                    held, n_held = [], 0
        if held:
            yield _joined(held)


def _joined(parts: list[Batch]) -> Batch:
    if len(parts) == 1:
        return parts[0]
    X, y, weight, names = zip(*parts, strict=True)
    return Batch(_stacked(X), np.concatenate(y), np.concatenate(weight), names[0])


def _stacked(parts: Sequence[Any]) -> Any:
    return scipy.sparse.vstack(parts, format="csr") if scipy.sparse.issparse(parts[0]) else np.concatenate(parts)


def numeric_targets(batch: Batch, n_outputs: int) -> np.ndarray:
    """Targets (b, n_outputs) in the dtype of the rows."""
    y = np.asarray(batch.y, batch.X.dtype)
    if int(np.prod(y.shape[1:])) != n_outputs:
        raise ValueError(f"{batch.name} has targets of shape {batch.y.shape}; expected {n_outputs} for each row.")
    if not np.isfinite(y).all():
        raise ValueError(f"Input y contains NaN or infinity: see {batch.name}.")
    return y.reshape(len(y), -1)


def refuse_unseen(y: np.ndarray, classes: np.ndarray, name: str) -> None:
    """Labels that are not among the classes, by the name of the batch."""
    unseen = np.setdiff1d(y, classes)
    if len(unseen):
        raise ValueError(f"{name} has the classes {unseen.tolist()}, which are not among {classes.tolist()}.")
