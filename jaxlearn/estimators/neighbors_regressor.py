"""Regression by the targets of neighbours."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin

from .neighbors_base import KNeighbors, NeighborsModel, RadiusNeighbors
from .neighbors_votes import WEIGHTS, votes_of

__all__ = ["KNeighborsRegressor", "RadiusNeighborsRegressor"]


class _Regressor(MultiOutputMixin, RegressorMixin):
    weights: Any
    _y: np.ndarray

    def fit(self: Any, X, y, *, present=None):
        """Keep the rows and their targets.

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
        self._y = self._fit(X, y, present)
        return self

    def _mean(self, distances: np.ndarray, places: np.ndarray) -> np.ndarray:
        means = votes_of(distances, places, self.weights).mean(self._y.reshape(len(self._y), -1))
        return means[:, 0] if self._y.ndim == 1 else means


class KNeighborsRegressor(_Regressor, KNeighbors, NeighborsModel):
    """The mean target of the k nearest rows.

    Parameters
    ----------
    n_neighbors : int, default=5
    weights : {"uniform", "distance"}, callable or None, default="uniform"
        Of targets: equal, ``1 / distance``, or a function of the distances (n_queries, n_neighbors).
    algorithm, leaf_size, p, metric, metric_params, n_jobs
        As for `NearestNeighbors`.

    Attributes
    ----------
    effective_metric_, effective_metric_params_, n_samples_fit_, n_features_in_, feature_names_in_
        As for `NearestNeighbors`.

    Examples
    --------
    >>> from jaxlearn.neighbors import KNeighborsRegressor
    >>> KNeighborsRegressor(n_neighbors=2).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]).predict([[1.5]]).tolist()
    [0.5]
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
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_queries, n_features), or None
            None stands for the rows themselves, none of which is its own neighbour.

        Returns
        -------
        ndarray of shape (n_queries,) or (n_queries, n_outputs)
        """
        return self._mean(*self.kneighbors(X))


class RadiusNeighborsRegressor(_Regressor, RadiusNeighbors, NeighborsModel):
    """The mean target of the rows within a radius.

    Parameters
    ----------
    radius : float, default=1.0
    weights : {"uniform", "distance"}, callable or None, default="uniform"
        Of targets: equal, ``1 / distance``, or a function of the distances (an array of arrays).
    algorithm, leaf_size, p, metric, metric_params, n_jobs
        As for `NearestNeighbors`.

    Attributes
    ----------
    effective_metric_, effective_metric_params_, n_samples_fit_, n_features_in_, feature_names_in_
        As for `NearestNeighbors`.

    Examples
    --------
    >>> from jaxlearn.neighbors import RadiusNeighborsRegressor
    >>> RadiusNeighborsRegressor(radius=1.0).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]).predict([[1.5]]).tolist()
    [0.5]
    """

    _parameter_constraints: dict = {
        **NeighborsModel._parameter_constraints,
        **RadiusNeighbors._parameter_constraints,
        **WEIGHTS,
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
        metric_params=None,
        n_jobs=None,
    ):
        self.radius = radius
        self.weights = weights
        self.algorithm = algorithm
        self.leaf_size = leaf_size
        self.p = p
        self.metric = metric
        self.metric_params = metric_params
        self.n_jobs = n_jobs

    def predict(self, X):
        """Predict targets; NaN, with a warning, where no row is within the radius.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_queries, n_features), or None
            None stands for the rows themselves, none of which is its own neighbour.

        Returns
        -------
        ndarray of shape (n_queries,) or (n_queries, n_outputs)
        """
        means = self._mean(*self.radius_neighbors(X))
        if np.isnan(means).any():
            warnings.warn(
                "One or more samples have no neighbors within specified radius; predicting NaN.", stacklevel=2
            )
        return means
