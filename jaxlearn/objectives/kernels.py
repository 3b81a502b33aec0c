"""Kernels of pairs of rows, and densities of distances: formulas."""

from __future__ import annotations

import math

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from .distances import Manhattan, SquaredEuclidean

__all__ = ["DENSITIES", "CosineSimilarity", "Density", "Kernel", "Laplacian", "Linear", "Polynomial", "RBF", "Sigmoid"]


class Kernel(eqx.Module):
    """A function of two rows."""

    def values(self, X: Array, Y: Array) -> Array:
        """Of all pairs, (n, m) for X (n, p) and Y (m, p)."""
        raise NotImplementedError


def _products(X: Array, Y: Array) -> Array:
    return jnp.matmul(X, Y.T, precision=lax.Precision.HIGHEST)


class Linear(Kernel):
    """``xᵀ y``."""

    def values(self, X, Y):
        return _products(X, Y)


class CosineSimilarity(Kernel):
    """``xᵀ y / (‖x‖ ‖y‖)``; zero where x or y is zero."""

    def values(self, X, Y):
        return _products(_normalised(X), _normalised(Y))


def _normalised(X: Array) -> Array:
    squares = jnp.square(X).sum(1, keepdims=True)
    known = squares > 0  # the inner choice keeps gradients finite
    return jnp.where(known, X / jnp.sqrt(jnp.where(known, squares, 1)), 0)


class Polynomial(Kernel):
    """``(gamma xᵀ y + coef0)^degree``."""

    degree: ArrayLike
    gamma: ArrayLike
    coef0: ArrayLike

    def values(self, X, Y):
        return (self.gamma * _products(X, Y) + self.coef0) ** self.degree


class Sigmoid(Kernel):
    """``tanh(gamma xᵀ y + coef0)``."""

    gamma: ArrayLike
    coef0: ArrayLike

    def values(self, X, Y):
        return jnp.tanh(self.gamma * _products(X, Y) + self.coef0)


class RBF(Kernel):
    """``exp(−gamma ‖x − y‖²)``."""

    gamma: ArrayLike

    def values(self, X, Y):
        return jnp.exp(-jnp.asarray(self.gamma) * SquaredEuclidean().ranks_by_product(X, Y))


class Laplacian(Kernel):
    """``exp(−gamma Σ |x_j − y_j|)``."""

    gamma: ArrayLike

    def values(self, X, Y):
        return jnp.exp(-jnp.asarray(self.gamma) * Manhattan().ranks(X, Y))


class Density(eqx.Module):
    """A density around a point, as a function of the distance from it in units of the bandwidth."""

    def log(self, u: Array) -> Array:
        """Its logarithm at u ≥ 0, up to a constant; −inf where it is zero."""
        raise NotImplementedError

    def log_integral(self, n_features: int) -> float:
        """Of the density over all of a space of so many dimensions, by Euclidean distance."""
        raise NotImplementedError


def _log_ball(n_features: int) -> float:
    """Of the volume of the unit ball."""
    return 0.5 * n_features * math.log(math.pi) - math.lgamma(0.5 * n_features + 1)


def _within(u: Array, value: Array) -> Array:
    return jnp.where(u < 1, value, -jnp.inf)


class _Gaussian(Density):
    def log(self, u):
        return -0.5 * jnp.square(u)

    def log_integral(self, n_features):
        return 0.5 * n_features * math.log(2 * math.pi)


class _Tophat(Density):
    def log(self, u):
        return _within(u, jnp.zeros_like(u))

    def log_integral(self, n_features):
        return _log_ball(n_features)


class _Epanechnikov(Density):
    def log(self, u):
        return _within(u, jnp.log1p(-jnp.square(jnp.minimum(u, 1))))

    def log_integral(self, n_features):
        return _log_ball(n_features) + math.log(2 / (n_features + 2))


class _Exponential(Density):
    def log(self, u):
        return -u

    def log_integral(self, n_features):
        return _log_ball(n_features) + math.lgamma(n_features + 1)


class _Linear(Density):
    def log(self, u):
        return _within(u, jnp.log1p(-jnp.minimum(u, 1)))

    def log_integral(self, n_features):
        return _log_ball(n_features) - math.log(n_features + 1)


class _Cosine(Density):
    def log(self, u):
        return _within(u, jnp.log(jnp.cos(0.5 * math.pi * jnp.minimum(u, 1))))

    def log_integral(self, n_features):
        # n ∫ cos(½ π r) r^(n − 1) dr, by the series of the cosine
        terms = (
            (-1) ** j * (0.5 * math.pi) ** (2 * j) / math.factorial(2 * j) / (2 * j + n_features) for j in range(16)
        )
        return _log_ball(n_features) + math.log(n_features * math.fsum(terms))


DENSITIES: dict[str, Density] = {
    "gaussian": _Gaussian(),
    "tophat": _Tophat(),
    "epanechnikov": _Epanechnikov(),
    "exponential": _Exponential(),
    "linear": _Linear(),
    "cosine": _Cosine(),
}
