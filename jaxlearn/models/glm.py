"""Generalized linear models: least squares, ridge, Lasso, elastic net and logistic regression, as pure functions.

*Minimises* ``(1 / Σ w) Σ_i w_i loss(y_i, X_i b + b0) + penalty(b)``

over the coefficients b and an intercept b0 that is never penalised. Everything here may be called under ``jit``,
``vmap`` over strengths, targets or weights, and ``grad`` with respect to X, y, weights and strengths.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.dense import as_design
from jaxlearn.access.design import Design
from jaxlearn.objectives import L2
from jaxlearn.solvers import closed_form
from jaxlearn.solvers.implicit import attach_derivative
from jaxlearn.solvers.protocols import Objective, Problem

from ._glm_concave import fit_concave, follow_concave
from ._glm_groups import fit_groups, follow_groups, least_alpha_of_groups
from ._glm_routes import (
    attach_sparse,
    centre,
    constant,
    fit_smooth,
    fit_sparse,
    fit_squared,
    follow,
    follow_descent,
    offset,
    prepare,
    spectrum_of,
)
from ._glm_sparse import attach_sparse_smooth, fit_sparse_smooth, follow_smooth, null_model, split
from ._glm_together import paths
from ._glm_types import GLM, FittedGLM, FittedPath

__all__ = [
    "GLM",
    "FittedGLM",
    "FittedPath",
    "alpha_max",
    "fit",
    "leave_one_out",
    "linear_predictor",
    "path",
    "paths",
    "predict",
]


def fit(
    model: GLM,
    X: ArrayLike | Design,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    init: Array | tuple[Array, Array] | None = None,
    key: Array | None = None,
    axis_name: str | None = None,
) -> FittedGLM:
    """Fit a generalized linear model.

    Parameters
    ----------
    model : GLM
    X : (n_samples, n_features) array, or Design
    y : (n_samples,) or (n_samples, k)
        Several targets for the squared loss without l1; one-hot rows for ``Multinomial``.
    sample_weight : (n_samples,), optional
        ≥ 0; zero is a row that is not there.
    init : (n_features,) or (n_features, k), or a pair, optional
        Coefficients to start from, or these and intercepts.
    key : PRNG key, optional
        For ``random``, and for stochastic solvers.
    axis_name : str, optional
        Inside ``shard_map``, ``pmap`` or ``vmap``: the axis over which the rows are split. The result is the same on
        every shard. Such a fit cannot be differentiated; ``jit`` of a fit on a sharded array can.

    Returns
    -------
    FittedGLM

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jaxlearn.models import glm
    >>> from jaxlearn.objectives import L2
    >>> X, y = jnp.array([[0.0], [1.0], [2.0]]), jnp.array([1.0, 3.0, 5.0])
    >>> round(float(glm.fit(glm.GLM(), X, y).coef[0]), 4)
    2.0
    >>> slope = lambda alpha: glm.fit(glm.GLM(penalty=L2(alpha)), X, y).coef[0]
    >>> [round(float(b), 4) for b in jax.vmap(slope)(jnp.array([0.0, 1.0]))]
    [2.0, 0.8]
    >>> round(float(jax.grad(slope)(1.0)), 4)
    -0.48
    """
    design, y, weight = prepare(X, y, sample_weight, axis_name)
    init, free = init if isinstance(init, tuple) else (init, None)
    if model.kind == "smooth":
        return fit_smooth(model, design, y, weight, init=init, free=free, key=key)
    if model.kind == "sparse_smooth":
        return fit_sparse_smooth(model, offset(design, y, weight, model.fit_intercept), init, free)
    centred = centre(design, y, weight, model.fit_intercept)
    if model.kind == "sparse":
        return fit_sparse(model, centred, init, key)
    if model.kind == "groups":
        return fit_groups(model, centred, init)
    if model.kind == "concave":
        return fit_concave(model, centred, init)
    return fit_squared(model, centred, init, key)


def path(
    model: GLM,
    X: ArrayLike | Design,
    y: ArrayLike,
    alphas: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    init: Array | None = None,
    first: ArrayLike = 0,
    axis_name: str | None = None,
) -> FittedPath:
    """Fit a model for each of a decreasing grid of alphas, each from the solution before it.

    Parameters
    ----------
    model : GLM
        With an ``ElasticNet``, a ``GroupElasticNet``, a concave penalty, or with ``L2`` and a loss that is not squared. The
        penalty's own alpha multiplies the grid: leave it at one, or give it one weight for each feature, or group.
    X, y, sample_weight, axis_name
        As in `fit`; with an ``ElasticNet``, unless the loss is ``Multinomial``, or a concave penalty, y (n_samples,).
    alphas : (n_alphas,)
        Decreasing.
    init : (n_features,) or (n_features, k), optional
        Where to start.
    first : int
        Of an ``ElasticNet``: index of the alpha to begin with. A path that overflowed is continued by a model with a
        larger ``working_set``.

    Returns
    -------
    FittedPath

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jaxlearn.models import glm
    >>> from jaxlearn.objectives import L2, Logistic
    >>> X, y = jnp.array([[-2.0], [-1.0], [1.0], [2.0]]), jnp.array([0.0, 1.0, 0.0, 1.0])
    >>> glm.path(glm.GLM(Logistic(), L2(1.0)), X, y, jnp.array([1.0, 0.1])).coef.round(2)
    Array([[0.15],
           [0.36]], dtype=float32)
    """
    descends = model.kind == "smooth" and isinstance(model.penalty, L2)
    if not descends and model.kind not in ("sparse", "sparse_smooth", "groups", "concave"):
        raise ValueError(
            "`path` follows a penalty that selects features, or `L2` with a loss that is not squared; got "
            f"{type(model.penalty).__name__} with {type(model.loss).__name__}: use `vmap` of `fit`."
        )
    design, y, weight = prepare(X, y, sample_weight, axis_name)
    alphas = jnp.asarray(alphas, y.dtype)
    if descends:
        if design.on_host or not (isinstance(first, int) and first == 0):
            raise ValueError("`path` with an `L2` penalty takes rows in memory, and begins with the first alpha.")
        return follow_descent(model, design, y, weight, alphas=alphas, init=init)
    if model.kind == "sparse_smooth":
        rows = offset(design, y, weight, model.fit_intercept)
        found, size = follow_smooth(model, rows, alphas, init, first)
        attach = lambda alpha, found: attach_sparse_smooth(model, rows, alpha, found, size)  # noqa: E731
        coef = jax.vmap(attach)(alphas, (found.coef, found.status))
        return FittedPath(*jax.vmap(partial(split, rows))(coef), found.status, found.gap, found.n_steps)
    centred = centre(design, y, weight, model.fit_intercept)
    if model.kind == "groups":
        found, coef, size = follow_groups(model, centred, alphas, init, first)
    else:
        along = follow_concave if model.kind == "concave" else follow
        found, size = along(model, centred, alphas, init, first)
        coef = found.coef
    attach = lambda alpha, found: attach_sparse(model, centred, alpha, found, size)  # noqa: E731
    coef = jax.vmap(attach)(alphas, (coef, found.status))
    return FittedPath(coef, jax.vmap(centred.intercept)(coef), found.status, found.gap, found.n_steps)


def alpha_max(
    model: GLM,
    X: ArrayLike | Design,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    axis_name: str | None = None,
) -> Array:
    """Smallest alpha of a penalty that selects (its own alpha taken as a weight) for which every coefficient is zero."""
    design, y, weight = prepare(X, y, sample_weight, axis_name)
    if model.kind == "sparse_smooth":
        push = null_model(model, offset(design, y, weight, model.fit_intercept))[2][: design.shape[1]]
        return _least_alpha(model, push)
    centred = centre(design, y, weight, model.fit_intercept)
    if model.kind == "groups":
        return least_alpha_of_groups(model, centred)
    correlation = centred.design.fold(_correlate, None, centred.y, centred.sample_weight)
    return _least_alpha(model, correlation)


def _least_alpha(model: GLM, correlation: Array) -> Array:
    l1, _ = model.penalty.strengths(jnp.zeros_like(correlation))
    push = jnp.maximum(correlation, 0) if getattr(model.penalty, "positive", False) else jnp.abs(correlation)
    return jnp.max(jnp.where(l1 > 0, push / jnp.where(l1 > 0, l1, 1), 0))


def leave_one_out(
    model: GLM, X: ArrayLike | Design, y: ArrayLike, alphas: ArrayLike, sample_weight: ArrayLike | None = None
) -> Array:
    """Ridge predictions of each row by the fit to all others, for every alpha, from one eigendecomposition.

    With hat matrix H, ``ŷ₋ᵢ = (f_i − H_ii y_i) / (1 − H_ii)``.

    Parameters
    ----------
    model : GLM
        Squared loss; its penalty is replaced by ``L2(alpha)`` for each alpha.
    X, y, sample_weight
        As in `fit`.
    alphas : (n_alphas,)

    Returns
    -------
    (n_alphas, n_samples) or (n_alphas, n_samples, k)

    References
    ----------
    Rifkin and Lippert, "Notes on regularized least squares", 2007.
    """
    design, y, weight = prepare(X, y, sample_weight, None)
    centred = centre(design, y, weight, model.fit_intercept)
    spectrum = spectrum_of(centred)
    scores = jnp.square(centred.design.matvec(spectrum.vectors))  # of each row on each direction
    mean_part = jnp.ones_like(weight) if model.fit_intercept else jnp.zeros_like(weight)

    held = constant(centred)

    def at(alpha: Array) -> Array:
        known = lax.stop_gradient((spectrum, alpha))
        coef, _ = closed_form.ridge(known[0], held.design, held.y, held.sample_weight, known[1])
        problem = Problem(Objective(model.loss, L2(alpha)), centred.design, centred.y, centred.sample_weight)
        coef = attach_derivative(problem, coef)
        leverage = weight * (mean_part + scores @ spectrum.inverse(alpha))
        f = centred.design.matvec(coef)
        rest = 1 - leverage
        # a row that alone decides a direction cannot be predicted without it: its residual is the target itself
        rest = jnp.where(rest > jnp.finfo(rest.dtype).eps, rest, 1)
        columns = (lambda v: v) if f.ndim == 1 else (lambda v: v[:, None])
        offset = jnp.zeros((), f.dtype) if centred.y_mean is None else centred.y_mean
        return (f - columns(leverage) * centred.y) / columns(rest) + (
            offset if f.ndim == 1 else jnp.atleast_1d(offset)[None]
        )

    return lax.map(at, jnp.asarray(alphas, y.dtype))


def linear_predictor(fitted: Any, X: ArrayLike | Design, *, axis_name: str | None = None) -> Array:
    """``X coef + intercept`` of any fitted linear model, (n_samples,) or (n_samples, k): a map over rows."""
    design = as_design(X, axis_name)
    f = design.matvec(fitted.coef)
    return f + (fitted.intercept if f.ndim == 1 else fitted.intercept[None])


def predict(fitted: FittedGLM, X: ArrayLike | Design, *, axis_name: str | None = None) -> Array:
    """Conditional mean of y: the linear predictor through the inverse link (probabilities for a classifier)."""
    return fitted.loss.inverse_link(linear_predictor(fitted, X, axis_name=axis_name))


def _correlate(_: Any, X: Design, y: Array, w: Array) -> Array:
    return X.rmatvec(w * y if y.ndim == 1 else w[:, None] * y)
