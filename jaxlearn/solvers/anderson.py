"""Anderson acceleration of any fixed-point map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from . import tree
from .protocols import Solver
from .solution import STALLED

__all__ = ["Anderson"]

MAX_IDLE_STEPS = 20


class _State(eqx.Module):
    coef: Array
    image: Array
    residual: Array
    trial: Array
    plain: Array  # the trial is the image of the point before, without an extrapolation
    images: Array
    residuals: Array
    count: Array
    least: Array
    n_idle: Array


class Anderson(Solver):
    """Anderson acceleration, safeguarded by the residual.

    *Finds* ``b = T(b)``.

    *Step* with ``r = T(b) − b``: ``b⁺ = T(b) − ΔT γ``, γ the least squares solution of ``ΔR γ ≈ r``, where ΔT and ΔR hold the
    last `history` changes of T(b) and of r from one point to the next. A point with a larger ‖r‖ than the one before is
    refused: what was remembered is forgotten, and the next point is the image of the one before. Of a linear map with a
    symmetric matrix, that of gradient steps on a quadratic, `history` changes do what as many conjugate gradients would.

    *Reads the data by* whatever T does, once.

    *Cost per step* one T, and a least squares problem of `history` columns.

    *Stops when* ``max |T(b) − b| ≤ tol``.

    Parameters
    ----------
    step : callable
        T: ``(problem, b) ↦ b``, of any shape. A function that is the same from one call to the next, since it is a compilation
        key; all it depends on, it takes from `problem`. With a design on the host it is called on the host.
    history : int

    References
    ----------
    Walker and Ni, "Anderson acceleration for fixed-point iterations", SIAM J. Numer. Anal. 2011; Bertrand and Massias,
    "Anderson acceleration of coordinate descent", AISTATS 2021.

    Examples
    --------
    Of gradient steps:

    >>> import jax.numpy as jnp
    >>> from jaxlearn.access import Dense
    >>> from jaxlearn.solvers import Anderson, Budget, Problem, solve
    >>> def descend(problem, b):
    ...     return b - 0.2 * problem.design.rmatvec(problem.design.matvec(b) - problem.y)
    >>> problem = Problem(None, Dense(jnp.array([[1.0, 0.0], [1.0, 2.0]])), jnp.array([1.0, 5.0]), None)
    >>> found = solve(problem, Anderson(descend), jnp.zeros(2), budget=Budget(1e-5, 100))
    >>> found.params.round(3).tolist(), int(found.n_steps)
    ([1.0, 2.0], 4)

    A solver that remembers nothing but its point is a map as well: coordinate descent is, whose second step certifies
    what the first one made; a search for a step size is not, since a point that it does not leave need not be a solution.

    >>> from jaxlearn.access.columns import column_quadratic
    >>> from jaxlearn.solvers import CoordinateDescent
    >>> def sweep(problem, b):
    ...     epoch = CoordinateDescent(l1=jnp.full(2, 0.1), l2=jnp.zeros(2))
    ...     return solve(problem, epoch, b, budget=Budget(0.0, 2)).params
    >>> quadratic = column_quadratic(problem.design, problem.y, jnp.full(2, 0.5))
    >>> found = solve(Problem(None, quadratic, None, None), Anderson(sweep), jnp.zeros(2), budget=Budget(1e-5, 100))
    >>> found.params.round(3).tolist()
    [0.9, 2.0]
    """

    step: Callable[[Any, Array], Array] = eqx.field(static=True)
    history: int = eqx.field(static=True, default=5)

    needs: ClassVar = frozenset()
    certificate: ClassVar = "fixed-point residual"

    def init(self, problem, params, key=None):
        room = jnp.zeros((self.history, params.size), params.dtype)
        infinite = jnp.asarray(jnp.inf, params.dtype)
        return _State(
            coef=params,
            image=params,
            residual=jnp.full_like(params, jnp.inf),
            trial=params,
            plain=jnp.bool_(True),
            images=room,
            residuals=room,
            count=jnp.int32(0),
            least=infinite,
            n_idle=jnp.int32(0),
        )

    def ask(self, objective, state):
        return state.trial

    def read(self, problem, query):
        image = self.step(problem, query)
        if image.shape != query.shape:
            raise ValueError(f"`step` makes {image.shape} of an array of shape {query.shape}; expected the same shape.")
        return image

    def params(self, state):
        return state.coef

    def residual(self, state):
        return jnp.abs(state.residual).max()

    def status(self, state):
        return jnp.where(state.n_idle >= MAX_IDLE_STEPS, jnp.int32(STALLED), jnp.int32(0))

    def tell(self, objective, state, answer):
        image, residual = answer, answer - state.trial
        size = jnp.sqrt(jnp.sum(jnp.square(residual)))
        before = jnp.sqrt(jnp.sum(jnp.square(state.residual)))
        known = jnp.isfinite(before)
        n_idle = jnp.where(size < state.least, jnp.int32(0), state.n_idle + 1)
        least = jnp.minimum(size, state.least)

        # changes of length one of r: with those of early, long steps the least squares problem would not see late ones
        change = jnp.where(known, residual - state.residual, 0).ravel()
        length = jnp.sqrt(jnp.sum(jnp.square(change)))
        unit = jnp.where(length > 0, 1 / jnp.where(length > 0, length, 1), 0)
        slot = state.count % self.history
        images = state.images.at[slot].set(unit * jnp.where(known, image - state.image, 0).ravel())
        residuals = state.residuals.at[slot].set(unit * change)
        weights = jnp.linalg.lstsq(residuals.T, residual.ravel())[0]
        ahead = image - (weights @ images).reshape(image.shape)
        count = state.count + known.astype(jnp.int32)
        taken = _State(image=image, coef=state.trial, residual=residual, trial=ahead, plain=~known, images=images,
                       residuals=residuals, count=count, least=least, n_idle=n_idle)  # fmt: skip

        nothing = jnp.zeros_like(images)
        refused = eqx.tree_at(
            lambda s: (s.trial, s.plain, s.images, s.residuals, s.n_idle),
            state,
            (state.image, jnp.bool_(True), nothing, nothing, n_idle),
        )
        return tree.where(state.plain | (size <= before), taken, refused)
