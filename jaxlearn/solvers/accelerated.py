"""Accelerated proximal gradient steps on any smooth loss with a penalty that has a prox, by products with X alone."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from jaxlearn.objectives import Concave, Loss

from . import majorant, tree
from .protocols import Objective, Solver
from .proximal_gradient import SPARE
from .solution import NONFINITE, STALLED

__all__ = ["ProximalGradient"]

# A refused step size is not divided by more: far away, a loss may tell anything of its curvature.
LARGEST_CHANGE = 10
# Where the momentum starts anew, a longer step is tried: the curvature may be less here.
LONGER = 2.0
# Ripples of the momentum are longer than a search along a line.
MAX_IDLE_STEPS = 100


class _State(eqx.Module):
    coef: Array
    ahead: Array  # the extrapolated point z, with the value and the gradient of the loss there
    value: Array
    gradient: Array
    momentum: Array
    lipschitz: Array
    residual: Array
    least: Array  # residual and objective so far
    lowest: Array
    n_idle: Array


class ProximalGradient(Solver):
    """Accelerated proximal gradient, with a step size that adapts and a momentum that restarts.

    *Minimises* ``Σ ω loss(y, X b) + penalty(b)``, the loss smooth, the penalty any convex one that has a `prox`: of single
    coefficients, b ≥ 0 included, or of groups.

    *Step* ``b⁺ = prox(z − ∇f(z) / L, 1 / L)``, f the loss, with z extrapolated from the last two b by Nesterov's momentum,
    which starts anew where it points uphill, ``(z − b⁺) · (b⁺ − b) > 0``. L begins at the largest ``c Σ ω X_j²``, c the
    bound of the loss's curvature: not more than the curvature of its majorant. It grows, and the step is not taken, where
    ``f(b⁺) > f(z) + ∇f(z) · d + ½ L ‖d‖²`` with ``d = b⁺ − z``, and is lowered where the momentum starts anew.

    *Reads the data by* fold: the point and the extrapolation from it in one pass, the search for L being flattened into
    steps.

    *Cost per step* two products of X with 2 k columns, 8 n p k.

    *Stops when* ``max |s| ≤ tol``, s the least subgradient of the objective at b: of each coefficient, or the norm of that of
    each group. Where all of the penalty's l2 > 0, the objective is within ``Σ s² / (2 l2)`` of its minimum.

    References
    ----------
    Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm", SIAM J. Imaging Sci. 2009; O'Donoghue and Candès,
    "Adaptive restart for accelerated gradient schemes", Found. Comput. Math. 2015.
    """

    needs: ClassVar = frozenset({"fold"})
    certificate: ClassVar = "subgradient norm"

    def init(self, problem, params, key=None):
        penalty = problem.objective.penalty
        if isinstance(penalty, Concave):
            raise ValueError(
                f"`ProximalGradient` needs a convex penalty; `{type(penalty).__name__}` is for `ConcavePath`."
            )
        steepest = majorant.diagonal(problem).max()
        infinite = jnp.asarray(jnp.inf, params.dtype)
        return _State(
            coef=params,
            ahead=params,
            value=infinite,
            gradient=jnp.zeros_like(params),
            momentum=jnp.ones((), params.dtype),
            lipschitz=jnp.where(steepest > 0, steepest, 1),
            residual=infinite,
            least=infinite,
            lowest=infinite,
            n_idle=jnp.int32(0),
        )

    def _trial(self, objective: Objective, state: _State) -> tuple[Array, Array, Array, Array]:
        """b⁺, z⁺, the momentum there, and whether it started anew."""
        # without a gradient yet, a step of size zero: onto the nearest point where the penalty is finite
        size = jnp.where(jnp.isfinite(state.value), 1 / state.lipschitz, 0)
        coef = objective.penalty.prox(state.ahead - size * state.gradient, size)
        moved = coef - state.coef
        anew = jnp.sum((state.ahead - coef) * moved) > 0
        before = jnp.where(anew, 1, state.momentum)
        after = 0.5 * (1 + jnp.sqrt(1 + 4 * jnp.square(before)))
        return coef, coef + (before - 1) / after * moved, after, anew

    def ask(self, objective, state):
        return objective.loss, self._trial(objective, state)[:2]

    def read(self, problem, query):
        return problem.design.fold(_values_and_gradients, query, problem.y, problem.sample_weight)

    def params(self, state):
        return state.coef

    def residual(self, state):
        return state.residual

    def status(self, state):
        idle = jnp.where(state.n_idle >= MAX_IDLE_STEPS, jnp.int32(STALLED), jnp.int32(0))
        return jnp.where(jnp.isfinite(state.value), idle, jnp.int32(NONFINITE))

    def tell(self, objective, state, answer):
        (value, value_ahead), (gradient, gradient_ahead) = answer
        coef, ahead, momentum, anew = self._trial(objective, state)
        known, eps = jnp.isfinite(state.value), jnp.finfo(coef.dtype).eps
        before = jnp.where(known, state.value, 0)
        noise = 32 * eps * jnp.abs(before)  # of a sum over many samples

        d, change = coef - state.ahead, gradient - state.gradient
        length = jnp.sum(jnp.square(d))
        rise, bend = value - before - jnp.sum(state.gradient * d), 0.5 * jnp.sum(d * change)
        # where values differ by rounding errors alone, gradients tell the same of a loss that is nearly a square
        bend = jnp.where((jnp.abs(rise) > noise) | ~jnp.isfinite(bend), rise, bend)
        blur = 4 * eps * jnp.sum(jnp.abs(d) * (jnp.abs(state.gradient) + jnp.abs(gradient)))
        steep = ~(bend - blur <= 0.5 * state.lipschitz * length)

        norm = objective.penalty.subdifferential_distance(coef, gradient).max()
        total = value + objective.penalty.value(coef)
        gained = ~known | (total < state.lowest - noise) | (norm < state.least)
        # beyond where the loss is finite no momentum leads
        there = jnp.isfinite(value_ahead)
        taken = _State(
            coef=coef,
            ahead=jnp.where(there, ahead, coef),
            value=jnp.where(there, value_ahead, value),
            gradient=jnp.where(there, gradient_ahead, gradient),
            momentum=jnp.where(there, momentum, 1),
            lipschitz=state.lipschitz / jnp.where(anew & known, LONGER, 1),
            residual=norm,
            least=jnp.minimum(norm, state.least),
            lowest=jnp.minimum(total, state.lowest),
            n_idle=jnp.where(gained, jnp.int32(0), state.n_idle + 1),
        )
        steeper = SPARE * 2 * bend / jnp.where(length > 0, length, 1)
        largest = LARGEST_CHANGE * state.lipschitz
        lipschitz = jnp.where(steeper < largest, jnp.maximum(steeper, SPARE * state.lipschitz), largest)
        refused = eqx.tree_at(lambda s: (s.lipschitz, s.n_idle), state, (lipschitz, state.n_idle + 1))
        return tree.where(known & steep, refused, taken)


def _values_and_gradients(query: tuple[Loss, tuple[Array, Array]], X: Any, y: Array, w: Array) -> tuple[Array, Array]:
    """A lift: ``Σ ω_i loss(y_i, X_i b)``, (2,), and its gradients, (2, p) or (2, p, k), at two points in one pass."""
    loss, points = query
    p, *tasks = points[0].shape
    columns = jnp.stack(points, -1).reshape(p, -1)
    f = jnp.moveaxis(X.matvec(columns).reshape(-1, *tasks, 2), -1, 0)
    slopes = jnp.stack([loss.gradient(y, part) for part in f], -1).reshape(len(w), -1)
    gradients = X.rmatvec(w[:, None] * slopes).reshape(p, *tasks, 2)
    return jnp.stack([(w @ loss.value(y, part)).sum() for part in f]), jnp.moveaxis(gradients, -1, 0)
