"""k-means from small batches."""

from __future__ import annotations

import dataclasses
import warnings
from functools import partial
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import lax
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

from jaxlearn.access.buckets import row_bucket
from jaxlearn.access.host import from_scipy
from jaxlearn.access.scan import ROWS, BatchSizes, Place, Scan, permutation
from jaxlearn.access.streamed import Streamed
from jaxlearn.models import minibatch_kmeans as online

from .base import number
from .cluster_centers import ClusterCenters, Placed, as_features, as_stored, dtype_of, labelled, some_rows
from .constraints import COUNT, NON_NEGATIVE
from .inputs import check_sample_weight, refuse_other_width
from .rows import read_rows

__all__ = ["MiniBatchKMeans"]

# Batches of one dispatch.
DISPATCH = 32


class MiniBatchKMeans(ClusterCenters):
    """k-means from small batches: each center is the mean of all rows that were nearest to it when they came.

    Parameters
    ----------
    n_clusters : int, default=8
        k.
    init : {"k-means++", "k-means||", "random"}, callable or array-like of shape (n_clusters, n_features), default="k-means++"
        As of `KMeans`, from `init_size` rows.
    max_iter : int, default=100
        Largest number of epochs.
    batch_size : int, default=1024
        Rows of a batch. Each epoch goes through all rows in a new order.
    verbose : int, default=0
        Without meaning: a compiled program prints nothing.
    compute_labels : bool, default=True
        Whether `fit` ends with ``labels_`` and ``inertia_`` of its rows; otherwise ``inertia_`` is the running mean.
    random_state : int, RandomState instance or None, default=None
        Seeds the start, the order of the rows, and the rows that centers are moved to.
    tol : float, default=0.0
        Learning ends when a batch moves the centers by no more, squared and summed, than `tol` times the mean variance of
        the features; 0.0 is never.
    max_no_improvement : int or None, default=10
        Learning ends when the running mean of the inertia has not fallen for so many batches.
    init_size : int, default=None
        Rows that a start is drawn from, and as many that starts are compared on; by default the larger of three batches
        and 3 k.
    n_init : "auto" or int, default="auto"
        Starts, of which the best is learnt from; ``auto`` is 3 for ``random`` and callables, else 1.
    reassignment_ratio : float, default=0.01
        A center that fewer rows joined than this share of the most that joined one is moved to a row of the batch.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
    labels_ : ndarray of shape (n_samples,)
        The nearest center of each row, with `compute_labels`.
    inertia_ : float
        Weighted sum of the squared distances to the nearest center.
    n_iter_ : int
        Epochs, the last one not in full.
    n_steps_ : int
        Batches.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X has them.

    See Also
    --------
    KMeans : Centers from all rows.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.cluster import MiniBatchKMeans
    >>> X = np.random.default_rng(0).standard_normal((500, 2)) + np.repeat([[0], [20]], 250, axis=0)
    >>> model = MiniBatchKMeans(n_clusters=2, batch_size=50, random_state=0).fit(X)
    >>> bool((model.labels_[:250] == model.labels_[0]).all())
    True
    """

    _parameter_constraints: dict = {
        **ClusterCenters._parameter_constraints,
        "batch_size": [COUNT],
        "compute_labels": ["boolean"],
        "max_no_improvement": [Interval(Integral, 0, None, closed="left"), None],
        "init_size": [COUNT, None],
        "reassignment_ratio": [NON_NEGATIVE],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        init="k-means++",
        max_iter=100,
        batch_size=1024,
        verbose=0,
        compute_labels=True,
        random_state=None,
        tol=0.0,
        max_no_improvement=10,
        init_size=None,
        n_init="auto",
        reassignment_ratio=0.01,
    ):
        self.n_clusters = n_clusters
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.verbose = verbose
        self.compute_labels = compute_labels
        self.random_state = random_state
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.init_size = init_size
        self.n_init = n_init
        self.reassignment_ratio = reassignment_ratio

    def fit(self, X, y=None, sample_weight=None):
        """Learn centers.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream} of shape (n_samples, n_features)
        y : Ignored
        sample_weight : array-like of shape (n_samples,), optional
            Zero is a row that is not there.

        Returns
        -------
        self : object
        """
        self._validate_params()
        X = read_rows(self, X)
        n_samples = X.count() if isinstance(X, Streamed) else X.shape[0]
        self._check_n_samples(n_samples)
        weight = check_sample_weight(sample_weight, n_samples, dtype_of(X))
        self._rng = rng = check_random_state(self.random_state)
        n_starts = self._n_starts(otherwise=3)
        with jax.enable_x64(dtype_of(X) == np.float64):
            state = self._learnt(X, weight, self._start(X, weight, n_starts, rng), int(rng.randint(2**31)))
        self._keep(state)
        epochs = -(-self.n_steps_ * min(self.batch_size, n_samples) // n_samples)
        self.n_iter_ = min(epochs, self.max_iter)  # the last batch of an epoch may have fewer rows
        self.inertia_ = float(state.inertia) * float(weight.sum())
        if self.compute_labels:
            self.labels_, self.inertia_ = labelled(X, self.cluster_centers_, weight)
            self._warn_unless_distinct()
        return self

    def partial_fit(self, X, y=None, sample_weight=None):
        """Learn from one batch, which may have any number of rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
        y : Ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self : object
        """
        self._validate_params()
        begun = hasattr(self, "cluster_centers_")
        X = read_rows(self, X, reset=not begun)
        if isinstance(X, Streamed):
            raise ValueError("partial_fit learns from rows in memory: a stream is learnt from by fit.")
        refuse_other_width(self, X, self.n_features_in_ if begun else None)
        weight = check_sample_weight(sample_weight, X.shape[0], X.dtype)
        if not begun:
            self._check_n_samples(X.shape[0])
            self._rng = check_random_state(self.random_state)
        with jax.enable_x64(X.dtype == np.float64):
            state = self._state(X.dtype) if begun else self._start(X, weight, self._n_starts(otherwise=3), self._rng)
            key = np.uint32(self._rng.randint(2**31))
            state = _step(self._model(X, patience=None), state, _batch(X), _padded(weight, _batch_rows(X)), key)
        self._keep(state)
        if self.compute_labels:
            self.labels_, self.inertia_ = labelled(X, self.cluster_centers_, weight)
        return self

    def _start(self, X: Any, weight: np.ndarray, n_starts: int, rng: Any) -> online.State:
        """From some rows, the best of some starts on others."""
        size = self.init_size or 3 * min(self.batch_size, len(weight))
        if size < self.n_clusters:
            if self.init_size is not None:
                warnings.warn(
                    f"init_size={size} should be larger than n_clusters={self.n_clusters}. Setting it to "
                    "min(3*n_clusters, n_samples)",
                    RuntimeWarning,
                    stacklevel=3,
                )
            size = 3 * self.n_clusters
        self._init_size = size = min(size, len(weight))  # under scikit-learn's name
        if isinstance(X, Streamed):
            rows = some_rows(X, 2 * size, int(rng.randint(2**31)))
            self._check_n_samples(min(size, len(rows)))
            sample, judge = (rows[:size], None), (rows[-size:], None)
        else:
            share = weight / weight.sum()
            size = min(size, max(np.count_nonzero(weight), 1))
            drawn = (rng.choice(len(weight), size, replace=False, p=share) for _ in range(2))
            sample, judge = ((X[index], None) for index in drawn)
        starts = self._starts(sample[0], Placed.of(*sample), n_starts, rng)
        if n_starts > 1:
            judged = Placed.of(*judge)
            starts = starts[[int(np.argmin([judged.labelled(centers)[1] for centers in starts]))]]
        return online.init(jnp.asarray(starts[0], dtype_of(X)))

    def _model(self, X: Any, patience: int | None) -> online.MiniBatchKMeans:
        dtype = dtype_of(X)
        n_samples = X.shape[0]
        tol = 0.0
        if self.tol > 0 and patience is not None:
            sample = some_rows(X, 8192, 0) if isinstance(X, Streamed) else X
            tol = self.tol * _mean_variance(sample)
        idle = np.iinfo(np.int32).max if patience is None else patience
        smoothing = min(2 * min(self.batch_size, n_samples) / (n_samples + 1), 1)
        ratio, smoothing, tol = (number(value, dtype) for value in (self.reassignment_ratio, smoothing, tol))
        return online.MiniBatchKMeans(ratio, smoothing, tol, np.int32(idle))

    def _learnt(self, X: Any, weight: np.ndarray, state: online.State, seed: int) -> online.State:
        """Epochs of batches, until learning is done."""
        model = self._model(X, np.iinfo(np.int32).max if self.max_no_improvement is None else self.max_no_improvement)
        size, key = min(self.batch_size, len(weight)), np.uint32(seed)
        if scipy.sparse.issparse(X):
            return _learn_sparse(model, state, (X, weight), (size, self.max_iter, seed))
        location: Any = 0
        rows = X
        if not isinstance(X, Streamed):
            data, location = Placed.of(X, weight)
            rows, weight = jnp.asarray(data.X), np.asarray(data.sample_weight)
        state = _with_centers(state, as_stored(X, np.asarray(state.centers)) - location)
        state = self._epochs(model, state, (rows, weight), (size, key, seed))
        return _with_centers(state, as_features(X, state.centers) + location)

    def _epochs(self, model: Any, state: online.State, data: tuple[Any, np.ndarray], plan: Any) -> online.State:
        (rows, weight), (size, key, seed) = data, plan
        scan = Scan(rows, BatchSizes(size, size), seed)
        place = Place()
        scale = None if scan.scale is None else jnp.asarray(scan.scale)
        for _ in range(self.max_iter):
            for segment in scan.segments(place, dispatch=DISPATCH):
                local = _padded(weight[segment.offset : segment.offset + len(segment.X)], len(segment.X))
                batches = segment.first, segment.count
                state = _learn(
                    model, state, (segment.X, scale, local), (segment.order, *batches, key), size=segment.size
                )
                place = segment.place
                if state.done:
                    return state
            place = scan.next_epoch(place)
        return state

    def _state(self, dtype: Any) -> online.State:
        state = jax.tree.map(lambda a: jnp.asarray(a, dtype if a.dtype.kind == "f" else a.dtype), self._learner)
        return dataclasses.replace(state, done=jnp.bool_(False))  # a fit ended, and is gone on with

    def _keep(self, state: online.State) -> None:
        self._learner = jax.device_get(state)
        self.cluster_centers_, self._counts = np.array(state.centers), np.array(state.counts)
        self.n_steps_ = int(state.n_steps)


def _with_centers(state: online.State, centers: np.ndarray) -> online.State:
    return dataclasses.replace(state, centers=jnp.asarray(centers))


def _mean_variance(X: Any) -> float:
    if scipy.sparse.issparse(X):
        mean = np.asarray(X.mean(0)).ravel()
        return float(np.mean(np.asarray(X.multiply(X).mean(0)).ravel() - mean**2))
    return float(np.mean(np.var(np.asarray(X), axis=0)))


def _padded(weight: np.ndarray, n_rows: int) -> np.ndarray:
    return np.pad(weight, (0, n_rows - len(weight)))


def _batch_rows(X: Any) -> int:
    return X.shape[0] if isinstance(X, jax.Array) else row_bucket(X.shape[0])


def _batch(X: Any) -> Any:
    if isinstance(X, jax.Array):
        return X
    if scipy.sparse.issparse(X):
        return from_scipy(X, n_rows=_batch_rows(X))
    return np.pad(X, [(0, _batch_rows(X) - len(X)), (0, 0)])


def _learn_sparse(
    model: online.MiniBatchKMeans, state: online.State, rows: tuple[Any, np.ndarray], plan: tuple[int, int, int]
) -> online.State:
    """Batches of sparse rows are cut on the host."""
    (X, weight), (size, max_iter, seed) = rows, plan
    X = X.tocsr()
    for epoch in range(max_iter):
        order = permutation(X.shape[0], seed, ROWS, epoch)
        for first in range(0, len(order), size):
            chosen = order[first : first + size]
            batch = from_scipy(X[chosen], n_rows=size)
            state = _step(model, state, batch, _padded(weight[chosen], size), np.uint32(seed))
            if state.done:
                return state
    return state


@jax.jit
def _step(model: Any, state: Any, X: Any, weight: jax.Array, seed: jax.Array) -> online.State:
    key = jax.random.fold_in(jax.random.key(seed), state.n_steps)
    return online.step(model, state, X, weight, key=key)


@partial(jax.jit, static_argnames="size")
def _learn(model: Any, state: Any, rows: Any, batches: Any, *, size: int) -> online.State:
    """From `count` batches of `order`, beginning with number `first`."""
    (X, scale, weight), (order, first, count, seed) = rows, batches

    def learn(i: jax.Array, state: online.State) -> online.State:
        chosen = lax.dynamic_slice_in_dim(order, i * size, size)
        there = chosen >= 0
        chosen = jnp.maximum(chosen, 0)
        batch = X[chosen].astype(state.centers.dtype)
        batch = batch if scale is None else batch * scale.astype(batch.dtype)[None]
        key = jax.random.fold_in(jax.random.key(seed), state.n_steps)
        weights = jnp.where(there, weight[chosen], 0)
        step = lambda state: online.step(model, state, batch, weights, key=key)  # noqa: E731
        return lax.cond(state.done, lambda state: state, step, state)

    return lax.fori_loop(first, first + count, learn, state)
