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
# Weights and repeated rows are compared to 1e-7: two fits that differ in rounding may stop anywhere within their tolerance.
SLOW = [
    RidgeClassifier(),
    RidgeCV(),
    ElasticNet(),
    LassoCV(cv=3, alphas=20, tol=1e-8),
    ElasticNetCV(cv=3, alphas=20, tol=1e-8),
]


@parametrize_with_checks(FAST)
def test_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(SLOW)
def test_more_checks(estimator, check):
    check(estimator)
