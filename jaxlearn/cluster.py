"""Clustering, under the names of scikit-learn."""

from .estimators.bisecting_kmeans import BisectingKMeans
from .estimators.k_means import k_means, kmeans_plusplus
from .estimators.kmeans import KMeans
from .estimators.minibatch_kmeans import MiniBatchKMeans

__all__ = ["BisectingKMeans", "KMeans", "MiniBatchKMeans", "k_means", "kmeans_plusplus"]
