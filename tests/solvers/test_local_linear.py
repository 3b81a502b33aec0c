"""Concave penalties: formulas, stationarity, objectives beside coordinate descent, paths and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.models import glm
from jaxlearn.models.glm import GLM
from jaxlearn.objectives import L1, MCP, SCAD, Logistic
from jaxlearn.solvers import OVERFLOW

KINDS = [MCP, SCAD]


def problem(dtype=np.float64, n=80, p=120):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p))
    X[:, 1:] += 0.6 * X[:, :-1]
    w = np.zeros(p)
    w[:: p // 6] = 1
    y = X @ w + 0.5 * rng.standard_normal(n) + 2
    return X.astype(dtype), y.astype(dtype)


def largest(X, y):
    return float(glm.alpha_max(GLM(penalty=L1(1.0)), X, y))


def distance(penalty, X, y, fitted):
    X, y, coef = (np.asarray(a, float) for a in (X, y, fitted.coef))
    g = X.T @ (y - X @ coef - float(fitted.intercept)) / len(X)
    with jax.enable_x64(True):
        return float(penalty.subdifferential_distance(jnp.asarray(coef), -jnp.asarray(g)).max())


@pytest.mark.parametrize("penalty", [MCP(0.7, 2.5), SCAD(0.7, 3.2)])
def test_formulas(penalty, x64):
    """The slope is the derivative of the value, concave, alpha at zero and nothing far away."""
    size = jnp.linspace(1e-3, 4, 400)
    slope = jax.vmap(jax.grad(lambda b: penalty.value(b[None])))(size)
    np.testing.assert_allclose(penalty.slope(size), slope, atol=1e-12)
    np.testing.assert_allclose(penalty.slope(-size), slope, atol=1e-12)
    assert (jnp.diff(slope) <= 1e-12).all()
    assert penalty.slope(jnp.zeros(1)) == 0.7
    assert slope[-1] == 0
    value = jax.vmap(lambda b: penalty.value(b[None]))(size)
    assert jnp.abs(jnp.diff(value)).max() <= 0.7 * (size[1] - size[0]) * (1 + 1e-9)  # without a jump


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [1.01, 0.3, 0.1])
def test_stationary(kind, share, dtype):
    X, y = problem(dtype)
    alpha = share * largest(X, y)
    tol = 1e-10 if dtype == np.float64 else 1e-4
    fitted = jax.jit(glm.fit)(GLM(penalty=kind(alpha), tol=tol, max_steps=100), X, y)
    assert fitted.status == 0
    with jax.enable_x64(True):
        assert distance(kind(alpha), X, y, fitted) <= (1e-9 if dtype == np.float64 else 1e-3) * largest(X, y)
    assert bool((fitted.coef == 0).all()) == (share > 1)


@pytest.mark.parametrize("kind", KINDS)
def test_large_coefficients_are_not_shrunk(kind, x64):
    X, y = problem()
    fitted = glm.fit(GLM(penalty=kind(0.15 * largest(X, y)), tol=1e-10, max_steps=100), X, y)
    support = np.asarray(fitted.coef != 0)
    assert support.sum() == 6
    centred = X[:, support] - X[:, support].mean(0)
    np.testing.assert_allclose(fitted.coef[support], np.linalg.lstsq(centred, y - y.mean())[0], atol=1e-8)


def coordinate_descent(X, y, alpha, gamma, sweeps=500):
    """MCP, the textbook's way."""
    X, y = X - X.mean(0), y - y.mean()
    squares, b, r = (X**2).mean(0), np.zeros(X.shape[1]), y.copy()
    for _ in range(sweeps):
        for j in range(X.shape[1]):
            z = X[:, j] @ r / len(X) + squares[j] * b[j]
            shrunk = np.sign(z) * max(abs(z) - alpha, 0) / (squares[j] - 1 / gamma)
            new = shrunk if abs(shrunk) <= gamma * alpha else z / squares[j]
            r -= X[:, j] * (new - b[j])
            b[j] = new
    return b


def objective(penalty, X, y, coef):
    r = y - y.mean() - (X - X.mean(0)) @ np.asarray(coef)
    return np.mean(r**2) / 2 + float(penalty.value(jnp.asarray(coef)))


def test_not_above_coordinate_descent(x64):
    X, y = problem(p=60)
    for share in (0.5, 0.2, 0.1):
        penalty = MCP(share * largest(X, y), 3.0)
        ours = glm.fit(GLM(penalty=penalty, tol=1e-10, max_steps=200), X, y).coef
        theirs = coordinate_descent(X, y, float(penalty.alpha), 3.0)
        residuals = [y - y.mean() - (X - X.mean(0)) @ np.asarray(b) for b in (ours, theirs)]
        mine, other = (
            np.mean(r**2) / 2 + float(penalty.value(jnp.asarray(b)))
            for r, b in zip(residuals, (ours, theirs), strict=True)
        )
        assert mine <= other * (1 + 1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("p", [60, 400])
def test_paths_take_few_passes(kind, p, x64):
    X, y = problem(p=p)
    path = jax.jit(glm.path)(
        GLM(penalty=kind(1.0), tol=1e-8, max_steps=100), X, y, largest(X, y) * jnp.geomspace(1, 0.1, 8)
    )
    assert (path.status == 0).all()
    assert path.n_steps.mean() <= 15, path.n_steps
    one = glm.fit(
        GLM(penalty=kind(path_alpha := largest(X, y) * 0.1), tol=1e-8, max_steps=100), X, y, init=path.coef[-2]
    )
    np.testing.assert_allclose(one.coef, path.coef[-1], atol=1e-6, err_msg=str(path_alpha))


def test_the_largest_strength_is_that_of_the_lasso(x64):
    X, y = problem()
    np.testing.assert_allclose(glm.alpha_max(GLM(penalty=MCP(2.0)), X, y), largest(X, y) / 2, rtol=1e-12)


def test_a_full_working_set_is_told(x64):
    X, y = problem(p=400)
    path = glm.path(GLM(penalty=MCP(1.0), tol=1e-8, working_set=4), X, y, largest(X, y) * jnp.geomspace(1, 0.02, 8))
    status = np.asarray(path.status).tolist()
    full = status.index(OVERFLOW)
    assert set(status[:full]) <= {0}
    assert set(status[full + 1 :]) <= {-1}


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives(kind, x64):
    X, y = problem(p=60)

    def outcome(alpha, y):
        return jnp.sum(jnp.sin(glm.fit(GLM(penalty=kind(alpha), tol=1e-12, max_steps=200), X, y).coef))

    alpha, direction = 0.3 * largest(X, y), np.random.default_rng(1).standard_normal(len(y))
    found = jax.grad(outcome, (0, 1))(alpha, y)
    step = 1e-6
    numeric = (outcome(alpha + step, y) - outcome(alpha - step, y)) / (2 * step)
    np.testing.assert_allclose(found[0], numeric, rtol=1e-6)
    numeric = (outcome(alpha, y + step * direction) - outcome(alpha, y - step * direction)) / (2 * step)
    np.testing.assert_allclose(found[1] @ direction, numeric, rtol=1e-6)


def test_what_is_refused(x64):
    X, y = problem(p=10)
    with pytest.raises(ValueError, match="loss Squared"):
        GLM(loss=Logistic(), penalty=MCP(0.1))
    with pytest.raises(ValueError, match="one target"):
        glm.fit(GLM(penalty=MCP(0.1)), X, np.stack([y, y], 1))
