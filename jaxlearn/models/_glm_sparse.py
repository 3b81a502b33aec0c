"""Smooth losses with an l1 part: logistic and Poisson regression that select features, one by one or along a path."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.design import Design
from jaxlearn.solvers.implicit import attach_derivative
from jaxlearn.solvers.protocols import Objective, Problem
from jaxlearn.solvers.prox_newton import ProxNewtonPath
from jaxlearn.solvers.solution import Budget
from jaxlearn.solvers.solve import solve

from ._glm_routes import Offset, constant
from ._glm_types import GLM, SMALL, FittedGLM

__all__ = ["attach_sparse_smooth", "fit_sparse_smooth", "follow_smooth", "null_model"]


def null_model(model: GLM, rows: Offset) -> tuple[Array, Array, Array]:
    """Coefficients without features; what the loss leaves there; and the push of each feature."""
    design, y, weight = rows.design, rows.y, rows.sample_weight
    coef = jnp.zeros(design.shape[1], y.dtype)
    if rows.location is not None:
        coef = coef.at[-1].set(model.loss.link(design.fold(_mean, None, y, weight)))
    return coef, *design.fold(_left, (model.loss, coef), y, weight)


def _mean(_: Any, X: Design, y: Array, w: Array) -> Array:
    return w @ y


def _left(query: Any, X: Design, y: Array, w: Array) -> tuple[Array, Array]:
    loss, coef = query
    f = X.matvec(coef)
    return w @ loss.divergence(y, f, jnp.zeros((), f.dtype)), -X.rmatvec(w * loss.gradient(y, f))


def _squares(_: Any, X: Design, w: Array) -> Array:
    return X.squares(w)


def follow_smooth(
    model: GLM, rows: Offset, alphas: Array, init: Array | tuple[Array, Array] | None, first: ArrayLike
) -> tuple[Any, int]:
    """The path of a smooth loss with an l1 part, intercepts last, and the size of its working set."""
    held = constant(rows)
    start, unit, _ = null_model(model, held)
    if isinstance(init, tuple):
        start = lax.stop_gradient(held.joined(*(jnp.asarray(a, alphas.dtype) for a in init)))
    elif init is not None:
        start = start.at[: len(init)].set(lax.stop_gradient(init))
    n_features = held.design.shape[1] - (held.location is not None)
    size = min(n_features, SMALL if model.working_set is None else model.working_set)
    strengths = model.penalty.strengths(jnp.zeros(n_features, alphas.dtype))
    l1, l2 = lax.stop_gradient(jax.tree.map(held.padded, strengths))
    solver = ProxNewtonPath(
        lax.stop_gradient(alphas),
        l1,
        l2,
        jnp.asarray(model.tol, alphas.dtype),
        jnp.asarray(model.max_steps, jnp.int32),
        jnp.asarray(first, jnp.int32),
        size + (held.location is not None),
        model.penalty.positive,  # type: ignore[attr-defined]
        unit=unit,
        squares=held.design.fold(_squares, None, held.sample_weight),
        intercept=held.location is not None,
    )
    problem = Problem(Objective(model.loss, model.penalty), held.design, held.y, held.sample_weight)
    unbounded = jnp.iinfo(jnp.int32).max
    return solve(problem, solver, start, budget=Budget(0.0, unbounded)).state.path, solver.size


def fit_sparse_smooth(model: GLM, rows: Offset, init: Array | None, free: Array | None) -> FittedGLM:
    """A smooth loss with an l1 part."""
    start = init if free is None or init is None else (init, free)
    followed, size = follow_smooth(model, rows, jnp.ones(1, rows.y.dtype), start, 0)
    coef = attach_sparse_smooth(model, rows, jnp.ones((), rows.y.dtype), followed.coef[0], size)
    found = followed.status[0], followed.gap[0], followed.n_steps[0]
    return FittedGLM(*rows.split(coef), *found, model.loss, ProxNewtonPath.certificate)


def attach_sparse_smooth(model: GLM, rows: Offset, alpha: Array, coef: Array, size: int) -> Array:
    """As `attach_sparse`, intercept last."""
    penalty: Any = model.penalty
    n_features = len(coef) - (rows.location is not None)
    spread = jnp.broadcast_to(jnp.asarray(penalty.alpha, coef.dtype) * alpha, (n_features,))
    penalty = eqx.tree_at(lambda p: p.alpha, penalty, rows.padded(spread))
    problem = Problem(Objective(model.loss, penalty), rows.design, rows.y, rows.sample_weight)
    return attach_derivative(problem, coef, size=size)
