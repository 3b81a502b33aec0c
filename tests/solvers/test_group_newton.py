"""Group Newton: beside optimality conditions and a peer, its rate, paths, derivatives, and groups of every shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import MultiTaskElasticNet

from jaxlearn.access import Dense
from jaxlearn.access.columns import column_quadratic
from jaxlearn.models import glm
from jaxlearn.models.glm import GLM
from jaxlearn.objectives import L1, GroupElasticNet, Logistic, as_groups
from jaxlearn.solvers import Budget, Problem, solve
from jaxlearn.solvers.group_newton import GroupNewton, bend_of, bent_solve

N, P, T = 50, 40, 3
LABELS = np.random.default_rng(1).integers(0, 9, P)
GROUPS = as_groups(LABELS)


def correlated(dtype, n=N, p=P):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p)).cumsum(1) / 3 + 2
    W = np.zeros((p, T))
    W[:: p // 5] = rng.standard_normal((len(W[:: p // 5]), T))
    return X.astype(dtype), (X @ W + 0.5 * rng.standard_normal((n, T)) + 1).astype(dtype)


def distance(penalty, X, Y, fitted, weight=None):
    """Of the negative gradient to the subdifferential, in float64."""
    X, Y, coef = (np.asarray(a, float) for a in (X, Y, fitted.coef))
    weight = np.full(len(X), 1 / len(X)) if weight is None else weight / weight.sum()
    residual = Y - X @ coef - np.asarray(fitted.intercept, float)
    push = X.T @ (weight[:, None] * residual if residual.ndim == 2 else weight * residual)
    with jax.enable_x64(True):
        return np.asarray(penalty.subdifferential_distance(jnp.asarray(coef), -jnp.asarray(push)))


@pytest.mark.parametrize("share", [1.001, 0.5, 0.05])
@pytest.mark.parametrize("ratio", [1.0, 0.6])
def test_tasks_fulfil_the_optimality_conditions(dtype, share, ratio):
    X, Y = correlated(dtype)
    largest = glm.alpha_max(GLM(penalty=GroupElasticNet(1.0, ratio)), X, Y)
    penalty = GroupElasticNet(largest * share, ratio)
    tol = 1e-14 if dtype == np.float64 else 1e-6
    fitted = jax.jit(glm.fit)(GLM(penalty=penalty, tol=tol), X, Y)
    assert fitted.status == 0
    assert fitted.coef.dtype == dtype
    assert distance(penalty, X, Y, fitted).max() <= (1e-6 if dtype == np.float64 else 1e-2) * largest
    assert bool((fitted.coef == 0).all()) == (share > 1)
    # rows are zero as a whole
    assert set(np.unique((np.asarray(fitted.coef) != 0).sum(1))) <= {0, T}


@pytest.mark.parametrize("share", [1.001, 0.5, 0.05])
def test_groups_fulfil_the_optimality_conditions(dtype, share):
    X, Y = correlated(dtype)
    y = Y[:, 0]
    weights = np.sqrt(np.bincount(LABELS))
    largest = glm.alpha_max(GLM(penalty=GroupElasticNet(weights, 1.0, GROUPS)), X, y)
    penalty = GroupElasticNet(largest * share * weights, 1.0, GROUPS)
    fitted = glm.fit(GLM(penalty=penalty, tol=1e-13 if dtype == np.float64 else 1e-6), X, y)
    assert fitted.status == 0
    assert distance(penalty, X, y, fitted).max() <= (1e-5 if dtype == np.float64 else 1e-2) * largest
    assert bool((fitted.coef == 0).all()) == (share > 1)
    for label in range(9):
        assert len({bool(b) for b in fitted.coef[label == LABELS] != 0}) == 1


def test_beside_coordinate_descent(x64):
    X, Y = correlated(np.float64)
    theirs = MultiTaskElasticNet(0.3, l1_ratio=0.8, tol=1e-12, max_iter=100_000).fit(X, Y)
    ours = glm.fit(GLM(penalty=GroupElasticNet(0.3, 0.8), tol=1e-14), X, Y)
    np.testing.assert_allclose(ours.coef.T, theirs.coef_, atol=1e-6)
    np.testing.assert_allclose(ours.intercept, theirs.intercept_, atol=1e-6)


def test_one_task_and_groups_of_one_are_the_lasso(x64):
    X, Y = correlated(np.float64)
    lasso = glm.fit(GLM(penalty=L1(0.2), tol=1e-13), X, Y[:, 0])
    task = glm.fit(GLM(penalty=GroupElasticNet(0.2), tol=1e-13), X, Y[:, :1])
    groups = glm.fit(GLM(penalty=GroupElasticNet(0.2, 1.0, as_groups(range(P))), tol=1e-13), X, Y[:, 0])
    np.testing.assert_allclose(task.coef[:, 0], lasso.coef, atol=1e-8)
    np.testing.assert_allclose(groups.coef, lasso.coef, atol=1e-8)


def test_newton_steps_converge_quadratically(x64):
    X, Y = correlated(np.float64)
    X, Y = X - X.mean(0), Y - Y.mean(0)
    quadratic = column_quadratic(Dense(jnp.asarray(X)), jnp.asarray(Y), jnp.full(N, 1 / N))
    start = jnp.zeros((P, T))
    inner = quadratic.restricted(jnp.arange(P), (start, quadratic.correlation, quadratic.energy))
    solver = GroupNewton(jnp.full(P, 0.1), jnp.zeros(P))
    gaps = []
    for n_steps in range(1, 9):
        found = solve(Problem(None, inner, None, None), solver, start, budget=Budget(0.0, n_steps))
        gaps.append(float(found.residual / quadratic.energy))
    late = [g for g in gaps if g > 1e-14]
    assert len(late) <= 7, gaps  # at the floor of double precision
    # once the rows are known the exponent doubles, or nearly
    assert any(after <= before**1.5 for before, after in zip(gaps, gaps[1:], strict=False) if 1e-9 < before < 1e-3), (
        gaps
    )


@pytest.mark.parametrize("kind", ["tasks", "entries"])
def test_the_newton_system_of_bent_rows(kind, x64):
    """Beside the dense matrix, entry by entry."""
    rng = np.random.default_rng(0)
    k, m = 6, 4
    there = np.array([True, True, False, True, True, True])
    coef = jnp.asarray(np.where(there[:, None], rng.standard_normal((k, m)), 0))
    root = rng.standard_normal((30, k if kind == "tasks" else k * m))
    hessian, push = root.T @ root / 30, rng.standard_normal((k, m))
    along, bend = bend_of(coef, jnp.full(k, 0.7))
    step = bent_solve(jnp.asarray(hessian), jnp.asarray(there), (along, bend), jnp.asarray(push))
    full = np.kron(hessian, np.eye(m)) if kind == "tasks" else hessian.copy()
    for j in range(k):
        v = np.asarray(along[j])
        full[j * m : (j + 1) * m, j * m : (j + 1) * m] += float(bend[j]) * (np.eye(m) - np.outer(v, v))
    at = np.repeat(there, m)
    expected = np.zeros(k * m)
    expected[at] = np.linalg.solve(full[np.ix_(at, at)], push.ravel()[at])
    np.testing.assert_allclose(step.ravel(), expected, atol=1e-10)


def test_paths_on_a_working_set_overflow_and_go_on(x64):
    X, Y = correlated(np.float64, n=60, p=400)
    model = GLM(penalty=GroupElasticNet(1.0), tol=1e-8, working_set=16)
    alphas = glm.alpha_max(model, X, Y) * jnp.geomspace(1, 0.02, 12)
    path = glm.path(model, X, Y, alphas)
    full = glm.path(GLM(penalty=GroupElasticNet(1.0), tol=1e-8, working_set=400), X, Y, alphas)
    assert (full.status == 0).all()
    assert full.n_steps.mean() <= 2
    reached = np.asarray(path.status) == 0
    assert 2 < reached.sum() < 12
    np.testing.assert_allclose(path.coef[reached], full.coef[reached], atol=2e-3)


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["tasks", "groups"])
def test_derivatives(groups, x64):
    X, Y = correlated(np.float64)
    Y = Y if groups is None else Y[:, 0]
    rng = np.random.default_rng(3)
    weight = rng.integers(0, 3, N).astype(float)

    def outcome(alpha, X, Y, weight):
        model = GLM(penalty=GroupElasticNet(alpha, 0.9, groups), tol=1e-15)
        fitted = glm.fit(model, X, Y, weight)
        return jnp.sum(jnp.sin(fitted.coef)) + jnp.sum(fitted.intercept**2)

    at = (jnp.asarray(0.3), X, Y, weight)
    directions = (
        1.0,
        rng.standard_normal(X.shape),
        rng.standard_normal(Y.shape),
        rng.standard_normal(N) * (weight > 0),
    )
    gradients = jax.grad(outcome, (0, 1, 2, 3))(*at)
    for index, direction in enumerate(directions):
        ends = []
        for sign in (1, -1):
            moved = list(at)
            moved[index] = moved[index] + sign * 1e-5 * direction
            ends.append(outcome(*moved))
        np.testing.assert_allclose(np.sum(gradients[index] * direction), (ends[0] - ends[1]) / 2e-5, rtol=2e-5)


def test_lanes(x64):
    X, Y = correlated(np.float64)
    at = lambda alpha, y: glm.fit(GLM(penalty=GroupElasticNet(alpha, 1.0, GROUPS), tol=1e-12), X, y).coef  # noqa: E731
    lanes = jax.vmap(at)(jnp.array([0.1, 0.3, 1.0]), Y.T)
    for lane, alpha, y in zip(lanes, (0.1, 0.3, 1.0), Y.T, strict=True):
        np.testing.assert_allclose(lane, at(alpha, y), atol=1e-8)


def test_a_group_without_a_strength_is_free(x64):
    X, Y = correlated(np.float64)
    strength = np.where(np.arange(9) == 2, 0.0, 5.0)
    penalty = GroupElasticNet(strength, 1.0, GROUPS)
    fitted = glm.fit(GLM(penalty=penalty, tol=1e-12), X, Y[:, 0])
    assert fitted.status == 0
    assert (fitted.coef[LABELS == 2] != 0).all()
    assert distance(penalty, X, Y[:, 0], fitted)[2] < 1e-6


def test_what_does_not_go_together_is_refused(x64):
    X, Y = correlated(np.float64)
    with pytest.raises(ValueError, match="loss Squared"):
        GLM(loss=Logistic(), penalty=GroupElasticNet())
    with pytest.raises(ValueError, match="several tasks"):
        glm.fit(GLM(penalty=GroupElasticNet()), X, Y[:, 0])
    with pytest.raises(ValueError, match="one target"):
        glm.fit(GLM(penalty=GroupElasticNet(groups=GROUPS)), X, Y)
    with pytest.raises(ValueError, match="does not solve"):
        GLM(penalty=GroupElasticNet(), solver="lbfgs")
    with pytest.raises(ValueError, match="for each feature"):
        as_groups(np.zeros((2, 2)))
