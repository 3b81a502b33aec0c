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

from jaxlearn.access.dense import as_design
from jaxlearn.access.design import Design
from jaxlearn.objectives import L2, ConcomitantHuber
from jaxlearn.solvers.protocols import Objective, Problem
from jaxlearn.solvers.robust import RobustLBFGS, RobustNewton, attach_robust_derivative
from jaxlearn.solvers.solution import Budget
from jaxlearn.solvers.solve import solve

from ._glm_routes import constant, factorable, prepare
from ._glm_sparse import offset

__all__ = ["FittedHuber", "Huber", "fit", "predict"]

# Of the influences of a start: beyond what they sum to at an optimum by so much, too many rows are outliers to learn from.
MOST_INFLUENCE = 1.1


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
        Where to start; by default at the mean of y and its standard deviation. A scale that leaves too many outliers
        to learn from is replaced by the root mean square of the residuals.
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
    >>> X, y = jnp.arange(6.0)[:, None], jnp.array([0.1, 0.9, 2.0, 3.1, 3.9, 60.0])
    >>> fitted = huber.fit(huber.Huber(), X, y)
    >>> round(float(fitted.coef[0]), 2)
    0.97
    >>> slopes = jax.grad(lambda y: huber.fit(huber.Huber(), X, y).coef[0])(y)
    >>> bool(abs(slopes[-1]) < 1e-3)
    True
    """
    design, y, weight = prepare(X, y, sample_weight, axis_name)
    if y.ndim != 1:
        raise ValueError(f"`y` has shape {y.shape}; expected (n_samples,): use `vmap` over targets.")
    dtype = y.dtype
    rows = offset(design, y, weight, model.fit_intercept)
    mean = design.fold(_mean, None, y, weight) if model.fit_intercept else jnp.zeros((), dtype)
    y = y - mean
    spread = lax.stop_gradient(jnp.sqrt(design.fold(_square, None, y, weight)))
    unit = jnp.where(spread > 0, spread, 1)
    loss = ConcomitantHuber(jnp.asarray(model.epsilon, dtype))
    strength = rows.padded(jnp.broadcast_to(2 * jnp.asarray(model.alpha, dtype), (design.n_features,)))
    strength = jnp.append(strength, 0)  # of the scale

    # in units of the spread of y
    penalty = L2(strength * unit)
    problem = constant(Problem(Objective(loss, penalty), rows.design, y / unit, weight))
    least = jnp.sqrt(jnp.asarray(jnp.finfo(dtype).eps, dtype))
    start = jnp.zeros(strength.shape, dtype).at[-1].set(1)
    if init is not None:
        coef, intercept, scale = (lax.stop_gradient(jnp.asarray(a, dtype)) for a in init)
        at = constant(rows).joined(coef, intercept - lax.stop_gradient(mean))
        start = _safe(problem, jnp.append(at, scale) / unit, least)
    newton = factorable(design.n_features, design.is_sparse) if model.solver == "auto" else model.solver == "newton"
    solver = RobustNewton(least) if newton else RobustLBFGS(least=least)
    budget = lax.stop_gradient(Budget(jnp.asarray(model.tol, dtype), jnp.asarray(model.max_steps, jnp.int32)))
    found = solve(problem, solver, start, budget=budget)

    problem = Problem(Objective(loss, L2(strength)), rows.design, y, weight)
    params = attach_robust_derivative(problem, unit * found.params, unit * least)
    coef, intercept = rows.split(params[:-1])
    return FittedHuber(coef, intercept + mean, params[-1], found.status, found.residual, found.n_steps)


def predict(fitted: FittedHuber, X: ArrayLike | Design, *, axis_name: str | None = None) -> Array:
    """``X coef + intercept``, (n_samples,): a map over rows."""
    return as_design(X, axis_name).matvec(fitted.coef) + fitted.intercept


def _safe(problem: Problem, start: Array, least: Array) -> Array:
    """A start, with a scale at which rows enough are inside: where all are outliers, nothing is known of the curvature."""
    scale = jnp.maximum(start[-1], least)
    query = problem.objective.loss, start[:-1], scale
    influence, square = problem.design.fold(_influence, query, problem.y, problem.sample_weight)
    return start.at[-1].set(jnp.where(influence <= MOST_INFLUENCE, scale, jnp.maximum(jnp.sqrt(square), least)))


def _mean(_: Any, X: Design, y: Array, w: Array) -> Array:
    return w @ y


def _square(_: Any, X: Design, y: Array, w: Array) -> Array:
    return w @ jnp.square(y)


def _influence(query: Any, X: Design, y: Array, w: Array) -> tuple[Array, Array]:
    """A lift: squared influences, which sum to one at the best scale, and squared residuals."""
    loss, coef, scale = query
    residual = y - X.matvec(coef)
    return w @ jnp.square(loss.influence(residual / scale)), w @ jnp.square(residual)
