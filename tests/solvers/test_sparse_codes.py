"""Sparse codes of samples: certificates that hold, pursuits that equal scikit-learn's, an alternation that falls."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Lasso, lars_path_gram, orthogonal_mp_gram

from jaxlearn.access.dense import as_design
from jaxlearn.models._codes import correlate
from jaxlearn.objectives import L1, ElasticNet, L2Ball
from jaxlearn.solvers import Budget, Problem, solve
from jaxlearn.solvers.alternating import Alternating, Factors
from jaxlearn.solvers.least_angle import least_angle
from jaxlearn.solvers.orthogonal_matching_pursuit import matching_pursuit
from jaxlearn.solvers.refined_codes import RefinedCodes
from jaxlearn.solvers.sparse_codes import CodeADMM, Correlations, code_gaps

N, K, P = 40, 24, 16
PENALTIES = [L1(0.1), L1(0.1, positive=True), ElasticNet(0.2, 0.5), ElasticNet(0.2, 0.5, positive=True)]


def problem(dtype, k=K, p=P, n=N):
    """More atoms than features, which resemble each other; the last sample is zero."""
    rng = np.random.default_rng(0)
    D = rng.standard_normal((k, p)) + 0.7 * rng.standard_normal((1, p))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    X = rng.standard_normal((n, k)) * (rng.random((n, k)) < 0.2) @ D + 0.2 * rng.standard_normal((n, p))
    X[-1] = 0
    return D.astype(dtype), X.astype(dtype)


def seen_through(D, X, factored=False):
    D, X = jnp.asarray(D), jnp.asarray(X)
    exact = partial(jnp.matmul, precision="highest")
    atoms = D if factored else None
    return Correlations(exact(D, D.T), exact(X, D.T), jnp.square(X).sum(1), jnp.ones(len(X), X.dtype), atoms)


def problem_of(seen):
    return Problem(None, seen, None, None)


@jax.jit
def solved(solver, seen, tol, max_steps=300):
    start = jnp.zeros_like(seen.correlations)
    return solve(problem_of(seen), solver, start, budget=Budget(tol, max_steps))


def objective(D, X, codes, penalty):
    D, X, codes = (np.asarray(a, float) for a in (D, X, codes))
    alpha, ratio = float(penalty.alpha), float(penalty.l1_ratio)
    size = ratio * np.abs(codes).sum(1) + 0.5 * (1 - ratio) * np.square(codes).sum(1)
    return 0.5 * np.square(X - codes @ D).sum(1) + alpha * size


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
@pytest.mark.parametrize("method", [CodeADMM, RefinedCodes])
@pytest.mark.parametrize("factored", [False, True])
def test_every_row_is_certified(method, penalty, factored, dtype):
    D, X = problem(dtype)
    seen, tol = seen_through(D, X, factored), 1e-5 if dtype == np.float32 else 1e-10
    found = solved(method(penalty, every_row=True), seen, tol)
    assert found.status == 0
    with jax.enable_x64(True):
        double = [np.asarray(a, float) for a in (D, X)]
        best = solved(RefinedCodes(penalty), seen_through(*double), 1e-13)
        assert best.status == 0
        left = objective(*double, found.params, penalty) - objective(*double, best.params, penalty)
        gaps = np.asarray(code_gaps(seen_through(*double), jnp.asarray(np.asarray(found.params, float)), penalty))
    half = 0.5 * np.square(double[1]).sum(1)
    assert (left <= tol * half + 1e-12).all()
    assert (left <= gaps + 1e-12).all()
    assert (gaps <= (tol + 100 * np.finfo(dtype).eps) * half + 1e-14).all()
    assert not np.asarray(found.params)[-1].any()
    if penalty.positive:
        assert np.asarray(found.params).min() >= 0


def test_codes_are_those_of_coordinate_descent(x64):
    D, X = problem(np.float64)
    codes = solved(RefinedCodes(L1(0.1)), seen_through(D, X), 1e-14).params
    lasso = Lasso(0.1 / P, fit_intercept=False, tol=1e-15, max_iter=100_000).fit(D.T, X.T)
    np.testing.assert_allclose(codes, lasso.coef_, atol=1e-6)


def test_multipliers_do_not_stall_in_single_precision():
    """A regression with another ρ than that of the proximal term has another fixed point."""
    D, X = problem(np.float32, k=200, p=100, n=20)
    for factored in (False, True):
        assert solved(CodeADMM(L1(0.05), True, 0.5), seen_through(D, X, factored), 1e-4, 600).status == 0


def test_products_with_few_features_take_less(dtype):
    """Of an overcomplete dictionary ``D Dᵀ`` is never multiplied with codes; what comes of it is the same."""
    D, X = problem(dtype, k=200, p=20)
    seen = correlate(jnp.asarray(D), jnp.asarray(X), jnp.ones(len(X), X.dtype))
    full = eqx.tree_at(lambda s: s.atoms, seen, None)
    assert seen.atoms is not None
    assert correlate(None, jnp.asarray(X), seen.weight, gram=seen.gram, correlations=seen.correlations).atoms is None
    eps = float(jnp.finfo(dtype).eps)
    step = jax.jit(
        lambda seen, codes: RefinedCodes(L1(0.1)).tell(None, RefinedCodes(L1(0.1)).init(problem_of(seen), codes), seen)
    )
    start = seen.correlations
    np.testing.assert_allclose(seen.product(start), full.product(start), atol=200 * eps * np.abs(start).max() ** 2)
    flops = [step.lower(s, start).compile().cost_analysis()["flops"] for s in (seen, full)]
    assert flops[0] < 0.5 * flops[1]


def test_refinement_saves_products(x64):
    D, X = problem(np.float64, k=100, p=60)
    seen = seen_through(D, X)
    refined = solved(RefinedCodes(L1(0.02)), seen, 1e-9)
    plain = solved(CodeADMM(L1(0.02), True, 0.5), seen, 1e-9, 2000)
    assert refined.status == plain.status == 0
    assert 45 * int(refined.n_steps) <= 0.7 * 6 * int(plain.n_steps)


def test_lanes_and_weights(dtype):
    """Compiled, or as lanes of ``vmap``; a row of weight zero holds nobody up."""
    D, X = problem(dtype)
    seen = seen_through(D, X)
    alphas = jnp.asarray([0.05, 0.2], X.dtype)
    lanes = jax.vmap(lambda alpha: solved(RefinedCodes(L1(alpha)), seen, 1e-4).params)(alphas)
    for alpha, codes in zip(alphas, lanes, strict=True):
        np.testing.assert_allclose(codes, solved(RefinedCodes(L1(alpha)), seen, 1e-4).params, atol=2e-2)
    gone = Correlations(seen.gram, seen.correlations, seen.energy, seen.weight.at[0].set(0))
    without = solved(RefinedCodes(L1(alphas[0])), gone, 1e-4)
    assert without.status == 0
    assert not np.asarray(without.params)[0].any()
    assert np.asarray(without.params)[1].any()


def test_no_penalty_is_least_squares(x64):
    """Also of atoms that depend on each other."""
    D, X = problem(np.float64)
    found = solved(RefinedCodes(L1(0.0)), seen_through(D, X), 1e-10)
    assert found.status == 0
    np.testing.assert_allclose(np.asarray(found.params) @ D, X, atol=1e-4)


# Pursuits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(12, 8, 3), (20, 30, 20), (40, 20, 10)])
def test_matching_pursuit_is_that_of_scikit_learn(shape, dtype):
    k, p, m = shape
    rng = np.random.default_rng(k)
    D = rng.standard_normal((k, p)).astype(dtype)
    gram, correlations = D @ D.T, rng.standard_normal((30, p)).astype(dtype) @ D.T
    codes = jax.jit(matching_pursuit, static_argnums=2)(gram, correlations, m)
    expected = orthogonal_mp_gram(gram, correlations.T, n_nonzero_coefs=m).T
    assert codes.dtype == dtype
    assert (np.asarray(codes != 0).sum(1) == m).all()
    np.testing.assert_allclose(codes, expected, rtol=0, atol=1e3 * np.finfo(dtype).eps)


@pytest.mark.parametrize("shape", [(12, 8, 3), (20, 30, 8), (30, 50, 12)])
def test_least_angle_is_that_of_scikit_learn(shape, dtype):
    k, p, m = shape
    rng = np.random.default_rng(k)
    D = rng.standard_normal((k, p))
    D = (D / np.linalg.norm(D, axis=1, keepdims=True)).astype(dtype)
    gram, correlations = D @ D.T, rng.standard_normal((30, p)).astype(dtype) @ D.T
    codes = jax.jit(least_angle, static_argnums=2)(gram, correlations, m)
    n_same = 0
    for code, beta in zip(codes, correlations, strict=True):
        path = lars_path_gram(beta.copy(), gram.copy(), n_samples=p, method="lar", max_iter=m)[2]
        if (np.sign(path[:, 1:]) * np.sign(path[:, :-1]) >= 0).all():  # it treats a change of sign as a step
            np.testing.assert_allclose(code, path[:, -1], rtol=0, atol=1e3 * np.finfo(dtype).eps)
            n_same += 1
    assert n_same >= 15


def test_angles_are_equal(dtype):
    """Chosen atoms correlate alike with what is left, others by less, also after values passed through zero."""
    D, X = problem(dtype, k=20, p=30, n=30)
    gram, correlations = D @ D.T, X[:-1] @ D.T
    for m in (1, 5, 15):
        codes = np.asarray(least_angle(gram, correlations, m), float)
        left = np.abs(correlations - codes @ gram)
        level = np.where(codes != 0, left, 0).max(1)
        scale = 1e3 * np.finfo(dtype).eps * np.abs(correlations).max()
        assert ((codes != 0).sum(1) == m).all()
        assert np.abs(np.where(codes != 0, left - level[:, None], 0)).max() < scale
        assert (left <= level[:, None] + scale).all()
        # the next atom is about to join
        assert np.abs(np.sort(left, axis=1)[:, -m - 1] - level).max() < scale


def test_all_steps_are_least_squares(x64):
    D, X = problem(np.float64, k=10, p=30)
    expected = np.linalg.lstsq(D.T, X.T, rcond=None)[0].T
    for pursuit in (matching_pursuit, least_angle):
        np.testing.assert_allclose(pursuit(D @ D.T, X @ D.T, 10), expected, atol=1e-10)


@pytest.mark.parametrize("pursuit", [matching_pursuit, least_angle])
def test_atoms_that_depend_on_others_are_not_chosen(pursuit, dtype):
    D, X = problem(dtype, k=6, p=30)
    twice = np.concatenate([D, D])
    codes = np.asarray(pursuit(twice @ twice.T, X @ twice.T, 12))
    assert np.isfinite(codes).all()
    assert ((codes != 0).sum(1) <= 6).all()
    best = np.linalg.lstsq(D.T.astype(float), X.T.astype(float), rcond=None)[0].T @ D
    np.testing.assert_allclose(codes @ twice, best, atol=2e3 * np.finfo(dtype).eps)


# Alternation -------------------------------------------------------------------------------------------------------


def test_cost_falls_and_is_what_it_says(dtype):
    _, X = problem(dtype, n=60)
    rng = np.random.default_rng(1)
    start = rng.standard_normal((K, P)).astype(dtype)
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    start[3] = 0  # nothing uses it
    penalty, ball = L1(jnp.asarray(0.1, dtype)), L2Ball(jnp.asarray(1, dtype))
    factors = Factors.start(jnp.asarray(start), jnp.zeros((60, K), dtype))
    solver = Alternating(penalty, ball, 50, 20)
    run = jax.jit(lambda f, n: solve(Problem(None, as_design(X), None, None), solver, f, budget=Budget(0.0, n)))
    found = run(factors, 20)
    costs = np.asarray(found.state.costs)[: int(found.n_steps)]
    assert len(costs) >= 8
    assert (np.diff(costs) < 10 * np.finfo(dtype).eps * costs[0]).all()
    assert costs[-1] < 0.9 * costs[0]
    codes, atoms = found.params.codes, np.asarray(found.params.dictionary)
    assert int(found.params.n_reseeded) >= 1
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(objective(atoms, X, codes, penalty).sum(), costs[-1], rtol=1e-5)
    # in two parts it is the same
    parts = run(run(factors, 7).params, int(found.n_steps) - 7)
    np.testing.assert_array_equal(parts.params.dictionary, found.params.dictionary)
