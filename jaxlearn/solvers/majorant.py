"""The quadratic majorant of a loss, ``c Xᵀ ω X`` with c a bound of its curvature, as far as it is cheap."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxlearn.objectives import Loss

from .protocols import Problem

__all__ = ["curvature", "diagonal", "inverse_diagonal"]


def curvature(loss: Loss) -> float:
    """c; one where there is no bound, and the majorant is only a scale."""
    return loss.curvature_bound if math.isfinite(loss.curvature_bound) else 1.0


def diagonal(problem: Problem) -> Array:
    """``c Σ ω X_j²``, (p,), by one pass over the data."""
    return curvature(problem.objective.loss) * problem.design.fold(_squares, None, problem.sample_weight)


def inverse_diagonal(problem: Problem, params: Array) -> Array:
    """``1 / (c Σ ω X_j² + l2_j)``, like `params`; one where that is ``1 / 0``."""
    squares = diagonal(problem)
    total = (squares if params.ndim == 1 else squares[:, None]) + problem.objective.penalty.strengths(params)[1]
    return jnp.where(total > 0, 1 / jnp.where(total > 0, total, 1), 1)


def _squares(_: Any, X: Any, w: Array) -> Array:
    return X.squares(w)
