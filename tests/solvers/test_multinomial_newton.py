"""Multinomial regression with an l1 part: minima, certificates, paths, derivatives, places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import sklearn.linear_model as peer

from jaxlearn.access.host import from_scipy
from jaxlearn.linear_model import LogisticRegression
from jaxlearn.models import glm
from jaxlearn.models.glm import GLM
from jaxlearn.objectives import L1, ElasticNet, Multinomial
from jaxlearn.solvers.multinomial_newton import pair_hessian
from jaxlearn.solvers.solution import CONVERGED, OVERFLOW

RNG = np.random.default_rng(0)
N, P = 120, 10
X = RNG.standard_normal((N, P)) + 1
F = (X[:, :4] - 1) @ (2 * RNG.standard_normal((4, 4)))
CODES = {k: (F[:, :k] + RNG.gumbel(size=(N, k))).argmax(1) for k in (3, 4)}
Y = {k: np.eye(k)[codes] for k, codes in CODES.items()}
WEIGHT = RNG.integers(0, 3, N).astype(float)
ALPHA = 0.02
fit = jax.jit(glm.fit)


def model(ratio=1.0, alpha=ALPHA, **options):
    # numbers as arrays: one program for all of them
    options = {"tol": 1e-11, "max_steps": 100} | options
    options["tol"] = jnp.asarray(options["tol"])
    return GLM(Multinomial(), ElasticNet(jnp.asarray(alpha), jnp.asarray(ratio)), **options)


def log_probabilities(coef, intercept):
    f = X @ np.asarray(coef, float) + np.asarray(intercept, float)[None]
    return f - np.logaddexp.reduce(f, axis=1, keepdims=True)


def objective(coef, intercept, ratio, weight=None, y=Y[3]):
    """In double precision, by NumPy."""
    loss = -(y * log_probabilities(coef, intercept)).sum(1)
    b = np.asarray(coef, float)
    return np.average(loss, weights=weight) + ALPHA * (ratio * np.abs(b).sum() + (1 - ratio) / 2 * (b * b).sum())


@pytest.mark.parametrize("ratio", [1.0, 0.4])
@pytest.mark.parametrize("intercept", [True, False])
def test_the_minimum_is_that_of_scikit_learn(intercept, ratio, x64):
    """For weighted rows: the objective, the zeros, and the subgradients by NumPy."""
    found = fit(model(ratio, fit_intercept=intercept), X, Y[3], WEIGHT)
    theirs = peer.LogisticRegression(
        C=1 / (WEIGHT.sum() * ALPHA), l1_ratio=ratio, solver="saga", tol=1e-9, max_iter=20_000, fit_intercept=intercept
    ).fit(X, CODES[3], WEIGHT)
    assert found.status == CONVERGED
    least = objective(theirs.coef_.T, theirs.intercept_, ratio, WEIGHT)
    assert objective(found.coef, found.intercept, ratio, WEIGHT) <= least + 1e-9
    np.testing.assert_allclose(found.coef, theirs.coef_.T, atol=1e-5)
    np.testing.assert_allclose(found.intercept, theirs.intercept_ - theirs.intercept_.mean(), atol=1e-5)
    np.testing.assert_array_equal(np.asarray(found.coef) != 0, theirs.coef_.T != 0)
    assert 0 < (found.coef != 0).sum() < 3 * P
    slope = (WEIGHT / WEIGHT.sum())[:, None] * (np.exp(log_probabilities(found.coef, found.intercept)) - Y[3])
    b = np.asarray(found.coef)
    g = -X.T @ slope - ALPHA * (1 - ratio) * b
    np.testing.assert_allclose(g[b != 0], ALPHA * ratio * np.sign(b[b != 0]), atol=1e-7)
    assert (np.abs(g) <= ALPHA * ratio + 1e-7).all()
    if intercept:
        np.testing.assert_allclose(slope.sum(0), 0, atol=1e-7)
        np.testing.assert_allclose(found.intercept.sum(), 0, atol=1e-12)
    else:
        assert (found.intercept == 0).all()


def test_the_gap_bounds_the_error(dtype):
    """At every stage; in single precision it is certified as well, without cancellation."""
    data = jnp.asarray(X, dtype), jnp.asarray(Y[3], dtype)
    with jax.enable_x64(True):
        found = fit(model(0.8, tol=1e-13), X, Y[3], np.ones(N))
        best = objective(found.coef, found.intercept, 0.8)
    ulp = 100 * float(np.finfo(dtype).eps)
    gaps = []
    for tol in (1.0, 1e-1, 1e-2, 1e-3, 1e-5):
        found = fit(model(0.8, tol=tol), *data, jnp.ones(N, dtype))
        error = objective(found.coef, found.intercept, 0.8) - best
        assert -ulp <= error <= float(found.residual) + ulp
        gaps.append(float(found.residual))
    assert found.status == CONVERGED
    assert gaps[0] > 0.1 > 1e-5 > gaps[-1]


def test_divergence(x64):
    """The Fenchel-Young gap of a gradient that is shrunk, to its digits in single precision too."""
    loss, f = Multinomial(), jnp.asarray(3 * RNG.standard_normal((20, 3)))
    for y in (jnp.asarray(Y[3][:20]), jnp.full((20, 3), 1 / 3)):
        for s in (0.0, 0.3, 0.999, 1.0):
            v = s * loss.gradient(y, f)
            expected = loss.value(y, f) + loss.conjugate(y, v) - (v * f).sum(1)
            np.testing.assert_allclose(loss.divergence(y, f, s), expected, atol=1e-14)
            with jax.enable_x64(False):
                single = loss.divergence(*(jnp.asarray(a, "float32") for a in (y, f, s)))
            np.testing.assert_allclose(single, expected, rtol=1e-3, atol=1e-9)
    mean = jnp.array([0.2, 0.5, 0.3])
    np.testing.assert_allclose(loss.gradient(mean[None], loss.link(mean)[None]), 0, atol=1e-14)


def test_hessian_of_pairs(x64):
    b, w = jnp.asarray(RNG.standard_normal((P, 3))), jnp.asarray(WEIGHT)
    value = lambda flat: w @ Multinomial().value(jnp.asarray(Y[3]), jnp.asarray(X) @ flat.reshape(P, 3))  # noqa: E731
    features, classes = np.divmod(np.arange(3 * P, dtype=np.int32), 3)
    found = pair_hessian(jnp.asarray(X)[:, features].T, jnp.asarray(classes), jax.nn.softmax(X @ b, axis=1), w)
    np.testing.assert_allclose(found, jax.hessian(value)(b.ravel()), atol=1e-10)


@pytest.mark.slow
def test_path(x64):
    """As single fits; nothing is selected from `alpha_max` on; a full working set is said, and gone on from."""
    unit = model(alpha=1.0)
    highest = glm.alpha_max(unit, X, Y[3])
    alphas = highest * jnp.array([1.0, 0.5, 0.2, 0.05])
    found = jax.jit(glm.path)(unit, X, Y[3], alphas)
    assert (found.status == CONVERGED).all()
    assert found.coef.shape == (4, P, 3)
    assert (found.coef[0] == 0).all()
    one = np.ones(N)
    assert (fit(model(alpha=0.98 * highest), X, Y[3], one).coef != 0).any()
    for i in (1, 3):
        alone = fit(model(alpha=alphas[i]), X, Y[3], one)
        np.testing.assert_allclose(found.coef[i], alone.coef, atol=1e-6)
        np.testing.assert_allclose(found.intercept[i], alone.intercept, atol=1e-6)
    held = int((found.coef[1] != 0).sum()) + 2
    assert held < (found.coef[2] != 0).sum()
    small = jax.jit(glm.path)(model(alpha=1.0, working_set=held), X, Y[3], alphas)
    assert small.status.tolist() == [CONVERGED, CONVERGED, OVERFLOW, -1]
    np.testing.assert_allclose(small.coef[1], found.coef[1], atol=1e-6)
    rest = jax.jit(glm.path)(unit, X, Y[3], alphas, init=small.coef[1], first=2)
    np.testing.assert_allclose(rest.coef[2:], found.coef[2:], atol=1e-6)


@pytest.mark.parametrize("size", [pytest.param(None, marks=pytest.mark.slow), 14])
def test_derivatives(size, x64):
    """Of the strength, the rows and the weights, against central differences, with all pairs and with a working set."""
    v, u = jnp.asarray(RNG.standard_normal((P, 3))), jnp.array([1.0, -2.0, 0.5])
    at = jnp.asarray(0.05), jnp.asarray(X), jnp.asarray(WEIGHT + 1)

    def value(alpha, X, w):
        found = glm.fit(model(0.9, alpha, tol=1e-14, working_set=size), X, Y[3], w)
        return (v * found.coef).sum() + u @ found.intercept

    both, eps = jax.jit(jax.value_and_grad(value, (0, 1, 2))), 1e-6
    for i, gradient in enumerate(both(*at)[1]):
        change = eps * jnp.asarray(RNG.standard_normal(at[i].shape))
        above, below = (both(*at[:i], at[i] + step, *at[i + 1 :])[0] for step in (change, -change))
        np.testing.assert_allclose(jnp.sum(gradient * change) / eps, (above - below) / (2 * eps), rtol=1e-4)


def test_of_several_minima_one_with_more_zeros(x64):
    """Four classes, two up and two down by one feature: a constant for all classes changes neither loss nor penalty."""
    rows, y = np.repeat(np.eye(2) - 0.5, 40, 0)[:, :1], np.eye(4)[np.r_[np.arange(40) % 2, 2 + np.arange(40) % 2]]
    found = fit(model(alpha=0.05, fit_intercept=False), rows, y, np.ones(80))
    b = np.asarray(found.coef)[0]
    assert found.status == CONVERGED
    assert (b != 0).sum() == 2 or (b != 0).sum() == 3
    g = rows.T @ (y - np.asarray(glm.predict(found, rows))) / 80
    np.testing.assert_allclose(np.abs(g), 0.05, atol=1e-6)


def test_positive_and_weights_for_each_feature(x64):
    strengths = np.where(np.arange(P) < 2, 0.0, 0.05)
    free = fit(GLM(Multinomial(), L1(strengths), tol=1e-10), X, Y[3], np.ones(N))
    assert free.status == CONVERGED
    assert (free.coef[:2] != 0).all()
    np.testing.assert_allclose(free.coef[:2].sum(1), 0, atol=1e-10)
    up = fit(GLM(Multinomial(), L1(ALPHA, positive=True), tol=1e-10, fit_intercept=False), X, Y[3], np.ones(N))
    b = np.asarray(up.coef)
    g = X.T @ (Y[3] - np.exp(log_probabilities(b, np.zeros(3)))) / N
    assert up.status == CONVERGED
    assert (b >= 0).all()
    np.testing.assert_allclose(g[b > 0], ALPHA, atol=1e-5)
    assert (g <= ALPHA + 1e-5).all()


def test_a_class_without_rows(dtype):
    """Is given no probability, with a certificate; the others are as without it."""
    three, rows, one = jnp.asarray(np.c_[Y[3], np.zeros(N)], dtype), jnp.asarray(X, dtype), jnp.ones(N, dtype)
    tol = 1e-5 if dtype == np.float32 else 1e-9
    found = fit(model(tol=tol), rows, three, one)
    assert found.status == CONVERGED
    assert (glm.predict(found, rows)[:, 3] < 10 * np.finfo(dtype).eps).all()
    loss = -(Y[3] * np.log(np.asarray(glm.predict(found, rows), float)[:, :3])).sum(1).mean()
    alone = fit(model(tol=tol), rows, three[:, :3], one)
    least = objective(alone.coef, alone.intercept, 1.0)
    assert loss + ALPHA * np.abs(np.asarray(found.coef, float)).sum() <= least + 2 * float(found.residual) + 1e-6


@pytest.mark.slow
def test_sparse_rows_shards_and_lanes(x64):
    expected = fit(model(), X, Y[3], WEIGHT).coef
    sparse = fit(model(), from_scipy(scipy.sparse.csr_matrix(X)), Y[3], WEIGHT).coef
    np.testing.assert_allclose(sparse, expected, atol=1e-6)
    lanes = jax.jit(jax.vmap(glm.fit, (None, None, None, 0)))(model(), X, Y[3], np.stack([np.ones(N), WEIGHT])).coef
    np.testing.assert_allclose(lanes[1], expected, atol=1e-6)
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec
    part = lambda X, y, w: glm.fit(model(), X, y, w, axis_name="rows").coef  # noqa: E731
    split = jax.shard_map(part, mesh=mesh, in_specs=(spec("rows"),) * 3, out_specs=spec(), check_vma=False)
    np.testing.assert_allclose(jax.jit(split)(X, Y[3], WEIGHT), expected, atol=1e-6)


def test_an_estimator_whose_working_set_grows():
    """More pairs than are taken together, and a start from the fit before."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((100, 90))
    labels = (rows @ rng.standard_normal((90, 3)) / 4 + rng.gumbel(size=(100, 3))).argmax(1)
    ours = LogisticRegression(C=2.0, l1_ratio=0.7, tol=1e-6, warm_start=True).fit(rows, labels)
    theirs = peer.LogisticRegression(C=2.0, l1_ratio=0.7, solver="saga", tol=1e-7, max_iter=10_000).fit(rows, labels)
    assert ours.converged_
    assert ours.solver_ == "prox-newton"
    assert 64 < np.count_nonzero(ours.coef_) < 270
    np.testing.assert_allclose(ours.predict_proba(rows), theirs.predict_proba(rows), atol=1e-3)
    before = ours.n_iter_[0]
    assert ours.fit(rows, labels).n_iter_[0] < before


def test_y_must_be_one_hot():
    with pytest.raises(ValueError, match=r"Multinomial with an l1 part takes \(n_samples, n_classes\)"):
        glm.fit(model(), X, CODES[3])


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("ratio", [1e-3, 0.03])
def test_single_precision_certifies_small_shares(ratio, intercept):
    """No correlation keeps within l1 strengths that are as good as none; the bound by strong convexity holds all the same."""
    rows, y = X.astype(np.float32), Y[3].astype(np.float32)
    found = fit(model(ratio, fit_intercept=intercept, tol=1e-5), rows, y, np.ones(N, np.float32))
    assert found.status == CONVERGED
    with jax.enable_x64(True):
        exact = fit(model(ratio, fit_intercept=intercept), X, Y[3], np.ones(N))
    error = objective(found.coef, found.intercept, ratio) - objective(exact.coef, exact.intercept, ratio)
    assert -1e-9 < error <= found.residual + 1e-6


def test_many_rows_as_many_classes(x64):
    """The unit of the tolerance is what the intercepts leave: with wrong ones no fit would end."""
    rows = np.tile(X, (10, 5)) + RNG.standard_normal((10 * N, 5 * P))
    found = fit(model(tol=1e-6, working_set=160), rows, np.tile(Y[3], (10, 1)), init=np.zeros((5 * P, 3)))
    assert found.status == CONVERGED
    assert found.residual <= 1e-6 * np.log(3)
