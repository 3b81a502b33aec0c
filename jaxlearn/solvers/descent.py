"""Descent on a smooth objective: the search along a direction, shared by every method that proposes one.

The search is flattened into the outer loop: a step evaluates one point, and either accepts it and asks for the next
direction, or shortens the step. So a step is always one pass over the data, in a compiled loop, streamed or in lanes.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from jaxlearn.objectives import Concave, ElasticNet, GroupElasticNet, Loss

from . import tree
from .protocols import Objective, Solver
from .solution import NONFINITE, STALLED

__all__ = ["Descent", "Point", "last_pair", "value_and_gradient"]

SUFFICIENT_DECREASE = 1e-4
MAX_IDLE_STEPS = 20


class Point(eqx.Module):
    """Where the search stands.

    Attributes
    ----------
    coef, gradient : (p,) or (p, k)
        The accepted point.
    value : scalar
    direction : like coef
    slope : scalar
        ``gradient · direction`` < 0.
    step_size : scalar
        Of the trial ``coef + step_size · direction``.
    least : scalar
        Smallest gradient norm so far.
    n_idle : int32 scalar
        Accepted points since the gradient was last smaller, or the value lower, by more than rounding.
    memory : pytree
        What the method keeps to propose directions.
    """

    coef: Array
    value: Array
    gradient: Array
    direction: Array
    slope: Array
    step_size: Array
    least: Array
    n_idle: Array
    memory: Any


class Descent(Solver):
    """A method that proposes descent directions, globalised by Armijo's rule.

    A trial is accepted when ``F(b + t d) ≤ F(b) + 10⁻⁴ t gᵀd``, up to the rounding error of F; where F is flat to its
    last digits, a slope that shrank in size decides instead (Hager and Zhang's approximate Wolfe condition).
    Otherwise t is reset to the minimiser of the interpolating parabola, within [0.1, 0.5] t.

    *Stops when* the largest entry of the gradient is at most ``tol`` in size.
    """

    needs: ClassVar = frozenset({"fold"})
    certificate: ClassVar = "gradient norm"

    def direction(self, objective: Objective, point: Point, accepted: Point, curvature: Any) -> tuple[Array, Any]:
        """Direction and memory at `accepted`, the trial that follows `point`."""
        raise NotImplementedError

    def memory(self, problem: Any, params: Array) -> Any:
        """Memory before the first step."""
        return None

    def norm(self, coef: Array, gradient: Array) -> Array:
        """The certificate, of a point and the gradient there."""
        return jnp.abs(gradient).max()

    def init(self, problem, params, key=None):
        penalty = problem.objective.penalty
        if isinstance(penalty, (ElasticNet, GroupElasticNet, Concave)):
            raise ValueError(
                f"`{type(self).__name__}` minimises what is smooth, and `{type(penalty).__name__}` is not: "
                "`ProximalGradient` takes any penalty that has a `prox`."
            )
        one = jnp.ones((), params.dtype)
        zero = jnp.zeros_like(params)
        # with an infinite value the first trial, which is `params` itself, is accepted whatever it is
        return Point(
            coef=params,
            value=one * jnp.inf,
            gradient=zero + jnp.inf,
            direction=zero,
            slope=one * 0,
            step_size=one,
            least=one * jnp.inf,
            n_idle=jnp.int32(0),
            memory=self.memory(problem, params),
        )

    def ask(self, objective, state):
        return objective.loss, state.coef + state.step_size * state.direction

    def params(self, state):
        return state.coef

    def residual(self, state):
        return self.norm(state.coef, state.gradient)

    def status(self, state):
        tiny = state.step_size < jnp.finfo(state.coef.dtype).eps
        flat = (state.slope >= 0) | (state.n_idle >= MAX_IDLE_STEPS)
        lost = jnp.isinf(state.value) & (state.step_size < 1)
        return jnp.where(lost, jnp.int32(NONFINITE), jnp.where(tiny | flat, jnp.int32(STALLED), jnp.int32(0)))

    def tell(self, objective, state, answer):
        value, gradient, curvature = answer
        trial = state.coef + state.step_size * state.direction
        value = value + objective.penalty.value(trial)
        gradient = gradient + objective.penalty.smooth_gradient(trial)
        slope = jnp.sum(gradient * state.direction)

        known = jnp.isfinite(state.value)
        before = jnp.where(known, state.value, 0)
        noise = 32 * jnp.finfo(value.dtype).eps * jnp.abs(before)  # of a sum over many samples
        armijo = value <= before + SUFFICIENT_DECREASE * state.step_size * state.slope
        flat = (value <= before + noise) & (jnp.abs(slope) <= 0.9 * jnp.abs(state.slope))
        accept = jnp.isfinite(value) & (armijo | flat | ~known)

        norm, one = self.norm(trial, gradient), jnp.ones_like(value)
        gained = ~known | (value < before - noise) | (norm < state.least)
        n_idle = jnp.where(gained, jnp.int32(0), state.n_idle + jnp.int32(1))
        at = Point(
            trial, value, gradient, state.direction, slope, one, jnp.minimum(norm, state.least), n_idle, state.memory
        )
        direction, memory = self.direction(objective, state, at, curvature)
        replaced = direction, jnp.sum(gradient * direction), memory
        new = eqx.tree_at(lambda p: (p.direction, p.slope, p.memory), at, replaced, is_leaf=lambda leaf: leaf is None)
        return tree.where(accept, new, self._shorter(state, value))

    def _shorter(self, state: Point, value: Array) -> Point:
        t = state.step_size
        bend = value - state.value - t * state.slope
        minimiser = -0.5 * jnp.square(t) * state.slope / jnp.where(bend > 0, bend, 1)
        t = jnp.where(bend > 0, jnp.clip(minimiser, 0.1 * t, 0.5 * t), 0.5 * t)
        return eqx.tree_at(lambda s: s.step_size, state, t)


def last_pair(point: Point, accepted: Point) -> tuple[Array, Array]:
    """The step to an accepted point and the change of the gradient along it; none, zero, of the first point."""
    change = accepted.gradient - point.gradient
    return accepted.coef - point.coef, jnp.where(jnp.isfinite(point.value), change, 0)


def value_and_gradient(query: tuple[Loss, Array], X: Any, y: Array, w: Array) -> tuple[Array, Array, None]:
    """A lift: ``Σ ω_i loss(y_i, X_i b)`` and its gradient at the query, a loss and b."""
    loss, coef = query
    f = X.matvec(coef)
    slope = loss.gradient(y, f)
    return (w @ loss.value(y, f)).sum(), X.rmatvec(w * slope if slope.ndim == 1 else w[:, None] * slope), None
