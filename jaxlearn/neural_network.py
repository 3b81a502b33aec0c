"""Networks, under the names of scikit-learn."""

from .estimators.mlp_classifier import MLPClassifier
from .estimators.mlp_regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
