"""Linear models, under the names of scikit-learn."""

from .estimators.concave import MCPRegression, SCADRegression
from .estimators.generalized_linear import GammaRegressor, PoissonRegressor, TweedieRegressor
from .estimators.group_lasso import GroupLasso, GroupLassoCV
from .estimators.huber import HuberRegressor
from .estimators.lasso import ElasticNet, Lasso
from .estimators.lasso_cv import ElasticNetCV, LassoCV
from .estimators.lasso_path import enet_path, lasso_path
from .estimators.linear import LinearRegression
from .estimators.logistic import LogisticRegression
from .estimators.logistic_cv import LogisticRegressionCV
from .estimators.multi_task import MultiTaskElasticNet, MultiTaskLasso
from .estimators.multi_task_cv import MultiTaskElasticNetCV, MultiTaskLassoCV
from .estimators.online_newton_classifier import OnlineNewtonClassifier
from .estimators.online_newton_regressor import OnlineNewtonRegressor
from .estimators.perceptron import PassiveAggressiveClassifier, PassiveAggressiveRegressor, Perceptron
from .estimators.quantile import QuantileRegressor
from .estimators.refused import linear_model as __getattr__  # noqa: F401
from .estimators.ridge import Ridge, RidgeClassifier
from .estimators.ridge_cv import RidgeCV
from .estimators.sgd_classifier import SGDClassifier
from .estimators.sgd_one_class import SGDOneClassSVM
from .estimators.sgd_regressor import SGDRegressor

__all__ = [
    "ElasticNet",
    "ElasticNetCV",
    "GammaRegressor",
    "GroupLasso",
    "GroupLassoCV",
    "HuberRegressor",
    "Lasso",
    "LassoCV",
    "LinearRegression",
    "LogisticRegression",
    "MCPRegression",
    "MultiTaskElasticNet",
    "MultiTaskElasticNetCV",
    "MultiTaskLasso",
    "MultiTaskLassoCV",
    "LogisticRegressionCV",
    "OnlineNewtonClassifier",
    "OnlineNewtonRegressor",
    "PassiveAggressiveClassifier",
    "PassiveAggressiveRegressor",
    "Perceptron",
    "PoissonRegressor",
    "QuantileRegressor",
    "Ridge",
    "RidgeCV",
    "RidgeClassifier",
    "SCADRegression",
    "SGDClassifier",
    "SGDOneClassSVM",
    "SGDRegressor",
    "TweedieRegressor",
    "enet_path",
    "lasso_path",
]
