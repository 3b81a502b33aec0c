"""An interior point method for sums of check functions: quantile regression with an l1 part."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.linalg.cholesky import Equilibrated

from . import tree
from .gap import dual_scale
from .protocols import Problem, Solver
from .solution import STALLED

__all__ = ["InteriorPoint", "Point", "Slacks"]

# Share of the way to the boundary, and steps without a better certificate before the end.
SHARE_OF_WAY, MAX_IDLE_STEPS = 0.9995, 6
# Of a sum over rows, relative to their root mean square; and of a system, solved by a factor with a jitter.
ROUNDINGS, REFINEMENTS = 32, 3
# A gap that is smaller by less than this factor is not a better one.
BETTER = 0.9


class Slacks(NamedTuple):
    """Residuals and slopes, one for each row: ``above − below`` is the residual, ``q − upper`` the slope θ in [q − 1, q].

    Attributes
    ----------
    above, below : (n,)
        Positive and negative parts of the residual, > 0 both.
    upper, lower : (n,)
        What is left of θ to q and to q − 1, > 0 both; their sum is one.
    """

    above: Array
    below: Array
    upper: Array
    lower: Array

    @classmethod
    def start(cls, residual: Array, quantile: Array) -> Slacks:
        """A slope of zero, and both parts one larger than they are."""
        upper = jnp.broadcast_to(quantile, residual.shape)
        return cls(jnp.maximum(residual, 0) + 1, jnp.maximum(-residual, 0) + 1, upper, 1 - upper)

    @property
    def curvature(self) -> Array:
        """What the slope gives way when the residual moves by one: ``1 / (above / upper + below / lower)``."""
        return self.upper * self.lower / (self.above * self.lower + self.below * self.upper)

    @property
    def products(self) -> Array:
        """What complementarity asks to be zero."""
        return self.above * self.upper + self.below * self.lower

    @property
    def at_kink(self) -> Array:
        """Whether the residual is on its way to zero, rather than the slope to one of its ends."""
        return (self.above < self.upper) & (self.below < self.lower)

    def pull(self, residual: Array, goal: tuple[Array, Array]) -> Array:
        """The residual, less what `goal` leaves of it."""
        return residual - goal[0] / self.upper + goal[1] / self.lower

    def step(self, rest: Array, goal: tuple[Array, Array], present: Array) -> Slacks:
        """Newton's step to ``above · upper = goal[0]``, ``below · lower = goal[1]``; `rest` is what it leaves of the pull."""
        slope = self.curvature * rest
        above = (goal[0] + self.above * slope) / self.upper - self.above
        below = (goal[1] - self.below * slope) / self.lower - self.below
        return Slacks(*(jnp.where(present, change, 0) for change in (above, below, -slope, slope)))

    def lengths(self, step: Slacks) -> tuple[Array, Array]:
        """How far the residual and the slope of each row may go."""
        reach = [jnp.where(d < 0, -x / jnp.where(d < 0, d, -1), jnp.inf) for x, d in zip(self, step, strict=True)]
        return jnp.minimum(reach[0], reach[1]), jnp.minimum(reach[2], reach[3])

    def moved(self, step: Slacks, primal: Array, dual: Array) -> Slacks:
        """After a step of these lengths."""
        sizes = primal, primal, dual, dual
        return Slacks(*(x + t * d for x, d, t in zip(self, step, sizes, strict=True)))


class Point(eqx.Module):
    """A primal and a dual point.

    Attributes
    ----------
    coef : (p,)
    rows, penalties : Slacks
        Of the samples, (n,), which stay where the rows are; of the penalties, (p,).
    residual : (n,)
        ``y − X b``.
    push : (p,)
        ``Xᵀ ω θ``.
    mean : scalar
        Of the products, weighted.
    gap : scalar
    """

    coef: Array
    rows: Slacks
    penalties: Slacks
    residual: Array
    push: Array
    mean: Array
    gap: Array


class _State(eqx.Module):
    point: Point
    best: Point
    n_idle: Array


class InteriorPoint(Solver):
    """Mehrotra's predictor and corrector on the bounded dual of quantile regression, after Frisch, Newton and Koenker.

    *Minimises* ``Σ_i ω_i ρ_q(y_i − x_i b) + Σ_j l1_j |b_j|`` with a check function ``ρ_q(r) = max(q r, (q − 1) r)``. The dual:
    ``max Σ ω θ y`` over slopes ``q − 1 ≤ θ ≤ q`` with ``|Σ_i ω_i θ_i x_ij| ≤ l1_j``: each penalty is one more row,
    ``2 l1_j ρ_½(0 − b_j)``, whose x is a unit vector, and which is nowhere stored.

    *Step* Newton's on ``(q − θ) r⁺ = μ`` and ``(θ + 1 − q) r⁻ = μ``: weighted least squares, ``Xᵀ ω D X Δb = Xᵀ ω D r``, by one
    factor for two right-hand sides: μ = 0 shows how far one could go, and so what μ to aim at, and what is to be corrected. The
    barrier has the weight of its row: a row of twice the weight is two rows, and one without weight is none.

    *Reads the data by* fold and map. What belongs to a row stays with it: rows that stream have no place for it.

    *Cost per step* n p² flops for ``Xᵀ ω D X``, p³ / 3 for its factor, 12 n p for three products each way.

    *Stops when* the duality gap is at most ``tol``. Its dual point is θ, shrunk until it is feasible; ::

        gap = Σ ω (r⁺ (q − θ) + r⁻ (θ + 1 − q)) + Σ_j (l1_j |b_j| − b_j Σ_i ω_i θ_i x_ij)

    is a sum of terms ≥ 0. A coefficient without a penalty asks for a sum of zero, and one with a small penalty for a small
    one, which rounding does not grant; where the sum is no more than some roundings too large, or without a penalty, the
    term's absolute value stands in its place: a bound for minima no farther from b_j than zero is.

    Parameters
    ----------
    quantile : scalar
        q, between 0 and 1.
    l1 : (p,)
        Strengths, ≥ 0.

    References
    ----------
    Mehrotra, "On the implementation of a primal-dual interior point method", SIAM J. Optim. 1992; Portnoy and Koenker, "The
    Gaussian hare and the Laplacian tortoise", Statist. Sci. 1997.
    """

    needs: ClassVar = frozenset({"fold", "map"})
    certificate: ClassVar = "duality gap"

    quantile: Array
    l1: Array

    def init(self, problem, params, key=None):
        if problem.design.on_host:
            raise ValueError(
                "`InteriorPoint` keeps four numbers for each row: rows that stream have no place for them."
            )
        rows = Slacks.start(problem.y - problem.design.matvec(params), self.quantile)
        penalties = Slacks.start(-params, jnp.asarray(0.5, params.dtype))
        point = self.at(problem, params, rows, penalties)
        return _State(point, point, jnp.int32(0))

    def ask(self, objective, state):
        return state.point

    def read(self, problem, query):
        """The next point."""
        design, w, point = problem.design, problem.sample_weight, query
        rows, penalties = point.rows, point.penalties
        present, weight = w > 0, w * rows.curvature
        held, extra = self.l1 > 0, 2 * self.l1 * penalties.curvature
        imbalance = point.push + 2 * self.l1 * (0.5 - penalties.upper)
        gram, pulled = design.fold(_normal, None, weight, point.residual)
        matrix = gram + jnp.diag(extra)
        factor = Equilibrated.of(matrix, jittered=True)

        def newton(pulled: Array, goals: Any) -> tuple[Array, Slacks, Slacks]:
            pull = penalties.pull(-point.coef, goals[1])
            b = pulled + extra * pull + imbalance
            change = factor.solve(b)
            for _ in range(REFINEMENTS):
                change += factor.solve(b - jnp.matmul(matrix, change, precision=lax.Precision.HIGHEST))
            rest = rows.pull(point.residual, goals[0]) - design.matvec(change)
            return change, rows.step(rest, goals[0], present), penalties.step(pull - change, goals[1], held)

        def longest(*steps: Slacks) -> tuple[Array, Array]:
            of_rows = design.fold(_shortest, None, *rows.lengths(steps[0]), merge=_least)
            of_penalties = penalties.lengths(steps[1])
            reach = [jnp.minimum(a, b.min()) for a, b in zip(of_rows, of_penalties, strict=True)]
            return jnp.minimum(1, SHARE_OF_WAY * reach[0]), jnp.minimum(1, SHARE_OF_WAY * reach[1])

        zeros = jnp.zeros_like(w), jnp.zeros_like(w)
        none = jnp.zeros_like(self.l1), jnp.zeros_like(self.l1)
        _, first, second = newton(pulled, (zeros, none))
        sizes = longest(first, second)
        of_rows = design.fold(_total, None, w, rows.moved(first, *sizes).products)
        left = self._mean(of_rows, penalties.moved(second, *sizes))
        aim = point.mean * (left / jnp.where(point.mean > 0, point.mean, 1)) ** 3
        goals = tuple((aim - s.above * s.upper, aim - s.below * s.lower) for s in (first, second))
        corrected = design.fold(_correlate, None, weight * rows.pull(point.residual, goals[0]))
        change, first, second = newton(corrected, goals)
        sizes = longest(first, second)
        return self.at(
            problem,
            point.coef + sizes[0] * change,
            rows.moved(first, *sizes),
            penalties.moved(second, *sizes),
        )

    def tell(self, objective, state, answer):
        finite = jnp.isfinite(answer.gap)
        better = answer.gap < BETTER * state.best.gap
        best = tree.where(answer.gap < state.best.gap, answer, state.best)
        n_idle = jnp.where(better, jnp.int32(0), state.n_idle + jnp.int32(1))
        return _State(tree.where(finite, answer, state.point), best, n_idle)

    def status(self, state):
        return jnp.where(state.n_idle >= MAX_IDLE_STEPS, jnp.int32(STALLED), jnp.int32(0))

    def params(self, state):
        return state.best.coef

    def residual(self, state):
        return state.best.gap

    def at(self, problem: Problem, coef: Array, rows: Slacks, penalties: Slacks) -> Point:
        """The point of these coefficients and slopes, with its certificate."""
        residual = problem.y - problem.design.matvec(coef)
        above, below = jnp.maximum(residual, 0), jnp.maximum(-residual, 0)
        terms = above * rows.upper + below * rows.lower, above * self.quantile + below * (1 - self.quantile)
        sums = jnp.stack([*terms, rows.products], 1)
        push, (apart, loss, products) = problem.design.fold(
            _look, None, problem.sample_weight, self.quantile - rows.upper, sums
        )
        allowed = jnp.where(self.l1 > 0, self.l1 + ROUNDINGS * jnp.finfo(push.dtype).eps, 0)
        shrunk = dual_scale(push, allowed, False)
        # of a push beyond its strength, by rounding, what b would gain up to twice as far from zero
        linear = jnp.abs(self.l1 * jnp.abs(coef) - shrunk * coef * push)
        gap = shrunk * apart + (1 - shrunk) * loss + linear.sum()
        return Point(coef, rows, penalties, residual, push, self._mean(products, penalties), gap)

    def _mean(self, of_rows: Array, penalties: Slacks) -> Array:
        """Of the products of all rows, whose weights sum to one, and of the penalties."""
        return (of_rows + 2 * self.l1 @ penalties.products) / (1 + 2 * self.l1.sum())


def _normal(_: Any, X: Any, d: Array, r: Array) -> tuple[Array, Array]:
    return X.gram(d), X.rmatvec(d * r)


def _correlate(_: Any, X: Any, u: Array) -> Array:
    return X.rmatvec(u)


def _total(_: Any, X: Any, w: Array, products: Array) -> Array:
    return w @ products


def _look(_: Any, X: Any, w: Array, slope: Array, terms: Array) -> tuple[Array, Array]:
    return X.rmatvec(w * slope), w @ terms


def _shortest(_: Any, X: Any, primal: Array, dual: Array) -> tuple[Array, Array]:
    return primal.min(), dual.min()


def _least(stacked: tuple[Array, Array]) -> tuple[Array, Array]:
    primal, dual = stacked
    return primal.min(0), dual.min(0)
