"""The derivative of leading eigenpairs, whatever found them, by implicit differentiation of ``C v = λ v``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.sparse.linalg import cg

__all__ = ["attach_derivative", "with_derivative_of"]

HIGHEST = lax.Precision.HIGHEST


def attach_derivative(
    product: Callable[[Any, Array], Array], operands: Any, values: Array, vectors: Array, following: Array
) -> tuple[Array, Array]:
    """`values` and `vectors`, unchanged, with the derivative of the eigenpairs of C with respect to `operands`.

    ``dλ_j = v_jᵀ dC v_j``. A vector moves within the span V of those found by ``v_iᵀ dC v_j / (λ_j − λ_i)`` for each
    other i, and out of it by the y that solves ``(λ_j I − C) y = (I − V Vᵀ) dC v_j``, by conjugate gradients: the
    matrix is positive definite outside of V. Between equal eigenvalues vectors may turn at no cost, and their turning is
    taken as zero: the derivative of what does not depend on it (the projector ``V Vᵀ``, a sum over components) is right.

    Parameters
    ----------
    product : callable
        A module-level function ``(operands, block) -> C block`` for a symmetric positive semidefinite C.
    operands : pytree
        What C is made of.
    values : (k,)
        Leading eigenvalues of C, falling.
    vectors : (p, k)
        Their eigenvectors.
    following : scalar
        The next eigenvalue.

    Returns
    -------
    values, vectors
        Differentiable forwards, in reverse and repeatedly.

    Raises
    ------
    ValueError
        Differentiated where `following` is within 1e-4 (float32; 1e-7 in float64) of the last value, relative to the
        first: the subspace has no derivative there. Inside `jit` nothing can be raised, and the derivative is NaN.

    References
    ----------
    Magnus, "On differentiating eigenvalues and eigenvectors", 1985.
    """
    fixed = jax.tree.map(lax.stop_gradient, (values, vectors, following))
    return _attached(product, operands, *fixed)


def with_derivative_of(function: Callable[[Any], Any], operands: Any, value: Any) -> Any:
    """`value`, which was computed in some other way, with the derivative of ``function(operands)``, which it equals."""
    return _substituted(function, operands, jax.tree.map(lax.stop_gradient, value))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _substituted(function: Any, operands: Any, value: Any) -> Any:
    return value


@_substituted.defjvp
def _function_derivative(function, primals, tangents):
    operands, _ = primals
    return _substituted(function, *primals), jax.jvp(function, (operands,), (tangents[0],))[1]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _attached(product: Any, operands: Any, values: Array, vectors: Array, following: Array) -> tuple[Array, Array]:
    return values, vectors


@_attached.defjvp
def _derivative(product, primals, tangents):
    operands, values, vectors, following = primals
    values, vectors = _attached(product, operands, values, vectors, following)  # a derivative has derivatives
    eps = jnp.finfo(values.dtype).eps
    gap = _sound_gap(values, following, 1e-7 if eps < 1e-10 else 1e-4)
    moved = jax.jvp(lambda operands: product(operands, vectors), (operands,), (tangents[0],))[1]
    within = jnp.einsum("pk,pl->kl", vectors, moved, precision=HIGHEST)
    outside = moved - _times(vectors, within)
    difference = values[None] - values[:, None]
    close = jnp.abs(difference) <= 10 * eps * values[0]
    turn = jnp.where(close, 0, within / jnp.where(close, 1, difference))

    def complement(y: Array) -> Array:
        return y - _times(vectors, jnp.einsum("pk,pl->kl", vectors, y, precision=HIGHEST))

    def shifted(levels: Array, y: Array) -> Array:
        # positive definite everywhere: within V, which the right-hand side does not touch, it is λ
        return y * levels[None] - complement(product(operands, complement(y)))

    def by_conjugate_gradients(_: Any, b: Array) -> Array:
        def column(level: Array, b: Array) -> Array:
            return cg(lambda y: shifted(level[None], y), b[:, None], tol=100 * eps)[0][:, 0]  # pyright: ignore

        return jax.vmap(column, (0, 1), 1)(values, b)

    # by the gap twice: conjugate gradients make zeros of what is not a number, in whichever direction they run
    leaving = lax.custom_linear_solve(partial(shifted, values), gap * outside, by_conjugate_gradients, symmetric=True)
    return (values, vectors), (jnp.diagonal(within), (_times(vectors, turn) + leaving) * gap)


def _sound_gap(values: Array, following: Array, least: float) -> Array:
    """One where the subspace has a derivative; where it has none an error, or NaN if the values are not known yet."""
    sound = values[-1] - following > least * values[0]
    try:
        known = bool(sound)
    except jax.errors.ConcretizationTypeError:
        return jnp.where(sound, 1, jnp.nan).astype(values.dtype)
    if not known:
        raise ValueError(
            f"The leading eigenvectors have no derivative: eigenvalue {len(values)} is {float(values[-1]):.6g}, and the "
            f"next, {float(following):.6g}, is too close to it. Ask for another number of components."
        )
    return jnp.ones((), values.dtype)


def _times(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=HIGHEST)
