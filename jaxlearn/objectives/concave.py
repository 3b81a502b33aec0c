"""Penalties that leave large coefficients alone, at the price of convexity: MCP and SCAD."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from .penalties import Penalty

__all__ = ["MCP", "SCAD", "Concave"]


class Concave(Penalty):
    """A penalty ``Σ_j Ω(|b_j|)`` with Ω concave, linear at zero with slope `alpha` and constant far from it.

    Its `strengths` are local: near b it is ``l1 |b| + ½ l2 b²`` up to a constant, l2 ≤ 0. There is no conjugate, and a
    stationary point need not be a minimum.
    """

    alpha: ArrayLike = 1.0

    def slope(self, coef: Array) -> Array:
        """``Ω′(|b|)``: the strengths of the l1 penalty that touches this one at b, and lies above it."""
        l1, l2 = self.strengths(coef)
        return l1 + l2 * jnp.abs(coef)

    def at(self, columns: Array) -> Concave:
        """Of the coefficients in `columns` alone."""
        if jnp.ndim(self.alpha) == 0:
            return self
        return eqx.tree_at(lambda p: p.alpha, self, jnp.asarray(self.alpha)[columns])

    def values(self, coef: Array) -> Array:
        """``Ω(|b_j|)`` of each coefficient."""
        raise NotImplementedError

    def value(self, coef):
        return jnp.sum(self.values(coef))

    def rise(self, old: Array, new: Array) -> Array:
        """``Ω(|new|) − Ω(|old|)`` of each coefficient, without cancellation where both are on one piece."""
        l1, l2 = self.strengths(old)
        there = self.strengths(new)
        within = l1 * (jnp.abs(new) - jnp.abs(old)) + 0.5 * l2 * (new - old) * (new + old)
        return jnp.where((l1 == there[0]) & (l2 == there[1]), within, self.values(new) - self.values(old))

    def prox(self, v: Array, step_size: ArrayLike) -> Array:
        """``argmin_b ½ (b − v)² + step_size Ω(|b|)`` of each coefficient: exact, also where that is not convex."""
        raise NotImplementedError

    def _alpha(self, coef: Array) -> Array:
        return jnp.broadcast_to(jnp.asarray(self.alpha, coef.dtype), coef.shape)


class MCP(Concave):
    """The minimax concave penalty: ``alpha |b| − b² / (2 gamma)`` up to ``|b| = gamma alpha``, constant beyond.

    Parameters
    ----------
    alpha : scalar or (p,)
        Strength, ≥ 0.
    gamma : scalar
        > 1: the smaller, the further from convex.

    References
    ----------
    Zhang, "Nearly unbiased variable selection under minimax concave penalty", Ann. Statist. 2010.
    """

    gamma: ArrayLike = 3.0

    def strengths(self, coef):
        alpha = self._alpha(coef)
        bent = jnp.abs(coef) < self.gamma * alpha
        return jnp.where(bent, alpha, 0), jnp.where(bent, -1 / jnp.asarray(self.gamma, coef.dtype), 0)

    def values(self, coef):
        alpha, size = self._alpha(coef), jnp.abs(coef)
        bent = size < self.gamma * alpha
        return jnp.where(bent, alpha * size - jnp.square(coef) / (2 * self.gamma), self.gamma * alpha**2 / 2)

    def prox(self, v, step_size):
        alpha, gamma, size = self._alpha(v), jnp.asarray(self.gamma, v.dtype), jnp.abs(v)
        curvature = 1 - step_size / gamma  # where the penalty is bent
        bent = jnp.maximum(size - step_size * alpha, 0) / jnp.where(curvature > 0, curvature, 1)
        # of a concave objective no minimum lies between; v is as low as zero at this size
        equal = jnp.sqrt(step_size * gamma) * alpha
        below, flat = jnp.where(curvature > 0, bent, 0), jnp.where(curvature > 0, gamma * alpha, equal)
        return jnp.sign(v) * jnp.where(size > flat, size, below)


class SCAD(Concave):
    """The smoothly clipped absolute deviation: ``alpha |b|`` up to alpha, then bent until ``|b| = a alpha``, constant beyond.

    Parameters
    ----------
    alpha : scalar or (p,)
        Strength, ≥ 0.
    a : scalar
        > 2.

    References
    ----------
    Fan and Li, "Variable selection via nonconcave penalized likelihood and its oracle properties", JASA 2001.
    """

    a: ArrayLike = 3.7

    def strengths(self, coef):
        alpha, size = self._alpha(coef), jnp.abs(coef)
        straight, bent, less = size <= alpha, size < self.a * alpha, self.a - 1
        l1 = jnp.where(straight, alpha, jnp.where(bent, self.a * alpha / less, 0))
        return l1, jnp.where(bent & ~straight, -1 / jnp.asarray(less, coef.dtype), 0)

    def values(self, coef):
        alpha, size = self._alpha(coef), jnp.abs(coef)
        curved = (2 * self.a * alpha * size - size**2 - alpha**2) / (2 * (self.a - 1))
        far = jnp.where(size < self.a * alpha, curved, alpha**2 * (self.a + 1) / 2)
        return jnp.where(size <= alpha, alpha * size, far)

    def prox(self, v, step_size):
        alpha, a, size = self._alpha(v), jnp.asarray(self.a, v.dtype), jnp.abs(v)
        curvature = 1 - step_size / (a - 1)  # where the penalty is bent
        straight = jnp.maximum(size - step_size * alpha, 0)
        bent = (size - step_size * a * alpha / (a - 1)) / jnp.where(curvature > 0, curvature, 1)
        # of a concave objective no minimum lies on the bent piece; v is as low as the one on the straight piece at this size
        equal = jnp.where(step_size < a + 1, (step_size + a + 1) / 2, jnp.sqrt(step_size * (a + 1))) * alpha
        below = jnp.where((curvature > 0) & (size > (1 + step_size) * alpha), bent, straight)
        return jnp.sign(v) * jnp.where(size > jnp.where(curvature > 0, a * alpha, equal), size, below)
