"""k-means by halves: clusters are split in two, one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from jaxlearn.access.streamed import Streamed

from .cluster_centers import ClusterCenters
from .constraints import COUNT, ONE_OF
from .inputs import check_sample_weight
from .kmeans import KMeans
from .rows import read_rows

__all__ = ["BisectingKMeans"]

# Distances to the centers of all nodes that are held at once.
CHUNK = 1 << 22


class _Node:
    """A cluster: its center, and the nodes it was split into, or its label."""

    def __init__(self, center: np.ndarray, index: np.ndarray, inertia: float):
        self.center, self.index, self.inertia = center, index, inertia
        self.children: list[_Node] = []
        self.label = -1

    def walk(self) -> list[_Node]:
        """The node and all below, those on the left before those on the right."""
        return [self, *(node for child in self.children for node in child.walk())]


class BisectingKMeans(ClusterCenters):
    """k-means by halves: all rows are one cluster, and one cluster after the other is split in two.

    Parameters
    ----------
    n_clusters : int, default=8
        k.
    init : {"k-means++", "k-means||", "random"}, callable or array-like of shape (2, n_features), default="random"
        Start of each split, as of `KMeans`.
    n_init : int, default=1
        Starts of each split, of which the best is kept.
    random_state : int, RandomState instance or None, default=None
        Seeds the starts.
    max_iter : int, default=300
        Largest number of passes of a split over its rows.
    verbose : int, default=0
        Without meaning: a compiled program prints nothing.
    tol : float, default=1e-4
        As of `KMeans`, for each split.
    copy_x : bool, default=True
        Without meaning: X is never written to.
    algorithm : {"lloyd", "elkan"}, default="lloyd"
        As of `KMeans`.
    bisecting_strategy : {"biggest_inertia", "largest_cluster"}, default="biggest_inertia"
        Which cluster is split next: that of the largest inertia, or of the most rows.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
    labels_ : ndarray of shape (n_samples,)
    inertia_ : float
        Weighted sum of the squared distances of the rows to the centers of their clusters.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X has them.

    See Also
    --------
    KMeans : All centers together.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.cluster import BisectingKMeans
    >>> X = np.array([[1.0, 1], [10, 1], [3, 1], [10, 0], [2, 1], [10, 2], [10, 8], [10, 9], [10, 10]])
    >>> model = BisectingKMeans(n_clusters=3, random_state=0).fit(X)
    >>> len(set(model.predict([[1.0, 1], [10, 1], [10, 9]])))
    3
    """

    _parameter_constraints: dict = {
        **ClusterCenters._parameter_constraints,
        "n_init": [COUNT],
        "copy_x": ["boolean"],
        "algorithm": [ONE_OF("lloyd", "elkan")],
        "bisecting_strategy": [ONE_OF("biggest_inertia", "largest_cluster")],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        init="random",
        n_init=1,
        random_state=None,
        max_iter=300,
        verbose=0,
        tol=1e-4,
        copy_x=True,
        algorithm="lloyd",
        bisecting_strategy="biggest_inertia",
    ):
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.random_state = random_state
        self.max_iter = max_iter
        self.verbose = verbose
        self.tol = tol
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.bisecting_strategy = bisecting_strategy

    def fit(self, X, y=None, sample_weight=None):
        """Find clusters.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
        y : Ignored
        sample_weight : array-like of shape (n_samples,), optional
            Zero is a row that is not there.

        Returns
        -------
        self : object
        """
        self._validate_params()
        X = read_rows(self, X)
        if isinstance(X, Streamed):
            raise ValueError("BisectingKMeans splits rows in memory: for a stream use KMeans or MiniBatchKMeans.")
        self._check_n_samples(X.shape[0])
        weight = check_sample_weight(sample_weight, X.shape[0], X.dtype)
        rng = check_random_state(self.random_state)
        share = weight / weight.sum(dtype=float)
        center = np.asarray(share.astype(X.dtype) @ X).ravel()
        root = _Node(center, np.arange(X.shape[0]), np.inf)
        leaves = [root]
        for _ in range(self.n_clusters - 1):
            leaf = self._next(leaves, weight)
            leaf.children = self._split(X, weight, leaf, rng)
            leaves = [node for node in leaves if node is not leaf] + leaf.children
        leaves = [node for node in root.walk() if not node.children]
        labels = np.empty(X.shape[0], np.int32)
        for label, node in enumerate(leaves):
            node.label, labels[node.index] = label, label
        self._tree, self.labels_ = root, labels
        self.cluster_centers_ = np.stack([node.center for node in leaves])
        self.inertia_ = sum(_inertia(X[node.index], node.center, weight[node.index]) for node in leaves)
        for node in root.walk():
            node.index = node.index[:0]
        return self

    def _next(self, leaves: list[_Node], weight: np.ndarray) -> _Node:
        """The leaf that is split next: one of several rows, as long as there are any."""
        several = [leaf for leaf in leaves if np.count_nonzero(weight[leaf.index]) > 1] or [
            leaf for leaf in leaves if len(leaf.index) > 1
        ]
        by_inertia = self.bisecting_strategy == "biggest_inertia"
        return max(several, key=lambda leaf: leaf.inertia if by_inertia else len(leaf.index))

    def _split(self, X: Any, weight: np.ndarray, leaf: _Node, rng: Any) -> list[_Node]:
        rows, own = X[leaf.index], weight[leaf.index]
        half = KMeans(2, init=self.init, n_init=self.n_init, max_iter=self.max_iter, tol=self.tol, random_state=rng)
        half.fit(rows, sample_weight=own)
        found = []
        for label, center in enumerate(half.cluster_centers_):
            mine = half.labels_ == label
            found.append(_Node(center, leaf.index[mine], _inertia(rows[np.flatnonzero(mine)], center, own[mine])))
        return found

    def _assigned(self, X: Any, sample_weight: Any = None) -> tuple[np.ndarray, float]:
        """Labels and inertia: down the tree, to the nearer child of each node."""
        if isinstance(X, Streamed):
            raise ValueError("BisectingKMeans labels rows in memory: give it the blocks of a stream.")
        weight = check_sample_weight(sample_weight, X.shape[0], X.dtype)
        nodes = self._tree.walk()
        number = {id(node): i for i, node in enumerate(nodes)}
        left, right = (
            np.array([number[id(node.children[i])] if node.children else j for j, node in enumerate(nodes)])
            for i in (0, 1)
        )
        centers, labels = np.stack([node.center for node in nodes]).astype(X.dtype), np.empty(X.shape[0], np.int32)
        size = max(CHUNK // len(nodes), 1)
        for first in range(0, X.shape[0], size):
            distance = self._distances(X[first : first + size], centers)
            at, each = np.zeros(len(distance), int), np.arange(len(distance))
            while (left[at] != at).any():
                at = np.where(distance[each, left[at]] <= distance[each, right[at]], left[at], right[at])
            labels[first : first + size] = [nodes[i].label for i in at]
        inertia = sum(
            _inertia(X[index], center, weight[index])
            for label, center in enumerate(self.cluster_centers_)
            if len(index := np.flatnonzero(labels == label))
        )
        return labels, inertia


def _inertia(X: Any, center: np.ndarray, weight: np.ndarray) -> float:
    """``Σ w_i ‖x_i − c‖²``."""
    X = np.asarray(X.toarray() if hasattr(X, "toarray") else X)
    return float(np.square(X - center[None].astype(X.dtype)).sum(1).astype(float) @ weight)
