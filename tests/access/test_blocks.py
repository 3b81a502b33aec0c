"""Sums over blocks of rows are the sums over rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.access.blocks import UNIT, Blocks, in_blocks
from jaxlearn.access.dense import Dense
from jaxlearn.access.design import PRESENT, Centered
from jaxlearn.linear_model import LogisticRegression, Ridge
from jaxlearn.models import glm
from jaxlearn.models.glm import GLM
from jaxlearn.objectives import L2, Logistic
from jaxlearn.solvers.newton import second_order

N, P = 12 * UNIT, 40


def rows(n=N, p=P):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p)) + 5
    return X, ((X - 5) @ rng.standard_normal(p) > 5 * rng.standard_normal(n)) * 1.0, rng.random(n)


def test_blocks_are_chosen_by_size(x64):
    X = jnp.asarray(rows()[0])
    blocks = in_blocks(X)
    assert isinstance(blocks, Blocks)
    assert N % blocks.size == 0
    assert blocks.size % UNIT == 0
    assert type(in_blocks(X[:-1])) is Dense
    assert type(in_blocks(X[:UNIT])) is Dense
    wide = in_blocks(jnp.zeros((7 * UNIT, 4000)))
    assert isinstance(wide, Blocks)
    assert wide.size == UNIT


@pytest.mark.parametrize("near_zero", [False, True])
def test_folds(x64, near_zero):
    X, y, w = (jnp.asarray(part) for part in rows())
    plain = Dense(X, None, near_zero)
    blocks = Blocks(X, None, near_zero, 2 * UNIT)
    location = plain.location()
    np.testing.assert_allclose(blocks.location(), location, rtol=1e-12)
    query = Logistic(), jnp.linspace(-0.1, 0.1, P)
    for ours, theirs in (
        (blocks, plain),
        (blocks.shifted(location), plain.shifted(location)),
        (Centered(blocks.shifted(location), location / 9), Centered(plain.shifted(location), location / 9)),
    ):
        for row_weights in (w, PRESENT):
            found, expected = (d.fold(second_order, query, y, row_weights) for d in (ours, theirs))
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-7), found, expected)
    twice = blocks.shifted(location / 2).shifted(location / 2)
    expected = plain.shifted(location).fold(second_order, query, y, w)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-7),
        twice.fold(second_order, query, y, w),
        expected,
    )


def test_products(x64):
    X, y, w = (jnp.asarray(part) for part in rows())
    plain = Dense(X).shifted(jnp.full(P, 5.0))
    blocks = Blocks(X, size=2 * UNIT).shifted(jnp.full(P, 5.0))
    b, columns, index = jnp.linspace(0, 1, P), jnp.array([3, 1]), jnp.array([5, 0, 99])
    for name, argument in {
        "matvec": b,
        "rmatvec": w,
        "gram": w,
        "squares": w,
        "energy": w,
        "take": columns,
        "some": index,
    }.items():
        found, expected = (getattr(d, name)(argument) for d in (blocks, plain))
        found, expected = (d.X if isinstance(d, Dense) else d for d in (found, expected))
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    largest = lambda _, X, w: jnp.max(X.entries)  # noqa: E731
    merged = blocks.fold(largest, None, w, merge=lambda parts: parts.max(0))
    np.testing.assert_allclose(merged, X.max() - 5)


def test_what_draws_rows_is_not_cut(x64):
    """A sample of a block is not a block of a sample: a lift that draws sees all rows that are at hand."""
    blocks, count = Blocks(jnp.ones((N, 2)), size=UNIT), lambda _, X, w: jnp.array(X.shape[0])
    assert int(blocks.fold(count, None, jnp.ones(N), whole=True)) == N
    assert int(Centered(blocks, jnp.ones(2)).fold(count, None, jnp.ones(N), whole=True)) == N
    seen = []

    def spy(_, X, w):
        seen.append(X.shape[0])
        return w.sum()

    blocks.fold(spy, None, jnp.ones(N))
    assert set(seen) == {UNIT}


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_fits(x64, solver):
    X, y, w = (jnp.asarray(part) for part in rows())
    model = GLM(loss=Logistic(), penalty=L2(0.01), tol=1e-10, solver=solver)
    found, expected = (jax.jit(glm.fit)(model, design, y, w) for design in (Blocks(X, size=3 * UNIT), Dense(X)))
    np.testing.assert_allclose(found.coef, expected.coef, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.intercept, expected.intercept, rtol=1e-7)


def test_lanes_over_blocks(x64):
    X, y, w = (jnp.asarray(part) for part in rows())
    fit = lambda alpha, design: glm.fit(GLM(penalty=L2(alpha)), design, y, w).coef  # noqa: E731
    alphas = jnp.array([0.1, 1.0])
    found = jax.vmap(fit, (0, None))(alphas, Blocks(X, size=UNIT))
    np.testing.assert_allclose(found, jax.vmap(fit, (0, None))(alphas, Dense(X)), rtol=1e-9)


@pytest.mark.parametrize("model", [Ridge(), LogisticRegression(solver="newton-cholesky"), Ridge(solver="svd")])
def test_shards_in_blocks(model, x64):
    """Each shard folds its own rows in blocks, and no row moves."""
    from jax.sharding import Mesh

    from jaxlearn.access import shard_rows

    X, y, _ = rows(8 * 12 * UNIT)
    mesh = Mesh(np.array(jax.devices()), ("rows",))
    expected = model.fit(X, y).coef_.copy()
    placed = shard_rows(X, mesh=mesh)[0]
    np.testing.assert_allclose(model.fit(placed, y).coef_, expected, rtol=1e-6, atol=1e-9)
