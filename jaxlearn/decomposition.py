"""Matrix decompositions, under the names of scikit-learn."""

from .estimators.incremental_pca import IncrementalPCA
from .estimators.pca import PCA
from .estimators.truncated_svd import TruncatedSVD, randomized_range_finder, randomized_svd

__all__ = ["PCA", "IncrementalPCA", "TruncatedSVD", "randomized_range_finder", "randomized_svd"]
