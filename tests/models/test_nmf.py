"""Non-negative factors as a pure function: parity, weights, order, transformations, designs, precisions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import sklearn.decomposition as sk
from sklearn.decomposition._nmf import _initialize_nmf

from jaxlearn.access import Dense, stream
from jaxlearn.access.host import from_scipy, split_rows
from jaxlearn.models import nmf, online_nmf
from jaxlearn.models._nmf_init import first_factors
from jaxlearn.models.nmf import NMF

N, P, K = 96, 20, 4
fit = jax.jit(nmf.fit, static_argnames=("init", "axis_name"))


def mixtures(zeros=0.0, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.gamma(0.5, size=(N, K)) @ rng.gamma(0.5, size=(K, P))
    X = np.maximum(X + 0.05 * X.std() * rng.standard_normal(X.shape), 0)
    return np.where(rng.random(X.shape) < zeros, 0, X)


def objective(X, W, H, model):
    """In scikit-learn's scale, where the penalty of H is that of all rows."""
    W, H = np.asarray(W, np.float64), np.asarray(H, np.float64)
    l1, l2 = model.l1_ratio, 0.5 * (1 - model.l1_ratio)
    omega = [alpha * (l1 * A.sum() + l2 * np.square(A).sum()) for alpha, A in ((model.alpha_W, W), (model.alpha_H, H))]
    return 0.5 * np.square(X - W @ H).sum() + omega[0] + len(X) * omega[1]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of the peer, after 2000 iterations
@pytest.mark.parametrize("alpha", [0.0, 0.05])
@pytest.mark.parametrize("init", ["nndsvda", "random"])
def test_objective_is_that_of_scikit_learn(alpha, init, dtype):
    X = mixtures().astype(dtype)
    model = NMF(K, alpha_W=alpha, alpha_H=alpha / P, l1_ratio=0.5, max_steps=400, tol=1e-5)
    start = _initialize_nmf(X, K, init=init, random_state=0)
    ours = nmf.fit(model, X, init=start)
    peer = sk.NMF(K, init="custom", alpha_W=alpha / P, alpha_H=alpha / P, l1_ratio=0.5, max_iter=2000, tol=1e-6)
    W = peer.fit_transform(X, W=start[0].copy(), H=start[1].copy())
    assert objective(X, ours.codes, ours.components, model) <= 1.001 * objective(X, W, peer.components_, model)
    assert ours.components.dtype == ours.codes.dtype == dtype
    np.testing.assert_allclose(ours.loss, 0.5 * np.square(X - ours.codes @ ours.components).sum() / N, rtol=1e-4)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
def test_multiplicative_factors_are_those_of_scikit_learn(beta, x64):
    X = mixtures() + 0.1
    start = _initialize_nmf(X, K, init="random", random_state=0)
    model = NMF(K, beta, "multiplicative", alpha_W=0.01 * P, alpha_H=0.01, l1_ratio=0.5, max_steps=25, tol=0.0)
    ours = nmf.fit(model, X, init=start)
    peer = sk.NMF(
        K, init="custom", solver="mu", beta_loss=beta, alpha_W=0.01, alpha_H=0.01, l1_ratio=0.5, max_iter=25, tol=0
    )
    W = peer.fit_transform(X, W=start[0].copy(), H=start[1].copy())
    np.testing.assert_allclose(ours.codes, W, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.components, peer.components_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(jnp.sqrt(2 * N * ours.loss), peer.reconstruction_err_, rtol=1e-9)


@pytest.mark.parametrize("solver", ["hals", "multiplicative"])
def test_weights_repeats_and_order(solver, x64):
    rng = np.random.default_rng(0)
    X, model = mixtures(), NMF(K, 2.0 if solver == "hals" else 1.0, solver, alpha_W=0.01, max_steps=30, tol=0.0)
    counts = rng.integers(0, 4, N)
    repeated = np.repeat(X, counts, axis=0)
    order = rng.permutation(len(repeated))
    weighted, expected = fit(model, X, counts * 1.0), fit(model, repeated[order])
    # thirty steps carry rounding errors on, but for few digits
    np.testing.assert_allclose(weighted.components, expected.components, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(np.repeat(weighted.codes, counts, axis=0)[order], expected.codes, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose([weighted.loss, weighted.total_weight], [expected.loss, counts.sum()], rtol=1e-9)
    # seven times the weight is every row seven times, from a start of that size
    sevenfold = fit(model, np.repeat(repeated, 7, axis=0))
    np.testing.assert_allclose(fit(model, X, counts * 7.0).components, sevenfold.components, rtol=1e-6, atol=1e-8)
    # what has no weight may be anything
    rubbish = np.where(counts[:, None] == 0, 1e3, X)
    np.testing.assert_allclose(fit(model, rubbish, counts * 1.0).components, weighted.components, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("solver", "beta"), [("hals", 2.0), ("multiplicative", 1.0), ("multiplicative", 1.5)])
def test_sparse_rows_are_dense_rows(solver, beta, dtype):
    X = mixtures(zeros=0.6).astype(dtype)
    model = NMF(K, beta, solver, alpha_W=0.01, max_steps=20, tol=0.0)
    dense, sparse = fit(model, X), fit(model, from_scipy(scipy.sparse.csr_array(X)))
    # as far as rounding errors grow in twenty steps
    tolerance = 1e5 * np.finfo(dtype).eps * float(dense.components.max())
    np.testing.assert_allclose(sparse.components, dense.components, atol=tolerance)
    # of the same factors, so that what has grown in twenty steps is left out
    rows = from_scipy(scipy.sparse.csr_array(X))
    again = nmf.loss(model, dense.components, rows, dense.codes, jnp.ones(rows.shape[0], dtype))
    np.testing.assert_allclose(again, dense.loss, rtol=1e3 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("solver", "beta"), [("hals", 2.0), ("multiplicative", 1.0)])
def test_eager_compiled_in_lanes_and_over_split_rows(solver, beta, x64):
    X, model = mixtures(), NMF(K, beta, solver, max_steps=15, tol=0.0, alpha_H=0.01)
    expected = fit(model, X)
    close = partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-8)
    close(nmf.fit(model, X).components, expected.components)

    strengths = jnp.asarray([0.0, 0.01, 0.1])
    lanes = jax.vmap(lambda alpha: nmf.fit(NMF(K, beta, solver, max_steps=15, tol=0.0, alpha_H=alpha), X))(strengths)
    close(lanes.components[1], expected.components)
    assert lanes.components[2].sum() < lanes.components[0].sum()

    shards = jax.vmap(partial(nmf.fit, model, axis_name="rows"), axis_name="rows")(X.reshape(4, N // 4, P))
    close(shards.components[3], expected.components)
    close(shards.codes.reshape(N, K), expected.codes)
    sparse = split_rows(scipy.sparse.csr_array(X), 4, axis_name="rows")
    close(jax.vmap(partial(nmf.fit, model), axis_name="rows")(sparse).components[0], expected.components)


def test_codes_of_a_fit_are_those_of_transform(dtype):
    X = mixtures().astype(dtype)
    fitted = fit(NMF(K, tol=1e-6, max_steps=1000, alpha_W=0.1), X)
    codes = nmf.transform(fitted, X)
    np.testing.assert_allclose(fitted.codes, codes, atol=1e-3 * float(codes.max()))
    np.testing.assert_allclose(nmf.inverse_transform(fitted, codes), X, atol=0.3 * X.std())


def test_starts_are_those_of_scikit_learn(x64):
    X = mixtures()
    weight, key = jnp.ones(N), jax.random.key(0)
    for init in ("nndsvd", "nndsvda"):
        for ours, theirs in zip(
            first_factors(Dense(jnp.asarray(X)), weight, K, init, key),
            _initialize_nmf(X, K, init=init, random_state=0),
            strict=True,
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-6 * theirs.max())
    zero = first_factors(Dense(jnp.asarray(X)), weight, K, "nndsvd", key)[0] == 0
    small = first_factors(Dense(jnp.asarray(X)), weight, K, "nndsvdar", key)[0]
    assert 0 < small[zero].mean() < 0.02 * X.mean()
    codes, components = first_factors(Dense(jnp.asarray(X)), weight, K, "random", key)
    assert 0.3 < float((codes @ components).mean() / X.mean()) < 1.3


def test_same_seed_same_bits(dtype):
    X, model = mixtures().astype(dtype), NMF(K, shuffle=True)
    first, again, other = (fit(model, X, init="random", key=jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.components, again.components)
    np.testing.assert_array_equal(first.codes, again.codes)
    assert np.abs(first.components - other.components).max() > 1e-3


def test_derivatives_are_refused():
    X = jnp.asarray(mixtures(), jnp.float32)
    fitted = nmf.fit(NMF(K), X)
    for loss in (
        lambda X: nmf.fit(NMF(K), X).loss,
        lambda X: nmf.fit(NMF(K, alpha_W=X[0, 0]), jax.lax.stop_gradient(X)).loss,
        lambda X: nmf.transform(fitted, X).sum(),
    ):
        with pytest.raises(TypeError, match="no derivatives"):
            jax.grad(loss)(X)
    assert not jax.grad(lambda X: nmf.fit(NMF(K), jax.lax.stop_gradient(X)).loss + X.sum() * 0)(X).any()


def test_what_cannot_be_is_said():
    X = mixtures().astype(np.float32)
    with pytest.raises(ValueError, match="choose 'multiplicative'"):
        NMF(K, 1.0)
    with pytest.raises(ValueError, match="not known"):
        NMF(K, solver="cd")
    with pytest.raises(ValueError, match="choose 'random'"):
        nmf.fit(NMF(P + 1), X)
    with pytest.raises(ValueError, match="not known"):
        nmf.fit(NMF(K), X, init="nndsvdx")
    with pytest.raises(ValueError, match="`init` has shapes"):
        nmf.fit(NMF(K), X, init=(X, X))
    with pytest.raises(ValueError, match="`sample_weight` has shape"):
        nmf.fit(NMF(K), X, np.ones(3))
    with pytest.raises(ValueError, match="stream"):
        nmf.fit(NMF(K), stream(X))


def test_nan_is_a_status():
    X = mixtures().astype(np.float32)
    X[3, 3] = np.nan
    assert int(nmf.fit(NMF(K), X, init="random").status) == 4
    assert int(nmf.fit(NMF(K, 1.0, "multiplicative"), X, init="random").status) == 4


@pytest.mark.parametrize("beta", [2.0, 1.0])
def test_online_batches_approach_the_whole(beta, dtype):
    X = mixtures().astype(dtype)
    model = NMF(K, beta, "hals" if beta == 2 else "multiplicative", max_steps=200)
    whole = fit(model, X)
    online = online_nmf.OnlineNMF(model, memory=jnp.asarray(0.9, dtype))
    state = online_nmf.start(
        model, first_factors(Dense(jnp.asarray(X)), jnp.ones(N, dtype), K, "nndsvda", jax.random.key(0))[1]
    )
    batches, weights = Dense(jnp.asarray(X).reshape(4, N // 4, P)), jnp.ones((4, N // 4), dtype)
    learn = jax.jit(online_nmf.learn)
    for _ in range(60):
        state, _ = learn(online, state, batches, weights)
    codes = nmf.encode(model, state.components, X).params
    assert float(nmf.loss(model, state.components, X, codes)) < 1.15 * float(whole.loss)
    assert int(state.n_steps) == 240
    # a batch without weight is no batch
    same, _ = learn(online, state, batches, 0 * weights)
    np.testing.assert_array_equal(same.components, state.components)
    assert int(same.n_steps) == 240
