"""Half unit deviances of distributions whose variance is a power of their mean, without the terms that do not depend on it."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from .losses import Loss

__all__ = ["Gamma", "Tweedie"]


class Tweedie(Loss):
    """``μ^(2 − power) / (2 − power) − y μ^(1 − power) / (1 − power)``, logarithms where an exponent is zero, μ the mean.

    Power 0 is the normal distribution, 1 Poisson's, between 1 and 2 a sum of a random number of gamma variables, 2 the gamma
    distribution, 3 the inverse Gaussian; between 0 and 1 there is none. With the logarithm as link the loss is convex for
    powers from 1 to 2. With the identity, μ must be positive for powers other than 0: where it is not, the loss is not finite.

    Parameters
    ----------
    power : float
    link : {"log", "identity"}

    References
    ----------
    Jorgensen, The Theory of Dispersion Models, 1997, §4.
    """

    curvature_bound: ClassVar[float] = float("inf")

    power: float = eqx.field(static=True, default=1.5)
    link: str = eqx.field(static=True, default="log")

    def __check_init__(self) -> None:
        if self.link not in ("log", "identity"):
            raise ValueError(f"`link={self.link!r}`; expected 'log' or 'identity'.")
        if 0 < self.power < 1:
            raise ValueError(f"`power={self.power}`: there is no distribution with a power between 0 and 1.")

    def value(self, y, f):
        value = self._integral(f, 2 - self.power) - y * self._integral(f, 1 - self.power)
        if self.link == "log" or self.power == 0:
            return value
        return jnp.where((f > 0) | ((f == 0) & (self.power < 0)), value, jnp.inf)

    def gradient(self, y, f):
        a = self._exponent
        return self._mean(f, a) - y * self._mean(f, a - 1)

    def hessian(self, y, f):
        a, b = self._exponent, 0 if self.link == "log" else 1
        return a * self._mean(f, a - b) - (a - 1) * y * self._mean(f, a - 1 - b)

    @property
    def _exponent(self) -> float:
        """Of μ in the gradient."""
        return 2 - self.power if self.link == "log" else 1 - self.power

    def _mean(self, f: Array, exponent: float) -> Array:
        """``μ^e``."""
        return jnp.exp(exponent * f) if self.link == "log" else f**exponent

    def _integral(self, f: Array, exponent: float) -> Array:
        """Of ``μ^(e − 1)`` over μ."""
        if exponent == 0:
            return f if self.link == "log" else jnp.log(f)
        return self._mean(f, exponent) / exponent

    def inverse_link(self, f):
        return jnp.exp(f) if self.link == "log" else f


def Gamma() -> Tweedie:
    """``f + y exp(−f)`` for y > 0, with the logarithm as link: the `Tweedie` loss of power two.

    Returns
    -------
    Tweedie
    """
    return Tweedie(2.0)
