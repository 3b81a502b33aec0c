"""Huber regression: linear regression that outliers do not spoil, with the scale of its residuals, as pure functions.

*Minimises* ``(1 / Σ w) Σ_i w_i (σ + σ H((y_i − X_i b − b0) / σ)) + alpha ‖b‖²``

over coefficients b, an intercept b0 that is never penalised, and the scale σ, jointly convex; ``H(z)`` is z² for
``|z| ≤ epsilon``, else ``2 epsilon |z| − epsilon²``. Everything here may be called under ``jit``, ``vmap`` over strengths,
targets or weights, and ``grad`` with respect to X, y, weights, alpha and epsilon.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.design import Design
from jaxlearn.objectives import L2, ConcomitantHuber
from jaxlearn.solvers.protocols import Objective, Problem
from jaxlearn.solvers.robust import RobustLBFGS, RobustNewton, attach_robust_derivative
from jaxlearn.solvers.solution import Budget
from jaxlearn.solvers.solve import solve

from ._glm_routes import constant, factorable, offset, prepare
from .glm import linear_predictor

__all__ = ["FittedHuber", "Huber", "fit", "predict"]


class Huber(eqx.Module):
    """What to fit and how: an immutable configuration whose numbers are leaves.

    Parameters
    ----------
    epsilon : float
        ≥ 1; residuals of more than epsilon σ are outliers.
    alpha : float
        Strength, ≥ 0. A fit is differentiable without one if the columns of its inliers are independent.
    tol : float
        Stop when no entry of the gradient, in b, b0 and σ, is larger: it has no unit but that of X.
    max_steps : int
        Passes over the data.
    fit_intercept : bool
    solver : {"auto", "newton", "lbfgs"}
        ``auto`` is Newton's method up to 4096 features, 1024 of a sparse X.
    """

    epsilon: ArrayLike = 1.35
    alpha: ArrayLike = 1e-4
    tol: ArrayLike = 1e-5
    max_steps: ArrayLike = 100
    fit_intercept: bool = eqx.field(static=True, default=True)
    solver: str = eqx.field(static=True, default="auto")

    def __check_init__(self) -> None:
        if self.solver not in ("auto", "newton", "lbfgs"):
            raise ValueError(f"`solver={self.solver!r}`; expected 'auto', 'newton' or 'lbfgs'.")


class FittedHuber(eqx.Module):
    """A fitted model, a pytree.

    Attributes
    ----------
    coef : (p,)
    intercept : scalar
        Zero without an intercept.
    scale : scalar
        σ. A perfect fit ends at its lower bound: √eps of the spread of y, or of one if y is constant.
    status : int32 scalar
        Index into ``jaxlearn.solvers.SENTENCES``; 0 is converged.
    residual : scalar
        The certificate.
    n_steps : int32 scalar
        Passes over the data.
    """

    certificate: ClassVar[str] = RobustNewton.certificate

    coef: Array
    intercept: Array
    scale: Array
    status: Array
    residual: Array
    n_steps: Array


def fit(
    model: Huber,
    X: ArrayLike | Design,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    init: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    axis_name: str | None = None,
) -> FittedHuber:
    """Fit coefficients, an intercept and the scale of the residuals.

    Parameters
    ----------
    model : Huber
    X : (n_samples, n_features) array, or Design
    y : (n_samples,)
    sample_weight : (n_samples,), optional
        ≥ 0; zero is a row that is not there.
    init : (coef, intercept, scale), optional
        Where to start; by default at the median of y, and twice the median distance from it.
    axis_name : str, optional
        Inside ``shard_map``, ``pmap`` or ``vmap``: the axis over which the rows are split. Such a fit cannot be
        differentiated; ``jit`` of a fit on a sharded array can.

    Returns
    -------
    FittedHuber

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jaxlearn.models import huber
    >>> X, y = jnp.arange(8.0)[:, None], jnp.array([1.1, 1.9, 3.05, 3.95, 5.1, 5.9, 7.0, 60.0])
    >>> fitted = huber.fit(huber.Huber(), X, y)
    >>> round(float(fitted.coef[0]), 1)
    1.0
    >>> float(jax.grad(lambda y: huber.fit(huber.Huber(), X, y).coef[0])(y)[-1])  # how far off an outlier is does not matter
    0.0
    """
    design, y, weight = prepare(X, y, sample_weight, axis_name)
    if y.ndim != 1:
        raise ValueError(f"`y` has shape {y.shape}; expected (n_samples,): use `vmap` over targets.")
    dtype = y.dtype
    rows = offset(design, y, weight, model.fit_intercept)
    # a reference that is no function of the data: a derivative with respect to it would be zero
    about = jnp.asarray(model.fit_intercept, dtype)
    center, spread, _ = lax.stop_gradient(design.fold(_middle, about, y, weight, merge=_merged, whole=True))
    y, unit = y - center, jnp.where(spread > 0, spread, 1)
    loss: Any = ConcomitantHuber(jnp.asarray(model.epsilon, dtype))
    strength = rows.padded(jnp.broadcast_to(2 * jnp.asarray(model.alpha, dtype), (design.n_features,)))
    strength = jnp.append(strength, 0)  # of the scale

    # in units of the spread of y
    penalty = L2(strength * unit)
    problem = constant(Problem(Objective(loss, penalty), rows.design, y / unit, weight))
    least = jnp.sqrt(jnp.asarray(jnp.finfo(dtype).eps, dtype))
    start = jnp.zeros(strength.shape, dtype).at[-1].set(1)
    if init is not None:
        coef, intercept, scale = (lax.stop_gradient(jnp.asarray(a, dtype)) for a in init)
        start = jnp.append(constant(rows).joined(coef, intercept - center), scale) / unit
        start = start.at[-1].set(jnp.maximum(start[-1], least))
    newton = factorable(design.n_features, design.is_sparse) if model.solver == "auto" else model.solver == "newton"
    solver = RobustNewton(least) if newton else RobustLBFGS(least=least)
    budget = lax.stop_gradient(Budget(jnp.asarray(model.tol, dtype), jnp.asarray(model.max_steps, jnp.int32)))
    found = solve(problem, solver, start, budget=budget)

    problem = Problem(Objective(loss, L2(strength)), rows.design, y, weight)
    params = attach_robust_derivative(problem, unit * found.params, unit * least)
    coef, intercept = rows.split(params[:-1])
    return FittedHuber(coef, intercept + center, params[-1], found.status, found.residual, found.n_steps)


def predict(fitted: FittedHuber, X: ArrayLike | Design, *, axis_name: str | None = None) -> Array:
    """``X coef + intercept``, (n_samples,): a map over rows."""
    return linear_predictor(fitted, X, axis_name=axis_name)


def _middle(about: Array, X: Design, y: Array, w: Array) -> tuple[Array, Array, Array]:
    """A lift: the median of y, or zero, twice the median distance from it, and the weight of both."""
    center = about * _median(y, w)
    distance = jnp.abs(y - center)
    median, mean, total = _median(distance, w), w @ distance, w.sum()
    # more than half of the rows may be equal, or all
    spread = jnp.where(median > 0, median, mean / jnp.where(total > 0, total, 1))
    return center, 2 * spread, total


def _merged(parts: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    """Of several blocks of rows: medians of theirs, near enough for a start."""
    center, spread, total = parts
    return _median(center, total), _median(spread, total), total.sum()


def _median(values: Array, w: Array) -> Array:
    order = jnp.argsort(values)
    below = jnp.cumsum(w[order])
    return values[order[jnp.argmax(below >= 0.5 * below[-1])]]
