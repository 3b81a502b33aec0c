"""Leading singular vectors of an array from products with a few random vectors.

Functions of arrays, to be used inside `jit`, `vmap` and `grad`; all of their sizes are static. Data that is centred,
weighted, sparse, streamed or sharded, and a tolerance, are the matter of `jaxlearn.models.pca`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jax import Array, lax

from .eigenspace import attach_derivative, with_derivative_of
from .lanczos import KrylovBasis

__all__ = ["block_krylov_svd", "nystrom", "randomized_svd", "range_finder", "single_pass_svd"]


def range_finder(A: Array, size: int, *, n_iter: int = 4, key: Array | None = None) -> Array:
    """Orthonormal columns Q whose span holds most of the range of A: ``‖A − Q Qᵀ A‖`` is small.

    Subspace iteration from a Gaussian block, orthonormalised after every product, which is what keeps the small
    directions in float32.

    Parameters
    ----------
    A : (m, n)
    size : int
        Columns of Q: some 10 more than are wanted of A's rank.
    n_iter : int
        Iterations ``A Aᵀ`` after the first product; each reads A twice.
    key : PRNG key, optional
        A fixed one by default.

    Returns
    -------
    (m, size)

    References
    ----------
    Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 2011, algorithm 4.4.
    """
    m, n = A.shape
    _fits("size", size, min(m, n))
    start = jax.random.normal(_key(key), (n, size), A.dtype)

    def iterate(_: int, Q: Array) -> Array:
        return _orth(_times(A, _orth(_adjoint(A, Q))))

    return lax.fori_loop(0, n_iter, iterate, _orth(_times(A, start)))


def randomized_svd(
    A: Array, n_components: int, *, n_oversamples: int = 10, n_iter: int = 4, key: Array | None = None
) -> tuple[Array, Array, Array]:
    """Truncated singular value decomposition: random projection, QR, small SVD.

    Parameters
    ----------
    A : (m, n)
    n_components : int
        k.
    n_oversamples : int
        More columns than k; at most as many as A has.
    n_iter : int
        As for `range_finder`: ``2 n_iter + 2`` readings of A in all.
    key : PRNG key, optional
        A fixed one by default.

    Returns
    -------
    U : (m, k)
    s : (k,)
        Falling.
    Vt : (k, n)

    Notes
    -----
    Differentiable as the exact decomposition is (`eigenspace.attach_derivative`): the more accurate the decomposition,
    the more accurate its derivative.

    References
    ----------
    Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 2011, algorithm 5.1.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> A = jnp.outer(jnp.array([3.0, 4.0]), jnp.array([1.0, 0.0, 0.0]))
    >>> U, s, Vt = randomized_svd(A, 1)
    >>> round(float(s[0]), 3)
    5.0
    """
    size = min(n_components + n_oversamples, *A.shape)
    _fits("n_components", n_components, min(A.shape))
    fixed = lax.stop_gradient(A)
    Q = range_finder(fixed, size, n_iter=n_iter, key=key)
    U, s, Vt = jnp.linalg.svd(_adjoint(fixed, Q).T, full_matrices=False)
    return _differentiable(A, _times(Q, U[:, :n_components]), s, Vt)


def block_krylov_svd(
    A: Array, n_components: int, *, block_size: int = 16, depth: int | None = None, key: Array | None = None
) -> tuple[Array, Array, Array]:
    """Truncated singular value decomposition by block Lanczos: fewer readings of A than subspace iteration needs.

    Parameters
    ----------
    A : (m, n)
    n_components : int
        k.
    block_size : int
        Columns of a product.
    depth : int, optional
        Blocks in the basis; each reads A twice. By default as many as hold ``2 k + 4 block_size`` columns.
    key : PRNG key, optional
        A fixed one by default.

    Returns
    -------
    U : (m, k)
    s : (k,)
        Falling. They are square roots of eigenvalues of ``AᵀA``: below ``√eps s_1`` they are rounding errors.
    Vt : (k, n)

    Notes
    -----
    Differentiable as `randomized_svd` is.

    References
    ----------
    Musco and Musco, "Randomized block Krylov methods for stronger and faster approximate singular value decomposition",
    NeurIPS 2015.
    """
    if A.shape[0] < A.shape[1]:  # a Krylov basis is cheaper on the shorter side
        V, s, Ut = block_krylov_svd(A.T, n_components, block_size=block_size, depth=depth, key=key)
        return Ut.T, s, V.T
    n = A.shape[1]
    _fits("n_components", n_components, n)
    block_size = min(block_size, n)
    most = n // block_size
    depth = min(most, -(-2 * n_components // block_size) + 4) if depth is None else depth
    if not n_components <= depth * block_size <= n:
        raise ValueError(
            f"`depth * block_size` = {depth * block_size} must lie between `n_components={n_components}` and {n}."
        )
    fixed = lax.stop_gradient(A)

    tiny = jnp.finfo(A.dtype).tiny

    def extend(basis: KrylovBasis, _: None) -> tuple[KrylovBasis, None]:
        return basis.extended(_adjoint(fixed, _times(fixed, basis.newest))), None

    start = jax.random.normal(_key(key), (n, block_size), A.dtype)
    basis, _ = lax.scan(extend, KrylovBasis.start(start, depth), None, length=depth)
    values, V = basis.leading(n_components)
    U = _times(fixed, V)
    return _differentiable(A, U / jnp.maximum(jnp.linalg.norm(U, axis=0), tiny)[None], jnp.sqrt(values), V.T)


def nystrom(C: Array, n_components: int, *, n_oversamples: int = 10, key: Array | None = None) -> tuple[Array, Array]:
    """Leading eigenpairs of a positive semidefinite matrix from one product: ``C ≈ (C Ω) (Ωᵀ C Ω)⁺ (C Ω)ᵀ``.

    Parameters
    ----------
    C : (p, p)
        Symmetric, positive semidefinite.
    n_components : int
        k.
    n_oversamples : int
        More columns of Ω than k; at most as many as C has.
    key : PRNG key, optional
        Of Ω; a fixed one by default.

    Returns
    -------
    values : (k,)
        Falling; never above those of C, but for rounding.
    vectors : (p, k)
        Orthonormal columns.

    References
    ----------
    Tropp, Yurtsever, Udell and Cevher, "Fixed-rank approximation of a positive-semidefinite matrix from streaming data",
    2017, algorithm 3.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> values, vectors = nystrom(jnp.diag(jnp.array([4.0, 1.0, 0.0])), 2)
    >>> bool(jnp.allclose(values, jnp.array([4.0, 1.0]), atol=1e-3))
    True
    """
    p = C.shape[0]
    _fits("n_components", n_components, p)
    omega = _orth(jax.random.normal(_key(key), (p, min(n_components + n_oversamples, p)), C.dtype))
    values, vectors = nystrom_of_product(_times(C, omega), omega)
    return values[:n_components], vectors[:, :n_components]


def nystrom_of_product(product: Array, omega: Array) -> tuple[Array, Array]:
    """Eigenpairs (l,), (p, l) of the Nyström approximation from ``product = C Ω``, for Ω (p, l) with orthonormal columns."""
    eps = jnp.finfo(product.dtype).eps
    # C + shift I has a factor in floating point, and its eigenvalues give the shift back
    shift = eps * jnp.sqrt(jnp.float32(product.shape[0])).astype(product.dtype) * jnp.linalg.norm(product)
    shift = shift + jnp.finfo(product.dtype).tiny
    shifted = product + shift * omega
    core = _adjoint(omega, shifted)
    lower = lax.linalg.cholesky((core + core.T) / 2, symmetrize_input=False)
    vectors, s, _ = jnp.linalg.svd(jsl.solve_triangular(lower, shifted.T, lower=True).T, full_matrices=False)
    return jnp.maximum(jnp.square(s) - shift, 0), vectors


def single_pass_svd(A: Array, n_components: int, *, key: Array | None = None) -> tuple[Array, Array, Array]:
    """Truncated singular value decomposition from linear sketches of A, which one reading of A makes.

    ``Y = A Ω`` and ``X = Γ A`` hold the range and the co-range, ``Z = Φ A Ψ`` the core. Sketches of sums are sums of
    sketches, so that A may come as terms; its accuracy is that of no iteration, and falls with a slow decay of the
    singular values.

    Parameters
    ----------
    A : (m, n)
    n_components : int
        k. The sketches have ``4 k + 1`` and ``8 k + 3`` rows or columns, or as many as A.
    key : PRNG key, optional
        A fixed one by default.

    Returns
    -------
    U : (m, k)
    s : (k,)
        Falling.
    Vt : (k, n)

    References
    ----------
    Tropp, Yurtsever, Udell and Cevher, "Streaming low-rank matrix approximation with an application to scientific
    simulation", 2019.
    """
    m, n = A.shape
    _fits("n_components", n_components, min(m, n))
    ranges, cores = min(4 * n_components + 1, m, n), 8 * n_components + 3
    of_columns, of_rows, left, right = jax.random.split(_key(key), 4)
    gaussian = lambda key, *shape: jax.random.normal(key, shape, A.dtype)  # noqa: E731
    phi, psi = gaussian(left, min(cores, m), m), gaussian(right, n, min(cores, n))
    Q = _orth(_times(A, gaussian(of_columns, n, ranges)))
    P = _orth(_times(gaussian(of_rows, ranges, m), A).T)
    Z = _times(_times(phi, A), psi)
    # Z = Φ A Ψ ≈ (Φ Q) core (Pᵀ Ψ), in least squares from either side
    core = jnp.linalg.lstsq(_times(phi, Q), Z)[0]
    core = jnp.linalg.lstsq(_adjoint(P, psi).T, core.T)[0].T
    U, s, Vt = jnp.linalg.svd(core, full_matrices=False)
    k = n_components
    return _times(Q, U[:, :k]), s[:k], _times(Vt[:k], P.T)


def _gram_product(A: Array, block: Array) -> Array:
    return _adjoint(A, _times(A, block))


def _differentiable(A: Array, U: Array, s: Array, Vt: Array) -> tuple[Array, Array, Array]:
    """The triplets of which U has the left vectors, with derivatives through the eigenpairs of ``AᵀA``."""
    k, values = U.shape[1], jnp.square(s)
    following = values[k] if k < len(values) else jnp.zeros((), values.dtype)
    values, V = attach_derivative(_gram_product, A, values[:k], Vt[:k].T, following)
    s = jnp.where(values > 0, jnp.sqrt(jnp.where(values > 0, values, 1)), 0)
    return with_derivative_of(_left, (A, s, V), U), s, V.T


def _left(triplets: tuple[Array, Array, Array]) -> Array:
    A, s, V = triplets
    return _times(A, V) / jnp.where(s > 0, s, 1)[None]


def _orth(A: Array) -> Array:
    return jnp.linalg.qr(A)[0]


def _times(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _adjoint(A: Array, b: Array) -> Array:
    """``Aᵀ b`` in the form that is fastest with few columns (`access.dense`)."""
    return jnp.einsum("mk,mn->kn", b, A, precision=lax.Precision.HIGHEST).T


def _key(key: Array | None) -> Array:
    return jax.random.key(0) if key is None else key


def _fits(name: str, wanted: int, most: int) -> None:
    if not 1 <= wanted <= most:
        raise ValueError(f"`{name}={wanted}` must lie between 1 and {most}.")
