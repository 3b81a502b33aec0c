"""Accelerated proximal gradient steps on a quadratic in memory: products with G alone, no factor and no order."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from . import tree

__all__ = ["accelerate"]

# A step size that the quadratic contradicts is replaced by one with this much to spare.
SPARE = 1.2


class _State(eqx.Module):
    coef: Array
    g: Array
    ahead: Array  # the extrapolated point z
    g_ahead: Array
    momentum: Array
    lipschitz: Array


def accelerate(
    hessian: Array, start: tuple[Array, Array], l1: Array, lipschitz: Array, n_steps: Array, *, positive: bool
) -> tuple[Array, Array]:
    """`n_steps` accelerated proximal gradient steps on ``½ bᵀ H b − q·b + Σ l1 |b|``, or on the same over b ≥ 0.

    ``b⁺ = S(z + (q − H z) / L, l1 / L)``, with S the soft threshold and z extrapolated from the last two b; the momentum
    starts anew where it points uphill. L grows whenever ``dᵀ H d > L ‖d‖²`` is seen along a step d, which is then not
    taken.

    Parameters
    ----------
    hessian : (K, K)
        H.
    start : (coef, g), each (K,)
        b, and ``g = q − H b`` there. Later gradients are differences from it, so that g may be more accurate than H.
    l1 : (K,)
    lipschitz : scalar
        A first guess of L, the largest eigenvalue of H: a lower bound is best.
    n_steps : int32 scalar
        Products with H, those that raise L included.
    positive : bool

    Returns
    -------
    coef : (K,)
    lipschitz : scalar
        The L in use at the end.

    References
    ----------
    Beck, Teboulle, "A fast iterative shrinkage-thresholding algorithm", SIAM J. Imaging Sci. 2009; O'Donoghue, Candès,
    "Adaptive restart for accelerated gradient schemes", Found. Comput. Math. 2015.
    """
    coef0, g0 = start
    eps = jnp.finfo(g0.dtype).eps

    def step(_: Array, state: _State) -> _State:
        z = state.ahead + state.g_ahead / state.lipschitz
        shrunk = z - jnp.clip(z, -l1 / state.lipschitz, l1 / state.lipschitz)
        coef = jnp.maximum(shrunk, 0) if positive else shrunk
        g = g0 - jnp.matmul(coef - coef0, hessian, precision=lax.Precision.HIGHEST)
        d = coef - state.ahead
        curvature, length = d @ (state.g_ahead - g), d @ d
        noise = 4 * eps * (jnp.abs(d) @ (jnp.abs(state.g_ahead) + jnp.abs(g)))
        steep = curvature - noise > state.lipschitz * length
        # momentum that leads uphill is forgotten
        before = jnp.where(d @ (coef - state.coef) < 0, 1, state.momentum)
        after = 0.5 * (1 + jnp.sqrt(1 + 4 * jnp.square(before)))
        beta = (before - 1) / after
        ahead, g_ahead = coef + beta * (coef - state.coef), g + beta * (g - state.g)
        taken = _State(coef, g, ahead, g_ahead, after, state.lipschitz)
        steeper = SPARE * curvature / jnp.where(length > 0, length, 1)
        return tree.where(steep, eqx.tree_at(lambda s: s.lipschitz, state, steeper), taken)

    end = lax.fori_loop(0, n_steps, step, _State(coef0, g0, coef0, g0, jnp.ones_like(lipschitz), lipschitz))
    return end.coef, end.lipschitz
