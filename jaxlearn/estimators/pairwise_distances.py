"""Distances of all pairs of rows, and the nearest row of each."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import lax
from sklearn.metrics.pairwise import check_pairwise_arrays
from sklearn.utils.validation import check_non_negative

from jaxlearn.access.buckets import row_bucket
from jaxlearn.objectives.distances import Cosine, Distance, Euclidean, Haversine, Manhattan, SquaredEuclidean

from .inputs import refuse_traced, repeated
from .neighbors_base import VALID_METRICS, distance_of
from .neighbors_search import Index

__all__ = [
    "all_pairs",
    "cosine_distances",
    "euclidean_distances",
    "haversine_distances",
    "manhattan_distances",
    "pairwise_distances",
    "pairwise_distances_argmin",
    "pairwise_distances_argmin_min",
    "read_pairs",
]

# Numbers that a dense copy of some rows, and of some others, may have.
MOST_NUMBERS = 1 << 24
# Rows of a tile.
TILE_ROWS = 64


class _Distances(eqx.Module):
    distance: Distance

    def values(self, X: Any, Y: Any) -> Any:
        if isinstance(self.distance, SquaredEuclidean):  # in double precision, which cancelled digits do not matter to
            wide = jnp.promote_types(X.dtype, jnp.float64)
            return self.distance.distance(self.distance.ranks_by_product(X.astype(wide), Y.astype(wide))).astype(
                X.dtype
            )
        return self.distance.distance(self.distance.ranks(X, Y))


@partial(jax.jit, static_argnames="by_tiles")
def _values(function: Any, X: Any, Y: Any, by_tiles: bool) -> Any:
    if not by_tiles or len(X) <= TILE_ROWS:
        return function.values(X, Y)
    tiles = -(-len(X) // TILE_ROWS)
    padded = jnp.pad(X, [(0, tiles * TILE_ROWS - len(X)), (0, 0)]).reshape(tiles, TILE_ROWS, -1)
    return lax.map(lambda some: function.values(some, Y), padded).reshape(-1, len(Y))[: len(X)]


def read_pairs(X: Any, Y: Any) -> tuple[Any, Any]:
    """Validate, in scikit-learn's words; Y is X where it is None. Arrays of a device come to the host."""
    refuse_traced(X, Y)
    same = Y is None or Y is X
    X, Y = (np.asarray(a) if isinstance(a, jax.Array) else a for a in (X, Y))
    X, Y = check_pairwise_arrays(X, None if same else Y)
    return X, X if same else Y


def all_pairs(function: Any, X: Any, Y: Any, *, by_tiles: bool = False) -> np.ndarray:
    """``function.values`` of all pairs, (n, m); of sparse rows dense copies of some at a time are made.

    Parameters
    ----------
    function : pytree with a method ``values(X, Y)``
    X, Y : ndarray or sparse matrix
    by_tiles : bool
        Rather than by a matrix product.
    """
    out = np.empty((X.shape[0], Y.shape[0]), X.dtype)
    most = max(MOST_NUMBERS // max(X.shape[1], 1), 1)
    for i in range(0, X.shape[0], most):
        left, rows = _padded(X[i : i + most])
        for j in range(0, Y.shape[0], most):
            right, columns = _padded(Y[j : j + most])
            with jax.enable_x64(True):
                values = jax.device_get(_values(function, left, right, by_tiles))
            out[i : i + most, j : j + most] = values[:rows, :columns]
    return out


def _padded(rows: Any) -> tuple[np.ndarray, int]:
    dense = rows.toarray() if scipy.sparse.issparse(rows) else np.ascontiguousarray(rows)
    return repeated(dense, row_bucket(len(dense))), len(dense)


def _distances(distance: Distance, X: Any, Y: Any) -> np.ndarray:
    X, Y = (a.tocsr() if scipy.sparse.issparse(a) else a for a in (X, Y))
    if isinstance(distance, Haversine) and X.shape[1] != 2:
        raise ValueError("Haversine distance only valid in 2 dimensions")
    out = all_pairs(_Distances(distance), X, Y, by_tiles=not isinstance(distance, SquaredEuclidean))
    if X is Y and isinstance(distance, SquaredEuclidean | Cosine):
        np.fill_diagonal(out, 0)
    return out


def euclidean_distances(X, Y=None, *, squared=False):
    """``‖x − y‖`` of all pairs.

    Parameters
    ----------
    X : {array-like, sparse matrix, jax.Array} of shape (n_samples_X, n_features)
    Y : {array-like, sparse matrix, jax.Array} of shape (n_samples_Y, n_features), optional
        X by default.
    squared : bool, default=False

    Returns
    -------
    ndarray of shape (n_samples_X, n_samples_Y)
    """
    X, Y = _one_or_two(*read_pairs(X, Y))
    return _distances(SquaredEuclidean() if squared else Euclidean(), X, Y)


def manhattan_distances(X, Y=None):
    """``Σ |x_j − y_j|`` of all pairs. Parameters are as for `euclidean_distances`."""
    return _distances(Manhattan(), *_one_or_two(*read_pairs(X, Y)))


def cosine_distances(X, Y=None):
    """``1 − cos(x, y)`` of all pairs; one where either is zero. Parameters are as for `euclidean_distances`."""
    return _distances(Cosine(), *_one_or_two(*read_pairs(X, Y)))


def haversine_distances(X, Y=None):
    """Angles between all pairs of points on a sphere, given by latitude and longitude in radians.

    Parameters are as for `euclidean_distances`, with two features.
    """
    X, Y = read_pairs(X, Y)
    if scipy.sparse.issparse(X) or scipy.sparse.issparse(Y):
        raise TypeError("Sparse data was passed for X, but dense data is required. Use '.toarray()' to convert.")
    return _distances(Haversine(), X, Y)


def _one_or_two(X: Any, Y: Any) -> tuple[Any, Any]:
    if not scipy.sparse.issparse(X):
        return X, Y.tocsr() if scipy.sparse.issparse(Y) else Y
    same, X = Y is X, X.tocsr()
    return X, X if same else Y.tocsr() if scipy.sparse.issparse(Y) else Y


def pairwise_distances(X, Y=None, metric="euclidean", *, n_jobs=None, **kwds):
    """Distances of all pairs.

    Parameters
    ----------
    X : {array-like, sparse matrix, jax.Array} of shape (n_samples_X, n_features)
        With ``metric="precomputed"`` the distances, which are returned.
    Y : {array-like, sparse matrix, jax.Array} of shape (n_samples_Y, n_features), optional
        X by default.
    metric : str or callable, default="euclidean"
        As for `jaxlearn.neighbors.NearestNeighbors`.
    n_jobs : int, optional
        Without effect: XLA has threads of its own.
    **kwds
        ``p`` and ``w`` of "minkowski", ``squared`` of "euclidean", further arguments of a callable.

    Returns
    -------
    ndarray of shape (n_samples_X, n_samples_Y)
    """
    if isinstance(metric, str) and metric == "precomputed":
        X, _ = check_pairwise_arrays(X, Y, precomputed=True)
        check_non_negative(X, whom="`pairwise_distances` with metric='precomputed'")
        return X
    X, Y = _one_or_two(*read_pairs(X, Y))
    return _distances(_named(metric, kwds, X), X, Y)


def _named(metric: Any, kwds: dict | None, X: Any) -> Distance:
    if not callable(metric) and metric not in VALID_METRICS["brute"]:
        raise ValueError(f"Unknown metric {metric!r}. Valid metrics are {VALID_METRICS['brute']}, or a callable.")
    kwds = dict(kwds or {})
    if metric == "euclidean" and kwds.pop("squared", False):
        metric = "sqeuclidean"
    return distance_of(metric, None, kwds, np.dtype(X.dtype), n_features=X.shape[1])


def pairwise_distances_argmin_min(X, Y, *, axis=1, metric="euclidean", metric_kwargs=None):
    """The nearest row of Y for each of X, without the matrix of distances.

    Parameters
    ----------
    X : {array-like, sparse matrix, jax.Array} of shape (n_samples_X, n_features)
    Y : {array-like, sparse matrix, jax.Array} of shape (n_samples_Y, n_features)
    axis : {0, 1}, default=1
        0 for the nearest row of X for each of Y.
    metric : str or callable, default="euclidean"
    metric_kwargs : dict, optional

    Returns
    -------
    argmin : ndarray of shape (n_samples_X,)
        Of equal distances the first row.
    distances : ndarray of shape (n_samples_X,)
    """
    X, Y = _one_or_two(*read_pairs(X, Y))
    if axis == 0:
        X, Y = Y, X
    distances, places = Index(_named(metric, metric_kwargs, X), Y).nearest(X, 1)
    return places[:, 0].astype(np.intp), distances[:, 0]


def pairwise_distances_argmin(X, Y, *, axis=1, metric="euclidean", metric_kwargs=None):
    """The nearest row of Y for each of X. Parameters are as for `pairwise_distances_argmin_min`.

    Returns
    -------
    ndarray of shape (n_samples_X,)
    """
    return pairwise_distances_argmin_min(X, Y, axis=axis, metric=metric, metric_kwargs=metric_kwargs)[0]
