"""Graphs of neighbours as functions."""

from __future__ import annotations

from typing import Any

from .neighbors_unsupervised import NearestNeighbors

__all__ = ["kneighbors_graph", "radius_neighbors_graph"]


def kneighbors_graph(
    X,
    n_neighbors,
    *,
    mode="connectivity",
    metric="minkowski",
    p=2,
    metric_params=None,
    include_self=False,
    n_jobs=None,
):
    """The sparse graph of the nearest neighbours of rows.

    Parameters
    ----------
    X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features), or fitted estimator
    n_neighbors : int
    mode : {"connectivity", "distance"}, default="connectivity"
    metric, p, metric_params, n_jobs
        As for `NearestNeighbors`; those of the estimator, if X is one.
    include_self : bool or "auto", default=False
        Whether a row is the first of its own neighbours; "auto" is True for connectivity.

    Returns
    -------
    CSR matrix of shape (n_samples, n_samples)

    Examples
    --------
    >>> from jaxlearn.neighbors import kneighbors_graph
    >>> kneighbors_graph([[0.0], [3.0], [1.0]], 2, include_self=True).toarray().tolist()
    [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]
    """
    options = {"metric": metric, "p": p, "metric_params": metric_params}
    model = _fitted(X, options, n_neighbors=n_neighbors, n_jobs=n_jobs)
    return model.kneighbors_graph(_queries(model, include_self, mode), n_neighbors=n_neighbors, mode=mode)


def radius_neighbors_graph(
    X,
    radius,
    *,
    mode="connectivity",
    metric="minkowski",
    p=2,
    metric_params=None,
    include_self=False,
    n_jobs=None,
):
    """The sparse graph of all neighbours of rows within a radius.

    Parameters
    ----------
    X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features), or fitted estimator
    radius : float
    mode : {"connectivity", "distance"}, default="connectivity"
    metric, p, metric_params, n_jobs
        As for `NearestNeighbors`; those of the estimator, if X is one.
    include_self : bool or "auto", default=False
        Whether a row is one of its own neighbours; "auto" is True for connectivity.

    Returns
    -------
    CSR matrix of shape (n_samples, n_samples)

    Examples
    --------
    >>> from jaxlearn.neighbors import radius_neighbors_graph
    >>> radius_neighbors_graph([[0.0], [3.0], [1.0]], 1.5, include_self=True).toarray().tolist()
    [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    """
    options = {"metric": metric, "p": p, "metric_params": metric_params}
    model = _fitted(X, options, radius=radius, n_jobs=n_jobs)
    return model.radius_neighbors_graph(_queries(model, include_self, mode), radius, mode)


def _fitted(X: Any, options: dict, **others: Any) -> Any:
    if not hasattr(X, "fit"):
        return NearestNeighbors(**options, **others).fit(X)
    theirs = X.get_params()
    for name, value in options.items():
        if value != theirs[name]:
            raise ValueError(f"Got {value} for {name}, while the estimator has {theirs[name]} for the same parameter.")
    return X


def _queries(model: Any, include_self: Any, mode: str) -> Any:
    include = mode == "connectivity" if isinstance(include_self, str) else include_self
    return model._fit_X if include else None
