"""Dictionary learning on all samples together: codes and atoms in turn."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.objectives.balls import Ball
from jaxlearn.objectives.penalties import Penalty

from .dictionary_update import sweep
from .protocols import Problem, Solver
from .refined_codes import RefinedCodes
from .solution import Budget
from .solve import solve
from .sparse_codes import Correlations

__all__ = ["Alternating", "Factors"]

HIGHEST = lax.Precision.HIGHEST
# Gap of the codes, in units of the last decrease of the cost: what they leave does not hide the next one.
FORCING = 0.1
# The same gap in units of ½ ‖X‖²: at the start; and in ulps, below which nothing is gained.
LOOSEST, ULPS = 1e-3, 8


class Factors(eqx.Module):
    """A factorization ``X ≈ A D``.

    Attributes
    ----------
    dictionary : (k, p)
        D.
    codes : (n, k)
        A.
    cost : scalar
        ``½ ‖X − A D‖² + Ω(A)``, +inf while it is not known.
    decrease : scalar
        Of the cost in the last step, in units of the cost; +inf likewise.
    n_reseeded : int32 scalar
        Atoms that were replaced by a sample because no code used them.
    """

    dictionary: Array
    codes: Array
    cost: Array
    decrease: Array
    n_reseeded: Array

    @classmethod
    def start(cls, dictionary: Array, codes: Array) -> Factors:
        """Of a cost that is not known."""
        infinite = jnp.asarray(jnp.inf, dictionary.dtype)
        return cls(dictionary, codes, infinite, infinite, jnp.int32(0))


class _State(eqx.Module):
    factors: Factors
    gram: Array
    costs: Array
    count: Array


class Alternating(Solver):
    """Codes of all samples, then a sweep over the atoms.

    *Minimises* ``½ ‖X − A D‖² + Ω(A)`` over codes A and a dictionary D whose rows lie in a ball: to a point where neither can
    improve alone.

    *Step* `RefinedCodes` from the codes before, to a total gap of a tenth of the last decrease; a sweep of exact minimisations
    over one atom after the other; an atom that no code uses becomes the sample that is approximated worst.

    *Reads the data by* fold: ``Aᵀ X``. Codes stay where their rows are.

    *Cost per step* ``4 n k p + 100 n k²`` flops or more, and a sweep.

    *Stops when* a step lowered the cost by at most ``tol`` times itself.

    Parameters
    ----------
    penalty : ElasticNet
    ball : Ball
    max_steps : int
        Steps that codes may take.
    n_costs : int
        The first of these many steps leave their cost in ``state.costs``.

    References
    ----------
    Engan, Aase, Husøy, "Method of optimal directions for frame design", ICASSP 1999; Mairal, Bach, Ponce, Sapiro, "Online
    learning for matrix factorization and sparse coding", JMLR 2010 (the sweep).
    """

    needs: ClassVar = frozenset({"fold"})
    certificate: ClassVar = "relative decrease of the cost"

    penalty: Penalty
    ball: Ball
    max_steps: ArrayLike
    n_costs: int = eqx.field(static=True)

    def init(self, problem, params, key=None):
        factors: Any = params
        gram = jnp.matmul(factors.dictionary, factors.dictionary.T, precision=HIGHEST)
        costs = jnp.full(self.n_costs, jnp.nan, factors.cost.dtype)
        return _State(factors, gram, costs, jnp.int32(0))

    def ask(self, objective, state):
        return None

    def read(self, problem, query):
        return problem.design

    def params(self, state):
        return state.factors

    def residual(self, state):
        return state.factors.decrease

    def tell(self, objective, state, answer):
        X, old = answer.X, state.factors
        energy = jnp.square(X).sum(1)
        correlations = jnp.einsum("np,kp->nk", X, old.dictionary, precision=HIGHEST)
        seen = Correlations(state.gram, correlations, energy, jnp.ones_like(energy))
        tightest = ULPS * jnp.finfo(X.dtype).eps
        forced = FORCING * old.decrease * old.cost / jnp.maximum(0.5 * energy.sum(), jnp.finfo(X.dtype).tiny)
        tol = jnp.clip(jnp.where(jnp.isfinite(forced), forced, LOOSEST), tightest, LOOSEST)
        solver = RefinedCodes(self.penalty, every_row=False)
        codes = solve(Problem(None, seen, None, None), solver, old.codes, budget=Budget(tol, self.max_steps)).params

        second, first = answer.fold(_sums, None, codes)
        atoms, gram = sweep(old.dictionary, first, second, self.ball, gram=state.gram)
        left = jnp.square(X - jnp.matmul(codes, atoms, precision=HIGHEST)).sum(1)
        cost = (0.5 * left + jax.vmap(self.penalty.value)(codes)).sum()
        atoms, gram, dead = self._reseeded((atoms, gram), jnp.diagonal(second) <= 0, X, left)
        decrease = (old.cost - cost) / jnp.where(cost > 0, cost, 1)
        factors = Factors(atoms, codes, cost, decrease, old.n_reseeded + dead)
        costs = state.costs.at[state.count].set(cost, mode="drop")
        return _State(factors, gram, costs, state.count + jnp.int32(1))

    def _reseeded(
        self, dictionary: tuple[Array, Array], dead: Array, X: Array, left: Array
    ) -> tuple[Array, Array, Array]:
        def replace(dictionary: tuple[Array, Array]) -> tuple[Array, Array]:
            worst = X[lax.top_k(left, min(len(left), len(dead)))[1]]
            n_left = jnp.clip((left > 0).sum(), 1, len(worst))
            fresh = worst[(jnp.cumsum(dead) - 1) % n_left]
            length = jnp.sqrt(jnp.square(fresh).sum(1, keepdims=True))
            fresh = self.ball.scaled(fresh / jnp.where(length > 0, length, 1))
            atoms = jnp.where(dead[:, None], fresh, dictionary[0])
            return atoms, jnp.matmul(atoms, atoms.T, precision=HIGHEST)

        return *lax.cond(dead.any(), replace, lambda same: same, dictionary), dead.sum().astype(jnp.int32)


def _sums(_, block, codes):
    return jnp.einsum("nk,nl->kl", codes, codes, precision=HIGHEST), block.rmatvec(codes).T
