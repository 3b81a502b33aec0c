"""Feature-sign Newton: the elastic net on a small Gram matrix; gradient steps find the signs, Newton the values."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.linalg import cholesky

from . import tree
from .gap import convexity_gap, magnitude, of_each, scaled_gap
from .protocols import Solver
from .proximal_gradient import accelerate
from .quadratic import Quadratic
from .solution import STALLED

__all__ = ["FeatureSign"]

# Products with G in the first burst and the longest, in units of K. K / 4 of them cost about as much as one Cholesky factor
# (on CPUs, for K from 64 to 2048). In a shorter burst than the shortest, the search for a step size might be all of it.
FIRST_BURST, LONGEST_BURST, SHORTEST_BURST = 0.25, 4, 16
# Of as many entering coefficients, in units of K, the first Newton step is made without a burst.
FEW = 1 / 16
# A move is worth making if it gains more than so many ulps of the terms it is made of.
NOISE = 0.5
# A certificate is better if it is at most this much of another.
ENOUGH = 0.9
# Nor is a step idle that gains so many ulps of the energy: of columns that are nearly collinear the objective falls for long
# before the certificate does.
WORTHWHILE = 32
# Up to so many coordinates a table of all at each breakpoint takes less time than to sort them.
ALL_AT_ONCE = 256
# Idle steps after which the floor of the precision is reached.
MAX_IDLE_STEPS = 8


class _State(eqx.Module):
    coef: Array
    g: Array
    energy: Array
    gap: Array
    burst: Array
    lipschitz: Array
    best_gap: Array
    n_idle: Array
    gained: Array


class FeatureSign(Solver):
    """Feature-sign Newton: bursts of proximal gradient steps choose the signs, Newton steps solve for the values.

    *Minimises* ``½ bᵀ G b − q·b + Σ l1 |b| + ½ Σ l2 b²`` over b ∈ Rᴷ, or over b ≥ 0, for K small enough to factor G.

    *Step* First a burst of accelerated proximal gradient steps, with products in single precision, which lets many coordinates
    enter and leave at once; a first step at which few enter does without. Then,
    with A the support, σ its signs and ``g = q − (G + l2) b``, one Newton step for the signs held fast:
    ``t_A = b_A + (G + l2)_AA⁻¹ (g − l1 σ)_A``. b moves to the best breakpoint of the objective along t − b, or to t with
    the coordinates that crossed zero set to zero, whichever is lower, if it is lower. Each burst is twice as long as the
    one before, up to 4 K steps: near the solution one is enough, and where signs stay undecided for long the accelerated
    method converges alone.

    *Reads the data by* columns: g at the current b. Where the quadratic holds its moments, that is no reading at all;
    where it reads X, errors in G cost steps and not accuracy.

    *Cost per step* one Cholesky factor, K³/3, and K/4, K/2, … 4 K products with G, 2 K² each.

    *Stops when* the duality gap of the scaled residual is at most ``tol``; at the floor of the precision, when that of
    `duality_gap` is.

    Parameters
    ----------
    l1, l2 : (K,)
        Strengths per coordinate, ≥ 0.
    positive : bool

    References
    ----------
    Lee, Battle, Raina, Ng, "Efficient sparse coding algorithms", NIPS 2006 (feature signs); Wen, Yin, Goldfarb, Zhang,
    "A fast algorithm for sparse reconstruction based on shrinkage, subspace optimization and continuation", SIAM J. Sci.
    Comput. 2010 (shrinkage, then Newton).
    """

    needs: ClassVar = frozenset({"columns"})
    certificate: ClassVar = "duality gap"

    l1: Array
    l2: Array
    positive: bool = eqx.field(static=True, default=False)

    def init(self, problem, params, key=None):
        g, energy = self._evaluate(problem.design, params)
        burst = self._first_burst(params, g)
        lipschitz = jnp.max(problem.design.squares + self.l2)
        lipschitz = jnp.where(lipschitz > 0, lipschitz, 1)
        gap = scaled_gap(params, g, energy, (self.l1, self.l2), self.positive)
        infinite = jnp.asarray(jnp.inf, g.dtype)
        return _State(params, g, energy, gap, burst, lipschitz, infinite, jnp.int32(0), jnp.bool_(True))

    def ask(self, objective, state):
        return None

    def read(self, problem, query):
        return problem.design

    def params(self, state):
        return state.coef

    def residual(self, state):
        # at the floor of the precision the smaller bound may still be met: that of the scaled residual needs relative accuracy
        # of the correlations, which rounding does not leave where the l1 strengths are small
        bound = convexity_gap(state.coef, state.g, (self.l1, self.l2), self.positive)
        return jnp.where(self._stuck(state), jnp.minimum(bound, state.gap), state.gap)

    def _stuck(self, state: _State) -> Array:
        return ~state.gained | (state.n_idle >= MAX_IDLE_STEPS)

    def status(self, state):
        return jnp.where(self._stuck(state), jnp.int32(STALLED), jnp.int32(0))

    def tell(self, objective, state, answer):
        quadratic: Quadratic = answer
        eps = jnp.finfo(state.g.dtype).eps
        hessian = self._hessian(quadratic)
        start = state.coef, state.g
        rough = self._rough(hessian, state.energy)
        near, lipschitz = lax.cond(
            state.burst > 0,
            lambda: accelerate(rough, self._held, start, state.lipschitz, state.burst),
            lambda: (self._entered(start, quadratic.squares), state.lipschitz),
        )
        moved = self._newton(hessian, near, state.g - self._times(hessian, near - state.coef))
        g, energy = self._evaluate(quadratic, moved)
        gap = scaled_gap(moved, g, energy, (self.l1, self.l2), self.positive)
        # a correlation is rounded by ulps of ‖X_j‖ ‖r‖: a move that gains less than these may only shuffle errors; if it
        # does more than that the certificate tells
        noise = NOISE * eps * (magnitude(moved - state.coef) @ jnp.sqrt(quadratic.squares * state.energy))
        gain = -self._gain(hessian, start, moved)
        gained = (gain > noise) | (gap < ENOUGH * state.gap)
        there = moved, g, energy, gap
        coef, g, energy, gap = tree.where(gained, there, (state.coef, state.g, state.energy, state.gap))
        longer = jnp.clip(2 * state.burst, *(self._burst(share, coef) for share in (FIRST_BURST, LONGEST_BURST)))
        better = (gap < ENOUGH * state.best_gap) | (gained & (gain > WORTHWHILE * eps * energy))
        n_idle = jnp.where(better, jnp.int32(0), state.n_idle + jnp.int32(1))
        best_gap = jnp.minimum(gap, state.best_gap)
        # where no burst was made the next step makes one
        return _State(coef, g, energy, gap, longer, lipschitz, best_gap, n_idle, gained | (state.burst == 0))

    def _burst(self, share: float, coef: Array) -> Array:
        """So many products with G, in units of K."""
        return jnp.int32(max(SHORTEST_BURST, round(share * coef.shape[0])))

    def _first_burst(self, coef: Array, g: Array) -> Array:
        """None where few coefficients are about to enter: Newton's method alone is then likely to solve for all of them."""
        few = (self._entering(coef, g) > 0).sum() <= FEW * coef.shape[0]
        return jnp.where(few, jnp.int32(0), self._burst(FIRST_BURST, coef))

    def _entering(self, coef: Array, g: Array) -> Array:
        """What pushes coefficients that are zero, beyond what holds them."""
        push = g if self.positive else magnitude(g)
        return jnp.where(magnitude(coef) > 0, 0, jnp.maximum(push - self.l1, 0))

    def _entered(self, start: tuple[Array, Array], squares: Array) -> Array:
        """With the mean of the steps to the minimum along each coordinate that enters: lower, as each is; groups may rise."""
        coef, g = start
        excess = self._entering(coef, g)
        enters = excess > 0
        curvature = jnp.where(enters, (squares + self.l2) * magnitude(g), 1) * jnp.maximum(enters.sum(), 1)
        return coef + of_each(excess / curvature, coef) * g

    def _hessian(self, quadratic: Quadratic) -> Array:
        """``G + l2``, in the form that `_times`, `_rough` and `_solve` take it."""
        gram = quadratic.gram(jnp.arange(quadratic.squares.shape[0], dtype=jnp.int32))
        return gram + jnp.diag(jnp.repeat(self.l2, len(gram) // len(self.l2)))

    def _solve(self, hessian: Array, active: Array, b: Array) -> Array:
        """``(G + l2)_AA⁻¹ b_A``, zero off A."""
        return cholesky.packed_solve(hessian, active, b)

    def _times(self, hessian: Array, d: Array) -> Array:
        return jnp.matmul(d, hessian, precision=lax.Precision.HIGHEST)

    def _rough(self, hessian: Array, energy: Array) -> Callable[[Array], Array]:
        """``d ↦ H d`` in single precision: a burst is about signs, and spends its time on reading H."""
        if hessian.dtype == jnp.float32:
            return partial(self._times, hessian)
        # in units in which neither leaves the range of single precision
        largest = jnp.max(jnp.diagonal(hessian))
        unit = jnp.where(largest > 0, largest, 1)
        length = jnp.where(energy > 0, jnp.sqrt(energy / unit), 1)
        narrow = (hessian / unit).astype(jnp.float32)
        return lambda d: unit * length * self._times(narrow, (d / length).astype(jnp.float32))

    def _held(self, z: Array, lipschitz: Array) -> Array:
        most = self.l1 / lipschitz
        return jnp.minimum(z, most) if self.positive else jnp.clip(z, -most, most)

    def _evaluate(self, quadratic: Quadratic, coef: Array) -> tuple[Array, Array]:
        everywhere = jnp.arange(coef.shape[0], dtype=jnp.int32)
        smooth, energy = quadratic.correlations(quadratic.start(everywhere, coef))
        return smooth - of_each(self.l2, coef) * coef, energy

    def _gain(self, hessian: Array, start: tuple[Array, Array], coef: Array) -> Array:
        """Objective at `coef` less that at `start`, as a sum of differences."""
        old, g = start
        d = coef - old
        return jnp.sum(self.l1 * (jnp.abs(coef) - jnp.abs(old)) - g * d + 0.5 * d * self._times(hessian, d))

    def _newton(self, hessian: Array, coef: Array, g: Array) -> Array:
        """Where the Newton step for the signs of `coef` leads; `coef`, if nowhere lower."""
        d = self._solve(hessian, coef != 0, g - self.l1 * jnp.sign(coef))
        crossing = coef * (coef + d) < 0
        t = _crossings(coef, d, crossing)
        along = -t * (g @ d) + 0.5 * jnp.square(t) * (d @ self._times(hessian, d)) + _length(coef, d, t, self.l1)
        best = t[jnp.argmin(along)]
        at_breakpoint = jnp.where(crossing & (t == best), 0, coef + best * d)
        clipped = jnp.where(crossing, 0, coef + d)
        at_clipped = self._gain(hessian, (coef, g), clipped)
        lower = jnp.where(at_clipped < along.min(), clipped, at_breakpoint)
        return jnp.where(jnp.minimum(at_clipped, along.min()) < 0, lower, coef)


def _crossings(coef: Array, d: Array, crossing: Array) -> Array:
    """Where the line coef + t d leaves the orthant, coordinate by coordinate; its end, t = 1, for those that stay."""
    return jnp.where(crossing, -coef / jnp.where(crossing, d, 1), 1)


def _length(coef: Array, d: Array, t: Array, l1: Array) -> Array:
    """``Σ_j l1_j (|coef_j + t_j d_j| − |coef_j|)`` at each `t` of `_crossings`, from sums over those that crossed before.

    Until it crosses, coordinate j adds ``t l1_j sign(coef_j) d_j``; from there on ``2 l1_j (t |d_j| − |coef_j|)`` more.
    """
    if len(t) <= ALL_AT_ONCE:
        return (jnp.abs(coef[None, :] + t[:, None] * d[None, :]) - jnp.abs(coef)[None, :]) @ l1
    order = jnp.argsort(t)
    ahead = l1 * jnp.where(coef != 0, jnp.sign(coef) * d, jnp.abs(d))
    crossed = jnp.where(coef * (coef + d) < 0, l1, 0)[order]
    slope, offset = jnp.cumsum(crossed * jnp.abs(d)[order]), jnp.cumsum(crossed * jnp.abs(coef)[order])
    bent = jnp.zeros_like(t).at[order].set(2 * (t[order] * slope - offset))
    return t * ahead.sum() + bent
