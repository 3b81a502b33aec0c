"""Sparse codes to high accuracy: the method of multipliers finds their supports, conjugate gradients their values."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.objectives.penalties import Penalty

from .protocols import Problem, Solver
from .sparse_codes import CodeADMM, Correlations, code_gaps

__all__ = ["ITERATIONS", "RefinedCodes", "refine"]

# Of a step: of the method of multipliers and of conjugate gradients. Of 30 and 50, of 10 to 20, these took fewest products on
# patches of photographs, for one in 4 and one in 17 codes not zero.
ITERATIONS, CONJUGATE = 30, 12


def refine(seen: Correlations, codes: Array, penalty: Penalty) -> Array:
    """Codes of the same signs that nearly solve ``a_A (G + l2)_AA = (β − l1 sign(a))_A`` on their supports A.

    Twelve steps of conjugate gradients from `codes`, of all rows together. A value that would change its sign becomes zero.

    Parameters
    ----------
    seen : Correlations
    codes : (n, k)
    penalty : ElasticNet

    Returns
    -------
    (n, k)
    """
    l1, l2 = penalty.strengths(codes[0])
    active = codes != 0
    target = seen.correlations - l1[None] * jnp.sign(codes)

    def curved(v: Array) -> Array:
        return jnp.where(active, seen.product(v) + l2[None] * v, 0)

    def step(_: Any, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        x, left, direction, size = carry
        image = curved(direction)
        length = _ratio(size, (direction * image).sum(1))[:, None]
        x, left = x + length * direction, left - length * image
        remaining = jnp.square(left).sum(1)
        return x, left, left + _ratio(remaining, size)[:, None] * direction, remaining

    left = jnp.where(active, target - curved(codes), 0)
    x = lax.fori_loop(0, CONJUGATE, step, (codes, left, left, jnp.square(left).sum(1)))[0]
    return jnp.where(jnp.sign(x) == jnp.sign(codes), x, 0)


def _ratio(a: Array, b: Array) -> Array:
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)


class _State(eqx.Module):
    codes: Array
    gaps: Array
    mark: Array
    unit: Array
    gap: Array
    burst: Any


class RefinedCodes(Solver):
    """Bursts of the method of multipliers, after each of which the values on the supports are solved for.

    *Minimises* ``½ ‖x − a D‖² + Ω(a)`` over each row a, with Ω an elastic net, over a ≥ 0 where it is positive.

    *Step* thirty iterations of `CodeADMM`, then `refine`; a row keeps the best codes so far, by their duality gap. Where
    refined codes have half the gap of those before, the next burst starts from them, with the multipliers that they imply,
    ``ρ u = clip(β − a G − l2 a, ±l1) + l2 a``. So codes alone are a start: of rows that go on after others have left, or of
    another dictionary.

    Multipliers alone approach the values of correlated atoms slowly, and in single precision not beyond a gap of 1e-6;
    on the right support, conjugate gradients take as many steps as there are different eigenvalues.

    *Reads the data by* nothing: Gram matrix and correlations are in memory.

    *Cost per step* 90 n k² flops, and one factor of G at the start.

    *Stops when* the duality gap, in units of ``½ ‖x‖²``, is at most ``tol``: of the samples together, or, for
    `every_row`, of each.

    Parameters
    ----------
    penalty : ElasticNet
    every_row : bool
    stiffness : float
        As for `CodeADMM`. A tenth is best for samples whose codes take long: those that are nearly zero, and nearly equal.
    """

    needs: ClassVar = frozenset({"columns"})
    certificate: ClassVar = "duality gap"

    penalty: Penalty
    every_row: bool = eqx.field(static=True, default=True)
    stiffness: ArrayLike = 0.5

    @property
    def admm(self) -> CodeADMM:
        """What a burst consists of."""
        return CodeADMM(self.penalty, self.every_row, self.stiffness)

    def init(self, problem, params, key=None):
        seen: Correlations = problem.design
        there = (seen.weight > 0) & (seen.energy > 0)
        unit = jnp.where(there, 0.5 * seen.energy, 0)
        codes = jnp.where(there[:, None], params, 0)  # nothing is coded by nothing
        infinite = jnp.asarray(jnp.inf, codes.dtype)
        unknown = jnp.where(there, infinite, 0)
        burst = self.admm.init(Problem(None, seen, None, None), codes)
        burst = eqx.tree_at(lambda s: s.dual, burst, self._multipliers(seen, codes))
        return _State(codes, unknown, unknown, unit, infinite, burst)

    def ask(self, objective, state):
        return None

    def read(self, problem, query):
        return problem.design

    def params(self, state):
        return state.codes

    def residual(self, state):
        return state.gap

    def tell(self, objective, state, answer):
        seen: Correlations = answer
        burst = self.admm.iterated(state.burst, seen, ITERATIONS)
        refined = refine(seen, burst.codes, self.penalty)
        rough_gaps, fine_gaps = (code_gaps(seen, codes, self.penalty) for codes in (burst.codes, refined))
        codes, gaps = state.codes, state.gaps
        for candidate, candidate_gaps in ((burst.codes, rough_gaps), (refined, fine_gaps)):
            better = candidate_gaps < gaps
            codes = jnp.where(better[:, None], candidate, codes)
            gaps = jnp.where(better, candidate_gaps, gaps)
        restart = (fine_gaps < rough_gaps) & (fine_gaps < 0.5 * state.mark)
        dual = jnp.where(restart[:, None], self._multipliers(seen, refined), burst.dual)
        start = jnp.where(restart[:, None], refined, burst.codes)
        burst = eqx.tree_at(lambda s: (s.codes, s.dual), burst, (start, dual))
        mark = jnp.where(restart, fine_gaps, state.mark)
        return _State(codes, gaps, mark, state.unit, self._gap(gaps, state.unit), burst)

    def _multipliers(self, seen: Correlations, codes: Array) -> Array:
        l1, l2 = (strength[None] for strength in self.penalty.strengths(codes[0]))
        g = seen.correlations - seen.product(codes) - l2 * codes
        pull = jnp.minimum(g, l1) if getattr(self.penalty, "positive", False) else jnp.clip(g, -l1, l1)
        return (pull + l2 * codes) / self.admm.rho(seen.gram)

    def _gap(self, gaps: Array, unit: Array) -> Array:
        if self.every_row:
            return _ratio(gaps, unit).max(initial=0)
        return _ratio(gaps.sum(), unit.sum())
