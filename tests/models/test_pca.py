"""Principal components by every solver, wherever the rows lie, against a dense eigendecomposition in double precision."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.sharding import Mesh

from jaxlearn.access import Streamed
from jaxlearn.access.host import from_scipy
from jaxlearn.access.mesh import run_sharded, shard_rows
from jaxlearn.models import pca
from jaxlearn.models.pca import PCA

K = 4
MODELS = {
    "covariance_eigh": PCA(K),
    "full": PCA(K, solver="full"),
    "krylov": PCA(K, solver="krylov", block_size=3, max_steps=8, tol=1e-5),
    "uncentred": PCA(K, center=False),
}
every = pytest.mark.parametrize("name", MODELS)


def rows(dtype, n=96, p=24, mean=3.0):
    rng = np.random.default_rng(0)
    V = np.linalg.qr(rng.standard_normal((p, p)))[0]
    return (mean + (rng.standard_normal((n, p)) * 0.8 ** np.arange(p)) @ V.T).astype(dtype)


def exact(X, weight=None, center=True):
    X = np.asarray(X, np.float64)
    w = np.ones(len(X)) if weight is None else np.asarray(weight, np.float64)
    mean = w @ X / w.sum() if center else np.zeros(X.shape[1])
    C = (X - mean).T @ ((X - mean) * w[:, None]) / (w.sum() - center)
    values, vectors = np.linalg.eigh(C)
    return mean, values[::-1], vectors[:, ::-1].T


def check(name, fitted, X, weight=None):
    """Mean, spectrum and the subspace: to rounding, or to the tolerance of an iteration."""
    mean, values, vectors = exact(X, weight, center(name))
    tol = 300 * np.finfo(np.asarray(X).dtype).eps
    reached = max(tol, MODELS[name].tol) if MODELS[name].solver == "krylov" else tol
    assert int(fitted.status) == 0
    np.testing.assert_allclose(fitted.mean, mean, rtol=tol, atol=tol)
    np.testing.assert_allclose(fitted.explained_variance, values[:K], rtol=reached)
    np.testing.assert_allclose(fitted.total_variance, values.sum(), rtol=tol)
    V = np.asarray(fitted.components, np.float64)
    np.testing.assert_allclose(V @ V.T, np.eye(K), atol=tol)
    # an error e of an eigenvalue with a gap g to the others is an angle of about √(e / g), and a cosine of 1 − e / 2 g
    np.testing.assert_allclose(abs(np.sum(V * vectors[:K], axis=1)), 1, atol=4 * reached)
    assert (V[np.arange(K), abs(V).argmax(1)] > 0).all()


def center(name):
    return name != "uncentred"


@every
def test_solvers(name, dtype, count_compiles):
    X = rows(dtype)
    fit = jax.jit(pca.fit)
    check(name, fit(MODELS[name], X), X)
    with count_compiles() as compiled:
        fit(MODELS[name], X)
    assert compiled.count == 0, compiled.names


@every
def test_weights_are_repetitions(name, dtype):
    X = rows(dtype)
    weight = np.arange(len(X)) % 3
    fitted = jax.jit(pca.fit)(MODELS[name], X, weight)
    check(name, fitted, X, weight)
    check(name, fitted, np.repeat(X, weight, axis=0))


@every
def test_streamed_and_lanes(name, dtype):
    X = rows(dtype)
    check(name, pca.fit(MODELS[name], Streamed(np.split(X, 4))), X)
    weights = np.stack([np.ones(len(X)), np.arange(len(X)) % 2]).astype(dtype)
    lanes = jax.jit(jax.vmap(pca.fit, (None, None, 0)))(MODELS[name], X, weights)
    for i, weight in enumerate(weights):
        check(name, jax.tree.map(lambda leaf, i=i: leaf[i], lanes), X, weight)


def sharded_fit(data, model, axis_name=None):
    return pca.fit(model, *data, axis_name=axis_name)


@every
def test_sharded_rows_are_not_gathered(name, dtype):
    X = rows(
        dtype, n=384
    )  # more rows on each device than features, or a triangular factor would be as large as they are
    mesh = Mesh(np.asarray(jax.devices()), ("rows",))
    placed, _, weight = shard_rows(X, mesh=mesh)
    check(name, run_sharded(sharded_fit, mesh, "rows", (placed, weight), MODELS[name]), X)
    spec = jax.P("rows"), jax.P()
    body = jax.shard_map(
        partial(sharded_fit, axis_name="rows"), mesh=mesh, in_specs=spec, out_specs=jax.P(), check_vma=False
    )
    text = jax.jit(body).lower((placed, weight), MODELS[name]).compile().as_text()
    whole = f"[{len(X)},{X.shape[1]}]", f"[8,{len(X) // 8},{X.shape[1]}]"
    assert not [line for line in text.splitlines() if "all-gather" in line and any(shape in line for shape in whole)]


@pytest.mark.parametrize("name", ["covariance_eigh", "krylov"])
def test_sparse_rows_are_centred_without_becoming_dense(name, dtype):
    X = scipy.sparse.random_array((120, 24), density=0.2, rng=np.random.default_rng(1), dtype=dtype)
    X = scipy.sparse.csr_array(X * np.geomspace(1, 30, 24)[None].astype(dtype))
    design = from_scipy(X)
    fitted = jax.jit(pca.fit)(MODELS[name], design)
    check(name, fitted, X.toarray())
    expected = (X.toarray() - np.asarray(fitted.mean)) @ np.asarray(fitted.components).T
    np.testing.assert_allclose(pca.transform(fitted, design), expected, atol=1e3 * np.finfo(dtype).eps)


def test_a_mean_of_a_thousand_deviations_costs_no_digits():
    """float32: products of raw columns would lose six digits of the variance."""
    X = rows(np.float32, n=400, mean=1000.0)
    for model in MODELS.values():
        if model.center:
            np.testing.assert_allclose(pca.fit(model, X).explained_variance, exact(X)[1][:K], rtol=2e-5)


SPECTRA = {
    "exponential": np.exp(-np.arange(400) / 8),
    "1/i": 1 / np.arange(1, 401.0),
    "1/sqrt(i)": np.arange(1, 401.0) ** -0.5,
    "low rank and noise": np.r_[np.linspace(3, 1, 20), np.full(380, 0.05)],
    "spikes and bulk": np.r_[np.linspace(3, 1.2, 20), np.full(380, 0.9)],
}


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("block_size", [16, 30])
def test_krylov_reaches_what_its_tolerance_promises(spectrum, block_size):
    rng = np.random.default_rng(0)
    k, V = 20, np.linalg.qr(rng.standard_normal((400, 400)))[0]
    X = ((rng.standard_normal((1000, 400)) * SPECTRA[spectrum]) @ V.T).astype(np.float32)
    fitted = jax.jit(pca.fit)(PCA(k, solver="krylov", block_size=block_size, max_steps=13), X)
    assert int(fitted.status) == 0
    _, values, _ = exact(X)
    kept = np.asarray(fitted.components, np.float64)
    kept = np.linalg.eigvalsh(kept @ np.cov(X.astype(np.float64).T) @ kept.T)[::-1]
    assert 1 - kept.sum() / values[:k].sum() < 1e-4
    assert abs(fitted.explained_variance - values[:k]).max() < 1e-2 * values[k]


def test_round_trip_inside_a_compiled_step(dtype):
    X = rows(dtype)

    @jax.jit
    def step(X):
        fitted = pca.fit(PCA(X.shape[1]), X)
        return pca.inverse_transform(fitted, pca.transform(fitted, X))

    np.testing.assert_allclose(step(X), X, atol=1e3 * np.finfo(dtype).eps)


def test_bad_input():
    X = jnp.ones((6, 4))
    with pytest.raises(ValueError, match="`n_components=5` is more than the 4 features"):
        pca.fit(PCA(5), X)
    with pytest.raises(ValueError, match="more than the 3 rows"):
        pca.fit(PCA(4, solver="full"), X[:3])
    with pytest.raises(ValueError, match="`block_size \\* max_steps` = 320"):
        pca.fit(PCA(2, solver="krylov"), X)
    with pytest.raises(ValueError, match="`sample_weight` has shape"):
        pca.fit(PCA(2), X, jnp.ones(5))
    with pytest.raises(ValueError, match="expected one of"):
        PCA(2, solver="arpack")
    with pytest.raises(ValueError, match="at least 1"):
        PCA(0)


@every
def test_what_is_not_finite_is_a_status(name):
    X = jnp.asarray(rows(np.float32)).at[3, 2].set(jnp.nan)
    assert int(jax.jit(pca.fit)(MODELS[name], X).status) != 0


def test_constant_rows_have_components_and_no_variance(dtype):
    fitted = pca.fit(PCA(2), np.full((8, 5), 7, dtype))
    np.testing.assert_array_equal(fitted.explained_variance, 0)
    np.testing.assert_allclose(fitted.components @ fitted.components.T, np.eye(2), atol=1e-6)
