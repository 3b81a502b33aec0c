"""Least angle regression: codes that grow along the direction that all chosen atoms see at the same angle."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from .orthogonal_matching_pursuit import Pursuit, joined, solved

__all__ = ["least_angle"]


def least_angle(gram: ArrayLike, correlations: ArrayLike, n_nonzero: int) -> Array:
    """Codes after `n_nonzero` steps of least angle regression.

    *Minimises*, in the end, ``½ ‖x − a D‖²``: after as many steps as there are atoms, a is the least-squares fit.

    *Step* the chosen atoms A correlate with ``x − a D`` by ±C, all others by less. a moves in the direction w in which
    these C fall together, ``G_AA w_A = ±1``, until another atom correlates as much, and that atom is chosen. Signs stay
    what they were when an atom was chosen, also where its value passes through zero. In an orthonormal basis of the chosen
    atoms the direction only gains a coordinate with each of them.

    *Reads the data by* nothing: Gram matrix and correlations are in memory.

    *Cost per step* 4 k m flops for each sample.

    *Stops when* `n_nonzero` steps were made, or what is left correlates with no atom beyond rounding errors.

    Parameters
    ----------
    gram : (k, k)
        ``D Dᵀ``.
    correlations : (n, k)
        ``X Dᵀ``.
    n_nonzero : int
        m ≤ k.

    Returns
    -------
    (n, k)

    References
    ----------
    Efron, Hastie, Johnstone, Tibshirani, "Least angle regression", Annals of Statistics 2004.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> least_angle(jnp.eye(2), jnp.array([[3.0, -1.0]]), 1)
    Array([[2., 0.]], dtype=float32)
    """
    gram = jnp.asarray(gram)
    return jax.vmap(lambda beta: _regress(gram, beta, n_nonzero))(jnp.asarray(correlations))


def _regress(gram: Array, beta: Array, n_nonzero: int) -> Array:
    eps = jnp.finfo(beta.dtype).eps
    first = jnp.argmax(jnp.abs(beta)).astype(jnp.int32)
    negligible = eps**0.75 * jnp.abs(beta[first])

    def step(i: Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        pursuit, left, level, atom, direction, fall, total = carry
        go = (level > negligible) & pursuit.candidates(gram)[atom]
        sign = jnp.sign(left[atom])
        pursuit = joined(pursuit, gram, i, atom, go)
        # ⟨atom, direction⟩ = sign: forward substitution gains one coordinate
        coordinate = jnp.where(go, (sign - fall[atom]) / pursuit.factor[i, i], 0)
        direction = direction.at[i].set(coordinate)
        fall = fall + coordinate * pursuit.basis[i]
        free = pursuit.candidates(gram)
        upper = jnp.where(free & (1 - fall > eps), jnp.maximum(level - left, 0) / jnp.maximum(1 - fall, eps), jnp.inf)
        lower = jnp.where(free & (1 + fall > eps), jnp.maximum(level + left, 0) / jnp.maximum(1 + fall, eps), jnp.inf)
        reach = jnp.minimum(upper, lower)
        following = jnp.argmin(reach).astype(jnp.int32)
        length = jnp.where(go, jnp.minimum(reach[following], level), 0)
        return (
            pursuit,
            left - length * fall,
            level - length,
            following,
            direction,
            fall,
            total + length * direction,
        )

    zeros = jnp.zeros(n_nonzero, beta.dtype)
    start = Pursuit.empty(gram, n_nonzero), beta, jnp.abs(beta[first]), first, zeros, jnp.zeros_like(beta), zeros
    pursuit, _, _, _, _, _, total = lax.fori_loop(0, n_nonzero, step, start)
    return solved(pursuit, total)
