"""Nearest neighbours, under the names of scikit-learn."""

from .estimators.kernel_density import KernelDensity
from .estimators.nearest_centroid import NearestCentroid
from .estimators.neighbors_base import VALID_METRICS, VALID_METRICS_SPARSE
from .estimators.neighbors_classifier import KNeighborsClassifier, RadiusNeighborsClassifier
from .estimators.neighbors_graph import kneighbors_graph, radius_neighbors_graph
from .estimators.neighbors_regressor import KNeighborsRegressor, RadiusNeighborsRegressor
from .estimators.neighbors_unsupervised import KNeighborsTransformer, NearestNeighbors, RadiusNeighborsTransformer

__all__ = [
    "VALID_METRICS",
    "VALID_METRICS_SPARSE",
    "KNeighborsClassifier",
    "KNeighborsRegressor",
    "KNeighborsTransformer",
    "KernelDensity",
    "NearestCentroid",
    "NearestNeighbors",
    "RadiusNeighborsClassifier",
    "RadiusNeighborsRegressor",
    "RadiusNeighborsTransformer",
    "kneighbors_graph",
    "radius_neighbors_graph",
]
