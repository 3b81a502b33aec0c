"""Logistic and Poisson regression with an l1 part: minima, certificates, paths, derivatives, places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import sklearn.linear_model as peer

from jaxlearn.access.host import from_scipy
from jaxlearn.models import glm
from jaxlearn.models.glm import GLM
from jaxlearn.objectives import L1, ElasticNet, Gamma, Logistic, Poisson, Squared
from jaxlearn.solvers.solution import CONVERGED, OVERFLOW

RNG = np.random.default_rng(0)
X = RNG.standard_normal((150, 40)) + 1
F = X[:, :4].sum(1) - 4
Y = {"logistic": (RNG.logistic(size=150) < F).astype(float), "poisson": RNG.poisson(np.exp(F / 3)).astype(float)}
LOSSES = {"logistic": Logistic(), "poisson": Poisson()}
WEIGHT = RNG.integers(0, 3, 150).astype(float)


def model(loss, alpha, ratio=1.0, **options):
    options = {"tol": 1e-10, "max_steps": 100} | options
    return GLM(loss=LOSSES[loss], penalty=ElasticNet(alpha, ratio), **options)


def objective(loss, found, alpha, ratio, weight):
    """In double precision, by NumPy."""
    b = np.asarray(found.coef, float)
    f, y = X @ b + float(found.intercept), Y[loss]
    value = np.logaddexp(0, f) - y * f if loss == "logistic" else np.exp(f) - y * f
    return np.average(value, weights=weight) + alpha * (ratio * np.abs(b).sum() + (1 - ratio) / 2 * b @ b)


@pytest.mark.parametrize("ratio", [1.0, 0.4])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_optimality(loss, intercept, ratio, x64):
    """Subgradients by NumPy at the solution: zero on the support, within the strength elsewhere; so for weighted rows."""
    alpha = 0.03
    found = jax.jit(glm.fit)(model(loss, alpha, ratio, fit_intercept=intercept), X, Y[loss], WEIGHT)
    b, f = np.asarray(found.coef), X @ np.asarray(found.coef) + float(found.intercept)
    mean = 1 / (1 + np.exp(-f)) if loss == "logistic" else np.exp(f)
    slope = WEIGHT / WEIGHT.sum() * (mean - Y[loss])
    g = -X.T @ slope - alpha * (1 - ratio) * b
    assert found.status == CONVERGED
    np.testing.assert_allclose(g[b != 0], alpha * ratio * np.sign(b[b != 0]), atol=1e-5)
    assert (np.abs(g) <= alpha * ratio + 1e-5).all()
    assert 0 < (b != 0).sum() < 40
    if intercept:
        np.testing.assert_allclose(slope.sum(), 0, atol=1e-5)
    else:
        assert found.intercept == 0


def test_the_minimum_is_that_of_scikit_learn(x64):
    for ratio in (1.0, 0.5):
        theirs = peer.LogisticRegression(
            C=1 / (150 * 0.02), l1_ratio=ratio, solver="saga", tol=1e-9, max_iter=20_000
        ).fit(X, Y["logistic"])
        ours = glm.fit(model("logistic", 0.02, ratio), X, Y["logistic"])
        np.testing.assert_allclose(ours.coef, theirs.coef_[0], atol=1e-5)
        np.testing.assert_allclose(ours.intercept, theirs.intercept_[0], atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gap_bounds_the_error(loss, dtype):
    """At every stage; in single precision it is certified as well, without cancellation."""
    data = jnp.asarray(X, dtype), jnp.asarray(Y[loss], dtype)
    with jax.enable_x64(True):
        best = objective(loss, glm.fit(model(loss, 0.02, 0.8, tol=1e-13), X, Y[loss]), 0.02, 0.8, None)
    ulp = 100 * float(np.finfo(dtype).eps)
    for tol in (1.0, 1e-1, 1e-2, 1e-3, 1e-5):
        found = glm.fit(model(loss, 0.02, 0.8, tol=tol), *data)
        error = objective(loss, found, 0.02, 0.8, None) - best
        assert -ulp <= error <= float(found.residual) + ulp
    assert found.status == CONVERGED


@pytest.mark.parametrize("loss", [Squared(), Logistic(), Poisson()])
def test_divergence(loss, x64):
    """The Fenchel-Young gap of a gradient that is shrunk."""
    f = jnp.linspace(-3.0, 3.0, 13)
    for target in (0.0, 1.0, 0.3):
        for s in (0.0, 0.3, 0.999, 1.0):
            y = jnp.full_like(f, target)
            v = s * loss.gradient(y, f)
            expected = loss.value(y, f) + loss.conjugate(y, v) - v * f
            np.testing.assert_allclose(loss.divergence(y, f, s), expected, atol=1e-14)
            with jax.enable_x64(False):  # to its digits in single precision, where the terms cancel
                single = loss.divergence(*(jnp.asarray(a, "float32") for a in (y, f, s)))
            np.testing.assert_allclose(single, expected, rtol=1e-3, atol=1e-9)
    y = jnp.array([0.2, 0.7])
    np.testing.assert_allclose(loss.gradient(y, loss.link(y)), 0, atol=1e-14)


@pytest.mark.parametrize("loss", LOSSES)
def test_path(loss, x64):
    """As single fits; nothing is selected from `alpha_max` on; a full working set is said, and gone on from."""
    unit = model(loss, 1.0)
    highest = glm.alpha_max(unit, X, Y[loss])
    alphas = highest * jnp.array([1.0, 0.5, 0.2, 0.05])
    found = jax.jit(glm.path)(unit, X, Y[loss], alphas)
    assert (found.status == CONVERGED).all()
    assert (found.coef[0] == 0).all()
    assert (glm.fit(model(loss, 0.98 * highest), X, Y[loss]).coef != 0).any()
    for i in (1, 3):
        np.testing.assert_allclose(found.coef[i], glm.fit(model(loss, alphas[i]), X, Y[loss]).coef, atol=1e-5)
    small = glm.path(model(loss, 1.0, working_set=8), X, Y[loss], alphas)
    assert small.status.tolist() == [CONVERGED, CONVERGED, OVERFLOW, -1]
    np.testing.assert_allclose(small.coef[1], found.coef[1], atol=1e-5)
    rest = glm.path(unit, X, Y[loss], alphas, init=small.coef[1], first=2)
    np.testing.assert_allclose(rest.coef[2:], found.coef[2:], atol=1e-5)


def test_positive_and_weights_for_each_feature(x64):
    alpha = jnp.where(jnp.arange(40) < 2, 0.0, 0.03)
    free = glm.fit(GLM(loss=Logistic(), penalty=L1(alpha), tol=1e-10), X, Y["logistic"])
    assert (free.coef[:2] != 0).all()
    upward = GLM(loss=Logistic(), penalty=L1(0.01, positive=True), tol=1e-10, fit_intercept=False)
    up = glm.fit(upward, X, Y["logistic"])
    b = np.asarray(up.coef)
    g = X.T @ (Y["logistic"] - 1 / (1 + np.exp(-X @ b))) / 150
    assert up.status == CONVERGED
    assert (b >= 0).all()
    np.testing.assert_allclose(g[b > 0], 0.01, atol=1e-5)
    assert (g <= 0.01 + 1e-5).all()
    with pytest.raises(ValueError, match="takes `fit_intercept=False`"):
        GLM(loss=Logistic(), penalty=L1(0.01, positive=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_derivatives(loss, x64):
    """Of the strength, the rows and the weights, against central differences."""
    v, u = jnp.asarray(RNG.standard_normal(40)), RNG.standard_normal(X.shape)

    def value(alpha, X, w):
        found = glm.fit(model(loss, alpha, 0.9, tol=1e-14), X, Y[loss], w)
        return v @ found.coef + found.intercept

    at = jnp.asarray(0.03), jnp.asarray(X), jnp.asarray(WEIGHT + 1)
    by_alpha, by_rows, by_weights = jax.jit(jax.grad(value, (0, 1, 2)))(*at)
    eps = 1e-6
    alpha, rows, w = at
    np.testing.assert_allclose(
        by_alpha, (value(alpha + eps, rows, w) - value(alpha - eps, rows, w)) / (2 * eps), rtol=1e-4
    )
    change = (value(alpha, rows + eps * u, w) - value(alpha, rows - eps * u, w)) / (2 * eps)
    np.testing.assert_allclose(jnp.sum(by_rows * u), change, rtol=1e-4)
    change = (value(alpha, rows, w + eps * u[:, 0]) - value(alpha, rows, w - eps * u[:, 0])) / (2 * eps)
    np.testing.assert_allclose(by_weights @ u[:, 0], change, rtol=1e-4)


def test_sparse_rows_and_shards(x64):
    y = Y["logistic"]
    expected = glm.fit(model("logistic", 0.03), X, y, WEIGHT)
    sparse = glm.fit(model("logistic", 0.03), from_scipy(scipy.sparse.csr_matrix(X)), y, WEIGHT)
    np.testing.assert_allclose(sparse.coef, expected.coef, atol=1e-6)
    rows, target, w = (np.r_[a, a[:10]] for a in (X, y, np.r_[WEIGHT]))
    w[-10:] = 0
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    P = jax.sharding.PartitionSpec
    fit = lambda X, y, w: glm.fit(model("logistic", 0.03), X, y, w, axis_name="rows").coef  # noqa: E731
    specs = (P("rows"), P("rows"), P("rows"))
    found = jax.jit(jax.shard_map(fit, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False))(rows, target, w)
    np.testing.assert_allclose(found, expected.coef, atol=1e-6)


def test_other_losses_are_refused():
    with pytest.raises(ValueError, match="Tweedie takes the penalties NoPenalty and L2"):
        GLM(loss=Gamma(), penalty=L1(1.0))
    with pytest.raises(ValueError, match=r"Logistic with an l1 part takes \(n_samples,\)"):
        glm.fit(model("logistic", 1.0), X, np.eye(2)[Y["logistic"].astype(int)])
