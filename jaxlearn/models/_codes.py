"""Codes of samples on a dictionary, as a differentiable function of what they depend on."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.linalg import cholesky
from jaxlearn.objectives import L2, Penalty
from jaxlearn.solvers.protocols import Problem
from jaxlearn.solvers.solution import CONVERGED, Budget
from jaxlearn.solvers.solve import solve
from jaxlearn.solvers.sparse_codes import CodeADMM, Correlations

__all__ = ["Codes", "correlate", "encode_correlations"]

HIGHEST = lax.Precision.HIGHEST


class Codes(eqx.Module):
    """Codes and how certain they are.

    Attributes
    ----------
    codes : (n, k)
    status : int32 scalar
        Index into ``jaxlearn.solvers.SENTENCES``; 0 is converged.
    residual : scalar
        Duality gap, in the units of `CodeADMM`; zero for a ridge regression.
    n_steps : int32 scalar
    """

    codes: Array
    status: Array
    residual: Array
    n_steps: Array


def correlate(
    dictionary: Array | None,
    X: Array,
    weight: Array,
    *,
    gram: Array | None = None,
    correlations: Array | None = None,
    share: float = 1.0,
) -> Correlations:
    """Gram matrix, correlations and energy, each times `share`; those that are given are taken as they are."""
    if correlations is None:
        assert dictionary is not None
        correlations = share * jnp.einsum("np,kp->nk", X, dictionary, precision=HIGHEST)
    atoms = None
    if gram is None:
        assert dictionary is not None
        gram = share * jnp.matmul(dictionary, dictionary.T, precision=HIGHEST)
        atoms = math.sqrt(share) * dictionary if 2 * dictionary.shape[1] < len(dictionary) else None
    return Correlations(gram, correlations, share * jnp.square(X).sum(1), weight, atoms)


def encode_correlations(seen: Correlations, penalty: Penalty, budget: Budget, *, every_row: bool = False) -> Codes:
    """Minimise ``½ a G aᵀ − β·a + Ω(a)`` for each sample."""
    if isinstance(penalty, L2):
        l2 = penalty.strengths(seen.correlations[0])[1]
        lower = cholesky.factor(seen.gram + jnp.diag(l2))
        codes = cholesky.solve(lower, seen.correlations.T).T
        zero = jnp.zeros((), codes.dtype)
        return Codes(codes, jnp.int32(CONVERGED), zero, jnp.int32(1))
    fixed = jax.tree.map(lax.stop_gradient, (seen, penalty))
    solver = CodeADMM(fixed[1], every_row)
    found = solve(Problem(None, fixed[0], None, None), solver, jnp.zeros_like(fixed[0].correlations), budget=budget)
    strengths = penalty.strengths(seen.correlations[0])
    codes = _attach(seen.gram, seen.correlations, strengths, lax.stop_gradient(found.params))
    return Codes(codes, found.status, lax.stop_gradient(found.residual), found.n_steps)


@jax.custom_jvp
def _attach(gram: Array, correlations: Array, strengths: Any, codes: Array) -> Array:
    """`codes`, with its derivative: ``(G + l2)_AA ∂a = (∂β − a ∂G − ∂l1 sign(a) − ∂l2 a)_A`` on the support A."""
    return codes


@_attach.defjvp
def _attach_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    gram, _, strengths, codes = primals
    codes = _attach(*primals)

    def optimality(gram: Array, correlations: Array, strengths: Any) -> Array:
        l1, l2 = strengths
        product = jnp.matmul(codes, gram, precision=HIGHEST)
        return correlations - product - l1[None] * jnp.sign(codes) - l2[None] * codes

    _, change = jax.jvp(optimality, primals[:3], tangents[:3])
    active = codes != 0

    def curved(v: Array) -> Array:
        inside = jnp.where(active, v, 0)
        product = jnp.matmul(inside, gram, precision=HIGHEST) + strengths[1][None] * inside
        return jnp.where(active, product, v)

    def by_conjugate_gradients(matvec: Any, b: Array) -> Array:
        return jax.scipy.sparse.linalg.cg(matvec, b, tol=float(jnp.finfo(b.dtype).eps) ** 0.75)[0]

    b = jnp.where(active, change, 0)
    return codes, lax.custom_linear_solve(curved, b, by_conjugate_gradients, symmetric=True)
