"""Newton's method without a Hessian: its directions by conjugate gradients, flattened into the outer loop."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.objectives import Loss

from . import majorant, tree
from .descent import Descent

__all__ = ["NewtonCG"]

LARGEST_FORCING = 0.5


class _System(eqx.Module):
    """``H d = −g`` at the accepted point, as far as it is solved."""

    inverse: Array
    step: Array
    remainder: Array
    direction: Array
    energy: Array
    target: Array
    count: Array
    solving: Array


class NewtonCG(Descent):
    """Truncated Newton, for more features than a Hessian can be formed of.

    *Minimises* ``Σ ω loss(y, X b) + penalty(b)``, smooth and convex.

    *Step* one iteration of conjugate gradients on ``H d = −g``, ``H = Xᵀ diag(ω loss″) X + l2``, preconditioned by the
    diagonal of the loss's quadratic majorant; or, once ``‖H d + g‖ ≤ min(½, √‖g‖) ‖g‖``, a trial along d.

    *Reads the data by* fold.

    *Cost per step* three products with X for an iteration, two for a trial: 6 or 4 n p k.

    *Stops when* ``max |gradient| ≤ tol``.

    References
    ----------
    Nocedal and Wright, Numerical Optimization, algorithm 7.1; Dembo, Eisenstat and Steihaug, "Inexact Newton methods", SIAM J.
    Numer. Anal. 1982, for the rate of convergence, of order 1.5 with this forcing term.
    """

    needs: ClassVar = frozenset({"fold"})

    def memory(self, problem, params):
        zero, scalar = jnp.zeros_like(params), jnp.zeros((), params.dtype)
        inverse = majorant.inverse_diagonal(problem, params)
        return _System(inverse, zero, zero, zero, scalar, scalar, jnp.int32(0), jnp.bool_(False))

    def ask(self, objective, state):
        system: _System = state.memory
        loss, trial = super().ask(objective, state)
        return loss, jnp.where(system.solving, state.coef, trial), system.direction, system.solving

    def read(self, problem, query):
        return problem.design.fold(_value_or_product, query, problem.y, problem.sample_weight)

    def direction(self, objective, point, accepted, curvature):
        g, inverse = accepted.gradient, point.memory.inverse
        size, z = jnp.sqrt(jnp.sum(jnp.square(g))), -inverse * g
        target = jnp.minimum(LARGEST_FORCING, jnp.sqrt(size)) * size
        zero, start = jnp.zeros_like(g), (jnp.int32(0), jnp.bool_(True))
        return z, _System(inverse, zero, -g, z, -jnp.sum(g * z), target, *start)

    def tell(self, objective, state, answer):
        return tree.where(
            state.memory.solving, self._iterated(objective, state, answer[1]), super().tell(objective, state, answer)
        )

    def _iterated(self, objective: Any, state: Any, product: Array) -> Any:
        system: _System = state.memory
        v = system.direction
        product = product + objective.penalty.smooth_gradient(v)
        curvature = jnp.sum(v * product)
        curved = curvature > 0
        a = jnp.where(curved, system.energy / jnp.where(curved, curvature, 1), 0)
        # along what the loss does not tell of, the gradient alone says where to go
        step = jnp.where(~curved & (system.count == 0), v, system.step + a * v)
        remainder = system.remainder - a * product
        z = system.inverse * remainder
        energy, count = jnp.sum(remainder * z), system.count + jnp.int32(1)
        small = jnp.sqrt(jnp.sum(jnp.square(remainder))) <= system.target
        solved = ~curved | small | (count >= v.size)
        b = energy / jnp.where(system.energy > 0, system.energy, 1)
        system = _System(system.inverse, step, remainder, z + b * v, energy, system.target, count, ~solved)
        replaced = jnp.where(solved, step, state.direction), system
        state = eqx.tree_at(lambda s: (s.direction, s.memory), state, replaced)
        return eqx.tree_at(lambda s: s.slope, state, jnp.sum(state.gradient * state.direction))


def _value_or_product(query: tuple[Loss, Array, Array, Array], X: Any, y: Array, w: Array) -> tuple[Array, Array, None]:
    """A lift: value and gradient at b, or, while a system is being solved, zero and the product of the Hessian with v."""
    loss, coef, v, solving = query

    def bend(f: Array) -> tuple[Array, Array]:
        return jnp.zeros((), f.dtype), jax.jvp(lambda f: loss.gradient(y, f), (f,), (X.matvec(v),))[1]

    def slope(f: Array) -> tuple[Array, Array]:
        return (w @ loss.value(y, f)).sum(), loss.gradient(y, f)

    value, rows = lax.cond(solving, bend, slope, X.matvec(coef))
    return value, X.rmatvec(w * rows if rows.ndim == 1 else w[:, None] * rows), None
