"""Orthonormal bases of tall matrices: in float32, and where the rows come in blocks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jax import Array, lax

__all__ = ["cholesky_qr", "tsqr"]

HIGHEST = lax.Precision.HIGHEST


def cholesky_qr(A: Array, *, key: Array | None = None) -> tuple[Array, Array]:
    """QR of a tall matrix by products and one small Cholesky factor, for accelerators, where Householder's QR is slow.

    A factor of ``AᵀA`` alone fails in float32 from a condition number of 3e3 on, so that A is preconditioned by the
    triangle of a random sketch first: ``A R_s⁻¹`` has a condition number below ten, whatever that of A, unless columns
    are dependent to rounding. Where they are, Householder's QR is taken.

    Parameters
    ----------
    A : (n, l)
        With n ≥ l.
    key : PRNG key, optional
        Of the sketch; a fixed one by default.

    Returns
    -------
    Q : (n, l)
        Orthonormal columns.
    R : (l, l)
        Upper triangle, ``Q R = A``.

    References
    ----------
    Balabanov, "Randomized Cholesky QR factorizations", 2022.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> Q, R = cholesky_qr(jnp.array([[3.0, 1.0], [4.0, 2.0], [0.0, 2.0]]))
    >>> bool(jnp.allclose(Q @ R, jnp.array([[3.0, 1.0], [4.0, 2.0], [0.0, 2.0]]), atol=1e-5))
    True
    """
    n, size = _tall(A)
    sketch = jax.random.normal(jax.random.key(0) if key is None else key, (2 * size, n), A.dtype)
    first = jnp.linalg.qr(jnp.matmul(sketch, A, precision=HIGHEST), mode="r")
    near = jsl.solve_triangular(first.T, A.T, lower=True).T
    gram = jnp.einsum("nk,nl->kl", near, near, precision=HIGHEST)
    lower = lax.linalg.cholesky(gram, symmetrize_input=False)
    Q, R = jsl.solve_triangular(lower, near.T, lower=True).T, jnp.einsum("lk,lm->km", lower, first, precision=HIGHEST)
    # Of independent columns, each keeps a good part of its square beside those before it (the least seen is .17); a
    # column of rounding errors may keep any part, and its direction as many digits fewer.
    kept = jnp.diagonal(lower) ** 2 > 0.1 * jnp.diagonal(gram)
    sound = kept.all() & jnp.isfinite(Q).all() & jnp.isfinite(R).all()
    return lax.cond(sound, lambda: (Q, R), lambda: tuple(jnp.linalg.qr(A)))


def tsqr(A: Array, block_size: int) -> tuple[Array, Array]:
    """QR of a tall matrix from the QRs of its blocks of rows, which may run side by side.

    Parameters
    ----------
    A : (n, l)
        With n ≥ l.
    block_size : int
        Rows of a block, at least l. The last block is padded with zeros.

    Returns
    -------
    Q : (n, l)
        Orthonormal columns.
    R : (l, l)
        Upper triangle, ``Q R = A``.

    References
    ----------
    Benson, Gleich and Demmel, "Direct QR factorizations for tall-and-skinny matrices in MapReduce architectures", 2013.
    """
    n, size = _tall(A)
    if block_size < size:
        raise ValueError(f"`block_size={block_size}` is less than the {size} columns of `A`.")
    n_blocks = -(-n // block_size)
    blocks = jnp.pad(A, ((0, n_blocks * block_size - n), (0, 0))).reshape(n_blocks, block_size, size)
    local, triangles = jnp.linalg.qr(blocks)
    joint, R = jnp.linalg.qr(triangles.reshape(n_blocks * size, size))
    Q = jnp.einsum("bns,bst->bnt", local, joint.reshape(n_blocks, size, size), precision=HIGHEST)
    return Q.reshape(-1, size)[:n], R


def _tall(A: Array) -> tuple[int, int]:
    if A.ndim != 2 or A.shape[0] < A.shape[1]:
        raise ValueError(f"`A` has shape {A.shape}; expected (n, l) with n at least l.")
    return A.shape  # type: ignore[return-value]
