"""Limited-memory BFGS, preconditioned by a bound of the Hessian where one is affordable."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.linalg import cholesky
from jaxlearn.objectives import Loss, NoPenalty

from .descent import Descent
from .newton import SHARE_OF_NOTHING
from .sampling import by_weight

__all__ = ["LBFGS"]

# From this many features on, so many rows for each stand for all: a Gram matrix of all takes as long as p / 15 to
# p / 40 passes over the data, and the metric of a sample costs some passes more to converge in.
MANY_FEATURES, ROWS_FOR_EACH = 256, 16


class _Memory(eqx.Module):
    steps: Array
    changes: Array
    inverse: Array
    scale: Array
    count: Array
    factor: Array | None


class LBFGS(Descent):
    """L-BFGS in the metric of the loss's quadratic majorant.

    *Minimises* ``Σ ω loss(y, X b) + penalty(b)``, smooth.

    *Step* the two-loop recursion on the last `history` pairs (s, y), with ``γ M⁻¹`` between its loops:
    ``M = c Xᵀ ω X + l2``, c the bound of the loss's curvature, is one Gram matrix and one Cholesky factor for all
    classes; γ = s·y / y·M⁻¹y. Of many rows of many features, M is that of a sample of the rows, drawn by their weights.
    Without `precondition`, M is the identity. A pair with s·y ≤ 0 is skipped.

    *Reads the data by* fold.

    *Cost per step* two products with X, 4 n p k; `history` · 4 p k; two triangular solves, 2 p² k.

    *Stops when* ``max |gradient| ≤ tol``.

    Parameters
    ----------
    history : int
    precondition : bool

    References
    ----------
    Nocedal and Wright, Numerical Optimization, algorithm 7.4; Böhning and Lindsay, "Monotonicity of quadratic-
    approximation algorithms", 1988, for the majorant; Erdogdu and Montanari, "Convergence rates of sub-sampled Newton
    methods", 2015, for its sample.
    """

    needs: ClassVar = frozenset({"fold"})

    history: int = eqx.field(static=True, default=10)
    precondition: bool = eqx.field(static=True, default=True)

    def memory(self, problem, params):
        lower = None
        if self.precondition:
            sampled = problem.design.n_features >= MANY_FEATURES
            gram = problem.design.fold(_gram, None, problem.sample_weight, whole=sampled)
            column = params if params.ndim == 1 else params[:, 0]
            l2 = problem.objective.penalty.strengths(column)[1]
            bound = problem.objective.loss.curvature_bound
            share = SHARE_OF_NOTHING if isinstance(problem.objective.penalty, NoPenalty) else 0.0
            lower = cholesky.factor((bound if math.isfinite(bound) else 1.0) * gram + jnp.diag(l2), share)
        pairs = jnp.zeros((self.history, *params.shape), params.dtype)
        one = jnp.ones((), params.dtype)
        return _Memory(pairs, pairs, jnp.zeros(self.history, params.dtype), one, jnp.int32(0), lower)

    def read(self, problem, query):
        return problem.design.fold(_value_and_gradient, query, problem.y, problem.sample_weight)

    def direction(self, objective, point, accepted, curvature):
        memory: _Memory = point.memory
        s, y = accepted.coef - point.coef, accepted.gradient - point.gradient
        y = jnp.where(jnp.isfinite(point.value), y, 0)  # the first point has no predecessor
        product = jnp.sum(s * y)
        curved = product > jnp.finfo(y.dtype).eps * jnp.sum(jnp.square(y))
        slot = memory.count % self.history
        inverse = jnp.where(curved, 1 / jnp.where(curved, product, 1), memory.inverse[slot])
        scale = product / jnp.where(curved, jnp.sum(y * self._metric(memory, y)), 1)
        memory = _Memory(
            memory.steps.at[slot].set(jnp.where(curved, s, memory.steps[slot])),
            memory.changes.at[slot].set(jnp.where(curved, y, memory.changes[slot])),
            memory.inverse.at[slot].set(inverse),
            jnp.where(curved, scale, memory.scale),
            memory.count + curved.astype(jnp.int32),
            memory.factor,
        )
        return -self._two_loop(memory, accepted.gradient), memory

    def _metric(self, memory: _Memory, v: Array) -> Array:
        return v if memory.factor is None else cholesky.solve(memory.factor, v)

    def _two_loop(self, memory: _Memory, gradient: Array) -> Array:
        # an empty slot has inverse zero, and so no effect
        newest_first = (memory.count - 1 - jnp.arange(self.history, dtype=jnp.int32)) % self.history

        def backward(q: Array, i: Array) -> tuple[Array, Array]:
            a = memory.inverse[i] * jnp.sum(memory.steps[i] * q)
            return q - a * memory.changes[i], a

        def forward(r: Array, i_a: tuple[Array, Array]) -> tuple[Array, None]:
            i, a = i_a
            return r + memory.steps[i] * (a - memory.inverse[i] * jnp.sum(memory.changes[i] * r)), None

        q, a = lax.scan(backward, gradient, newest_first)
        r = memory.scale * self._metric(memory, q)
        return lax.scan(forward, r, (newest_first, a), reverse=True)[0]


def _gram(_: Any, X: Any, w: Array) -> Array:
    """``Xᵀ ω X`` over the local rows, or its estimate from a sample in strata of equal weight."""
    n_samples, n_features = X.shape
    size = ROWS_FOR_EACH * n_features
    if "rows" not in X.serves or n_features < MANY_FEATURES or n_samples < 2 * size:
        return X.gram(w)
    index, weight = by_weight(w, size, jax.random.key(0))
    return X.some(index).gram(weight)


def _value_and_gradient(query: tuple[Loss, Array], X: Any, y: Array, w: Array) -> tuple[Array, Array, None]:
    loss, coef = query
    f = X.matvec(coef)
    slope = loss.gradient(y, f)
    return (w @ loss.value(y, f)).sum(), X.rmatvec(w * slope if slope.ndim == 1 else w[:, None] * slope), None
