"""Concave penalties: formulas, prox, stationarity, objectives beside coordinate descent, paths and derivatives."""

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


@pytest.mark.parametrize("penalty", [MCP(0.7, 2.5), SCAD(0.7, 3.2)])
@pytest.mark.parametrize("step_size", [0.3, 1.0, 2.1, 2.6, 3.9, 8.0])
def test_prox_minimises(penalty, step_size, x64):
    """Also where the penalty bends more than the square, and there are several minima."""
    grid = np.linspace(-8, 8, 32001)
    values = step_size * np.asarray(penalty.values(jnp.asarray(grid)))
    v = np.linspace(-7.7, 7.7, 90)
    least = (0.5 * (grid - v[:, None]) ** 2 + values).min(1)
    b = penalty.prox(jnp.asarray(v), step_size)
    reached = 0.5 * (b - v) ** 2 + step_size * penalty.values(b)
    assert (reached <= least + 1e-12).all()
    assert (reached >= least - 1e-6).all()


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


def correlated(seed, n, p, s, *, rho=0.6):
    """AR(1) columns of variance one, s normal coefficients, noise of a third of the signal."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    for j in range(1, p):
        X[:, j] = rho * X[:, j - 1] + np.sqrt(1 - rho**2) * X[:, j]
    X = (X - X.mean(0)) / X.std(0)
    signal = X[:, np.linspace(0, p - 1, s).astype(int)] @ rng.standard_normal(s)
    noise = rng.standard_normal(n)
    y = signal + noise * np.linalg.norm(signal) / np.linalg.norm(noise) / 3
    return X, y - y.mean()


def coordinate_descent(X, y, alphas, gamma):
    """MCP along a path, the textbook's way, of columns of variance one; the objectives."""
    gram, g, b, found = X.T @ X / len(X), X.T @ y / len(X), np.zeros(X.shape[1]), []
    for alpha in alphas:
        moved = np.inf
        while moved > 1e-8:
            moved = 0.0
            for j in range(len(b)):
                z = g[j] + b[j]
                if abs(z) <= alpha and b[j] == 0:
                    continue
                shrunk = max(abs(z) - alpha, 0) / (1 - 1 / gamma) * (1 if z > 0 else -1)
                d = (shrunk if abs(z) <= gamma * alpha else z) - b[j]
                g -= d * gram[j]
                b[j] += d
                moved = max(moved, abs(d))
        found.append(objective(alpha, gamma, X, y, b))
    return np.array(found)


def objective(alpha, gamma, X, y, b):
    bent = np.minimum(np.abs(b), gamma * alpha)
    return np.mean((y - X @ b) ** 2) / 2 + np.sum(alpha * bent - bent**2 / (2 * gamma))


def test_not_above_coordinate_descent(x64):
    """There are many stationary points: on 20 instances, together in one program, ours are lower or the same on most."""
    drawn = [correlated(seed, 50, 100, 12, rho=0.8) for seed in range(20)]
    X, y = (np.stack(arrays) for arrays in zip(*drawn, strict=True))
    shares = np.geomspace(1, 0.1, 8)
    alphas = np.abs(np.einsum("inp,in->ip", X, y) / 50).max(1)[:, None] * shares
    model = GLM(penalty=MCP(1.0, 3.0), tol=1e-8, fit_intercept=False, precompute=False, working_set=40)
    path = jax.jit(jax.vmap(lambda X, y, alphas: glm.path(model, X, y, alphas)))(X, y, alphas)
    assert (path.status == 0).all()
    assert path.n_steps.mean() <= 3
    not_above = []
    for Xi, yi, along, coefs in zip(X, y, alphas, np.asarray(path.coef), strict=True):
        ours = sum(objective(alpha, 3.0, Xi, yi, b) for alpha, b in zip(along, coefs, strict=True))
        not_above.append(ours <= coordinate_descent(Xi, yi, along, 3.0).sum() * (1 + 1e-6))
    assert np.mean(not_above) >= 0.8, not_above


@pytest.mark.parametrize("kind", KINDS)
def test_where_the_objective_is_flat(kind, data_dtype):
    """The penalty cancels the curvature of some directions: Newton steps alone are refused there, and Lassos stall."""
    X, y = correlated(0, 100, 500, 10)
    alphas = np.abs(X.T @ y / 100).max() * np.geomspace(1, 0.05, 20)
    tol = 5e-8 if data_dtype == np.float64 else 2e-5
    with jax.enable_x64(data_dtype == np.float64):
        model = GLM(penalty=kind(1.0), tol=tol, fit_intercept=False)
        path = jax.jit(glm.path)(model, *(a.astype(data_dtype) for a in (X, y, alphas)))
    assert (path.status == 0).all()
    assert path.n_steps.mean() <= 3, path.n_steps
    with jax.enable_x64(True):
        for alpha, b in zip(alphas, np.asarray(path.coef, float), strict=True):
            apart = kind(alpha).subdifferential_distance(jnp.asarray(b), -jnp.asarray(X.T @ (y - X @ b) / 100))
            assert apart.max() <= 2 * tol * alphas[0]


def test_a_path_is_resumed_with_a_larger_working_set(x64):
    X, y = problem(p=400)
    alphas = largest(X, y) * jnp.geomspace(1, 0.02, 8)
    small = glm.path(GLM(penalty=MCP(1.0), tol=1e-8, working_set=16), X, y, alphas)
    at = np.asarray(small.status).tolist().index(OVERFLOW)
    assert at > 1
    rest = glm.path(GLM(penalty=MCP(1.0), tol=1e-8, working_set=128), X, y, alphas, init=small.coef[at - 1], first=at)
    assert (rest.status[:at] == -1).all()
    assert (rest.status[at:] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("p", [pytest.param(60, marks=pytest.mark.slow), 400])
def test_paths_take_few_passes(kind, p, x64):
    X, y = problem(p=p)
    path = jax.jit(glm.path)(
        GLM(penalty=kind(1.0), tol=1e-8, max_steps=100), X, y, largest(X, y) * jnp.geomspace(1, 0.1, 8)
    )
    assert (path.status == 0).all()
    assert path.n_steps.mean() <= 6, path.n_steps
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

    @jax.jit
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
