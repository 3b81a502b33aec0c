"""Derivatives of fits by the optimality condition, against central differences of the fit."""

import dataclasses
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.models import glm
from jaxlearn.models.glm import GLM
from jaxlearn.objectives import L1, L2, ElasticNet, Logistic, Multinomial, NoPenalty, Squared

H = 1e-6


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    X = rng.standard_normal((60, 6)) + 1.0
    y = X @ np.array([1.0, -2.0, 0, 0, 0.5, 0]) + 0.3 * rng.standard_normal(60)
    return X, y, 0.5 + rng.random(60)


def target(name, y):
    if name == "multinomial":
        return np.eye(3)[np.digitize(y, np.quantile(y, [0.3, 0.7]))]
    return (y > np.median(y)) * 1.0 if name.startswith("logistic") else y


MODELS = {
    "ols": lambda a: GLM(),
    "ridge": lambda a: GLM(penalty=L2(a)),
    "ridge_cg": lambda a: GLM(penalty=L2(a), solver="conjugate_gradient", tol=1e-14),
    "no_intercept": lambda a: GLM(penalty=L2(a), fit_intercept=False),
    "lasso": lambda a: GLM(penalty=L1(a), tol=1e-15),
    "lasso_working_set": lambda a: GLM(penalty=L1(a), tol=1e-15, working_set=5),
    "elastic_net": lambda a: GLM(penalty=ElasticNet(a, 0.5), tol=1e-15),
    "positive": lambda a: GLM(penalty=L1(a, positive=True), tol=1e-15),
    "coordinate_descent": lambda a: GLM(penalty=L1(a), tol=1e-15, solver="coordinate_descent"),
    "logistic": lambda a: GLM(loss=Logistic(), penalty=L2(a), tol=1e-12),
    "logistic_newton": lambda a: GLM(loss=Logistic(), penalty=L2(a), tol=1e-12, solver="newton"),
    "multinomial": lambda a: GLM(loss=Multinomial(), penalty=L2(a), tol=1e-12, solver="newton"),
}


def scalar(name, alpha, X, y, w):
    """Some smooth function of everything that was fitted."""
    fitted = glm.fit(MODELS[name](alpha), X, y, w)
    return jnp.sum(jnp.sin(fitted.coef)) + jnp.sum(jnp.cos(fitted.intercept))


@pytest.mark.parametrize("name", MODELS)
def test_gradient_is_the_central_difference(name, data, x64):
    X, y, w = data
    y = target(name, y)
    f = jax.jit(partial(scalar, name))
    gradients = jax.jit(jax.grad(partial(scalar, name), argnums=(0, 1, 2, 3)))(0.1, X, y, w)
    rng = np.random.default_rng(0)
    for i, gradient in enumerate(gradients):
        arguments = [0.1, X, y, w]
        direction = rng.standard_normal(np.shape(arguments[i]))
        if name == "multinomial" and i == 2:  # rows of probabilities stay such
            direction -= direction.mean(1, keepdims=True)
        step = H * direction
        above = f(*arguments[:i], arguments[i] + step, *arguments[i + 1 :])
        below = f(*arguments[:i], arguments[i] - step, *arguments[i + 1 :])
        difference = float(above - below) / (2 * H)
        assert float(jnp.sum(gradient * direction)) == pytest.approx(difference, rel=1e-4, abs=1e-6), i


def test_forward_and_reverse_mode_agree(data, x64):
    X, y, w = data
    f = partial(scalar, "lasso")
    forward = jax.jvp(lambda a: f(a, X, y, w), (0.1,), (1.0,))[1]
    assert float(forward) == pytest.approx(float(jax.grad(f)(0.1, X, y, w)), rel=1e-10)


def test_the_rule_may_be_differentiated_again(data, x64):
    X, y, w = data
    y = target("logistic", y)
    f = partial(scalar, "logistic")
    slope = jax.jit(jax.grad(f))
    second = float(jax.grad(jax.grad(f))(0.1, X, y, w))
    assert second == pytest.approx(float(slope(0.1 + 1e-5, X, y, w) - slope(0.1 - 1e-5, X, y, w)) / 2e-5, rel=1e-4)


def test_a_path_has_the_derivative_of_its_fits(data, x64):
    X, y, _ = data
    alphas = jnp.array([0.5, 0.1])
    along = jax.jacobian(lambda a: glm.path(GLM(penalty=L1(1.0), tol=1e-14), X, y, a).coef)(alphas)
    alone = jax.jacobian(lambda a: glm.fit(GLM(penalty=L1(a), tol=1e-14), X, y).coef)(alphas[1])
    np.testing.assert_allclose(along[1, :, 1], alone, atol=1e-10)
    np.testing.assert_array_equal(along[1, :, 0], 0)


@pytest.mark.parametrize("name", ["logistic", "multinomial"])
def test_a_path_without_selection_is_its_fits(name, data, dtype):
    X, y, w = (jnp.asarray(a, dtype) for a in data)
    y = jnp.asarray(target(name, np.asarray(y)), dtype)
    alphas, tol = jnp.array([1.0, 0.3, 0.1], dtype), 1e-5 if dtype == np.float32 else 1e-12
    model = GLM(MODELS[name](1.0).loss, L2(1.0), tol=tol, solver="newton")
    found = jax.jit(glm.path)(model, X, y, alphas, w)
    assert (found.status == 0).all()
    assert found.coef.shape == (3, 6, *y.shape[1:])
    assert found.coef.dtype == dtype
    alone = jax.jit(glm.fit)(dataclasses.replace(model, penalty=L2(alphas[2])), X, y, w)
    np.testing.assert_allclose(found.coef[2], alone.coef, atol=100 * tol)
    np.testing.assert_allclose(found.intercept[2], alone.intercept, atol=100 * tol)
    again = glm.path(model, X, y, alphas, w, init=found.coef[0])
    np.testing.assert_allclose(again.coef, found.coef, atol=100 * tol)
    folds = jnp.stack([w, w.at[:9].set(0)])
    lanes = jax.vmap(lambda w: glm.path(model, X, y, alphas, w))(folds)
    rest = glm.path(model, X[9:], y[9:], alphas, w[9:])
    np.testing.assert_allclose(lanes.coef[0], found.coef, atol=100 * tol)
    np.testing.assert_allclose(lanes.coef[1], rest.coef, atol=100 * tol)
    np.testing.assert_allclose(lanes.intercept[1], rest.intercept, atol=100 * tol)
    with pytest.raises(ValueError, match="begins with the first alpha"):
        glm.path(model, X, y, alphas, w, first=1)


def test_a_path_without_selection_has_the_derivative_of_its_fits(data, x64):
    X, y, w = data
    y = target("logistic", y)
    model = MODELS["logistic_newton"](1.0)
    along = jax.jacobian(lambda a: glm.path(model, X, y, a, w).coef)(jnp.array([0.5, 0.1]))
    alone = jax.jacobian(lambda a: glm.fit(dataclasses.replace(model, penalty=L2(a)), X, y, w).coef)(0.1)
    np.testing.assert_allclose(along[1, :, 1], alone, atol=1e-9)
    np.testing.assert_array_equal(along[1, :, 0], 0)


def test_one_strength_for_each_feature(data, x64):
    X, y, w = data
    f = jax.jit(lambda a: jnp.sum(jnp.sin(glm.fit(GLM(penalty=L2(a)), X, y, w).coef)))
    alphas = jnp.linspace(0.1, 0.6, 6)
    gradient = jax.grad(f)(alphas)
    for j in range(6):
        step = H * jnp.eye(6)[j]
        assert float(gradient[j]) == pytest.approx(float(f(alphas + step) - f(alphas - step)) / (2 * H), rel=1e-4)


def test_large_smooth_problems_use_conjugate_gradients(monkeypatch, data, x64):
    from jaxlearn.solvers import implicit

    X, y, w = data
    exact = jax.grad(partial(scalar, "logistic"))(0.1, X, target("logistic", y), w)
    monkeypatch.setattr(implicit, "MAX_FACTOR", 1)
    iterative = jax.grad(partial(scalar, "logistic"))(0.1, X, target("logistic", y), w)
    assert float(exact) == pytest.approx(float(iterative), rel=1e-8)


@pytest.mark.parametrize("loss", [Squared(), Logistic()], ids=["squared", "logistic"])
def test_where_there_was_no_room_there_is_no_derivative(loss, data, x64):
    X, y, _ = data
    y = y if isinstance(loss, Squared) else (y > np.median(y)) * 1.0
    model = GLM(loss, L1(1.0), working_set=2, tol=1e-12)
    alphas = jnp.array([0.9, 1e-3, 1e-4]) * glm.alpha_max(model, X, y)
    fit = lambda alpha: glm.fit(eqx.tree_at(lambda m: m.penalty.alpha, model, alpha), X, y).coef.sum()  # noqa: E731
    along = jax.jacobian(lambda alphas: glm.path(model, X, y, alphas).coef.sum(1))(alphas)
    assert np.isnan([jax.grad(fit)(alphas[1]), jax.jvp(fit, (alphas[1],), (1.0,))[1], along[1, 1], along[2, 2]]).all()
    assert along[0, 0] == pytest.approx(jax.grad(fit)(alphas[0]))
    assert along[0, 0] != 0


def test_float32_gradients(data):
    X, y, w = (np.asarray(v, np.float32) for v in data)
    with jax.enable_x64(True):
        exact = float(jax.grad(partial(scalar, "ridge"))(0.1, *data))
    assert float(jax.grad(partial(scalar, "ridge"))(np.float32(0.1), X, y, w)) == pytest.approx(exact, rel=1e-3)


def test_what_has_no_derivative_says_so(data, x64):
    X, y, w = data
    wide = X[:4]
    with pytest.raises(ValueError, match="no unique solution"):
        jax.grad(lambda X: glm.fit(GLM(penalty=NoPenalty()), X, y[:4]).coef.sum())(wide)
    split = jax.vmap(partial(glm.fit, axis_name="rows"), in_axes=(None, 0, 0), out_axes=None, axis_name="rows")
    with pytest.raises(ValueError, match="axis_name"):
        jax.grad(lambda a: split(GLM(penalty=L2(a)), X.reshape(2, 30, 6), y.reshape(2, 30)).coef.sum())(0.1)
