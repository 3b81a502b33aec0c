"""Smooth losses with an l1 part: logistic, multinomial and Poisson regression that select, one fit or along a path."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.design import Design
from jaxlearn.objectives import Multinomial
from jaxlearn.solvers.implicit import attach_derivative
from jaxlearn.solvers.multinomial_newton import MultinomialNewtonPath
from jaxlearn.solvers.protocols import Objective, Problem
from jaxlearn.solvers.prox_newton import ProxNewtonPath
from jaxlearn.solvers.solution import Budget
from jaxlearn.solvers.solve import solve

from ._glm_routes import Offset, constant, ended
from ._glm_types import GLM, SMALL, FittedGLM

__all__ = ["attach_sparse_smooth", "fit_sparse_smooth", "follow_smooth", "null_model", "split"]


def split(rows: Offset, coef: Array) -> tuple[Array, Array]:
    """Coefficients, and intercepts, of which those of several classes are told apart by their sum of zero."""
    b, intercept = rows.split(coef)
    return b, intercept if coef.ndim == 1 else intercept - intercept.mean()


def null_model(model: GLM, rows: Offset) -> tuple[Array, Array, Array]:
    """Coefficients without features; what the loss leaves there; and the push of each feature."""
    design, y, weight = rows.design, rows.y, rows.sample_weight
    if (y.ndim == 2) != isinstance(model.loss, Multinomial):
        expected = "(n_samples, n_classes)" if isinstance(model.loss, Multinomial) else "(n_samples,)"
        raise ValueError(f"`y` has shape {y.shape}; {type(model.loss).__name__} with an l1 part takes {expected}.")
    coef = jnp.zeros((design.shape[1], *y.shape[1:]), y.dtype)
    if rows.location is not None:
        coef = coef.at[-1].set(model.loss.link(design.fold(_mean, None, y, weight)))
    return coef, *design.fold(_left, (model.loss, coef), y, weight)


def _mean(_: Any, X: Design, y: Array, w: Array) -> Array:
    return w @ y


def _left(query: Any, X: Design, y: Array, w: Array) -> tuple[Array, Array]:
    loss, coef = query
    f = X.matvec(coef)
    slope = loss.gradient(y, f)
    push = -X.rmatvec(w * slope if slope.ndim == 1 else w[:, None] * slope)
    return w @ loss.divergence(y, f, jnp.zeros((), f.dtype)), push


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
    n_free, k = int(held.location is not None), math.prod(held.y.shape[1:])
    n_features = held.design.shape[1] - n_free
    size = min(k * n_features, SMALL if model.working_set is None else model.working_set)
    strengths = model.penalty.strengths(jnp.zeros(n_features, alphas.dtype))
    of_each = lambda values: jnp.repeat(values, k)  # noqa: E731
    l1, l2 = lax.stop_gradient(jax.tree.map(lambda a: of_each(held.padded(a)), strengths))
    solver = (ProxNewtonPath if held.y.ndim == 1 else MultinomialNewtonPath)(
        lax.stop_gradient(alphas),
        l1,
        l2,
        jnp.asarray(model.tol, alphas.dtype),
        jnp.asarray(model.max_steps, jnp.int32),
        jnp.asarray(first, jnp.int32),
        size + k * n_free,
        model.penalty.positive,  # type: ignore[attr-defined]
        unit=unit,
        squares=of_each(held.design.fold(_squares, None, held.sample_weight)),
        intercept=bool(n_free),
    )
    problem = Problem(Objective(model.loss, model.penalty), held.design, held.y, held.sample_weight)
    found = solve(problem, solver, start.ravel(), budget=Budget(0.0, jnp.iinfo(jnp.int32).max)).state.path
    return eqx.tree_at(lambda path: path.coef, found, found.coef.reshape(-1, *start.shape)), solver.size


def fit_sparse_smooth(model: GLM, rows: Offset, init: Array | None, free: Array | None) -> FittedGLM:
    """A smooth loss with an l1 part."""
    start = init if free is None or init is None else (init, free)
    followed, size = follow_smooth(model, rows, jnp.ones(1, rows.y.dtype), start, 0)
    one, first = jnp.ones((), rows.y.dtype), (followed.coef[0], followed.status[0])
    coef = attach_sparse_smooth(model, rows, one, first, size)
    found = followed.status[0], followed.gap[0], followed.n_steps[0]
    return FittedGLM(*split(rows, coef), *found, model.loss, ProxNewtonPath.certificate)


def attach_sparse_smooth(model: GLM, rows: Offset, alpha: Array, found: tuple[Array, Array], size: int) -> Array:
    """As `attach_sparse`, intercept last.

    Of several classes, those minima are chosen that differ from others by a constant for all classes of a feature, and are as
    sparse as can be; or, where a feature has no strength, sum to zero.
    """
    coef, status = found
    penalty: Any = model.penalty
    n_features = len(coef) - (rows.location is not None)
    spread = jnp.broadcast_to(jnp.asarray(penalty.alpha, coef.dtype) * alpha, (n_features,))
    penalty = eqx.tree_at(lambda p: p.alpha, penalty, rows.padded(spread))
    problem = Problem(Objective(model.loss, penalty), rows.design, rows.y, rows.sample_weight)
    if coef.ndim == 1:
        return attach_derivative(problem, coef, size=size, solved=ended(status))
    l1, l2 = penalty.strengths(coef)
    if not penalty.positive:
        coef = jnp.where((l1 > 0) & (l2 == 0), _less_median(coef), coef)
    coef = attach_derivative(problem, coef, size=size, solved=ended(status))
    return jnp.where((l1 == 0) & (l2 == 0), coef - coef.mean(1, keepdims=True), coef)


def _less_median(coef: Array) -> Array:
    """Rows without a zero, less their median of least magnitude: ``‖·‖₁`` does not grow, and an entry becomes zero."""
    half = coef.shape[1] / 2
    less, more = ((coef[:, None] < coef[:, :, None]).sum(2), (coef[:, None] > coef[:, :, None]).sum(2))
    size = jnp.where((less <= half) & (more <= half), jnp.abs(coef), jnp.inf)
    median = jnp.take_along_axis(coef, size.argmin(1, keepdims=True), 1)
    return jnp.where((coef != 0).all(1, keepdims=True), coef - median, coef)
