"""Logistic regression on every fold and at every strength: one program for smooth penalties, one for those that select."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxlearn.access.blocks import in_blocks
from jaxlearn.access.dense import as_design
from jaxlearn.models import glm
from jaxlearn.models.glm import GLM
from jaxlearn.objectives import Loss

from .base import compute, number
from .inputs import Data
from .paths import Path, last, resumed

__all__ = ["Fits", "fit_grid", "joined", "scores_of"]

# A probability is not taken for less than a rounding of double precision, here as in scikit-learn's log loss.
LARGEST_LOSS = float(-np.log(np.finfo(np.float64).eps))


class Fits(NamedTuple):
    """What is kept of the fits of all folds, arrays of (n_folds, n_alphas, ...)."""

    coef: Any
    intercept: Any
    right: Any
    """Weight of the rows of the test fold whose class is predicted."""
    log_likelihood: Any
    """Their weighted sum of logarithms of probabilities."""


def fit_grid(data: Data, models: list[GLM], Cs: np.ndarray, train: np.ndarray, test: np.ndarray) -> Path:
    """Every model, on every fold, for every C: ``C Σ s_i loss_i + penalty`` over the training rows of the fold.

    Parameters
    ----------
    data : Data
    models : list of GLM
        Their penalties have an alpha of one.
    Cs : (n_cs,)
        In any order; the paths go from the smallest to the largest.
    train, test : (n_rows, n_folds)
        Weights.

    Returns
    -------
    Path
        Of (n_folds, n_models, n_cs, ...); its ``values`` are `Fits`.
    """
    total = train.sum(0, dtype=np.float64)
    if not total.all():
        raise ValueError(f"Fold {total.argmin()} has no training row of positive weight.")
    if data.y.ndim == 1 and any(model.kind == "sparse_smooth" for model in models):
        seen = np.array([len(np.unique(data.y[fold > 0])) for fold in train.T])
        if (seen < 2).any():
            raise ValueError(f"Fold {seen.argmin()} trains on one class only, and a fit with an l1 part needs two.")
    ascending = np.argsort(Cs, kind="stable")
    alphas = number(1 / (Cs[ascending] * total[:, None]), data.dtype)
    paths = [_follow(data, model, alphas, (train, test)) for model in models]
    given = np.argsort(ascending)
    return jax.tree.map(lambda *parts: np.stack([part[:, given] for part in parts], axis=1), *paths)


def scores_of(sums: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Means over test rows of weights `test`, (n_rows, n_folds), from sums of (n_folds, ...)."""
    total = test.sum(0, dtype=np.float64)
    if not total.all():
        raise ValueError(f"Fold {total.argmin()} has no test row of positive weight.")
    return sums.astype(np.float64) / total[:, None, None]


def joined(fits: Fits, with_intercept: bool) -> np.ndarray:
    """Coefficients (n_folds, n_models, n_cs, n_classes or 1, n_features), intercepts last if there are some."""
    two = fits.coef.ndim == 4
    coef = fits.coef[..., None, :] if two else np.swapaxes(fits.coef, -1, -2)
    intercept = fits.intercept[..., None, None] if two else fits.intercept[..., None]
    return np.concatenate([coef, intercept], axis=-1) if with_intercept else coef


def _follow(data: Data, model: GLM, alphas: np.ndarray, folds: tuple[np.ndarray, np.ndarray]) -> Path:
    rows, n_folds = (data.design, data.y, *folds), len(alphas)
    if model.kind == "smooth":
        path = compute(_smooth_folds, data, model, alphas, rows=rows)
    else:
        init = np.zeros((n_folds, data.n_features, *data.y.shape[1:]), data.dtype)
        path = resumed(_sparse_folds, data, rows, model, alphas, init, np.zeros(n_folds, np.int32))
    intercept = data.unshifted(path.values.coef, path.values.intercept)
    if data.y.ndim > 1:  # those of several classes sum to zero
        intercept = intercept - intercept.mean(-1, keepdims=True)
    return path._replace(values=path.values._replace(intercept=intercept))


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
    judge = lambda fit: design.fold(_right_and_likely, (loss, *fit), y, test)  # noqa: E731
    right, likely = lax.map(judge, (found.coef, found.intercept))
    return Path(found.status, found.residual, found.n_steps, Fits(found.coef, found.intercept, right, likely))


def _right_and_likely(query: Any, X: Any, y: Array, w: Array) -> tuple[Array, Array]:
    loss, coef, intercept = query
    f = X.matvec(coef) + (intercept if y.ndim == 1 else intercept[None])
    right = (f > 0) == (y > 0) if y.ndim == 1 else f.argmax(1) == y.argmax(1)
    return jnp.where(right, w, 0).sum(), -w @ jnp.minimum(loss.value(y, f), LARGEST_LOSS)
