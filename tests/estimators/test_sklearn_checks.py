"""scikit-learn's own checks of an estimator, strict."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from jaxlearn.decomposition import PCA, IncrementalPCA, StochasticFactorization, TruncatedSVD
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
from jaxlearn.random_projection import GaussianRandomProjection, SparseRandomProjection

pytestmark = pytest.mark.filterwarnings("ignore")  # the checks fit what cannot converge
FAST = [LinearRegression(), Ridge(), Lasso(), LogisticRegression(), PCA(), PCA(2), TruncatedSVD()]
# Weights and repeated rows are compared to 1e-7: two fits that differ in rounding may stop anywhere within their tolerance.
SLOW = [
    RidgeClassifier(),
    RidgeCV(),
    ElasticNet(),
    LassoCV(cv=3, alphas=20, tol=1e-8),
    ElasticNetCV(cv=3, alphas=20, tol=1e-8),
    IncrementalPCA(),
    PCA(2, svd_solver="krylov", tol=1e-12),
    PCA(2, svd_solver="randomized"),
    PCA(2, svd_solver="full"),
    GaussianRandomProjection(n_components=2),
    StochasticFactorization(2, max_iter=2, tol=0, alpha=0.1),
    SparseRandomProjection(n_components=2),
]


BEYOND_RANK = "of all components of fewer rows than features, those beyond the rank of the rows are arbitrary"


def expected_failures(estimator):
    if isinstance(estimator, PCA) and estimator.n_components is None:
        return {f"check_sample_weight_equivalence_on_{kind}_data": BEYOND_RANK for kind in ("dense", "sparse")}
    return {}


@parametrize_with_checks(FAST, expected_failed_checks=expected_failures)
def test_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(SLOW)
def test_more_checks(estimator, check):
    check(estimator)
