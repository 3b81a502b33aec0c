"""The programs that estimators compile: pure functions of rows, and of what does not go with the rows.

Each takes ``(rows, rest, axis_name)``, as `compute` wants it, with rows that lie on one device.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxlearn.access.blocks import in_blocks
from jaxlearn.access.dense import as_design
from jaxlearn.models import glm
from jaxlearn.models.glm import GLM, FittedGLM
from jaxlearn.solvers.coordinate_path import CoordinatePath
from jaxlearn.solvers.solution import OVERFLOW

from .base import NO_SEED, compute
from .inputs import Data

__all__ = [
    "ALL_FEATURES",
    "alpha_max",
    "descends",
    "elastic_net",
    "fit",
    "fit_drawn",
    "fit_each",
    "holding",
    "larger",
    "leave_one_out",
    "ridge_folds",
    "separates",
    "smallest",
    "smooth",
    "with_alpha",
]

# Up to this many features all are solved for together; of more, a working set that starts here and is quadrupled when it
# is full: each step factors the whole set, however few of its columns are in use, and each size is a program to compile.
ALL_FEATURES, WORKING_SET = 256, 64
# So much of a set may be in use when a fit begins with it.
FULL = 3 / 4
# Newton's systems are no larger than the rows: of 100 to 300, paths of four recipes took .3 to 1.7 times as long by Newton's
# method alone, of 600 .8 to 1.2 times, of 1000 × 5000 1.1 to 7 times.
MANY_ROWS = 512
# Coordinate descent reads a copy of X in single precision, and sorts it into another: a larger X is not copied.
LARGEST_COPIED = 1 << 28
# Of groups it takes fewer rows: 18 fits to 100 to 400 rows of groups of ten took 0.14 to 2.4 times as long as by Newton's
# method alone, half of them less than 0.4, and compiled in 2 to 3 s instead of 4 to 9. Blocks are whole groups, all as wide as
# the largest.
MANY_ROWS_OF_GROUPS, LARGEST_GROUP, MOST_FILLED = 64, 64, 1.5


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
    one = lambda alpha, target: glm.fit(with_alpha(model, alpha), design, target, weight, axis_name=axis_name)  # noqa: E731
    fitted = jax.vmap(one)(model.penalty.alpha, y.T)
    return eqx.tree_at(lambda f: f.coef, fitted, fitted.coef.T)


def with_alpha(model: GLM, alpha: Array) -> GLM:
    """The model at another strength."""
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
        return glm.fit(with_alpha(model, alpha), design, target, weight, init=start, key=key, axis_name=axis_name)

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
    model, n_steps = smallest(model, data), 0
    if data.y.ndim == 1 and descends(data, model):
        fitted = compute(_descent, data, model, init)
        if fitted.status >= 0:
            return fitted
        model, init, n_steps = holding(model, fitted.coef), fitted.coef, fitted.n_steps
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


def _descent(rows: Any, rest: Any, axis_name: str | None = None) -> FittedGLM:
    """An elastic net by coordinate descent; its status is -1 where that was given up."""
    (X, y, weight), (model, init) = rows, rest
    found = glm.paths(model, X, y, jnp.ones(1, y.dtype), weight[None], init=init[None])
    at = jax.tree.map(lambda leaf: leaf[0, 0], found)
    certificate = CoordinatePath.certificate
    return FittedGLM(at.coef, at.intercept, at.status, at.residual, at.n_steps, model.loss, certificate)


def descends(data: Data, model: GLM, n_alphas: int = 1) -> bool:
    """Whether coordinate descent is to begin: many wide rows, which Newton's method would read for each alpha, on a CPU."""
    n_samples, n_features = data.X.shape
    groups = getattr(model.penalty, "groups", None)
    if groups is None:
        able, many = model.kind == "sparse", MANY_ROWS
    else:
        able, many = groups.size <= MOST_FILLED * n_features and groups.shape[1] <= LARGEST_GROUP, MANY_ROWS_OF_GROUPS
    together = isinstance(data.X, np.ndarray) and jax.default_backend() == "cpu"
    wide = n_samples >= many and n_features > max(ALL_FEATURES, min(n_samples, 4 * n_alphas))
    given = model.gram is not None or model.precompute or model.random or model.solver != "auto"
    return able and together and wide and not given and data.X.nbytes <= LARGEST_COPIED


def holding(model: GLM, coef: np.ndarray) -> GLM:
    """The model with a working set that has room for these coefficients."""
    while np.count_nonzero(coef, axis=-1).max() > FULL * (model.working_set or 0) * _width(model):
        model = larger(model)
    return model


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


def smallest(model: GLM, data: Data) -> GLM:
    """The model with the working set that all paths and fits begin with, if there are too many columns to do without."""
    n_columns = data.n_features * (math.prod(data.y.shape[1:]) if model.kind == "sparse_smooth" else 1)
    if n_columns <= ALL_FEATURES:
        return model
    return dataclasses.replace(model, working_set=max(WORKING_SET // math.isqrt(_width(model)), 1))


def alpha_max(rows: Any, rest: Any, axis_name: str | None = None) -> Array:
    """The smallest strength without any non-zero coefficient."""
    (X, y, weight), (model,) = rows, rest
    return glm.alpha_max(model, X, y, weight, axis_name=axis_name)


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
        at = lambda alpha: glm.fit(with_alpha(model, alpha / total), design, y, weight, axis_name=axis_name)  # noqa: E731
        return jax.vmap(at)(alphas)

    return lax.map(one, train.T)


def _total(_: Any, X: Any, w: Array) -> Array:
    return w.sum()
