"""Kernel density estimation."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from jaxlearn.access.streamed import Streamed
from jaxlearn.objectives.kernels import DENSITIES

from .constraints import COUNT, NON_NEGATIVE, ONE_OF, POSITIVE
from .inputs import check_sample_weight
from .neighbors_base import distance_of
from .neighbors_search import Index, dtype_of
from .rows import read_rows

__all__ = ["KernelDensity"]

METRICS = ("euclidean", "l2", "manhattan", "l1", "cityblock", "chebyshev", "minkowski", "haversine")


class KernelDensity(BaseEstimator):
    """A density that is the mean of one around each row.

    ``log p(x) = log Σ w_i K(d(x, x_i) / h) − log Σ w_i − log ∫ K(‖z‖ / h) dz``

    *Reads the data by* fold, in tiles; of a stream once for each call.

    *Cost* 2 n m p flops for m queries. All terms are summed, so that no tolerance is needed.

    Parameters
    ----------
    bandwidth : float or {"scott", "silverman"}, default=1.0
        h.
    algorithm : {"auto", "brute", "kd_tree", "ball_tree"}, default="auto"
        There are no trees: a warning says so where one was asked for.
    kernel : {"gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"}, default="gaussian"
    metric : str, default="euclidean"
        The integral is that of the Euclidean distance whatever the metric is, as in scikit-learn.
    atol, rtol : float, default=0
        Sums are exact, and so within any tolerance.
    breadth_first : bool, default=True
        Of a tree; without effect.
    leaf_size : int, default=40
        Of a tree; without effect.
    metric_params : dict, optional
        ``p`` and ``w`` of "minkowski".

    Attributes
    ----------
    bandwidth_ : float
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.neighbors import KernelDensity
    >>> KernelDensity(bandwidth=0.5).fit(np.array([[0.0], [1.0]])).score_samples(np.array([[0.0]])).round(3).tolist()
    [-0.792]
    """

    bandwidth: Any
    n_features_in_: int

    _parameter_constraints: dict = {
        "bandwidth": [POSITIVE, ONE_OF("scott", "silverman")],
        "algorithm": [ONE_OF("auto", "brute", "kd_tree", "ball_tree")],
        "kernel": [ONE_OF(*DENSITIES)],
        "metric": [ONE_OF(*METRICS)],
        "atol": [NON_NEGATIVE],
        "rtol": [NON_NEGATIVE],
        "breadth_first": ["boolean"],
        "leaf_size": [COUNT],
        "metric_params": [None, dict],
    }

    def __init__(
        self,
        *,
        bandwidth=1.0,
        algorithm="auto",
        kernel="gaussian",
        metric="euclidean",
        atol=0,
        rtol=0,
        breadth_first=True,
        leaf_size=40,
        metric_params=None,
    ):
        self.bandwidth = bandwidth
        self.algorithm = algorithm
        self.kernel = kernel
        self.metric = metric
        self.atol = atol
        self.rtol = rtol
        self.breadth_first = breadth_first
        self.leaf_size = leaf_size
        self.metric_params = metric_params

    def fit(self, X, y=None, sample_weight=None):
        """Keep the rows.

        Parameters
        ----------
        X : {array-like, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)
        y : Ignored
        sample_weight : float or array-like of shape (n_samples,), optional

        Returns
        -------
        self : object
        """
        self._validate_params()
        if self.algorithm in ("kd_tree", "ball_tree"):
            if self.algorithm == "kd_tree" and self.metric == "haversine":
                raise ValueError("invalid metric for kd_tree: 'haversine'")
            warnings.warn(f"algorithm={self.algorithm!r}: there are no trees here. All terms are summed.", stacklevel=2)
        X = read_rows(self, X, sparse=False)
        self._weight = None
        if sample_weight is not None:
            self._weight = check_sample_weight(sample_weight, X.shape[0], dtype_of(X))
        self._place(X)
        self.bandwidth_ = self._bandwidth()
        return self

    def _place(self, X: Any) -> None:
        params = dict(self.metric_params or {})
        distance = distance_of(self.metric, None, params, dtype_of(X), n_features=self.n_features_in_)
        self._index = Index(distance, X, self._weight)
        self._fit_X = self._index.X

    def _bandwidth(self) -> float:
        n, p = self._fit_X.shape
        if self.bandwidth == "scott":
            return n ** (-1 / (p + 4))
        return (n * (p + 2) / 4) ** (-1 / (p + 4)) if self.bandwidth == "silverman" else self.bandwidth

    def score_samples(self, X):
        """Logarithms of the density.

        Parameters
        ----------
        X : {array-like, jax.Array} of shape (n_queries, n_features)

        Returns
        -------
        ndarray of shape (n_queries,)
        """
        check_is_fitted(self)
        X = read_rows(self, X, sparse=False, reset=False)
        if isinstance(X, Streamed):
            raise ValueError("Queries are held in memory: pass them in blocks, not as a stream.")
        return self._index.log_density(X, DENSITIES[self.kernel], self.bandwidth_)

    def score(self, X, y=None):
        """Sum of the logarithms of the density.

        Parameters
        ----------
        X : {array-like, jax.Array} of shape (n_queries, n_features)
        y : Ignored

        Returns
        -------
        float
        """
        return self.score_samples(X).sum(dtype=np.float64)

    def sample(self, n_samples=1, random_state=None):
        """Draw from the density, of a Gaussian or a tophat kernel.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        if self.kernel not in ("gaussian", "tophat") or isinstance(self._fit_X, Streamed):
            raise NotImplementedError("Samples are drawn around rows in memory, by a Gaussian or a tophat kernel.")
        rng, (n, p) = check_random_state(random_state), self._fit_X.shape
        share = np.full(n, 1 / n) if self._weight is None else self._weight / self._weight.sum(dtype=np.float64)
        centers = np.asarray(self._fit_X)[rng.choice(n, n_samples, p=share / share.sum(dtype=np.float64))]
        steps = rng.normal(size=(n_samples, p))
        if self.kernel == "tophat":  # uniform in the ball: a direction, and a radius whose p-th power is uniform
            steps *= (rng.uniform(size=n_samples) ** (1 / p) / np.linalg.norm(steps, axis=1))[:, None]
        return centers + self.bandwidth_ * steps

    def __getstate__(self):
        state: Any = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_index"}

    def __setstate__(self, state):
        super().__setstate__(state)
        if hasattr(self, "_fit_X"):
            self._place(self._fit_X)
