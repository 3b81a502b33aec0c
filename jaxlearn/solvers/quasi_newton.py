"""What a quasi-Newton method remembers: pairs of a step and of the change of the gradient along it."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

__all__ = ["Pairs"]

Metric = Callable[[Array], Array]


class Pairs(eqx.Module):
    """The last pairs (s, y), with y the change of the gradient along the step s.

    Attributes
    ----------
    steps, changes : (history, p) or (history, p, k)
        s and y, in slots that are used in turn.
    inverse : (history,)
        ``1 / s·y``; zero where a slot is empty, which so has no effect.
    scale : scalar
        γ, which makes of a metric M⁻¹ the curvature of the last pair: ``s·y / y·M⁻¹y``.
    count : int32 scalar
        Pairs so far.
    """

    steps: Array
    changes: Array
    inverse: Array
    scale: Array
    count: Array

    @classmethod
    def none(cls, history: int, params: Array) -> Pairs:
        """Room for `history` pairs."""
        room = jnp.zeros((history, *params.shape), params.dtype)
        one = jnp.ones((), params.dtype)
        return cls(room, room, jnp.zeros(history, params.dtype), one, jnp.int32(0))

    def remember(self, s: Array, y: Array, metric: Metric) -> Pairs:
        """With one pair more, in the place of the oldest; a pair with s·y ≤ 0 is skipped."""
        product = jnp.sum(s * y)
        curved = product > jnp.finfo(y.dtype).eps * jnp.sum(jnp.square(y))
        slot = self.count % len(self.inverse)
        inverse = jnp.where(curved, 1 / jnp.where(curved, product, 1), self.inverse[slot])
        scale = product / jnp.where(curved, jnp.sum(y * metric(y)), 1)
        return Pairs(
            self.steps.at[slot].set(jnp.where(curved, s, self.steps[slot])),
            self.changes.at[slot].set(jnp.where(curved, y, self.changes[slot])),
            self.inverse.at[slot].set(inverse),
            jnp.where(curved, scale, self.scale),
            self.count + curved.astype(jnp.int32),
        )

    def on(self, free: Array) -> Pairs:
        """The pairs of the coordinates in the mask `free` alone; of these some may have no curvature, and no effect."""
        s, y = jnp.where(free[None], self.steps, 0), jnp.where(free[None], self.changes, 0)
        axes = tuple(range(1, s.ndim))
        product = jnp.sum(s * y, axes)
        curved = product > jnp.finfo(y.dtype).eps * jnp.sum(jnp.square(y), axes)
        return Pairs(s, y, jnp.where(curved, 1 / jnp.where(curved, product, 1), 0), self.scale, self.count)

    def times(self, v: Array, metric: Metric) -> Array:
        """``H v`` by the two-loop recursion, H the inverse Hessian that begins as γ M⁻¹ and honours all pairs."""
        history = len(self.inverse)
        newest_first = (self.count - 1 - jnp.arange(history, dtype=jnp.int32)) % history

        def backward(q: Array, i: Array) -> tuple[Array, Array]:
            a = self.inverse[i] * jnp.sum(self.steps[i] * q)
            return q - a * self.changes[i], a

        def forward(r: Array, i_a: tuple[Array, Array]) -> tuple[Array, None]:
            i, a = i_a
            return r + self.steps[i] * (a - self.inverse[i] * jnp.sum(self.changes[i] * r)), None

        q, a = lax.scan(backward, v, newest_first)
        return lax.scan(forward, self.scale * metric(q), (newest_first, a), reverse=True)[0]
