"""scikit-learn's own checks of an estimator, strict."""

import numpy as np
import pytest
import sklearn.decomposition
from sklearn import clone
from sklearn.utils._test_common.instance_generator import PER_ESTIMATOR_CHECK_PARAMS
from sklearn.utils.estimator_checks import parametrize_with_checks

from jaxlearn.cluster import BisectingKMeans, KMeans, MiniBatchKMeans
from jaxlearn.decomposition import (
    NMF,
    PCA,
    DictionaryLearning,
    IncrementalPCA,
    MiniBatchDictionaryLearning,
    MiniBatchNMF,
    MiniBatchSparsePCA,
    SparseCoder,
    SparsePCA,
    StochasticFactorization,
    TruncatedSVD,
)
from jaxlearn.linear_model import (
    ElasticNet,
    ElasticNetCV,
    GammaRegressor,
    GroupLasso,
    GroupLassoCV,
    HuberRegressor,
    Lasso,
    LassoCV,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    MCPRegression,
    MultiTaskElasticNet,
    MultiTaskElasticNetCV,
    MultiTaskLasso,
    MultiTaskLassoCV,
    OnlineNewtonClassifier,
    OnlineNewtonRegressor,
    PassiveAggressiveClassifier,
    PassiveAggressiveRegressor,
    Perceptron,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    RidgeClassifier,
    RidgeCV,
    SCADRegression,
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
    TweedieRegressor,
)
from jaxlearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from jaxlearn.neighbors import (
    KernelDensity,
    KNeighborsClassifier,
    KNeighborsRegressor,
    KNeighborsTransformer,
    NearestCentroid,
    NearestNeighbors,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
    RadiusNeighborsTransformer,
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
    MultiTaskElasticNet(tol=1e-10),
    MultiTaskLasso(tol=1e-10),
    MultiTaskElasticNetCV(cv=3, alphas=20, tol=1e-10),
    MultiTaskLassoCV(cv=3, alphas=20, tol=1e-10),
    GroupLasso(tol=1e-10),
    GroupLassoCV(cv=3, alphas=20, tol=1e-10),
    MCPRegression(tol=1e-10),
    SCADRegression(tol=1e-10),
    LogisticRegressionCV(Cs=(0.1, 1.0), cv=3, tol=1e-9),
    LogisticRegressionCV(
        Cs=(0.1, 1.0), cv=3, tol=1e-9, solver="lbfgs", class_weight="balanced", scoring="neg_log_loss"
    ),
    PoissonRegressor(tol=1e-9),
    GammaRegressor(tol=1e-9),
    TweedieRegressor(power=1.5, tol=1e-9),
    HuberRegressor(tol=1e-9),
    QuantileRegressor(),
    QuantileRegressor(alpha=0.01),
    IncrementalPCA(),
    PCA(2, svd_solver="krylov", tol=1e-12),
    PCA(2, svd_solver="randomized"),
    PCA(2, svd_solver="full"),
    GaussianRandomProjection(n_components=2),
    StochasticFactorization(2, max_iter=2, tol=0, alpha=0.1),
    SparseRandomProjection(n_components=2),
    NMF(2),
    MiniBatchNMF(2, max_iter=2),
    DictionaryLearning(2, max_iter=20, transform_algorithm="lasso_lars"),
    MiniBatchDictionaryLearning(batch_size=10, max_iter=5),
    SparsePCA(max_iter=5),
    MiniBatchSparsePCA(max_iter=5, batch_size=10),
    OnlineNewtonClassifier(),
    OnlineNewtonRegressor(),
    OnlineNewtonRegressor(loss="poisson"),
    KMeans(3, n_init=2),
    MiniBatchKMeans(3, batch_size=20, max_iter=5),
    BisectingKMeans(3),
    NearestNeighbors(),
    KNeighborsClassifier(),
    KNeighborsRegressor(),
    KNeighborsTransformer(),
    RadiusNeighborsClassifier(),
    RadiusNeighborsRegressor(),
    RadiusNeighborsTransformer(),
    NearestCentroid(),
    KernelDensity(),
    SGDClassifier(max_iter=5),
    SGDRegressor(max_iter=5),
    SGDOneClassSVM(max_iter=5),
    Perceptron(max_iter=5),
    PassiveAggressiveClassifier(max_iter=5),
    PassiveAggressiveRegressor(max_iter=5),
    GaussianNB(),
    MultinomialNB(),
    ComplementNB(),
    BernoulliNB(),
    CategoricalNB(),
]
# A coder is given its atoms: of as many features as the data of a check have.
ATOMS = PER_ESTIMATOR_CHECK_PARAMS[sklearn.decomposition.SparseCoder]

BEYOND_RANK = "of all components of fewer rows than features, those beyond the rank of the rows are arbitrary"


def expected_failures(estimator):
    if isinstance(estimator, PCA) and estimator.n_components is None:
        return {f"check_sample_weight_equivalence_on_{kind}_data": BEYOND_RANK for kind in ("dense", "sparse")}
    return {}


@parametrize_with_checks(FAST, expected_failed_checks=expected_failures)
def test_checks(estimator, check):
    check(estimator)


ONE_BY_ONE = "a step of twice the weight is not two steps: so it is in scikit-learn, which expects the same failure"
BY_STEPS = (
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
    Perceptron,
    PassiveAggressiveClassifier,
    PassiveAggressiveRegressor,
)


DRAWN = "other rows are drawn where rows are repeated, and lead to other minima: scikit-learn expects the same failure"


def expected_of_steps(estimator):
    if isinstance(estimator, (KMeans, MiniBatchKMeans, BisectingKMeans)):
        return {f"check_sample_weight_equivalence_on_{kind}_data": DRAWN for kind in ("dense", "sparse")}
    if isinstance(estimator, BY_STEPS):
        return {f"check_sample_weight_equivalence_on_{kind}_data": ONE_BY_ONE for kind in ("dense", "sparse")}
    return {}


@pytest.mark.slow
@parametrize_with_checks(SLOW, expected_failed_checks=expected_of_steps)
def test_more_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([SparseCoder(np.random.default_rng(0).standard_normal((5, 3)))])
def test_checks_of_a_coder(estimator, check):
    check(clone(estimator).set_params(**ATOMS.get(check.func.__name__, {})))
