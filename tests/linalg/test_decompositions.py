"""Randomized decompositions against exact ones: error bounds, orthonormality in float32, derivatives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn import linalg
from jaxlearn.linalg import cholesky

K = 4


def matrix(m=60, n=24, decay=0.7, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    r = min(m, n)
    U, V = (np.linalg.qr(rng.standard_normal((size, r)))[0] for size in (m, n))
    return ((U * decay ** np.arange(r)) @ V.T).astype(dtype)


def exact(A, k=K):
    U, s, Vt = np.linalg.svd(np.asarray(A, np.float64), full_matrices=False)
    return U[:, :k], s[:k], Vt[:k]


def orthonormal(Q, dtype):
    Q = np.asarray(Q, np.float64)
    np.testing.assert_allclose(Q.T @ Q, np.eye(Q.shape[1]), atol=50 * np.finfo(dtype).eps)


DECOMPOSITIONS = {
    "randomized": partial(linalg.randomized_svd, n_iter=20),
    "krylov": partial(linalg.block_krylov_svd, block_size=3),
}


@pytest.mark.parametrize("name", DECOMPOSITIONS)
@pytest.mark.parametrize("shape", [(60, 24), (24, 60), (24, 24)])
def test_triplets(name, shape, dtype):
    A = matrix(*shape, dtype=dtype)
    U, s, Vt = jax.jit(partial(DECOMPOSITIONS[name], n_components=K))(A)
    assert U.shape == (shape[0], K)
    assert Vt.shape == (K, shape[1])
    assert U.dtype == s.dtype == Vt.dtype == dtype
    np.testing.assert_allclose(s, exact(A)[1], rtol=1e-4 if dtype == np.float32 else 1e-9)
    orthonormal(Vt.T, dtype)
    orthonormal(U, np.float32 if name == "krylov" else dtype)
    left, values, right = exact(A)
    np.testing.assert_allclose((U * s[None]) @ Vt, (left * values) @ right, atol=1e-3 if dtype == np.float32 else 1e-7)


def test_lanes_are_fits():
    A = np.stack([matrix(seed=i) for i in range(3)])
    lanes = jax.vmap(partial(linalg.randomized_svd, n_components=K, n_iter=10))(A)[1]
    for values, a in zip(lanes, A, strict=True):
        np.testing.assert_allclose(values, exact(a)[1], rtol=1e-4)


@pytest.mark.parametrize("n_iter", [0, 1, 2])
def test_range_finder_meets_the_bound(n_iter):
    """Halko, Martinsson and Tropp, corollary 10.10: the mean error over draws, in the spectral norm."""
    k, extra = 6, 6
    A = matrix(80, 50, decay=0.9, dtype=np.float64)
    s = np.linalg.svd(A, compute_uv=False)
    errors = []
    with jax.enable_x64(True):
        for seed in range(10):
            Q = np.asarray(linalg.range_finder(A, k + extra, n_iter=n_iter, key=jax.random.key(seed)))
            orthonormal(Q, np.float64)
            errors.append(np.linalg.norm(A - Q @ (Q.T @ A), 2))
    factor = 1 + np.sqrt(k / (extra - 1)) + np.e * np.sqrt(k + extra) / extra * np.sqrt(min(A.shape) - k)
    assert np.mean(errors) <= factor ** (1 / (2 * n_iter + 1)) * s[k]
    assert np.mean(errors) >= 0.99 * s[k + extra]  # no basis of that size does better


def test_nystrom_is_below_and_near():
    A = matrix(60, 24, decay=0.5, dtype=np.float64)
    C = A.T @ A  # in single precision rounding would make it indefinite
    with jax.enable_x64(True):
        values, vectors = jax.device_get(linalg.nystrom(jnp.asarray(C), K))
    expected = np.linalg.eigvalsh(C)[::-1][:K]
    assert (values <= expected * (1 + 1e-10)).all()
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    orthonormal(vectors, np.float64)


def test_single_pass_is_linear_and_near():
    A = matrix(120, 80, decay=0.5, dtype=np.float64)
    with jax.enable_x64(True):
        U, s, Vt = linalg.single_pass_svd(jnp.asarray(A), K)
    np.testing.assert_allclose(s, exact(A)[1], rtol=1e-3)
    orthonormal(U, np.float64)
    orthonormal(Vt.T, np.float64)


@pytest.mark.parametrize("condition", [1e1, 1e4, 1e6])
def test_cholesky_qr_survives_single_precision(condition):
    A = matrix(200, 16, decay=condition ** (-1 / 15))
    Q, R = jax.jit(linalg.cholesky_qr)(A)
    orthonormal(Q, np.float32)
    np.testing.assert_allclose(Q @ R, A, atol=1e-6)
    assert not np.tril(R, -1).any()


@pytest.mark.parametrize("seed", range(10))
def test_cholesky_qr_of_dependent_columns(seed):
    A = np.repeat(matrix(40, 3, seed=seed), 2, axis=1)
    Q, R = linalg.cholesky_qr(A)
    orthonormal(Q, np.float32)
    np.testing.assert_allclose(Q @ R, A, atol=1e-6)


@pytest.mark.parametrize("refine", [False, True])
def test_packed_systems_are_masked_ones(refine, x64):
    A = matrix(150, 100, dtype=np.float64)
    gram, b = A.T @ A + 0.1 * np.eye(100), A[0]
    order = np.random.default_rng(0).permutation(100)
    packed, masked = (jax.jit(partial(f, refine=refine)) for f in (cholesky.packed_solve, cholesky.masked_solve))
    for count in (0, 1, 24, 25, 26, 50, 74, 76, 99, 100):  # on both sides of each quarter
        active = order < count
        found = packed(gram, active, b)
        np.testing.assert_allclose(found, masked(gram, active, b), rtol=1e-8, atol=1e-12)
        assert not found[~active].any()


@pytest.mark.parametrize("block_size", [16, 17, 200])
def test_tsqr_is_qr(block_size, dtype):
    A = matrix(100, 8, dtype=dtype)
    Q, R = jax.jit(linalg.tsqr, static_argnums=1)(A, block_size)
    orthonormal(Q, dtype)
    np.testing.assert_allclose(Q @ R, A, atol=20 * np.finfo(dtype).eps)
    np.testing.assert_allclose(np.abs(R), np.abs(np.linalg.qr(A)[1]), atol=50 * np.finfo(dtype).eps)


@pytest.mark.slow
def test_derivatives_are_those_of_the_exact_decomposition(x64):
    rng = np.random.default_rng(0)
    A = jnp.asarray(rng.standard_normal((30, 12)) * np.r_[5, 4, 3.2, 2.5, np.full(8, 0.3)])
    M = jnp.asarray(rng.standard_normal((12, 12)))

    def of(decompose):
        def loss(A):
            U, s, Vt = decompose(A)
            return jnp.sum(Vt.T @ Vt * M) + s.sum() + jnp.sin((U * s[None]) @ Vt).sum()

        return loss

    def svd(A):
        U, s, Vt = jnp.linalg.svd(A, full_matrices=False)
        return U[:, :K], s[:K], Vt[:K]

    for name, decompose in DECOMPOSITIONS.items():
        ours, theirs = of(partial(decompose, n_components=K)), of(svd)
        expected = jax.grad(theirs)(A)
        np.testing.assert_allclose(jax.grad(ours)(A), expected, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(jax.jit(jax.grad(ours))(A), expected, atol=1e-9, err_msg=name)
        direction = jnp.asarray(rng.standard_normal(A.shape))
        along = [jax.jvp(f, (A,), (direction,))[1] for f in (ours, theirs)]
        np.testing.assert_allclose(*along, rtol=1e-9, err_msg=name)
        curve = [jax.hessian(lambda t, f=f, direction=direction: f(A + t * direction))(0.0) for f in (ours, theirs)]
        np.testing.assert_allclose(*curve, rtol=1e-6, err_msg=name)


def test_a_subspace_without_a_gap_has_no_derivative():
    def entries(A):
        return linalg.randomized_svd(A, 1)[2].sum()

    with pytest.raises(ValueError, match="eigenvalue 1 is 1, and the next, 1, is too close"):
        jax.grad(entries)(jnp.eye(4))
    assert np.isnan(jax.jit(jax.grad(entries))(jnp.eye(4))).all()
    # sums over a whole group of equal values have one
    total = jax.grad(lambda A: linalg.randomized_svd(A, 2)[1].sum())(jnp.diag(jnp.array([1.0, 1.0, 0.1])))
    np.testing.assert_allclose(total, np.diag([1, 1, 0]), atol=1e-5)


def test_bad_sizes():
    A = jnp.ones((6, 4))
    with pytest.raises(ValueError, match="`size=5` must lie between 1 and 4"):
        linalg.range_finder(A, 5)
    with pytest.raises(ValueError, match="`n_components=0` must lie"):
        linalg.randomized_svd(A, 0)
    with pytest.raises(ValueError, match="`depth \\* block_size` = 8"):
        linalg.block_krylov_svd(A, 2, block_size=4, depth=2)
    with pytest.raises(ValueError, match="with n at least l"):
        linalg.cholesky_qr(A.T)
    with pytest.raises(ValueError, match="`block_size=3` is less than the 4 columns"):
        linalg.tsqr(A, 3)
