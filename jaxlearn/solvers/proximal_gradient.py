"""Accelerated proximal gradient steps on a quadratic in memory: products with G alone, no factor and no order."""

from __future__ import annotations

from collections.abc import Callable

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
    times: Callable[[Array], Array],
    held: Callable[[Array, Array], Array],
    start: tuple[Array, Array],
    lipschitz: Array,
    n_steps: Array,
) -> tuple[Array, Array]:
    """`n_steps` accelerated proximal gradient steps on ``½ bᵀ H b − q·b + Ω(b)``.

    ``b⁺ = prox(z + (q − H z) / L)``, with prox that of ``Ω / L`` and z extrapolated from the last two b; the momentum
    starts anew where it points uphill. L grows whenever ``dᵀ H d > L ‖d‖²`` is seen along a step d, which is then not
    taken.

    Parameters
    ----------
    times : callable
        ``d ↦ H d``; single precision will do.
    held : callable
        ``(z, L) ↦ z − prox(z)``, what the penalty holds back: for ``l1 |b|``, z clipped to ``± l1 / L``.
    start : (coef, g)
        b, of any shape, and ``g = q − H b`` there. Later gradients are differences from it, so that g may be more accurate
        than H.
    lipschitz : scalar
        A first guess of L, the largest eigenvalue of H: a lower bound is best.
    n_steps : int32 scalar
        Products with H, those that raise L included.

    Returns
    -------
    coef
        b.
    lipschitz : scalar
        The L in use at the end.

    References
    ----------
    Beck, Teboulle, "A fast iterative shrinkage-thresholding algorithm", SIAM J. Imaging Sci. 2009; O'Donoghue, Candès,
    "Adaptive restart for accelerated gradient schemes", Found. Comput. Math. 2015.
    """
    coef0, g0 = start
    eps = jnp.finfo(jnp.float32).eps  # products may be those of single precision

    def step(_: Array, state: _State) -> _State:
        z = state.ahead + state.g_ahead / state.lipschitz
        coef = z - held(z, state.lipschitz)
        g = g0 - times(coef - coef0)
        d = coef - state.ahead
        curvature, length = jnp.sum(d * (state.g_ahead - g)), jnp.sum(d * d)
        noise = 4 * eps * jnp.sum(jnp.abs(d) * (jnp.abs(state.g_ahead) + jnp.abs(g)))
        steep = curvature - noise > state.lipschitz * length
        # momentum that leads uphill is forgotten
        before = jnp.where(jnp.sum(d * (coef - state.coef)) < 0, 1, state.momentum)
        after = 0.5 * (1 + jnp.sqrt(1 + 4 * jnp.square(before)))
        beta = (before - 1) / after
        ahead, g_ahead = coef + beta * (coef - state.coef), g + beta * (g - state.g)
        taken = _State(coef, g, ahead, g_ahead, after, state.lipschitz)
        steeper = SPARE * curvature / jnp.where(length > 0, length, 1)
        return tree.where(steep, eqx.tree_at(lambda s: s.lipschitz, state, steeper), taken)

    end = lax.fori_loop(0, n_steps, step, _State(coef0, g0, coef0, g0, jnp.ones_like(lipschitz), lipschitz))
    return end.coef, end.lipschitz
