"""Neighbours without a target: the search itself, and graphs of it."""

from __future__ import annotations

from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from .constraints import ONE_OF
from .neighbors_base import KNeighbors, NeighborsModel, RadiusNeighbors

__all__ = ["KNeighborsTransformer", "NearestNeighbors", "RadiusNeighborsTransformer"]


class NearestNeighbors(KNeighbors, RadiusNeighbors, NeighborsModel):
    """Search for nearest neighbours: exact, among all rows, in tiles under a byte budget.

    *Reads the data by* fold, in tiles of rows and queries; of a stream once for each call, whatever the number of queries.

    *Cost* 2 n m p flops for m queries; beside rows, a copy of them if they are NumPy's, and results, memory for a sixteenth of
    scikit-learn's `working_memory` for each of up to four blocks of queries that are at work.

    Of equal distances the first row comes first. Euclidean and cosine distances are found by matrix products and then
    computed from the rows themselves, so that they keep their digits however near two rows are.

    Parameters
    ----------
    n_neighbors : int, default=5
    radius : float, default=1.0
    algorithm : {"auto", "brute", "ball_tree", "kd_tree"}, default="auto"
        There are no trees: all rows are searched, with a warning where a tree was asked for. With few features and very many
        rows scikit-learn's trees are faster.
    leaf_size : int, default=30
        Of a tree; without effect.
    metric : str or callable, default="minkowski"
        One of ``jaxlearn.neighbors.VALID_METRICS["brute"]``, or a function of two vectors that JAX can trace. With
        "precomputed" X is a square matrix of distances, dense or sparse.
    p : float, default=2
        Exponent of "minkowski".
    metric_params : dict, optional
        ``p`` and weights ``w`` of "minkowski"; further arguments of a callable.
    n_jobs : int, optional
        Without effect: XLA has threads of its own.

    Attributes
    ----------
    effective_metric_ : str or callable
    effective_metric_params_ : dict
    n_samples_fit_ : int
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Examples
    --------
    >>> from jaxlearn.neighbors import NearestNeighbors
    >>> distances, places = NearestNeighbors(n_neighbors=1).fit([[0.0, 0.0], [1.0, 1.0]]).kneighbors([[1.0, 2.0]])
    >>> distances.tolist(), places.tolist()
    ([[1.0]], [[1]])
    """

    _parameter_constraints: dict = {
        **NeighborsModel._parameter_constraints,
        **KNeighbors._parameter_constraints,
        **RadiusNeighbors._parameter_constraints,
    }

    def __init__(
        self,
        *,
        n_neighbors=5,
        radius=1.0,
        algorithm="auto",
        leaf_size=30,
        metric="minkowski",
        p=2,
        metric_params=None,
        n_jobs=None,
    ):
        self.n_neighbors = n_neighbors
        self.radius = radius
        self.algorithm = algorithm
        self.leaf_size = leaf_size
        self.metric = metric
        self.p = p
        self.metric_params = metric_params
        self.n_jobs = n_jobs

    def fit(self, X, y=None, *, present=None):
        """Keep the rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)
            A stream is read for each call, and must not change. Rows over several devices stay where they are.
        y : Ignored
        present : array-like of shape (n_samples,), optional
            Rows where it is zero are not there: the weights that `shard_rows` returns.

        Returns
        -------
        self : object
        """
        self._fit(X, present=present)
        return self


class _Transformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    def fit(self, X, y=None):
        """Keep the rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        self : object
        """
        self._fit(X)  # type: ignore[attr-defined]
        self._n_features_out = self.n_samples_fit_  # type: ignore[attr-defined]
        return self

    def fit_transform(self, X, y=None):
        """The graph of the rows themselves, each a neighbour of itself.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        CSR matrix of shape (n_samples, n_samples)
        """
        return self.fit(X).transform(X)  # type: ignore[attr-defined]


class KNeighborsTransformer(KNeighbors, _Transformer, NeighborsModel):
    """The graph of nearest neighbours, sparse.

    Parameters
    ----------
    mode : {"distance", "connectivity"}, default="distance"
        What an edge holds. With distances there is one neighbour more: a row is one of its own neighbours.
    n_neighbors : int, default=5
    algorithm, leaf_size, metric, p, metric_params, n_jobs
        As for `NearestNeighbors`.

    Attributes
    ----------
    effective_metric_, effective_metric_params_, n_samples_fit_, n_features_in_, feature_names_in_
        As for `NearestNeighbors`.

    Examples
    --------
    >>> from jaxlearn.neighbors import KNeighborsTransformer
    >>> KNeighborsTransformer(n_neighbors=1).fit_transform([[0.0], [1.0], [3.0]]).toarray().tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    """

    _parameter_constraints: dict = {
        **NeighborsModel._parameter_constraints,
        **KNeighbors._parameter_constraints,
        "mode": [ONE_OF("distance", "connectivity")],
    }

    def __init__(
        self,
        *,
        mode="distance",
        n_neighbors=5,
        algorithm="auto",
        leaf_size=30,
        metric="minkowski",
        p=2,
        metric_params=None,
        n_jobs=None,
    ):
        self.mode = mode
        self.n_neighbors = n_neighbors
        self.algorithm = algorithm
        self.leaf_size = leaf_size
        self.metric = metric
        self.p = p
        self.metric_params = metric_params
        self.n_jobs = n_jobs

    def transform(self, X):
        """The neighbours of other rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_queries, n_features)

        Returns
        -------
        CSR matrix of shape (n_queries, n_samples_fit)
        """
        k = self.n_neighbors + (self.mode == "distance")
        return self.kneighbors_graph(X, n_neighbors=k, mode=self.mode)


class RadiusNeighborsTransformer(RadiusNeighbors, _Transformer, NeighborsModel):
    """The graph of all neighbours within a radius, sparse.

    Parameters
    ----------
    mode : {"distance", "connectivity"}, default="distance"
        What an edge holds.
    radius : float, default=1.0
    algorithm, leaf_size, metric, p, metric_params, n_jobs
        As for `NearestNeighbors`.

    Attributes
    ----------
    effective_metric_, effective_metric_params_, n_samples_fit_, n_features_in_, feature_names_in_
        As for `NearestNeighbors`.

    Examples
    --------
    >>> from jaxlearn.neighbors import RadiusNeighborsTransformer
    >>> RadiusNeighborsTransformer(radius=1.0).fit_transform([[0.0], [1.0], [3.0]]).toarray().tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """

    _parameter_constraints: dict = {
        **NeighborsModel._parameter_constraints,
        **RadiusNeighbors._parameter_constraints,
        "mode": [ONE_OF("distance", "connectivity")],
    }

    def __init__(
        self,
        *,
        mode="distance",
        radius=1.0,
        algorithm="auto",
        leaf_size=30,
        metric="minkowski",
        p=2,
        metric_params=None,
        n_jobs=None,
    ):
        self.mode = mode
        self.radius = radius
        self.algorithm = algorithm
        self.leaf_size = leaf_size
        self.metric = metric
        self.p = p
        self.metric_params = metric_params
        self.n_jobs = n_jobs

    def transform(self, X):
        """The neighbours of other rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_queries, n_features)

        Returns
        -------
        CSR matrix of shape (n_queries, n_samples_fit)
        """
        return self.radius_neighbors_graph(X, mode=self.mode, sort_results=True)
