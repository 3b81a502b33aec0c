"""Iterative refinement of normal equations: the digits that a Gram matrix lost, read back from the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from .protocols import Solver
from .solution import STALLED

__all__ = ["Refinement", "length_of_each", "normal_residual"]


class _State(eqx.Module):
    coef: Array
    gradient: Array
    norm: Array  # of the gradient, for each target
    scale: Array
    length: Array  # of the last step
    ended: Array


class Refinement(Solver):
    """Steps by an approximate inverse of the normal matrix.

    *Minimises* ``½ Σ ω (y − X b)² + ½ alpha ‖b‖²``, for any number of targets.

    *Step* ``b += M⁻¹ g`` with ``g = Xᵀ ω (y − X b) − alpha b``, for the targets whose g becomes smaller by it.

    *Reads the data by* fold.

    *Cost per step* two products with X.

    *Stops when* ``‖g‖ ≤ tol ‖Xᵀ ω y‖`` for every target, or at the floor of the precision: where g of none becomes smaller, or
    steps shrink so fast that the next one would be below the rounding error of b. A g of a few roundings alone tells
    nothing of directions of small eigenvalues, in which steps go on being long.

    Parameters
    ----------
    inverse : callable
        A pytree: ``M⁻¹ g`` for g (p,) or (p, k).
    correlation : (p,) or (p, k)
        ``Xᵀ ω y``, which whoever formed M knows.

    References
    ----------
    Higham, Accuracy and Stability of Numerical Algorithms, 2002, chapter 12.
    """

    needs: ClassVar = frozenset({"fold"})
    certificate: ClassVar = "relative residual of the normal equations"

    inverse: Callable[[Array], Array]
    correlation: Array

    def init(self, problem, params, key=None):
        """From zero, whatever `params` is: there g is the correlation."""
        norm = length_of_each(self.correlation)
        return _State(jnp.zeros_like(params), self.correlation, norm, norm, jnp.zeros_like(norm), jnp.bool_(False))

    def ask(self, objective, state):
        return state.coef + self.inverse(state.gradient)

    def read(self, problem, query):
        return query, problem.design.fold(normal_residual, query, problem.y, problem.sample_weight)

    def tell(self, objective, state, answer):
        coef, correlation = answer
        gradient = correlation - objective.penalty.smooth_gradient(coef)
        norm = length_of_each(gradient)
        better = ~(norm >= state.norm)  # also where it is not a number, for it to be said
        length = length_of_each(coef - state.coef)
        rounding = jnp.finfo(coef.dtype).eps * length_of_each(coef)
        more = better & ~(jnp.square(length) <= rounding * state.length)
        return _State(
            jnp.where(better, coef, state.coef),
            jnp.where(better, gradient, state.gradient),
            jnp.where(better, norm, state.norm),
            state.scale,
            length,
            ~more.any(),
        )

    def params(self, state):
        return state.coef

    def residual(self, state):
        return (state.norm / jnp.where(state.scale > 0, state.scale, 1)).max()

    def status(self, state):
        return jnp.where(state.ended, jnp.int32(STALLED), jnp.int32(0))


def length_of_each(v: Array) -> Array:
    """``‖v‖`` of each column, of each target."""
    return jnp.sqrt(jnp.square(v).sum(0))


def normal_residual(b: Array, X: Any, y: Array, w: Array) -> Array:
    """A lift: ``Xᵀ ω (y − X b)``."""
    r = y - X.matvec(b)
    return X.rmatvec(w * r if r.ndim == 1 else w[:, None] * r)
