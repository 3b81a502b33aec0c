"""Accelerated proximal gradient: minima of any penalty that has a prox, certified."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.access import Dense
from jaxlearn.objectives import (
    L1,
    L2,
    MCP,
    ElasticNet,
    GroupElasticNet,
    Logistic,
    Multinomial,
    NoPenalty,
    Poisson,
    Squared,
    Tweedie,
    as_groups,
)
from jaxlearn.solvers import CONVERGED, NONFINITE, STALLED, Budget, Objective, Problem, ProximalGradient, solve

N, P = 80, 6
run = jax.jit(solve)


def problem(loss, penalty, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, P)) + 0.5
    f = X @ np.array([1, 0, 0, -1, 0.5, 0]) + 0.5 * rng.standard_normal(N)
    y = {
        Squared: f,
        Logistic: (f > 0) * 1.0,
        Poisson: rng.poisson(np.exp(np.minimum(f, 2))) * 1.0,
        Multinomial: np.eye(3)[np.digitize(f, [-0.5, 0.7])],
    }[type(loss)]
    arrays = (jnp.asarray(v, dtype) for v in (X, y, np.full(N, 1 / N)))
    X, y, w = arrays
    return Problem(Objective(loss, penalty), Dense(X), y, w)


def slope(problem, b):
    """Gradient of the loss, in NumPy."""
    X, y = np.asarray(problem.design.X, np.float64), np.asarray(problem.y, np.float64)
    f = X @ b
    mean = {
        Squared: lambda f: f,
        Logistic: lambda f: 1 / (1 + np.exp(-f)),
        Poisson: np.exp,
        Multinomial: lambda f: np.exp(f) / np.exp(f).sum(1, keepdims=True),
    }[type(problem.objective.loss)]
    return X.T @ (mean(f) - y) / N


@pytest.mark.parametrize("loss", [Squared(), Logistic(), Poisson()])
@pytest.mark.parametrize("positive", [False, True])
def test_the_optimality_conditions_hold(loss, positive, dtype):
    l1 = np.array([0.1, 0.02, 0.3, 0.05, 0, 0.05])
    penalty = ElasticNet(jnp.asarray(l1 / 0.8, dtype), 0.8, positive)
    at = problem(loss, penalty, dtype)
    tol = 1e-9 if dtype == np.float64 else 2e-5
    found = run(at, ProximalGradient(), -jnp.ones(P, dtype), budget=Budget(tol, 2000))
    assert int(found.status) == CONVERGED
    b = np.asarray(found.params, np.float64)
    push = -slope(at, b) - 0.25 * l1 * b
    excess = np.where(b != 0, push - l1 * np.sign(b), np.maximum((push if positive else abs(push)) - l1, 0))
    rounding = 20 * np.finfo(dtype).eps * np.exp(2)
    assert abs(excess).max() <= tol + rounding
    assert abs(abs(excess).max() - float(found.residual)) <= rounding
    assert 0 < (b == 0).sum() < P
    assert not positive or (b >= 0).all()


@pytest.mark.parametrize("penalty", [L2(0.1), NoPenalty()])
def test_a_smooth_penalty_and_classes(penalty, x64):
    at = problem(Multinomial(), penalty)
    found = run(at, ProximalGradient(), jnp.zeros((P, 3)), budget=Budget(1e-7, 5000))
    b = np.asarray(found.params)
    assert int(found.status) == CONVERGED
    assert abs(slope(at, b) + getattr(penalty, "alpha", 0) * b).max() == pytest.approx(float(found.residual), abs=1e-14)


def test_groups_are_zero_together(x64):
    at = problem(Logistic(), GroupElasticNet(0.1, 1.0, as_groups([0, 0, 1, 0, 2, 1])))
    b = np.asarray(run(at, ProximalGradient(), jnp.zeros(P), budget=Budget(1e-9, 1000)).params)
    g = slope(at, b)
    for group in ([0, 1, 3], [2, 5], [4]):
        size = np.linalg.norm(b[group])
        if size > 0:
            np.testing.assert_allclose(g[group], -0.1 * b[group] / size, atol=1e-8)
        else:
            assert np.linalg.norm(g[group]) <= 0.1
    assert (b[[2, 5]] == 0).all()
    assert (b[[0, 1, 3]] != 0).all()


def test_it_ends_where_no_step_gains(x64):
    at = problem(Logistic(), L1(0.05), np.float32)
    found = run(at, ProximalGradient(), jnp.zeros(P, np.float32), budget=Budget(0.0, 5000))
    assert int(found.status) in (CONVERGED, STALLED)
    assert float(found.residual) < 1e-6


def test_a_domain_that_momentum_leaves(x64):
    """Of an identity link the loss is infinite where a mean is not positive."""
    rng = np.random.default_rng(0)
    X = rng.random((N, 2))
    y = jnp.asarray(rng.gamma(1.0, X @ np.array([1.0, 1e-3])))
    at = Problem(Objective(Tweedie(1.5, "identity"), NoPenalty()), Dense(jnp.asarray(X)), y, jnp.full(N, 1 / N))
    found = run(at, ProximalGradient(), jnp.full(2, 10.0), budget=Budget(1e-7, 5000))
    assert int(found.status) == CONVERGED
    assert int(run(at, ProximalGradient(), -jnp.ones(2), budget=Budget(1e-7, 50)).status) == NONFINITE


def test_a_concave_penalty_is_refused():
    with pytest.raises(ValueError, match=r"convex penalty; `MCP` is for `ConcavePath`"):
        solve(problem(Squared(), MCP(0.1), np.float32), ProximalGradient(), jnp.zeros(P))
