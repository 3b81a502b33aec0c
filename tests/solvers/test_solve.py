"""The loop: statuses, budgets, traces, the same on the device and from the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.access import Dense, stream
from jaxlearn.models import glm
from jaxlearn.models.glm import GLM
from jaxlearn.objectives import L1, L2, Gamma, Logistic, NoPenalty, Squared
from jaxlearn.solvers import (
    CONVERGED,
    LBFGS,
    MAX_STEPS,
    NONFINITE,
    OVERFLOW,
    STALLED,
    Budget,
    NewtonCholesky,
    Objective,
    Problem,
    sentence,
    solve,
)


def logistic_problem(design=None, alpha=0.01):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((64, 4))
    y = (X @ np.ones(4) + rng.standard_normal(64) > 0) * 1.0
    design = Dense(jnp.asarray(X)) if design is None else design(X)
    return Problem(Objective(Logistic(), L2(alpha)), design, jnp.asarray(y), jnp.full(64, 1 / 64))


@pytest.mark.parametrize("solver", [NewtonCholesky(), LBFGS(), LBFGS(precondition=False)])
def test_host_and_device_take_the_same_steps(solver, x64):
    budget = Budget(1e-9, 200, trace=64)
    there = jax.jit(solve)(logistic_problem(), solver, jnp.zeros(4), budget=budget)
    here = solve(logistic_problem(lambda X: stream(X, block_size=len(X) // 4)), solver, jnp.zeros(4), budget=budget)
    assert int(there.status) == int(here.status) == CONVERGED
    assert int(there.n_steps) == int(here.n_steps)
    np.testing.assert_allclose(there.params, here.params, atol=1e-12)
    np.testing.assert_allclose(there.trace, here.trace, atol=1e-8)
    taken = int(there.n_steps)
    assert np.isfinite(there.trace[:taken]).all()
    assert np.isnan(there.trace[taken:]).all()
    assert float(there.trace[taken - 1]) == float(there.residual) <= 1e-9
    assert bool(there.converged)


def test_a_budget_of_steps_ends_with_its_status(x64):
    solution = jax.jit(solve)(logistic_problem(), NewtonCholesky(), jnp.zeros(4), budget=Budget(1e-9, 2))
    assert (int(solution.status), int(solution.n_steps)) == (MAX_STEPS, 2)
    assert "budget" in sentence(solution.status)
    assert not bool(solution.converged)


def test_budget_and_strengths_are_leaves(x64, count_compiles):
    run = jax.jit(solve)
    run(logistic_problem(alpha=0.1), NewtonCholesky(), jnp.zeros(4), budget=Budget(1e-3, 5))
    with count_compiles() as compiled:
        run(logistic_problem(alpha=0.2), NewtonCholesky(), jnp.zeros(4), budget=Budget(1e-6, 7))
    assert compiled.count == 0


def test_what_is_not_finite_is_said(dtype):
    X, y = np.ones((8, 2), dtype), np.ones(8, dtype)
    X[0, 0] = np.nan
    for model in (GLM(), GLM(penalty=L2(0.1)), GLM(penalty=L1(0.1)), GLM(loss=Logistic(), penalty=L2(0.1))):
        assert int(jax.jit(glm.fit)(model, X, y).status) == NONFINITE


def test_float32_ends_as_stalled_below_its_floor():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 5)).astype(np.float32)
    y = X[:, 0] + rng.standard_normal(50).astype(np.float32)
    fitted = jax.jit(glm.fit)(GLM(penalty=L1(0.1), tol=0.0), X, y)
    assert int(fitted.status) in (STALLED, CONVERGED)
    assert 0 <= float(fitted.residual) < 1e-6
    assert int(fitted.n_steps) < 100
    fitted = jax.jit(glm.fit)(GLM(loss=Logistic(), penalty=L2(0.1), tol=0.0), X, (y > 0) * np.float32(1))
    assert int(fitted.status) in (STALLED, CONVERGED)
    assert float(fitted.residual) < 1e-6


def test_a_support_larger_than_the_working_set_overflows_and_is_continued(x64):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 40))
    y = X @ rng.standard_normal(40)
    alphas = np.geomspace(1.0, 0.01, 8)
    small = glm.path(GLM(penalty=L1(1.0), tol=1e-8, working_set=16), X, y, alphas)
    reached = int((small.status == CONVERGED).sum())
    assert 0 < reached < 8
    assert int(small.status[reached]) == OVERFLOW
    assert (small.status[reached + 1 :] == -1).all()
    rest = glm.path(
        GLM(penalty=L1(1.0), tol=1e-8, working_set=40), X, y, alphas, init=small.coef[reached], first=reached
    )
    whole = glm.path(GLM(penalty=L1(1.0), tol=1e-8), X, y, alphas)
    assert (rest.status[reached:] == CONVERGED).all()
    np.testing.assert_allclose(rest.coef[reached:], whole.coef[reached:], atol=1e-3)
    np.testing.assert_allclose(small.coef[:reached], whole.coef[:reached], atol=1e-3)


def test_separable_classes_without_a_penalty_end(dtype):
    X = np.linspace(-1, 1, 20, dtype=dtype)[:, None]
    y = (X[:, 0] > 0) * np.ones(1, dtype)
    for solver in ("lbfgs", "newton"):
        fitted = jax.jit(glm.fit)(GLM(loss=Logistic(), penalty=NoPenalty(), solver=solver, tol=1e-6), X, y)
        assert np.isfinite(fitted.coef).all()
        assert float(fitted.coef[0]) > 10


def test_impossible_combinations_are_refused_when_configured():
    with pytest.raises(ValueError, match="does not solve"):
        GLM(loss=Logistic(), solver="spectral")
    with pytest.raises(ValueError, match="ElasticNet"):
        GLM(loss=Gamma(), penalty=L1(0.1))
    with pytest.raises(ValueError, match="rows"):
        glm.fit(GLM(), np.ones((3, 2)), np.ones(4))
    with pytest.raises(ValueError, match="sample_weight"):
        glm.fit(GLM(), np.ones((3, 2)), np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="path"):
        glm.path(GLM(), np.ones((3, 2)), np.ones(3), np.ones(2))


@pytest.mark.parametrize("solver", [NewtonCholesky(), LBFGS()])
def test_smooth_solvers_take_several_targets(solver, x64):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((30, 4)), rng.standard_normal((30, 3))
    problem = Problem(Objective(Squared(), L2(0.1)), Dense(jnp.asarray(X)), jnp.asarray(Y), jnp.full(30, 1 / 30))
    solution = solve(problem, solver, jnp.zeros((4, 3)), budget=Budget(1e-9, 50))
    np.testing.assert_allclose(
        solution.params, np.linalg.solve(X.T @ X / 30 + 0.1 * np.eye(4), X.T @ Y / 30), atol=1e-8
    )
