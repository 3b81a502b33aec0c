"""Decompositions as a user meets them: where the rows lie, bad input, what is counted, what a fault leaves behind."""

import pickle
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from sklearn import decomposition as sk
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from jaxlearn import shard_rows, stream
from jaxlearn.decomposition import PCA, IncrementalPCA, TruncatedSVD, randomized_range_finder, randomized_svd
from jaxlearn.random_projection import SparseRandomProjection

N, P, K = 600, 40, 5
SOLVERS = ["covariance_eigh", "full", "krylov", "randomized", "onepass"]
every = pytest.mark.parametrize("solver", SOLVERS)


def rows(n=N, p=P, mean=2.0, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    V = np.linalg.qr(rng.standard_normal((p, p)))[0]
    return (mean + (rng.standard_normal((n, p)) * 0.7 ** np.arange(p)) @ V.T).astype(dtype)


def same(model, other, rtol=1e-3):
    np.testing.assert_allclose(model.explained_variance_, other.explained_variance_, rtol=rtol)
    np.testing.assert_allclose(model.mean_, other.mean_, atol=1e-5)
    cosines = np.sum(model.components_ * other.components_, axis=1)
    np.testing.assert_allclose(abs(cosines), 1, atol=2 * rtol)


@every
def test_everything_that_scikit_learn_says(solver):
    X = rows()
    ours = PCA(K, svd_solver=solver, whiten=True, tol=1e-9 if solver == "krylov" else 0.0).fit(X)
    theirs = sk.PCA(K, svd_solver="full", whiten=True).fit(X)
    same(ours, theirs)
    for name in ("explained_variance_ratio_", "singular_values_", "noise_variance_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=2e-3)
    np.testing.assert_allclose(abs(ours.transform(X)), abs(theirs.transform(X)), atol=0.1)
    ours_back, theirs_back = (m.inverse_transform(m.transform(X)) for m in (ours, theirs))
    np.testing.assert_allclose(ours_back, theirs_back, atol=0.1)
    # the likelihood is that of the same model; scikit-learn scales the components of a whitened one twice
    np.testing.assert_allclose(ours.score(X), sk.PCA(K, svd_solver="full").fit(X).score(X), rtol=1e-2)
    assert pickle.loads(pickle.dumps(ours)).svd_solver_ == solver
    assert clone(ours).svd_solver == solver


@every
def test_rows_on_disk(solver, tmp_path):
    X = rows(dtype=np.float32)
    np.save(tmp_path / "a.npy", X[:250])
    np.save(tmp_path / "b.npy", X[250:])
    source = stream(tmp_path, block_size=150)
    model = PCA(K, svd_solver=solver).fit(source)
    same(model, PCA(K, svd_solver="full").fit(X), 5e-3)
    assert model.n_passes_ == source.reader.n_passes
    assert model.bytes_read_ == source.reader.bytes_read == model.n_passes_ * X.nbytes
    assert model.n_samples_ == N
    if solver in ("covariance_eigh", "full", "onepass"):
        assert model.n_passes_ == 1
    np.testing.assert_allclose(model.transform(source), model.transform(X), atol=1e-4)


@every
def test_rows_that_are_sharded_stay_where_they_are(solver):
    X = rows(dtype=np.float32)
    placed, _, weight = shard_rows(X)
    same(PCA(K, svd_solver=solver).fit(placed, sample_weight=weight), PCA(K, svd_solver="full").fit(X), 5e-3)


@pytest.mark.parametrize("solver", ["auto", "krylov", "randomized", "onepass", "covariance_eigh"])
def test_sparse_rows(solver):
    X = scipy.sparse.random_array((400, 60), density=0.2, rng=np.random.default_rng(0))
    X = scipy.sparse.csr_array(X * np.geomspace(1, 30, 60)[None])
    same(PCA(K, svd_solver=solver).fit(X), sk.PCA(K, svd_solver="full").fit(X.toarray()), 5e-3)


@every
@pytest.mark.parametrize("shape", [(3, 40), (1, 6), (40, 1), (5, 5)])
def test_few_rows_and_few_columns(solver, shape):
    X = rows(max(shape[0], 2), max(shape[1], 2))[: shape[0], : shape[1]]
    k = min(shape)
    model, other = PCA(k, svd_solver=solver).fit(X), sk.PCA(k, svd_solver="full")
    assert np.isfinite(model.components_).all()
    np.testing.assert_allclose(model.components_ @ model.components_.T, np.eye(k), atol=1e-6)
    if shape[0] > 1:
        np.testing.assert_allclose(model.explained_variance_, other.fit(X).explained_variance_, rtol=1e-3, atol=1e-7)
    else:
        np.testing.assert_allclose(model.explained_variance_, 0)
    with pytest.raises(ValueError, match="must be between"):
        PCA(k + 1, svd_solver=solver).fit(X)


@every
def test_constant_columns_and_fewer_ranks_than_components(solver):
    X = rows()
    X[:, 3], X[:, 7] = 5, X[:, 8]
    X = np.concatenate([X[:, :3] @ np.ones((3, 2)), X[:, 3:9]], axis=1)
    model, other = PCA(7, svd_solver=solver).fit(X), sk.PCA(7, svd_solver="full").fit(X)
    scale = other.explained_variance_[0]
    np.testing.assert_allclose(model.explained_variance_, other.explained_variance_, atol=1e-3 * scale)
    np.testing.assert_allclose(model.components_ @ model.components_.T, np.eye(7), atol=1e-6)


def test_shares_and_mle():
    X = rows()
    for share in (0.5, 0.9, 0.999):
        assert PCA(share).fit(X).n_components_ == sk.PCA(share).fit(X).n_components_
    assert PCA("mle").fit(X).n_components_ == sk.PCA("mle").fit(X).n_components_


def test_auto_says_what_it_chose():
    X = rows(dtype=np.float32)
    assert PCA(K).fit(X).svd_solver_ == "covariance_eigh"
    assert PCA(K).fit(X[:30]).svd_solver_ == "full"
    wide = np.random.default_rng(0).standard_normal((700, 3000)).astype(np.float32)
    assert PCA(2).fit(wide).svd_solver_ == "krylov"
    assert PCA(2).fit(stream(wide)).svd_solver_ == "onepass"


def test_what_cannot_be_read_again_is_refused_before_it_is_read():
    X = rows(dtype=np.float32)
    for solver in ("krylov", "randomized"):
        source = stream(iter([X[:300], X[300:]]))
        with pytest.raises(ValueError, match="can be read once"):
            PCA(K, svd_solver=solver).fit(source)
        assert source.reader.n_passes == 0
    same(PCA(K).fit(stream(iter([X[:300], X[300:]]))), PCA(K).fit(X), 5e-3)


def test_a_fit_that_breaks_leaves_the_model_as_it_was():
    X = rows(dtype=np.float32)

    def broken():
        yield X[:200]
        yield X[200:400]
        raise OSError("the disk is gone")

    for model in (PCA(K, svd_solver="onepass"), PCA(K, svd_solver="covariance_eigh"), IncrementalPCA(K)):
        with pytest.raises(OSError, match="the disk is gone"):
            clone(model).fit(stream(broken, block_size=100))
        fresh = clone(model)
        with pytest.raises(OSError, match="the disk is gone"):
            fresh.fit(stream(broken, block_size=100))
        assert not hasattr(fresh, "components_")
        fitted = clone(model).fit(X)
        before = fitted.components_.copy()
        with pytest.raises(OSError, match="the disk is gone"):
            fitted.fit(stream(broken, block_size=100))
        np.testing.assert_array_equal(fitted.components_, before)


def test_nan_names_its_block():
    X = rows(dtype=np.float32)
    X[310, 3] = np.nan
    with pytest.raises(ValueError, match=r"block 3 \(rows 300 to 399\)"):
        PCA(K).fit(stream(X, block_size=100))
    with pytest.raises(ValueError, match="contains NaN"):
        PCA(K).fit(X)


def test_sorted_rows_read_once_are_a_warning():
    X = rows(dtype=np.float32)
    X = X[np.argsort(X[:, 0])]
    with pytest.warns(ConvergenceWarning, match="variance between blocks"):
        model = PCA(K, svd_solver="onepass").fit(stream(iter(np.split(X, 6)), block_size=100))
    assert not model.converged_
    again = PCA(K, svd_solver="onepass").fit(stream(X, block_size=100))
    assert again.converged_
    assert again.n_passes_ > 1


def test_incremental_batches_in_any_order_and_merged():
    X = rows(mean=100.0)
    whole = IncrementalPCA(K).fit(X)
    same(whole, PCA(K, svd_solver="full").fit(X), 1e-8)
    for order in (range(0, N, 60), range(N - 60, -1, -60)):
        model = IncrementalPCA(K)
        for start in order:
            model.partial_fit(X[start : start + 60])
        same(model, whole, 1e-8)
    halves = [IncrementalPCA(K).fit(part) for part in (X[:100], X[100:])]
    same(halves[0].merge(halves[1]), whole, 1e-8)
    assert halves[0].n_samples_seen_ == N
    same(IncrementalPCA(K).fit(stream(X, block_size=70)), whole, 1e-8)


def test_truncated_svd(dtype):
    X = scipy.sparse.random_array((300, 80), density=0.1, rng=np.random.default_rng(0), dtype=dtype)
    X = scipy.sparse.csr_array(X * np.geomspace(1, 10, 80)[None].astype(dtype))
    exact = np.linalg.svd(X.toarray().astype(np.float64), compute_uv=False)[:K]
    for algorithm in ("krylov", "randomized", "arpack"):
        model = TruncatedSVD(K, algorithm=algorithm, n_iter=12, random_state=0)
        Z = model.fit_transform(X)
        np.testing.assert_allclose(model.singular_values_, exact, rtol=1e-3)
        np.testing.assert_allclose(np.linalg.norm(Z, axis=0), exact, rtol=1e-3)
        assert model.components_.dtype == dtype


def test_functions():
    X = rows()
    Q = randomized_range_finder(X, size=10, n_iter=4, random_state=0)
    np.testing.assert_allclose(Q.T @ Q, np.eye(10), atol=1e-10)
    U, s, Vt = randomized_svd(X, K, random_state=0)
    np.testing.assert_allclose(s, np.linalg.svd(X, compute_uv=False)[:K], rtol=1e-6)
    np.testing.assert_allclose((U * s) @ Vt, sum(np.outer(U[:, i] * s[i], Vt[i]) for i in range(K)), atol=1e-9)


def test_projections_hold_distances():
    X = rows(100, 2000, mean=0.0)
    Z = SparseRandomProjection(n_components=900, random_state=0).fit_transform(X)
    ratio = np.linalg.norm(Z[:50] - Z[50:], axis=1) / np.linalg.norm(X[:50] - X[50:], axis=1)
    assert (abs(ratio - 1) < 0.25).all()


@pytest.mark.parametrize("estimator", [PCA(2), TruncatedSVD(2)])
def test_a_traced_array_is_refused(estimator):
    with pytest.raises(TypeError, match="models"):
        jax.jit(partial(estimator.fit))(jnp.ones((4, 3)))
