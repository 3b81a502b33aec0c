"""Block Lanczos on ``C = Xᵀ ω X``: the leading eigenvectors of a covariance from a few products with X."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.linalg.lanczos import KrylovBasis, ritz_error

from .protocols import Problem, Solver

__all__ = ["BlockKrylov", "covariance", "covariance_product"]


class _State(eqx.Module):
    basis: KrylovBasis
    residual: Array


class BlockKrylov(Solver):
    """Randomized block Lanczos with full reorthogonalisation.

    *Finds* the `n_components` largest eigenvalues λ of ``C = Xᵀ diag(ω) X`` and their eigenvectors.

    *Step* ``W = C Q_i``; ``T = Bᵀ C B`` gains its block column ``Bᵀ W``; what of W lies outside the basis B is
    orthonormalised to Q_{i+1} and joins it. The estimates are the eigenpairs of T (Rayleigh and Ritz).

    *Reads the data by* fold: one product ``Xᵀ (ω X Q)`` with a block of l columns.

    *Cost per step* 4 n p l flops; 16 p m l for the orthogonalisation, m = depth · l; m³ for the eigenpairs of T.

    *Stops when* the estimated error of every eigenvalue is at most ``tol · λ_{k+1}`` (`linalg.lanczos.ritz_error`); what
    the last product shows beyond the basis joins the solution (`KrylovBasis.leading`).

    Parameters
    ----------
    n_components : int
        k.
    depth : int
        Most steps, that is blocks of l columns in the basis, ``k < depth · l ≤ p``. `params` of ``solve`` is the start,
        (p, l), for instance a Gaussian matrix; the solution is the pair of eigenvalues (m,), of which those beyond k are
        less certain, and eigenvectors (p, k).
    target : scalar, optional
        Only as many eigenvalues as sum up to this have to be accurate, if they are at most k.
    mean : (p,), optional
        ``√Σω`` times the weighted mean of the rows, where they are not centred: C is then
        ``Xᵀ diag(ω) X − mean meanᵀ``. For a product with few columns this is much less work than to centre the rows.

    References
    ----------
    Musco and Musco, "Randomized block Krylov methods for stronger and faster approximate singular value decomposition",
    NeurIPS 2015.
    """

    needs: ClassVar = frozenset({"fold"})
    certificate: ClassVar = "eigenvalue error"

    n_components: int = eqx.field(static=True)
    depth: int = eqx.field(static=True)
    target: Array | None = None
    mean: Array | None = None

    def init(self, problem, params, key=None):
        return _State(KrylovBasis.start(params, self.depth), jnp.asarray(jnp.inf, params.dtype))

    def ask(self, objective, state):
        return state.basis.newest

    def read(self, problem, query):
        return covariance(problem, self.mean, query)

    def params(self, state):
        return state.basis.leading(self.n_components)

    def residual(self, state):
        return state.residual

    def tell(self, objective, state, answer):
        basis = state.basis.extended(answer)
        held, (p, m) = basis.index * basis.size, (len(basis.vectors), len(basis.projected))

        def error() -> Array:
            values, residuals = basis.ritz()
            wanted, reached = jnp.int32(self.n_components), jnp.asarray(True)
            if self.target is not None:
                needed = 1 + (jnp.cumsum(values) < self.target).sum(dtype=jnp.int32)
                wanted, reached = jnp.minimum(needed, wanted), needed <= wanted
            known = reached & ((wanted < held) | (held == p))
            return jnp.where(known, ritz_error(values, residuals, wanted, held, beyond=True), jnp.inf)

        if self.target is not None:
            return _State(basis, error())
        # with fewer vectors than are wanted nothing can be said: the eigenpairs are left for later
        ready = (held > self.n_components) | (held == m)
        return _State(basis, lax.cond(ready, error, lambda: jnp.asarray(jnp.inf, answer.dtype)))


def covariance(problem: Problem, mean: Array | None, q: Array) -> Array:
    """``(Xᵀ ω X − mean meanᵀ) Q`` over all rows."""
    product = problem.design.fold(covariance_product, q, problem.sample_weight)
    return product if mean is None else product - jnp.outer(mean, jnp.matmul(mean, q, precision=lax.Precision.HIGHEST))


def covariance_product(q: Array, X: Any, w: Array) -> Array:
    """``Xᵀ ω X Q``: a lift."""
    return X.rmatvec(w[:, None] * X.matvec(q))
