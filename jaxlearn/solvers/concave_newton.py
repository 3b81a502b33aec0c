"""Concave penalties on a small Gram matrix: coordinate descent finds the pieces of the penalty, Newton steps the values."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.linalg import cholesky

from . import tree
from .feature_sign import FeatureSign
from .protocols import Objective, Problem, Solver
from .quadratic import Quadratic
from .solution import STALLED, Budget
from .solve import solve
from .working_set import INNER_SHARE, Look, WorkingSetPath

__all__ = ["LASSO_GAP", "ConcaveNewton", "ConcavePath"]

HIGHEST = lax.Precision.HIGHEST
# Sweeps of the first burst and of the longest: each is twice as long as the one before.
FIRST_BURST, LONGEST_BURST = 4, 64
# Steps are tried at these lengths: parts of Newton's, multiples of one towards a piece of the penalty that is far away.
STEP_SIZES = tuple(2.0**i for i in range(-3, 8))
MAX_INNER_STEPS = 60
# The Lasso that the descent also begins from is solved as far as this duality gap, in units of Σ ω y².
LASSO_GAP = 1e-4


class _State(eqx.Module):
    coef: Array
    g: Array
    energy: Array
    distance: Array
    burst: Array
    gained: Array


class ConcaveNewton(Solver):
    """Coordinate descent and Newton's method for a concave penalty.

    *Minimises* ``½ bᵀ G b − q·b + Σ Ω(|b|)`` over b ∈ Rᴷ, Ω of the objective's `Concave` penalty, for K small enough to factor
    G: as far as a stationary point. The objective never rises.

    *Step* First a burst of sweeps, each an exact minimisation over one coordinate after the other, so that coordinates enter,
    leave and go from one piece of the penalty to another; and a search along what it has changed. Then, with A the support, σ
    its signs and ``g = q − G b``, a search along Newton's step for these signs and pieces, ``(G_AA + diag Ω″)⁻¹ (g − Ω′ σ)_A``;
    where this matrix is not positive definite, along that for the tangents of the penalty, without Ω″. A search moves b to the
    lowest of the points at an eighth to 128 times the step, coefficients of changed signs set to zero, if that is lower.
    Each burst is twice as long as the one before, up to 64 sweeps.

    *Reads the data by* columns: g at the current b.

    *Cost per step* a Cholesky factor, K³/3, or two, and 4, 8, … 64 sweeps, 2 K² each.

    *Stops when* no entry of g is further than ``tol · unit`` from the slopes of the penalty; or when no step gains more than
    rounding.

    Parameters
    ----------
    unit : scalar
        Of the distance.

    References
    ----------
    Breheny and Huang, "Coordinate descent algorithms for nonconvex penalized regression, with applications to biological
    feature selection", Ann. Appl. Statist. 2011.
    """

    needs: ClassVar = frozenset({"columns"})
    certificate: ClassVar = (
        "largest distance of the gradient to the slopes of the penalty, in units of the largest correlation"
    )

    unit: Array

    def init(self, problem, params, key=None):
        g, energy = _evaluate(problem.design, params)
        distance = self._distance(problem.objective, params, g)
        return _State(params, g, energy, distance, jnp.int32(FIRST_BURST), jnp.bool_(True))

    def ask(self, objective, state):
        return None

    def read(self, problem, query):
        return problem.design

    def params(self, state):
        return state.coef

    def residual(self, state):
        return state.distance

    def status(self, state):
        return jnp.where(state.gained, jnp.int32(0), jnp.int32(STALLED))

    def tell(self, objective, state, answer):
        quadratic: Quadratic = answer
        penalty: Any = objective.penalty
        gram = quadratic.gram(jnp.arange(state.coef.shape[0], dtype=jnp.int32))
        swept, g = lax.fori_loop(0, state.burst, lambda _, at: sweep(gram, penalty, at), (state.coef, state.g))
        moved = _along(gram, penalty, (swept, g), swept - state.coef)
        g = g - jnp.matmul(moved - swept, gram, precision=HIGHEST)
        moved = _along(gram, penalty, (moved, g), _newton(gram, penalty, moved, g))
        g, energy = _evaluate(quadratic, moved)
        distance = self._distance(objective, moved, g)
        # a correlation is rounded by ulps of ‖X_j‖ ‖r‖: a move that gains less may only shuffle errors
        eps = jnp.finfo(g.dtype).eps
        noise = eps * (jnp.abs(moved - state.coef) @ jnp.sqrt(quadratic.squares * state.energy))
        gained = (_gain(gram, penalty, (state.coef, state.g), moved) < -noise) | (distance < 0.9 * state.distance)
        there = moved, g, energy, distance
        kept = tree.where(gained, there, (state.coef, state.g, state.energy, state.distance))
        return _State(*kept, jnp.minimum(2 * state.burst, jnp.int32(LONGEST_BURST)), gained)

    def _distance(self, objective: Objective, coef: Array, g: Array) -> Array:
        return jnp.max(objective.penalty.subdifferential_distance(coef, -g), initial=0) / self.unit


def sweep(gram: Array, penalty: Any, at: tuple[Array, Array]) -> tuple[Array, Array]:
    """One pass of exact minimisation over each coordinate in turn, from b and ``g = q − G b``, which it returns."""
    curvature = jnp.diagonal(gram)
    # a constant (centred: zero) column has no curvature, and no g: its coefficient falls to zero
    step_sizes = 1 / jnp.where(curvature > 0, curvature, 1)

    def update(j: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        coef, g = at
        new = penalty.at(j).prox(coef[j] + step_sizes[j] * g[j], step_sizes[j])
        return coef.at[j].set(new), g - (new - coef[j]) * gram[j]

    return lax.fori_loop(0, len(curvature), update, at)


def _evaluate(quadratic: Quadratic, coef: Array) -> tuple[Array, Array]:
    everywhere = jnp.arange(coef.shape[0], dtype=jnp.int32)
    return quadratic.correlations(quadratic.start(everywhere, coef))


def _gain(gram: Array, penalty: Any, at: tuple[Array, Array], coef: Array) -> Array:
    """Objective at `coef` less that at b, from b and g, as a sum of differences."""
    old, g = at
    d = coef - old
    return jnp.sum(penalty.rise(old, coef) - g * d + 0.5 * d * jnp.matmul(d, gram, precision=HIGHEST))


def _newton(gram: Array, penalty: Any, coef: Array, g: Array) -> Array:
    """The step for the signs and the pieces of the penalty at `coef`; where they do not make it convex, for its tangents."""
    there, push = coef != 0, g - penalty.subgradient(coef)
    step = cholesky.masked_solve(gram + jnp.diag(penalty.strengths(coef)[1]), there, push)
    return lax.cond(jnp.isfinite(step).all(), lambda: step, lambda: cholesky.masked_solve(gram, there, push))


def _along(gram: Array, penalty: Any, at: tuple[Array, Array], d: Array) -> Array:
    """The lowest of some points on the line from b along d, without coefficients of changed signs; b, if none is lower."""
    coef, _ = at
    trials = coef[None] + jnp.asarray(STEP_SIZES, coef.dtype)[:, None] * d[None]
    trials = jnp.where(trials * coef[None] < 0, 0, trials)
    gains = jax.vmap(lambda trial: _gain(gram, penalty, at, trial))(trials)
    best = jnp.argmin(gains)  # not a number, where the step is none
    return jnp.where(gains[best] < 0, trials[best], coef)


class ConcavePath(WorkingSetPath):
    """Coordinate descent and Newton's method for concave penalties on a working set of K columns, along a grid of alphas.

    *Minimises*, for each alpha, ``½ Σ ω (y − X b)² + Σ Ω(|b|)``, with Ω of the objective's penalty, alpha times as strong, as
    far as a stationary point.

    *Step* one pass gives ``g = Xᵀ ω r``, and with it the certificate of this alpha and the working set of the next problem: the
    support, then the columns furthest beyond ``|g_j| ≤ alpha l1_j``. `ConcaveNewton` descends on it from two points, the
    coefficients and the Lasso of the strengths l1; the lower of both ends is kept.

    *Reads the data by* columns.

    *Cost per step* one product ``r X`` (2 n p), one Gram matrix (K² n), the steps of `FeatureSign` and of `ConcaveNewton`.

    *Stops when* for every alpha no entry of the gradient of the loss is further than ``tol · unit`` from the slopes of the
    penalty, or as `WorkingSetPath`.

    Parameters
    ----------
    unit : scalar
        Of the distance.
    """

    unit: Array = eqx.field(kw_only=True)

    certificate: ClassVar = ConcaveNewton.certificate

    def read(self, problem, query):
        return problem

    def _look(self, problem, state, strengths):
        quadratic, coef = problem.design, state.coef
        penalty = problem.objective.penalty.scaled(self._alpha(state))
        g, energy = quadratic.correlations(quadratic.start(state.columns, coef[state.columns]))
        distance = jnp.max(penalty.subdifferential_distance(coef, -g), initial=0) / self.unit
        return Look(g, distance, distance, jnp.ones_like(distance), energy)

    def _improve(self, problem: Problem, state, look):
        quadratic, coef, g = problem.design, state.coef, look.g
        penalty = problem.objective.penalty.scaled(self._alpha(state))
        l1 = penalty.strengths(jnp.zeros_like(coef))[0]
        norm = jnp.sqrt(quadratic.squares)
        score = jnp.where(norm > 0, (jnp.abs(g) - l1) / jnp.where(norm > 0, norm, 1), -jnp.inf)
        columns = self.largest(jnp.where((coef != 0) | ((l1 == 0) & (norm > 0)), jnp.inf, score))
        start = coef[columns]
        restricted = quadratic.restricted(columns, (start, g[columns], look.rest))
        inner = Problem(Objective(problem.objective.loss, penalty.at(columns)), restricted, None, None)
        lasso = solve(
            Problem(None, restricted, None, None),
            FeatureSign(l1[columns], jnp.zeros_like(start)),
            start,
            budget=Budget(LASSO_GAP * quadratic.energy, MAX_INNER_STEPS),
        )
        solver, budget = ConcaveNewton(self.unit), Budget(INNER_SHARE * self.tol, MAX_INNER_STEPS)
        starts = jnp.stack([start, lasso.params])
        # one after the other: lanes of two factors at once wait for each other, on two cores, before JAX 0.11.2
        found = lax.map(lambda start: solve(inner, solver, start, budget=budget), starts)
        at = restricted.gram_matrix, inner.objective.penalty, (start, restricted.correlation)
        lower = jnp.argmin(jax.vmap(lambda coef: _gain(*at, coef))(found.params))
        return self._moved(state, columns, found.params[lower], found.status[lower] == STALLED)

    def _alpha(self, state: Any) -> Array:
        return self.alphas[jnp.minimum(state.index, len(self.alphas) - 1)]
