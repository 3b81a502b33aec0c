"""What estimators of cluster centers share: their start, predictions from ``cluster_centers_``, and warnings."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from jaxlearn.access.scan import ROWS, in_order, permutation
from jaxlearn.access.streamed import Streamed
from jaxlearn.access.virtual import Virtual
from jaxlearn.models._kmeans_init import STARTS
from jaxlearn.models.kmeans import KMeans

from .base import compute
from .batches import taken
from .constraints import COUNT, NON_NEGATIVE, ONE_OF
from .inputs import Data, check_sample_weight, near
from .kmeans_programs import assigned, distances, draw, label_blocks, label_rows, measure_rows
from .rows import Task, place_rows, read_rows

__all__ = ["ClusterCenters", "Placed", "as_features", "as_stored", "dtype_of", "labelled", "some_rows"]


class ClusterCenters(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """Predictions from ``cluster_centers_``."""

    n_clusters: Any
    init: Any
    n_init: Any
    cluster_centers_: Any
    labels_: Any
    inertia_: Any
    n_features_in_: int

    _parameter_constraints: dict = {
        "n_clusters": [COUNT],
        "init": [ONE_OF(*STARTS), callable, "array-like"],
        "n_init": [ONE_OF("auto"), COUNT],
        "max_iter": [COUNT],
        "tol": [NON_NEGATIVE],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return self.cluster_centers_.shape[0]

    def fit_predict(self, X, y=None, sample_weight=None):
        """Fit, and the label of each row.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        return self.fit(X, sample_weight=sample_weight).labels_  # type: ignore[attr-defined]

    def predict(self, X):
        """The nearest center of each row; of equally near ones the first.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream} of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return self._assigned(read_rows(self, X, reset=False))[0]

    def transform(self, X):
        """Distances to the centers.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_clusters)
        """
        check_is_fitted(self)
        X = read_rows(self, X, reset=False)
        centers = np.asarray(self.cluster_centers_, dtype_of(X))
        if isinstance(X, Streamed):
            with jax.enable_x64(dtype_of(X) == np.float64):
                return X.map(distances, as_stored(X, centers))
        return self._distances(X, centers)

    def _distances(self, X: Any, centers: np.ndarray) -> np.ndarray:
        placed = Placed.of(X)
        return compute(measure_rows, placed.data, placed.seen(centers), by_rows=True)[: placed.data.n_samples]

    def fit_transform(self, X, y=None, sample_weight=None):
        """Fit, and distances to the centers.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_clusters)
        """
        return self.fit(X, sample_weight=sample_weight).transform(X)  # type: ignore[attr-defined]

    def score(self, X, y=None, sample_weight=None):
        """Minus the inertia of some rows: the weighted sum of their squared distances to the nearest center.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream} of shape (n_samples, n_features)
        y : Ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        float
        """
        check_is_fitted(self)
        return -float(self._assigned(read_rows(self, X, reset=False), sample_weight)[1])

    def _assigned(self, X: Any, sample_weight: Any = None) -> tuple[np.ndarray, float]:
        """Labels and inertia of validated rows."""
        return labelled(X, np.asarray(self.cluster_centers_), sample_weight)

    def _check_n_samples(self, n_samples: int) -> None:
        if n_samples < self.n_clusters:
            raise ValueError(f"n_samples={n_samples} should be >= n_clusters={self.n_clusters}.")

    def _n_starts(self, otherwise: int) -> int:
        """Runs from different starts; `otherwise` where ``auto`` has no good start."""
        init, n_init = self.init, self.n_init
        given = not isinstance(init, str) and not callable(init)
        n_starts = n_init
        if n_init == "auto":
            n_starts = 1 if given or (isinstance(init, str) and init != "random") else otherwise
        if given and n_starts != 1:
            warnings.warn(
                f"Explicit initial center position passed: performing only one init in {type(self).__name__} instead of "
                f"n_init={n_starts}.",
                RuntimeWarning,
                stacklevel=3,
            )
        self._n_init = 1 if given else n_starts  # under scikit-learn's name
        return self._n_init

    def _starts(self, X: Any, placed: Placed, n_starts: int, rng: Any) -> np.ndarray:
        """Centers of each start, (n_starts, k, p), in validated rows that lie in memory."""
        init, n_clusters = self.init, self.n_clusters
        if callable(init):
            given = [init(X, n_clusters, random_state=rng) for _ in range(n_starts)]
            return np.stack([self._checked_centers(centers, X) for centers in given])
        if not isinstance(init, str):
            return self._checked_centers(init, X)[None]
        data = placed.data
        if init == "random":
            weight = np.asarray(data.sample_weight, float)[: data.n_samples]
            if np.count_nonzero(weight) < n_clusters:
                raise ValueError(
                    f"init='random' draws n_clusters={n_clusters} rows, and {np.count_nonzero(weight)} have a positive weight."
                )
            share = weight / weight.sum()
            drawn = [rng.choice(data.n_samples, n_clusters, replace=False, p=share) for _ in range(n_starts)]
            rows = [X[index] for index in drawn]
            return np.stack([row.toarray() if scipy.sparse.issparse(row) else np.asarray(row) for row in rows])
        seeds = rng.randint(np.iinfo(np.int32).max, size=n_starts).astype(np.uint32)
        return compute(draw, data, placed.task(KMeans(n_clusters, init=init)), seeds, by_rows=True)[0] + placed.location

    def _checked_centers(self, centers: Any, X: Any) -> np.ndarray:
        centers = check_array(np.asarray(centers), dtype=np.dtype(X.dtype), copy=True, order="C")  # pyright: ignore
        if len(centers) != self.n_clusters:
            raise ValueError(
                f"The shape of the initial centers {centers.shape} does not match the number of clusters {self.n_clusters}."
            )
        if centers.shape[1] != X.shape[1]:
            raise ValueError(
                f"The shape of the initial centers {centers.shape} does not match the number of features of the data "
                f"{X.shape[1]}."
            )
        return centers

    def _warn_unless_distinct(self) -> None:
        distinct = len(np.unique(self.labels_))
        if distinct < self.n_clusters:
            warnings.warn(
                f"Number of distinct clusters ({distinct}) found smaller than n_clusters ({self.n_clusters}). "
                "Possibly due to duplicate points in X.",
                ConvergenceWarning,
                stacklevel=3,
            )


class Placed(NamedTuple):
    """Rows where a program takes them, less a point near them.

    Attributes
    ----------
    data : Data
    location : ndarray, (n_features,), or float
    """

    data: Data
    location: Any

    @classmethod
    def of(cls, X: Any, sample_weight: Any = None) -> Placed:
        """Validated rows: a NumPy array is copied in any case, others stay what they are."""
        location = near(X) if isinstance(X, np.ndarray) else None
        return cls(place_rows(X, sample_weight, location=location), 0 if location is None else location)

    def task(self, model: KMeans) -> Task:
        """`model`, to be run on these rows."""
        return Task(model, near_zero=isinstance(self.location, np.ndarray))

    def seen(self, centers: np.ndarray) -> np.ndarray:
        """Centers as seen from there."""
        return centers.astype(self.data.dtype) - self.location

    def labelled(self, centers: np.ndarray) -> tuple[np.ndarray, float]:
        """Labels, and the weighted sum of squared distances to `centers`."""
        data = self.data
        plain = data.mesh is None and not data.is_sparse
        labels, squares = compute(label_blocks if plain else label_rows, data, self.seen(centers), by_rows=True)
        return labels[: data.n_samples], float(squares.astype(float) @ np.asarray(data.sample_weight, float))


def labelled(X: Any, centers: np.ndarray, sample_weight: Any = None) -> tuple[np.ndarray, float]:
    """The same of validated rows of any kind."""
    if not isinstance(X, Streamed):
        return Placed.of(X, sample_weight).labelled(centers)
    with jax.enable_x64(dtype_of(X) == np.float64):
        labels, squares = X.map(assigned, as_stored(X, centers.astype(dtype_of(X))))
    weight = check_sample_weight(sample_weight, len(labels), dtype_of(X))
    return labels, float(squares.astype(float) @ weight)


def dtype_of(X: Any) -> np.dtype:
    """That of a fit to validated rows."""
    if isinstance(X, Streamed):
        return np.dtype(np.float64 if X.reader.dtype == np.float64 else np.float32)
    return np.dtype(X.dtype)


def as_stored(X: Any, centers: np.ndarray) -> np.ndarray:
    """Centers whose columns are in the order in which a stream has them."""
    columns = getattr(X.reader.source, "columns", None) if isinstance(X, Streamed) else None
    return centers if columns is None else centers[..., columns]


def as_features(X: Any, centers: Any) -> np.ndarray:
    """The inverse of `as_stored`."""
    columns = getattr(X.reader.source, "columns", None) if isinstance(X, Streamed) else None
    return np.array(centers) if columns is None else in_order(centers, columns)


def some_rows(X: Streamed, n_rows: int, seed: int) -> np.ndarray:
    """At most so many rows of a stream: drawn at random where it is addressable, else the first."""
    source = X.reader.source
    if not source.addressable or isinstance(source, Virtual):
        return np.array(X.head().X[:n_rows])
    return taken(X.reader, permutation(X.shape[0], seed, ROWS)[:n_rows])
