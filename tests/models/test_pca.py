"""Principal components by every solver, wherever the rows lie, against a dense eigendecomposition in double precision."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.sharding import Mesh

from jaxlearn.access import stream
from jaxlearn.access.host import from_scipy
from jaxlearn.access.mesh import run_sharded, shard_rows
from jaxlearn.models import pca
from jaxlearn.models.pca import PCA
from jaxlearn.solvers.solution import MAX_STEPS, UNSHUFFLED

K = 4
MODELS = {
    "covariance_eigh": PCA(K),
    "full": PCA(K, solver="full"),
    "krylov": PCA(K, solver="krylov", block_size=3, max_steps=8, tol=1e-5),
    "randomized": PCA(K, solver="randomized", block_size=8, max_steps=60, tol=1e-5),
    "onepass": PCA(K, solver="onepass", block_size=12),
    "uncentred": PCA(K, center=False),
}
# relative to an eigenvalue; other solvers are exact but for rounding
REACHED = {"krylov": 1e-5, "randomized": 1e-5, "onepass": 2e-3}
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
    reached = max(tol, REACHED.get(name, 0))
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
    check(name, pca.fit(MODELS[name], stream(X, block_size=len(X) // 4)), X)
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


@pytest.mark.parametrize(("solver", "size"), [("krylov", 8), ("randomized", 8), ("onepass", 12)])
def test_shards_send_a_block_of_columns(solver, size):
    """Nothing that grows with the rows: p l numbers at most in any message, for a pass."""
    X, mesh = rows(np.float32, n=8 * 512, p=64), Mesh(np.asarray(jax.devices()), ("rows",))
    placed, _, weight = shard_rows(X, mesh=mesh)
    model = PCA(K, solver=solver, block_size=size, max_steps=5)
    body = jax.shard_map(
        partial(sharded_fit, axis_name="rows"),
        mesh=mesh,
        in_specs=(jax.P("rows"), jax.P()),
        out_specs=jax.P(),
        check_vma=False,
    )
    text = jax.jit(body).lower((placed, weight), model).compile().as_text()
    sent = re.findall(r"= (.*) (?:all-reduce|all-gather|all-to-all|collective-permute)\(", text)
    shapes = re.findall(r"\w\d+\[([\d,]*)\]", " ".join(sent))
    numbers = [np.prod([int(n) for n in shape.split(",") if n], initial=1) for shape in shapes]
    assert numbers
    if solver == "onepass":  # each device gives its own directions to all, once
        assert max(numbers) <= len(jax.devices()) * X.shape[1] * size
    else:
        assert max(numbers) <= X.shape[1] * size


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
    with pytest.raises(ValueError, match="`block_size \\* max_steps` = 320"):
        pca.fit(PCA(2, solver="krylov", block_size=16, max_steps=20), X)
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


def spectrum_rows(n, spectrum, seed=0, mean=0.0):
    rng = np.random.default_rng(seed)
    V = np.linalg.qr(rng.standard_normal((len(spectrum), len(spectrum))))[0]
    return (mean + (rng.standard_normal((n, len(spectrum))) * spectrum) @ V.T).astype(np.float32)


def lost(fitted, X, k):
    """1 − the variance kept, over the most that k components keep."""
    C = np.cov(np.asarray(X, np.float64).T)
    V = np.asarray(fitted.components, np.float64)
    return 1 - np.trace(V @ C @ V.T) / np.linalg.eigvalsh(C)[::-1][:k].sum()


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_one_pass_of_shuffled_rows(spectrum):
    k, X = 20, spectrum_rows(8000, SPECTRA[spectrum])
    rows = stream(X, block_size=1000)
    fitted = pca.fit(PCA(k, solver="onepass"), rows)
    assert rows.reader.n_passes == int(fitted.n_passes) == 1
    assert int(fitted.status) == 0
    assert float(fitted.residual) < 1
    assert lost(fitted, X, k) < 1e-3
    V = np.asarray(fitted.components, np.float64)
    np.testing.assert_allclose(V @ V.T, np.eye(k), atol=1e-5)
    np.testing.assert_allclose(fitted.mean, X.mean(0, dtype=np.float64), atol=1e-6)
    np.testing.assert_allclose(fitted.total_variance, np.var(X.astype(np.float64), axis=0, ddof=1).sum(), rtol=1e-5)


@pytest.mark.parametrize("kind", ["by mean", "by spread"])
def test_sorted_rows_are_detected_and_read_again(kind):
    k, X = 6, spectrum_rows(4000, 1 / np.arange(1, 61.0))
    first = X @ np.linalg.eigh(np.cov(X.T))[1][:, -1]
    X = X[np.argsort(first if kind == "by mean" else abs(first))]
    rows = stream(X, block_size=400)
    fitted = pca.fit(PCA(k, solver="onepass"), rows)
    assert int(fitted.status) == 0
    assert rows.reader.n_passes == int(fitted.n_passes) > 1
    assert lost(fitted, X, k) < 1e-4
    once = pca.fit(PCA(k, solver="onepass"), stream(iter(np.split(X, 10)), block_size=400))
    assert int(once.status) == UNSHUFFLED
    assert float(once.residual) > 1
    assert lost(once, X, k) < 0.05  # what was found is still of use


def test_shuffled_rows_are_not_suspected():
    """Also not those of few blocks, of heavy tails, or of weights that are no counts."""
    rng = np.random.default_rng(0)
    for trial in range(20):
        X = rng.standard_t(5, (600, 10)).astype(np.float32) * np.linspace(3, 1, 10, dtype=np.float32)
        weight = None if trial % 2 else rng.random(600).astype(np.float32)
        rows = stream(X, block_size=600 // (2 + trial % 5))
        assert float(pca.fit(PCA(2, solver="onepass"), rows, weight).residual) < 1


def test_blocks_and_their_order_do_not_matter():
    X = spectrum_rows(2000, 1 / np.arange(1, 41.0))
    for solver, tol in (("onepass", 1e-3), ("covariance_eigh", 1e-6), ("full", 1e-5), ("krylov", 1e-3)):
        fits = [
            pca.fit(PCA(5, solver=solver), stream(rows, block_size=size))
            for rows, size in ((X, 500), (X, 77), (X[::-1], 500), (X, 4000))
        ]
        for other in fits[1:]:
            np.testing.assert_allclose(other.explained_variance, fits[0].explained_variance, rtol=5 * tol)


@pytest.mark.parametrize("solver", ["krylov", "randomized"])
def test_what_needs_two_passes_says_so_before_any(solver):
    given = []

    def blocks():
        for block in np.split(spectrum_rows(400, 1 / np.arange(1, 41.0)), 4):
            given.append(len(block))
            yield block

    rows = stream(blocks(), block_size=100)
    given.clear()
    with pytest.raises(ValueError, match="reads the rows several times"):
        pca.fit(PCA(5, solver=solver), rows)
    assert not given


def test_gram_keeps_the_digits_of_small_eigenvalues(x64):
    """float32 rows with a mean of a thousand deviations: λ_i ≥ 1e-5 λ_1 to 1e-5, in memory and streamed."""
    X = spectrum_rows(4000, 10.0 ** -np.linspace(0, 3, 40), mean=1000.0)
    values = np.linalg.eigvalsh(np.cov(X.astype(np.float64).T))[::-1]
    known = values >= 1e-5 * values[0]
    assert 20 < known.sum() < 40
    for rows in (X, stream(X, block_size=300)):
        fitted = pca.fit(PCA(40), rows)
        np.testing.assert_allclose(fitted.explained_variance[known], values[known], rtol=1e-5)


def test_as_many_components_as_explain_a_share():
    X = spectrum_rows(3000, np.exp(-np.arange(600) / 20.0))
    for rows in (X, stream(X, block_size=500)):
        fitted = jax.device_get(pca.fit(PCA(100, solver="krylov", explained=0.9), rows))
        assert fitted.status == 0
        ratio = np.cumsum(fitted.explained_variance) / fitted.total_variance
        _, values, _ = exact(X)
        assert np.searchsorted(ratio, 0.9) == np.searchsorted(np.cumsum(values) / values.sum(), 0.9)
    short = pca.fit(PCA(5, solver="krylov", explained=0.9), X)
    assert int(short.status) == MAX_STEPS


@pytest.mark.parametrize("name", ["covariance_eigh", "full", "krylov", "onepass"])
def test_derivatives(name, x64):
    rng = np.random.default_rng(0)
    X = jnp.asarray(rng.standard_normal((30, 12)) * np.r_[5, 4, 3.2, 2.5, np.full(8, 0.3)])
    weight = jnp.asarray(rng.random(30) + 0.5)
    model = {
        "krylov": PCA(K, solver="krylov", block_size=4, max_steps=3, tol=1e-20),
        "onepass": PCA(K, solver="onepass", block_size=12),
    }.get(name, PCA(K, solver=name))

    def loss(X, weight):
        fitted = pca.fit(model, X, weight)
        rebuilt = pca.inverse_transform(fitted, pca.transform(fitted, X))
        return jnp.sin(rebuilt).sum() + fitted.explained_variance.sum() + fitted.total_variance

    def expected(X, weight):
        mean, total = weight @ X / weight.sum(), weight.sum() - 1
        rows = jnp.sqrt(weight)[:, None] * (X - mean[None])
        _, s, Vt = jnp.linalg.svd(rows, full_matrices=False)
        rebuilt = (X - mean[None]) @ Vt[:K].T @ Vt[:K] + mean[None]
        return jnp.sin(rebuilt).sum() + (s[:K] ** 2).sum() / total + (rows**2).sum() / total

    for ours, theirs in zip(jax.grad(loss, (0, 1))(X, weight), jax.grad(expected, (0, 1))(X, weight), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-8 * abs(theirs).max())


def test_a_mapped_fit_is_not_differentiated():
    X = jnp.asarray(rows(np.float32)).reshape(4, 24, 24)
    fit = jax.vmap(lambda X: pca.fit(PCA(2), X, axis_name="rows").explained_variance.sum(), axis_name="rows")
    with pytest.raises(ValueError, match="cannot be differentiated"):
        jax.grad(lambda X: fit(X).sum())(X)


def test_equal_eigenvalues():
    """Any basis of their space will do, and all of them are found."""
    X = np.repeat(np.eye(80, dtype=np.float32)[:40] * 3, 3, axis=0)
    fitted = pca.fit(PCA(10, solver="krylov", block_size=4, max_steps=15, center=False), X)
    np.testing.assert_allclose(fitted.explained_variance, 27 / len(X), rtol=1e-4)
    np.testing.assert_allclose(fitted.components @ fitted.components.T, np.eye(10), atol=1e-5)
