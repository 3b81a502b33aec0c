"""Networks, under the names of scikit-learn."""

from .estimators.mlp_classifier import MLPClassifier
from .estimators.mlp_regressor import MLPRegressor
from .estimators.network import Network

__all__ = ["MLPClassifier", "MLPRegressor", "Network"]
