"""Least squares with a concave penalty: one strength, or a grid of them, each from the solution before it."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.solvers.concave_newton import LASSO_GAP, ConcavePath
from jaxlearn.solvers.working_set import Path, WorkingSetPath

from ._glm_routes import Centred, along, attach_sparse, by_columns, constant, limits
from ._glm_types import GLM, SMALL, FittedGLM

__all__ = ["fit_concave", "follow_concave"]


def follow_concave(
    model: GLM, centred: Centred, alphas: Array, init: Array | None, first: ArrayLike
) -> tuple[Path, int]:
    """Stationary points along a grid, with distances in place of gaps, and the size of their working set.

    They begin at the Lasso whose strengths are the slopes of the penalty at `init`: what touches it there, and lies above it.
    """
    if centred.y.ndim > 1:
        raise ValueError("a concave penalty takes one target, `y` of shape (n_samples,): use `vmap` over targets.")
    held: Any = constant(model)
    quadratic, alphas = by_columns(held, constant(centred), alphas.shape[0]), lax.stop_gradient(alphas)
    none = jnp.zeros_like(quadratic.correlation)
    tol, max_passes, first = limits(held, alphas.dtype, first)
    size = min(len(none), SMALL if held.working_set is None else held.working_set)
    start, n_passes = none if init is None else lax.stop_gradient(jnp.asarray(init, none.dtype)), jnp.int32(0)
    if size < len(none):  # else the path itself begins with a Lasso of all columns
        slopes = held.penalty.scaled(alphas[first]).slope(start)
        one, gap = jnp.ones(1, none.dtype), jnp.asarray(LASSO_GAP, none.dtype)
        lasso = along(held, quadratic, WorkingSetPath(one, slopes, none, gap, max_passes, jnp.int32(0), size), start)
        start, n_passes = lasso.coef[0], lasso.n_steps[0]
    l1, _ = held.penalty.strengths(none)
    largest = jnp.max(jnp.abs(quadratic.correlation))
    unit = jnp.where(largest > 0, largest, 1)
    solver = ConcavePath(alphas, l1, none, tol, max_passes, first, size, unit=unit)
    found = along(held, quadratic, solver, start)
    return eqx.tree_at(lambda p: p.n_steps, found, found.n_steps.at[first].add(n_passes)), size


def fit_concave(model: GLM, centred: Centred, init: Array | None) -> FittedGLM:
    """One strength."""
    one = jnp.ones((), centred.y.dtype)
    found, size = follow_concave(model, centred, one[None], init, 0)
    coef = attach_sparse(model, centred, one, (found.coef[0], found.status[0]), size)
    status, distance, n_steps = found.status[0], found.gap[0], found.n_steps[0]
    return FittedGLM(coef, centred.intercept(coef), status, distance, n_steps, model.loss, ConcavePath.certificate)
