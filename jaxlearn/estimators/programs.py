"""The programs that estimators compile: pure functions of rows, and of what does not go with the rows.

Each takes ``(rows, rest, axis_name)``, as `compute` wants it, with rows that lie on one device.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxlearn.access.blocks import in_blocks
from jaxlearn.access.dense import as_design
from jaxlearn.models import glm
from jaxlearn.models.glm import GLM, FittedGLM
from jaxlearn.solvers.solution import OVERFLOW

from .base import NO_SEED, compute
from .inputs import Data

__all__ = [
    "Path",
    "alpha_max",
    "elastic_net",
    "fit",
    "fit_drawn",
    "fit_each",
    "follow",
    "follow_folds",
    "last",
    "leave_one_out",
    "resumed",
    "ridge_folds",
    "ridge_paths",
    "separates",
    "smooth",
]

# Up to this many features all are solved for together; of more, a working set that starts here and is quadrupled when it
# is full: each step factors the whole set, however few of its columns are in use, and each size is a program to compile.
ALL_FEATURES, WORKING_SET = 256, 64


def fit(rows: Any, rest: Any, axis_name: str | None = None) -> FittedGLM:
    """All targets together."""
    (X, y, weight), (model, init) = rows, rest
    return glm.fit(model, in_blocks(X, axis_name), y, weight, init=init, axis_name=axis_name)


def fit_drawn(rows: Any, rest: Any, axis_name: str | None = None) -> FittedGLM:
    """As `fit`, from zero, by a solver that draws rows."""
    (X, y, weight), (model, seed) = rows, rest
    return glm.fit(model, in_blocks(X, axis_name), y, weight, key=jax.random.key(seed), axis_name=axis_name)


def fit_each(rows: Any, rest: Any, axis_name: str | None = None) -> FittedGLM:
    """Each target with a strength of its own: lanes that share what depends on X alone, its spectrum for instance."""
    (X, y, weight), (model,) = rows, rest
    design = in_blocks(X, axis_name)
    one = lambda alpha, target: glm.fit(_with_alpha(model, alpha), design, target, weight, axis_name=axis_name)  # noqa: E731
    fitted = jax.vmap(one)(model.penalty.alpha, y.T)
    return eqx.tree_at(lambda f: f.coef, fitted, fitted.coef.T)


def _with_alpha(model: GLM, alpha: Array) -> GLM:
    return eqx.tree_at(lambda m: m.penalty.alpha, model, alpha)


def smooth(rows: Any, rest: Any, axis_name: str | None = None) -> FittedGLM:
    """From a start, by a solver that may draw rows."""
    (X, y, weight), (model, init, seed) = rows, rest
    key = jax.random.key(seed)
    return glm.fit(model, in_blocks(X, axis_name), y, weight, init=init, key=key, axis_name=axis_name)


def separates(rows: Any, rest: Any, axis_name: str | None = None) -> Array:
    """Whether all rows are on the right side: without a penalty there is no optimum then."""
    (X, y, weight), (fitted,) = rows, rest
    return as_design(X, axis_name).fold(_weight_misclassified, fitted, y, weight) == 0


def _weight_misclassified(fitted: FittedGLM, X: Any, y: Array, w: Array) -> Array:
    f = glm.linear_predictor(fitted, X)
    right = (
        (2 * y - 1) * f > 0
        if f.ndim == 1
        else (jnp.where(y > 0, f, jnp.inf).min(1) > jnp.where(y > 0, -jnp.inf, f).max(1))
    )
    return jnp.where(right, 0, w).sum()


def _one_by_one(rows: Any, rest: Any, axis_name: str | None = None) -> FittedGLM:
    """An elastic net for each target, one after the other: they share nothing. One for all tasks, or all classes."""
    (X, y, weight), (model, init, seed) = rows, rest
    key = jax.random.key(seed) if model.random else None
    design = as_design(X, axis_name)

    def one(lane: tuple[Array, Array, Array]) -> FittedGLM:
        alpha, target, start = lane
        return glm.fit(_with_alpha(model, alpha), design, target, weight, init=start, key=key, axis_name=axis_name)

    alpha = jnp.asarray(model.penalty.alpha)
    if y.ndim == 1 or model.kind in ("groups", "sparse_smooth"):
        return one((alpha, y, init))
    fitted = lax.map(one, (jnp.broadcast_to(alpha, y.shape[1:]), y.T, init.T))
    return eqx.tree_at(lambda f: f.coef, fitted, fitted.coef.T)


def elastic_net(data: Data, model: GLM, init: Any = None, seed: np.ndarray = NO_SEED) -> FittedGLM:
    """An elastic net for each target, or one for all classes. The working set grows on the host until it holds every solution.

    Parameters
    ----------
    data : Data
    model : GLM
    init : ndarray, optional
        Coefficients to start from; of a loss that is not squared also these and intercepts.
    seed : ndarray
    """
    if init is None:
        init = np.zeros((data.n_features, *data.y.shape[1:]), data.dtype)
    model, n_steps = _smallest(model, data), 0
    while True:
        fitted = compute(_one_by_one, data, model, init, seed)
        n_steps = n_steps + fitted.n_steps
        if not (fitted.status == OVERFLOW).any():
            return eqx.tree_at(lambda f: f.n_steps, fitted, n_steps)
        if model.kind == "sparse_smooth":
            init = fitted.coef, fitted.intercept
        elif model.kind != "concave":  # there what is found would depend on where the set was full
            init = fitted.coef
        model = larger(model)


def larger(model: GLM) -> GLM:
    """The same model with a working set four times as large, or less where its products begin to cost more than passes."""
    width = _width(model)
    size = model.working_set or max(ALL_FEATURES // width, 1)
    # 174 groups of ten, of a thousand, were found in .9 s instead of 1.4 where sets grew by half
    growth = 4 if size * width < ALL_FEATURES else 2 if width == 1 else 1.5
    return dataclasses.replace(model, working_set=math.ceil(growth * size))


def _width(model: GLM) -> int:
    """Coefficients of a group."""
    groups = getattr(model.penalty, "groups", None)
    return 1 if groups is None else groups.shape[1]


def _smallest(model: GLM, data: Data) -> GLM:
    n_columns = data.n_features * (math.prod(data.y.shape[1:]) if model.kind == "sparse_smooth" else 1)
    if n_columns <= ALL_FEATURES:
        return model
    return dataclasses.replace(model, working_set=max(WORKING_SET // math.isqrt(_width(model)), 1))


def alpha_max(rows: Any, rest: Any, axis_name: str | None = None) -> Array:
    """The smallest strength without any non-zero coefficient."""
    (X, y, weight), (model,) = rows, rest
    return glm.alpha_max(model, X, y, weight, axis_name=axis_name)


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


def ridge_paths(rows: Any, rest: Any, axis_name: str | None = None) -> Path:
    """As `follow_folds`, of a penalty that selects nothing: one spectrum for each fold serves all strengths."""
    (X, y, train, test), (model, alphas) = rows, rest
    design = as_design(X, axis_name)

    def one(lane: tuple[Array, Array]) -> Path:
        train, test = lane
        at = lambda alpha: glm.fit(_with_alpha(model, alpha), design, y, train, axis_name=axis_name)  # noqa: E731
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
    """A path; ``values`` are its coefficients. Where the working set is full it goes on with a larger one."""
    init = np.zeros((data.n_features, *data.y.shape[1:]), data.dtype) if init is None else init
    return resumed(_path, data, data.rows, model, alphas, init, np.zeros((), np.int32))


def follow_folds(data: Data, model: GLM, alphas: np.ndarray, train: np.ndarray, test: np.ndarray) -> Path:
    """A path for each fold, of weights `train` and `test`, (n_rows, n_folds); ``values`` are errors on `test`."""
    n_folds = train.shape[1]
    init = np.zeros((n_folds, data.n_features, *data.y.shape[1:]), data.dtype)
    first = np.zeros(n_folds, np.int32)
    return resumed(_fold_paths, data, (data.X, data.y, train, test), model, alphas, init, first)


def resumed(program: Any, data: Data, rows: Any, model: GLM, alphas: Any, init: Any, first: Any) -> Path:
    """What `program` makes of the rows, a path for each fold or one, and where it ended; the working set grows on the host."""
    model = _smallest(model, data)
    path, start = compute(program, data, model, alphas, init, first, rows=rows)
    while (path.status == OVERFLOW).any():
        model = larger(model)
        first = (np.isin(path.status, (OVERFLOW, -1), invert=True)).sum(-1).astype(np.int32)
        rest, start = compute(program, data, model, alphas, start, first, rows=rows)
        reached = rest.status >= 0
        path = jax.tree.map(lambda old, new: _replaced(old, new, reached), path, rest)  # noqa: B023
    return path


def _replaced(old: np.ndarray, new: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.where(where.reshape(where.shape + (1,) * (old.ndim - where.ndim)), new, old)


def leave_one_out(rows: Any, rest: Any, axis_name: str | None = None) -> Array:
    """Ridge predictions of each row without it, for every strength."""
    (X, y, weight), (model, alphas) = rows, rest
    return glm.leave_one_out(model, X, y, alphas, weight)


def ridge_folds(rows: Any, rest: Any, axis_name: str | None = None) -> FittedGLM:
    """Ridge for every fold, one after the other, and every strength, from one spectrum for each fold."""
    (X, y, train), (model, alphas) = rows, rest
    design = in_blocks(X, axis_name)

    def one(weight: Array) -> FittedGLM:
        total = design.fold(_total, None, weight)
        at = lambda alpha: glm.fit(_with_alpha(model, alpha / total), design, y, weight, axis_name=axis_name)  # noqa: E731
        return jax.vmap(at)(alphas)

    return lax.map(one, train.T)


def _total(_: Any, X: Any, w: Array) -> Array:
    return w.sum()
