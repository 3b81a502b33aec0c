"""Logistic regression on every fold and at every strength: one program for smooth penalties, one for those that select."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxlearn.access.blocks import in_blocks
from jaxlearn.access.dense import as_design
from jaxlearn.models import glm
from jaxlearn.models.glm import GLM
from jaxlearn.objectives import Loss

from .base import compute
from .inputs import Data
from .programs import Path, last, resumed

__all__ = ["Fits", "follow_logistic_folds"]

# A probability is not taken for less than a rounding of double precision, here as in scikit-learn's log loss.
LARGEST_LOSS = float(-np.log(np.finfo(np.float64).eps))


class Fits(NamedTuple):
    """What is kept of the fits of all folds, arrays of (n_folds, n_alphas, ...)."""

    coef: Any
    intercept: Any
    right: Any
    """Weight of the rows of the test fold whose class is predicted."""
    loss: Any
    """Their weighted sum of log losses."""


def follow_logistic_folds(data: Data, model: GLM, alphas: np.ndarray, train: np.ndarray, test: np.ndarray) -> Path:
    """A path for each fold; ``values`` are its `Fits`.

    Parameters
    ----------
    data : Data
    model : GLM
        Its penalty's alpha is one.
    alphas : (n_folds, n_alphas)
        Decreasing.
    train, test : (n_rows, n_folds)
        Weights.
    """
    rows = data.X, data.y, train, test
    if model.kind == "smooth":
        return compute(_smooth_folds, data, model, alphas, rows=rows)
    n_folds = len(alphas)
    init = np.zeros((n_folds, data.n_features, *data.y.shape[1:]), data.dtype)
    return resumed(_sparse_folds, data, rows, model, alphas, init, np.zeros(n_folds, np.int32))


def _smooth_folds(rows: Any, rest: Any, axis_name: str | None = None) -> Path:
    """One path for each fold, one after the other, over the same X."""
    (X, y, train, test), (model, alphas) = rows, rest
    design = in_blocks(X, axis_name)

    def one(lane: Any) -> Path:
        train, test, alphas = lane
        return _judged(glm.path(model, design, y, alphas, train, axis_name=axis_name), model.loss, design, y, test)

    return lax.map(one, (train.T, test.T, alphas))


def _sparse_folds(rows: Any, rest: Any, axis_name: str | None = None) -> tuple[Path, Array]:
    """The same with an l1 part, and where each path ended."""
    (X, y, train, test), (model, alphas, init, first) = rows, rest
    design = as_design(X, axis_name)

    def one(lane: Any) -> tuple[Path, Array]:
        train, test, alphas, init, first = lane
        found = glm.path(model, design, y, alphas, train, init=init, first=first, axis_name=axis_name)
        return _judged(found, model.loss, design, y, test), last(found)

    return lax.map(one, (train.T, test.T, alphas, init, first))


def _judged(found: glm.FittedPath, loss: Loss, design: Any, y: Array, test: Array) -> Path:
    judge = lambda fit: design.fold(_right_and_loss, (loss, *fit), y, test)  # noqa: E731
    right, losses = lax.map(judge, (found.coef, found.intercept))
    return Path(found.status, found.residual, found.n_steps, Fits(found.coef, found.intercept, right, losses))


def _right_and_loss(query: Any, X: Any, y: Array, w: Array) -> tuple[Array, Array]:
    loss, coef, intercept = query
    f = X.matvec(coef) + (intercept if y.ndim == 1 else intercept[None])
    right = (f > 0) == (y > 0) if y.ndim == 1 else f.argmax(1) == y.argmax(1)
    return jnp.where(right, w, 0).sum(), w @ jnp.minimum(loss.value(y, f), LARGEST_LOSS)
