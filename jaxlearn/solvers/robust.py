"""Coefficients and the scale of the residuals together: Newton's method, L-BFGS, and the derivative of what they find."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.linalg import cholesky
from jaxlearn.objectives import ConcomitantHuber

from .descent import Descent
from .implicit import MAX_FACTOR, conjugate_gradients, refuse_axis
from .lbfgs import LBFGS
from .newton import SHARE_OF_NOTHING
from .protocols import Problem

__all__ = ["RobustLBFGS", "RobustNewton", "attach_robust_derivative"]

# A step changes the scale by this factor at most: rows outside keep the Hessian from being known far away.
LARGEST_CHANGE = 10
# What a step that was accepted leaves of the curvature of outliers, and what is as good as none.
SHARE_OF_OUTLIERS, LEAST_SHARE = 0.3, 1e-3
# A scale so close to its bound is on it.
CLOSE = 1.001


class RobustNewton(Descent):
    """Newton's method jointly in coefficients b and scale σ, for which the outliers of a step stay outliers.

    *Minimises* ``Σ ω (σ + σ H((y − X b) / σ)) + penalty(b)`` over b and ``σ ≥ least``, with `ConcomitantHuber`; the
    parameters are (b, σ).

    *Step* to ``d_b = −H_bb⁻¹ (g_b + H_bσ d_σ)``. With z the scaled residuals and the rows inside only, the Hessian is
    ``2 / σ [X, z]ᵀ ω [X, z]``, and without a penalty and for unchanged outliers the minimum over b is exactly
    ``a σ + c / σ + const``. Its slope and curvature at σ, those of the Schur complement, give a and c: the next σ is
    ``√(c / a)``, positive by itself, held within a factor of ten and above `least`. So once the outliers are right, one
    step ends, up to what follows. To H_bb is added a share of the curvature that outliers have in the quadratic majorant
    of H, whose minimum never lies above: all of it at the start and after a refused step, 0.3 of the last share after
    others, none in the end. Where few rows are inside, they alone would send b anywhere.

    *Reads the data by* fold.

    *Cost per step* n p² flops for H, p³ / 3 for its factor.

    *Stops when* ``max |gradient| ≤ tol``; where σ is on its bound and would be smaller, its entry does not count.

    Parameters
    ----------
    least : scalar
        Lower bound of σ, > 0: a perfect fit ends on it.

    References
    ----------
    Boyd and Vandenberghe, Convex Optimization, §9.5; Huber and Ronchetti, Robust Statistics, §7.8, for the majorant.
    """

    needs: ClassVar = frozenset({"fold"})

    least: Array

    def memory(self, problem, params):
        return jnp.ones((), params.dtype)

    def ask(self, objective, state):
        return *super().ask(objective, state), state.memory

    def read(self, problem, query):
        return problem.design.fold(_second_order, query, problem.y, problem.sample_weight)

    def _shorter(self, state, value):
        return eqx.tree_at(lambda s: s.memory, super()._shorter(state, value), jnp.ones_like(value))

    def direction(self, objective, point, accepted, curvature):
        block, edge, corner = curvature
        scale, gradient = accepted.coef[-1], accepted.gradient
        l2 = objective.penalty.strengths(accepted.coef)[1][:-1]
        share = jnp.where((l2 > 0).any(), 0.0, SHARE_OF_NOTHING).astype(l2.dtype)
        lower = cholesky.factor(block + jnp.diag(l2), share)
        newton, along = cholesky.solve(lower, jnp.stack([gradient[:-1], edge], 1)).T
        slope = gradient[-1] - edge @ newton
        half = jnp.maximum(0.5 * scale * (corner - edge @ along), 0)  # c / σ², and a is slope + half
        rising = slope + half > 0
        minimum = scale * jnp.where(rising, jnp.sqrt(half / jnp.where(rising, slope + half, 1)), jnp.inf)
        step = jnp.clip(minimum, jnp.maximum(scale / LARGEST_CHANGE, self.least), scale * LARGEST_CHANGE) - scale
        share = SHARE_OF_OUTLIERS * accepted.memory
        return jnp.concatenate([-newton - along * step, step[None]]), jnp.where(share < LEAST_SHARE, 0, share)

    def residual(self, state):
        return _projected(state.gradient, state.coef[-1] <= CLOSE * self.least)


class RobustLBFGS(LBFGS):
    """L-BFGS in the coefficients and the logarithm of the scale, for too many features to form a Hessian.

    *Minimises* what `RobustNewton` does. In ``θ = log(σ − least)`` the objective is not convex, but a change of variables
    adds no stationary point: where the gradient in (b, σ) vanishes is the minimum, and that is what is certified.

    *Step* as of `LBFGS`, without a metric.

    *Reads the data by* fold.

    *Cost per step* two products with X, 4 n p.

    *Stops when* as `RobustNewton`, with the gradient in (b, σ).
    """

    least: Array = eqx.field(kw_only=True)
    precondition: bool = eqx.field(static=True, default=False)

    def init(self, problem, params, key=None):
        above = jnp.maximum(params[-1] - self.least, CLOSE * self.least - self.least)
        return super().init(problem, params.at[-1].set(jnp.log(above)), key)

    def read(self, problem, query):
        loss, trial = query
        value, gradient = problem.design.fold(
            _first_order, (loss, self._with_scale(trial)), problem.y, problem.sample_weight
        )
        return value, gradient.at[-1].multiply(jnp.exp(trial[-1])), None

    def _with_scale(self, trial: Array) -> Array:
        return trial.at[-1].set(self.least + jnp.exp(trial[-1]))

    def params(self, state):
        return self._with_scale(state.coef)

    def residual(self, state):
        gradient = state.gradient.at[-1].divide(jnp.exp(state.coef[-1]))
        return _projected(gradient, self.params(state)[-1] <= CLOSE * self.least)


def _projected(gradient: Array, on_bound: Array) -> Array:
    """Largest entry of the gradient, without that of a scale which its bound holds."""
    held = on_bound & (gradient[-1] > 0)
    return jnp.abs(gradient.at[-1].set(jnp.where(held, 0, gradient[-1]))).max()


def _residuals(query: tuple[ConcomitantHuber, Array], X: Any, y: Array) -> tuple[Array, Array]:
    """Residuals in units of the scale, and what of them has an influence."""
    loss, params = query
    z = (y - X.matvec(params[:-1])) / params[-1]
    return z, loss.influence(z)


def _first_order(query: tuple[ConcomitantHuber, Array], X: Any, y: Array, w: Array) -> tuple[Array, Array]:
    """A lift: value and gradient in (b, σ)."""
    z, u = _residuals(query, X, y)
    loss, params = query
    slope = jnp.concatenate([-2 * X.rmatvec(w * u), (w @ (1 - jnp.square(u)))[None]])
    return params[-1] * (w @ loss.value(z)), slope


def _second_order(query: tuple[ConcomitantHuber, Array, Array], X: Any, y: Array, w: Array) -> tuple[Array, Array, Any]:
    """A lift: value, gradient, and the Hessian as its block of b, its edge and its corner.

    To the block is added a share of what outliers have in the quadratic majorant, ``ψ(z) / z``.
    """
    loss, params, share = query
    z, u = _residuals((loss, params), X, y)
    inside, density = loss.inside(z), 2 * w / params[-1]
    curvature = jnp.where(inside, density, 0)
    majorant = jnp.where(inside, density, share * density * u / jnp.where(inside, 1, z))
    hessian = X.gram(majorant), X.rmatvec(curvature * z), curvature @ jnp.square(z)
    return *_first_order((loss, params), X, y, w), hessian


def attach_robust_derivative(problem: Problem, params: Array, least: Array) -> Array:
    """`params`, (b, σ), with the derivative they have as the solution of `problem`; of a σ on its bound, zero.

    Parameters
    ----------
    problem : Problem
        With `ConcomitantHuber`: X, y, weights, strengths and epsilon are what is differentiated.
    params : (p + 1,)
        A solution; its own derivative is ignored.
    least : scalar
        The bound.

    Returns
    -------
    Array
        As `params`. A solution on a streamed design is a constant.

    Raises
    ------
    ValueError
        When differentiated under a mapped axis, whose collectives must not be differentiated.
    """
    if problem.design.on_host:
        return params
    return _attach(jax.tree.map(jnp.asarray, problem), lax.stop_gradient(params), lax.stop_gradient(least))


@jax.custom_jvp
def _attach(problem: Problem, params: Array, least: Array) -> Array:
    return params


@_attach.defjvp
def _attach_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    problem, _, least = primals
    params = _attach(*primals)
    refuse_axis(problem.design)
    _, change = jax.jvp(partial(_optimality, params), (problem,), (tangents[0],))
    free = jnp.ones(params.shape, bool).at[-1].set(params[-1] > CLOSE * least)
    if len(params) <= MAX_FACTOR and not problem.design.is_sparse:
        query = problem.objective.loss, params, jnp.zeros((), params.dtype)
        *_, (block, edge, corner) = problem.design.fold(_second_order, query, problem.y, problem.sample_weight)
        matrix = jnp.block([[block, edge[:, None]], [edge[None], corner[None, None]]])
        matrix += jnp.diag(problem.objective.penalty.strengths(params)[1])
        return params, -cholesky.masked_solve(matrix, free, change, refine=True)
    return params, -conjugate_gradients(lambda b: _optimality(b, problem), params, free, change)


def _optimality(params: Array, problem: Problem) -> Array:
    """Gradient of the objective."""
    query = problem.objective.loss, params
    _, gradient = problem.design.fold(_first_order, query, problem.y, problem.sample_weight)
    return gradient + problem.objective.penalty.smooth_gradient(params)
