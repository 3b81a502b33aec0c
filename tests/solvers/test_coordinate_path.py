"""Coordinate descent for several weightings at once: the solutions that each has alone, in few steps, and where it gives up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from jaxlearn.access.host import from_scipy
from jaxlearn.models import glm
from jaxlearn.models.glm import GLM
from jaxlearn.objectives import L2, ElasticNet, Squared
from jaxlearn.solvers.column_blocks import ColumnBlocks
from jaxlearn.solvers.coordinate_path import LEAST_PATIENCE

N, P, ALPHAS = 200, 150, np.geomspace(1, 0.1, 8)


def data(dtype, seed=0, offset=3.0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, P)) + rng.standard_normal(P) * offset
    y = X[:, :6] @ rng.standard_normal(6) + rng.standard_normal(N) + offset
    folds = np.ones((3, N))
    for f in range(3):
        folds[f, f::3] = 0
    folds[2] *= rng.uniform(0.5, 2, N)
    return X.astype(dtype), y.astype(dtype), folds.astype(dtype)


@pytest.mark.parametrize("l1_ratio", [0.1, 0.9, 1.0])
@pytest.mark.parametrize(("positive", "fit_intercept"), [(False, True), (True, True), (False, False)])
def test_each_weighting_has_the_path_that_it_has_alone(l1_ratio, positive, fit_intercept, dtype):
    X, y, folds = data(dtype, offset=3.0 * fit_intercept)
    alphas = (ALPHAS / l1_ratio).astype(dtype)
    tol = 1e-6 if dtype == np.float64 else 1e-5
    model = GLM(Squared(), ElasticNet(1.0, l1_ratio, positive), fit_intercept=fit_intercept, tol=tol)
    together = jax.jit(glm.paths)(model, X, y, alphas, folds)
    assert (together.status == 0).all()
    exact = GLM(Squared(), ElasticNet(1.0, l1_ratio, positive), fit_intercept=fit_intercept, tol=1e-12)
    path = jax.jit(glm.path)
    with jax.enable_x64(True):
        for f, weight in enumerate(folds):
            alone = path(exact, X.astype(float), y.astype(float), alphas.astype(float), weight.astype(float))
            w = weight / weight.sum()
            null = w @ (y - w @ y * fit_intercept) ** 2

            def objective(coef, intercept, alpha, w=w):
                r = y - X @ coef - intercept
                return w @ r**2 / 2 + alpha * (l1_ratio * np.abs(coef).sum() + (1 - l1_ratio) / 2 * coef @ coef)

            for k, alpha in enumerate(alphas):
                at = objective(np.float64(together.coef[f, k]), np.float64(together.intercept[f, k]), alpha)
                best = objective(np.asarray(alone.coef[k]), np.asarray(alone.intercept[k]), alpha)
                assert at - best <= 2 * tol * null
                assert together.residual[f, k] <= tol * null * 1.001


def test_orthogonal_columns_need_one_sweep(x64):
    X = np.linalg.qr(np.random.default_rng(0).standard_normal((200, 130)))[0] * np.sqrt(200)
    y = X @ np.random.default_rng(1).standard_normal(130)
    model = GLM(Squared(), ElasticNet(1.0, 1.0), fit_intercept=False, tol=1e-6)
    found = glm.paths(model, X, y, ALPHAS, np.ones((1, 200)))
    assert (found.status == 0).all()
    # the first look, one sweep, and the look that sees it; on a line of solutions not even the sweep is needed
    assert found.n_steps.max() <= 3


def test_the_line_through_two_solutions_leads_to_the_third(x64):
    # one column: the solution is linear in alpha; one sweep is made before each look
    X, y = np.array([[1.0], [-1.0]]), np.array([3.0, -3.0])
    found = glm.paths(
        GLM(Squared(), ElasticNet(1.0, 1.0), tol=1e-12), X, y, np.array([2.5, 2.0, 1.0, 0.5]), np.ones((1, 2))
    )
    assert_allclose(found.coef[0, :, 0], [0.5, 1.0, 2.0, 2.5], rtol=1e-6)
    assert_array_equal(found.n_steps[0, 2:], 2)


def test_what_it_is_slow_for_is_left(x64):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 1)) + 0.03 * rng.standard_normal((80, 100))  # columns that correlate by .999
    y = X[:, :9] @ rng.standard_normal(9) * 30 + rng.standard_normal(80)
    model = GLM(Squared(), ElasticNet(1.0, 1.0), tol=1e-10)
    found = glm.paths(model, X, y, np.geomspace(1, 1e-4, 10), np.ones((2, 80)))
    left = np.asarray(found.status) == -1
    assert left.any(1).all()
    assert (np.diff(left.astype(int), axis=1) >= 0).all()  # nothing after what is left
    stop = left[0].argmax()
    assert found.n_steps[0, stop] >= LEAST_PATIENCE
    assert np.isfinite(np.asarray(found.coef[0, stop])).all()
    assert (found.coef[0, stop] != 0).any()  # where it stopped, for whoever goes on


def test_numbers_that_single_precision_cannot_hold_are_left_to_others(x64):
    X, y, folds = data(np.float64)
    found = glm.paths(GLM(Squared(), ElasticNet(1e-30, 1.0)), X * 1e-30, y, ALPHAS, folds)
    assert not np.isnan(np.asarray(found.coef)).any()
    assert ((np.asarray(found.status) == -1).any(1) | (np.asarray(found.status) == 0).all(1)).all()


def test_steps_are_a_budget(x64):
    X, y, folds = data(np.float64)
    found = glm.paths(GLM(Squared(), ElasticNet(1.0, 1.0), tol=1e-9, max_steps=3), X, y, ALPHAS, folds)
    assert found.n_steps.max() <= 6  # sweeps between two looks are not cut short
    assert (np.asarray(found.status) == 1).any()


def test_nan_is_a_status(x64):
    X, y, folds = data(np.float64)
    y[4] = np.nan
    assert (np.asarray(glm.paths(GLM(Squared(), ElasticNet(1.0, 1.0)), X, y, ALPHAS, folds).status) == 4).all()


def test_derivatives_are_those_of_a_path(x64):
    X, y, folds = data(np.float64)
    model = GLM(Squared(), ElasticNet(1.0, 0.7), tol=1e-13)

    def total(follow, y):
        return jnp.sum(follow(y).coef[-1] ** 2)

    alone = jax.grad(lambda y: total(lambda y: glm.path(model, X, y, ALPHAS[:5], folds[0]), y))(y)
    exact = GLM(Squared(), ElasticNet(1.0, 0.7), tol=1e-7)
    together = jax.grad(
        lambda y: total(lambda y: jax.tree.map(lambda a: a[0], glm.paths(exact, X, y, ALPHAS[:5], folds)), y)
    )(y)
    assert_allclose(together, alone, rtol=1e-3, atol=1e-3 * np.abs(alone).max())


def test_sorted_blocks_are_the_same_problem(x64):
    rng = np.random.default_rng(0)
    columns, weight, mean = rng.standard_normal((21, 11)), rng.uniform(size=(2, 11)), rng.standard_normal((2, 21))
    blocks = ColumnBlocks.of(*map(jnp.asarray, (columns, weight, mean)), size=8)
    coef = rng.standard_normal((2, 21))
    moved = blocks.sorted(jnp.asarray(rng.standard_normal((3, 8))))
    residual = rng.standard_normal((2, 11))
    expected = residual - coef @ columns + (mean * coef).sum(1, keepdims=True)
    for at in (blocks, moved):
        assert_array_equal(at.gathered(at.spread(coef), 21), coef)
        found = residual
        for j in range(3):
            found = at.moved(found, j, at.spread(coef)[j])
        assert_allclose(found, expected)
        g = jnp.stack([at.correlations(residual, j) for j in range(3)])
        assert_allclose(at.gathered(g, 21), (residual * weight) @ columns.T)
        of_block = jnp.einsum("jfbc,jfc->jfb", at.grams, at.spread(coef))
        for j in range(3):
            x, w = np.asarray(at.columns[j]), weight[1]
            m = np.asarray(at.mean[j, 1])
            gram = (x * w) @ x.T - np.outer(m, m)
            assert_allclose(of_block[j, 1], gram @ at.spread(coef)[j, 1], atol=1e-12)


def test_other_models_are_refused():
    X, y, folds = data(np.float32)
    with pytest.raises(ValueError, match="`paths` takes a squared loss"):
        glm.paths(GLM(Squared(), L2(1.0)), X, y, ALPHAS, folds)
    with pytest.raises(ValueError, match="dense rows"):
        glm.paths(GLM(Squared(), ElasticNet(1.0)), from_scipy(csr_array(X)), y, ALPHAS, folds)
    with pytest.raises(ValueError, match="`sample_weight`"):
        glm.paths(GLM(Squared(), ElasticNet(1.0)), X, y, ALPHAS, folds[0])
