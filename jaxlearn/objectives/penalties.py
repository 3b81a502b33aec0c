"""Penalties on the coefficients: value, gradient or prox, conjugate, and the distance to the subdifferential.

A penalty is never scaled by the number of samples. `alpha` and `l1_ratio` are array leaves; `alpha` may hold one
strength for each feature, (p,), or for each target, (1, k). A strength of zero leaves its coefficient (an intercept,
say) free.
"""

from __future__ import annotations

from typing import Self

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

__all__ = ["L1", "L2", "ElasticNet", "NoPenalty", "Penalty"]


def _rows(alpha: ArrayLike, coef: Array) -> Array:
    """`alpha`, a scalar, (p,) or (1, k), in a shape that multiplies `coef`, (p,) or (p, k)."""
    alpha = jnp.asarray(alpha, coef.dtype)
    return alpha[:, None] if (alpha.ndim, coef.ndim) == (1, 2) else alpha


class Penalty(eqx.Module):
    """A convex, separable penalty ``Σ_j Ω_j(coef_j)``."""

    def strengths(self, coef: Array) -> tuple[Array, Array]:
        """The pair (l1, l2) of which every penalty here is made: ``l1 |b| + ½ l2 b²``, broadcast to `coef`."""
        raise NotImplementedError

    def scaled(self, share: Array) -> Self:
        """`share` times as strong."""
        return eqx.tree_at(lambda p: p.alpha, self, share * jnp.asarray(self.alpha, share.dtype))  # type: ignore[attr-defined]

    def value(self, coef: Array) -> Array:
        """Sum over the coefficients, a scalar."""
        l1, l2 = self.strengths(coef)
        return jnp.sum(l1 * jnp.abs(coef) + 0.5 * l2 * jnp.square(coef))

    def subgradient(self, coef: Array) -> Array:
        """The gradient where no coefficient is zero; one that is zero has that of its quadratic part."""
        l1, l2 = self.strengths(coef)
        return l2 * coef + l1 * jnp.sign(coef)

    def smooth_gradient(self, coef: Array) -> Array:
        """Gradient of the quadratic part."""
        return self.strengths(coef)[1] * coef

    def smooth_hessian(self, coef: Array) -> Array:
        """Second derivative of the quadratic part: (p, p), or (p k, p k), target by target."""
        return jnp.diag(self.strengths(coef)[1].T.ravel())

    def prox(self, v: Array, step_size: ArrayLike) -> Array:
        """``argmin_b ½ ‖b − v‖² + step_size Ω(b)``: soft thresholding, then shrinkage."""
        l1, l2 = self.strengths(v)
        return jnp.sign(v) * jnp.maximum(jnp.abs(v) - step_size * l1, 0) / (1 + step_size * l2)

    def conjugate(self, u: Array) -> Array:
        """``sup_b u·b − Ω(b)``; without a quadratic part, the indicator of ``|u| ≤ l1``."""
        l1, l2 = self.strengths(u)
        excess = jnp.maximum(jnp.abs(u) - l1, 0)
        flat = jnp.where(excess > 0, jnp.inf, 0.0)
        return jnp.sum(jnp.where(l2 > 0, jnp.square(excess) / (2 * jnp.where(l2 > 0, l2, 1)), flat))

    def subdifferential_distance(self, coef: Array, gradient: Array) -> Array:
        """Distance of ``−gradient`` (of the loss at `coef`) to ``∂Ω(coef)``, for each coefficient; zero at the optimum."""
        l1, l2 = self.strengths(coef)
        v = gradient + l2 * coef
        return jnp.where(coef != 0, jnp.abs(v + l1 * jnp.sign(coef)), jnp.maximum(jnp.abs(v) - l1, 0))


class NoPenalty(Penalty):
    """Zero."""

    def strengths(self, coef):
        return jnp.zeros_like(coef), jnp.zeros_like(coef)


class L2(Penalty):
    """``½ alpha ‖b‖²``."""

    alpha: ArrayLike = 1.0

    def strengths(self, coef):
        return jnp.zeros_like(coef), jnp.broadcast_to(_rows(self.alpha, coef), coef.shape)


class ElasticNet(Penalty):
    """``alpha (l1_ratio ‖b‖₁ + ½ (1 − l1_ratio) ‖b‖²)``, over ``b ≥ 0`` if `positive`.

    `positive` changes the problem's structure, so it is static: ``value`` and ``conjugate`` speak of feasible points.
    """

    alpha: ArrayLike = 1.0
    l1_ratio: ArrayLike = 0.5
    positive: bool = eqx.field(static=True, default=False)

    def strengths(self, coef):
        alpha = jnp.broadcast_to(_rows(self.alpha, coef), coef.shape)
        ratio = _rows(self.l1_ratio, coef)
        return alpha * ratio, alpha * (1 - ratio)

    def prox(self, v, step_size):
        b = super().prox(v, step_size)
        return jnp.maximum(b, 0) if self.positive else b

    def conjugate(self, u):
        return super().conjugate(jnp.maximum(u, 0) if self.positive else u)

    def subdifferential_distance(self, coef, gradient):
        distance = super().subdifferential_distance(coef, gradient)
        if not self.positive:
            return distance
        l1, l2 = self.strengths(coef)
        # at zero the constraint allows any push to the left
        return jnp.where(coef > 0, distance, jnp.maximum(-(gradient + l2 * coef) - l1, 0))


def L1(alpha: ArrayLike = 1.0, *, positive: bool = False) -> ElasticNet:
    """``alpha ‖b‖₁``: the elastic net of ratio one.

    Parameters
    ----------
    alpha : array_like, scalar or shape (n_features,)
        Strength, ≥ 0.
    positive : bool
        Restrict to ``b ≥ 0``.

    Returns
    -------
    ElasticNet
    """
    return ElasticNet(alpha, 1.0, positive)
