"""Convex sets that the atoms of a dictionary are held in: a norm that adds up over features, and the projection.

A ball is ``{d : N(d) ≤ radius}`` with ``N(d) = Σ_f n(d_f)``. Because N is a sum, the part of an atom on some features can be
projected alone, into what the other features leave of the radius.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

__all__ = ["Ball", "ElasticNetBall", "L2Ball"]

# Supports that a projection tries, each that of the root for the one before; as many again where they still change.
SUPPORTS = 5


class Ball(eqx.Module):
    """Atoms d with ``N(d) ≤ radius``, and ``d ≥ 0`` if `positive`; rows of (k, p) are atoms."""

    radius: ArrayLike = 1.0
    positive: bool = eqx.field(static=True, default=False)

    def norm(self, atoms: Array) -> Array:
        """N of each row, (k,)."""
        raise NotImplementedError

    def shrunk(self, atoms: Array, budget: Array) -> Array:
        """The projection of rows on ``N ≤ budget``, (k,), without regard to signs."""
        raise NotImplementedError

    def project(self, atoms: Array, budget: Array | None = None) -> Array:
        """The nearest point of the ball to each row.

        Parameters
        ----------
        atoms : (k, p)
        budget : (k,), optional
            In place of `radius`.
        """
        budget = jnp.full(len(atoms), self.radius, atoms.dtype) if budget is None else jnp.maximum(budget, 0)
        atoms = jnp.maximum(atoms, 0) if self.positive else atoms
        return self.shrunk(atoms, budget.astype(atoms.dtype))

    def scaled(self, atoms: Array) -> Array:
        """Rows inside of the ball in the direction of `atoms`: scaled, not projected."""
        atoms = jnp.maximum(atoms, 0) if self.positive else atoms
        return atoms * self.scale(self.norm(atoms), jnp.asarray(self.radius, atoms.dtype))[:, None]

    def scale(self, norm: Array, budget: Array) -> Array:
        """A factor ≤ 1 that takes atoms of that norm into the ball."""
        return jnp.minimum(1, budget / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny))


class L2Ball(Ball):
    """``N(d) = ‖d‖²``."""

    def norm(self, atoms):
        return jnp.square(atoms).sum(1)

    def shrunk(self, atoms, budget):
        return atoms * self.scale(self.norm(atoms), budget)[:, None]

    def scale(self, norm, budget):
        return jnp.sqrt(super().scale(norm, budget))


class ElasticNetBall(Ball):
    """``N(d) = l1_ratio ‖d‖₁ + (1 − l1_ratio) ‖d‖²``; sparse atoms for `l1_ratio` > 0.

    The projection is ``S(v, λ l1_ratio) / (1 + 2 λ (1 − l1_ratio))``, S the soft threshold, with λ ≥ 0 the root of
    ``N = budget``. For a given support this is a quadratic equation; the support is found in a few steps (for an l1 ball this
    is Michelot's algorithm, J. Optim. Theory Appl. 1986).
    """

    l1_ratio: ArrayLike = 1.0

    def norm(self, atoms):
        ratio = jnp.asarray(self.l1_ratio, atoms.dtype)
        return ratio * jnp.abs(atoms).sum(1) + (1 - ratio) * jnp.square(atoms).sum(1)

    def shrunk(self, atoms, budget):
        ratio = jnp.asarray(self.l1_ratio, atoms.dtype)
        size, rest = jnp.abs(atoms), 2 * (1 - ratio)
        inside = self.norm(atoms) <= budget
        # the largest entry alone must fit: a lower bound of λ that is near where little is left of the atom
        least = (ratio * size.max(1) - budget) / jnp.maximum(ratio**2 + rest * budget, jnp.finfo(atoms.dtype).tiny)

        def step(_: Array, multiplier: Array) -> Array:
            """The root, were the support that of `multiplier`: of a quadratic."""
            kept = jnp.where(size > multiplier[:, None] * ratio, size, 0)
            first, second, count = kept.sum(1), jnp.square(kept).sum(1), (kept > 0).sum(1).astype(atoms.dtype)
            a = -rest * (budget * rest + ratio**2 * count / 2)
            b = -(2 * budget * rest + ratio**2 * count)
            c = ratio * first + (1 - ratio) * second - budget
            root = jnp.sqrt(jnp.maximum(jnp.square(b) - 4 * a * c, 0))
            return jnp.maximum(2 * c / jnp.maximum(root - b, jnp.finfo(atoms.dtype).tiny), 0)

        before = lax.fori_loop(0, SUPPORTS - 1, step, jnp.maximum(least, 0))
        multiplier = step(jnp.int32(0), before)
        # supports only shrink, and the multiplier grows until it is the root: most often it has not moved by now
        moved = (multiplier > before * (1 + 4 * jnp.finfo(atoms.dtype).eps)).any()
        multiplier = lax.cond(moved, lambda m: lax.fori_loop(0, SUPPORTS, step, m), lambda m: m, multiplier)
        left = jnp.maximum(size - multiplier[:, None] * ratio, 0) / (1 + rest * multiplier)[:, None]
        # a search that ended early ends inside all the same
        left = left * self.scale(self.norm(left), budget)[:, None]
        return jnp.where(inside[:, None], atoms, jnp.sign(atoms) * left)
