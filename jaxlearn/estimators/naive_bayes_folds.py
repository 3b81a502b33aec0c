"""Smoothing of naive Bayes by cross-validation: all folds and all values from one reading of the statistics."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.sparse
from sklearn.model_selection import check_cv
from sklearn.utils.multiclass import check_classification_targets

from jaxlearn.access.buckets import row_bucket
from jaxlearn.access.host import split_rows
from jaxlearn.access.mesh import row_mesh
from jaxlearn.models import naive_bayes

from .base import in_threads
from .labels import codes_of, labels_of

__all__ = ["SmoothingScores", "score_smoothing"]


class SmoothingScores(NamedTuple):
    """Of the rows of each fold, by fits to those of all others.

    Attributes
    ----------
    values : ndarray of shape (n_values,)
    accuracy, log_likelihood : ndarray of shape (n_values, n_folds)
        Weighted shares of the rows whose class is the likeliest one, and means of the log-probability of their class.
    """

    values: np.ndarray
    accuracy: np.ndarray
    log_likelihood: np.ndarray


def score_smoothing(estimator: Any, X: Any, y: Any, values: Any, *, sample_weight: Any, cv: Any) -> SmoothingScores:
    """As `NaiveBayes.cross_validate`; `estimator` is a clone that may be written to."""
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values) or not (values >= 0).all():
        raise ValueError(f"`values` must be a list of numbers >= 0, got {values!r}.")
    X, y, weight = estimator._read(X, y, sample_weight)
    check_classification_targets(y)
    estimator.classes_ = classes = labels_of(y)
    estimator._check_parameters()
    if isinstance(X, jax.Array) and row_mesh(X) is not None:
        raise ValueError("cross_validate takes rows of one device: of several, GridSearchCV fits each fold by itself.")
    splitter: Any = check_cv(cv, y, classifier=True)
    folds = _partition(list(splitter.split(np.empty((len(y), 0)), y)), len(y))
    size = row_bucket(max(map(len, folds)))
    order = np.stack([np.resize(fold, size) for fold in folds])
    there = np.arange(size)[None] < np.array([[len(fold)] for fold in folds])
    codes = codes_of(y, classes, "y")[order]
    csr: Any = scipy.sparse.csr_array(X)[order.ravel()] if scipy.sparse.issparse(X) else None
    with jax.enable_x64(True):
        model, rows = estimator._model_of(X), X[order] if csr is None else split_rows(csr, len(folds), n_rows=size)
    y_and_weight, smoothing = (codes, weight[order] * there), values
    sums = lambda fold: _sums(model, *fold, n_classes=len(classes))  # noqa: E731
    parts = list(in_threads(sums, _each((rows, *y_and_weight), len(folds))))
    with jax.enable_x64(True):
        total = functools.reduce(_merge, parts)
        others = [jax.device_get(_without(total, part)) for part in parts]
        if csr is not None and _merges_features(model):
            rows, others, times = _narrowed(csr, others)
            smoothing = values[:, None] * times[None]
    found = in_threads(
        lambda task: _score(model, task[0], *task[1][:2], smoothing, sample_weight=task[1][2]),
        zip(others, _each((rows, *y_and_weight), len(folds)), strict=True),
    )
    return SmoothingScores(values, *(np.stack(columns, axis=1) for columns in zip(*found, strict=True)))


def _partition(folds: list[tuple[Any, Any]], n_samples: int) -> list[np.ndarray]:
    """The rows of each fold, each of which is learnt from wherever it is not tested."""
    places = np.arange(n_samples)
    tests = [places[test] for _, test in folds]
    apart = np.array_equal(np.sort(np.concatenate(tests)), places)
    if not apart or any(
        not np.array_equal(np.sort(places[train]), np.setdiff1d(places, test))
        for (train, _), test in zip(folds, tests, strict=True)
    ):
        raise ValueError(
            "cross_validate takes folds that divide the rows, as KFold and StratifiedKFold do: what is learnt from is all that "
            "is not in a fold. For others use sklearn.model_selection.cross_validate."
        )
    return tests


def _merges_features(model: naive_bayes.Model) -> bool:
    """Whether features that no row has matter by the sums of their counts and alphas alone."""
    return type(model) is naive_bayes.Multinomial or (isinstance(model, naive_bayes.Complement) and not model.norm)


def _narrowed(csr: Any, others: list[naive_bayes.Counts]) -> tuple[Any, list[naive_bayes.Counts], np.ndarray]:
    """Rows and counts in which most features that no row of a fold has are one: a logarithm of each is what takes time.

    Returns
    -------
    rows : Sparse
        Those of each fold, stacked.
    others : list of Counts
    times : ndarray, (n_columns,)
        Features that a column stands for.
    """
    n_folds, n_features = len(others), csr.shape[1]
    size = csr.shape[0] // n_folds
    there = np.zeros((n_folds, n_features), bool)
    for k in range(n_folds):
        there[k, csr[k * size : (k + 1) * size].indices] = True
    width = row_bucket(int(there.sum(1).max()))
    if width >= n_features:
        return split_rows(csr, n_folds, n_rows=size), others, np.ones(n_features)
    columns, narrow = [], []
    for k, seen in enumerate(others):
        kept = np.sort(np.argsort(~there[k], kind="stable")[:width])
        place = np.full(n_features, width, np.int32)
        place[kept] = np.arange(width)
        columns.append(place[csr[k * size : (k + 1) * size].indices])
        counts = seen.counts[:, kept]
        rest = np.maximum(seen.counts.sum(1) - counts.sum(1), 0)
        narrow.append(dataclasses.replace(seen, counts=np.column_stack([counts, rest])))
    merged = scipy.sparse.csr_array((csr.data, np.concatenate(columns), csr.indptr), (csr.shape[0], width + 1))
    return split_rows(merged, n_folds, n_rows=size), narrow, np.append(np.ones(width), n_features - width)


def _each(stacked: Any, n_folds: int) -> Iterator[Any]:
    """The rows of each fold."""
    return (jax.tree.map(lambda leaf: leaf[k], stacked) for k in range(n_folds))  # noqa: B023


_sums = jax.jit(naive_bayes.statistics, static_argnames="n_classes")
_merge, _without, _score = (jax.jit(f) for f in (naive_bayes.merge, naive_bayes.without, naive_bayes.score))
