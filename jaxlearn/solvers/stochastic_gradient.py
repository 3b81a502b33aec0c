"""Stochastic gradient descent, sample after sample, for several targets at once; `minibatch_gradient` takes a few together.

*Minimises* the mean of ``loss(y_i, x_i w + b)`` plus ``alpha (l1_ratio ‖w‖₁ + ½ (1 − l1_ratio) ‖w‖²)``.

*Step* ``w ← (1 − η alpha (1 − l1_ratio)) w − η loss′ x`` for one sample, or the mean over a batch. An l1 part truncates: each
coefficient is moved towards zero by what it still owes, and not beyond (Tsuruoka, Tsujii, Ananiadou, 2009).

Coefficients are ``scale · direction``, so that their decay is one multiplication, and a row changes what it touches.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.objectives import Loss

__all__ = [
    "Iterate",
    "Rule",
    "again",
    "averaged",
    "begin",
    "clipped_slope",
    "coefficients",
    "one_by_one",
    "step_size",
    "with_scale",
]

# Slopes are clipped: one absurd sample shall not decide.
STEEPEST = 1e12


class Rule(eqx.Module):
    """How a step is made.

    Parameters
    ----------
    loss : Loss
    alpha, l1_ratio : float
    eta0, power_t : float
        Of the step size η: "constant" and "adaptive" eta0 (the latter is lowered from outside), "invscaling"
        ``eta0 / t^power_t``, "optimal" ``1 / (alpha (t0 + t − 1))`` after Bottou; "pa1" and "pa2" are
        passive-aggressive, with eta0 as C.
    average_from : int
        The first step whose iterate counts in the mean.
    caution : float
        Factor of η: less than one after a divergence.
    intercept_decay : float
        Factor of the intercept's steps.
    schedule : str
    l1, l2 : bool
        Which parts the penalty has.
    fit_intercept, one_class : bool
        The latter: the intercept is one less the offset of a one-class machine.
    average : bool
        Keep the mean of the iterates.
    """

    loss: Loss
    alpha: ArrayLike
    l1_ratio: ArrayLike
    eta0: ArrayLike
    power_t: ArrayLike
    average_from: ArrayLike = 1
    intercept_decay: ArrayLike = 1.0
    caution: ArrayLike = 1.0
    schedule: str = eqx.field(static=True, default="optimal")
    l1: bool = eqx.field(static=True, default=False)
    l2: bool = eqx.field(static=True, default=True)
    fit_intercept: bool = eqx.field(static=True, default=True)
    one_class: bool = eqx.field(static=True, default=False)
    average: bool = eqx.field(static=True, default=False)


class Iterate(eqx.Module):
    """Where the descent stands, for k targets.

    Attributes
    ----------
    direction : (p, k)
    scale : (k,)
        The coefficients are their product.
    intercept : (k,)
    t : int32 scalar
        Number of the next step, from 1 on.
    eta : (k,)
        Step size of "constant" and "adaptive".
    owed : (k,)
        What l1 has asked of every coefficient so far.
    paid : (p, k) or None
        What each has been moved.
    total : (k,)
        Sum of the scales since averaging began.
    lag : (p, k) or None
        ``Σ w_t = total · direction + lag``.
    mean_intercept : (k,)
    """

    direction: Array
    scale: Array
    intercept: Array
    t: Array
    eta: Array
    owed: Array
    paid: Array | None
    total: Array
    lag: Array | None
    mean_intercept: Array


def begin(rule: Rule, coef: Array, intercept: Array, t: ArrayLike = 1) -> Iterate:
    """An iterate at `coef` (p, k) and `intercept` (k,), before step number `t`."""
    k, dtype = coef.shape[1], coef.dtype
    zeros = jnp.zeros(k, dtype)
    return Iterate(
        direction=coef,
        scale=jnp.ones(k, dtype),
        intercept=intercept,
        t=jnp.asarray(t, jnp.int32),
        eta=jnp.broadcast_to(jnp.asarray(rule.eta0, dtype), (k,)),
        owed=zeros,
        paid=jnp.zeros_like(coef) if rule.l1 else None,
        total=zeros,
        lag=jnp.zeros_like(coef) if rule.average else None,
        mean_intercept=zeros,
    )


def again(rule: Rule, it: Iterate) -> Iterate:
    """Where another call goes on: steps and truncation begin anew, the mean does not."""
    assert it.lag is not None
    coef, intercept = coefficients(it)
    lag = it.lag + it.total[None] * (it.direction - coef)  # Σ w stays what it was
    fresh = begin(rule, coef, intercept, it.t)
    return dataclasses.replace(fresh, total=it.total, lag=lag, mean_intercept=it.mean_intercept)


def coefficients(it: Iterate) -> tuple[Array, Array]:
    """The last iterate: (p, k) and (k,)."""
    return it.scale[None] * it.direction, it.intercept


def averaged(rule: Rule, it: Iterate) -> tuple[Array, Array]:
    """The mean of the iterates since ``average_from``; the last one, where it has not been reached."""
    count = (it.t - jnp.asarray(rule.average_from, jnp.int32)).astype(it.scale.dtype)
    assert it.lag is not None
    sums = it.total[None] * it.direction + it.lag
    last = coefficients(it)
    mean = sums / jnp.maximum(count, 1)
    return jnp.where(count > 0, mean, last[0]), jnp.where(count > 0, it.mean_intercept, last[1])


def one_by_one(
    rule: Rule, it: Iterate, data: tuple[Any, Array, Array], order: Array, count: Array
) -> tuple[Iterate, Array]:
    """Learn from single samples.

    Parameters
    ----------
    rule : Rule
    it : Iterate
    data : (rows, y, weight)
        Rows of access, dense or sparse; targets, and factors of the steps, (n, k).
    order : (m,) of int32
    count : int32 scalar
        How many of `order` are learnt from.

    Returns
    -------
    it : Iterate
    objective : (k,)
        Sum of loss and penalty, each sample's before its own step.
    """
    alpha, ratio = (jnp.asarray(v, it.scale.dtype) for v in (rule.alpha, rule.l1_ratio))
    ratio = ratio if rule.l1 and rule.l2 else jnp.asarray(1.0 if rule.l1 else 0.0, it.scale.dtype)
    decays = rule.l2 or rule.l1
    rows, y, weight = data

    def learn(n: Array, carry: tuple[Iterate, Array, Array]) -> tuple[Iterate, Array, Array]:
        it, square, objective = carry
        i = order[n]
        target, factor = y[i], weight[i]
        f = it.scale * rows.dot(i, it.direction)
        eta, update, loss = _update(rule, it, (rows, i), target, f + it.intercept)
        update = update * factor
        objective = objective + loss
        if rule.l2 and not rule.schedule.startswith("pa"):
            objective = objective + alpha * (1 - ratio) * 0.5 * square
        if rule.l1:
            objective = objective + alpha * ratio * jnp.abs(it.scale[None] * it.direction).sum(0)
        if rule.one_class:
            objective = objective + it.intercept * alpha
        shrink = jnp.maximum(1 - (1 - ratio) * eta * alpha, 0) if decays else jnp.ones_like(eta)
        it = with_scale(it, shrink, f)
        square = jnp.square(shrink) * square + 2 * update * shrink * f + jnp.square(update) * rows.square(i)
        step = update / it.scale
        direction = rows.add(i, it.direction, step)
        intercept = it.intercept
        if rule.fit_intercept:
            extra = eta * alpha if rule.one_class else 0
            intercept = intercept + (update - extra) * rule.intercept_decay
        lag = rows.add(i, it.lag, -it.total * step) if rule.average else it.lag
        owed, paid = it.owed, it.paid
        if rule.l1:
            owed = owed + ratio * eta * alpha
            change = _truncation(it.scale, owed, it.total)
            if rule.average:
                direction, paid, lag = rows.touched(i, change, (direction, paid, lag))
            else:
                direction, paid = rows.touched(i, change, (direction, paid))
            square = jnp.square(it.scale) * jnp.square(direction).sum(0) if rule.l2 else square
        total, mean_intercept = it.total, it.mean_intercept
        if rule.average:
            begun = it.t >= rule.average_from
            total = total + jnp.where(begun, it.scale, 0)
            each = jnp.maximum(it.t - rule.average_from + 1, 1).astype(it.scale.dtype)
            mean_intercept = mean_intercept + jnp.where(begun, (intercept - mean_intercept) / each, 0)
        it = Iterate(direction, it.scale, intercept, it.t + 1, it.eta, owed, paid, total, lag, mean_intercept)
        return it, square, objective

    square = jnp.square(coefficients(it)[0]).sum(0)
    it, _, objective = lax.fori_loop(0, count, learn, (it, square, jnp.zeros_like(square)))
    return it, objective


def _update(rule: Rule, it: Iterate, row: tuple[Any, Array], y: Array, f: Array) -> tuple[Array, Array, Array]:
    """Step size, what the row is multiplied by, and loss, (k,) each."""
    loss = rule.loss.value(y, f)
    if rule.schedule in ("pa1", "pa2"):
        rows, i = row
        square = rows.square(i)
        if rule.schedule == "pa1":
            size = jnp.where(square > 0, jnp.minimum(rule.eta0, loss / jnp.where(square > 0, square, 1)), 0)
        else:
            size = loss / (square + 0.5 / rule.eta0)
        side = y if _is_margin(rule) else jnp.where(y - f < 0, -1, 1)
        return it.eta, size * side, loss
    eta = step_size(rule, it)
    return eta, -eta * clipped_slope(rule, y, f), loss


def _is_margin(rule: Rule) -> bool:
    return hasattr(rule.loss, "threshold")


def clipped_slope(rule: Rule, y: Array, f: Array) -> Array:
    """``loss′(y, f)``, finite in any case."""
    return jnp.clip(rule.loss.gradient(y, f), -STEEPEST, STEEPEST)


def step_size(rule: Rule, it: Iterate) -> Array:
    """η of the next step, (k,), but for passive-aggressive rules."""
    if rule.schedule == "optimal":
        alpha = jnp.asarray(rule.alpha, it.scale.dtype)
        typical = jnp.sqrt(1 / jnp.sqrt(alpha))
        first = typical / jnp.maximum(1, rule.loss.gradient(jnp.ones_like(alpha), -typical))
        eta = jnp.broadcast_to(1 / (alpha * (1 / (first * alpha) + it.t.astype(alpha.dtype) - 1)), it.scale.shape)
    elif rule.schedule == "invscaling":
        eta = jnp.broadcast_to(rule.eta0 / it.t.astype(it.scale.dtype) ** rule.power_t, it.scale.shape)
    else:
        eta = it.eta
    return jnp.asarray(rule.caution, eta.dtype) * eta


def with_scale(it: Iterate, shrink: Array, f: Array) -> Iterate:
    """The scale times `shrink`; where that comes near to nothing, it is made one again."""
    scale = it.scale * shrink
    # asking f makes the compiler read the direction for it first: else it copies the direction, for every sample
    small = ((scale < 1e-6) & ~jnp.isnan(f)).any()

    def absorb(_: Array, arrays: tuple[Array, Any, Array, Array]) -> tuple[Array, Any, Array, Array]:
        direction, lag, scale, total = arrays
        moved = scale[None] * direction
        # Σ w = total · direction + lag must stay what it was
        lag = None if lag is None else lag + total[None] * (direction - moved)
        return moved, lag, jnp.ones_like(scale), total

    # a loop of no or one step works in place
    direction, lag, scale, total = lax.fori_loop(
        0, small.astype(jnp.int32), absorb, (it.direction, it.lag, scale, it.total)
    )
    return eqx.tree_at(
        lambda s: (s.direction, s.lag, s.scale, s.total),
        it,
        (direction, lag, scale, total),
        is_leaf=lambda leaf: leaf is None,
    )


def _truncation(scale: Array, owed: Array, total: Array) -> Any:
    def change(w: Array, paid: Array, *lag: Array) -> tuple[Array, ...]:
        positive = jnp.maximum(w - (owed[None] + paid) / scale[None], 0)
        negative = jnp.minimum(w + (owed[None] - paid) / scale[None], 0)
        moved = jnp.where(w > 0, positive, jnp.where(w < 0, negative, w))
        # Σ w = total · direction + lag speaks of iterates that are past
        return moved, paid + scale[None] * (moved - w), *(part - total[None] * (moved - w) for part in lag)

    return change
