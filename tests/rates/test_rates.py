"""Step counts against bounds that are known: a wrong constant shows here, and in no comparison of answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from jaxlearn.access import Dense
from jaxlearn.access.columns import column_quadratic, gram_quadratic
from jaxlearn.models import glm
from jaxlearn.models.glm import GLM
from jaxlearn.objectives import L1, L2, Logistic, Squared
from jaxlearn.solvers import (
    LBFGS,
    Anderson,
    Budget,
    ConjugateGradient,
    CoordinateDescent,
    NewtonCG,
    NewtonCholesky,
    Objective,
    Problem,
    ProximalGradient,
    WorkingSetPath,
    solve,
)
from jaxlearn.solvers.solution import CONVERGED


def equicorrelated(n, p, rho, s, snr=2.0, seed=0):
    """√ρ z 1ᵀ + √(1 − ρ) Z, s ones evenly spaced, noise to a given ratio of signal to noise."""
    rng = np.random.default_rng(seed)
    X = np.sqrt(rho) * rng.standard_normal((n, 1)) + np.sqrt(1 - rho) * rng.standard_normal((n, p))
    b = np.zeros(p)
    b[:: p // s] = 1
    y = X @ b
    y = y + rng.standard_normal(n) * np.sqrt(y.var() / snr)
    return X - X.mean(0), y - y.mean()


def squared(X, y, penalty):
    n = len(y)
    return Problem(Objective(Squared(), penalty), Dense(jnp.asarray(X)), jnp.asarray(y), jnp.full(n, 1 / n))


def test_newton_solves_a_quadratic_in_one_step(x64):
    X, y = equicorrelated(50, 6, 0.5, 2)
    # the first pass evaluates the start, the second the Newton point
    solution = solve(squared(X, y, L2(0.1)), NewtonCholesky(), jnp.zeros(6), budget=Budget(1e-9, 50))
    assert int(solution.n_steps) == 2


def test_preconditioned_lbfgs_solves_a_quadratic_in_one_step(x64):
    """The majorant of the squared loss is its Hessian."""
    X, y = equicorrelated(50, 6, 0.5, 2)
    solution = solve(squared(X, y, L2(0.1)), LBFGS(), jnp.zeros(6), budget=Budget(1e-9, 50))
    assert int(solution.n_steps) == 2


def test_newton_converges_quadratically(x64):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 5))
    y = (X.sum(1) + rng.standard_normal(200) > 0) * 1.0
    problem = Problem(Objective(Logistic(), L2(0.01)), Dense(jnp.asarray(X)), jnp.asarray(y), jnp.full(200, 1 / 200))
    trace = solve(problem, NewtonCholesky(keep=0.0), jnp.zeros(5), budget=Budget(1e-14, 20, trace=20)).trace
    errors = np.asarray(trace)[np.isfinite(trace)]
    assert len(errors) <= 9
    late = np.flatnonzero((errors < 5e-3) & (errors > 1e-7))
    # e₊ ≤ (M / 2 μ²) e² with μ ≥ alpha is an upper bound that no run attains; 1 / 2 alpha is what is seen within it
    assert len(late) > 1
    assert (errors[late + 1] < 50 * errors[late] ** 2).all()


def test_newton_keeps_a_hessian_while_it_gains(x64):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 5))
    y = (X.sum(1) + rng.standard_normal(200) > 0) * 1.0
    problem = Problem(Objective(Logistic(), L2(0.01)), Dense(jnp.asarray(X)), jnp.asarray(y), jnp.full(200, 1 / 200))
    kept = {
        keep: solve(problem, NewtonCholesky(keep), jnp.zeros(5), budget=Budget(1e-10, 100, trace=100))
        for keep in (0.0, 0.3, 0.999)
    }
    steps = [int(found.n_steps) for found in kept.values()]
    assert steps[0] < steps[1] < steps[2]  # the first Hessian alone converges linearly
    assert steps[1] <= 2 * steps[0]
    for found in kept.values():
        np.testing.assert_allclose(found.params, kept[0.0].params, atol=1e-8)
    trace = np.asarray(kept[0.999].trace)[3 : steps[2]]
    assert (trace[1:] > 0.3 * trace[:-1]).mean() > 0.5


def test_conjugate_gradients_end_after_as_many_steps_as_distinct_eigenvalues(x64):
    rng = np.random.default_rng(0)
    X = np.linalg.qr(rng.standard_normal((40, 12)))[0] * np.repeat([1.0, 3.0, 7.0], 4)
    # equal diagonals within a group: Jacobi keeps three eigenvalues
    X = X / np.sqrt((X**2).sum(0)) * np.repeat([1.0, 3.0, 7.0], 4)
    solution = solve(
        squared(X, rng.standard_normal(40), L2(0.0)), ConjugateGradient(), jnp.zeros(12), budget=Budget(1e-12, 50)
    )
    assert int(solution.n_steps) <= 3


@pytest.mark.parametrize("build", [column_quadratic, gram_quadratic])
def test_coordinate_descent_needs_one_epoch_on_an_orthonormal_design(build, x64):
    rng = np.random.default_rng(0)
    X = np.linalg.qr(rng.standard_normal((60, 40)))[0] * np.sqrt(60)
    y = rng.standard_normal(60)
    quadratic = build(Dense(jnp.asarray(X)), jnp.asarray(y), jnp.full(60, 1 / 60))
    l1, l2 = jnp.full(40, 0.05), jnp.zeros(40)
    solver = CoordinateDescent(l1, l2, block_size=16)
    solution = solve(Problem(None, quadratic, None, None), solver, jnp.zeros(40), budget=Budget(1e-14, 10))
    assert int(solution.n_steps) == 2  # start, and after one epoch
    expected = np.sign(X.T @ y / 60) * np.maximum(abs(X.T @ y / 60) - 0.05, 0)
    np.testing.assert_allclose(solution.params, expected, atol=1e-14)


def test_coordinate_descent_is_the_scalar_algorithm(x64):
    """One epoch in blocks equals one epoch of textbook updates, column by column."""
    X, y = equicorrelated(30, 10, 0.7, 2)
    n, b, r = 30, np.zeros(10), y.copy()
    for j in range(10):
        old, norm = b[j], X[:, j] @ X[:, j] / n
        z = old * norm + X[:, j] @ r / n
        b[j] = np.sign(z) * max(abs(z) - 0.1, 0) / (norm + 0.05)
        r -= X[:, j] * (b[j] - old)
    quadratic = column_quadratic(Dense(jnp.asarray(X)), jnp.asarray(y), jnp.full(n, 1 / n))
    solver = CoordinateDescent(jnp.full(10, 0.1), jnp.full(10, 0.05), block_size=5)
    state = solve(Problem(None, quadratic, None, None), solver, jnp.zeros(10), budget=Budget(0.0, 1)).state
    np.testing.assert_allclose(state.candidate, b, atol=1e-14)


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.8])
def test_a_path_takes_about_one_pass_over_X_for_each_alpha(rho, dtype):
    X, y = equicorrelated(100, 1000, rho, 10)
    X, y = X.astype(dtype), y.astype(dtype)
    model = GLM(penalty=L1(1.0), tol=1e-6, working_set=96)
    alphas = float(glm.alpha_max(model, X, y)) * np.geomspace(1, 0.05, 50)
    path = jax.jit(glm.path)(model, X, y, alphas.astype(dtype))
    assert (path.status == 0).all()
    assert path.n_steps.sum() <= 1.2 * 50


class TestFailuresMetBefore:
    """Four ways in which working-set Newton methods have gone wrong, each kept as a test."""

    def test_a_strongly_correlated_design_does_not_flood_the_working_set(self, x64):
        """Taking every column near the bound made 300 × 6000 at ρ = 0.8 thirteen times slower: the set is capped."""
        X, y = equicorrelated(60, 1200, 0.8, 10)
        model = GLM(penalty=L1(1.0), tol=1e-6, working_set=64)
        alphas = float(glm.alpha_max(model, X, y)) * np.geomspace(1, 0.05, 30)
        path = jax.jit(glm.path)(model, X, y, alphas)
        assert (path.status == 0).all()
        assert path.n_steps.sum() <= 2 * 30

    def test_the_line_search_alone_does_not_stall(self, x64):
        """Breakpoints alone let the support run past n and stall: the clipped full step is a candidate too."""
        X, y = equicorrelated(50, 120, 0.5, 10)
        model = GLM(penalty=L1(0.01 * float(glm.alpha_max(GLM(penalty=L1(1.0)), X, y))), tol=1e-10)
        fitted = jax.jit(glm.fit)(model, X, y)
        assert int(fitted.status) == 0
        assert int((fitted.coef != 0).sum()) <= 50
        assert int(fitted.n_steps) <= 80

    def test_near_saturation_the_path_ends(self, dtype):
        """With nearly as many coefficients as samples the inner problem is close to singular: it ends, certified."""
        X, y = equicorrelated(40, 200, 0.6, 10)
        X, y = X.astype(dtype), y.astype(dtype)
        model = GLM(penalty=L1(1.0), tol=1e-6 if dtype == np.float64 else 1e-5)
        alphas = float(glm.alpha_max(model, X, y)) * np.geomspace(1, 1e-4, 40)
        path = jax.jit(glm.path)(model, X, y, alphas.astype(dtype))
        assert np.isfinite(path.coef).all()
        assert (path.status == 0).mean() >= 0.95
        assert path.n_steps.sum() <= 4 * 40

    def test_the_support_is_identified_under_correlation(self, x64):
        """Ten proximal steps before each Newton step took up to 262 rounds at ρ = 0.6; guessed signs take a handful."""
        X, y = equicorrelated(100, 200, 0.6, 10)
        top = float(glm.alpha_max(GLM(penalty=L1(1.0)), X, y))
        for share in (0.5, 0.1, 0.02):
            fitted = jax.jit(glm.fit)(GLM(penalty=L1(share * top), tol=1e-10), X, y)
            assert int(fitted.status) == 0
            assert int(fitted.n_steps) <= 50


def test_the_path_records_what_it_certifies(x64):
    X, y = equicorrelated(80, 30, 0.3, 5)
    alphas = np.geomspace(1.0, 0.05, 7)
    path = jax.jit(glm.path)(GLM(penalty=L1(1.0), tol=1e-8), X, y, alphas)
    for alpha, b, gap in zip(alphas, np.asarray(path.coef), np.asarray(path.residual), strict=True):
        r = y - X @ b
        g = X.T @ r / 80
        s = min(1, alpha / abs(g).max())
        exact = 0.5 * (1 - s) ** 2 * (r @ r) / 80 + (alpha * abs(b) - s * b * g).sum()
        assert gap == pytest.approx(exact, abs=1e-12)
        assert gap <= 1e-8 * (y @ y) / 80
    assert WorkingSetPath.certificate == "duality gap"


@pytest.mark.parametrize(("rho", "share"), [(0.0, 1e-2), (0.0, 1e-3), (0.5, 1e-2)])
def test_a_dense_solution_takes_few_factors(rho, share, x64):
    """Hundreds of coefficients enter together: one at a time, each costs a factor."""
    X, y = equicorrelated(200, 250, rho, 125)
    alpha = share * float(glm.alpha_max(GLM(penalty=L1(1.0)), X, y))
    fitted = jax.jit(glm.fit)(GLM(penalty=L1(alpha), tol=1e-8), X, y)
    assert int(fitted.status) == 0
    assert (np.asarray(fitted.coef) != 0).sum() > 100
    assert int(fitted.n_steps) <= 12


def with_spectrum(spectrum, seed=0):
    """Least squares whose Hessian ``Xᵀ X / n`` has these eigenvalues, and the solution of ones."""
    rng = np.random.default_rng(seed)
    n, p = 2 * len(spectrum), len(spectrum)
    X = np.linalg.qr(rng.standard_normal((n, p)))[0] * np.sqrt(n * np.asarray(spectrum))
    X = X @ np.linalg.qr(rng.standard_normal((p, p)))[0]
    return X, X @ np.ones(p)


def gradient_step(problem, b):
    """Of length one, for a Hessian whose largest eigenvalue is one."""
    X, y, w = problem.design, problem.y, problem.sample_weight
    return b - X.rmatvec(w * (X.matvec(b) - y))


@pytest.mark.parametrize("seed", range(3))
def test_on_collinear_columns_a_fit_goes_on_while_it_gains(seed, x64):
    """All monomials of four variables: for tens of steps the objective falls, and the certificate hardly does."""
    rng = np.random.default_rng(seed)
    monomials = PolynomialFeatures(4, include_bias=False).fit_transform(rng.uniform(size=(60, 4)))
    X = StandardScaler().fit_transform(monomials)
    y = X[:, ::7] @ rng.standard_normal(10)
    y = y - y.mean() + 0.3 * y.std() * rng.standard_normal(60)
    alpha = 1e-4 * glm.alpha_max(GLM(penalty=L1(1.0)), X, y)
    fitted = jax.jit(lambda alpha: glm.fit(GLM(penalty=L1(alpha), tol=1e-10, max_steps=300), X, y))(alpha)
    assert fitted.status == CONVERGED
    assert fitted.n_steps > 15  # the problem is as hard as that


def test_anderson_ends_like_gmres_on_a_small_quadratic(x64):
    """With as many changes remembered as there are eigenvalues, one more point than those is the solution."""
    X, y = with_spectrum([1.0, 0.5, 0.1, 0.03, 1e-2])
    found = solve(squared(X, y, L2(0.0)), Anderson(gradient_step, history=5), jnp.zeros(5), budget=Budget(1e-11, 50))
    assert int(found.n_steps) <= 5 + 2


def test_anderson_accelerates_gradient_steps_on_an_ill_conditioned_quadratic(x64):
    """Six times fewer than without, and no more than GMRES(5) needs, of which six products gain ``T₅((κ + 1) / (κ − 1))``."""
    X, y = with_spectrum(np.geomspace(1e-3, 1, 50))
    found = solve(squared(X, y, L2(0.0)), Anderson(gradient_step), jnp.zeros(50), budget=Budget(1e-8, 5000))
    assert int(found.status) == 0
    # without, the gradient after k steps is (I − H)ᵏ H b*, whatever the code
    values, Q = np.linalg.eigh(X.T @ X / len(X))
    steps = np.arange(20_000)
    gradients = np.abs((Q * values * (Q.T @ np.ones(50))) @ (1 - values)[:, None] ** steps[None]).max(0)
    alone = np.argmax(gradients <= 1e-8)
    gain = np.cosh(5 * np.arccosh(1001 / 999))
    bound = 6 * np.log(np.linalg.norm(X.T @ y / len(X)) / 1e-8) / np.log(gain)
    assert int(found.n_steps) <= bound < alone / 4


@pytest.mark.parametrize("condition", [1e2, 1e4])
def test_restarted_momentum_needs_the_root_of_the_condition(condition, x64):
    """``√κ log(1 / tol)`` up to a constant, without knowing κ; gradient steps alone need κ."""
    X, y = with_spectrum(np.geomspace(1 / condition, 1, 60))
    found = solve(squared(X, y, L2(0.0)), ProximalGradient(), jnp.zeros(60), budget=Budget(1e-8, 20_000))
    assert int(found.status) == 0
    assert int(found.n_steps) < 2 * np.sqrt(condition) * np.log(1e8)


def test_momentum_keeps_the_bound_of_its_first_run(x64):
    """``F(b_k) − F* ≤ 2 L ‖b₀ − b*‖² / (k + 1)²`` with L the largest in use, at most 1.2 λ after a search."""
    X, y = equicorrelated(60, 150, 0.5, 5)
    at, budget = squared(X, y, L1(0.05)), 40
    best = solve(at, ProximalGradient(), jnp.zeros(150), budget=Budget(1e-11, 50_000))
    assert int(best.status) == 0

    def objective(b):
        return 0.5 * np.mean((y - X @ b) ** 2) + 0.05 * np.abs(b).sum()

    largest = 1.2 * np.linalg.norm(X, 2) ** 2 / 60
    found = solve(at, ProximalGradient(), jnp.zeros(150), budget=Budget(0.0, budget))
    bound = 2 * largest * float(best.params @ best.params) / (budget - 10) ** 2  # of forty some searched for L
    assert 0 <= objective(np.asarray(found.params)) - objective(np.asarray(best.params)) <= bound


def test_inexact_newton_converges_with_order_three_halves(x64):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 8))
    y = (X.sum(1) + rng.standard_normal(200) > 0) * 1.0
    problem = Problem(Objective(Logistic(), L2(0.01)), Dense(jnp.asarray(X)), jnp.asarray(y), jnp.full(200, 1 / 200))
    found = solve(problem, NewtonCG(), jnp.zeros(8), budget=Budget(1e-13, 200, trace=200))
    errors = np.asarray(found.trace)[: int(found.n_steps)]
    accepted = errors[np.flatnonzero(np.diff(errors, prepend=np.inf))]  # what it is between iterations does not change
    late = np.flatnonzero((accepted < 1e-2) & (accepted > 1e-10))[:-1]
    assert len(late) > 1
    assert (accepted[late + 1] < 10 * accepted[late] ** 1.5).all()
    assert int(found.n_steps) < 60
