"""Stochastic gradients with reduced variance, in the metric of a sample of the Hessian: no learning rate to tune."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.linalg.randomized import nystrom_of_product
from jaxlearn.linalg.woodbury import DiagonalPlusGram
from jaxlearn.objectives import Loss

from . import tree
from .protocols import Problem, Solver
from .sampling import Batches, by_weight
from .solution import STALLED

__all__ = ["METHODS", "PRECONDITIONERS", "VarianceReduced"]

METHODS, PRECONDITIONERS = ("svrg", "saga", "katyusha"), ("newton", "nystrom")
# Rows of a batch, unless an epoch would have fewer than so many.
BATCH, LEAST_BATCHES = 256, 16
# Rows of the preconditioner, in units of √n: their Gram matrix takes as many flops as an epoch.
SAMPLE = 2
RANK, DAMPING, POWER_STEPS = 10, 1e-4, 12
MAX_IDLE_EPOCHS, LEAST_STEP = 10, 1e-3
HIGHEST = lax.Precision.HIGHEST


class _Snapshot(eqx.Module):
    """A point, and what is known there: the loss's value and gradient, and the slope of each row."""

    coef: Array
    value: Array
    gradient: Array
    slopes: Array


class _State(eqx.Module):
    at: _Snapshot
    share: Array
    norm: Array
    n_idle: Array
    epoch: Array
    key: Array


class VarianceReduced(Solver):
    """SVRG, SAGA or Katyusha, preconditioned.

    *Minimises* ``F(b) = Σ ω loss(y, X b) + penalty(b)``, smooth.

    *Step* from a snapshot b̃ with slopes ``t_i = loss′(y_i, x_i b̃)`` and gradient g̃ of the loss, over batches B of rows,
    a fraction q of all, ::

        v = g̃ + Σ_{i ∈ B} ω_i (loss′(y_i, x_i b) − t_i) x_i / q + ∇penalty(b)
        b −= η P⁻¹ v,    η = 1 / (2 L),    L = λmax(P⁻¹ H)

    ``saga`` puts the new slopes in the place of t and adds their change to g̃; ``katyusha`` evaluates v at
    ``θ z + b̃ / 2 + (1/2 − θ) b``, with a momentum z. P is the Hessian of 2 √n rows (``newton``), or its leading part of rank
    ten (``nystrom``), plus ``L′^¾`` ten-thousandths of its diagonal, drawn anew for every epoch. L and L′, which is L
    at one ten-thousandth, are those of a batch of other rows: where the sample does not speak for them, P is damped and
    steps are short. An epoch that raises F is taken back, and the next one has half the step.

    *Reads the data by* fold, and by rows.

    *Cost per step*, an epoch: four products with X, 8 n p k flops, and for each batch two with the sample.

    *Stops when* ``max |∇F| ≤ tol``.

    Parameters
    ----------
    method : {"svrg", "saga", "katyusha"}
    preconditioner : {"newton", "nystrom"}

    References
    ----------
    Frangella, Rathore, Zhao and Udell, "PROMISE: preconditioned stochastic optimization methods by incorporating scalable
    curvature estimates", 2024; Johnson and Zhang, 2013; Defazio, Bach and Lacoste-Julien, 2014; Kovalev, Horváth and
    Richtárik, 2020, for the loopless form of Katyusha.
    """

    needs: ClassVar = frozenset({"fold", "rows"})
    certificate: ClassVar = "gradient norm"

    method: str = eqx.field(static=True, default="svrg")
    preconditioner: str = eqx.field(static=True, default="newton")

    def init(self, problem, params, key=None):
        infinite = jnp.full((), jnp.inf, params.dtype)
        return _State(
            _evaluate(problem, params),
            share=jnp.ones((), params.dtype),
            norm=infinite,
            n_idle=jnp.int32(0),
            epoch=jnp.int32(0),
            key=jax.random.key(0) if key is None else key,
        )

    def ask(self, objective, state):
        return state

    def read(self, problem, query: _State):
        """The snapshot at the end of an epoch."""
        order, sample, fresh = jax.random.split(jax.random.fold_in(query.key, query.epoch), 3)
        metric, largest = self._metric(problem, query.at.coef, sample, fresh)
        step_size = query.share / (2 * largest)
        return _evaluate(problem, self._epoch(problem, query.at, metric, step_size, order))

    def _metric(self, problem: Problem, coef: Array, sample: Array, fresh: Array) -> tuple[DiagonalPlusGram, Array]:
        """P, damped as much as rows that it has not seen ask for, and the largest eigenvalue of ``P⁻¹ H`` on those."""
        n_samples = problem.design.shape[0]
        rows = _hessian_rows(problem, coef, min(int(SAMPLE * n_samples**0.5) + 1, n_samples), sample)
        others = _hessian_rows(problem, coef, _batch_size(n_samples), fresh)
        l2, diagonal = _strength(problem, coef), jnp.square(rows).sum(0)
        diagonal = DAMPING * (diagonal + jnp.finfo(rows.dtype).eps * diagonal.sum())
        if self.preconditioner == "nystrom":
            rows = _leading(rows, sample)
        metric = DiagonalPlusGram.of(diagonal + l2, rows)
        more = jnp.maximum(_largest(metric, others, l2), 1) ** 0.75
        metric = DiagonalPlusGram.of(more * diagonal + l2, rows)
        return metric, _largest(metric, others, l2)

    def _epoch(self, problem: Problem, at: _Snapshot, metric: DiagonalPlusGram, step_size: Array, key: Array) -> Array:
        design, loss, penalty = problem.design, problem.objective.loss, problem.objective.penalty
        y, weight = problem.y, problem.sample_weight
        n_samples = design.shape[0]
        batches = Batches.draw(n_samples, _batch_size(n_samples), key)

        def estimate(coef: Array, index: Array, gradient: Array, slopes: Array) -> tuple[Array, Array, Array]:
            """The estimate of ∇F, new slopes of the batch, and what they change in the gradient."""
            some = design.some(index)
            new = loss.gradient(y[index], some.matvec(coef))
            change = some.fold(_correlate, None, weight[index], new - slopes[index])
            return gradient + batches.count * change + penalty.smooth_gradient(coef), new, change

        def svrg(coef: Array, i: Array) -> tuple[Array, None]:
            v, _, _ = estimate(coef, batches[i], at.gradient, at.slopes)
            return coef - step_size * metric.solve(v), None

        def saga(carry: tuple[Array, Array, Array], i: Array) -> tuple[tuple[Array, Array, Array], None]:
            coef, gradient, slopes = carry
            # drawn anew: rows that an epoch has not met yet are those whose slopes are old, and not a fair sample
            index = Batches.draw(n_samples, batches.size, jax.random.fold_in(key, i))[0]
            v, new, change = estimate(coef, index, gradient, slopes)
            return (coef - step_size * metric.solve(v), gradient + change, slopes.at[index].set(new)), None

        def katyusha(carry: tuple[Array, Array], i: Array) -> tuple[tuple[Array, Array], None]:
            coef, momentum = carry
            x = theta * momentum + at.coef / 2 + (0.5 - theta) * coef
            v, _, _ = estimate(x, batches[i], at.gradient, at.slopes)
            moved = (eta * sigma * x + momentum - 2 * eta * step_size * metric.solve(v)) / (1 + eta * sigma)
            return (x + theta * (moved - momentum), moved), None

        steps = jnp.arange(batches.count, dtype=jnp.int32)
        if self.method == "svrg":
            return lax.scan(svrg, at.coef, steps)[0]
        if self.method == "saga":
            return lax.scan(saga, (at.coef, at.gradient, at.slopes), steps)[0][0]
        # strong convexity in the metric, over L; momentum is no longer than an epoch
        sigma = 2 * step_size * (_strength(problem, at.coef) / metric.diagonal).min()
        theta = jnp.clip(jnp.sqrt(2 * batches.count * sigma / 3), 1 / batches.count, 0.5)
        eta = 0.5 / (1.5 * theta)
        return lax.scan(katyusha, (at.coef, at.coef), steps)[0][0]

    def params(self, state):
        return state.at.coef

    def residual(self, state):
        return state.norm

    def status(self, state):
        stalled = (state.share < LEAST_STEP) | (state.n_idle >= MAX_IDLE_EPOCHS)
        return jnp.where(stalled, jnp.int32(STALLED), jnp.int32(0))

    def tell(self, objective, state, answer: _Snapshot):
        before, after = (p.value + objective.penalty.value(p.coef) for p in (state.at, answer))
        noise = 32 * jnp.finfo(after.dtype).eps * jnp.abs(before)  # of a sum over many samples
        accept = after <= before + noise
        at = tree.where(accept, answer, state.at)
        norm = jnp.abs(at.gradient + objective.penalty.smooth_gradient(at.coef)).max()
        gained = accept & ((after < before - noise) | (norm < state.norm))
        share = jnp.where(accept, jnp.minimum(state.share * 2**0.5, 1), state.share / 2)
        n_idle = jnp.where(gained, jnp.int32(0), state.n_idle + jnp.int32(1))
        return _State(at, share, norm, n_idle, state.epoch + jnp.int32(1), state.key)


def _batch_size(n_samples: int) -> int:
    return min(BATCH, -(-n_samples // LEAST_BATCHES))


def _leading(rows: Array, key: Array) -> Array:
    """Rows, ten at most, whose Gram matrix is the Nyström approximation of that of `rows`."""
    omega = jnp.linalg.qr(jax.random.normal(key, (rows.shape[1], min(RANK, *rows.shape)), rows.dtype))[0]
    product = jnp.einsum("rp,rk->pk", rows, jnp.matmul(rows, omega, precision=HIGHEST), precision=HIGHEST)
    values, vectors = nystrom_of_product(product, omega)
    return jnp.sqrt(jnp.maximum(values, 0))[:, None] * vectors.T


def _strength(problem: Problem, coef: Array) -> Array:
    """The l2 strength of each feature, (p,), the least over targets."""
    strength = problem.objective.penalty.strengths(coef)[1]
    return strength if strength.ndim == 1 else strength.min(1)


def _evaluate(problem: Problem, coef: Array) -> _Snapshot:
    f, loss = problem.design.matvec(coef), problem.objective.loss
    value, gradient = problem.design.fold(_sums, loss, problem.y, problem.sample_weight, f)
    return _Snapshot(coef, value, gradient, loss.gradient(problem.y, f))


def _sums(loss: Loss, X: Any, y: Array, w: Array, f: Array) -> tuple[Array, Array]:
    return (w @ loss.value(y, f)).sum(), _correlate(None, X, w, loss.gradient(y, f))


def _hessian_rows(problem: Problem, coef: Array, size: int, key: Array) -> Array:
    """R, (rows, p), with ``Rᵀ R`` an estimate of the loss's Hessian, or of one that bounds it for every class."""
    lift = partial(_drawn_rows, size)
    return problem.design.fold(
        lift, (problem.objective.loss, coef, key), problem.y, problem.sample_weight, merge=_joined
    )


def _drawn_rows(size: int, query: tuple[Loss, Array, Array], X: Any, y: Array, w: Array) -> Array:
    loss, coef, key = query
    index, weight = by_weight(w, size, key)
    some = X.some(index)
    curvature = loss.hessian(y[index], some.matvec(coef))
    if curvature.ndim == 2:  # targets that share nothing: the largest
        curvature = curvature.max(1)
    elif curvature.ndim == 3:  # Gershgorin's bound of the largest eigenvalue
        curvature = jnp.abs(curvature).sum(2).max(1)
    every = jnp.arange(X.shape[1], dtype=jnp.int32)
    return some.take(every).T * jnp.sqrt(weight * curvature)[:, None]


def _correlate(_: None, X: Any, w: Array, u: Array) -> Array:
    return X.rmatvec(w * u if u.ndim == 1 else w[:, None] * u)


def _joined(stacked: Array) -> Array:
    return stacked.reshape(-1, stacked.shape[-1])


def _largest(metric: DiagonalPlusGram, rows: Array, l2: Array) -> Array:
    """Largest eigenvalue of ``P⁻¹ (Rᵀ R + l2)``, by power iteration."""

    def multiply(v: Array) -> Array:
        return metric.solve(jnp.matmul(jnp.matmul(rows, v, precision=HIGHEST), rows, precision=HIGHEST) + l2 * v)

    def step(_: Array, v: Array) -> Array:
        v = multiply(v)
        return v / jnp.linalg.norm(v)

    start = jax.random.normal(jax.random.key(1), l2.shape, l2.dtype)
    v = lax.fori_loop(0, POWER_STEPS, step, start / jnp.linalg.norm(start))
    return jnp.linalg.norm(multiply(v))
