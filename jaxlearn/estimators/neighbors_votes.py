"""Votes and means of neighbours: what classifiers and regressors have in common."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.multiclass import check_classification_targets

from .constraints import ONE_OF

__all__ = ["WEIGHTS", "Votes", "as_rows", "encode", "votes_of"]

WEIGHTS: dict = {"weights": [ONE_OF("uniform", "distance"), callable, None]}


def encode(estimator: Any, y: np.ndarray) -> None:
    """Adopt `classes_`, and `_y` as their numbers: lists of classes and columns of numbers where there are several outputs."""
    check_classification_targets(y)
    estimator.outputs_2d_ = y.ndim == 2 and y.shape[1] > 1
    if y.ndim == 2 and not estimator.outputs_2d_:
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected. Please change the shape of y to (n_samples,), for "
            "example using ravel().",
            DataConversionWarning,
            stacklevel=3,
        )
    columns = [np.unique(column, return_inverse=True) for column in y.reshape(len(y), -1).T]
    estimator.classes_ = [classes for classes, _ in columns]
    estimator._y = np.stack([codes for _, codes in columns], axis=1)
    if not estimator.outputs_2d_:
        estimator.classes_, estimator._y = estimator.classes_[0], estimator._y[:, 0]


class Votes:
    """Neighbours of all queries, in one list, with their weights.

    Parameters
    ----------
    places : ndarray of shape (n_votes,)
    weights : ndarray of shape (n_votes,) or None
        None for weights of one.
    counts : ndarray of shape (n_queries,)
        How many of them belong to each query.
    """

    def __init__(self, places: np.ndarray, weights: np.ndarray | None, counts: np.ndarray):
        n_queries = len(counts)
        weights = np.ones(len(places)) if weights is None else weights.astype(np.float64)
        bounds = np.concatenate([[0], np.cumsum(counts)])
        self.matrix = lambda columns, width: scipy.sparse.csr_array(
            (weights, columns, bounds), shape=(n_queries, width)
        )
        self.places, self.counts = places, counts

    def by_class(self, codes: np.ndarray, n_classes: int) -> np.ndarray:
        """Sums of the weights of each class, (n_queries, n_classes)."""
        return self.matrix(codes[self.places], n_classes).toarray()

    def mean(self, y: np.ndarray) -> np.ndarray:
        """Weighted means of the targets, (n_queries, n_outputs); NaN where no neighbour is."""
        totals = self.matrix(self.places, len(y))
        with np.errstate(invalid="ignore"):
            return (totals @ y) / np.asarray(totals.sum(axis=1)).reshape(-1, 1)


def votes_of(distances: Any, places: Any, weights: Any) -> Votes:
    """Of neighbours in a matrix, or in an array of arrays.

    Parameters
    ----------
    distances, places : ndarray of shape (n_queries, k), or of n_queries arrays
    weights : {"uniform", "distance"}, callable or None
    """
    counts = np.array([len(row) for row in places], int)
    flat = lambda rows: np.concatenate([*rows, np.zeros(0)])  # noqa: E731
    each = None if weights in ("uniform", None) else flat(_weights(distances, weights))
    return Votes(flat(places).astype(np.intp), each, counts)


def _weights(distances: np.ndarray, weights: Any) -> Any:
    if callable(weights):
        return weights(distances)
    if distances.dtype == object:
        return [_inverse(row) for row in distances]
    return _inverse(distances)


def _inverse(distances: np.ndarray) -> np.ndarray:
    """``1 / d``; where some d are zero, one for these and zero for the others."""
    zero = distances == 0
    with np.errstate(divide="ignore"):
        return np.where(zero.any(axis=-1, keepdims=True), zero, 1 / distances).astype(distances.dtype)


def as_rows(estimator: Any) -> tuple[list[np.ndarray], np.ndarray]:
    """Classes and their numbers, one column for each output."""
    if estimator.outputs_2d_:
        return estimator.classes_, estimator._y
    return [estimator.classes_], estimator._y[:, None]
