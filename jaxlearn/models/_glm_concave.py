"""Least squares with a concave penalty: one strength, or a grid of them, each from the solution before it."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.solvers.local_linear import LocalLinear
from jaxlearn.solvers.protocols import Objective, Problem
from jaxlearn.solvers.solution import OVERFLOW, Budget
from jaxlearn.solvers.solve import solve
from jaxlearn.solvers.working_set import INNER_SHARE, Path, WorkingSetPath

from ._glm_routes import Centred, attach_sparse, by_columns, constant, limits, scaled
from ._glm_types import GLM, SMALL, FittedGLM

__all__ = ["fit_concave", "follow_concave"]


def follow_concave(
    model: GLM, centred: Centred, alphas: Array, init: Array | None, first: ArrayLike
) -> tuple[Path, int]:
    """Stationary points along a grid, with distances in place of gaps, and the size of their working set.

    After an overflow nothing more is solved for.
    """
    if centred.y.ndim > 1:
        raise ValueError("a concave penalty takes one target, `y` of shape (n_samples,): use `vmap` over targets.")
    held, dtype = constant(model), alphas.dtype
    quadratic = by_columns(model, constant(centred), alphas.shape[0])
    n_features = len(quadratic.correlation)
    size = min(n_features, SMALL if model.working_set is None else model.working_set)
    none = jnp.zeros(n_features, dtype)
    # a Lasso whose gap is the square of a distance
    tol, max_steps, _ = limits(held, dtype, 0)
    gap = INNER_SHARE * jnp.square(tol)
    lasso = WorkingSetPath(jnp.ones(1, dtype), none, none, gap, max_steps, jnp.int32(0), size)
    largest = jnp.max(jnp.abs(quadratic.correlation))
    solver = LocalLinear(lasso, jnp.where(largest > 0, largest, 1))
    start = none if init is None else lax.stop_gradient(jnp.asarray(init, dtype))

    def step(carry: tuple[Array, Array], at: tuple[Array, Array]) -> tuple[tuple[Array, Array], Path]:
        (coef, full), (alpha, index) = carry, at
        problem = Problem(Objective(model.loss, scaled(held.penalty, alpha)), quadratic, None, None)
        left_out = full | (index < first)
        budget = Budget(tol, jnp.where(left_out, 0, max_steps))
        solution = solve(problem, solver, coef, budget=budget)
        status = jnp.where(left_out, jnp.int32(-1), solution.status)
        found = Path(solution.params, solution.residual, solution.state.n_passes, status)
        return (solution.params, full | (status == OVERFLOW)), found

    grid = lax.stop_gradient(alphas), jnp.arange(len(alphas))
    return lax.scan(step, (start, jnp.bool_(False)), grid)[1], size


def fit_concave(model: GLM, centred: Centred, init: Array | None) -> FittedGLM:
    """One strength."""
    one = jnp.ones((), centred.y.dtype)
    found, size = follow_concave(model, centred, one[None], init, 0)
    coef = attach_sparse(model, centred, one, found.coef[0], size)
    status, distance, n_steps = found.status[0], found.gap[0], found.n_steps[0]
    return FittedGLM(coef, centred.intercept(coef), status, distance, n_steps, model.loss, LocalLinear.certificate)
