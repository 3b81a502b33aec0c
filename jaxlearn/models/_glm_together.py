"""Elastic nets of several weightings of the same rows, along a grid of alphas: coordinate descent that shares each reading."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxlearn.access.columns import SharedColumns
from jaxlearn.access.dense import as_design
from jaxlearn.access.design import Centered, Design
from jaxlearn.solvers.coordinate_path import CoordinatePath
from jaxlearn.solvers.group_descent import GroupDescentPath
from jaxlearn.solvers.protocols import Objective, Problem
from jaxlearn.solvers.solution import Budget
from jaxlearn.solvers.solve import solve
from jaxlearn.solvers.working_set import Path

from ._glm_routes import Centred, attach_sparse, centre, constant, limits
from ._glm_types import GLM, FittedPath

__all__ = ["paths"]


def paths(
    model: GLM,
    X: ArrayLike | Design,
    y: ArrayLike,
    alphas: ArrayLike,
    sample_weight: ArrayLike,
    *,
    init: Array | None = None,
) -> FittedPath:
    """Paths for several weightings of the rows, folds or bootstraps, by coordinate descent that reads X once for all of them.

    Where it is slow a path ends early, with a ``status`` of -1 for the alphas that are left: `path` takes them up.

    Parameters
    ----------
    model : GLM
        Squared loss with an ``ElasticNet`` or with a ``GroupElasticNet`` of features, whose own alpha multiplies the grid.
    X : (n_samples, n_features)
        Dense rows of one device.
    y : (n_samples,)
    alphas : (n_alphas,)
        Decreasing.
    sample_weight : (n_weightings, n_samples)
    init : (n_weightings, n_features), optional
        Where to start.

    Returns
    -------
    FittedPath
        With a leading axis, (n_weightings, n_alphas, ...).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jaxlearn.models import glm
    >>> from jaxlearn.objectives import ElasticNet, Squared
    >>> X, y = jnp.array([[1.0], [0.0], [-1.0]]), jnp.array([2.0, 0.0, -2.0])
    >>> model = glm.GLM(Squared(), ElasticNet(1.0, 1.0), fit_intercept=False)
    >>> glm.paths(model, X, y, jnp.array([1.0, 0.5]), jnp.array([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])).coef[..., 0]
    Array([[1. , 1.5],
           [1. , 1.5]], dtype=float32)
    """
    if model.kind != "sparse" and getattr(model.penalty, "groups", None) is None:
        raise ValueError(
            "`paths` takes a squared loss and an `ElasticNet`, or a `GroupElasticNet` of features; got "
            f"{type(model.loss).__name__} with {type(model.penalty).__name__}: use `vmap` of `path`."
        )
    design = as_design(X)
    if design.on_host or design.is_sparse:
        raise ValueError("`paths` copies columns and takes dense rows in memory: use `path`.")
    y, alphas = jnp.asarray(y, design.dtype), jnp.asarray(alphas, design.dtype)
    weight = jnp.asarray(sample_weight, design.dtype)
    if y.shape != design.shape[:1] or weight.ndim != 2 or weight.shape[1:] != y.shape:
        raise ValueError(
            f"`y` has shape {y.shape} and `sample_weight` {weight.shape}; expected ({design.shape[0]},) and "
            f"(n_weightings, {design.shape[0]})."
        )
    weight = weight / weight.sum(1, keepdims=True)

    def centred(weight: Array) -> Centred:
        return centre(design, y, weight, model.fit_intercept)

    def attached(weight: Array, found: Path) -> FittedPath:
        rows = centred(weight)
        attach = lambda alpha, *at_alpha: attach_sparse(model, rows, alpha, at_alpha, design.shape[1])  # noqa: E731
        coef = jax.vmap(attach)(alphas, found.coef, found.status)
        return FittedPath(coef, jax.vmap(rows.intercept)(coef), found.status, found.gap, found.n_steps)

    return jax.vmap(attached)(weight, _found(model, (centred, weight), alphas, init))


def _found(model: GLM, rows: tuple[Callable[[Array], Centred], Array], alphas: Array, init: Array | None) -> Path:
    centred, weight = rows
    one = centred(weight[0]).design
    shifted = one.inner if isinstance(one, Centered) else one  # the same for all
    y, mean = jax.vmap(lambda weight: _targets(centred(weight)))(weight)
    n_features, penalty = shifted.shape[1], constant(model).penalty
    start = jnp.zeros((len(weight), n_features), y.dtype) if init is None else jnp.asarray(init, y.dtype)
    tol, max_steps, _ = limits(model, y.dtype, 0)
    if model.kind == "sparse":
        index, (l1, l2) = None, penalty.strengths(start[0])
        solver = CoordinatePath(alphas, l1, l2, tol, max_steps, penalty.positive)
    else:
        index, by_group = penalty.groups, jax.vmap(penalty.rows)(start)
        l1, l2 = (jnp.repeat(of_each, index.shape[1]) for of_each in penalty.row_strengths(by_group[0]))
        solver = GroupDescentPath(alphas, l1, l2, tol, max_steps, width=index.shape[1])
        start = by_group.reshape(len(start), index.size)
    problem = Problem(Objective(model.loss, model.penalty), SharedColumns(shifted, y, weight, mean, index), None, None)
    held = constant((problem, solver, start))
    found = solve(*held, budget=Budget(0.0, jnp.iinfo(jnp.int32).max)).state.path
    if index is None:
        return found
    features = lambda b: penalty.joined(b.reshape(index.shape), n_features)  # noqa: E731
    return eqx.tree_at(lambda path: path.coef, found, jax.vmap(jax.vmap(features))(found.coef))


def _targets(centred: Centred) -> tuple[Array, Array | None]:
    """What is centred by one weighting: its target, and the mean of the columns."""
    return centred.y, centred.design.mean if isinstance(centred.design, Centered) else None
