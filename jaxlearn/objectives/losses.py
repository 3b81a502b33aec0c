"""Losses: formulas in the target `y` and the linear predictor `f`, each with its inverse link.

One scale everywhere: a data term is the weighted mean of `value`, so that
``(1 / Σ w) Σ w_i value(y_i, f_i)`` is what solvers minimise. ``Squared`` has the ½ of scikit-learn's Lasso.
"""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

__all__ = ["Logistic", "Loss", "Multinomial", "Poisson", "Squared", "relative_entropy"]


# Beyond it an exponential would overflow in single precision; a gap is not missed there.
LARGEST_MARGIN = 80.0


class Loss(eqx.Module):
    """A loss ``value(y, f)``, convex in the linear predictor `f`.

    Attributes
    ----------
    curvature_bound : float
        An upper bound of the second derivative in `f`; it scales quadratic majorants and preconditioners.
    """

    curvature_bound: ClassVar[float]

    def value(self, y: Array, f: Array) -> Array:
        """Loss of each sample, shape (n,)."""
        raise NotImplementedError

    def gradient(self, y: Array, f: Array) -> Array:
        """Derivative in `f`, of the shape of `f`."""
        raise NotImplementedError

    def hessian(self, y: Array, f: Array) -> Array:
        """Second derivative in `f`: (n,) for a scalar predictor, (n, k, k) for a vector."""
        raise NotImplementedError

    def conjugate(self, y: Array, u: Array) -> Array:
        """Convex conjugate ``sup_f u·f − value(y, f)``, shape (n,); +inf outside its domain."""
        raise NotImplementedError

    def divergence(self, y: Array, f: Array, s: Array) -> Array:
        """``value(y, f) + conjugate(y, v) − v f`` at ``v = s gradient(y, f)``, 0 ≤ s ≤ 1, ≥ 0, without cancellation.

        What a row adds to a duality gap whose dual point is shrunk by s.
        """
        raise NotImplementedError

    def link(self, mean: Array) -> Array:
        """The predictor that is best for rows with this mean."""
        raise NotImplementedError

    def inverse_link(self, f: Array) -> Array:
        """Conditional mean of the target (class probabilities for a classifier)."""
        raise NotImplementedError


class Squared(Loss):
    """``½ (y − f)²``, with the identity link; of (n, k), k targets that share nothing, element by element."""

    curvature_bound: ClassVar[float] = 1.0

    def value(self, y, f):
        return 0.5 * jnp.square(y - f)

    def gradient(self, y, f):
        return f - y

    def hessian(self, y, f):
        return jnp.ones_like(f)

    def conjugate(self, y, u):
        return 0.5 * jnp.square(u) + u * y

    def divergence(self, y, f, s):
        return 0.5 * jnp.square((1 - s) * (y - f))

    def link(self, mean):
        return mean

    def inverse_link(self, f):
        return f


class Logistic(Loss):
    """``log(1 + exp(f)) − y f`` for `y` in {0, 1} (or a probability), with the logit link.

    Written as ``softplus(∓f)`` by the label: the textbook difference loses all its digits where the model is sure.
    """

    curvature_bound: ClassVar[float] = 0.25

    # all three by the exponential of −|f|, which a program that wants them takes once

    def value(self, y, f):
        positive, e = f >= 0, _decaying(f)
        return (1 - y) * jnp.where(positive, f, 0) - y * jnp.where(positive, 0, f) + jnp.log1p(e)

    def gradient(self, y, f):
        positive, e = f >= 0, _decaying(f)
        return ((1 - y) * jnp.where(positive, 1, e) - y * jnp.where(positive, e, 1)) / (1 + e)

    def hessian(self, y, f):
        e = _decaying(f)
        return e / jnp.square(1 + e)

    def conjugate(self, y, u):
        # value is the negative entropy's partner: with v = u + y in [0, 1], ℓ* = v log v + (1 − v) log(1 − v)
        v = u + y
        inside = (v >= 0) & (v <= 1)
        safe = jnp.clip(v, 0, 1)
        return jnp.where(
            inside, jax.scipy.special.xlogy(safe, safe) + jax.scipy.special.xlog1py(1 - safe, -safe), jnp.inf
        )

    def divergence(self, y, f, s):
        # the relative entropy of the probabilities v + y from σ(f)
        f = jnp.clip(f, -LARGEST_MARGIN, LARGEST_MARGIN)
        p, q, rest = jax.nn.sigmoid(f), jax.nn.sigmoid(-f), 1 - s
        yes, no = s * p + rest * y, s * q + rest * (1 - y)
        # yes / p − 1 and no / q − 1
        more, less = rest * (y * (1 + jnp.exp(-f)) - 1), rest * ((1 - y) * (1 + jnp.exp(f)) - 1)
        return jnp.maximum(jax.scipy.special.xlog1py(yes, more) + jax.scipy.special.xlog1py(no, less), 0)

    def link(self, mean):
        return jnp.log(mean) - jnp.log1p(-mean)

    def inverse_link(self, f):
        return jax.nn.sigmoid(f)


class Multinomial(Loss):
    """``logsumexp(f) − f_y`` for one-hot rows `y` (n, k) and `f` (n, k), with the softmax link."""

    curvature_bound: ClassVar[float] = 0.5

    # all three by the same exponentials, which a program that wants them takes once

    def value(self, y, f):
        largest, _, total = _exponentials(f)
        return (largest + jnp.log(total))[..., 0] - (y * f).sum(-1)

    def gradient(self, y, f):
        _, share, total = _exponentials(f)
        return share / total - y

    def hessian(self, y, f):
        _, share, total = _exponentials(f)
        p = share / total
        return p[:, :, None] * (jnp.eye(p.shape[-1], dtype=p.dtype)[None] - p[:, None, :])

    def conjugate(self, y, u):
        v = u + y
        tiny = jnp.finfo(v.dtype).eps * v.shape[-1]
        inside = (v >= -tiny).all(-1) & (jnp.abs(v.sum(-1) - 1) <= 4 * tiny)
        safe = jnp.clip(v, 0, 1)
        return jnp.where(inside, jax.scipy.special.xlogy(safe, safe).sum(-1), jnp.inf)

    def divergence(self, y, f, s):
        # s is a scalar here: v + y stays among probabilities
        p = self.probabilities(f)
        return relative_entropy(p, (1 - s) * (y - p))

    def probabilities(self, f: Array) -> Array:
        """``inverse_link(f)``, none of them zero."""
        return jnp.exp(jnp.maximum(jax.nn.log_softmax(f, axis=-1), -LARGEST_MARGIN))

    def link(self, mean):
        # a class without rows is not expected, but for a rounding
        return jnp.log(jnp.maximum(mean, jnp.finfo(mean.dtype).eps))

    def inverse_link(self, f):
        return jax.nn.softmax(f, axis=-1)


def _decaying(f: Array) -> Array:
    """``exp(−|f|)``, with derivatives from the right at zero."""
    return jnp.exp(jnp.where(f >= 0, -f, f))


def _exponentials(f: Array) -> tuple[Array, Array, Array]:
    """The largest f of each row, exp(f) in its units, and their sum."""
    largest = lax.stop_gradient(f.max(-1, keepdims=True))
    share = jnp.exp(f - largest)
    return largest, share, share.sum(-1, keepdims=True)


def relative_entropy(p: Array, d: Array) -> Array:
    """``Σ_c (p + d) log((p + d) / p)`` of probabilities p + d from p > 0, (n, k), without cancellation.

    Their sums being equal, each class may give back its d: ``(p + d) log(1 + d / p) − d`` is ≥ 0, and of second order.
    """
    return jnp.maximum(jax.scipy.special.xlog1py(jnp.maximum(p + d, 0), d / p) - d, 0).sum(-1)


class Poisson(Loss):
    """``exp(f) − y f`` for counts or rates y ≥ 0, with the logarithm as link; the deviance is twice this, up to terms in y."""

    curvature_bound: ClassVar[float] = float("inf")

    def value(self, y, f):
        return jnp.exp(f) - y * f

    def gradient(self, y, f):
        return jnp.exp(f) - y

    def hessian(self, y, f):
        return jnp.exp(f)

    def conjugate(self, y, u):
        v = u + y
        safe = jnp.maximum(v, 0)
        return jnp.where(v >= 0, jax.scipy.special.xlogy(safe, safe) - safe, jnp.inf)

    def divergence(self, y, f, s):
        # v + y = μ + d, and (μ + d) log(1 + d / μ) − d
        mean = jnp.exp(f)
        d = (1 - s) * (y - mean)
        return jnp.maximum(jax.scipy.special.xlog1py(mean + d, d / mean) - d, 0)

    def link(self, mean):
        return jnp.log(mean)

    def inverse_link(self, f):
        return jnp.exp(f)
