"""L-BFGS within bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import lsq_linear, minimize

from jaxlearn.access import Dense
from jaxlearn.objectives import L1, L2, Logistic, Multinomial, Poisson, Squared
from jaxlearn.solvers import CONVERGED, LBFGSB, NONFINITE, Budget, Objective, Problem, solve

N, P = 100, 12
run = jax.jit(solve)


def rows(loss):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((N, P)) * np.geomspace(1, 0.1, P)
    f = X @ rng.standard_normal(P)
    y = {
        Squared: f + rng.standard_normal(N),
        Logistic: (f + rng.standard_normal(N) > 0) * 1.0,
        Poisson: rng.poisson(np.exp(np.clip(f, -3, 2))) * 1.0,
        Multinomial: np.eye(3)[np.digitize(f, [-1, 1])],
    }[type(loss)]
    return X, y


def problem(loss, dtype=np.float64, alpha=1e-2):
    X, y, w = (jnp.asarray(v, dtype) for v in (*rows(loss), np.full(N, 1 / N)))
    return Problem(Objective(loss, L2(alpha)), Dense(X), y, w)


def by_scipy(loss, bounds):
    """The minimum to the last digits, of float64, and the evaluations that it took."""
    X, y = rows(loss)

    def value_and_gradient(b):
        f = X @ b
        if isinstance(loss, Logistic):
            value, mean = np.logaddexp(0, f) - y * f, 1 / (1 + np.exp(-f))
        else:
            value, mean = np.exp(f) - y * f, np.exp(f)
        return value.mean() + 5e-3 * b @ b, X.T @ (mean - y) / N + 1e-2 * b

    options = {"ftol": 0, "gtol": 1e-9, "maxiter": 2000, "maxfun": 5000}
    found = minimize(value_and_gradient, np.full(P, 0.1), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return found.x, found.nfev


@pytest.mark.parametrize("loss", [Logistic(), Poisson()])
@pytest.mark.parametrize("box", [(0.0, np.inf), (-0.2, 0.3)])
def test_it_finds_what_scipy_finds_in_about_as_many_passes(loss, box, dtype):
    expected, n_evaluations = by_scipy(loss, [box] * P)
    at_bounds = np.isin(expected, box)
    assert 0 < at_bounds.sum() < P
    tol = 1e-8 if dtype == np.float64 else 1e-5
    solver = LBFGSB(*(jnp.asarray(bound, dtype) for bound in box))
    found = run(problem(loss, dtype), solver, jnp.full(P, 0.1, dtype), budget=Budget(tol, 1000))
    assert int(found.status) == CONVERGED
    np.testing.assert_allclose(found.params, expected, atol=10 * tol / 1e-2)  # strongly convex, of the penalty's 1e-2
    np.testing.assert_array_equal(np.isin(found.params, np.asarray(box, dtype)), at_bounds)
    assert int(found.n_steps) <= 2 * n_evaluations


def test_bounds_of_each_coefficient(x64):
    at = problem(Squared(), alpha=0.0)
    lower, upper = np.full(P, -np.inf), np.full(P, np.inf)
    lower[:4], upper[2:8] = -0.1, 0.2
    lower[9] = upper[9] = 0.7  # held
    found = run(at, LBFGSB(lower, upper), jnp.full(P, 50.0), budget=Budget(1e-9, 500))
    assert int(found.status) == CONVERGED
    upper[9] += 1e-12  # SciPy wants room
    X, y = np.asarray(at.design.X), np.asarray(at.y)
    expected = lsq_linear(X, y, (lower, upper), tol=1e-14)
    np.testing.assert_allclose(found.params, expected.x, atol=1e-5)
    b = np.asarray(found.params)
    gradient = X.T @ (X @ b - y) / N
    assert abs(np.clip(b - gradient, lower, upper) - b).max() == pytest.approx(float(found.residual), abs=1e-11)


def test_classes_within_bounds(x64):
    at = problem(Multinomial())
    found = run(at, LBFGSB(lower=0.0), jnp.zeros((P, 3)), budget=Budget(1e-8, 500))
    b = np.asarray(found.params)
    X, y = np.asarray(at.design.X), np.asarray(at.y)
    mean = np.exp(X @ b) / np.exp(X @ b).sum(1, keepdims=True)
    gradient = X.T @ (mean - y) / N + 1e-2 * b
    assert int(found.status) == CONVERGED
    assert (b >= 0).all()
    assert (b == 0).any()
    np.testing.assert_allclose(gradient[b > 0], 0, atol=2e-8)
    assert (gradient[b == 0] >= -2e-8).all()


def test_bounds_are_leaves(x64, count_compiles):
    at = problem(Logistic())
    bounds = np.array([0.1, 0.2])
    first = run(at, LBFGSB(0.0, bounds[0]), jnp.zeros(P), budget=Budget(1e-8, 500))
    with count_compiles() as compiled:
        second = run(at, LBFGSB(0.0, bounds[1]), jnp.zeros(P), budget=Budget(1e-8, 500))
    assert compiled.count == 0
    assert float(first.params.max()) == 0.1
    assert float(second.params.max()) == 0.2


def test_bad_bounds_and_penalties():
    at = problem(Logistic(), np.float32)
    start = jnp.zeros(P, np.float32)
    with pytest.raises(ValueError, match="`lower` exceeds `upper`"):
        LBFGSB(np.array([0.0, 1.0]), 0.5)
    with pytest.raises(ValueError, match=r"`upper` has shape \(3,\); expected a scalar, or \(12,\)"):
        solve(at, LBFGSB(upper=np.ones(3, np.float32)), start)
    with pytest.raises(ValueError, match="`LBFGSB` minimises what is smooth, and `ElasticNet` is not"):
        solve(Problem(Objective(Logistic(), L1(0.1)), at.design, at.y, at.sample_weight), LBFGSB(0.0), start)
    crossed = jax.jit(lambda lower: solve(at, LBFGSB(lower, 0.0), start).status)(np.float32(1))
    assert int(crossed) == NONFINITE
