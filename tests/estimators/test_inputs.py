"""What users pass: bad input is refused in scikit-learn's words or answered with a warning."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from sklearn.exceptions import ConvergenceWarning

from jaxlearn import linear_model
from jaxlearn.linear_model import (
    ElasticNet,
    ElasticNetCV,
    Lasso,
    LassoCV,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    QuantileRegressor,
    Ridge,
    RidgeClassifier,
    RidgeCV,
    enet_path,
    lasso_path,
)

REGRESSORS = [
    LinearRegression(),
    Ridge(),
    RidgeCV(),
    Lasso(),
    ElasticNet(),
    LassoCV(cv=3),
    ElasticNetCV(cv=3),
    QuantileRegressor(alpha=0.01),
]
CLASSIFIERS = [LogisticRegression(), RidgeClassifier()]
REGRESSORS = [LinearRegression(), Ridge(), RidgeCV(), Lasso(), ElasticNet(), LassoCV(cv=3), ElasticNetCV(cv=3)]
CLASSIFIERS = [LogisticRegression(), LogisticRegressionCV(Cs=2, cv=2), RidgeClassifier()]
every = pytest.mark.parametrize("model", REGRESSORS + CLASSIFIERS, ids=lambda m: type(m).__name__)
rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3))
y = (X[:, 0] + 0.3 * rng.normal(size=40) > 0).astype(int)


def changed(value):
    bad = X.copy()
    bad[3, 1] = value
    return bad


@every
@pytest.mark.parametrize(
    ("bad_X", "bad_y", "message"),
    [
        (changed(np.nan), y, "Input X contains NaN"),
        (changed(np.inf), y, "Input X contains infinity"),
        (X[:, 0], y, "Expected 2D array, got 1D array"),
        (X[:0], y[:0], "Found array with 0 sample"),
        (X[:, :0], y, "Found array with 0 feature"),
        (X, y[:-1], "inconsistent numbers of samples"),
        (X, None, "requires y to be passed"),
        (X + 1j, y, "Complex data not supported"),
        (np.full(X.shape, "text", dtype=object), y, "could not convert string to float"),
    ],
    ids=["nan", "inf", "vector", "no samples", "no features", "lengths", "no y", "complex", "object"],
)
def test_bad_data(model, bad_X, bad_y, message):
    with pytest.raises(ValueError, match=message):
        model.fit(bad_X, bad_y)


@every
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.zeros(40), "non-zero"),
        (np.r_[-1.0, np.ones(39)], "Negative values"),
        (np.ones(39), "sample_weight.shape"),
        (np.ones((40, 1)), "1D array or scalar"),
        (np.r_[np.nan, np.ones(39)], "sample_weight contains NaN"),
    ],
    ids=["zeros", "negative", "short", "2D", "nan"],
)
def test_bad_weights(model, weight, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, sample_weight=weight)


@pytest.mark.parametrize("model", [LinearRegression(), LogisticRegression()], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (jnp.asarray(changed(np.nan)), "Input X contains NaN"),
        (jnp.asarray(changed(np.inf)), "Input X contains infinity"),
        (jnp.asarray(X[:, 0]), "Expected 2D array, got 1D array"),
        (jnp.asarray(X[:0]), "Found array with 0 sample"),
        (jnp.asarray(X + 1j), "Complex data not supported"),
    ],
    ids=["nan", "inf", "vector", "no samples", "complex"],
)
def test_bad_jax_arrays(model, bad, message):
    with pytest.raises(ValueError, match=message):
        model.fit(bad, y)


@pytest.mark.parametrize("transform", [jax.jit, jax.grad])
def test_traced_arrays(transform):
    def score(X):
        return Lasso().fit(X, y).coef_.sum()

    with pytest.raises(TypeError, match=r"jaxlearn\.models\.glm\.fit"):
        transform(score)(jnp.asarray(X))
    fitted = Lasso().fit(X, y)
    with pytest.raises(TypeError, match=r"jaxlearn\.models\.glm\.predict"):
        transform(lambda X: fitted.predict(X).sum())(jnp.asarray(X))


def test_one_class():
    for labels, weight in ((np.ones(40), None), (y, (y == 1).astype(float))):
        with pytest.raises(ValueError, match="at least 2 classes"):
            LogisticRegression().fit(X, labels, weight)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LogisticRegression(l1_ratio=1.0, solver="lbfgs"), "supports only"),
        (LogisticRegression(dual=True, solver="liblinear"), "dual=True"),
        (LogisticRegression(intercept_scaling=2.0, solver="liblinear"), "intercept_scaling"),
        (LogisticRegression(l1_ratio=0.5, solver="liblinear"), "Only 'saga' solver supports elasticnet"),
        (LogisticRegression(C=np.inf, solver="liblinear"), "penalty=None is not supported"),
        (Lasso(precompute=np.eye(4)), "has shape"),
        (Ridge(solver="lbfgs"), "positive=True"),
        (Ridge(solver="svd", positive=True), "does not support positive fitting"),
        (Ridge(alpha=[1.0, 2.0]), "penalties do not correspond"),
        (RidgeCV(cv=3, store_cv_results=True), "incompatible"),
        (RidgeCV(alphas=(0.0, 1.0)), "alphas"),
        (ElasticNetCV(l1_ratio=0), "Automatic alpha grid"),
        (Lasso(alpha=-1), "alpha"),
        (LogisticRegression(solver="nonsense"), "solver"),
    ],
)
def test_unsupported_parameters(model, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)


def test_older_spellings_warn():
    with pytest.warns(FutureWarning, match="'penalty' was deprecated"):
        older = LogisticRegression(penalty="l1", solver="saga").fit(X, y > 0)
    np.testing.assert_array_equal(older.coef_, LogisticRegression(solver="saga", l1_ratio=1.0).fit(X, y > 0).coef_)
    with pytest.warns(FutureWarning, match="'l1_ratio=None' was deprecated"):
        LogisticRegression(l1_ratio=None).fit(X, y > 0)
    with (
        pytest.warns(FutureWarning, match="'penalty' was deprecated"),
        pytest.raises(ValueError, match="l1_ratio=None"),
    ):
        LogisticRegression(penalty="elasticnet", l1_ratio=None).fit(X, y > 0)
    with pytest.warns(FutureWarning, match="'n_alphas' was deprecated"):
        alphas = lasso_path(X, y, n_alphas=3)[0]
    np.testing.assert_array_equal(alphas, lasso_path(X, y, alphas=3)[0])
    with pytest.warns(FutureWarning, match="'alphas=None' is deprecated"):
        assert len(lasso_path(X, y, alphas=None)[0]) == 100


@pytest.mark.parametrize("part", [{"l1_ratio": 1.0}, {"l1_ratio": 0.5}])
def test_an_l1_part_takes_any_number_of_classes(part):
    for classes in (y > 0, np.arange(40) % 3):
        model = LogisticRegression(solver="saga", **part).fit(X, classes)
        assert model.converged_
        assert model.solver_ == "prox-newton"


def test_liblinear_takes_two_classes():
    assert LogisticRegression(solver="liblinear").fit(X, y).converged_
    with pytest.raises(ValueError, match="does not support multiclass"):
        LogisticRegression(solver="liblinear").fit(X, np.arange(40) % 3)


@pytest.mark.parametrize("name", ["Lars", "LassoLars", "OrthogonalMatchingPursuit"])
def test_models_that_are_not_here_are_refused_by_name(name):
    with pytest.raises(AttributeError, match=f"'{name}': `(Lasso|jaxlearn.decomposition)"):
        getattr(linear_model, name)
    assert not hasattr(linear_model, name)
    with pytest.raises(AttributeError, match="has no attribute 'Lers'$"):
        linear_model.Lers  # noqa: B018


def test_paths_refuse_another_problem():
    with pytest.raises(ValueError, match="several tasks"):
        lasso_path(X, np.column_stack([y, y]), positive=True)
    with pytest.raises(ValueError, match="Xy"):
        enet_path(X, y, Xy=X.T @ y)


@every
def test_constant_and_duplicated_columns(model):
    odd = np.column_stack([np.ones(40), X, X[:, 0]])
    model.fit(odd, y)
    assert np.isfinite(model.coef_).all()
    assert model.converged_


@every
def test_more_features_than_samples(model):
    wide = rng.normal(size=(12, 40))
    model.fit(wide, np.arange(12) % 2)
    assert np.isfinite(model.coef_).all()


def test_no_penalty_warns_where_nothing_is_selected():
    for model in (Lasso(alpha=0), ElasticNet(alpha=0)):
        with pytest.warns(UserWarning, match="alpha=0"):
            model.fit(X, y)
        np.testing.assert_allclose(model.coef_, LinearRegression().fit(X, y).coef_)
        assert np.isnan(model.dual_gap_)


def test_ridge_inside_the_elastic_net():
    model = ElasticNet(alpha=0.5, l1_ratio=0).fit(X, y)
    np.testing.assert_allclose(model.coef_, Ridge(alpha=0.5 * 40).fit(X, y).coef_)


def test_separable_classes_without_a_penalty():
    with pytest.warns(ConvergenceWarning, match="separable"):
        model = LogisticRegression(C=np.inf).fit(X, X[:, 0] > 0)
    assert np.isfinite(model.coef_).all()


def test_a_short_fit_warns_with_certificate_and_remedy():
    crowd = np.random.default_rng(0).standard_normal((30, 60)) + np.linspace(-3, 3, 30)[:, None]
    with pytest.warns(ConvergenceWarning, match=r"duality gap .* after 1 steps.*max_iter"):
        model = Lasso(alpha=0.001, max_iter=1, tol=1e-12).fit(crowd, crowd[:, :20].sum(1))
    assert not model.converged_
    with pytest.warns(ConvergenceWarning, match="gradient"):
        LogisticRegression(max_iter=1, tol=1e-9).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="float64"):
        Lasso(alpha=0.001, tol=1e-14).fit(X.astype(np.float32), y)


def test_frames_and_lists():
    reference = Ridge().fit(X, y).coef_
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    for given in (frame, pl.DataFrame({c: frame[c].to_numpy() for c in frame}), X.tolist(), scipy.sparse.coo_array(X)):
        np.testing.assert_allclose(Ridge().fit(given, y).coef_, reference, rtol=1e-8)
    model = Ridge().fit(frame, y)
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["b", "a", "c"]])


def test_integers_are_computed_in_float64():
    assert Ridge().fit(np.arange(20).reshape(10, 2), np.arange(10)).coef_.dtype == np.float64


@every
def test_jax_arrays(model, data_dtype):
    numpy = X.astype(data_dtype)
    with jax.enable_x64(True):
        given = jnp.asarray(numpy)
    expected = model.fit(numpy, y).coef_
    assert isinstance(model.fit(given, jnp.asarray(y)).coef_, np.ndarray)
    assert model.coef_.dtype == data_dtype
    np.testing.assert_allclose(model.coef_, expected, atol=1e-4 if data_dtype == np.float32 else 1e-8)
    np.testing.assert_allclose(model.predict(given), model.predict(numpy), rtol=1e-4)
    if hasattr(model, "predict_proba"):
        assert isinstance(model.predict_proba(given), jax.Array)
        np.testing.assert_allclose(model.predict_proba(given), model.predict_proba(numpy), rtol=1e-4)
    with pytest.raises(ValueError, match="features"):
        model.predict(given[:, :2])
