"""Huber regression as functions: optimality, derivatives, transformations, where the rows lie."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.sharding import PartitionSpec as P

from jaxlearn import stream
from jaxlearn.access.host import from_scipy
from jaxlearn.models import huber
from jaxlearn.models.huber import Huber
from jaxlearn.solvers import CONVERGED

RNG = np.random.default_rng(0)
X = RNG.standard_normal((80, 4)) + 1
Y = X @ np.array([3.0, -1.0, 0.0, 2.0]) + 5 + RNG.standard_normal(80)
Y[:8] += 40 * RNG.standard_normal(8)
WEIGHT = np.r_[np.zeros(5), RNG.integers(1, 4, 75)].astype(float)
ALL = "alpha", "epsilon", "X", "y", "weight"


def gradient(fitted, X, y, weight, model):
    """Of the objective, by automatic differentiation of the textbook's formula; largest entry."""

    def objective(coef, intercept, scale):
        z = (y - X @ coef - intercept) / scale
        h = jnp.where(
            jnp.abs(z) <= model.epsilon, jnp.square(z), 2 * model.epsilon * jnp.abs(z) - jnp.square(model.epsilon)
        )
        return jnp.sum(weight * (scale + h * scale)) / weight.sum() + model.alpha * jnp.sum(jnp.square(coef))

    slopes = jax.grad(objective, (0, 1, 2))(fitted.coef, fitted.intercept, fitted.scale)
    return max(float(jnp.abs(slope).max()) for slope in (slopes if model.fit_intercept else slopes[::2]))


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_the_gradient_vanishes(alpha, fit_intercept, solver, x64):
    model = Huber(alpha=alpha, tol=1e-9, max_steps=500, fit_intercept=fit_intercept, solver=solver)
    fitted = huber.fit(model, X, Y, WEIGHT)
    assert fitted.status == CONVERGED
    assert fitted.residual <= 1e-9
    assert gradient(fitted, X, Y, WEIGHT, model) < 1e-8
    assert fit_intercept or fitted.intercept == 0
    np.testing.assert_allclose(huber.predict(fitted, X), X @ fitted.coef + fitted.intercept, rtol=1e-12)


def test_it_ends_in_few_steps(x64):
    """Whatever the outliers are, and the epsilon: once the outliers are right, little is left to do."""
    for far in (10.0, 1e4, 1e9):
        y = np.where(np.arange(80) < 8, Y * far, Y)
        assert huber.fit(Huber(alpha=0.0, tol=1e-10, max_steps=20), X, y).status == CONVERGED
    for epsilon in (1.05, 2.0, 1e4):
        assert huber.fit(Huber(epsilon=epsilon, max_steps=40), X, Y).status == CONVERGED


def test_a_large_epsilon_is_least_squares(x64):
    fitted = huber.fit(Huber(epsilon=1e4, alpha=0.0, tol=1e-9), X, Y)
    design = np.c_[X, np.ones(80)]
    best = np.linalg.lstsq(design, Y)[0]
    np.testing.assert_allclose(np.r_[fitted.coef, fitted.intercept], best, atol=1e-7)
    np.testing.assert_allclose(fitted.scale, np.sqrt(np.mean(np.square(Y - design @ best))), rtol=1e-7)


@pytest.mark.parametrize("alpha", [0.0, 1e-6])
@pytest.mark.parametrize("shape", [(60, 3), (15, 40)])
def test_a_perfect_fit_ends_on_the_bound_of_the_scale(shape, alpha, x64):
    rows = RNG.standard_normal(shape)
    y = rows @ RNG.standard_normal(shape[1]) + 2
    fitted = huber.fit(Huber(alpha=alpha), rows, y)
    assert fitted.status == CONVERGED
    np.testing.assert_allclose(huber.predict(fitted, rows), y, atol=1e-6)
    distance = np.sort(np.abs(y - np.sort(y)[(len(y) - 1) // 2]))
    np.testing.assert_allclose(fitted.scale, 2 * np.sqrt(np.finfo(float).eps) * distance[(len(y) - 1) // 2], rtol=1e-2)
    constant = huber.fit(Huber(alpha=alpha), rows, np.full(len(y), 0.1))
    assert constant.status == CONVERGED
    np.testing.assert_allclose(constant.coef, 0)
    np.testing.assert_allclose(constant.scale, np.sqrt(np.finfo(float).eps), rtol=1e-2)


def test_least_absolute_residuals(x64):
    """With epsilon one no scale is too small: the fit goes through as many rows as there are coefficients."""
    fitted = huber.fit(Huber(epsilon=1.0, alpha=0.0, max_steps=500), X, Y)
    assert fitted.status == CONVERGED
    assert (np.abs(Y - huber.predict(fitted, X)) < 1e-5).sum() == 5


def summary(solver, fit_intercept, *at):
    alpha, epsilon, X, y, weight = at
    model = Huber(epsilon, alpha, 1e-11, 1000, fit_intercept, solver)
    fitted = huber.fit(model, X, y, weight)
    return jnp.sin(fitted.coef).sum() + jnp.cos(fitted.intercept) + 2 * fitted.scale


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_derivatives_are_differences(fit_intercept, solver, x64):
    f = jax.jit(partial(summary, solver, fit_intercept))
    at = [jnp.asarray(value) for value in (0.05, 1.5, X, Y, WEIGHT + 1)]
    slopes = jax.grad(f, argnums=range(5))(*at)
    for i, name in enumerate(ALL):
        move = RNG.standard_normal(at[i].shape)
        h = 1e-5
        ends = [f(*(value + s * h * move if i == j else value for j, value in enumerate(at))) for s in (1, -1)]
        np.testing.assert_allclose(jnp.sum(slopes[i] * move), (ends[0] - ends[1]) / (2 * h), rtol=1e-4, err_msg=name)
    # forward mode, and twice
    along = jax.jvp(lambda a: f(a, *at[1:]), (at[0],), (1.0,))[1]
    np.testing.assert_allclose(along, slopes[0], rtol=1e-8)
    twice = jax.grad(jax.grad(f))(*at)
    ends = [jax.grad(f)(at[0] + s * 1e-4, *at[1:]) for s in (1, -1)]
    np.testing.assert_allclose(twice, (ends[0] - ends[1]) / 2e-4, rtol=1e-3)


def test_derivatives_of_sparse_rows_are_those_of_dense_ones(x64):
    def slopes(design):
        def score(y, alpha):
            fitted = huber.fit(Huber(alpha=alpha, tol=1e-11, solver="newton"), design, y)
            return fitted.coef.sum() + fitted.scale

        return jax.grad(score, (0, 1))(jnp.asarray(Y), 0.05)

    for a, b in zip(slopes(X), slopes(from_scipy(scipy.sparse.csr_array(X))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


def both(X, y):
    fitted = huber.fit(Huber(alpha=0.0), X, y)
    return fitted.coef, fitted.scale


def test_on_its_bound_the_scale_is_a_constant(x64):
    y = X @ np.array([1.0, 2.0, 3.0, 4.0])
    coef, scale = jax.jacobian(lambda X: both(X, y))(jnp.asarray(X))
    assert not scale.any()
    assert np.isfinite(coef).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lanes_are_fits_of_their_own(dtype):
    with jax.enable_x64(dtype == "float64"):
        rows, y = jnp.asarray(X, dtype), jnp.asarray(Y, dtype)
        fit = lambda alpha, weight: huber.fit(Huber(alpha=alpha, max_steps=50), rows, y, weight)  # noqa: E731
        alphas = jnp.asarray([0.0, 0.1, 10.0], dtype)
        weights = jnp.asarray(np.stack([WEIGHT, np.ones(80), RNG.random(80)]), dtype)
        lanes = jax.jit(jax.vmap(fit))(alphas, weights)
        assert lanes.coef.dtype == dtype
        assert (lanes.status == CONVERGED).all()
        for i in range(3):
            one = fit(alphas[i], weights[i])
            np.testing.assert_allclose(lanes.coef[i], one.coef, atol=1e-4)
            np.testing.assert_allclose(lanes.scale[i], one.scale, rtol=1e-4)


def test_weights_are_repeated_rows(x64):
    model = Huber(tol=1e-10)
    weighted = huber.fit(model, X, Y, WEIGHT)
    many = np.repeat(np.arange(80), WEIGHT.astype(int))
    repeated = huber.fit(model, X[many], Y[many])
    np.testing.assert_allclose(weighted.coef, repeated.coef, atol=1e-8)
    np.testing.assert_allclose(weighted.scale, repeated.scale, atol=1e-8)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_rows_over_devices(solver, x64):
    model = Huber(tol=1e-9, max_steps=300, solver=solver)
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    fit = partial(huber.fit, model, axis_name="rows")
    rows = P("rows")
    sharded = jax.jit(jax.shard_map(fit, mesh=mesh, in_specs=(rows, rows, rows), out_specs=P(), check_vma=False))
    found, whole = sharded(X, Y, WEIGHT), huber.fit(model, X, Y, WEIGHT)
    np.testing.assert_allclose(found.coef, whole.coef, atol=1e-7)
    np.testing.assert_allclose(found.scale, whole.scale, atol=1e-7)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_rows_from_a_stream(solver, x64):
    model = Huber(tol=1e-9, max_steps=300, solver=solver)
    found = huber.fit(model, stream(X, block_size=30), Y, WEIGHT)
    whole = huber.fit(model, X, Y, WEIGHT)
    np.testing.assert_allclose(found.coef, whole.coef, atol=1e-7)
    np.testing.assert_allclose(found.scale, whole.scale, atol=1e-7)


def test_a_start_is_taken(x64):
    model = Huber(tol=1e-9)
    found = huber.fit(model, X, Y)
    start = found.coef, found.intercept, found.scale
    assert huber.fit(model, X, Y, init=start).n_steps == 1
    for factor in (1e-6, 1e6):
        again = huber.fit(model, X, Y, init=(found.coef, found.intercept, found.scale * factor))
        assert again.status == CONVERGED
        np.testing.assert_allclose(again.coef, found.coef, atol=1e-8)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"`y` has shape \(80, 2\)"):
        huber.fit(Huber(), X, np.c_[Y, Y])
    with pytest.raises(ValueError, match="`solver='cholesky'`"):
        Huber(solver="cholesky")
    fit = jax.vmap(lambda X, y: huber.fit(Huber(), X, y, axis_name="i").coef.sum(), axis_name="i")
    with pytest.raises(ValueError, match="a fit with `axis_name` cannot be differentiated"):
        jax.grad(lambda X: fit(X, Y.reshape(2, 40)).sum())(jnp.asarray(X.reshape(2, 40, 4)))
