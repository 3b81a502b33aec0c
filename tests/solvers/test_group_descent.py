"""Block coordinate descent for groups: minima of one group, the paths of group Newton, groups of several sizes, derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxlearn.models import glm
from jaxlearn.models.glm import GLM
from jaxlearn.objectives import GroupElasticNet, Squared
from jaxlearn.objectives.groups import as_groups
from jaxlearn.solvers.group_descent import group_sweep

N, P = 120, 90
LABELS = np.random.default_rng(5).permutation(
    np.r_[np.repeat(np.arange(20), 4), [20, 20, 20, 21, 21, 22, 23, 24, 24, 24]]
)
GROUPS = as_groups(LABELS)
ALPHAS = np.geomspace(1.5, 0.3, 5)


def data(dtype, offset=2):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, P)) + 0.3 * rng.standard_normal((N, 1)) + offset
    y = X[:, LABELS < 3] @ rng.standard_normal((LABELS < 3).sum()) + rng.standard_normal(N) + offset
    folds = np.ones((2, N))
    folds[0, ::3] = 0
    folds[1] = rng.uniform(0.5, 2, N)
    return X.astype(dtype), y.astype(dtype), folds.astype(dtype)


def penalty(l1_ratio=1.0):
    return GroupElasticNet(jnp.linspace(0.5, 1.5, len(GROUPS)), l1_ratio, GROUPS)


@pytest.mark.parametrize("l2", [0.0, 0.7])
def test_a_sweep_over_orthonormal_groups_is_their_minimum(l2, x64):
    rng = np.random.default_rng(0)
    q, l1 = rng.standard_normal((2, 12)), np.repeat([0.1, 1.0, 100.0, 0.0], 3)
    gram = np.tile(2 * np.eye(12), (2, 1, 1))
    start = rng.standard_normal((2, 12))
    found = group_sweep(
        gram, q - (2 + l2) * start, jnp.asarray(start), (jnp.tile(l1, (2, 1)), jnp.full((2, 12), l2)), 3
    )
    size = np.linalg.norm(q.reshape(2, 4, 3), axis=2)
    share = np.maximum(1 - l1[::3] / size, 0) / (2 + l2)
    assert_allclose(found, (q.reshape(2, 4, 3) * share[:, :, None]).reshape(2, 12), atol=1e-12)


def test_sweeps_descend_to_the_minimum(x64):
    rng = np.random.default_rng(1)
    A = rng.standard_normal((30, 12)) + rng.standard_normal((30, 1))
    gram, q, l1 = A.T @ A, rng.standard_normal(12) * 20, np.full(12, 30.0)
    zero = jnp.zeros(12)
    values, b = [], zero
    for _ in range(200):
        b = group_sweep(gram, q - gram @ b, b, (l1, zero), 3)
        values.append(b @ gram @ b / 2 - q @ b + 30 * np.linalg.norm(b.reshape(4, 3), axis=1).sum())
    assert (np.diff(values) <= 1e-9).all()
    g, rows = (q - gram @ b).reshape(4, 3), b.reshape(4, 3)
    size = np.linalg.norm(rows, axis=1)
    there = size > 0
    assert 0 < there.sum() < 4
    assert_allclose(g[there], 30 * rows[there] / size[there, None], atol=1e-8)
    assert (np.linalg.norm(g[~there], axis=1) <= 30).all()


@pytest.mark.parametrize("l1_ratio", [0.4, 1.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_each_weighting_has_the_path_that_it_has_alone(l1_ratio, fit_intercept, dtype):
    X, y, folds = data(dtype, 2 * fit_intercept)
    tol = 1e-6 if dtype == np.float64 else 1e-5
    model = GLM(Squared(), penalty(l1_ratio), fit_intercept=fit_intercept, tol=tol)
    together = jax.jit(glm.paths)(model, X, y, ALPHAS.astype(dtype), folds)
    assert (together.status == 0).all()
    exact = GLM(Squared(), penalty(l1_ratio), fit_intercept=fit_intercept, tol=1e-12)
    with jax.enable_x64(True):
        for f, weight in enumerate(folds.astype(float)):
            alone = jax.jit(glm.path)(exact, X.astype(float), y.astype(float), ALPHAS, weight)
            assert (alone.status == 0).all()
            w = weight / weight.sum()
            null = w @ (y - w @ y * fit_intercept) ** 2
            f_of = lambda found, f=f: X @ np.asarray(found[0], float).T + np.asarray(found[1], float)  # noqa: E731
            ours = f_of((together.coef[f], together.intercept[f]))
            # an error in the objective of tol moves predictions by its root
            difference = np.sqrt(w @ (ours - f_of((alone.coef, alone.intercept))) ** 2)
            assert (difference <= 2 * np.sqrt(tol * null)).all()
            assert (together.residual[f] <= 1.001 * tol * null).all()
            if dtype == np.float64:
                # a group that is nearly there may be of either
                agree = (np.asarray(together.coef[f]) != 0) == (np.asarray(alone.coef) != 0)
                assert agree.mean() > 0.98


def test_derivatives_of_strengths(x64):
    X, y, folds = data(float)

    def loss(alpha, follow, weight):
        model = GLM(Squared(), GroupElasticNet(alpha, 0.9, GROUPS), tol=1e-7)
        return jnp.square(follow(model, X, y, ALPHAS[:3], weight).coef[..., 2, :]).sum()

    alpha = jnp.ones(len(GROUPS))
    found = jax.grad(loss)(alpha, glm.paths, folds[:1])
    assert_allclose(found, jax.grad(loss)(alpha, glm.path, folds[0]), rtol=1e-4, atol=1e-6)
    assert (found != 0).any()


def test_tasks_are_refused():
    with pytest.raises(ValueError, match="use `vmap` of `path`"):
        glm.paths(GLM(Squared(), GroupElasticNet(1.0, 1.0)), np.ones((4, 2)), np.ones(4), np.ones(1), np.ones((1, 4)))
