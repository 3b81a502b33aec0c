"""Classification by the labels of neighbours."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, MultiOutputMixin

from .neighbors_base import KNeighbors, NeighborsModel, RadiusNeighbors
from .neighbors_votes import WEIGHTS, as_rows, encode, votes_of

__all__ = ["KNeighborsClassifier", "RadiusNeighborsClassifier"]


class _Classifier(MultiOutputMixin, ClassifierMixin):
    weights: Any
    classes_: Any
    outputs_2d_: bool

    def fit(self: Any, X, y, *, present=None):
        """Keep the rows and their labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        present : array-like of shape (n_samples,), optional
            Rows where it is zero are not there: the weights that `shard_rows` returns.

        Returns
        -------
        self : object
        """
        encode(self, self._fit(X, y, present))
        return self

    def score(self, X, y, sample_weight=None):
        """Accuracy, of all outputs together.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_queries, n_features), or None
            None stands for the rows themselves, none of which is its own neighbour.
        y : array-like of shape (n_queries,) or (n_queries, n_outputs)
        sample_weight : array-like of shape (n_queries,), optional

        Returns
        -------
        float
        """
        return super().score(X, y, sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _shares(self: Any, votes: list[np.ndarray]) -> Any:
        """Votes as probabilities: one array, or a list of them for several outputs."""
        totals = [vote.sum(axis=1, keepdims=True) for vote in votes]
        shares = [vote / np.where(total == 0, 1, total) for vote, total in zip(votes, totals, strict=True)]
        return shares if self.outputs_2d_ else shares[0]

    def _labels(self: Any, votes: list[np.ndarray]) -> np.ndarray:
        classes = as_rows(self)[0]
        labels = np.empty((len(votes[0]), len(classes)), classes[0].dtype)
        for k, (of_output, vote) in enumerate(zip(classes, votes, strict=True)):
            labels[:, k] = of_output[vote.argmax(axis=1)]
        return labels if self.outputs_2d_ else labels[:, 0]


class KNeighborsClassifier(_Classifier, KNeighbors, NeighborsModel):
    """The label that most of the k nearest rows have; of labels with equal votes the first.

    Parameters
    ----------
    n_neighbors : int, default=5
    weights : {"uniform", "distance"}, callable or None, default="uniform"
        Of votes: equal, ``1 / distance``, or a function of the distances (n_queries, n_neighbors).
    algorithm, leaf_size, p, metric, metric_params, n_jobs
        As for `NearestNeighbors`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or list of them
    outputs_2d_ : bool
    effective_metric_, effective_metric_params_, n_samples_fit_, n_features_in_, feature_names_in_
        As for `NearestNeighbors`.

    Examples
    --------
    >>> from jaxlearn.neighbors import KNeighborsClassifier
    >>> model = KNeighborsClassifier(n_neighbors=3).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    >>> model.predict([[1.1]]).tolist(), model.predict_proba([[0.9]]).round(3).tolist()
    ([0], [[0.667, 0.333]])
    """

    _parameter_constraints: dict = {
        **NeighborsModel._parameter_constraints,
        **KNeighbors._parameter_constraints,
        **WEIGHTS,
    }

    def __init__(
        self,
        n_neighbors=5,
        *,
        weights="uniform",
        algorithm="auto",
        leaf_size=30,
        p=2,
        metric="minkowski",
        metric_params=None,
        n_jobs=None,
    ):
        self.n_neighbors = n_neighbors
        self.weights = weights
        self.algorithm = algorithm
        self.leaf_size = leaf_size
        self.p = p
        self.metric = metric
        self.metric_params = metric_params
        self.n_jobs = n_jobs

    def predict(self, X):
        """Predict labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_queries, n_features), or None
            None stands for the rows themselves, none of which is its own neighbour.

        Returns
        -------
        ndarray of shape (n_queries,) or (n_queries, n_outputs)
        """
        return self._labels(self._votes(X))

    def predict_proba(self, X):
        """Shares of the votes.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_queries, n_features), or None

        Returns
        -------
        ndarray of shape (n_queries, n_classes), or list of them, one for each output
        """
        return self._shares(self._votes(X))

    def _votes(self, X: Any) -> list[np.ndarray]:
        votes = votes_of(*self.kneighbors(X), weights=self.weights)
        found = [votes.by_class(codes, len(of_output)) for of_output, codes in zip(*_columns(self), strict=True)]
        if not found[0].any(axis=1).all():
            raise ValueError(
                "All neighbors of some sample is getting zero weights. Please modify 'weights' to avoid this case if you "
                "are using a user-defined function."
            )
        return found


class RadiusNeighborsClassifier(_Classifier, RadiusNeighbors, NeighborsModel):
    """The label that most of the rows within a radius have; of labels with equal votes the first.

    Parameters
    ----------
    radius : float, default=1.0
    weights : {"uniform", "distance"}, callable or None, default="uniform"
        Of votes: equal, ``1 / distance``, or a function of the distances (an array of arrays).
    outlier_label : label, list of labels, "most_frequent" or None, default=None
        Of queries without neighbours, which are an error without it.
    algorithm, leaf_size, p, metric, metric_params, n_jobs
        As for `NearestNeighbors`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or list of them
    outputs_2d_ : bool
    outlier_label_ : list of labels, or None
    effective_metric_, effective_metric_params_, n_samples_fit_, n_features_in_, feature_names_in_
        As for `NearestNeighbors`.

    Examples
    --------
    >>> from jaxlearn.neighbors import RadiusNeighborsClassifier
    >>> model = RadiusNeighborsClassifier(radius=1.0).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    >>> model.predict([[1.5]]).tolist(), model.predict_proba([[1.0]]).round(3).tolist()
    ([0], [[0.667, 0.333]])
    """

    _parameter_constraints: dict = {
        **NeighborsModel._parameter_constraints,
        **RadiusNeighbors._parameter_constraints,
        **WEIGHTS,
        "outlier_label": [Integral, str, "array-like", None],
    }

    def __init__(
        self,
        radius=1.0,
        *,
        weights="uniform",
        algorithm="auto",
        leaf_size=30,
        p=2,
        metric="minkowski",
        outlier_label=None,
        metric_params=None,
        n_jobs=None,
    ):
        self.radius = radius
        self.weights = weights
        self.algorithm = algorithm
        self.leaf_size = leaf_size
        self.p = p
        self.metric = metric
        self.outlier_label = outlier_label
        self.metric_params = metric_params
        self.n_jobs = n_jobs

    def fit(self, X, y, *, present=None):
        super().fit(X, y, present=present)
        self.outlier_label_ = self._outlier_labels()
        return self

    def _outlier_labels(self) -> list | None:
        if self.outlier_label is None:
            return None
        classes, codes = _columns(self)
        if isinstance(self.outlier_label, str) and self.outlier_label == "most_frequent":
            return [c[np.bincount(column).argmax()] for c, column in zip(classes, codes, strict=True)]
        one = np.ndim(self.outlier_label) == 0
        labels = [self.outlier_label] * len(classes) if one else list(self.outlier_label)  # pyright: ignore
        if len(labels) != len(classes):
            raise ValueError(
                f"The length of outlier_label: {self.outlier_label} is inconsistent with the output length: {len(classes)}"
            )
        for of_output, label in zip(classes, labels, strict=True):
            if np.ndim(label) > 0:
                raise TypeError(f"The outlier_label of classes {of_output} is supposed to be a scalar, got {label}.")
            if np.append(of_output, label).dtype != of_output.dtype:
                raise TypeError(f"The dtype of outlier_label {label} is inconsistent with classes {of_output} in y.")
        return labels

    def predict(self, X):
        """Predict labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_queries, n_features), or None
            None stands for the rows themselves, none of which is its own neighbour.

        Returns
        -------
        ndarray of shape (n_queries,) or (n_queries, n_outputs)
        """
        votes = self._votes(X)
        labels = self._labels(votes)
        columns = labels if self.outputs_2d_ else labels[:, None]
        for k, vote in enumerate(votes):
            if (outliers := ~vote.any(axis=1)).any():
                columns[outliers, k] = (self.outlier_label_ or [])[k]
        return labels

    def predict_proba(self, X):
        """Shares of the votes; of queries without neighbours one for the outlier label, if it is a class.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_queries, n_features), or None

        Returns
        -------
        ndarray of shape (n_queries, n_classes), or list of them, one for each output
        """
        return self._shares(self._votes(X))

    def _votes(self, X: Any) -> list[np.ndarray]:
        distances, places = self.radius_neighbors(X)
        votes = votes_of(distances, places, self.weights)
        outliers = np.flatnonzero(votes.counts == 0)
        if len(outliers) and self.outlier_label_ is None:
            raise ValueError(
                f"No neighbors found for test samples {outliers!r}, you can try using larger radius, giving a label for "
                "outliers, or considering removing them from your dataset."
            )
        found = [votes.by_class(codes, len(of_output)) for of_output, codes in zip(*_columns(self), strict=True)]
        for k, of_output in enumerate(_columns(self)[0] if len(outliers) else ()):
            label = (self.outlier_label_ or [])[k]
            if (of_output == label).any():
                found[k][outliers, np.flatnonzero(of_output == label)[0]] = 1
            else:
                warnings.warn(
                    f"Outlier label {label} is not in training classes. All class probabilities of outliers will be "
                    "assigned with 0.",
                    stacklevel=3,
                )
        return found


def _columns(estimator: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    classes, codes = as_rows(estimator)
    return classes, list(codes.T)
