"""The optimum is that of scikit-learn: objectives on bundled data, by a float64 evaluator that belongs to neither."""

import numpy as np
import pytest
import scipy.sparse
import sklearn.linear_model as sk
from scipy.special import log_softmax
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

import jaxlearn.linear_model as jl

# relative distance of objectives, and a certificate that reaches it
REACHED = {"float64": 1e-8, "float32": 1e-5}
TOL = {"float64": 1e-10, "float32": 1e-6}


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return 20 * X, y, np.random.default_rng(0).uniform(0, 2, len(y))


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return (X - X.mean(0)) / X.std(0), y


def squared(model, X, y, weight, l1, l2):
    """``mean ½ (y − f)² + l1 |b| + ½ l2 b²``."""
    coef = np.asarray(model.coef_, np.float64)
    f = X @ coef + model.intercept_
    return np.average(0.5 * (y - f) ** 2, weights=weight) + l1 * np.abs(coef).sum() + 0.5 * l2 * (coef**2).sum()


def logistic(model, X, y, strength):
    coef, intercept = np.asarray(model.coef_, np.float64), np.asarray(model.intercept_, np.float64)
    f = X @ coef.T + intercept
    f = np.hstack([np.zeros_like(f), f]) if f.shape[1] == 1 else f
    return -log_softmax(f, axis=1)[np.arange(len(y)), y].mean() + 0.5 * strength * (coef**2).sum()


def assert_as_good(ours, theirs, dtype):
    assert ours <= theirs + REACHED[dtype.name] * abs(theirs)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "settings", "l1", "l2"),
    [
        ("LinearRegression", {}, 0, 0),
        ("Ridge", {"alpha": 3.0}, 0, 3.0),
        ("Lasso", {"alpha": 0.5}, 0.5, 0),
        ("ElasticNet", {"alpha": 0.5, "l1_ratio": 0.3}, 0.15, 0.35),
    ],
)
def test_regression(diabetes, data_dtype, name, settings, l1, l2, weighted, sparse):
    X, y, weight = diabetes
    weight = weight if weighted else np.ones(len(y))
    given = X.astype(data_dtype)
    ours = getattr(jl, name)(**settings, tol=TOL[data_dtype.name])
    ours.fit(scipy.sparse.csr_array(given) if sparse else given, y, weight)
    iterative = {} if name in ("LinearRegression", "Ridge") else {"tol": 1e-12, "max_iter": 100_000}
    theirs = getattr(sk, name)(**settings, **iterative).fit(X, y, weight)
    l2 = l2 / weight.sum() if name == "Ridge" else l2
    assert ours.coef_.dtype == data_dtype
    assert ours.converged_
    values = (squared(m, X, y, weight, l1, l2) for m in (ours, theirs))
    assert_as_good(*values, data_dtype)


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cholesky"])
@pytest.mark.parametrize("C", [0.1, 10.0])
def test_logistic_binary(cancer, data_dtype, C, solver):
    X, y = cancer
    ours = jl.LogisticRegression(C=C, solver=solver, tol=TOL[data_dtype.name] * 10).fit(X.astype(data_dtype), y)
    theirs = sk.LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12).fit(X, y)
    assert_as_good(*(logistic(m, X, y, 1 / (C * len(y))) for m in (ours, theirs)), data_dtype)
    assert ours.coef_.shape == theirs.coef_.shape
    assert (ours.predict(X) == theirs.predict(X)).mean() > 0.99


def test_logistic_multinomial(data_dtype):
    X, y = load_iris(return_X_y=True)
    ours = jl.LogisticRegression(tol=TOL[data_dtype.name] * 10).fit(X.astype(data_dtype), y)
    theirs = sk.LogisticRegression(solver="newton-cholesky", tol=1e-12).fit(X, y)
    assert_as_good(*(logistic(m, X, y, 1 / len(y)) for m in (ours, theirs)), data_dtype)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-3)
    np.testing.assert_allclose(np.exp(ours.predict_log_proba(X)), ours.predict_proba(X), rtol=1e-5)


def test_class_weights(cancer):
    X, y = cancer
    models = [m(class_weight="balanced") for m in (jl.LogisticRegression, sk.LogisticRegression)]
    for model in models:
        model.set_params(tol=1e-7, max_iter=500).fit(X, y)
    np.testing.assert_allclose(models[0].coef_, models[1].coef_, atol=1e-4)
    classifiers = [m(class_weight={0: 1, 1: 5}).fit(X, y) for m in (jl.RidgeClassifier, sk.RidgeClassifier)]
    np.testing.assert_allclose(classifiers[0].decision_function(X), classifiers[1].decision_function(X), atol=1e-10)


@pytest.mark.parametrize("name", ["LinearRegression", "Ridge", "Lasso"])
def test_several_targets(diabetes, name):
    X, y, _ = diabetes
    Y = np.column_stack([y, y[::-1]])
    settings = {"tol": 1e-10} if name == "Lasso" else {}
    ours, theirs = (getattr(m, name)(**settings).fit(X, Y) for m in (jl, sk))
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-4)


def test_positive(diabetes):
    X, y, weight = diabetes
    ours, theirs = (m.LinearRegression(positive=True).fit(X, y, weight) for m in (jl, sk))
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-8)
    ridge = jl.Ridge(positive=True, tol=1e-10).fit(X, y, weight)
    theirs = sk.Ridge(positive=True, tol=1e-10).fit(X, y, weight)
    np.testing.assert_allclose(ridge.coef_, theirs.coef_, atol=1e-3)


def test_rank_and_singular_values(diabetes):
    X, y, weight = diabetes
    X = np.column_stack([X, X[:, 0] + X[:, 1]])
    ours, theirs = (m.LinearRegression().fit(X, y, weight) for m in (jl, sk))
    assert ours.rank_ == theirs.rank_ == 10
    np.testing.assert_allclose(ours.singular_, theirs.singular_, atol=1e-10)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-8)  # of least norm


@pytest.mark.parametrize("solver", ["auto", "svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga"])
def test_ridge_solvers(diabetes, solver):
    X, y, _ = diabetes
    ours = jl.Ridge(solver=solver, tol=1e-9).fit(X, y)
    np.testing.assert_allclose(ours.coef_, sk.Ridge().fit(X, y).coef_, rtol=1e-6)


def test_ridge_with_a_strength_for_each_target(diabetes):
    X, y, _ = diabetes
    Y = np.column_stack([y, y[::-1]])
    ours, theirs = (m.Ridge(alpha=np.array([0.1, 10.0])).fit(X, Y) for m in (jl, sk))
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-8)


ALPHAS = np.logspace(-3, 2, 7)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "settings",
    [{}, {"store_cv_results": True}, {"scoring": "neg_mean_absolute_error"}, {"cv": 3}, {"alpha_per_target": True}],
    ids=lambda s: next(iter(s), "default"),
)
def test_ridge_cv(diabetes, settings, weighted):
    X, y, weight = diabetes
    y = np.column_stack([y, y[::-1]]) if "alpha_per_target" in settings else y
    ours, theirs = (m.RidgeCV(ALPHAS, **settings).fit(X, y, weight if weighted else None) for m in (jl, sk))
    np.testing.assert_allclose(ours.alpha_, theirs.alpha_)
    np.testing.assert_allclose(ours.best_score_, theirs.best_score_, rtol=1e-8)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-8)
    if "store_cv_results" in settings:
        np.testing.assert_allclose(ours.cv_results_, theirs.cv_results_, rtol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_lasso_cv(diabetes, weighted):
    X, y, weight = diabetes
    ours, theirs = (
        m.LassoCV(cv=3, alphas=20, tol=1e-8, max_iter=100_000).fit(X, y, weight if weighted else None) for m in (jl, sk)
    )
    np.testing.assert_allclose(ours.alphas_, theirs.alphas_)
    np.testing.assert_allclose(ours.mse_path_, theirs.mse_path_, rtol=1e-5)
    np.testing.assert_allclose(ours.alpha_, theirs.alpha_)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
    assert not hasattr(ours, "l1_ratio_")


def test_elastic_net_cv(diabetes):
    X, y, _ = diabetes
    settings = {"cv": 3, "alphas": 20, "l1_ratio": [0.5, 0.9], "tol": 1e-8, "max_iter": 100_000}
    ours, theirs = (m.ElasticNetCV(**settings).fit(X, y) for m in (jl, sk))
    np.testing.assert_allclose(ours.mse_path_, theirs.mse_path_, rtol=1e-4)
    assert (ours.l1_ratio_, ours.mse_path_.shape) == (theirs.l1_ratio_, theirs.mse_path_.shape)
    np.testing.assert_allclose(ours.alpha_, theirs.alpha_)


@pytest.mark.parametrize("name", ["lasso_path", "enet_path"])
def test_paths(diabetes, name):
    X, y, _ = diabetes
    ours, theirs = (
        getattr(m, name)(X, y, alphas=np.array([0.5, 5.0, 50.0]), tol=1e-10, max_iter=100_000) for m in (jl, sk)
    )
    for a, b in zip(ours[:2], theirs[:2], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert (ours[2] <= 1e-10 * np.mean(y**2)).all()
    assert len(getattr(jl, name)(X, y, alphas=3, return_n_iter=True)) == 4


def test_sparse_is_dense(diabetes):
    X, y, weight = diabetes
    X = np.where(np.abs(X) > 1, X, 0)
    for model in (jl.Lasso(tol=1e-10), jl.Ridge(), jl.LinearRegression(tol=1e-12), jl.LogisticRegression(tol=1e-9)):
        target = y > 140 if isinstance(model, jl.LogisticRegression) else y
        dense = model.fit(X, target, weight).coef_
        for kind in (scipy.sparse.csr_array, scipy.sparse.csc_matrix):
            np.testing.assert_allclose(model.fit(kind(X), target, weight).coef_, dense, atol=1e-6)
        np.testing.assert_allclose(model.predict(kind(X)), model.predict(X))


@pytest.mark.parametrize("shape", [(300, 60), (60, 90)])
@pytest.mark.parametrize(("alpha", "worse"), [(1.0, 1e-5), (0.1, 1e-5), (1e-3, 1.0)])
def test_ridge_in_single_precision_bears_eigenvalues_below_its_rounding_error(shape, alpha, worse):
    """An eigenvalue that float32 cannot see is not zero: taken for zero, refinements by 1 / alpha diverge.

    One ulp of the largest eigenvalue is 0.01 here: refinements contract fast for strengths above it, slowly below.
    """
    rng = np.random.default_rng(0)
    n, p = shape
    U, _ = np.linalg.qr(rng.standard_normal((n, min(n, p))))
    V, _ = np.linalg.qr(rng.standard_normal((p, min(n, p))))
    X = (U * np.geomspace(300, 0.03, min(n, p))) @ V.T
    y = X @ rng.standard_normal(p) + rng.standard_normal(n)
    single = jl.Ridge(alpha).fit(X.astype(np.float32), y.astype(np.float32))
    double = sk.Ridge(alpha, solver="svd").fit(X, y)

    def objective(model):
        r = y - X @ model.coef_.astype(np.float64) - model.intercept_
        return r @ r + alpha * (model.coef_.astype(np.float64) ** 2).sum()

    assert objective(single) <= objective(double) * (1 + worse)
