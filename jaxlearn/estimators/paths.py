"""Paths along a grid of alphas, of all rows or of each fold: what compiles, and how a path goes on where a program ended it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxlearn.access.dense import as_design
from jaxlearn.models import glm
from jaxlearn.models.glm import GLM
from jaxlearn.solvers.solution import OVERFLOW

from .base import compute
from .inputs import Data
from .programs import descends, holding, larger, smallest, with_alpha

__all__ = ["Path", "follow", "follow_folds", "last", "resumed", "ridge_paths"]


class Path(NamedTuple):
    """What is kept of a path, or of the paths of all folds: arrays of (n_alphas, ...) or (n_folds, n_alphas, ...)."""

    status: Any
    residual: Any
    n_steps: Any
    values: Any


def _path(rows: Any, rest: Any, axis_name: str | None = None) -> tuple[Path, Array]:
    (X, y, weight), (model, alphas, init, first) = rows, rest
    found = glm.path(model, X, y, alphas, weight, init=init, first=first, axis_name=axis_name)
    return Path(found.status, found.residual, found.n_steps, found.coef), last(found)


def last(found: glm.FittedPath) -> Array:
    """Coefficients where a path ended."""
    return found.coef[jnp.maximum((found.status >= 0).sum() - 1, 0)]


def _fold_paths(rows: Any, rest: Any, axis_name: str | None = None) -> tuple[Path, Array]:
    """One path for each fold, one after the other, over the same X; in place of coefficients, mean squared errors."""
    (X, y, train, test), (model, alphas, init, first) = rows, rest
    design = as_design(X, axis_name)

    def one(lane: Any) -> tuple[Path, Array]:
        train, test, init, first = lane
        found = glm.path(model, design, y, alphas, train, init=init, first=first, axis_name=axis_name)
        total, errors = design.fold(_squared_errors, (found.coef, found.intercept), y, test)
        return Path(found.status, found.residual, found.n_steps, errors / total), last(found)

    # a sequence, not lanes: a weighted Gram matrix for each fold at once would hold as many copies of X
    return lax.map(one, (train.T, test.T, init, first))


def _path_descent(rows: Any, rest: Any, axis_name: str | None = None) -> tuple[Path, Array]:
    """As `_path`, by coordinate descent."""
    (X, y, weight), (model, alphas, init) = rows, rest
    found = jax.tree.map(lambda leaf: leaf[0], glm.paths(model, X, y, alphas, weight[None], init=init[None]))
    return Path(found.status, found.residual, found.n_steps, found.coef), _stopped(found)


def _stopped(found: glm.FittedPath) -> Array:
    """Coefficients of the alpha at which coordinate descent was given up."""
    return found.coef[jnp.minimum((found.status >= 0).sum(), len(found.status) - 1)]


def _fold_descent(rows: Any, rest: Any, axis_name: str | None = None) -> tuple[Path, Array]:
    """As `_fold_paths`, by coordinate descent on all folds at once."""
    (X, y, train, test), (model, alphas, init) = rows, rest
    design = as_design(X, axis_name)
    found = glm.paths(model, design, y, alphas, train.T, init=init)

    def one(lane: Any) -> tuple[Array, Array]:
        found, test = lane
        total, errors = design.fold(_squared_errors, (found.coef, found.intercept), y, test)
        return errors / total, _stopped(found)

    errors, ends = lax.map(one, (found, test.T))
    return Path(found.status, found.residual, found.n_steps, errors), ends


def ridge_paths(rows: Any, rest: Any, axis_name: str | None = None) -> Path:
    """As `follow_folds`, of a penalty that selects nothing: one spectrum for each fold serves all strengths."""
    (X, y, train, test), (model, alphas) = rows, rest
    design = as_design(X, axis_name)

    def one(lane: tuple[Array, Array]) -> Path:
        train, test = lane
        at = lambda alpha: glm.fit(with_alpha(model, alpha), design, y, train, axis_name=axis_name)  # noqa: E731
        found = jax.vmap(at)(alphas)
        total, errors = design.fold(_squared_errors, (found.coef, found.intercept), y, test)
        return Path(found.status, found.residual, found.n_steps, errors / total)

    return lax.map(one, (train.T, test.T))


def _squared_errors(query: tuple[Array, Array], X: Any, y: Array, w: Array) -> tuple[Array, Array]:
    coef, intercept = query
    if y.ndim == 1:
        residual = y[:, None] - X.matvec(coef.T) - intercept[None]
        return w.sum(), w @ jnp.square(residual)
    # predictions of all strengths for all tasks would be many
    one = lambda at: w @ jnp.square(y - X.matvec(at[0]) - at[1][None]).mean(1)  # noqa: E731
    return w.sum(), lax.map(one, (coef, intercept))


def follow(data: Data, model: GLM, alphas: np.ndarray, init: np.ndarray | None = None) -> Path:
    """A path; ``values`` are its coefficients. Where a program ended it another goes on."""
    init = np.zeros((data.n_features, *data.y.shape[1:]), data.dtype) if init is None else init
    begin = _path_descent if descends(data, model, len(alphas)) else None
    return resumed(_path, data, data.rows, model, alphas, init, np.zeros((), np.int32), begin)


def follow_folds(data: Data, model: GLM, alphas: np.ndarray, train: np.ndarray, test: np.ndarray) -> Path:
    """A path for each fold, of weights `train` and `test`, (n_rows, n_folds); ``values`` are errors on `test`."""
    n_folds = train.shape[1]
    init = np.zeros((n_folds, data.n_features, *data.y.shape[1:]), data.dtype)
    first = np.zeros(n_folds, np.int32)
    begin = _fold_descent if descends(data, model, len(alphas)) else None
    return resumed(_fold_paths, data, (data.design, data.y, train, test), model, alphas, init, first, begin)


def resumed(
    program: Any, data: Data, rows: Any, model: GLM, alphas: Any, init: Any, first: Any, begin: Any = None
) -> Path:
    """What `program` makes of the rows, a path for each fold or one, from where `begin` ended; sets grow on the host."""
    model = smallest(model, data)
    if begin is None:
        path, start = compute(program, data, model, alphas, init, first, rows=rows)
        model = larger(model)
    else:
        path, start = compute(begin, data, model, alphas, init, rows=rows)
        model = holding(model, start)
    while (is_left := np.isin(path.status, (OVERFLOW, -1))).any():
        first = (~is_left).sum(-1).astype(np.int32)
        rest, start = compute(program, data, model, alphas, start, first, rows=rows)
        reached = rest.status >= 0
        path = jax.tree.map(lambda old, new: _replaced(old, new, reached), path, rest)  # noqa: B023
        model = larger(model)
    return path


def _replaced(old: np.ndarray, new: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.where(where.reshape(where.shape + (1,) * (old.ndim - where.ndim)), new, old)
