"""k-means by Lloyd's iterations, with bounds or without."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np
import scipy.sparse
from sklearn.utils import check_random_state

from jaxlearn.access.streamed import Streamed
from jaxlearn.models import kmeans
from jaxlearn.solvers.lloyd import Lloyd
from jaxlearn.solvers.solution import CONVERGED

from .base import compute, number, warn_unless_converged
from .cluster_centers import ClusterCenters, Placed, as_features, as_stored, dtype_of, labelled, some_rows
from .constraints import ONE_OF
from .inputs import Data, check_sample_weight
from .kmeans_programs import fit
from .rows import read_rows

__all__ = ["KMeans"]

# Of a stream, a start is drawn from so many rows for each cluster, and from so many in any case.
SAMPLED, SAMPLED_AT_LEAST = 64, 8192
# From so many on, comparing fewer rows saves more than gathering them takes.
BOUNDED_CLUSTERS, BOUNDED_FEATURES = 32, 128


class KMeans(ClusterCenters):
    """k-means clustering.

    *Minimises* ``Σ w_i min_j ‖x_i − c_j‖²``, to a local minimum.

    Parameters
    ----------
    n_clusters : int, default=8
        k.
    init : {"k-means++", "k-means||", "random"}, callable or array-like of shape (n_clusters, n_features), default="k-means++"
        ``k-means++`` draws rows one after the other, each the best of ``2 + log k`` that are drawn in proportion to their
        squared distances from those before; ``k-means||`` draws 2 k in each of five rounds and clusters these: of hundreds of
        clusters it is faster; ``random`` draws rows. A callable takes (X, n_clusters, random_state).
    n_init : "auto" or int, default="auto"
        Runs from different starts, side by side in one program; the best is kept. ``auto`` is 10 for ``random`` and
        callables, else 1.
    max_iter : int, default=300
        Largest number of passes over the rows.
    tol : float, default=1e-4
        A run ends when the centers' squared shifts sum up to at most `tol` times the mean variance of the features.
    verbose : int, default=0
        Without meaning: a compiled program prints nothing.
    random_state : int, RandomState instance or None, default=None
        Seeds the starts.
    copy_x : bool, default=True
        Without meaning: X is never written to.
    algorithm : {"auto", "lloyd", "elkan"}, default="auto"
        Both find the same. ``elkan`` compares only those rows with all centers whose label may change, and remembers a number
        for each row and cluster; it takes dense rows in the memory of one device: of others `lloyd` is run. ``auto`` is
        ``elkan`` on a CPU where there are at least 32 clusters and 128 features, and no more clusters than features.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
    labels_ : ndarray of shape (n_samples,)
        The nearest center of each row.
    inertia_ : float
        Weighted sum of the squared distances to the nearest center.
    n_iter_ : int
        Passes of the run that was kept.
    algorithm_ : str
        The one that was run.
    certificate_ : float
        Its last ``Σ_j ‖Δc_j‖²``.
    converged_ : bool
        Whether all runs ended within `tol`.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X has them.

    See Also
    --------
    MiniBatchKMeans : Centers from small batches.
    jaxlearn.models.kmeans : The same as pure functions.

    Notes
    -----
    Rows may be a ``jax.Array`` that is sharded over devices, or a stream, of which the start is drawn from a sample.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.cluster import KMeans
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> model = KMeans(n_clusters=2, random_state=0).fit(X)
    >>> bool(model.labels_[0] == model.labels_[2] != model.labels_[3])
    True
    """

    _parameter_constraints: dict = {
        **ClusterCenters._parameter_constraints,
        "copy_x": ["boolean"],
        "algorithm": [ONE_OF("auto", "lloyd", "elkan")],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        init="k-means++",
        n_init="auto",
        max_iter=300,
        tol=1e-4,
        verbose=0,
        random_state=None,
        copy_x=True,
        algorithm="auto",
    ):
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm

    def fit(self, X, y=None, sample_weight=None):
        """Find centers.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream} of shape (n_samples, n_features)
            float32 is computed in float32, everything else in float64.
        y : Ignored
        sample_weight : array-like of shape (n_samples,), optional
            Zero is a row that is not there.

        Returns
        -------
        self : object
        """
        self._validate_params()
        X = read_rows(self, X)
        if self.algorithm == "elkan" and self.n_clusters == 1:
            warnings.warn(
                "algorithm='elkan' doesn't make sense for a single cluster. Using 'lloyd' instead.",
                RuntimeWarning,
                stacklevel=2,
            )
        rng, n_starts = check_random_state(self.random_state), self._n_starts(otherwise=10)
        run = self._streamed if isinstance(X, Streamed) else self._in_memory
        found, self.cluster_centers_, (self.labels_, self.inertia_) = run(X, sample_weight, n_starts, rng)
        self.n_iter_, self.certificate_ = int(found.n_steps), float(found.residual)
        self.converged_ = bool(found.status == CONVERGED)
        warn_unless_converged(
            self, found.status, found.residual, Lloyd.certificate, self.tol, found.n_steps, self.cluster_centers_.dtype
        )
        self._warn_unless_distinct()
        return self

    def _model(self, dtype: Any) -> kmeans.KMeans:
        tol, max_steps = number(self.tol, dtype), np.int32(self.max_iter)
        return kmeans.KMeans(self.n_clusters, tol, max_steps, algorithm=self.algorithm_)

    def _chosen(self, X: Any, data: Data) -> str:
        k, p = self.n_clusters, X.shape[1]
        served = data.mesh is None and not scipy.sparse.issparse(X) and k > 1
        many = jax.default_backend() == "cpu" and BOUNDED_CLUSTERS <= k <= p and p >= BOUNDED_FEATURES
        return "elkan" if served and (self.algorithm == "elkan" or (self.algorithm == "auto" and many)) else "lloyd"

    def _in_memory(self, X: Any, sample_weight: Any, n_starts: int, rng: Any) -> tuple[Any, np.ndarray, Any]:
        self._check_n_samples(X.shape[0])
        placed = Placed.of(X, sample_weight)
        starts = placed.seen(self._starts(X, placed, n_starts, rng))
        self.algorithm_ = self._chosen(X, placed.data)
        found = compute(fit, placed.data, placed.task(self._model(placed.data.dtype)), starts)
        centers = np.array(found.centers + placed.location)
        return found, centers, placed.labelled(centers)

    def _streamed(self, X: Streamed, sample_weight: Any, n_starts: int, rng: Any) -> tuple[Any, np.ndarray, Any]:
        self.algorithm_ = "lloyd"
        n_samples = X.count()
        self._check_n_samples(n_samples)
        weight = check_sample_weight(sample_weight, n_samples, dtype_of(X))
        n_rows = max(SAMPLED_AT_LEAST, SAMPLED * self.n_clusters)
        sample = some_rows(X, n_rows, int(rng.randint(np.iinfo(np.int32).max)))
        self._check_n_samples(len(sample))
        starts = self._starts(sample, Placed.of(sample), n_starts, rng)
        with jax.enable_x64(sample.dtype == np.float64):
            found = jax.device_get(kmeans.fit(self._model(sample.dtype), X, weight, init=as_stored(X, starts)))
        centers = as_features(X, found.centers)
        return found, centers, labelled(X, centers, sample_weight)
