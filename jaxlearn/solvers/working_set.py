"""The path-following working-set method for the elastic net: one pass over X for each alpha, if all goes well."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from . import tree
from .feature_sign import FeatureSign
from .gap import convexity_gap, dual_scale, magnitude, of_each, scaled_gap
from .protocols import Problem, Solver
from .quadratic import Quadratic
from .solution import CONVERGED, MAX_STEPS, NONFINITE, OVERFLOW, STALLED, Budget
from .solve import solve
from .wide_set import RowQuadratic, WideFeatureSign

__all__ = ["INNER_SHARE", "MAX_IDLE_PASSES", "Look", "Path", "WorkingSetPath"]

# The inner problem is solved to this share of the tolerance, so that the outer certificate is decided by the columns left out.
INNER_SHARE = 0.1
MAX_INNER_STEPS = 60
# Passes without a better certificate after which an alpha is given up as at the floor of the precision. A pass whose inner
# problem stalls counts as half of them.
MAX_IDLE_PASSES = 8


class Path(eqx.Module):
    """Solutions along a grid of alphas.

    Attributes
    ----------
    coef : (n_alphas, p), or (n_alphas, p, k)
    gap : (n_alphas,)
        Duality gaps, certified by a pass over X at `coef`.
    n_steps : (n_alphas,)
        Passes over X.
    status : (n_alphas,)
        Index into ``SENTENCES``; -1 where the path ended before.
    """

    coef: Array
    gap: Array
    n_steps: Array
    status: Array

    @classmethod
    def empty(cls, shape: tuple[int, ...], coef: Array) -> Path:
        """No alpha of `shape` reached yet, of coefficients like `coef`."""
        return cls(
            jnp.zeros((*shape, *coef.shape), coef.dtype),
            jnp.full(shape, jnp.inf, coef.dtype),
            jnp.zeros(shape, jnp.int32),
            jnp.full(shape, -1, jnp.int32),
        )


class Look(NamedTuple):
    """What one pass tells at the coefficients."""

    g: Array  # of the shape of the coefficients, the negative gradient of the smooth part
    gap: Array  # what the tolerance is asked of
    bound: Array  # at most the gap: what is asked at the floor of the precision
    unit: Array  # of the tolerance
    rest: Any


class _State(eqx.Module):
    coef: Array
    columns: Array
    index: Array
    n_steps: Array
    best_gap: Array
    n_idle: Array
    path: Path


class WorkingSetPath(Solver):
    """Feature-sign Newton on a working set of K columns, following a decreasing grid of alphas.

    *Minimises*, for each alpha, ``½ Σ ω (y − X b)² + alpha (Σ l1 |b| + ½ Σ l2 b²)``, or the same over b ≥ 0.

    *Step* one pass gives ``g = Xᵀ ω r − alpha l2 b`` and with it the certificate of this alpha and the working set of
    the next problem: the support, then the columns nearest to violating ``|g_j| ≤ alpha l1_j``, those that the Gap Safe
    sphere proves inactive excluded. The problem restricted to them is solved by ``FeatureSign`` on its Gram matrix,
    warm-started: its first Newton step at a new alpha is the prediction of the path.

    *Reads the data by* columns.

    *Cost per step* one product ``r X`` (2 n p), one Gram matrix (K² n), the steps of `FeatureSign`, often one.

    *Stops when* every alpha has a duality gap of at most ``tol · Σ ω y²`` or has used `max_passes`; or when the support
    outgrows the working set. The gap is that of the scaled residual; where rounding ends its fall, that of `duality_gap`.

    Parameters
    ----------
    alphas : (n_alphas,)
        Decreasing.
    l1, l2 : (p,)
        Strengths per coordinate at alpha = 1.
    tol : float
        Share of ``Σ ω y²``.
    max_passes : int
        For each alpha.
    size : int
        K. With K = p nothing is selected and nothing overflows.
    first : int
        Index of the alpha to begin with, for a path resumed with a larger working set.
    positive : bool

    References
    ----------
    Massias, Gramfort, Salmon, "Celer", ICML 2018 (working sets); Ndiaye et al., "Gap Safe screening rules for sparsity
    enforcing penalties", JMLR 2017; Larsson, Wallin, "The Hessian screening rule", NeurIPS 2022 (second-order warm
    starts).
    """

    needs: ClassVar = frozenset({"columns"})
    certificate: ClassVar = "duality gap"

    alphas: Array
    l1: Array
    l2: Array
    tol: Array
    max_passes: Array
    first: Array
    size: int = eqx.field(static=True)
    positive: bool = eqx.field(static=True, default=False)

    def init(self, problem, params, key=None):
        path = Path.empty(self.alphas.shape, params)
        columns = self.largest(magnitude(params))
        infinite = jnp.asarray(jnp.inf, params.dtype)
        return _State(params, columns, self.first, jnp.int32(0), infinite, jnp.int32(0), path)

    def ask(self, objective, state):
        return None

    def read(self, problem, query):
        return problem.design

    def params(self, state):
        return state.path.coef

    def residual(self, state):
        """Largest gap of the path in units of its tolerance, once it is complete; infinite before."""
        finished = state.index >= self.alphas.shape[0]
        return jnp.where(finished, jnp.zeros_like(state.best_gap), jnp.inf)

    def status(self, state):
        last = state.path.status[jnp.maximum(state.index - 1, 0)]
        return jnp.where((state.index > 0) & (last == OVERFLOW), jnp.int32(OVERFLOW), jnp.int32(0))

    def largest(self, score: Array) -> Array:
        """The K columns of largest score; all of them in order, where K = p."""
        if self.size == score.shape[0]:
            return jnp.arange(self.size, dtype=jnp.int32)
        # in double precision XLA sorts them all, for longer than a pass over X takes; the order asks for no such digits
        return lax.top_k(score.astype(jnp.float32), self.size)[1].astype(jnp.int32)

    def tell(self, objective, state, answer):
        coef = state.coef
        alpha = self.alphas[jnp.minimum(state.index, self.alphas.shape[0] - 1)]
        l1, l2 = alpha * self.l1, alpha * self.l2
        look = self._look(answer, state, (l1, l2))
        push, there = look.g if self.positive else magnitude(look.g), magnitude(coef) > 0
        room = self.size - there.sum()
        # with more than half of the set in use, and more columns waiting than find room, passes would only take turns
        crowded = (2 * room < self.size) & ((~there & (push > l1)).sum() > room)
        full = (self.size < coef.shape[0]) & ((room == 0) | crowded)
        state = self._record(state, look, full)
        return lax.cond(self._over(state), lambda: state, lambda: self._improve(answer, state, look))

    def _look(self, quadratic: Quadratic, state: _State, strengths: tuple[Array, Array]) -> Look:
        columns, coef = state.columns, state.coef
        smooth, energy = quadratic.correlations(quadratic.start(columns, coef[columns]))
        g = smooth - of_each(strengths[1], coef) * coef
        gap = scaled_gap(coef, g, energy, strengths, self.positive)
        bound = jnp.minimum(gap, convexity_gap(coef, g, strengths, self.positive))
        return Look(g, gap, bound, quadratic.energy, (smooth, energy))

    def _over(self, state: _State) -> Array:
        return (state.index >= self.alphas.shape[0]) | (self.status(state) > 0)

    def _record(self, state: _State, look: Look, full: Array) -> _State:
        """Count the pass; write down an alpha that is done and go to the next."""
        gap, tol = look.gap, self.tol * look.unit
        n_steps = state.n_steps + jnp.int32(1)
        improved = gap < 0.9 * state.best_gap
        n_idle = jnp.where(improved, jnp.int32(0), state.n_idle + jnp.int32(1))
        given_up = (gap > tol) & ~full & ((n_steps >= self.max_passes) | (n_idle >= MAX_IDLE_PASSES))
        certified = jnp.where(given_up, look.bound, gap)
        status = jnp.where(
            certified <= tol,
            jnp.int32(CONVERGED),
            jnp.where(
                full,
                jnp.int32(OVERFLOW),
                jnp.where(n_steps >= self.max_passes, jnp.int32(MAX_STEPS), jnp.int32(STALLED)),
            ),
        )
        status = jnp.where(jnp.isnan(gap), jnp.int32(NONFINITE), status)
        done = (gap <= tol) | jnp.isnan(gap) | full | given_up
        at, path = state.index, state.path
        written = Path(
            path.coef.at[at].set(state.coef),
            path.gap.at[at].set(certified),
            path.n_steps.at[at].set(n_steps),
            path.status.at[at].set(status),
        )
        fresh = jnp.asarray(jnp.inf, gap.dtype)
        following = _State(state.coef, state.columns, at + jnp.int32(1), jnp.int32(0), fresh, jnp.int32(0), written)
        same = eqx.tree_at(
            lambda s: (s.n_steps, s.best_gap, s.n_idle), state, (n_steps, jnp.minimum(gap, state.best_gap), n_idle)
        )
        return tree.where(done, following, same)

    def _improve(self, quadratic: Quadratic, state: _State, look: Look) -> _State:
        alpha = self.alphas[state.index]
        l1, l2 = alpha * self.l1, alpha * self.l2
        smooth, energy = look.rest
        g = smooth - of_each(l2, smooth) * state.coef
        gap = scaled_gap(state.coef, g, energy, (l1, l2), self.positive)
        columns = self._select(state.coef, (g, gap), (l1, l2), quadratic.squares)
        start = state.coef[columns]
        restricted = quadratic.working(columns, (start, smooth[columns], energy))
        solver = self._inner(restricted, l1[columns], l2[columns])
        budget = Budget(INNER_SHARE * self.tol * quadratic.energy, MAX_INNER_STEPS)
        found = solve(Problem(None, restricted, None, None), solver, start, budget=budget)
        # also where the smaller bound was met there
        stalled = jnp.equal(solver.status(found.state), STALLED)
        return self._moved(state, columns, found.params, stalled)

    def _inner(self, quadratic: Quadratic, l1: Array, l2: Array) -> Solver:
        """What solves the problem on the working set."""
        if isinstance(quadratic, RowQuadratic):
            return WideFeatureSign(l1, l2, self.positive, len(quadratic.rows))
        return FeatureSign(l1, l2, self.positive)

    def _moved(self, state: _State, columns: Array, found: Array, stalled: Array) -> _State:
        """With the coefficients found on the working set."""
        coef = jnp.zeros_like(state.coef).at[columns].set(found)
        # at the floor of the precision the problem restricted to the set ends without its tolerance: few passes are left then
        n_idle = state.n_idle + jnp.where(stalled, jnp.int32(MAX_IDLE_PASSES // 2), jnp.int32(0))
        return eqx.tree_at(lambda s: (s.coef, s.columns, s.n_idle), state, (coef, columns, n_idle))

    def _select(self, coef: Array, at: tuple[Array, Array], strengths: tuple[Array, Array], squares: Array) -> Array:
        """The support, what no strength holds, and the columns nearest to joining, from g and the gap."""
        (g, gap), (l1, l2) = at, strengths
        if self.size == coef.shape[0]:
            return jnp.arange(self.size, dtype=jnp.int32)
        push = g if self.positive else magnitude(g)
        norm = jnp.sqrt(squares + l2)
        score = jnp.where(norm > 0, (push - l1) / jnp.where(norm > 0, norm, 1), -jnp.inf)
        # Gap Safe: no optimal dual point within the sphere of radius √(2 gap) reaches the bound of a screened column
        s = dual_scale(g, l1, self.positive)
        screened = s * push + norm * jnp.sqrt(2 * gap) < l1
        score = jnp.where(screened, -jnp.finfo(score.dtype).max, score)
        return self.largest(jnp.where((magnitude(coef) > 0) | ((l1 == 0) & (l2 == 0)), jnp.inf, score))
