"""Descent, step counts and certificates of the solvers of non-negative factors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.decomposition as sk
from sklearn.decomposition._nmf import _initialize_nmf

from jaxlearn.access import Dense
from jaxlearn.objectives.divergence import BetaDivergence
from jaxlearn.solvers import Budget, Problem, solve
from jaxlearn.solvers.hals import HALS, NonNegativeCodes, Strengths, n_sweeps, sweeps
from jaxlearn.solvers.multiplicative import Multiplicative, divergence

N, P, K = 120, 40, 6


def mixtures(noise=0.05):
    rng = np.random.default_rng(0)
    X = rng.gamma(0.5, size=(N, K)) @ rng.gamma(0.5, size=(K, P))
    return np.maximum(X + noise * X.std() * rng.standard_normal(X.shape), 0)


def problem(X, dtype=None):
    X = jnp.asarray(X, dtype)
    return Problem(None, Dense(X), None, jnp.full(len(X), 1 / len(X), X.dtype))


def started(X, dtype):
    W, H = (jnp.asarray(factor, dtype) for factor in _initialize_nmf(X, K, init="nndsvda", random_state=0))
    return W.T, H


def penalty(l1, l2, dtype):
    return Strengths(jnp.asarray(l1, dtype), jnp.asarray(l2, dtype))


def objective(X, W, H, of_codes, of_components):
    W, H = (np.asarray(factor, np.float64) for factor in (W, H))
    return (0.5 * np.square(X - W.T @ H).sum() + float(of_codes.value(W))) / len(X) + float(of_components.value(H))


@pytest.mark.parametrize("strength", [0.0, 0.02])
def test_the_objective_never_rises_and_is_what_it_says(strength, dtype):
    X, of_codes, of_components = mixtures(), penalty(strength, strength, dtype), penalty(strength, 0, dtype)
    task, solver = problem(X, dtype), HALS(of_codes, of_components, n_sweeps(K, P))
    state = solver.init(task, started(X, dtype))
    step = jax.jit(lambda state: solver.tell(None, state, solver.read(task, solver.ask(None, state))))
    values, rounding = [], 100 * np.finfo(dtype).eps * np.square(X).sum() / (2 * N)
    for _ in range(80):
        state = step(state)
        values.append(objective(X, *solver.params(state), of_codes, of_components))
        assert abs(values[-1] - float(state.value)) < rounding
    assert np.diff(values).max() < rounding
    assert values[-1] < 0.9 * values[0]


def test_fewer_steps_than_coordinate_descent(x64):
    """One pass for each product, without momentum, is scikit-learn's: to its objective a third of the steps must do."""
    X = mixtures(noise=0.3)
    W, H = started(X, np.float64)
    peer = sk.NMF(K, init="custom", max_iter=60, tol=0)
    coded = peer.fit_transform(X, W=np.array(W.T), H=np.array(H))
    zero = penalty(0, 0, np.float64)
    found = solve(problem(X), HALS(zero, zero, n_sweeps(K, P)), (W, H), budget=Budget(0.0, 20))
    assert objective(X, *found.params, zero, zero) <= objective(X, coded.T, peer.components_, zero, zero)


def test_certificate_is_the_projected_gradient(dtype):
    X, none = mixtures(), penalty(0, 0, dtype)
    task = problem(X, dtype)
    found = solve(task, HALS(none, none, 2), started(X, dtype), budget=Budget(1e-4, 2000))
    assert bool(found.converged)
    W, H = (np.asarray(factor, np.float64) for factor in found.params)
    wrong = 0
    for A, B, Y in ((H @ H.T, H @ X.T, W), (W @ W.T, W @ X, H)):
        gradient = (A @ Y - B) / N
        wrong += np.abs(np.where(Y > 0, gradient, np.minimum(gradient, 0))).sum()
    # the last step moved both factors after they had been judged
    assert wrong / float(found.state.first) < 3e-4


def test_codes_solve_least_squares(dtype):
    """Against the normal equations on the support, and their signs outside of it."""
    X, rng = mixtures(), np.random.default_rng(1)
    H, l1, l2 = rng.random((K, P)), 0.3, 0.2
    solver = NonNegativeCodes(jnp.asarray(H, dtype), penalty(l1, l2, dtype))
    found = solve(problem(X, dtype), solver, jnp.zeros((K, N), dtype), budget=Budget(20 * np.finfo(dtype).eps, 500))
    W = np.asarray(found.params, np.float64)
    gradient = (H @ H.T + l2 * np.eye(K)) @ W - H @ X.T + l1
    tolerance = 1e3 * np.finfo(dtype).eps * np.abs(H @ X.T).max()
    assert np.abs(gradient[W > 0]).max() < tolerance
    assert gradient[W == 0].min() > -tolerance
    assert 0 < (W == 0).mean() < 1


def test_sweep_is_exact_for_each_atom(x64):
    """Against the textbook loop, with an atom that has no curvature and one that a penalty alone moves."""
    rng = np.random.default_rng(0)
    A, start = rng.standard_normal((8, 5)), rng.random((5, 9))
    A[:, 3] = A[:, 4] = 0
    gram, correlations = A.T @ A, A.T @ rng.standard_normal((8, 9))
    correlations[4] -= 0.5
    expected, order = start.copy(), np.asarray([2, 0, 4, 1, 3], np.int32)
    for j in [*order, *order]:
        if gram[j, j] > 0:
            expected[j] = np.maximum(expected[j] + (correlations[j] - gram[j] @ expected) / gram[j, j], 0)
    expected[4] = 0
    found = sweeps(*(jnp.asarray(a) for a in (gram, correlations, start)), 2, jnp.asarray(order))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
def test_multiplicative_updates_never_rise(beta, dtype):
    X = mixtures() + 0.1
    loss, of_codes, of_components = BetaDivergence(beta), penalty(0.01, 0.01, dtype), penalty(0.01, 0, dtype)
    task = problem(X, dtype)
    W, H = started(X, dtype)

    @jax.jit
    def after(n_steps):
        solver = Multiplicative(loss, of_codes, of_components)
        codes, components = solve(task, solver, (W.T, H), budget=Budget(0.0, n_steps)).params
        value = divergence(loss, task.design, task.sample_weight, codes, components)
        return value + of_codes.value(codes) / N + of_components.value(components)

    assert (np.diff([float(after(n_steps)) for n_steps in (0, 1, 2, 5, 20)]) < 0).all()
