"""Smoothing of naive Bayes by cross-validation: all folds and all values from one reading of the statistics."""

from __future__ import annotations

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
    with jax.enable_x64(True):
        if scipy.sparse.issparse(X):
            rows: Any = split_rows(scipy.sparse.csr_array(X)[order.ravel()], len(folds), n_rows=size)
        else:
            rows = X[order]
        model = estimator._model_of(X)
        found = jax.device_get(_scores(model, rows, codes, values, weight[order] * there, n_classes=len(classes)))
    return SmoothingScores(values, np.asarray(found.accuracy), np.asarray(found.log_likelihood))


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


_scores = jax.jit(naive_bayes.cross_validate, static_argnames="n_classes")
