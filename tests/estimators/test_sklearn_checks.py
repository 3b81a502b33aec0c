"""scikit-learn's own checks of an estimator, strict."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from jaxlearn.linear_model import (
    ElasticNet,
    ElasticNetCV,
    Lasso,
    LassoCV,
    LinearRegression,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
    RidgeCV,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # the checks fit what cannot converge
FAST = [LinearRegression(), Ridge(), Lasso(), LogisticRegression()]
SLOW = [RidgeClassifier(), RidgeCV(), ElasticNet(), LassoCV(cv=3, alphas=20), ElasticNetCV(cv=3, alphas=20)]


@parametrize_with_checks(FAST)
def test_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(SLOW)
def test_more_checks(estimator, check):
    check(estimator)
