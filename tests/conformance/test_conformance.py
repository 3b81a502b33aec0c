"""Every solver gives the same answer however it is run: eagerly, compiled, in lanes, in blocks, and over split rows."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxlearn.access import Dense, Sparse, stream
from jaxlearn.models import glm
from jaxlearn.models.glm import GLM
from jaxlearn.objectives import L1, L2, ElasticNet, Logistic, Multinomial
from jaxlearn.solvers import (
    LBFGSB,
    Anderson,
    Budget,
    NewtonCG,
    Objective,
    Problem,
    ProximalGradient,
    attach_derivative,
    solve,
)
from jaxlearn.solvers.descent import value_and_gradient
from jaxlearn.solvers.variance_reduced import METHODS

N, P_, SHARDS = 160, 7, 8


def models(dtype):
    tol = 1e-11 if dtype == np.float64 else 1e-6
    return {
        "least_squares": GLM(),
        "spectral": GLM(penalty=L2(0.1)),
        "cholesky": GLM(penalty=L2(0.1), solver="cholesky"),
        "conjugate_gradient": GLM(penalty=L2(0.1), solver="conjugate_gradient", tol=tol),
        "squared_newton": GLM(penalty=L2(0.1), solver="newton", tol=tol),
        "feature_sign": GLM(penalty=L1(0.1), tol=tol),
        "feature_sign_positive": GLM(penalty=L1(0.1, positive=True), tol=tol),
        "working_set": GLM(penalty=L1(0.1), tol=tol, working_set=5),
        "coordinate_descent": GLM(penalty=ElasticNet(0.1, 0.7), tol=tol, solver="coordinate_descent"),
        "no_intercept": GLM(penalty=ElasticNet(0.1, 0.5), tol=tol, fit_intercept=False),
        "lbfgs": GLM(loss=Logistic(), penalty=L2(0.1), tol=tol),
        "newton": GLM(loss=Logistic(), penalty=L2(0.1), tol=tol, solver="newton"),
        "multinomial_lbfgs": GLM(loss=Multinomial(), penalty=L2(0.1), tol=tol),
        "multinomial_newton": GLM(loss=Multinomial(), penalty=L2(0.1), tol=tol, solver="newton"),
        "multinomial_sampled_newton": GLM(loss=Multinomial(), penalty=L2(0.1), tol=tol, solver="sampled_newton"),
        "svrg": GLM(loss=Logistic(), penalty=L2(0.1), tol=tol, solver="svrg"),
        "saga": GLM(loss=Logistic(), penalty=L2(0.1), tol=tol, solver="saga"),
        "katyusha": GLM(loss=Logistic(), penalty=L2(0.1), tol=tol, solver="katyusha"),
        "multinomial_svrg": GLM(loss=Multinomial(), penalty=L2(0.1), tol=tol, solver="svrg"),
        "squared_svrg": GLM(penalty=L2(0.1), tol=tol, solver="svrg"),
    }


NAMES = list(models(np.float64))
# What is left of SVRG's family compiles as long, and differs in a few lines.
SLOW = "saga", "katyusha", "multinomial_svrg", "squared_svrg"


def data(name, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, P_)) + 3
    X[rng.random(X.shape) < 0.3] = 0
    y = X @ np.array([2, 0, 0, -1, 0, 0, 0.5]) + rng.standard_normal(N)
    if name.startswith("multinomial"):
        y = np.eye(3)[np.digitize(y, np.quantile(y, [0.3, 0.6]))]
    elif name in ("lbfgs", "newton", *METHODS):
        y = (y > np.median(y)) * 1.0
    w = rng.random((3, N))
    w[:, ::7] = 0
    return X.astype(dtype), y.astype(dtype), w.astype(dtype)


def close(a, b, dtype):
    """Two runs of one convergent method differ by the error their tolerance allows: √ of a gap or of an ulp, scaled."""
    tol = 1e-5 if dtype == np.float64 else 5e-3
    np.testing.assert_allclose(a.coef, b.coef, atol=tol * max(1, float(np.abs(b.coef).max())))
    np.testing.assert_allclose(a.intercept, b.intercept, atol=10 * tol)


def objective(model, fitted, X, y, w):
    """Float64, by NumPy."""
    X, y, w = (np.asarray(v, np.float64) for v in (X, y, w))
    coef, intercept = np.asarray(fitted.coef, np.float64), np.asarray(fitted.intercept, np.float64)
    f = X @ coef + intercept
    loss = {
        "Squared": lambda: 0.5 * (y - f) ** 2,
        "Logistic": lambda: np.logaddexp(0, f) - y * f,
        "Multinomial": lambda: np.logaddexp.reduce(f, axis=-1) - (y * f).sum(-1),
    }[type(model.loss).__name__]()
    alpha, ratio = getattr(model.penalty, "alpha", 0.0), getattr(model.penalty, "l1_ratio", 0.0)
    penalty = alpha * (ratio * np.abs(coef).sum() + 0.5 * (1 - ratio) * (coef**2).sum())
    return w @ loss / w.sum() + penalty


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in NAMES])
def test_compiled_lanes_and_shards(name, dtype, count_compiles):
    model = models(dtype)[name]
    X, y, weights = data(name, dtype)
    fit = jax.jit(glm.fit)
    alone = [fit(model, X, y, w) for w in weights]
    assert [int(f.status) for f in alone] == [0, 0, 0]
    with count_compiles() as compiled:
        fit(model, X, y, weights[1])
    assert compiled.count == 0

    lanes = jax.jit(jax.vmap(glm.fit, in_axes=(None, None, None, 0)))(model, X, y, weights)
    for i, fitted in enumerate(alone):
        close(jax.tree.map(lambda leaf, i=i: leaf[i], lanes), fitted, dtype)

    mesh = Mesh(np.array(jax.devices()), ("rows",))
    split = partial(glm.fit, axis_name="rows")
    rows = P("rows")
    sharded = jax.jit(jax.shard_map(split, mesh=mesh, in_specs=(P(), rows, rows, rows), out_specs=P(), check_vma=False))
    close(jax.block_until_ready(sharded(model, X, y, weights[0])), alone[0], dtype)
    # what is gathered, if anything, is a small factor: never a buffer of N rows
    text = sharded.lower(model, X, y, weights[0]).compile().as_text()
    gathers = [line for line in text.splitlines() if "all-gather" in line]
    assert not any(f"{N}," in line.split("all-gather")[0] for line in gathers)

    placed = jax.device_put(X, NamedSharding(mesh, rows))
    if name != "least_squares":  # a QR of rows is gathered by the compiler: with an axis name it is merged instead
        close(jax.block_until_ready(fit(model, placed, y, weights[0])), alone[0], dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_eager_and_pmap(name, dtype):
    model = models(dtype)[name]
    X, y, weights = data(name, dtype)
    alone = jax.jit(glm.fit)(model, X, y, weights[0])
    close(glm.fit(model, X, y, weights[0]), alone, dtype)
    blocks = [v.reshape(SHARDS, N // SHARDS, *v.shape[1:]) for v in (X, y, weights[0])]
    split = partial(glm.fit, axis_name="rows")
    for mapped in (
        jax.pmap(split, in_axes=(None, 0, 0, 0), out_axes=None, axis_name="rows"),
        jax.vmap(split, in_axes=(None, 0, 0, 0), out_axes=None, axis_name="rows"),
    ):
        close(jax.block_until_ready(mapped(model, *blocks)), alone, dtype)


@pytest.mark.parametrize(
    "name",
    [n for n in NAMES if n != "least_squares" and models(np.float64)[n].solver not in (*METHODS, "sampled_newton")],
)
def test_sparse_is_dense(name, dtype):
    from scipy import sparse

    from jaxlearn.access.host import from_scipy

    model = models(dtype)[name]
    X, y, weights = data(name, dtype)
    fit = jax.jit(glm.fit)
    design = from_scipy(sparse.csr_array(X), dtype)
    assert isinstance(design, Sparse)
    found, expected = fit(model, design, y, weights[0]), fit(model, Dense(X), y, weights[0])
    gap = objective(model, found, X, y, weights[0]) - objective(model, expected, X, y, weights[0])
    assert abs(gap) <= (1e-9 if dtype == np.float64 else 1e-5) * objective(model, expected, X, y, weights[0])


@pytest.mark.parametrize(
    "name", ["least_squares", "spectral", "conjugate_gradient", "feature_sign", "lbfgs", "newton", "multinomial_newton"]
)
def test_streamed_is_dense(name, dtype):
    """The same solver in the host's loop, block by block."""
    model = models(dtype)[name]
    X, y, weights = data(name, dtype)
    streamed = glm.fit(model, stream(X, block_size=len(X) // 4), y, weights[0])
    expected = jax.jit(glm.fit)(model, X, y, weights[0])
    assert int(streamed.status) == 0
    close(streamed, expected, dtype)


def test_a_mismatch_of_patterns_is_one_clear_error(dtype):
    X, y, _ = data("working_set", dtype)
    with pytest.raises(ValueError, match=r"`WorkingSetPath` reads the data by \['columns'\].*missing"):
        glm.fit(GLM(penalty=L1(0.1), precompute=False, working_set=3), stream(X, block_size=len(X) // 4), y)


def shrink(problem, b):
    """A proximal gradient step: a map that Anderson accelerates."""
    loss, penalty = problem.objective.loss, problem.objective.penalty
    gradient = problem.design.fold(value_and_gradient, (loss, b), problem.y, problem.sample_weight)[1]
    return penalty.prox(b - 0.2 * gradient, 0.2)


ALONE = {
    "proximal_gradient": (ProximalGradient(), lambda alpha: ElasticNet(alpha, 0.7)),
    "newton_cg": (NewtonCG(), L2),
    "lbfgsb": (LBFGSB(-0.05, 0.3), L2),
    "anderson": (Anderson(shrink), lambda alpha: ElasticNet(alpha, 0.7)),
}


@pytest.mark.parametrize("name", ALONE)
def test_a_solver_alone_gives_one_answer_however_it_is_run(name, dtype, count_compiles):
    solver, penalty = ALONE[name]
    X, y, weights = data("lbfgs", dtype)
    w = weights[0] / weights[0].sum()
    alphas = np.asarray([0.1, 0.03], dtype)
    tol = 1e-10 if dtype == np.float64 else 1e-5

    def run(alpha, X, y, w, design=Dense):
        problem = Problem(Objective(Logistic(), penalty(alpha)), design(X), y, w)
        return solve(problem, solver, jnp.zeros(P_, dtype), budget=Budget(tol, 2000))

    one = jax.jit(run)
    alone = [one(alpha, X, y, w) for alpha in alphas]
    assert [int(found.status) for found in alone] == [0, 0]
    with count_compiles() as compiled:
        one(alphas[1], X, y, w)
    assert compiled.count == 0

    def near(params, expected):  # each within the tolerance, by strong convexity of at least 0.3 · 0.03
        np.testing.assert_allclose(params, expected, atol=2 * tol * P_ / 0.009)

    lanes = jax.jit(jax.vmap(run, in_axes=(0, None, None, None)))(alphas, X, y, w)
    near(lanes.params, jnp.stack([found.params for found in alone]))
    streamed = run(alphas[0], X, y, w, partial(stream, block_size=N // 4))
    assert int(streamed.status) == 0
    near(streamed.params, alone[0].params)

    rows, mesh = P("rows"), Mesh(np.array(jax.devices()), ("rows",))
    split = partial(run, design=partial(Dense, axis_name="rows"))
    sharded = jax.jit(jax.shard_map(split, mesh=mesh, in_specs=(P(), rows, rows, rows), out_specs=P(), check_vma=False))
    near(jax.block_until_ready(sharded(alphas[0], X, y, w)).params, alone[0].params)

    from scipy import sparse

    from jaxlearn.access.host import from_scipy

    near(run(alphas[0], from_scipy(sparse.csr_array(X), dtype), y, w, lambda X: X).params, alone[0].params)


@pytest.mark.parametrize("name", ALONE)
def test_a_solver_alone_has_the_derivative_of_its_solution(name, x64):
    solver, penalty = ALONE[name]
    X, y, weights = data("lbfgs", np.float64)
    w = weights[0] / weights[0].sum()

    def fit(alpha):
        problem = Problem(Objective(Logistic(), penalty(alpha)), Dense(X), y, w)
        found = solve(jax.lax.stop_gradient(problem), solver, jnp.zeros(P_), budget=Budget(1e-13, 5000)).params
        held = (found <= solver.lower) | (found >= solver.upper) if name == "lbfgsb" else None
        assert held is None or held.shape == (P_,)
        return attach_derivative(problem, found, held=held)

    step = 1e-5
    difference = jax.jit(jax.vmap(fit))(0.05 + step * jnp.array([-1.0, 1.0]))
    expected = (difference[1] - difference[0]) / (2 * step)
    np.testing.assert_allclose(jax.jit(jax.jacobian(fit))(0.05), expected, atol=1e-5 * float(abs(expected).max()))
    assert 0 < (np.asarray(expected) == 0).sum() < P_ or name == "newton_cg"
