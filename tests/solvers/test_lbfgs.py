"""L-BFGS: the metric of a sample of the rows."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from jaxlearn.access.dense import Dense
from jaxlearn.access.design import WithIntercept
from jaxlearn.models import glm
from jaxlearn.objectives import L2, Logistic
from jaxlearn.solvers import lbfgs


@pytest.fixture
def sampled(monkeypatch):
    """Sampling, as of a size that tests can afford."""
    monkeypatch.setattr(lbfgs, "MANY_FEATURES", 8)


def rows(n, p, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, p)) * np.arange(1, p + 1) ** -1.0, rng


def test_a_sample_estimates_the_gram_matrix(sampled):
    X, rng = rows(40_000, 8)
    w = jnp.asarray(rng.random(40_000) / 20_000)
    design = WithIntercept(Dense(jnp.asarray(X)))
    whole, estimate = design.gram(w), lbfgs._gram(None, design, w)
    deviation = scipy.linalg.eigh(np.asarray(estimate), np.asarray(whole), eigvals_only=True)
    assert 0 < np.abs(deviation - 1).max() < 0.7  # √(p / rows) is a quarter: a sample, and a close one


def test_rows_without_weight_are_never_drawn(sampled):
    X, rng = rows(20_000, 8)
    there = rng.random(20_000) < 0.1
    X[~there] = np.nan
    w = jnp.asarray(there / there.sum())
    assert np.isfinite(lbfgs._gram(None, Dense(jnp.asarray(X)), w)).all()


def test_few_rows_are_all_used(sampled):
    X, _ = rows(200, 8)
    w = jnp.full(200, 1 / 200)
    np.testing.assert_array_equal(lbfgs._gram(None, Dense(jnp.asarray(X)), w), Dense(jnp.asarray(X)).gram(w))


def test_a_fit_in_the_metric_of_a_sample_ends_where_any_other_does(monkeypatch, x64):
    X, rng = rows(5000, 20)
    y = jnp.asarray(rng.random(5000) < 1 / (1 + np.exp(-3 * X.sum(1))), X.dtype)
    model = glm.GLM(loss=Logistic(), penalty=L2(1e-6), tol=1e-9)
    whole = glm.fit(model, jnp.asarray(X), y)
    monkeypatch.setattr(lbfgs, "MANY_FEATURES", 8)
    part = glm.fit(model, jnp.asarray(X), y)
    assert whole.status == part.status == 0
    assert whole.n_steps < part.n_steps < whole.n_steps + 25
    np.testing.assert_allclose(part.coef, whole.coef, rtol=1e-5, atol=1e-7)
