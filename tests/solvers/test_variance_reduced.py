"""Stochastic gradients with reduced variance, and the rows that they draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.access import Dense, Sparse
from jaxlearn.linalg.woodbury import DiagonalPlusGram
from jaxlearn.models import glm
from jaxlearn.models.glm import GLM
from jaxlearn.objectives import L2, Logistic, Multinomial, Poisson, Squared
from jaxlearn.solvers.protocols import Objective, Problem
from jaxlearn.solvers.sampling import Batches, by_weight
from jaxlearn.solvers.solution import STALLED, Budget
from jaxlearn.solvers.solve import solve
from jaxlearn.solvers.variance_reduced import METHODS, PRECONDITIONERS, VarianceReduced


def rows(n=3000, p=20, condition=1e4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * np.geomspace(1, condition**-0.5, p)
    X = X @ np.linalg.qr(rng.standard_normal((p, p)))[0]
    return jnp.asarray(X), 3 * X @ rng.standard_normal(p), rng


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_batches_meet_each_row_once_and_all_rows_alike(size):
    n = 1000 + size // 2
    epoch = np.concatenate(
        [np.asarray(b) for b in map(Batches.draw(n, size, jax.random.key(0)).__getitem__, range(n // size))]
    )
    assert len(np.unique(epoch)) == len(epoch) == n // size * size
    firsts = np.concatenate([np.asarray(Batches.draw(50, 10, jax.random.key(i))[2]) for i in range(200)])
    counts = np.bincount(firsts, minlength=50)  # 2000 draws: 40 of each row, ± 6.3
    assert counts.min() > 12
    assert counts.max() < 68


def test_a_batch_of_ordered_rows_has_all_of_their_kinds():
    kinds = np.repeat(np.arange(4), 250)
    batch = np.asarray(Batches.draw(1000, 100, jax.random.key(3))[5])
    assert (np.abs(np.bincount(kinds[batch]) - 25) <= 1).all()


def test_rows_are_drawn_by_weight(x64):
    rng = np.random.default_rng(0)
    weight = rng.random(5000) * (rng.random(5000) < 0.5)
    values = rng.standard_normal(5000)
    estimates = []
    for i in range(100):
        index, w = by_weight(jnp.asarray(weight), 500, jax.random.key(i))
        assert (weight[np.asarray(index)] > 0).all()
        np.testing.assert_allclose(w.sum(), weight.sum())
        estimates.append(float(w @ values[np.asarray(index)]))
    deviation = np.std(estimates) / 10
    assert abs(np.mean(estimates) - weight @ values) < 4 * deviation
    assert deviation < weight.sum() / np.sqrt(500) / 5  # the mean of a hundred, of 500 rows each


def test_rounding_draws_no_row_without_weight(monkeypatch):
    """In single precision the last share is rounded to one, and no partial sum exceeds the total."""
    monkeypatch.setattr(
        jax.random, "uniform", lambda key, shape, dtype: jnp.full(shape, np.nextafter(1, 0, dtype=dtype))
    )
    weight = jnp.zeros(100, jnp.float32).at[:50].set(1)
    assert int(by_weight(weight, 8, jax.random.key(0))[0].max()) == 49


@pytest.mark.parametrize("n_rows", [3, 30])
def test_a_diagonal_plus_a_gram_matrix_is_solved(n_rows, x64):
    rng = np.random.default_rng(0)
    d, R = rng.random(10) + 0.1, rng.standard_normal((n_rows, 10))
    factored = DiagonalPlusGram.of(jnp.asarray(d), jnp.asarray(R))
    for v in (rng.standard_normal(10), rng.standard_normal((10, 3))):
        np.testing.assert_allclose(factored.solve(jnp.asarray(v)), np.linalg.solve(np.diag(d) + R.T @ R, v), rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_the_rate_is_linear_and_hardly_depends_on_the_condition(method, x64):
    """Plain gradients take as many times the epochs as the condition is larger: ten thousand here."""
    epochs = []
    for condition in (1e1, 1e5):
        X, f, rng = rows(condition=condition)
        y = f + rng.standard_normal(len(f))
        problem = Problem(Objective(Squared(), L2(1e-6)), Dense(X), jnp.asarray(y), jnp.full(len(f), 1 / len(f)))
        found = solve(problem, VarianceReduced(method), jnp.zeros(20), budget=Budget(1e-11, 60, trace=60))
        assert found.status == 0
        trace = np.log(np.asarray(found.trace)[3 : int(found.n_steps)])  # after what goes quickly
        slope, offset = np.polyfit(np.arange(len(trace)), trace, 1)
        assert np.abs(trace - offset - slope * np.arange(len(trace))).max() < 2.5  # a straight line, over 17 in height
        epochs.append(int(found.n_steps))
        exact = np.linalg.solve(X.T @ X / len(f) + 1e-6 * np.eye(20), X.T @ y / len(f))
        np.testing.assert_allclose(found.params, exact, rtol=1e-6, atol=1e-6 * np.abs(exact).max())
    assert epochs[0] < 20
    assert epochs[1] < 4 * epochs[0]


@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("loss", ["logistic", "poisson", "multinomial"])
def test_any_loss_ends_where_newton_does(loss, method, preconditioner, x64):
    X, f, rng = rows(condition=30)
    f = np.clip(f, -3, 3)
    if loss == "logistic":
        kind, y = Logistic(), rng.random(len(f)) < 1 / (1 + np.exp(-f))
    elif loss == "poisson":
        kind, y = Poisson(), rng.poisson(np.exp(f / 2))
    else:
        kind, y = Multinomial(), np.eye(3)[np.digitize(f + rng.logistic(size=len(f)), [-1, 1])]
    weight = rng.random(len(f)) * (rng.random(len(f)) < 0.7)
    y = jnp.asarray(y, float)
    model = GLM(loss=kind, penalty=L2(1e-3), tol=1e-9, solver=method, preconditioner=preconditioner, max_steps=300)
    found = jax.jit(glm.fit)(model, X, y, weight, key=jax.random.key(1))
    exact = glm.fit(GLM(loss=kind, penalty=L2(1e-3), tol=1e-11, solver="newton"), X, y, weight)
    assert found.status == 0
    np.testing.assert_allclose(found.coef, exact.coef, atol=1e-5 * np.abs(exact.coef).max())


def test_the_same_key_gives_the_same_bits(x64):
    X, f, _ = rows()
    y = jnp.asarray(f > 0, float)
    model = GLM(loss=Logistic(), penalty=L2(1e-3), tol=0.0, solver="svrg", max_steps=3)
    first, again, other = (glm.fit(model, X, y, key=jax.random.key(i)).coef for i in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_an_epoch_that_raises_the_objective_is_taken_back(x64):
    X, f, _ = rows(n=200)
    y = jnp.asarray(f > 0, float)
    problem = Problem(Objective(Logistic(), L2(1e-2)), Dense(X), y, jnp.full(200, 1 / 200))
    solver = VarianceReduced()
    state = solver.init(problem, jnp.zeros(20))
    worse = solver.init(problem, jnp.full(20, 50.0)).at
    after = solver.tell(problem.objective, state, worse)
    np.testing.assert_array_equal(solver.params(after), 0)
    assert float(after.share) == 0.5
    for _ in range(10):
        after = solver.tell(problem.objective, after, worse)
    assert solver.status(after) == STALLED


def test_what_cannot_be_served_is_refused_by_name():
    X, f, _ = rows(n=50)
    sparse = Sparse(jnp.ones(3), jnp.arange(3), jnp.arange(3), (50, 20))
    with pytest.raises(ValueError, match=r"`VarianceReduced` reads the data by .* 'rows'"):
        glm.fit(GLM(loss=Logistic(), solver="svrg"), sparse, f > 0)
    with pytest.raises(ValueError, match="preconditioner='jacobi'"):
        GLM(loss=Logistic(), solver="svrg", preconditioner="jacobi")
    with pytest.raises(ValueError, match="does not solve"):
        GLM(loss=Logistic(), solver="spectral")
