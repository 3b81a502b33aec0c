"""Anderson acceleration: of linear maps, of maps that are not, and what guards it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.access import Dense, stream
from jaxlearn.access.columns import column_quadratic
from jaxlearn.solvers import CONVERGED, STALLED, Anderson, Budget, CoordinateDescent, Problem, solve
from jaxlearn.solvers.gap import duality_gap

run = jax.jit(solve)


def descend(problem, b):
    """A gradient step of least squares, no longer than one of a spectrum within [0, 1]."""
    return b - problem.design.fold(_slope, b, problem.y)


def _slope(b, X, y):
    return X.rmatvec(X.matvec(b) - y)


def cosine(problem, b):
    return jnp.cos(b) * problem.y


def least_squares(spectrum, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    p = len(spectrum)
    X = np.linalg.qr(rng.standard_normal((3 * p, p)))[0] * np.sqrt(spectrum)
    X = X @ np.linalg.qr(rng.standard_normal((p, p)))[0]
    return X.astype(dtype), (X @ np.ones(p)).astype(dtype)


def test_a_nonlinear_map(dtype):
    at = Problem(None, Dense(jnp.zeros((1, 1), dtype)), jnp.asarray([1.0, 0.9], dtype), None)
    tol = 1e-12 if dtype == np.float64 else 1e-6
    found = run(at, Anderson(cosine), jnp.zeros(2, dtype), budget=Budget(tol, 100))
    assert int(found.status) == CONVERGED
    assert float(found.params[0]) == pytest.approx(0.7390851332151607, abs=2 * tol)
    plain = run(at, Anderson(cosine, history=1), jnp.zeros(2, dtype), budget=Budget(tol, 100))
    assert int(found.n_steps) <= int(plain.n_steps) < np.log(tol) / np.log(0.68)


def test_matrices_and_streams(x64):
    X, y = least_squares(np.linspace(0.1, 1, 6))
    Y = np.stack([y, 2 * y], 1)
    found = run(Problem(None, Dense(X), Y, None), Anderson(descend), jnp.zeros((6, 2)), budget=Budget(1e-10, 200))
    streamed = solve(
        Problem(None, stream(X, block_size=6), Y, None), Anderson(descend), jnp.zeros((6, 2)), budget=Budget(1e-10, 200)
    )
    assert int(found.status) == int(streamed.status) == CONVERGED
    np.testing.assert_allclose(found.params, np.ones((6, 1)) * [1, 2], atol=1e-8)
    np.testing.assert_allclose(streamed.params, found.params, atol=1e-8)


def sweep(problem, b):
    epoch = CoordinateDescent(jnp.full_like(b, 0.01), jnp.zeros_like(b))
    return solve(problem, epoch, b, budget=Budget(0.0, 2)).params


def test_coordinate_descent_is_accelerated_to_the_same_lasso(x64):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 20)) + 3 * rng.standard_normal((60, 1))
    y = X[:, :5].sum(1) + rng.standard_normal(60)
    quadratic = column_quadratic(Dense(jnp.asarray(X)), jnp.asarray(y), jnp.full(60, 1 / 60))
    at = Problem(None, quadratic, None, None)
    found = run(at, Anderson(sweep), jnp.zeros(20), budget=Budget(1e-9, 500))
    l1 = jnp.full(20, 0.01)
    slow = run(at, CoordinateDescent(l1, jnp.zeros(20)), jnp.zeros(20), budget=Budget(1e-12, 5000))
    assert int(found.status) == int(slow.status) == CONVERGED
    assert int(found.n_steps) < int(slow.n_steps)
    r = y - X @ found.params
    gap = duality_gap(found.params, X.T @ r / 60, r @ r / 60, (l1, jnp.zeros(20)), False)
    # a sweep that moves b by the tolerance leaves a gradient of that times the largest eigenvalue; the gap is linear in it
    slope = np.linalg.norm(X, 2) ** 2 / 60 * np.sqrt(20) * 1e-9
    assert float(gap) < 2 * slope * float(jnp.abs(found.params).sum())


def expand(problem, b):
    return 2 * b + 1


def test_the_safeguard_refuses_and_a_map_without_an_end_stalls(x64):
    """Doubling has one fixed point, which an extrapolation finds; of b ↦ b + 1 there is none."""
    at = Problem(None, Dense(jnp.zeros((1, 1))), None, None)
    assert float(run(at, Anderson(expand), jnp.zeros(1), budget=Budget(1e-12, 50)).params[0]) == pytest.approx(-1)
    assert int(run(at, Anderson(shift), jnp.zeros(1), budget=Budget(1e-12, 500)).status) == STALLED


def shift(problem, b):
    return b + 1


def halve(problem, b):
    return b[:1]


def test_a_map_to_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"`step` makes \(1,\) of an array of shape \(2,\)"):
        solve(Problem(None, Dense(jnp.zeros((1, 1))), None, None), Anderson(halve), jnp.zeros(2))
