"""Newton's method by conjugate gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.access import Dense, stream
from jaxlearn.objectives import L1, L2, Logistic, Multinomial, NoPenalty, Poisson
from jaxlearn.solvers import CONVERGED, Budget, NewtonCG, NewtonCholesky, Objective, Problem, solve

N, P = 120, 10
run = jax.jit(solve)


def problem(loss, penalty, dtype=np.float64, design=Dense):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, P)) * np.geomspace(3, 0.1, P)
    f = X @ (rng.standard_normal(P) / np.geomspace(3, 0.3, P))
    y = {
        Logistic: (f + rng.standard_normal(N) > 0) * 1.0,
        Poisson: rng.poisson(np.exp(np.clip(f, -3, 2))) * 1.0,
        Multinomial: np.eye(3)[np.digitize(f, [-1, 1])],
    }[type(loss)]
    X, y, w = X.astype(dtype), jnp.asarray(y, dtype), jnp.full(N, 1 / N, dtype)
    return Problem(Objective(loss, penalty), design(X if design is stream else jnp.asarray(X)), y, w)


@pytest.mark.parametrize(
    ("loss", "penalty"), [(Logistic(), L2(1e-3)), (Poisson(), NoPenalty()), (Multinomial(), L2(1e-2))]
)
def test_it_finds_what_newton_finds(loss, penalty, dtype):
    start = jnp.zeros((P, 3) if isinstance(loss, Multinomial) else P, dtype)
    tol = 1e-9 if dtype == np.float64 else 2e-5
    found = run(problem(loss, penalty, dtype), NewtonCG(), start, budget=Budget(tol, 500))
    assert int(found.status) == CONVERGED
    with jax.enable_x64(True):
        exact = run(problem(loss, penalty), NewtonCholesky(), start.astype(np.float64), budget=Budget(1e-11, 50))
        least = 1e-3  # of the Hessian's eigenvalues
        np.testing.assert_allclose(np.asarray(found.params, float), exact.params, atol=5 * tol / least)


def test_streamed_and_in_memory_take_the_same_steps(x64):
    budget = Budget(1e-9, 500)
    there = run(problem(Logistic(), L2(1e-3)), NewtonCG(), jnp.zeros(P), budget=budget)
    at = problem(Logistic(), L2(1e-3), design=stream)
    here = solve(at, NewtonCG(), jnp.zeros(P), budget=budget)
    assert int(here.n_steps) == int(there.n_steps)
    np.testing.assert_allclose(here.params, there.params, atol=1e-9)


def test_more_features_than_rows_and_a_flat_start(x64):
    """No curvature along what X does not tell of: the solve ends all the same."""
    rng = np.random.default_rng(0)
    X = np.zeros((8, 20))
    X[:, :12] = rng.standard_normal((8, 12))
    y = jnp.asarray(rng.poisson(2.0, 8) + 1.0)
    at = Problem(Objective(Poisson(), NoPenalty()), Dense(jnp.asarray(X)), y, jnp.full(8, 1 / 8))
    found = run(at, NewtonCG(), jnp.zeros(20), budget=Budget(1e-8, 500))
    assert int(found.status) == CONVERGED
    np.testing.assert_allclose(np.exp(X @ found.params), y, rtol=1e-5)
    np.testing.assert_array_equal(found.params[12:], 0)


def test_a_penalty_that_is_not_smooth_is_refused():
    with pytest.raises(ValueError, match="`NewtonCG` minimises what is smooth.*`ProximalGradient`"):
        solve(problem(Logistic(), L1(0.1), np.float32), NewtonCG(), jnp.zeros(P, np.float32))
