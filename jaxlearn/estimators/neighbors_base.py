"""What all estimators of neighbours do: choose a distance, place the rows, and answer queries in scikit-learn's forms."""

from __future__ import annotations

import numbers
import warnings
from numbers import Integral, Real
from typing import Any

import jax
import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator
from sklearn.neighbors import BallTree, KDTree, sort_graph_by_row_values
from sklearn.neighbors._base import KNeighborsMixin, RadiusNeighborsMixin
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from jaxlearn.access.streamed import BLOCK_BYTES, Streamed, stream
from jaxlearn.objectives import distances
from jaxlearn.objectives.distances import Distance

from .constraints import COUNT, ONE_OF
from .inputs import read
from .neighbors_search import Index, dtype_of
from .rows import mapped, read_rows

__all__ = ["VALID_METRICS", "VALID_METRICS_SPARSE", "KNeighbors", "NeighborsModel", "RadiusNeighbors", "distance_of"]

OF_VECTORS: dict[str, type[Distance]] = {
    "chebyshev": distances.Chebyshev,
    "cityblock": distances.Manhattan,
    "cosine": distances.Cosine,
    "euclidean": distances.Euclidean,
    "haversine": distances.Haversine,
    "l1": distances.Manhattan,
    "l2": distances.Euclidean,
    "manhattan": distances.Manhattan,
    "sqeuclidean": distances.SquaredEuclidean,
}
# What scikit-learn's trees take: with other metrics they are refused, as there.
OF_KD_TREES = ["chebyshev", "cityblock", "euclidean", "l1", "l2", "manhattan", "minkowski"]
VALID_METRICS = {
    "ball_tree": sorted([*OF_KD_TREES, "haversine"]),
    "kd_tree": OF_KD_TREES,
    "brute": sorted([*OF_VECTORS, "minkowski", "precomputed"]),
}
VALID_METRICS_SPARSE = {
    "ball_tree": [],
    "kd_tree": [],
    "brute": [m for m in VALID_METRICS["brute"] if m != "haversine"],
}


def distance_of(metric: Any, p: Any, params: dict, dtype: np.dtype, *, n_features: int) -> Distance:
    """The distance that scikit-learn's names stand for."""
    if callable(metric):
        return distances.Function(metric, {k: np.asarray(v) if isinstance(v, Real) else v for k, v in params.items()})
    known = {"minkowski": {"p", "w"}}.get(metric, set())
    if unknown := sorted(set(params) - known):
        raise ValueError(f"metric_params={unknown} are no parameters of metric={metric!r}, which has {sorted(known)}.")
    if metric == "haversine" and n_features != 2:
        raise ValueError("Haversine distance only valid in 2 dimensions: latitude and longitude, in radians.")
    if metric != "minkowski":
        return OF_VECTORS[metric]()
    p, w = params.get("p", 2 if p is None else p), params.get("w")
    if w is None:
        special = {1: distances.Manhattan, 2: distances.Euclidean, np.inf: distances.Chebyshev}
        return special[p]() if p in special else distances.Minkowski(np.asarray(p, dtype))
    if p == np.inf:
        raise ValueError("metric='minkowski' takes no weights `w` with p=inf.")
    w = check_array(w, ensure_2d=False, dtype=dtype, ensure_non_negative=True, input_name="w")  # pyright: ignore
    if w.shape != (n_features,):
        raise ValueError(f"`w` has shape {w.shape}; expected one weight for each of {n_features} features.")
    return distances.Minkowski(np.asarray(p, dtype), w)


class NeighborsModel(BaseEstimator):
    """An estimator that keeps its rows.

    Attributes
    ----------
    effective_metric_, effective_metric_params_, n_samples_fit_, n_features_in_, feature_names_in_
        As in scikit-learn.
    """

    algorithm: str
    metric: Any
    p: Any
    metric_params: Any
    n_features_in_: int
    _index: Index

    _parameter_constraints: dict = {
        "algorithm": [ONE_OF("auto", "ball_tree", "kd_tree", "brute")],
        "leaf_size": [COUNT],
        "p": [Interval(Real, 0, None, closed="right"), None],
        "metric": [StrOptions(set(VALID_METRICS["brute"])), callable],
        "metric_params": [dict, None],
        "n_jobs": [Integral, None],
    }

    def _fit(self, X: Any, y: Any = None, present: Any = None) -> Any:
        """Keep the rows; the targets as they are to be kept."""
        self._validate_params()
        self._check_metric()
        if isinstance(X, NeighborsModel):
            X = X._fit_X
        elif isinstance(X, KDTree | BallTree):
            X = np.asarray(X.data)
        self._refuse_format(X)
        if self.__sklearn_tags__().target_tags.required:
            X, y = self._read_both(X, y)
        else:
            X = read_rows(self, X)
        X = X.tocsr() if scipy.sparse.issparse(X) else X
        if self.metric == "precomputed":
            X = _check_precomputed(X)
            if X.shape[0] != X.shape[1]:
                raise ValueError(f"Precomputed matrix must be square. Input is a {X.shape[0]}x{X.shape[1]} matrix.")
            if present is not None:
                raise ValueError("`present` goes with rows, not with metric='precomputed'.")
        self._fit_X, self._present = X, present
        self._fit_method, self._tree = "brute", None
        self._place()
        return y

    def _check_metric(self) -> None:
        params = dict(self.metric_params or {})
        if "p" in params and self.p is not None:
            warnings.warn(
                "Parameter p is found in metric_params. The corresponding parameter from __init__ is ignored.",
                SyntaxWarning,
                stacklevel=4,
            )
        self.effective_metric_, self.effective_metric_params_ = self.metric, params
        if self.metric == "minkowski":
            p, w = params.pop("p", self.p), params.pop("w", None)
            p = 2 if p is None else p
            names = {1: "manhattan", 2: "euclidean", np.inf: "chebyshev"}
            if w is None and p in names:
                self.effective_metric_ = names[p]
            else:
                params.update(p=p, w=w)
            self._check_exponent(p, w)
        if self.algorithm not in ("auto", "brute"):
            if callable(self.metric) and self.algorithm == "kd_tree":
                raise ValueError(f"kd_tree does not support callable metric '{self.metric}'.")
            if not callable(self.metric) and self.metric not in VALID_METRICS[self.algorithm]:
                raise ValueError(
                    f"Metric '{self.metric}' not valid. Use sorted(jaxlearn.neighbors.VALID_METRICS['{self.algorithm}']) to "
                    "get valid options. Metric can also be a callable function."
                )
            warnings.warn(
                f"algorithm={self.algorithm!r}: there are no trees here. All rows are searched, as by 'brute'.",
                stacklevel=4,
            )

    def _check_exponent(self, p: float, w: Any) -> None:
        if w is not None and self.algorithm == "kd_tree":
            raise ValueError(
                "algorithm='kd_tree' is not valid for metric='minkowski' with a weight parameter 'w': try algorithm='brute'."
            )
        if p < 1 and self.algorithm in ("kd_tree", "ball_tree"):
            raise ValueError(
                f'algorithm="{self.algorithm}" does not support 0 < p < 1 for the Minkowski metric. '
                'To resolve this problem either set p >= 1 or algorithm="brute".'
            )
        if p < 1:
            warnings.warn(
                "Mind that for 0 < p < 1, Minkowski metrics are not distance metrics. "
                "Continuing the execution with `algorithm='brute'`.",
                stacklevel=5,
            )

    def _read_both(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        X = mapped(X)
        if not isinstance(X, Streamed):
            return read(self, X, y, y_numeric=False)[:2]
        X, y = read_rows(self, X), check_array(y, ensure_2d=False, dtype=None, input_name="y")  # pyright: ignore
        check_consistent_length(y, np.empty((X.shape[0], 0)))
        return X, y

    def _place(self) -> None:
        """Rows where programs find them."""
        X = self._fit_X
        if self.metric == "precomputed":
            self.n_samples_fit_ = X.shape[0]
            return
        if scipy.sparse.issparse(X) and self.metric == "haversine":
            raise ValueError("Metric 'haversine' not valid for sparse input.")
        distance = distance_of(
            self.metric, self.p, dict(self.metric_params or {}), dtype_of(X), n_features=self.n_features_in_
        )
        if scipy.sparse.issparse(X) and not distance.by_product:
            X = _rows_of_sparse(X)
        self._index = Index(distance, X, self._present)
        self.n_samples_fit_ = self._index.n_rows
        if isinstance(self._fit_X, np.ndarray):
            self._fit_X = self._index.X

    def __getstate__(self):
        state: Any = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_index"}

    def __setstate__(self, state):
        super().__setstate__(state)
        if hasattr(self, "_fit_X"):
            self._place()

    def _refuse_format(self, X: Any) -> None:
        if self.metric == "precomputed" and scipy.sparse.issparse(X) and X.format not in ("csr", "csc", "coo", "lil"):
            raise TypeError(
                f"Sparse matrix in {X.format!r} format is not supported due to its handling of explicit zeros"
            )

    def _read_queries(self, X: Any) -> Any:
        """Queries, checked; None stands for the rows themselves."""
        check_is_fitted(self)
        if X is None:
            if isinstance(self._fit_X, Streamed):
                raise ValueError("The rows are a stream, whose own neighbours are not sought: pass queries.")
            return self._fit_X
        self._refuse_format(X)
        X = read_rows(self, X, reset=False)
        if isinstance(X, Streamed):
            raise ValueError("Queries are held in memory: pass them in blocks, not as a stream.")
        X = X.tocsr() if scipy.sparse.issparse(X) else X
        return _check_precomputed(X) if self.metric == "precomputed" else X

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.pairwise = tags.input_tags.positive_only = self.metric == "precomputed"
        return tags


class KNeighbors(KNeighborsMixin):
    """Estimators that ask for the k nearest rows."""

    n_neighbors: Any
    _parameter_constraints: dict = {"n_neighbors": [COUNT, None]}

    def kneighbors(self: Any, X=None, n_neighbors=None, return_distance=True):
        """The nearest rows of each query, by distance; of equal distances the first row comes first.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_queries, n_features), optional
            Without it the rows themselves, of which none is its own neighbour. Distances to all rows, of shape
            (n_queries, n_samples_fit), for ``metric="precomputed"``.
        n_neighbors : int, optional
            The parameter of the estimator by default.
        return_distance : bool, default=True

        Returns
        -------
        neigh_dist : ndarray of shape (n_queries, n_neighbors)
            With `return_distance`.
        neigh_ind : ndarray of shape (n_queries, n_neighbors)
        """
        check_is_fitted(self)
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        if k is None or k <= 0:
            raise ValueError(f"Expected n_neighbors > 0. Got {k}")
        if not isinstance(k, numbers.Integral):
            raise TypeError(f"n_neighbors does not take {type(k)} value, enter integer value")
        queries = self._read_queries(X)
        there = self.n_samples_fit_ if self.metric == "precomputed" else self._index.n_samples
        if k + (X is None) > there:
            raise ValueError(
                f"Expected n_neighbors {'<' if X is None else '<='} n_samples_fit, but n_neighbors = {k}, "
                f"n_samples_fit = {there}, n_samples = {queries.shape[0]}"
            )
        found = self._nearest(queries, k + (X is None))
        if X is None:
            found = _without_itself(*found)
        distances, places = found[0], found[1].astype(np.intp)
        return (distances, places) if return_distance else places

    def _nearest(self: Any, queries: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
        if self.metric != "precomputed":
            return self._index.nearest(queries, k)
        if scipy.sparse.issparse(queries):
            return _nearest_in_graph(queries, k)
        order = np.argsort(queries, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(queries, order, 1), order


class RadiusNeighbors(RadiusNeighborsMixin):
    """Estimators that ask for all rows within a radius."""

    radius: Any
    _parameter_constraints: dict = {"radius": [Interval(Real, 0, None, closed="both"), None]}

    def radius_neighbors(self: Any, X=None, radius=None, return_distance=True, sort_results=False):
        """The rows within a radius of each query; those at this distance belong to them.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_queries, n_features), optional
            As for `kneighbors`.
        radius : float, optional
            The parameter of the estimator by default.
        return_distance : bool, default=True
        sort_results : bool, default=False
            By distance; otherwise in the order of the rows.

        Returns
        -------
        neigh_dist : ndarray of shape (n_queries,) of arrays
            With `return_distance`.
        neigh_ind : ndarray of shape (n_queries,) of arrays
        """
        check_is_fitted(self)
        if sort_results and not return_distance:
            raise ValueError("return_distance must be True if sort_results is True.")
        radius = self.radius if radius is None else radius
        if np.ndim(radius) > 0:
            raise ValueError("`radius` must be one number for all queries.")
        distances, places = self._within(self._read_queries(X), radius)
        for i in range(len(places)):
            keep = places[i] != i if X is None else slice(None)
            distances[i], places[i] = distances[i][keep], places[i][keep].astype(np.intp)
            order = np.lexsort((places[i], distances[i])) if sort_results else np.argsort(places[i])
            distances[i], places[i] = distances[i][order], places[i][order]
        return (distances, places) if return_distance else places

    def _within(self: Any, queries: Any, radius: float) -> tuple[np.ndarray, np.ndarray]:
        if scipy.sparse.issparse(queries) and self.metric == "precomputed":
            bounds = zip(queries.indptr[:-1], queries.indptr[1:], strict=True)
            found = [(queries.data[a:b], queries.indices[a:b]) for a, b in bounds]
            found = [(d[d <= radius], i[d <= radius]) for d, i in found]
        elif self.metric == "precomputed":
            places = [np.flatnonzero(row <= radius) for row in queries]
            found = [(row[i], i) for row, i in zip(queries, places, strict=True)]
        else:
            every = zip(*self._index.within(queries, radius), strict=True)
            found = [(d[:count], i[:count]) for d, i, count in every]
        return _objects([d for d, _ in found]), _objects([i for _, i in found])


def _rows_of_sparse(csr: Any) -> Streamed:
    """Dense blocks of sparse rows, made as they are read: for distances that are no products."""
    size = max(1, min(csr.shape[0], BLOCK_BYTES // (csr.dtype.itemsize * max(csr.shape[1], 1))))
    return stream(lambda: (csr[i : i + size].toarray() for i in range(0, csr.shape[0], size)), block_size=size)


def _check_precomputed(X: Any) -> Any:
    if isinstance(X, Streamed):
        raise ValueError("metric='precomputed' takes a matrix in memory.")
    if isinstance(X, jax.Array):
        X = np.asarray(X)
    name = "precomputed distance matrix" if scipy.sparse.issparse(X) else "X"
    X = check_array(X, accept_sparse="csr", ensure_non_negative=True, input_name=name)  # pyright: ignore
    return sort_graph_by_row_values(X, copy=True) if scipy.sparse.issparse(X) else X


def _nearest_in_graph(graph: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The first k entries of each row, which are sorted."""
    fewest = np.diff(graph.indptr).min()
    if fewest < k:
        raise ValueError(
            f"{k} neighbors per samples are required, but some samples have only {fewest} neighbors in precomputed graph "
            "matrix. Decrease number of neighbors used or recompute the graph with more neighbors."
        )
    places = graph.indptr[:-1, None] + np.arange(k)[None]
    return graph.data[places], graph.indices[places]


def _without_itself(distances: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """k of k + 1 neighbours: without the row itself, or without the first where so many others are at the same place."""
    others = places != np.arange(len(places))[:, None]
    others[others.all(axis=1), 0] = False
    return distances[others].reshape(len(places), -1), places[others].reshape(len(places), -1)


def _objects(arrays: list[np.ndarray]) -> np.ndarray:
    out = np.empty(len(arrays), object)
    for i, array in enumerate(arrays):
        out[i] = array
    return out
