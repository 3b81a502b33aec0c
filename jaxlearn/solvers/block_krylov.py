"""Block Lanczos on ``C = Xᵀ ω X``: the leading eigenvectors of a covariance from a few products with X."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from .protocols import Solver

__all__ = ["BlockKrylov"]


class _State(eqx.Module):
    basis: Array
    projected: Array
    index: Array
    values: Array
    vectors: Array
    residual: Array


class BlockKrylov(Solver):
    """Randomized block Lanczos with full reorthogonalisation.

    *Finds* the `n_components` largest eigenvalues λ of ``C = Xᵀ diag(ω) X`` and their eigenvectors.

    *Step* ``W = C Q_i``; ``T = Bᵀ C B`` gains its block column ``Bᵀ W``; what of W lies outside the basis B is
    orthonormalised to Q_{i+1} and joins it. The estimates are the eigenpairs of T (Rayleigh and Ritz).

    *Reads the data by* fold: one product ``Xᵀ (ω X Q)`` with a block of l columns.

    *Cost per step* 4 n p l flops; 16 p m l for the orthogonalisation, m = depth · l; m³ for the eigenpairs of T.

    *Stops when* ``max_j (λ_j − λ_j before this step) ≤ tol · λ_{k+1}``: estimates grow towards the eigenvalues, faster
    with every block, so that a step that adds little says that little is left. It is an estimate, not a bound.

    Parameters
    ----------
    n_components : int
        k.
    depth : int
        Most steps, that is blocks of l columns in the basis, ``k < depth · l ≤ p``. `params` of ``solve`` is the start,
        (p, l), for instance a Gaussian matrix; the solution is the pair of eigenvalues (k,) and eigenvectors (p, k).

    References
    ----------
    Musco and Musco, "Randomized block Krylov methods for stronger and faster approximate singular value decomposition",
    NeurIPS 2015.
    """

    needs: ClassVar = frozenset({"fold"})
    certificate: ClassVar = "eigenvalue change"

    n_components: int = eqx.field(static=True)
    depth: int = eqx.field(static=True)

    def init(self, problem, params, key=None):
        p, size = params.shape
        held, dtype = self.depth * size, params.dtype
        return _State(
            basis=jnp.zeros((p, held), dtype).at[:, :size].set(jnp.linalg.qr(params)[0]),
            projected=jnp.zeros((held, held), dtype),
            index=jnp.int32(0),
            values=jnp.zeros(self.n_components, dtype),
            vectors=jnp.zeros((held, self.n_components), dtype),
            residual=jnp.asarray(jnp.inf, dtype),
        )

    def ask(self, objective, state):
        size = state.basis.shape[1] // self.depth
        return lax.dynamic_slice_in_dim(state.basis, state.index * size, size, 1)

    def read(self, problem, query):
        return problem.design.fold(_covariance_product, query, problem.sample_weight)

    def params(self, state):
        return state.values, _times(state.basis, state.vectors)

    def residual(self, state):
        return state.residual

    def tell(self, objective, state, answer):
        size, k = answer.shape[1], self.n_components
        column, rest = _outside(state.basis, answer)
        at = state.index * size
        projected = lax.dynamic_update_slice_in_dim(state.projected, column, at, 1)
        projected = lax.dynamic_update_slice_in_dim(projected, column.T, at, 0)
        values, vectors = jnp.linalg.eigh(projected)
        values, vectors = jnp.maximum(values[::-1], 0), vectors[:, ::-1]
        change = jnp.max(jnp.abs(values[:k] - state.values))
        scale = jnp.where(values[k] > 0, values[k], jnp.where(values[0] > 0, values[0], 1))
        # where W lies in the basis but for rounding, its remainder is noise: a second projection makes that orthogonal too
        following = jnp.linalg.qr(_outside(state.basis, jnp.linalg.qr(rest)[0])[1])[0]
        grown = lax.dynamic_update_slice_in_dim(state.basis, following, at + size, 1)
        basis = jnp.where(state.index + 1 < self.depth, grown, state.basis)
        residual = jnp.where(state.index > 0, change / scale, jnp.inf)
        return _State(basis, projected, state.index + jnp.int32(1), values[:k], vectors[:, :k], residual)


def _outside(basis: Array, block: Array) -> tuple[Array, Array]:
    """``Bᵀ W``, and ``W − B Bᵀ W`` by Gram and Schmidt, twice."""
    first = _times(basis.T, block)
    once = block - _times(basis, first)
    second = _times(basis.T, once)
    return first + second, once - _times(basis, second)


def _covariance_product(q: Array, X: Any, w: Array) -> Array:
    return X.rmatvec(w[:, None] * X.matvec(q))


def _times(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
