"""Quantile regression as a function: optimality, certificates, degenerate data, lanes, places, derivatives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxlearn.access import in_blocks, stream
from jaxlearn.access.host import from_scipy
from jaxlearn.models import quantile
from jaxlearn.models.quantile import Quantile
from jaxlearn.solvers import CONVERGED, MAX_STEPS, NONFINITE, STALLED, InteriorPoint

RNG = np.random.default_rng(0)
X = RNG.standard_normal((160, 6)) + 3
Y = X @ np.array([1.0, -2, 0, 0, 0.5, 0]) + RNG.standard_t(2, 160)
WEIGHT = RNG.integers(0, 4, 160).astype(float)
FIT = jax.jit(quantile.fit, static_argnames="axis_name")


def model(q=0.5, alpha=0.0, dtype=np.float64, **options):
    return Quantile(np.asarray(q, dtype), np.asarray(alpha, dtype), **options)


def objective(found, q, alpha, rows=X, y=Y, weight=None):
    """In double precision, by NumPy."""
    b = np.asarray(found.coef, float)
    r = np.asarray(y, float) - np.asarray(rows, float) @ b - float(found.intercept)
    return np.average(np.maximum(q * r, (q - 1) * r), weights=weight) + (alpha * np.abs(b)).sum()


def minimum(q, alpha, rows=X, y=Y, weight=None, fit_intercept=True):
    """By HiGHS."""
    from sklearn.linear_model import QuantileRegressor

    theirs = QuantileRegressor(quantile=q, alpha=alpha, fit_intercept=fit_intercept).fit(rows, y, weight)
    found = quantile.FittedQuantile(theirs.coef_, theirs.intercept_, None, None, None)
    return objective(found, q, alpha, rows, y, weight)


@pytest.mark.parametrize("alpha", [0.0, 1e-10, 1e-9, 1e-8, 0.05, 1e9])
@pytest.mark.parametrize("q", [0.1, 0.5, 0.98])
def test_minima_and_certificates(q, alpha, dtype):
    """The objective is that of HiGHS; the gap bounds what is left, and its units are those of the loss of a constant."""
    found = FIT(model(q, alpha, dtype), X.astype(dtype), Y.astype(dtype), WEIGHT.astype(dtype))
    constant = minimum(q, 1e9, weight=WEIGHT)
    left = objective(found, q, alpha, weight=WEIGHT) - minimum(q, alpha, weight=WEIGHT)
    assert found.status == CONVERGED
    assert 0 <= found.residual <= quantile.digits(dtype)
    rounding = 30 * np.finfo(dtype).eps  # of data that are rounded to the dtype
    assert -rounding * constant <= left <= (float(found.residual) + rounding) * constant
    assert found.coef.dtype == dtype


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.05])
def test_the_solution_is_a_vertex_with_a_dual(alpha, intercept, x64):
    """As many rows are met as coefficients are not zero, and slopes of these rows, within their bounds, balance the others."""
    q = 0.3
    found = FIT(model(q, alpha, fit_intercept=intercept), X, Y)
    columns = np.c_[X, np.ones(160)] if intercept else X
    b = np.r_[found.coef, found.intercept] if intercept else np.asarray(found.coef)
    r = Y - columns @ b
    met, used = np.abs(r) < 1e-10, b != 0
    assert met.sum() == used.sum()
    slope = np.where(r > 0, q, q - 1) / 160
    strength = np.r_[np.full(6, alpha), 0.0][: len(b)]
    missing = strength * np.sign(b) - columns[~met].T @ slope[~met]
    at_met = np.linalg.solve(columns[met][:, used].T, missing[used]) * 160
    assert ((q - 1 - 1e-9 <= at_met) & (at_met <= q + 1e-9)).all()
    slope[met] = at_met / 160
    assert (np.abs(columns.T @ slope) <= strength + 1e-9).all()
    if alpha:
        assert used[: len(found.coef)].sum() < 6


DEGENERATE = {
    "constant y": (X, 0 * Y + 3.3),
    "exact y": (X, X.sum(1)),
    "ties": (np.round(X), np.round(Y)),
    "repeated rows": (np.r_[X[:20], X[:20], X[:20]], np.r_[Y[:20], Y[:20], Y[:20]]),
    "repeated columns": (np.c_[X, X], Y),
    "constant columns": (np.full((160, 3), 7.1), Y),
    "a constant column": (np.c_[X, np.full(160, 1e4 + 0.1)], Y),
    "zeros": (0 * X, Y),
    "few rows": (X[:4], Y[:4]),
    "one row": (X[:1], Y[:1]),
    "scales": (X * 10.0 ** np.arange(-3, 3), Y),
    "outliers": (X, Y + 100 * RNG.standard_cauchy(160) ** 3),
}


@pytest.mark.parametrize("alpha", [0.0, 0.01])
@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_problems_end(case, alpha, dtype):
    rows, y = (a.astype(dtype) for a in DEGENERATE[case])
    for q in (0.5, 0.2):
        found = FIT(model(q, alpha, dtype), rows, y)
        assert np.isfinite(found.coef).all()
        assert np.isfinite(found.intercept)
        if dtype == np.float64:
            assert found.status == CONVERGED
            constant = minimum(q, 1e9, rows, y)
            np.testing.assert_allclose(
                objective(found, q, alpha, rows, y), minimum(q, alpha, rows, y), atol=1e-9 * constant + 1e-12
            )
        else:
            assert found.status in (CONVERGED, STALLED)
            assert found.residual < 1e-4


def test_single_precision_says_what_it_reached():
    wide = RNG.standard_normal((60, 120)).astype(np.float32)
    y = wide[:, :5].sum(1) + 0.1 * RNG.standard_normal(60).astype(np.float32)
    found = FIT(model(0.6, 0.02, np.float32, tol=np.float32(0)), wide, y)
    assert found.status == STALLED
    constant = minimum(0.6, 1e9, wide, y)
    left = objective(found, 0.6, 0.02, wide, y) - minimum(0.6, 0.02, wide, y)
    assert left <= float(found.residual) * constant + 1e-6
    assert found.residual < 3e-3
    assert found.n_steps < 40


def test_statuses(x64):
    assert FIT(model(max_steps=2), X, Y).status == MAX_STEPS
    assert FIT(model(), np.where(X > 5, np.nan, X), Y).status == NONFINITE


def test_weights_are_repeated_rows(x64):
    many = np.repeat(np.arange(160), WEIGHT.astype(int))
    for alpha in (0.0, 0.03):
        weighted, repeated = FIT(model(0.4, alpha), X, Y, WEIGHT), FIT(model(0.4, alpha), X[many], Y[many])
        np.testing.assert_allclose(weighted.coef, repeated.coef, atol=1e-11)
        odd, far = np.where((WEIGHT == 0)[:, None], 100 * X, X), np.where(WEIGHT == 0, 1e3 * Y, Y)
        np.testing.assert_allclose(FIT(model(0.4, alpha), odd, far, WEIGHT).coef, weighted.coef, atol=1e-11)
        order = RNG.permutation(160)
        np.testing.assert_allclose(
            FIT(model(0.4, alpha), X[order], Y[order], WEIGHT[order]).coef, weighted.coef, atol=1e-11
        )


def test_a_fan_is_one_program(x64, count_compiles):
    """Lanes over quantiles and strengths; each is the fit alone."""
    qs, alphas = np.array([0.1, 0.5, 0.9]), np.array([0.0, 0.02])
    one = lambda q, alpha: quantile.fit(Quantile(q, alpha), X, Y, WEIGHT)  # noqa: E731
    fan = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))
    with count_compiles() as compiled:
        found = fan(qs, alphas)
    assert compiled.count == 1, compiled.names
    for i, q in enumerate(qs):
        for j, alpha in enumerate(alphas):
            np.testing.assert_allclose(found.coef[i, j], FIT(model(q, alpha), X, Y, WEIGHT).coef, atol=1e-10)
    assert (found.status == CONVERGED).all()
    shares = np.asarray(
        [
            np.average(X @ b + c >= Y, weights=WEIGHT)
            for b, c in zip(found.coef[:, 0], found.intercept[:, 0], strict=True)
        ]
    )
    np.testing.assert_allclose(shares, qs, atol=0.05)
    strengths = np.array([0, 0, 1e9, 1e9, 0, 1e9])
    some = FIT(model(0.5, strengths), X, Y)
    np.testing.assert_allclose(some.coef[np.array([0, 1, 4])], FIT(model(0.5), X[:, [0, 1, 4]], Y).coef, atol=1e-10)
    assert (some.coef[np.array([2, 3, 5])] == 0).all()


@pytest.mark.parametrize("alpha", [0.0, 0.03])
def test_rows_may_lie_anywhere(alpha, x64):
    """Sparse, in blocks, over shards; rows that stream are refused."""
    sparse = np.where(RNG.random(X.shape) < 0.5, X, 0)
    asked = model(0.4, alpha)
    expected = FIT(asked, sparse, Y, WEIGHT)
    places = {
        "sparse": from_scipy(scipy.sparse.csr_array(sparse)),
        "blocks": in_blocks(jnp.asarray(sparse), unit=32, n_bytes=1),
    }
    for place in places.values():
        found = FIT(asked, place, Y, WEIGHT)
        np.testing.assert_allclose(found.coef, expected.coef, atol=1e-10)
        np.testing.assert_allclose(found.intercept, expected.intercept, atol=1e-10)
    mesh = Mesh(np.asarray(jax.devices()), ("rows",))
    body = partial(quantile.fit, asked, axis_name="rows")
    sharded = jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P("rows"), out_specs=P(), check_vma=False))
    np.testing.assert_allclose(sharded(sparse, Y, WEIGHT).coef, expected.coef, atol=1e-10)
    with pytest.raises(ValueError, match="takes rows in memory; got `Streamed`"):
        quantile.fit(asked, stream(sparse, block_size=40), Y)
    np.testing.assert_allclose(
        quantile.predict(expected, sparse), sparse @ np.asarray(expected.coef) + float(expected.intercept), rtol=1e-12
    )


def scalar(alpha, rows, y, weight, q=0.4):
    found = quantile.fit(Quantile(q, alpha), rows, y, weight)
    return jnp.sum(jnp.sin(found.coef)) + jnp.cos(found.intercept)


@pytest.mark.parametrize("alpha", [0.0, 0.03])
def test_derivatives_are_those_of_the_vertex(alpha, x64):
    """With respect to X and y against central differences; strengths, weights and quantile move nothing."""
    weight = 0.5 + RNG.random(160)
    f = jax.jit(scalar)
    gradients = jax.jit(jax.grad(scalar, argnums=(0, 1, 2, 3, 4)))(alpha, X, Y, weight, 0.4)
    for i in (1, 2):
        arguments = [alpha, X, Y, weight]
        step = 1e-7 * RNG.standard_normal(arguments[i].shape)
        above = f(*arguments[:i], arguments[i] + step, *arguments[i + 1 :])
        below = f(*arguments[:i], arguments[i] - step, *arguments[i + 1 :])
        assert float(jnp.sum(gradients[i] * step)) == pytest.approx(float(above - below) / 2, rel=1e-5), i
    assert gradients[0] == gradients[4] == 0
    assert (gradients[3] == 0).all()
    forward = jax.jvp(lambda y: scalar(alpha, X, y, weight), (Y,), (np.ones(160),))[1]
    assert float(forward) == pytest.approx(float(gradients[2].sum()), rel=1e-9)


def test_derivatives_that_are_not_there(x64):
    """NaN where the solution is not unique; refused under a mapped axis."""
    assert np.isnan(jax.grad(lambda y: quantile.fit(model(), X[:4], y).coef.sum())(Y[:4])).any()
    mesh = Mesh(np.asarray(jax.devices()), ("rows",))
    body = lambda rows, y: jax.grad(lambda y: quantile.fit(model(), rows, y, axis_name="rows").coef.sum())(y)  # noqa: E731
    with pytest.raises(ValueError, match="cannot be differentiated"):
        jax.shard_map(body, mesh=mesh, in_specs=P("rows"), out_specs=P("rows"), check_vma=False)(X, Y)


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match="use `vmap` over targets"):
        quantile.fit(Quantile(), X, np.c_[Y, Y])
    with pytest.raises(ValueError, match="expected 160 rows"):
        quantile.fit(Quantile(), X, Y[:-1])


def test_steps_are_few(x64):
    """Sqrt(n) is the bound of theory; predictor and corrector take what hardly grows with n, twenty or so."""
    assert InteriorPoint.needs == {"fold", "map"}
    for n in (100, 1000, 10_000):
        rows = RNG.standard_normal((n, 3))
        assert FIT(model(0.5), rows, rows.sum(1) + RNG.standard_normal(n)).n_steps <= 25
