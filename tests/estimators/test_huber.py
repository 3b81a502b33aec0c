"""HuberRegressor: scikit-learn's minima, dtypes, weights, sparse rows, warm starts, perfect fits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import sklearn.linear_model as peer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model._huber import _huber_loss_and_gradient

from jaxlearn.linear_model import HuberRegressor

RNG = np.random.default_rng(0)
X = RNG.standard_normal((200, 5)) + 3
Y = X @ RNG.standard_normal(5) + 10 + RNG.standard_normal(200)
Y[:20] += 30 * RNG.standard_normal(20)
WEIGHT = np.r_[np.zeros(30), RNG.integers(1, 4, 170)].astype(float)


def objective(model, X, y, weight):
    params = np.r_[model.coef_, [model.intercept_] if model.fit_intercept else [], model.scale_].astype(float)
    return _huber_loss_and_gradient(params, X, y, model.epsilon, model.alpha, weight)


@pytest.mark.parametrize("options", [{}, {"alpha": 50.0}, {"fit_intercept": False}, {"epsilon": 1.1}, {"alpha": 0.0}])
def test_minima_are_those_of_scikit_learn(options, data_dtype):
    theirs = peer.HuberRegressor(tol=1e-8, max_iter=10_000, **options).fit(X, Y, WEIGHT)
    for rows in (X.astype(data_dtype), scipy.sparse.csr_array(X.astype(data_dtype)), jnp.asarray(X, "float32")):
        dtype = np.dtype(rows.dtype)
        exact = dtype == np.float64
        ours = HuberRegressor(**options, tol=1e-9 if exact else 1e-5).fit(rows, Y, WEIGHT)
        assert ours.coef_.dtype == dtype
        assert ours.converged_
        assert ours.certificate_ <= ours.tol
        value, slopes = objective(ours, X, Y, WEIGHT)
        best, _ = objective(theirs, X, Y, WEIGHT)
        assert value <= best * (1 + (1e-12 if exact else 1e-6))
        np.testing.assert_allclose(slopes / WEIGHT.sum(), 0, atol=2e-9 if exact else 1e-4)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=5e-3)
        np.testing.assert_allclose(ours.scale_, theirs.scale_, rtol=5e-3)
        away = np.abs(np.abs(Y - theirs.predict(X)) - theirs.epsilon * theirs.scale_) > 0.02
        assert (ours.outliers_ == theirs.outliers_)[away].all()
        np.testing.assert_allclose(ours.predict(rows), theirs.predict(X), atol=2e-2)
        np.testing.assert_allclose(ours.score(rows, Y), theirs.score(X, Y), atol=1e-3)


def test_rows_over_devices():
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.device_put(X.astype(np.float32), jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows")))
    found, whole = HuberRegressor().fit(rows, Y, WEIGHT), HuberRegressor().fit(X, Y, WEIGHT)
    np.testing.assert_allclose(found.coef_, whole.coef_, atol=1e-4)
    assert (found.outliers_ == whole.outliers_).mean() > 0.98


def test_weights_are_repeated_rows():
    weighted = HuberRegressor(tol=1e-10).fit(X, Y, WEIGHT)
    many = np.repeat(np.arange(200), WEIGHT.astype(int))
    repeated = HuberRegressor(tol=1e-10).fit(X[many], Y[many])
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-8)
    np.testing.assert_allclose(weighted.scale_, repeated.scale_, atol=1e-8)
    assert weighted.outliers_.shape == (200,)


def test_steps_and_warm_starts():
    with pytest.warns(ConvergenceWarning, match="gradient norm"):
        short = HuberRegressor(max_iter=2).fit(X, Y)
    assert short.n_iter_ == 2
    assert not short.converged_
    model = HuberRegressor(warm_start=True).fit(X, Y)
    assert 2 < model.n_iter_ <= 15
    model.fit(X, Y)
    assert model.n_iter_ == 0
    with pytest.raises(ValueError, match="`warm_start` found 5 coefficients"):
        model.fit(X[:, :3], Y)
    with pytest.warns(ConvergenceWarning):
        HuberRegressor(max_iter=0).fit(X, Y)


def test_perfect_fits():
    """They end, and the scale says so; in single precision no fit can be certified perfect."""
    y = X @ np.arange(5.0)
    model = HuberRegressor(alpha=0).fit(X, y)
    assert model.converged_
    assert model.scale_ < 1e-6
    np.testing.assert_allclose(model.coef_, np.arange(5.0), atol=1e-9)
    with pytest.warns(ConvergenceWarning, match="float32 cannot certify more"):
        single = HuberRegressor(alpha=0).fit(X.astype(np.float32), y)
    np.testing.assert_allclose(single.coef_, np.arange(5.0), atol=1e-5)
    constant = HuberRegressor().fit(X, np.full(200, 7.0))
    np.testing.assert_allclose(constant.predict(X), 7)


def test_equal_columns_share_without_a_penalty():
    single = HuberRegressor(alpha=0, tol=1e-10).fit(X, Y)
    double = HuberRegressor(alpha=0, tol=1e-10).fit(np.c_[X, X], Y)
    np.testing.assert_allclose(double.coef_, np.r_[single.coef_, single.coef_] / 2, atol=1e-6)


def test_many_sparse_features():
    """More than a Hessian is formed for."""
    rows = scipy.sparse.random_array((100, 1500), density=0.02, rng=RNG, format="csr")
    y = rows @ RNG.standard_normal(1500) + 0.1 * RNG.standard_normal(100)
    model = HuberRegressor(alpha=5.0, max_iter=2000).fit(rows, y)
    assert model.converged_
    np.testing.assert_allclose(objective(model, rows, y, np.ones(100))[1] / 100, 0, atol=2e-5)


@pytest.mark.parametrize(
    ("options", "message"), [({"epsilon": 0.9}, "epsilon"), ({"alpha": -1.0}, "alpha"), ({"max_iter": -1}, "max_iter")]
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        HuberRegressor(**options).fit(X, Y)
