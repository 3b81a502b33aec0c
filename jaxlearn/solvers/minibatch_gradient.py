"""Stochastic gradient descent on mini-batches, with steps that their curvature bounds.

*Minimises* what `stochastic_gradient` does.

*Step* ``w ← prox((1 − η alpha (1 − l1_ratio)) w − η Σ_b loss′_b x_b / |b|)``, where prox is the soft threshold
``η alpha l1_ratio``, and η that of the schedule, but at most the inverse of `curvature`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from .stochastic_gradient import Iterate, Rule, clipped_slope, coefficients, step_size, with_scale

__all__ = ["curvature", "in_batches"]

# Products that estimate the curvature of a batch.
POWER_STEPS = 10


def in_batches(
    rule: Rule,
    it: Iterate,
    data: tuple[Any, Array, Array],
    order: Array,
    count: Array,
    *,
    batch_size: int,
    steepest: Array,
) -> tuple[Iterate, Array]:
    """Learn from batches.

    Parameters
    ----------
    rule : Rule
        Not passive-aggressive, nor of one class.
    it : Iterate
    data : (rows, y, weight)
        Rows of access, dense or sparse; targets, and factors of the gradients, (n, k).
    order : (m,) of int32
        −1 is a row that is not there.
    count : int32 scalar
        How many batches of `order` are learnt from; each has a row.
    batch_size : int
    steepest : scalar
        An estimate of the largest curvature, by `curvature`.

    Returns
    -------
    it : Iterate
    objective : (k,)
        Sum of the losses, each batch's before its step, and for each row the mean of the first and the last penalty.
    """
    alpha, ratio = (jnp.asarray(v, it.scale.dtype) for v in (rule.alpha, rule.l1_ratio))
    ratio = ratio if rule.l1 and rule.l2 else jnp.asarray(1.0 if rule.l1 else 0.0, it.scale.dtype)
    alpha = alpha if rule.l1 or rule.l2 else jnp.zeros_like(alpha)
    rows, y, weight = data

    def penalty(it: Iterate) -> Array:
        coef, _ = coefficients(it)
        return alpha * (0.5 * (1 - ratio) * jnp.square(coef).sum(0) + ratio * jnp.abs(coef).sum(0))

    def learn(n: Array, carry: tuple[Iterate, Array, Array]) -> tuple[Iterate, Array, Array]:
        it, losses, n_rows = carry
        chosen = lax.dynamic_slice_in_dim(order, n * batch_size, batch_size)
        there = (chosen >= 0).astype(it.scale.dtype)
        batch, target, factor = rows.batch(chosen), *(part[jnp.maximum(chosen, 0)] for part in (y, weight))
        f = it.scale[None] * batch.dot(it.direction)
        losses = losses + jnp.matmul(there, rule.loss.value(target, f + it.intercept[None]))
        slope = (there / there.sum())[:, None] * factor * clipped_slope(rule, target, f + it.intercept[None])
        eta = jnp.minimum(step_size(rule, it), 1 / steepest)
        it = with_scale(it, jnp.maximum(1 - (1 - ratio) * eta * alpha, 0), f[0])
        step = -(eta / it.scale)[None] * slope
        direction = batch.add(it.direction, step)
        lag = batch.add(it.lag, -it.total[None] * step) if it.lag is not None else None
        if rule.l1:
            near = jnp.abs(direction) - (ratio * eta * alpha / it.scale)[None]
            moved = jnp.sign(direction) * jnp.maximum(near, 0)
            # Σ w = total · direction + lag speaks of iterates that are past
            lag = None if lag is None else lag - it.total[None] * (moved - direction)
            direction = moved
        intercept = it.intercept - rule.fit_intercept * eta * slope.sum(0)
        it = dataclasses.replace(it, direction=direction, lag=lag, intercept=intercept)
        return _counted(rule, it), losses, n_rows + there.sum()

    first = penalty(it)
    it, losses, n_rows = lax.fori_loop(0, count, learn, (it, jnp.zeros_like(first), jnp.zeros_like(first[0])))
    return it, losses + n_rows * (first + penalty(it)) / 2


def _counted(rule: Rule, it: Iterate) -> Iterate:
    """One step later, with this iterate in the mean."""
    total, mean = it.total, it.mean_intercept
    if rule.average:
        begun = it.t >= rule.average_from
        total = total + jnp.where(begun, it.scale, 0)
        each = jnp.maximum(it.t - rule.average_from + 1, 1).astype(it.scale.dtype)
        mean = mean + jnp.where(begun, (it.intercept - mean) / each, 0)
    return dataclasses.replace(it, t=it.t + 1, total=total, mean_intercept=mean)


def curvature(rule: Rule, rows: Any, chosen: Array, n_features: int, batch_size: int) -> Array:
    """What the mean loss of a batch curves by at most, expected: ``L + L_max / b`` (Gower et al., ICML 2019), from some rows.

    L is the largest curvature of the mean over them, L_max that of a single row; an intercept counts as a column of ones.
    """
    batch = rows.batch(chosen)
    ones = 1.0 if rule.fit_intercept else 0.0

    def product(v: Array, v0: Array) -> Array:
        return batch.dot(v[:, None])[:, 0] + ones * v0

    def step(_: Array, v: tuple[Array, Array]) -> tuple[Array, Array]:
        f = product(*v)
        new = batch.add(jnp.zeros((n_features, 1), f.dtype), f[:, None])[:, 0], ones * f.sum()
        norm = jnp.sqrt(jnp.square(new[0]).sum() + jnp.square(new[1]))
        size = 1 / jnp.maximum(norm, jnp.finfo(f.dtype).tiny)
        return size * new[0], size * new[1]

    squares = batch.squares() + ones
    dtype = squares.dtype
    start = batch.add(jnp.zeros((n_features, 1), dtype), squares[:, None])[:, 0], ones * squares.sum()
    v = lax.fori_loop(0, POWER_STEPS + 1, step, start)
    largest = jnp.square(product(*v)).sum() / len(chosen)
    return rule.loss.curvature_bound * (largest + squares.max() / batch_size) + jnp.asarray(rule.alpha, dtype)
