"""Least squares whose coefficients are zero by groups: multi-task regression and the group lasso."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.objectives import GroupElasticNet
from jaxlearn.solvers.gap import magnitude
from jaxlearn.solvers.group_newton import GroupPath
from jaxlearn.solvers.quadratic import GroupedQuadratic, Quadratic

from ._glm_routes import Centred, along, attach_sparse, by_columns, constant, limits
from ._glm_types import GLM, SMALL, FittedGLM

__all__ = ["fit_groups", "follow_groups", "least_alpha_of_groups"]


def _quadratic(model: GLM, centred: Centred, n_alphas: int) -> tuple[GroupElasticNet, Quadratic]:
    penalty: Any = model.penalty
    if (centred.y.ndim == 1) != (penalty.groups is not None):
        raise ValueError(
            f"`y` has shape {centred.y.shape}: groups of features take one target, (n_samples,); without `groups` the penalty "
            "is that of several tasks, (n_samples, k)."
        )
    quadratic = by_columns(model, centred, n_alphas)
    return penalty, quadratic if penalty.groups is None else GroupedQuadratic.of(quadratic, penalty.groups)


def follow_groups(
    model: GLM, centred: Centred, alphas: Array, init: Array | None, first: ArrayLike
) -> tuple[Any, Array, int]:
    """The path, its coefficients as X has them, and how many of them at most are not zero, or rows of them."""
    held: Any = constant(model)
    penalty, quadratic = _quadratic(held, constant(centred), alphas.shape[0])
    n_groups, width = quadratic.correlation.shape
    width = 1 if penalty.groups is None else width
    size = min(n_groups, max(SMALL // width, 1) if model.working_set is None else model.working_set)
    l1, l2 = penalty.row_strengths(quadratic.correlation)
    solver = GroupPath(lax.stop_gradient(alphas), l1, l2, *limits(held, alphas.dtype, first), size)
    start = None if init is None else penalty.rows(jnp.asarray(init))
    found = along(held, quadratic, solver, start)
    n_features = centred.design.shape[1]
    return found, jax.vmap(lambda rows: penalty.joined(rows, n_features))(found.coef), min(n_features, size * width)


def fit_groups(model: GLM, centred: Centred, init: Array | None) -> FittedGLM:
    """One strength."""
    one = jnp.ones((), centred.y.dtype)
    found, coef, size = follow_groups(model, centred, one[None], init, 0)
    coef = attach_sparse(model, centred, one, (coef[0], found.status[0]), size)
    status, gap, n_steps = found.status[0], found.gap[0], found.n_steps[0]
    return FittedGLM(coef, centred.intercept(coef), status, gap, n_steps, model.loss, GroupPath.certificate)


def least_alpha_of_groups(model: GLM, centred: Centred) -> Array:
    """Smallest alpha, as a multiple of the penalty's, for which all groups are zero."""
    penalty, quadratic = _quadratic(model, centred, 1)
    l1, _ = penalty.row_strengths(quadratic.correlation)
    push = magnitude(quadratic.correlation)
    return jnp.max(jnp.where(l1 > 0, push / jnp.where(l1 > 0, l1, 1), 0))
