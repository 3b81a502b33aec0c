"""Beta divergences: how far non-negative numbers are from a model of them, from squares to ratios."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jax import Array

__all__ = ["BetaDivergence"]

# A model of X is at least this where it is divided by, in any precision.
FLOOR = 2.0**-23


class BetaDivergence(eqx.Module):
    """``d(x | y) = (x^β + (β − 1) y^β − β x y^(β − 1)) / (β (β − 1))`` and its limits.

    ``½ (x − y)²`` for β = 2, ``x log(x / y) − x + y`` (Kullback and Leibler) for 1, ``x / y − log(x / y) − 1`` (Itakura and
    Saito) for 0.

    A zero of x says nothing that depends on x: `known` is the part of d that non-zeros have, `anywhere` what every place has,
    so that sparse x stays sparse.

    Parameters
    ----------
    beta : float

    References
    ----------
    Févotte and Idier, "Algorithms for nonnegative matrix factorization with the β-divergence", Neural Computation 2011.
    """

    beta: float = eqx.field(static=True)

    @property
    def exponent(self) -> float:
        """Of the multiplicative step: with it the objective never rises."""
        if self.beta < 1:
            return 1 / (2 - self.beta)
        return 1 / (self.beta - 1) if self.beta > 2 else 1.0

    def value(self, x: Array, y: Array) -> Array:
        """The divergence of each number."""
        if self.beta == 2:
            return 0.5 * jnp.square(x - y)
        return self.known(x, y) + self.anywhere(y)

    def known(self, x: Array, y: Array) -> Array:
        """The part that is zero where x is."""
        if self.beta == 2:  # nothing is divided
            return 0.5 * jnp.square(x) - x * y
        there = x > FLOOR
        x, y = jnp.where(there, x, 1), jnp.maximum(y, FLOOR)
        if self.beta == 1:
            terms = x * jnp.log(x / y) - x
        elif self.beta == 0:
            terms = x / y - jnp.log(x / y) - 1
        else:
            terms = (x**self.beta - self.beta * x * y ** (self.beta - 1)) / (self.beta * (self.beta - 1))
        return jnp.where(there, terms, 0)

    def anywhere(self, y: Array) -> Array:
        """The part that does not depend on x."""
        if self.beta == 0:
            return jnp.zeros_like(y)
        return (jnp.maximum(y, FLOOR) if self.beta < 0 else y) ** self.beta / self.beta

    def attraction(self, x: Array, y: Array) -> Array:
        """``x y^(β − 2)``: minus the derivative by y is this less `repulsion`."""
        return x * self._power(y, self.beta - 2)

    def repulsion(self, y: Array) -> Array:
        """``y^(β − 1)``."""
        return self._power(y, self.beta - 1)

    def _power(self, y: Array, exponent: float) -> Array:
        if exponent < 0:
            y = jnp.maximum(y, FLOOR)
        return y ** (int(exponent) if exponent == int(exponent) else exponent)
