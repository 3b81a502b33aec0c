"""k-means as functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from jaxlearn.access.streamed import Streamed

from .base import compute, number
from .cluster_centers import Placed
from .kmeans import KMeans
from .kmeans_programs import draw_plus_plus
from .rows import read_rows

__all__ = ["k_means", "kmeans_plusplus"]


def k_means(
    X,
    n_clusters,
    *,
    sample_weight=None,
    init="k-means++",
    n_init="auto",
    max_iter=300,
    verbose=False,
    tol=1e-4,
    random_state=None,
    copy_x=True,
    algorithm="lloyd",
    return_n_iter=False,
):
    """k-means clustering, as a function.

    Parameters
    ----------
    X : {array-like, sparse matrix, jax.Array, stream} of shape (n_samples, n_features)
    n_clusters : int
    sample_weight : array-like of shape (n_samples,), optional
    init, n_init, max_iter, verbose, tol, random_state, copy_x, algorithm
        As of `KMeans`.
    return_n_iter : bool, default=False

    Returns
    -------
    centroid : ndarray of shape (n_clusters, n_features)
    label : ndarray of shape (n_samples,)
    inertia : float
    best_n_iter : int
        If `return_n_iter`.
    """
    model = KMeans(
        n_clusters,
        init=init,
        n_init=n_init,
        max_iter=max_iter,
        verbose=verbose,
        tol=tol,
        random_state=random_state,
        copy_x=copy_x,
        algorithm=algorithm,
    ).fit(X, sample_weight=sample_weight)
    found = model.cluster_centers_, model.labels_, model.inertia_
    return (*found, model.n_iter_) if return_n_iter else found


def kmeans_plusplus(X, n_clusters, *, sample_weight=None, x_squared_norms=None, random_state=None, n_local_trials=None):
    """Rows to start k-means at: each the best of some, drawn in proportion to their squared distances from those before.

    Parameters
    ----------
    X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
    n_clusters : int
    sample_weight : array-like of shape (n_samples,), optional
    x_squared_norms : array-like of shape (n_samples,), optional
        Without meaning: they are computed with the distances.
    random_state : int, RandomState instance or None, default=None
    n_local_trials : int, optional
        Rows drawn for each center; by default ``2 + log n_clusters``.

    Returns
    -------
    centers : ndarray of shape (n_clusters, n_features)
    indices : ndarray of shape (n_clusters,)
        Of the rows that they are.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.cluster import kmeans_plusplus
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> centers, indices = kmeans_plusplus(X, 2, random_state=0)
    >>> bool((centers == X[indices]).all())
    True
    """
    X = read_rows(_Rows(), X)
    if isinstance(X, Streamed):
        raise ValueError("kmeans_plusplus draws from rows in memory: give it a sample of the stream.")
    if X.shape[0] < n_clusters:
        raise ValueError(f"n_samples={X.shape[0]} should be >= n_clusters={n_clusters}.")
    if x_squared_norms is not None and np.shape(x_squared_norms) != (X.shape[0],):
        raise ValueError(
            f"The length of x_squared_norms {len(x_squared_norms)} should be equal to the length of n_samples {X.shape[0]}."
        )
    placed, rng = Placed.of(X, sample_weight), check_random_state(random_state)
    program = draw_plus_plus(n_clusters, n_local_trials)
    drawn: Any = rng.randint(np.iinfo(np.int32).max)
    centers, indices = compute(program, placed.data, np.uint32(drawn), by_rows=True)
    rows = X[indices]
    return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows, number(0, X.dtype).dtype), indices


class _Rows(BaseEstimator):
    """Whose rows a function validates."""
