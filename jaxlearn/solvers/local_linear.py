"""Local linear approximation: a concave penalty by a sequence of Lassos whose strengths differ by feature."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.linalg import cholesky

from .protocols import Problem, Solver
from .quadratic import Quadratic
from .solution import OVERFLOW, STALLED, Budget
from .solve import solve
from .working_set import WorkingSetPath

__all__ = ["LocalLinear"]

# Steps without a smaller distance after which the floor of the precision is reached.
MAX_IDLE_STEPS = 8


class _State(eqx.Module):
    coef: Array  # certified
    ahead: Array  # where the next Lasso is taken
    distance: Array
    best: Array
    n_idle: Array
    n_passes: Array
    full: Array


class LocalLinear(Solver):
    """Local linear approximation of a concave penalty of least squares.

    *Minimises* ``½ Σ ω (y − X b)² + Σ Ω(|b|)``, Ω of the objective's `Concave` penalty, as far as a stationary point.

    *Step* b moves to the solution of the Lasso with the strengths ``Ω′(|b|)``, whose penalty touches this one at b and
    lies above it: the objective never rises. From b = 0 the first step is the Lasso. Where the penalty is curved these steps
    converge at a linear rate; so each is followed by one of Newton's method on the support, with the curvature of the
    penalty, coefficients that would change their sign set to zero, if the objective falls.

    *Reads the data by* columns.

    *Cost per step* that of `WorkingSetPath` for one alpha, warm-started, and a Gram matrix and a factor of its working set.

    *Stops when* no entry of the gradient of the loss is further than ``tol · unit`` from the penalty's slopes.

    Parameters
    ----------
    lasso : WorkingSetPath
        With one alpha of one; its strengths are set here.
    unit : scalar
        Of the distance.

    References
    ----------
    Zou and Li, "One-step sparse estimates in nonconcave penalized likelihood models", Ann. Statist. 2008.
    """

    needs: ClassVar = frozenset({"columns"})
    certificate: ClassVar = (
        "largest distance of the gradient to the slopes of the penalty, in units of the largest correlation"
    )

    lasso: WorkingSetPath
    unit: Array

    def init(self, problem, params, key=None):
        infinite = jnp.asarray(jnp.inf, params.dtype)
        return _State(params, params, infinite, infinite, jnp.int32(0), jnp.int32(0), jnp.bool_(False))

    def ask(self, objective, state):
        return None

    def read(self, problem, query):
        return problem

    def tell(self, objective, state, answer):
        problem: Problem = answer
        penalty: Any = objective.penalty
        lasso = eqx.tree_at(lambda s: s.l1, self.lasso, penalty.slope(state.ahead))
        found = solve(problem, lasso, state.ahead, budget=Budget(0.0, jnp.iinfo(jnp.int32).max)).state
        path, g = found.path, found.g  # the certificate of the Lasso is the last that was read
        coef = path.coef[0]
        ahead = self._newton(problem.design, penalty, coef, g)
        distance = jnp.max(penalty.subdifferential_distance(coef, -g)) / self.unit
        n_idle = jnp.where(distance < 0.9 * state.best, jnp.int32(0), state.n_idle + jnp.int32(1))
        n_passes = state.n_passes + path.n_steps[0]
        return _State(
            coef, ahead, distance, jnp.minimum(distance, state.best), n_idle, n_passes, path.status[0] == OVERFLOW
        )

    def _newton(self, quadratic: Quadratic, penalty: Any, coef: Array, g: Array) -> Array:
        """Where the Newton step for the signs and the pieces of the penalty at `coef` leads; `coef`, if nowhere lower."""
        columns = self.lasso.largest(jnp.abs(coef))
        b, push, gram = coef[columns], (g - penalty.subgradient(coef))[columns], quadratic.gram(columns)
        curved = gram + jnp.diag(penalty.strengths(coef)[1][columns])
        moved = b + cholesky.masked_solve(curved, b != 0, push)  # not finite, where the sum is not convex
        d = jnp.where(moved * b > 0, moved, 0) - b
        ahead = coef.at[columns].add(d)
        gain = d @ (0.5 * jnp.matmul(gram, d, precision=lax.Precision.HIGHEST) - g[columns])
        lower = gain + penalty.value(ahead) - penalty.value(coef) < 0
        return jnp.where(jnp.isfinite(ahead).all() & lower, ahead, coef)

    def status(self, state):
        stalled = jnp.where(state.n_idle >= MAX_IDLE_STEPS, jnp.int32(STALLED), jnp.int32(0))
        return jnp.where(state.full, jnp.int32(OVERFLOW), stalled)

    def params(self, state):
        return state.coef

    def residual(self, state):
        return state.distance
