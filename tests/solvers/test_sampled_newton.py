"""L-BFGS in the metric of a sampled Hessian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from jaxlearn.access import Dense, in_blocks, stream
from jaxlearn.models import glm
from jaxlearn.models.glm import GLM
from jaxlearn.objectives import L1, L2, Logistic, Multinomial, NoPenalty, Poisson
from jaxlearn.solvers import CONVERGED, LBFGS, Budget, NewtonCholesky, Objective, Problem, SampledNewton, solve
from jaxlearn.solvers.newton import hessian
from jaxlearn.solvers.sampled_newton import _Hessian, passes_for_hessian, rows_for_hessian

run = jax.jit(solve)


def problem(loss, penalty, n, p, dtype=np.float64, design=Dense):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p)) * np.geomspace(3, 0.1, p)
    f = X @ (rng.standard_normal(p) / np.geomspace(3, 0.3, p)) / np.sqrt(p)
    y = {
        Logistic: (f + rng.standard_normal(n) > 0) * 1.0,
        Poisson: rng.poisson(np.exp(np.clip(f, -3, 2))) * 1.0,
        Multinomial: np.eye(3)[np.digitize(f, np.quantile(f, [0.02, 0.5]))],  # a rare class
    }[type(loss)]
    X, y, w = X.astype(dtype), jnp.asarray(y, dtype), jnp.full(n, 1 / n, dtype)
    return Problem(Objective(loss, penalty), design(X if design is stream else jnp.asarray(X)), y, w)


def test_a_sample_takes_as_long_as_four_passes_and_speaks_for_all_coefficients():
    for n, p, k in ((93_000, 54, 7), (100_000, 500, 1), (10**6, 1000, 1)):
        rows = rows_for_hessian(n, p, k)
        assert rows == 16 * p * k or rows / n * passes_for_hessian(p, k) == pytest.approx(4, rel=1e-3)
        assert 16 * p * k <= rows < n / 2
    assert rows_for_hessian(10**6, 28) == 10**6
    assert rows_for_hessian(1797, 64, 10) == 1797


@pytest.mark.parametrize(
    ("loss", "penalty", "p"),
    [(Logistic(), L2(1e-3), 150), (Poisson(), NoPenalty(), 150), (Multinomial(), L2(1e-3), 80)],
)
def test_a_sample_finds_what_newton_finds(loss, penalty, p, dtype):
    k = 3 if isinstance(loss, Multinomial) else 1
    n = 12_000
    assert rows_for_hessian(n, p, k) < n / 2
    start = jnp.zeros((p, k) if k > 1 else p, dtype)
    tol = 1e-9 if dtype == np.float64 else 5e-5
    found = run(problem(loss, penalty, n, p, dtype, in_blocks), SampledNewton(), start, budget=Budget(tol, 100))
    assert int(found.status) == CONVERGED
    with jax.enable_x64(True):
        exact = run(problem(loss, penalty, n, p), NewtonCholesky(), start.astype(np.float64), budget=Budget(1e-11, 50))
        least = 1e-3  # of the Hessian's eigenvalues
        np.testing.assert_allclose(np.asarray(found.params, float), exact.params, atol=5 * tol / least)


@pytest.mark.parametrize("n", [700, 1024, 2500])
@pytest.mark.parametrize("loss", [Logistic(), Multinomial()])
def test_the_hessian_of_all_rows_is_the_hessian(n, loss, dtype):
    at = problem(loss, L2(0.1), n, 5, dtype)
    coef = jnp.asarray(np.random.default_rng(1).standard_normal((5, 3)[: at.y.ndim]), dtype)
    expected = hessian(loss, at.design, at.y, at.sample_weight, at.design.matvec(coef))
    for wanted in (True, False):
        found = _Hessian(n)((loss, coef, jnp.bool_(wanted)), at.design, at.y, at.sample_weight)
        limit = 1e-10 if dtype == np.float64 else 1e-4
        np.testing.assert_allclose(found, expected if wanted else 0 * expected, rtol=limit, atol=1e-6)


def test_a_sample_of_rows_estimates_the_hessian_without_holding_it(x64):
    n, p = 40_000, 20
    at = problem(Multinomial(), L2(0.1), n, p)
    query = Multinomial(), jnp.ones((p, 3)), jnp.bool_(True)
    lift = jax.jit(lambda size, *rows: _Hessian(size)(query, *rows), static_argnums=0)
    rows = at.design, at.y, at.sample_weight
    every, some = (np.asarray(lift(size, *rows)) for size in (n, n // 2))
    ridge = 1e-6 * np.eye(3 * p)  # what is added to all classes has no curvature
    relative = scipy.linalg.eigh(some + ridge, every + ridge, eigvals_only=True)
    assert 0.7 < relative.min() < relative.max() < 1.4
    assert not np.allclose(some, every, rtol=1e-3)
    memory = lift.lower(n // 2, *rows).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 0.5 * (n // 2) * p * 8 + 4e6


def test_a_hessian_serves_as_many_steps_as_pairs_are_kept(x64):
    at = problem(Multinomial(), L2(1e-4), 400, 8)
    steps = {}
    for history in (2, 12):
        found = run(at, SampledNewton(history), jnp.zeros((8, 3)), budget=Budget(1e-12, 200))
        assert int(found.status) == CONVERGED
        steps[history] = int(found.n_steps)
        for some in (1, 2):  # due after as many accepted points as pairs, the first of which has none
            state = run(at, SampledNewton(history), jnp.zeros((8, 3)), budget=Budget(0.0, some)).state
            assert int(state.memory.pairs.count) == some - 1
            assert not bool(state.memory.due)
    state = run(at, SampledNewton(2), jnp.zeros((8, 3)), budget=Budget(0.0, 3)).state
    assert bool(state.memory.due)
    fixed = int(run(at, SampledNewton(1000), jnp.zeros((8, 3)), budget=Budget(1e-12, 200)).n_steps)
    assert steps[2] < fixed  # the Hessian at zero does not serve till the end
    assert steps[12] < int(run(at, LBFGS(), jnp.zeros((8, 3)), budget=Budget(1e-12, 1000)).n_steps)


def test_rare_classes_take_a_fraction_of_the_passes_of_a_fixed_metric(x64):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6000, 30)) @ (np.eye(30) + 0.5 * rng.standard_normal((30, 30)))
    f = 0.3 * X @ rng.standard_normal((30, 5)) + np.array([0, 0, -6, -8, -9])
    Y = np.eye(5)[(f + rng.gumbel(size=f.shape)).argmax(1)]
    fitted = {
        solver: glm.fit(GLM(loss=Multinomial(), penalty=L2(1e-5), tol=1e-7, max_steps=500, solver=solver), X, Y)
        for solver in ("lbfgs", "sampled_newton")
    }
    assert [int(f.status) for f in fitted.values()] == [CONVERGED, CONVERGED]
    assert int(fitted["sampled_newton"].n_steps) < 0.4 * int(fitted["lbfgs"].n_steps)  # 21 and 91


def test_what_it_does_not_take_is_refused():
    start = jnp.zeros(10, np.float32)
    with pytest.raises(
        ValueError, match=r"`SampledNewton` reads the data by \['fold', 'rows'\].*\['rows'\] is missing"
    ):
        solve(problem(Logistic(), L2(0.1), 60, 10, np.float32, stream), SampledNewton(), start)
    with pytest.raises(ValueError, match="`SampledNewton` minimises what is smooth"):
        solve(problem(Logistic(), L1(0.1), 60, 10, np.float32), SampledNewton(), start)
