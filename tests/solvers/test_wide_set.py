"""Working sets of more columns than rows, without a Gram matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.access import Dense
from jaxlearn.access.columns import column_quadratic
from jaxlearn.models import glm
from jaxlearn.models.glm import GLM
from jaxlearn.objectives import MCP, ElasticNet
from jaxlearn.solvers import CONVERGED, Budget, FeatureSign, Problem, solve, wide_set
from jaxlearn.solvers.quadratic import LocalQuadratic
from jaxlearn.solvers.wide_set import RowQuadratic, WideFeatureSign, is_wide

N, P = 40, 90


def data(dtype, n=N, p=P):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p)) + rng.standard_normal((n, 1))
    y = X[:, :8] @ rng.standard_normal(8) + rng.standard_normal(n)
    return jnp.asarray(X, dtype), jnp.asarray(y, dtype), jnp.full(n, 1 / n, dtype)


def on_set(dtype, kind):
    """The same problem from the rows, and from their Gram matrix."""
    X, y, w = data(dtype)
    quadratic = column_quadratic(Dense(X), y, w)
    origin = jnp.asarray(np.random.default_rng(1).standard_normal(P) / 10, dtype)
    columns = jnp.arange(P, dtype=jnp.int32)
    g, energy = quadratic.correlations(quadratic.start(columns, origin))
    rows = X * jnp.sqrt(w)[:, None]
    if kind is RowQuadratic:
        return RowQuadratic(g, energy, quadratic.squares, rows, origin), origin
    return LocalQuadratic(g, energy, quadratic.squares, rows.T @ rows, origin), origin


def test_rows_say_what_moments_say(x64):
    (wide, _), (narrow, _) = (on_set(np.float64, kind) for kind in (RowQuadratic, LocalQuadratic))
    coef, columns = jnp.linspace(-1, 1, P), jnp.arange(P, dtype=jnp.int32)
    for ours, theirs in zip(wide.start(columns, coef), narrow.start(columns, coef), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("l2", [0.1, 1e-3, 0.0])  # of the last, a Gram matrix is factored after all
def test_the_elastic_net_of_a_wide_set(l2, positive, dtype):
    l1, strengths = jnp.full(P, 0.05, dtype), jnp.full(P, l2, dtype)
    tol = 1e-12 if dtype == np.float64 else 1e-5
    found = {}
    for kind, solver in (
        (RowQuadratic, WideFeatureSign(l1, strengths, positive, N)),
        (LocalQuadratic, FeatureSign(l1, strengths, positive)),
    ):
        quadratic, origin = on_set(dtype, kind)
        start = jnp.maximum(origin, 0) if positive else origin
        budget = Budget(tol * quadratic.energy, 60)
        found[kind] = jax.jit(solve)(Problem(None, quadratic, None, None), solver, start, budget=budget)
        assert int(found[kind].status) == CONVERGED
    ours, theirs = (f.params for f in found.values())
    X, y, w = data(dtype)

    def objective(b):
        return 0.5 * w @ jnp.square(y - X @ b) + l1 @ jnp.abs(b) + 0.5 * strengths @ jnp.square(b)

    assert abs(objective(ours) - objective(theirs)) <= 2 * tol * float(jnp.square(y).mean())
    if l2 == 0.1:  # strongly convex: so close are the solutions too
        np.testing.assert_allclose(ours, theirs, atol=2 * np.sqrt(2 * tol * float(jnp.square(y).mean()) / l2))
    assert int(found[RowQuadratic].n_steps) <= 2 * int(found[LocalQuadratic].n_steps) + 2


@pytest.mark.parametrize("l1_ratio", [0.1, 0.5, 1.0])
def test_paths_go_by_the_rows_of_wide_sets(l1_ratio, x64, monkeypatch):
    X, y, w = data(np.float64, n=60, p=400)
    alphas = np.geomspace(1, 0.03, 12) * float(jnp.abs(X.T @ (w * y)).max()) / l1_ratio
    model = GLM(penalty=ElasticNet(1.0, l1_ratio), tol=1e-10, max_steps=100, working_set=300)
    paths = {}
    for least in (10_000, 256):
        monkeypatch.setattr(wide_set, "LEAST_WIDE", least)
        assert is_wide(300, 60) == (least == 256)
        quadratic = column_quadratic(Dense(X), y, w)
        columns = jnp.arange(300, dtype=jnp.int32)
        of = type(quadratic.working(columns, (jnp.zeros(300), quadratic.correlation[:300], quadratic.energy)))
        assert of is (RowQuadratic if least == 256 else LocalQuadratic)
        paths[least] = jax.jit(lambda *rows: glm.path(model, *rows))(X, y, alphas)  # traced anew
        assert (paths[least].status == CONVERGED).all()
    energy = float(w @ jnp.square(y - y.mean()))
    f = [X @ path.coef.T for path in paths.values()]
    np.testing.assert_allclose(*f, atol=4 * np.sqrt(1e-10 * 60 * energy))


def test_concave_penalties_keep_their_gram_matrix(x64, monkeypatch):
    monkeypatch.setattr(wide_set, "LEAST_WIDE", 64)
    X, y, _ = data(np.float64)
    model = GLM(penalty=MCP(0.5, 3.0), tol=1e-8, max_steps=200, working_set=80)
    fitted = jax.jit(lambda *rows: glm.fit(model, *rows))(X, y)
    assert int(fitted.status) == CONVERGED


@pytest.mark.parametrize("count", [3, 50])  # columns that are gathered, and all
@pytest.mark.parametrize("targets", [(), (2,)])
def test_products_with_some_columns(count, targets, dtype):
    X, _, _ = data(dtype)
    columns = jnp.asarray(np.random.default_rng(0).permutation(P)[:count], jnp.int32)
    b = jnp.asarray(np.random.default_rng(1).standard_normal((count, *targets)), dtype)
    for design in (Dense(X), Dense(X).taken(jnp.arange(P, dtype=jnp.int32))):
        limit = 1e-12 if dtype == np.float64 else 1e-5
        np.testing.assert_allclose(design.matvec_at(columns, b), X[:, columns] @ b, rtol=limit, atol=limit)
    np.testing.assert_allclose(Dense(X).taken(columns).matvec_at(columns, b), X[:, columns] @ b, rtol=limit, atol=limit)
