"""Proximal Newton for smooth losses with an elastic-net penalty: on given columns, and along a path with a working set."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from .feature_sign import FeatureSign
from .gap import convexity_gap, dual_scale, scaled_gap
from .protocols import Problem, Solver
from .quadratic import LocalQuadratic
from .solution import STALLED, Budget
from .solve import solve
from .working_set import INNER_SHARE, Look, WorkingSetPath

__all__ = ["ProxNewton", "ProxNewtonPath"]

# Steps that are tried at once: the first is made that gains this share of what the model promises.
STEP_SIZES, SUFFICIENT_DECREASE = tuple(2.0**-i for i in range(10)), 1e-4
# Least curvature of a row: of one that is predicted with certainty the model would have no minimum.
LEAST_CURVATURE = 1e-5
MAX_NEWTON_STEPS, MAX_INNER_STEPS = 30, 60
# A model's gap of so many roundings of its energy is as good as none.
ROUNDINGS = 4
# While the gap falls to this share from step to step, a Hessian serves the next one too.
CHORD = 0.1


class _State(eqx.Module):
    coef: Array
    gap: Array
    stuck: Array
    hessian: Array


class ProxNewton(Solver):
    """Proximal Newton on few columns.

    *Minimises* ``Σ ω loss(y, X_W b) + Σ l1 |b| + ½ Σ l2 b²`` over b ∈ Rᴷ, or over b ≥ 0, the loss smooth and convex.

    *Step* b moves towards the minimum of the objective with its loss replaced by the quadratic model at b, an elastic net on
    ``H = X_Wᵀ ω loss″ X_W`` that `FeatureSign` solves; by the first of 1, ½, ¼ … of the way that gains enough. While the gap
    falls to a tenth from step to step, H is that of an earlier step.

    *Reads the data by* columns.

    *Cost per step* 4 n K flops, n K² for H where it is made, the steps of `FeatureSign`.

    *Stops when* the duality gap of the model at b is at most ``tol``.

    Parameters
    ----------
    columns : (K,) of int32
        W; as many as X has are all of them, in order.
    l1, l2 : (K,)
        Strengths per column, ≥ 0.
    tol : scalar
        That of the budget of ``solve``: no model is solved to much less.
    positive : bool

    References
    ----------
    Lee, Sun and Saunders, "Proximal Newton-type methods for minimizing composite functions", SIAM J. Optim. 2014.
    """

    needs: ClassVar = frozenset({"columns", "fold"})
    certificate: ClassVar = "duality gap of the model"

    columns: Array
    l1: Array
    l2: Array
    tol: Array
    positive: bool = eqx.field(static=True, default=False)

    def init(self, problem, params, key=None):
        empty = jnp.zeros((len(params), len(params)), params.dtype)
        return _State(params, jnp.asarray(jnp.inf, params.dtype), jnp.bool_(False), empty)

    def ask(self, objective, state):
        return state.coef

    def read(self, problem, query):
        lift = self._lifts()[0]
        return problem, problem.design.fold(lift, (self._at(problem), query), problem.y, problem.sample_weight)

    def _lifts(self) -> tuple[Any, Any, Any]:
        """What rows tell at a point, of the curvature there, and at several points of a line."""
        return _slopes, _curvature, _values

    def _hessian(self, problem: Problem, b: Array) -> Array:
        lift = self._lifts()[1]
        return problem.design.fold(lift, (self._at(problem), b), problem.y, problem.sample_weight)

    def _at(self, problem: Problem) -> tuple[Any, Array]:
        return problem.objective.loss, self.columns

    def tell(self, objective, state, answer):
        problem, (value, push, energy) = answer
        b = state.coef
        gap = scaled_gap(b, push - self.l2 * b, energy, (self.l1, self.l2), self.positive)
        floor = ROUNDINGS * jnp.finfo(b.dtype).eps * energy

        def step() -> tuple[Array, Array]:
            known = (gap <= CHORD * state.gap) & jnp.isfinite(state.gap)
            hessian = lax.cond(known, lambda: state.hessian, lambda: self._hessian(problem, b))
            # ½ Σ ω loss″ (z − X b')² with the working response z, around b
            quadratic = LocalQuadratic(push, energy, jnp.diagonal(hessian), hessian, b)
            # as exact as the model is to be trusted
            tol = jnp.maximum(jnp.square(INNER_SHARE) * gap, jnp.maximum(INNER_SHARE * self.tol, floor))
            solver = FeatureSign(self.l1, self.l2, self.positive)
            found = solve(Problem(None, quadratic, None, None), solver, b, budget=Budget(tol, MAX_INNER_STEPS))
            return self._searched(problem, value, push, found.params - b, b), hessian

        moved, hessian = lax.cond(gap <= self.tol, lambda: (b, state.hessian), step)
        return _State(moved, gap, (moved == b).all() | (gap <= floor), hessian)

    def _searched(self, problem: Problem, value: Array, push: Array, d: Array, b: Array) -> Array:
        """b, moved by the first step along d that gains enough."""
        sizes, lift = jnp.asarray(STEP_SIZES, b.dtype), self._lifts()[2]
        values = problem.design.fold(lift, (self._at(problem), b, d, sizes), problem.y, problem.sample_weight)
        trials = b[None] + sizes[:, None] * d[None]
        before, after = value + self._penalty(b[None])[0], values + self._penalty(trials)
        promised = self._penalty(b[None] + d[None])[0] - self._penalty(b[None])[0] - push @ d
        noise = 32 * jnp.finfo(b.dtype).eps * jnp.abs(before)  # of a sum over many samples
        good = jnp.isfinite(after) & (after <= before + SUFFICIENT_DECREASE * sizes * promised + noise)
        return jnp.where(good.any(), trials[jnp.argmax(good)], b)

    def _penalty(self, trials: Array) -> Array:
        return jnp.abs(trials) @ self.l1 + 0.5 * jnp.square(trials) @ self.l2

    def status(self, state):
        return jnp.where(state.stuck, jnp.int32(STALLED), jnp.int32(0))

    def params(self, state):
        return state.coef

    def residual(self, state):
        return state.gap


class ProxNewtonPath(WorkingSetPath):
    """Proximal Newton on a working set of K columns, following a decreasing grid of alphas.

    *Minimises*, for each alpha, ``Σ ω loss(y, X b) + alpha (Σ l1 |b| + ½ Σ l2 b²)``, or the same over b ≥ 0.

    *Step* as of `WorkingSetPath`, with `ProxNewton` on the working set.

    *Reads the data by* columns.

    *Cost per step* one product with X (2 n p), the steps of `ProxNewton`.

    *Stops when* every alpha has a duality gap of at most ``tol · unit`` or has used `max_passes`; or when the support
    outgrows the working set. The dual point is the gradient of the loss, row by row, shrunk: where the last column is an
    intercept, by one factor for rows that pull it up and another for those that push it down, so that they balance.

    Parameters
    ----------
    unit : scalar
        Of the tolerance.
    squares : (p,)
        ``Σ ω X_j²``, which scales the violations of columns.
    intercept : bool
        The last column is one of ones, without strengths.
    """

    unit: Array = eqx.field(kw_only=True)
    squares: Array = eqx.field(kw_only=True)
    intercept: bool = eqx.field(static=True, kw_only=True)

    needs: ClassVar = frozenset({"columns", "fold"})
    newton: ClassVar[type[ProxNewton]] = ProxNewton
    """What solves the problem on the working set."""

    def read(self, problem, query):
        return problem

    def _lifts(self) -> tuple[Any, Any]:
        """The negative gradient at a dual point, and what rows add to the gap there."""
        return _pushes, _divergences

    def _taken(self, problem: Problem, columns: Array) -> Any:
        """The columns of a working set: several steps read them. All columns of dense rows are not copied."""
        return problem.design if _are_all(columns, problem.design) else problem.design.taken(columns)

    def _balance(self, problem: Problem, at: tuple) -> Any:
        """What makes the gradient of the loss a dual point for which an intercept is at its best."""
        balance = jnp.ones(2, at[1].dtype)
        if self.intercept:
            up, down = problem.design.fold(_sides, at, problem.y, problem.sample_weight)
            least = jnp.minimum(up, down)
            balance = jnp.stack([_share(least, up), _share(least, down)])
        return balance

    def _look(self, problem, state, strengths):
        coef, (l1, l2) = state.coef, strengths
        at = (problem.objective.loss, state.columns), coef[state.columns]
        rows, (pushes, divergences) = (problem.y, problem.sample_weight), self._lifts()
        balance = self._balance(problem, at)
        push = problem.design.fold(pushes, (at, balance), *rows)
        # one intercept, or one for each class
        push = push.at[-math.prod(problem.y.shape[1:]) :].set(0) if self.intercept else push
        g = push - l2 * coef
        s = dual_scale(g, l1, self.positive)
        loss, unscaled = problem.design.fold(divergences, (at, balance, jnp.stack([s, jnp.ones_like(s)])), *rows)
        gap = loss + scaled_gap(coef, g, jnp.zeros_like(loss), strengths, self.positive)
        bound = unscaled + convexity_gap(coef, g, strengths, self.positive)
        return Look(g, gap, jnp.minimum(gap, bound), self.unit, push)

    def _improve(self, problem, state, look):
        alpha = self.alphas[state.index]
        l1, l2 = alpha * self.l1, alpha * self.l2
        g, unknown = look.rest - l2 * state.coef, jnp.asarray(jnp.inf, look.gap.dtype)
        columns = self._select(state.coef, (g, unknown), (l1, l2), self.squares)
        tol = INNER_SHARE * self.tol * self.unit
        solver = self.newton(columns, l1[columns], l2[columns], tol, self.positive)
        held = dataclasses.replace(problem, design=self._taken(problem, columns))
        found = solve(held, solver, state.coef[columns], budget=Budget(tol, MAX_NEWTON_STEPS))
        return self._moved(state, columns, found.params, found.status == STALLED)


def _share(least: Array, of: Array) -> Array:
    return jnp.where(of > 0, least / jnp.where(of > 0, of, 1), 1)


def _are_all(columns: Array, X: Any) -> bool:
    return len(columns) == X.shape[1] and not X.is_sparse


def _predictor(at: tuple, X: Any) -> Array:
    (_, columns), coef = at
    return X.matvec_at(columns, coef)


def _curvature_of(loss: Any, y: Array, f: Array) -> Array:
    return jnp.maximum(loss.hessian(y, f), LEAST_CURVATURE)


def _slopes(query: tuple, X: Any, y: Array, w: Array) -> tuple[Array, Array, Array]:
    """A lift: value and negative gradient of the loss, and the energy of its working residuals."""
    (loss, columns), coef = query
    X = X if _are_all(columns, X) else X.taken(columns)
    f = X.matvec(coef)
    slope = loss.gradient(y, f)
    return w @ loss.value(y, f), -X.rmatvec(w * slope), w @ (jnp.square(slope) / _curvature_of(loss, y, f))


def _curvature(query: tuple, X: Any, y: Array, w: Array) -> Array:
    """A lift: the Hessian of the loss."""
    (loss, columns), coef = query
    X = X if _are_all(columns, X) else X.taken(columns)
    return X.gram(w * _curvature_of(loss, y, X.matvec(coef)))


def _values(query: tuple, X: Any, y: Array, w: Array) -> Array:
    """A lift: values of the loss at several points of a line."""
    (loss, columns), coef, d, sizes = query
    f, along = X.matvec_at(columns, jnp.stack([coef, d], 1)).T
    return loss.value(y[None], f[None] + sizes[:, None] * along[None]) @ w


def _sides(at: tuple, X: Any, y: Array, w: Array) -> tuple[Array, Array]:
    """A lift: what rows with a positive slope weigh, and those with a negative one."""
    slope = w * at[0][0].gradient(y, _predictor(at, X))
    return jnp.maximum(slope, 0).sum(), jnp.maximum(-slope, 0).sum()


def _shares(slope: Array, balance: Array) -> Array:
    return jnp.where(slope > 0, balance[0], balance[1])


def _pushes(query: tuple, X: Any, y: Array, w: Array) -> Array:
    """A lift: the negative gradient of the loss, its rows shrunk."""
    at, balance = query
    slope = at[0][0].gradient(y, _predictor(at, X))
    return -X.rmatvec(w * _shares(slope, balance) * slope)


def _divergences(query: tuple, X: Any, y: Array, w: Array) -> Array:
    """A lift: what rows add to the duality gap, for each scale of the dual point."""
    at, balance, scales = query
    loss, f = at[0][0], _predictor(at, X)
    shares = _shares(loss.gradient(y, f), balance)
    return jax.vmap(lambda s: w @ loss.divergence(y, f, s * shares))(scales)
