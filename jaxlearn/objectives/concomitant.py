"""Huber's loss together with the scale of its residuals: one function, jointly convex in both."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

__all__ = ["ConcomitantHuber"]


class ConcomitantHuber(eqx.Module):
    """``σ + σ H(r / σ)`` with ``H(z) = z²`` for ``|z| ≤ epsilon``, else ``2 epsilon |z| − epsilon²``.

    The perspective of ``1 + H``, hence jointly convex in the residual r and the scale σ > 0. With ``ψ(z)``, z clipped to
    ±epsilon, ``H(z) = ψ (2 z − ψ)``; the derivatives are 2 ψ in r and 1 − ψ² in σ.

    Parameters
    ----------
    epsilon : float
        Residuals of more than epsilon σ count linearly.

    References
    ----------
    Huber and Ronchetti, Robust Statistics, §7.7; Owen, "A robust hybrid of lasso and ridge regression", 2007.
    """

    epsilon: ArrayLike = 1.35

    def influence(self, z: Array) -> Array:
        """``ψ(z)``."""
        return jnp.clip(z, -jnp.asarray(self.epsilon, z.dtype), self.epsilon)

    def inside(self, z: Array) -> Array:
        """Whether a scaled residual counts quadratically."""
        return jnp.abs(z) <= self.epsilon

    def value(self, z: Array) -> Array:
        """``1 + H(z)``: the loss in units of σ."""
        u = self.influence(z)
        return 1 + u * (2 * z - u)
