"""Losses of stochastic gradient descent that are not smooth, or not likelihoods: of margins y f, and of residuals y − f.

Labels are −1 and 1. Each has a value and a (sub)gradient in the linear predictor f, after scikit-learn's definitions.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .losses import Loss

__all__ = [
    "EpsilonInsensitive",
    "Hinge",
    "Huber",
    "LogisticMargin",
    "ModifiedHuber",
    "SquaredEpsilonInsensitive",
    "SquaredHinge",
]


class Hinge(Loss):
    """``max(0, threshold − y f)``: 1 is that of support vector machines, 0 that of the perceptron."""

    curvature_bound: ClassVar[float] = 1.0  # it has none: that of a square, where a step size asks for one
    threshold: ArrayLike = 1.0

    def value(self, y, f):
        return jnp.maximum(self.threshold - y * f, 0)

    def gradient(self, y, f):
        return jnp.where(y * f <= self.threshold, -y, 0)


class SquaredHinge(Loss):
    """``max(0, 1 − y f)²``."""

    curvature_bound: ClassVar[float] = 2.0

    def value(self, y, f):
        return jnp.square(jnp.maximum(1 - y * f, 0))

    def gradient(self, y, f):
        return -2 * y * jnp.maximum(1 - y * f, 0)


class ModifiedHuber(Loss):
    """``max(0, 1 − y f)²`` where y f ≥ −1, and the tangent ``−4 y f`` below."""

    curvature_bound: ClassVar[float] = 2.0

    def value(self, y, f):
        margin = y * f
        return jnp.where(margin >= -1, jnp.square(jnp.maximum(1 - margin, 0)), -4 * margin)

    def gradient(self, y, f):
        margin = y * f
        return jnp.where(margin >= -1, -2 * y * jnp.maximum(1 - margin, 0), -4 * y)


class LogisticMargin(Loss):
    """``log(1 + exp(−y f))``: `Logistic` for labels −1 and 1."""

    curvature_bound: ClassVar[float] = 0.25

    def value(self, y, f):
        return jax.nn.softplus(-y * f)

    def gradient(self, y, f):
        return -y * jax.nn.sigmoid(-y * f)


class Huber(Loss):
    """``½ r²`` for residuals within `epsilon`, and linear beyond."""

    curvature_bound: ClassVar[float] = 1.0
    epsilon: ArrayLike = 0.1

    def value(self, y, f):
        size = jnp.abs(y - f)
        return jnp.where(size <= self.epsilon, 0.5 * jnp.square(size), self.epsilon * (size - 0.5 * self.epsilon))

    def gradient(self, y, f):
        return jnp.sign(f - y) * jnp.minimum(jnp.abs(y - f), self.epsilon)


class EpsilonInsensitive(Loss):
    """``max(0, |y − f| − epsilon)``."""

    curvature_bound: ClassVar[float] = 1.0  # as for `Hinge`
    epsilon: ArrayLike = 0.1

    def value(self, y, f):
        return jnp.maximum(jnp.abs(y - f) - self.epsilon, 0)

    def gradient(self, y, f):
        return jnp.where(jnp.abs(y - f) > self.epsilon, jnp.sign(f - y), 0)


class SquaredEpsilonInsensitive(Loss):
    """``max(0, |y − f| − epsilon)²``."""

    curvature_bound: ClassVar[float] = 2.0
    epsilon: ArrayLike = 0.1

    def value(self, y, f):
        return jnp.square(jnp.maximum(jnp.abs(y - f) - self.epsilon, 0))

    def gradient(self, y, f):
        return 2 * jnp.sign(f - y) * jnp.maximum(jnp.abs(y - f) - self.epsilon, 0)
