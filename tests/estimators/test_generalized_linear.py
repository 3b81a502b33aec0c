"""Poisson, gamma and Tweedie regression: scikit-learn's minima, weights, solvers, ranges of y."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import sklearn.linear_model as peer

from jaxlearn import linear_model
from jaxlearn.linear_model import GammaRegressor, PoissonRegressor, TweedieRegressor

RNG = np.random.default_rng(0)
X = RNG.standard_normal((300, 5)) + 2
MEAN = np.exp(X @ np.array([0.3, -0.2, 0.1, 0.0, 0.25]) - 0.5)
KINDS = {
    "poisson": ("PoissonRegressor", {}, RNG.poisson(MEAN)),
    "gamma": ("GammaRegressor", {}, RNG.gamma(2, MEAN / 2)),
    "compound": ("TweedieRegressor", {"power": 1.5}, RNG.poisson(MEAN) * RNG.gamma(2, 1, 300)),
    "normal": ("TweedieRegressor", {"power": 0}, MEAN - 1),
    "inverse": ("TweedieRegressor", {"power": 3}, RNG.gamma(3, MEAN / 3) + 0.1),
    "normal-log": ("TweedieRegressor", {"power": 0, "link": "log"}, MEAN),
    "poisson-identity": ("TweedieRegressor", {"power": 1, "link": "identity"}, 20 + X[:, 0]),
}
WEIGHT = np.r_[np.zeros(20), RNG.integers(1, 4, 280)].astype(float)


@pytest.mark.parametrize("solver", ["auto", "newton-cholesky"])
@pytest.mark.parametrize("kind", KINDS)
def test_minima_are_those_of_scikit_learn(kind, solver):
    name, options, y = KINDS[kind]
    options = options | {"alpha": 0.05}
    theirs = getattr(peer, name)(tol=1e-9, max_iter=10_000, **options).fit(X, y, WEIGHT)
    for rows in (X, scipy.sparse.csr_matrix(X), jnp.asarray(X, "float32")):
        exact = not isinstance(rows, jax.Array)
        ours = getattr(linear_model, name)(tol=1e-9 if exact else 1e-5, solver=solver, max_iter=300, **options)
        ours.fit(rows, y, WEIGHT)
        atol = 3e-5 if exact else 3e-3  # of theirs, which ends where its loss no longer falls
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=atol)
        np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=10 * atol)
        np.testing.assert_allclose(ours.predict(rows), theirs.predict(X), rtol=10 * atol)
        np.testing.assert_allclose(ours.score(rows, y, WEIGHT), theirs.score(X, y, WEIGHT), atol=1e-4)
        assert ours.converged_
        assert ours.certificate_ <= ours.tol


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_vanishes(kind):
    """By scikit-learn's own loss: of the objective at the solution."""
    from sklearn._loss import HalfGammaLoss, HalfPoissonLoss, HalfTweedieLoss, HalfTweedieLossIdentity

    name, options, y = KINDS[kind]
    power = options.get("power")
    identity = options.get("link") == "identity" or power == 0
    identity &= options.get("link") != "log"
    tweedie = HalfTweedieLossIdentity if identity else HalfTweedieLoss
    loss = {"PoissonRegressor": HalfPoissonLoss, "GammaRegressor": HalfGammaLoss}.get(
        name, lambda: tweedie(power=power)
    )()
    model = getattr(linear_model, name)(alpha=0.2, tol=1e-9, max_iter=500, **options).fit(X, y, WEIGHT)
    f = X @ model.coef_ + model.intercept_
    slopes = loss.gradient(y_true=y.astype(float), raw_prediction=f) * WEIGHT / WEIGHT.sum()
    np.testing.assert_allclose(X.T @ slopes + 0.2 * model.coef_, 0, atol=1e-7)
    np.testing.assert_allclose(slopes.sum(), 0, atol=1e-7)


def test_weights_are_repeated_rows():
    for name, options, y in KINDS.values():
        weighted = getattr(linear_model, name)(tol=1e-10, max_iter=500, **options).fit(X, y, WEIGHT)
        many = np.repeat(np.arange(300), WEIGHT.astype(int))
        repeated = getattr(linear_model, name)(tol=1e-10, max_iter=500, **options).fit(X[many], y[many])
        np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-7)


def test_auto_goes_on_with_newton(monkeypatch):
    """Where the loss is convex; the start is the model without features."""
    from jaxlearn.estimators import smooth

    monkeypatch.setattr(smooth, "patience", lambda data: 3)
    y = KINDS["poisson"][2]
    found = PoissonRegressor(tol=1e-10).fit(X, y)
    assert found.solver_ == "lbfgs, then newton"
    assert found.converged_
    assert found.n_iter_ > 3
    stays = TweedieRegressor(power=3, tol=1e-8).fit(X, KINDS["inverse"][2])
    assert stays.solver_ == "lbfgs"
    again = PoissonRegressor(tol=1e-10, warm_start=True).fit(X, y)
    again.fit(X, y)
    assert again.n_iter_ <= 2
    np.testing.assert_allclose(again.coef_, found.coef_, atol=1e-7)
    with pytest.raises(ValueError, match="`warm_start` found 5 coefficients"):
        again.fit(X[:, :3], y)
    nothing = PoissonRegressor(alpha=1e9).fit(X, y)
    np.testing.assert_allclose(nothing.predict(X), y.mean(), rtol=1e-6)
    np.testing.assert_allclose(nothing.score(X, y), 0, atol=1e-6)


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cholesky"])
def test_equal_columns_share_without_a_penalty(solver):
    """Of all solutions that of least norm: rounding errors do not lead away from it."""
    y = KINDS["poisson"][2]
    single = PoissonRegressor(alpha=0, tol=1e-11, max_iter=500, solver=solver).fit(X, y)
    double = PoissonRegressor(alpha=0, tol=1e-11, max_iter=500, solver=solver).fit(np.c_[X, X], y)
    np.testing.assert_allclose(double.coef_, np.r_[single.coef_, single.coef_] / 2, atol=1e-6)


def test_ranges_of_y():
    for model, bad in (
        (PoissonRegressor(), -1.0),
        (GammaRegressor(), 0.0),
        (TweedieRegressor(power=1.5), -1.0),
        (TweedieRegressor(power=2), 0.0),
        (TweedieRegressor(power=3), 0.0),
    ):
        y = np.where(np.arange(300) == 7, bad, MEAN)
        with pytest.raises(ValueError, match="out of the valid range of the loss"):
            model.fit(X, y)
        with pytest.raises(ValueError, match="out of the valid range of the loss"):
            model.fit(X, MEAN).score(X, y)
    with pytest.raises(ValueError, match="The 'power' parameter of TweedieRegressor must be"):
        TweedieRegressor(power=0.5).fit(X, MEAN)
    TweedieRegressor(power=0).fit(X, -MEAN)
    np.testing.assert_allclose(PoissonRegressor(tol=1e-9).fit(X, 0 * MEAN).predict(X), 0, atol=1e-6)
