"""Limited-memory BFGS within bounds."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from . import majorant
from .descent import Descent, last_pair, value_and_gradient
from .quasi_newton import Pairs

__all__ = ["LBFGSB"]

# A direction must promise this share of what the projected gradient step promises.
LEAST_PROMISE = 0.1


class _Memory(eqx.Module):
    pairs: Pairs
    inverse: Array

    def metric(self, v: Array) -> Array:
        """``M⁻¹ v``."""
        return self.inverse * v


class LBFGSB(Descent):
    """Projected L-BFGS, in the metric of the diagonal of the loss's quadratic majorant.

    *Minimises* ``Σ ω loss(y, X b) + penalty(b)``, smooth, over ``lower ≤ b ≤ upper``.

    *Step* with P the projection on the box: coefficients that the projected gradient step ``P(b − γ M⁻¹ g)`` takes to a bound
    go there; of the others, the two-loop recursion restricted to them gives d. The search goes from b towards ``P(b + d)``,
    within the box, or towards the projected gradient step where that promises ten times more. ``M = c diag(Xᵀ ω X) + l2``,
    c the bound of the loss's curvature; γ = s·y / y·M⁻¹y.

    *Reads the data by* fold.

    *Cost per step* two products with X, 4 n p k; `history` · 8 p k.

    *Stops when* ``max |P(b − g) − b| ≤ tol``.

    Parameters
    ----------
    lower, upper : scalar, or of the shape of the coefficients
        Bounds, infinite where there are none; equal, they hold a coefficient fixed.
    history : int

    Raises
    ------
    ValueError
        A lower bound above its upper one, as far as this is known when the solver is made: inside ``jit`` the solve ends as
        not finite. Bounds of another shape than the coefficients.

    References
    ----------
    Bertsekas, "Projected Newton methods for optimization problems with simple constraints", SIAM J. Control Optim. 1982;
    Schmidt, Kim and Sra, "Projected Newton-type methods in machine learning", 2011.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jaxlearn.access import Dense
    >>> from jaxlearn.objectives import L2, Squared
    >>> from jaxlearn.solvers import LBFGSB, Budget, Objective, Problem, solve
    >>> X, y = jnp.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]]), jnp.array([3.0, 2.0, 1.0])
    >>> problem = Problem(Objective(Squared(), L2(0.0)), Dense(X), y, jnp.full(3, 1 / 3))
    >>> solve(problem, LBFGSB(lower=0.0), jnp.ones(2), budget=Budget(1e-5, 100)).params.round(3).tolist()
    [2.0, 0.0]
    """

    lower: ArrayLike = -jnp.inf
    upper: ArrayLike = jnp.inf
    history: int = eqx.field(static=True, default=10)

    needs: ClassVar = frozenset({"fold"})
    certificate: ClassVar = "projected gradient norm"

    def __check_init__(self) -> None:
        try:
            crossed = bool((jnp.asarray(self.lower) > jnp.asarray(self.upper)).any())
        except jax.errors.ConcretizationTypeError:
            return
        if crossed:
            raise ValueError("`lower` exceeds `upper`: nothing lies between them.")

    def init(self, problem, params, key=None):
        for name, bound in (("lower", self.lower), ("upper", self.upper)):
            if jnp.ndim(bound) and jnp.shape(bound) != params.shape:
                raise ValueError(f"`{name}` has shape {jnp.shape(bound)}; expected a scalar, or {params.shape}.")
        return super().init(problem, self._projected(params), key)

    def memory(self, problem, params):
        return _Memory(Pairs.none(self.history, params), majorant.inverse_diagonal(problem, params))

    def _projected(self, coef: Array) -> Array:
        lower, upper = (jnp.asarray(bound, coef.dtype) for bound in (self.lower, self.upper))
        return jnp.where(lower > upper, jnp.nan, jnp.clip(coef, lower, upper))

    def norm(self, coef, gradient):
        return jnp.abs(self._projected(coef - gradient) - coef).max()

    def read(self, problem, query):
        return problem.design.fold(value_and_gradient, query, problem.y, problem.sample_weight)

    def direction(self, objective, point, accepted, curvature):
        b, g, metric = accepted.coef, accepted.gradient, point.memory.metric
        pairs = point.memory.pairs.remember(*last_pair(point, accepted), metric)
        gradient_step = -pairs.scale * metric(g)
        projected = self._projected(b + gradient_step)
        free = projected == b + gradient_step
        along = -pairs.on(free).times(jnp.where(free, g, 0), metric)
        d = jnp.where(free, self._projected(b + along), projected) - b
        promise, least = jnp.sum(g * d), LEAST_PROMISE * jnp.sum(g * (projected - b))
        return jnp.where(promise <= least, d, projected - b), _Memory(pairs, point.memory.inverse)
