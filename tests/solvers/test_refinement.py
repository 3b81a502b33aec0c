"""Iterative refinement: as many steps as gain digits, and no more."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxlearn.access import Dense
from jaxlearn.linalg.cholesky import Equilibrated
from jaxlearn.objectives import L2, Squared
from jaxlearn.solvers import Budget, Objective, Problem, solve
from jaxlearn.solvers.refinement import Refinement

N, P, ALPHA = 300, 12, 1e-3


def refine(X, Y, wrong=0.0, rounds=10):
    """From the factor of a normal matrix, or of one whose eigenvalues are that share too large."""
    X, Y = np.asarray(X, np.float32), np.asarray(Y, np.float32)
    gram, alpha = X.T @ X / N, np.float32(ALPHA)
    inverse = Equilibrated.of(jnp.asarray((gram + alpha * np.eye(P, dtype=np.float32)) * np.float32(1 + wrong)))
    solver = Refinement(Partial(Equilibrated.solve, inverse), jnp.asarray(X.T @ Y / N))
    problem = Problem(
        Objective(Squared(), L2(alpha)), Dense(jnp.asarray(X)), jnp.asarray(Y), jnp.full(N, np.float32(1 / N))
    )
    return solve(problem, solver, jnp.zeros((P, *Y.shape[1:]), np.float32), budget=Budget(0.0, rounds))


@pytest.mark.parametrize("targets", [(), (3,)])
def test_two_steps_for_a_matrix_of_good_condition(targets):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((N, P)), rng.standard_normal((N, *targets))
    found = refine(X, Y)
    assert int(found.n_steps) == 2
    X, Y = X.astype(np.float32).astype(float), Y.astype(np.float32).astype(float)
    exact = np.linalg.solve(X.T @ X / N + ALPHA * np.eye(P), X.T @ Y / N)
    np.testing.assert_allclose(found.params, exact, rtol=1e-5, atol=2e-7 * np.abs(exact).max())


@pytest.mark.parametrize("wrong", [0.1, 0.5])
def test_steps_go_on_while_they_move_the_coefficients(wrong):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((N, P)), rng.standard_normal(N)
    found, exact = refine(X, y, wrong, rounds=50), refine(X, y)
    share = 1 - 1 / (1 + wrong)  # of the error that a step leaves
    needed = np.log(np.finfo(np.float32).eps) / np.log(share)
    assert needed - 2 <= int(found.n_steps) <= needed + 4
    np.testing.assert_allclose(found.params, exact.params, rtol=1e-5, atol=1e-6)
    assert float(found.residual) < 1e-6


def test_nothing_to_find_ends_at_once():
    found = refine(np.random.default_rng(0).standard_normal((N, P)), np.zeros(N))
    assert int(found.n_steps) == 1
    np.testing.assert_array_equal(found.params, 0)
