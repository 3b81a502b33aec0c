"""The duality gap of elastic-net least squares, as a sum of terms that are each ≥ 0.

The textbook ``primal − dual`` cancels: in float32 it returns zero, or less, long before the optimum. With
``g = Xᵀ ω r − l2 b`` and the dual point θ = s r, s = min(1, min_j l1_j / |g_j|), Fenchel and Young give ::

    gap = ½ (1 − s)² (Σ ω r² + Σ l2 b²) + Σ_j (l1_j |b_j| − s b_j g_j)

whose summands keep their relative accuracy in any precision (Ndiaye et al., Gap Safe screening rules, JMLR 2017). Where
coefficients come in groups, rows of a matrix, ``|·|`` is the norm of a row.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

__all__ = ["convexity_gap", "dual_scale", "duality_gap", "magnitude", "of_each", "scaled_gap"]


def magnitude(b: Array) -> Array:
    """``|b_j|``: of each number of (p,), or the norm of each row of (p, k)."""
    return jnp.abs(b) if b.ndim == 1 else jnp.sqrt(jnp.square(b).sum(1))


def of_each(values: Array, b: Array) -> Array:
    """(p,), in a shape that multiplies `b`, (p,) or (p, k)."""
    return values if b.ndim == 1 else values[:, None]


def dual_scale(g: Array, l1: Array, positive: bool) -> Array:
    """Largest s ≤ 1 for which ``s g_j`` is dual feasible in every coordinate that has an l1 strength."""
    push = g if positive else magnitude(g)
    binding = (l1 > 0) & (push > l1)
    return jnp.min(jnp.where(binding, l1 / jnp.where(binding, push, 1), 1), initial=1)


def duality_gap(coef: Array, g: Array, energy: Array, strengths: tuple[Array, Array], positive: bool) -> Array:
    """The certificate ``F(b) − F* ≤ gap``.

    Parameters
    ----------
    coef : (p,) or (p, k)
    g : (p,) or (p, k)
        ``Xᵀ ω r − l2 b``, the negative gradient of the smooth part.
    energy : scalar
        ``Σ ω r²``.
    strengths : (l1, l2), each (p,)
        Strengths per coordinate, or per row.
    positive : bool
        The problem is restricted to b ≥ 0, (p,).

    Returns
    -------
    scalar
        The smaller of the gap of the scaled residual and the strong-convexity bound ``Σ dist_j² / (2 l2_j)`` of the distance
        to the subdifferential: the gap of the residual itself in the dual of the elastic net, which bounds no correlation
        that has an l2 strength. In the former, a coordinate with l2 alone contributes its own term of that sum. One
        without any strength asks its dual for g_j = 0, which rounding never grants; it contributes ``|g_j| ‖b‖₁``, a
        bound for optima that are no larger than b, and so none at b = 0.
    """
    return jnp.minimum(scaled_gap(coef, g, energy, strengths, positive), convexity_gap(coef, g, strengths, positive))


def convexity_gap(coef: Array, g: Array, strengths: tuple[Array, Array], positive: bool) -> Array:
    """``Σ dist_j² / (2 l2_j)`` from what `duality_gap` takes; infinite where a coordinate without l2 has a distance."""
    l1, l2 = strengths
    push, size = jnp.maximum(g, 0) if positive else magnitude(g), magnitude(coef)
    held = magnitude(g - of_each(l1, coef) * (coef / of_each(jnp.where(size > 0, size, 1), coef)))
    distance = jnp.where(size > 0, held, jnp.maximum(push - l1, 0))
    without = jnp.where(distance > 0, jnp.inf, 0)
    return jnp.sum(jnp.where(l2 > 0, jnp.square(distance) / (2 * jnp.where(l2 > 0, l2, 1)), without))


def scaled_gap(coef: Array, g: Array, energy: Array, strengths: tuple[Array, Array], positive: bool) -> Array:
    """The gap to the scaled residual as dual point, from what `duality_gap` takes: what other libraries mean by it."""
    l1, l2 = strengths
    s = dual_scale(g, l1, positive)
    only_l2 = (l1 == 0) & (l2 > 0)
    push, size = jnp.maximum(g, 0) if positive else magnitude(g), magnitude(coef)
    quadratic = energy + jnp.sum(jnp.where(only_l2, 0, l2 * jnp.square(size)))
    linear = jnp.sum(jnp.where(only_l2, 0, l1 * size - s * _dot(coef, g)))
    back = of_each(l2, coef) * coef
    u = s * (g + back)
    reach = jnp.maximum(u, 0) if positive else u
    terms = _dot(reach - back, reach - back) / (2 * jnp.where(l2 > 0, l2, 1)) + _dot(coef, reach - u)
    ridge = jnp.sum(jnp.where(only_l2, terms, 0))
    largest, total = jnp.max(jnp.where((l1 == 0) & (l2 == 0), push, 0), initial=0), jnp.sum(size)
    free = jnp.where((total == 0) & (largest > 0), jnp.inf, largest * total)
    # a summand that is zero in exact arithmetic may round to minus one ulp
    return jnp.maximum(0.5 * jnp.square(1 - s) * quadratic + linear + ridge + free, 0)


def _dot(a: Array, b: Array) -> Array:
    """Products of numbers, or of rows."""
    return a * b if a.ndim == 1 else (a * b).sum(1)
