"""Subspace iteration on ``C = Xᵀ ω X``, with a shift: the eigenvectors of a covariance in the memory of one block."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.linalg.lanczos import ritz_error

from .block_krylov import covariance
from .protocols import Solver

__all__ = ["SubspaceIteration"]


class _State(eqx.Module):
    block: Array
    shift: Array
    values: Array
    vectors: Array
    residual: Array


class SubspaceIteration(Solver):
    """Randomized subspace iteration: the classical randomized SVD, with a shift that makes it converge faster.

    *Finds* the `n_components` largest eigenvalues λ of ``C = Xᵀ diag(ω) X`` and their eigenvectors.

    *Step* ``W = C Q``; the estimates are the eigenpairs of ``Qᵀ W``; ``Q ← orth(W − α Q)`` with the shift
    ``α ← (α + σ_min(W − α Q)) / 2`` where that raises it: it stays below half of what the block does not hold, and makes
    that decay faster beside what it holds.

    *Reads the data by* fold: one product ``Xᵀ (ω X Q)`` with a block of l columns.

    *Cost per step* 4 n p l flops, 8 p l² for the orthogonalisation.

    *Stops when* the estimated error of every eigenvalue is at most ``tol · λ_{k+1}`` (`linalg.lanczos.ritz_error`).

    Parameters
    ----------
    n_components : int
        k < l. `params` of ``solve`` is the start, (p, l), for instance a Gaussian matrix; the solution is the pair of
        eigenvalues (l,), of which those beyond k are less certain, and eigenvectors (p, k).
    mean : (p,), optional
        As in `BlockKrylov`.

    References
    ----------
    Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 2011. Feng, Yu, Xie and Tang, "Algorithm
    1043: faster randomized SVD with dynamic shifts", ACM TOMS 2024.
    """

    needs: ClassVar = frozenset({"fold"})
    certificate: ClassVar = "eigenvalue error"

    n_components: int = eqx.field(static=True)
    mean: Array | None = None

    def init(self, problem, params, key=None):
        block, zero = jnp.linalg.qr(params)[0], jnp.zeros((), params.dtype)
        return _State(block, zero, jnp.zeros(params.shape[1], params.dtype), block, zero + jnp.inf)

    def ask(self, objective, state):
        return state.block

    def read(self, problem, query):
        return covariance(problem, self.mean, query)

    def params(self, state):
        return state.values, state.vectors[:, : self.n_components]

    def residual(self, state):
        return state.residual

    def tell(self, objective, state, answer):
        size = answer.shape[1]
        projected = jnp.einsum("pk,pl->kl", state.block, answer, precision=lax.Precision.HIGHEST)
        values, rotation = jnp.linalg.eigh((projected + projected.T) / 2)
        values, rotation = jnp.maximum(values[::-1], 0), rotation[:, ::-1]
        vectors, images = (jnp.matmul(a, rotation, precision=lax.Precision.HIGHEST) for a in (state.block, answer))
        residuals = jnp.linalg.norm(images - vectors * values[None], axis=0)
        block, triangle = jnp.linalg.qr(answer - state.shift * state.block)
        smallest = jnp.linalg.svd(triangle, compute_uv=False)[-1]
        shift = jnp.where(smallest > state.shift, (state.shift + smallest) / 2, state.shift)
        residual = ritz_error(values, residuals, jnp.int32(self.n_components), jnp.int32(size))
        return _State(block, shift, values, vectors, residual)
