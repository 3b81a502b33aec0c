"""Naive Bayes as pure functions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import sklearn.naive_bayes
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from jaxlearn import stream
from jaxlearn.access import in_blocks
from jaxlearn.access.host import from_scipy, split_rows
from jaxlearn.models import naive_bayes
from jaxlearn.models.naive_bayes import Bernoulli, Categorical, Complement, Gaussian, Multinomial

N, P_, C = 240, 5, 3
MODELS = [
    Gaussian(),
    Multinomial(0.5),
    Complement(0.5),
    Complement(0.5, norm=True),
    Bernoulli(0.5, binarize=1.0),
    Categorical(jnp.array([6] * P_), 32, 0.5),
]
PEERS = {
    Gaussian: sklearn.naive_bayes.GaussianNB(),
    Multinomial: sklearn.naive_bayes.MultinomialNB(alpha=0.5),
    Bernoulli: sklearn.naive_bayes.BernoulliNB(alpha=0.5, binarize=1.0),
    Categorical: sklearn.naive_bayes.CategoricalNB(alpha=0.5, min_categories=6),
}
every = pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__ + str(getattr(m, "norm", "")))
discrete = pytest.mark.parametrize("model", MODELS[1:5], ids=lambda m: type(m).__name__ + str(getattr(m, "norm", "")))


def peer(model):
    if isinstance(model, Complement):
        return sklearn.naive_bayes.ComplementNB(alpha=0.5, norm=model.norm)
    return PEERS[type(model)]


def data(dtype=np.float64, n=N, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(C, size=n)
    X = rng.binomial(5, 0.2 + 0.6 * rng.random((C, P_))[y])
    return X.astype(dtype), y.astype(np.int32), rng.integers(0, 3, n).astype(dtype)


def close(a, b, dtype, scale=1.0):
    tol = scale * (1e-10 if dtype == np.float64 else 1e-4)
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(left, right, rtol=tol, atol=tol)


@every
def test_as_scikit_learn(model, dtype):
    X, y, w = data(dtype)
    found = naive_bayes.fit(model, X, y, w, n_classes=C)
    expected = peer(model).fit(X, y, w)
    # of a zero weight scikit-learn sees the variance: the smoothing is not the same
    tol = 1e-6 if dtype == np.float64 else 1e-4
    log_proba = naive_bayes.predict_log_proba(found, X)
    assert log_proba.dtype == dtype
    np.testing.assert_allclose(log_proba, expected.predict_log_proba(X), atol=tol, rtol=tol)
    np.testing.assert_allclose(jnp.exp(log_proba).sum(1), 1, atol=10 * np.finfo(dtype).eps)


@every
def test_weights_are_repetitions_and_order_does_not_matter(model, dtype):
    X, y, w = data(dtype)
    run = partial(naive_bayes.statistics, model, n_classes=C)
    weighted = run(X, y, w)
    repeated = np.repeat(np.arange(N), w.astype(int))
    close(weighted, run(X[repeated], y[repeated]), dtype, 10)
    there = w > 0
    close(weighted, run(X[there], y[there], w[there]), dtype, 10)
    order = np.random.default_rng(1).permutation(N)
    close(weighted, run(X[order], y[order], w[order]), dtype, 10)


@every
def test_parts_are_merged_and_taken_out(model, dtype):
    X, y, w = data(dtype)
    run = lambda rows: naive_bayes.statistics(model, X[rows], y[rows], w[rows], n_classes=C)  # noqa: E731
    whole, a, b, c = map(run, (slice(None), slice(0, 31), slice(31, 200), slice(200, N)))
    for order in ((a, b, c), (c, a, b)):
        close(naive_bayes.merge(naive_bayes.merge(*order[:2]), order[2]), whole, dtype, 10)
    close(naive_bayes.without(whole, b), naive_bayes.merge(a, c), dtype, 10)
    nothing = naive_bayes.without(whole, whole)
    assert all(float(jnp.abs(leaf).max()) == 0 for leaf in jax.tree.leaves(nothing))


@every
def test_shares_of_classes(model, dtype):
    """One-hot rows are codes; shares are rows that are there several times, with weights."""
    X, y, w = data(dtype)
    close(
        naive_bayes.statistics(model, X, np.eye(C, dtype=dtype)[y], w),
        naive_bayes.statistics(model, X, y, w, n_classes=C),
        dtype,
        10,
    )
    shares = np.random.default_rng(2).dirichlet(np.ones(C), N).astype(dtype)
    many, codes = np.repeat(X, C, axis=0), np.tile(np.arange(C), N)
    expected = naive_bayes.statistics(model, many, codes, (w[:, None] * shares).ravel(), n_classes=C)
    close(naive_bayes.statistics(model, X, shares, w), expected, dtype, 10)


@discrete
def test_sparse_rows_are_not_made_dense(model, dtype):
    X, y, w = data(dtype)
    rows = from_scipy(scipy.sparse.csr_array(X), n_rows=N + 3)
    found = naive_bayes.fit(model, rows, np.pad(y, (0, 3)), np.pad(w, (0, 3)), n_classes=C)
    expected = naive_bayes.fit(model, X, y, w, n_classes=C)
    close(found, expected, dtype, 10)
    close(naive_bayes.joint_log_proba(found, rows)[:N], naive_bayes.joint_log_proba(expected, X), dtype, 10)


@every
def test_blocks_streams_and_devices(model, dtype):
    X, y, w = data(dtype, 4096)
    run = partial(naive_bayes.statistics, n_classes=C)
    whole = run(model, X, y, w)
    blocks = eqx_size(in_blocks(X), 1024)
    close(jax.jit(lambda w: run(model, blocks, y, w))(w), whole, dtype, 10)
    if not isinstance(model, Categorical):
        close(run(model, stream(X, block_size=1000), y, w), whole, dtype, 10)
    mesh = Mesh(np.asarray(jax.devices()), ("rows",))
    shard = jax.shard_map(
        lambda X, y, w: run(model, X, y, w, axis_name="rows"),
        mesh=mesh,
        in_specs=(P("rows"),) * 3,
        out_specs=P(),
        check_vma=False,
    )
    close(jax.jit(shard)(X, y, w), whole, dtype, 10)


def eqx_size(design, size):
    from jaxlearn.access.blocks import Blocks

    return Blocks(design.entries, size=size)


@every
def test_lanes_and_programs(model, count_compiles, x64):
    X, y, w = data()
    fit = jax.jit(lambda model, X, w: naive_bayes.fit(model, X, y, w, n_classes=C))
    fit(model.with_smoothing(jnp.asarray(0.5)), X, w)
    with count_compiles() as compiled:
        found = fit(model.with_smoothing(jnp.asarray(0.1)), X + 0.0, w[::-1])
    assert compiled.count == 0, compiled.names
    close(found, naive_bayes.fit(model.with_smoothing(0.1), X, y, w[::-1], n_classes=C), np.float64)
    values, weights = jnp.array([0.1, 1.0]), np.stack([w, w[::-1], np.ones(N)])
    over_weights = jax.vmap(lambda s, w: naive_bayes.fit(model.with_smoothing(s), X, y, w, n_classes=C), (None, 0))
    lanes = jax.vmap(over_weights, (0, None))(values, weights)
    one = naive_bayes.fit(model.with_smoothing(1.0), X, y, w[::-1], n_classes=C)
    close(jax.tree.map(lambda leaf: leaf[1, 1] if leaf.ndim > 1 else leaf, lanes), one, np.float64, 10)


@pytest.mark.slow
def test_gradients(x64):
    X, y, w = data()
    X = X + 0.1

    def loss(smoothing, X, w, model):
        found = naive_bayes.fit(model.with_smoothing(smoothing), X, y, w, n_classes=C)
        return -naive_bayes.predict_log_proba(found, X)[jnp.arange(N), y].mean()

    for model in (Gaussian(), Multinomial(), Complement(), Bernoulli(binarize=None)):
        rows = X / 10 if isinstance(model, Bernoulli) else X
        check_grads(partial(loss, model=model), (jnp.asarray(0.3), rows, w + 1), order=1, modes=("rev",))


def test_digits_of_single_precision():
    """Means a thousand times the spread, rows sorted by class."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(2), 3000)
    X = rng.standard_normal((6000, 3)) + np.array([[1000.0], [-3000.0]])[y]
    seen = naive_bayes.statistics(Gaussian(), X.astype(np.float32), y, n_classes=2)
    exact = X.astype(np.float32).astype(float)
    for c in range(2):
        np.testing.assert_allclose(seen.squares[c] / seen.weight[c], exact[y == c].var(0), rtol=1e-4)


@pytest.mark.parametrize("sparse", [False, True])
@every
def test_cross_validation(model, sparse, dtype):
    if sparse and isinstance(model, Gaussian | Categorical):
        pytest.skip("takes dense rows")
    X, y, w = data(dtype)
    K, values = 4, np.array([0.01, 0.3, 2.0], dtype)
    stacked = split_rows(scipy.sparse.csr_array(X), K) if sparse else X.reshape(K, -1, P_)
    folds = np.repeat(np.arange(K), N // K)
    scores = jax.jit(partial(naive_bayes.cross_validate, n_classes=C))(
        model, stacked, y.reshape(K, -1), values, w.reshape(K, -1)
    )
    assert scores.accuracy.shape == scores.log_likelihood.shape == (3, K)
    for i, value in enumerate(values):
        for k in range(K):
            rest = np.where(folds == k, 0, w)
            found = naive_bayes.fit(model.with_smoothing(value), X, y, rest, n_classes=C)
            log_proba = np.asarray(naive_bayes.predict_log_proba(found, X[folds == k]))
            share = w[folds == k] / w[folds == k].sum()
            right = log_proba.argmax(1) == y[folds == k]
            tol = 1e-9 if dtype == np.float64 else 1e-3
            if (
                dtype == np.float64
            ):  # normed weights of complements differ by little: single precision makes ties of them
                np.testing.assert_allclose(scores.accuracy[i, k], share @ right, atol=tol)
            expected = share @ log_proba[np.arange(N // K), y[folds == k]]
            np.testing.assert_allclose(scores.log_likelihood[i, k], expected, atol=tol, rtol=tol)


def test_classes_without_rows(x64):
    X, y, _ = data()
    for model in MODELS:
        found = naive_bayes.fit(model, X, y, n_classes=C + 1)
        proba = np.exp(naive_bayes.predict_log_proba(found, X))
        if not isinstance(model, Complement):  # which does not ask how likely a class is
            assert (proba[:, C] == 0).all()
        assert np.isfinite(proba).all()


def test_shapes_are_checked():
    X, y, _ = data(np.float32)
    with pytest.raises(ValueError, match="want `n_classes`"):
        naive_bayes.fit(Gaussian(), X, y)
    with pytest.raises(ValueError, match="`Gaussian` takes dense rows"):
        naive_bayes.fit(Gaussian(), from_scipy(scipy.sparse.csr_array(X)), y, n_classes=C)
