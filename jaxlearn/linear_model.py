"""Linear models, under the names of scikit-learn."""

from .estimators.lasso import ElasticNet, Lasso
from .estimators.lasso_cv import ElasticNetCV, LassoCV
from .estimators.lasso_path import enet_path, lasso_path
from .estimators.linear import LinearRegression
from .estimators.logistic import LogisticRegression
from .estimators.ridge import Ridge, RidgeClassifier
from .estimators.ridge_cv import RidgeCV

__all__ = [
    "ElasticNet",
    "ElasticNetCV",
    "Lasso",
    "LassoCV",
    "LinearRegression",
    "LogisticRegression",
    "Ridge",
    "RidgeCV",
    "RidgeClassifier",
    "enet_path",
    "lasso_path",
]
