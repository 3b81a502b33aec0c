"""Quantile regression with an l1 penalty, as pure functions.

*Minimises* ``(1 / Σ w) Σ_i w_i ρ_q(y_i − X_i b − b0) + alpha ‖b‖₁`` with ``ρ_q(r) = max(q r, (q − 1) r)``

over the coefficients b and an intercept b0 that is never penalised. Everything here may be called under ``jit``, ``vmap`` over
quantiles, strengths, targets or weights, and ``grad`` with respect to X and y.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.dense import as_design
from jaxlearn.access.design import Design, Scaled
from jaxlearn.solvers import tree
from jaxlearn.solvers.interior_point import InteriorPoint, Point
from jaxlearn.solvers.protocols import Problem
from jaxlearn.solvers.solution import CONVERGED, Budget
from jaxlearn.solvers.solve import solve
from jaxlearn.solvers.vertex import attach_vertex, onto_vertex

from ._glm_routes import constant, offset, prepare
from .glm import linear_predictor

__all__ = ["FittedQuantile", "Quantile", "digits", "fit", "predict"]

# Halvings of the range of y: the quantile of y itself is only where the fit begins, and a unit.
HALVINGS = 60


class Quantile(eqx.Module):
    """What to fit and how: an immutable configuration whose numbers are leaves.

    Parameters
    ----------
    quantile : float
        q, between 0 and 1.
    alpha : float or (p,)
        Strength ≥ 0 of the l1 penalty, of all features or of each.
    tol : float, optional
        Duality gap, in units of the loss that a constant leaves; by default `digits` of the dtype.
    max_steps : int
        Each makes one weighted Gram matrix.
    fit_intercept : bool
    """

    quantile: ArrayLike = 0.5
    alpha: ArrayLike = 1.0
    tol: ArrayLike | None = None
    max_steps: ArrayLike = 100
    fit_intercept: bool = eqx.field(static=True, default=True)


class FittedQuantile(eqx.Module):
    """A fitted model, a pytree.

    Attributes
    ----------
    coef : (p,)
    intercept : scalar
        Zero without an intercept.
    status : int32 scalar
        Index into ``jaxlearn.solvers.SENTENCES``; 0 is converged.
    residual : scalar
        Duality gap at these coefficients, in units of the loss that a constant leaves.
    n_steps : int32 scalar
    """

    certificate: ClassVar = InteriorPoint.certificate

    coef: Array
    intercept: Array
    status: Array
    residual: Array
    n_steps: Array


def digits(dtype: Any) -> float:
    """The tolerance that a dtype can be asked for: three quarters of its digits, 6e-6 in single precision, 2e-12 in double."""
    return float(jnp.finfo(dtype).eps) ** 0.75


def fit(
    model: Quantile,
    X: ArrayLike | Design,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    axis_name: str | None = None,
) -> FittedQuantile:
    """Fit a quantile regression.

    The solution is a vertex: as many rows are met exactly as coefficients, with the intercept, are not zero. Its derivative is
    that of the vertex; strengths, quantile and weights do not move it, but from one vertex to another. Where it is not unique,
    a point amid the minima is found, whose derivative is NaN.

    Parameters
    ----------
    model : Quantile
    X : (n_samples, n_features) array, or Design
        In memory: what belongs to a row is kept, and rows that stream are refused.
    y : (n_samples,)
    sample_weight : (n_samples,), optional
        ≥ 0; zero is a row that is not there.
    axis_name : str, optional
        Inside ``shard_map``, ``pmap`` or ``vmap``: the axis over which the rows are split. The result is the same on
        every shard. Such a fit cannot be differentiated; ``jit`` of a fit on a sharded array can.

    Returns
    -------
    FittedQuantile

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jaxlearn.models import quantile
    >>> X, y = jnp.array([[0.0], [1.0], [1.0]]), jnp.array([1.0, 2.0, 11.0])
    >>> fan = lambda q: quantile.fit(quantile.Quantile(q, alpha=0.0), X, y)
    >>> jax.vmap(fan)(jnp.array([0.3, 0.7])).coef.round(2)
    Array([[ 1.],
           [10.]], dtype=float32)
    """
    design = as_design(X, axis_name)
    if design.on_host:
        raise ValueError(f"`quantile.fit` takes rows in memory; got `{type(design).__name__}`.")
    design, y, weight = prepare(design, y, sample_weight, axis_name)
    if y.ndim != 1:
        raise ValueError(f"`y` has shape {y.shape}; expected ({y.shape[0]},): use `vmap` over targets.")
    rows = offset(design, y, weight, model.fit_intercept)
    held = constant(rows)
    quantile, alpha = (jnp.asarray(lax.stop_gradient(a), y.dtype) for a in (model.quantile, model.alpha))

    shift, unit = _constant_model(held, quantile)
    scale, l1 = _scales(held, alpha, quantile)
    target = (held.y - shift) / unit
    problem = Problem(None, Scaled(held.design, scale), target, held.sample_weight)
    solver = InteriorPoint(quantile, l1)
    tol = digits(y.dtype) if model.tol is None else lax.stop_gradient(model.tol)
    tol = jnp.asarray(tol, y.dtype)
    budget = Budget(tol, jnp.asarray(model.max_steps, jnp.int32))
    solution = solve(problem, solver, jnp.zeros_like(scale), budget=budget)

    point, basis, active = _vertex(problem, solver, solution.state.best, tol)
    coef = unit * scale * point.coef
    if held.location is not None:
        coef = coef.at[-1].add(shift)
    coef = attach_vertex(rows.design, rows.y, coef, basis, active)
    status = jnp.where(point.gap <= tol, jnp.int32(CONVERGED), solution.status)
    return FittedQuantile(*rows.split(coef), status, point.gap, solution.n_steps)


def predict(fitted: FittedQuantile, X: ArrayLike | Design, *, axis_name: str | None = None) -> Array:
    """``X coef + intercept``, (n_samples,): a map over rows."""
    return linear_predictor(fitted, X, axis_name=axis_name)


def _constant_model(rows: Any, quantile: Array) -> tuple[Array, Array]:
    """The quantile of y, or zero without an intercept; and the loss that it leaves, or one where it leaves none."""
    fold, y, w = rows.design.fold, rows.y, rows.sample_weight
    at = jnp.zeros((), y.dtype)
    if rows.location is not None:

        def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = 0.5 * low + 0.5 * high
            enough = fold(_below, middle, y, w) >= quantile
            return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

        at = lax.fori_loop(0, HALVINGS, halve, fold(_ends, None, y, w, merge=_outer))[1]
    loss = fold(_loss, (quantile, at), y, w)
    return at, jnp.where(loss > 0, loss, 1)


def _scales(rows: Any, alpha: Array, quantile: Array) -> tuple[Array, Array]:
    """One over the root mean square of each column, and the strengths of columns so scaled.

    A strength beyond the largest push that slopes between q − 1 and q can make leaves nothing of a coefficient, and a column
    that is constant tells nothing that the intercept does not: both are left out, by a scale of zero.
    """
    n_features = rows.design.shape[1] - (rows.location is not None)
    squares, means = rows.design.fold(_moments, None, rows.sample_weight)
    sizes, strengths = jnp.sqrt(squares), rows.padded(jnp.broadcast_to(alpha, (n_features,)))
    out = sizes == 0
    if rows.location is not None:
        spread = jnp.sqrt(jnp.maximum(squares - jnp.square(means), 0)).at[-1].set(1)
        out |= spread <= 8 * jnp.finfo(sizes.dtype).eps * rows.padded(jnp.abs(rows.location))
    out |= strengths >= jnp.maximum(quantile, 1 - quantile) * sizes
    scale = jnp.where(out, 0, 1 / jnp.where(out, 1, sizes))
    return scale, jnp.where(out, 0, strengths) * scale


def _vertex(problem: Problem, solver: InteriorPoint, point: Point, tol: Array) -> tuple[Point, Array, Array]:
    """The vertex near a point, if its gap is within the tolerance or no larger; its rows and its coefficients."""
    design, l1 = problem.design, solver.l1
    basis = point.rows.at_kink & (problem.sample_weight > 0)
    active = jnp.where(l1 > 0, ~point.penalties.at_kink, design.scale > 0)
    coef = jnp.where(active, point.coef, 0)
    coef += onto_vertex(design, problem.y - design.matvec(coef), basis, active)
    vertex = solver.at(problem, coef, point.rows, point.penalties)
    return tree.where(vertex.gap <= jnp.maximum(point.gap, tol), vertex, point), basis, active


def _ends(_: Any, X: Design, y: Array, w: Array) -> tuple[Array, Array]:
    return jnp.where(w > 0, y, jnp.inf).min(), jnp.where(w > 0, y, -jnp.inf).max()


def _outer(stacked: tuple[Array, Array]) -> tuple[Array, Array]:
    low, high = stacked
    return low.min(0), high.max(0)


def _below(middle: Array, X: Design, y: Array, w: Array) -> Array:
    return jnp.where(y <= middle, w, 0).sum()


def _loss(query: tuple[Array, Array], X: Design, y: Array, w: Array) -> Array:
    quantile, at = query
    return w @ jnp.maximum(quantile * (y - at), (quantile - 1) * (y - at))


def _moments(_: Any, X: Design, w: Array) -> tuple[Array, Array]:
    return X.squares(w), X.rmatvec(w)
