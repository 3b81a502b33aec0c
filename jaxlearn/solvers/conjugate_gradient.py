"""Conjugate gradients on the normal equations of ridge regression, for designs too wide to form a Gram matrix."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from .protocols import Problem, Solver
from .solution import STALLED

__all__ = ["ConjugateGradient"]


class _State(eqx.Module):
    coef: Array
    residual: Array
    direction: Array
    energy: Array
    inverse: Array
    scale: Array
    idle: Array


class ConjugateGradient(Solver):
    """Preconditioned conjugate gradients, each target on its own.

    *Minimises* ``½ Σ ω (y − X b)² + ½ Σ l2 b²``. From zero with l2 = 0 it tends to the solution of least norm.

    *Step* with ``A = Xᵀ ω X + l2``, ``r = Xᵀ ω y − A b``, ``z = D⁻¹ r``: ``b += a d``, ``r −= a A d``,
    ``d = z + (r·z)/(r·z)₋ d`` with ``a = r·z / d·A d``; D is the diagonal of A.

    *Reads the data by* fold.

    *Cost per step* two products with X.

    *Stops when* ``‖r‖ ≤ tol ‖Xᵀ ω y‖`` for every target.

    References
    ----------
    Hestenes and Stiefel, 1952; Björck, Numerical Methods for Least Squares Problems, §7.4.
    """

    needs: ClassVar = frozenset({"fold"})
    certificate: ClassVar = "relative residual of the normal equations"

    def init(self, problem: Problem, params, key=None):
        strengths = problem.objective.penalty.strengths(params)[1]
        correlation, squares = problem.design.fold(_start, None, problem.y, problem.sample_weight)
        applied = problem.design.fold(_normal, params, problem.sample_weight) + strengths * params
        r = correlation - applied
        diagonal = (squares if params.ndim == 1 else squares[:, None]) + strengths
        inverse = jnp.where(diagonal > 0, 1 / jnp.where(diagonal > 0, diagonal, 1), 0)
        z = inverse * r
        scale = jnp.sqrt(jnp.square(correlation).sum(0))
        return _State(params, r, z, (r * z).sum(0), inverse, scale, jnp.bool_(False))

    def ask(self, objective, state):
        return state.direction

    def read(self, problem, query):
        return problem.design.fold(_normal, query, problem.sample_weight)

    def params(self, state):
        return state.coef

    def residual(self, state):
        norm = jnp.sqrt(jnp.square(state.residual).sum(0))
        return (norm / jnp.where(state.scale > 0, state.scale, 1)).max()

    def status(self, state):
        return jnp.where(state.idle, jnp.int32(STALLED), jnp.int32(0))

    def tell(self, objective, state, answer):
        d = state.direction
        applied = answer + objective.penalty.strengths(d)[1] * d
        curvature = (d * applied).sum(0)
        a = jnp.where(curvature > 0, state.energy / jnp.where(curvature > 0, curvature, 1), 0)
        r = state.residual - a * applied
        z = state.inverse * r
        energy = (r * z).sum(0)
        b = jnp.where(state.energy > 0, energy / jnp.where(state.energy > 0, state.energy, 1), 0)
        idle = ((a == 0) | (energy == 0)).all()
        return _State(state.coef + a * d, r, z + b * d, energy, state.inverse, state.scale, idle)


def _start(_: Any, X: Any, y: Array, w: Array) -> tuple[Array, Array]:
    return X.rmatvec(w * y if y.ndim == 1 else w[:, None] * y), X.squares(w)


def _normal(b: Array, X: Any, w: Array) -> Array:
    f = X.matvec(b)
    return X.rmatvec(w * f if f.ndim == 1 else w[:, None] * f)
