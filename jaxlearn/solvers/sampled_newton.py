"""L-BFGS in the metric of a sampled Hessian: of second order where Hessians of all rows take too long."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.linalg import cholesky
from jaxlearn.objectives import Loss, NoPenalty

from . import tree
from .descent import Descent, last_pair, value_and_gradient
from .newton import SHARE_OF_NOTHING, hessian
from .quasi_newton import Pairs
from .sampling import by_weight

__all__ = ["PASSES", "PASSES_FOR_A_FEATURE", "SampledNewton", "passes_for_hessian", "rows_for_hessian"]

# A Gram matrix of p features takes as long as p / 15 passes over the data (28 to 784 features on two cores: p / 8 to p / 31).
PASSES_FOR_A_FEATURE = 1 / 15
# A sample is one whose Hessian takes about so many passes; it has at least so many rows for each coefficient.
PASSES, ROWS_FOR_EACH = 4, 16
# Rows of which the products of all pairs of classes are formed at once.
TOGETHER = 1024
HIGHEST = lax.Precision.HIGHEST


class _Memory(eqx.Module):
    pairs: Pairs
    lower: Array
    due: Array  # whether the next point is asked for its Hessian

    def metric(self, v: Array) -> Array:
        """``H⁻¹ v``."""
        return cholesky.solve(self.lower, v.T.ravel()).reshape(v.T.shape).T


class SampledNewton(Descent):
    """L-BFGS in the metric of a sample's Hessian, made anew where the memory of pairs is full.

    *Minimises* ``Σ ω loss(y, X b) + penalty(b)``, smooth and convex.

    *Step* the two-loop recursion on the pairs (s, y) since the last Hessian, with ``γ H⁻¹`` between its loops: H is the
    Hessian, (p k, p k) for k classes, of rows drawn by their weights at an earlier point, γ = s·y / y·H⁻¹y. After
    `history` accepted steps the sample's Hessian is formed at the next point and the pairs are forgotten.

    *Reads the data by* fold, and by rows.

    *Cost per step* two products with X, 4 n p k flops; for a new Hessian m p² k (k + 1), of m sampled rows, and (p k)³ / 3 for
    its factor.

    *Stops when* ``max |gradient| ≤ tol``.

    Parameters
    ----------
    history : int
        Multinomial regression of 93,000 × 54, seven classes: 60 passes with 12, 97 with 6, 73 with 24.

    References
    ----------
    Erdogdu and Montanari, "Convergence rates of sub-sampled Newton methods", 2015; Byrd, Hansen, Nocedal and Singer, "A
    stochastic quasi-Newton method for large-scale optimization", 2016.
    """

    needs: ClassVar = frozenset({"fold", "rows"})

    history: int = eqx.field(static=True, default=12)

    def memory(self, problem, params):
        lower = jnp.eye(params.size, dtype=params.dtype)
        return _Memory(Pairs.none(self.history, params), lower, jnp.bool_(True))

    def ask(self, objective, state):
        return *super().ask(objective, state), state.memory.due

    def read(self, problem, query):
        rows = problem.y, problem.sample_weight
        value, gradient, _ = problem.design.fold(value_and_gradient, query[:2], *rows)
        n_samples, n_features = problem.design.shape
        size = rows_for_hessian(n_samples, n_features, query[1].size // n_features)
        return value, gradient, problem.design.fold(_Hessian(size), query, *rows, whole=True)

    def direction(self, objective, point, accepted, curvature):
        before = point.memory
        penalty = objective.penalty
        share = SHARE_OF_NOTHING if isinstance(penalty, NoPenalty) else 0.0
        renew = lambda: cholesky.factor(curvature + penalty.smooth_hessian(accepted.coef), share)  # noqa: E731
        memory = _Memory(before.pairs, lax.cond(before.due, renew, lambda: before.lower), before.due)
        none = Pairs.none(self.history, accepted.coef)
        pairs = tree.where(before.due, none, before.pairs.remember(*last_pair(point, accepted), memory.metric))
        direction = -pairs.times(accepted.gradient, memory.metric)
        return direction, _Memory(pairs, memory.lower, pairs.count >= self.history)


def passes_for_hessian(n_features: int, n_classes: int = 1) -> float:
    """Passes over the data that take as long as the Hessian of all rows: k (k + 1) / 2 Gram matrices, a pass has k columns."""
    return PASSES_FOR_A_FEATURE * n_features * (n_classes + 1) / 2


def rows_for_hessian(n_samples: int, n_features: int, n_classes: int = 1) -> int:
    """Rows of a sample whose Hessian is worth its time: all, if they are not twice as many."""
    quick = PASSES * n_samples / passes_for_hessian(n_features, n_classes)
    rows = int(max(quick, ROWS_FOR_EACH * n_features * n_classes))
    return rows if 2 * rows < n_samples else n_samples


@dataclasses.dataclass(frozen=True)
class _Hessian:
    """A lift: the Hessian of a sample of so many of the local rows, if it is wanted."""

    size: int

    def __call__(self, query: tuple[Loss, Array, Array], X: Any, y: Array, w: Array) -> Array:
        loss, coef, wanted = query
        size = min(self.size, X.shape[0])
        # zeros of these rows: split over a mapped axis, both branches must be of one kind
        nothing = jnp.zeros((coef.size, coef.size), coef.dtype) * w[0]

        def sampled() -> Array:
            if size < X.shape[0]:
                index, weight = by_weight(w, size, jax.random.key(0))
                some, target = X.some(index), y[index]
            else:
                some, target, weight = X, y, w
            f = some.matvec(coef)
            curvature = loss.hessian(target, f)
            if curvature.ndim < 3:
                return hessian(loss, some, target, weight, f)
            return _of_classes(some, weight[:, None, None] * curvature)

        return lax.cond(wanted, sampled, lambda: nothing)


def _of_classes(X: Any, curvature: Array) -> Array:
    """``Σ_i curvature_i ⊗ x_i x_iᵀ``, for curvature (n, k, k): the products of all pairs of classes at once, for some rows."""
    n_samples, k, _ = curvature.shape
    size, p = min(TOGETHER, n_samples), X.shape[1]
    rows = X.take(jnp.arange(p, dtype=jnp.int32))  # (p, n)
    a, b = (jnp.asarray(i, jnp.int32) for i in jnp.triu_indices(k))
    pairs = curvature[:, a, b].T  # (m, n)
    short = -n_samples % size
    rows, pairs = (jnp.pad(v, ((0, 0), (0, short))) for v in (rows, pairs))

    def add(i: Array, total: Array) -> Array:
        x, c = (lax.dynamic_slice_in_dim(v, i * size, size, 1) for v in (rows, pairs))
        weighted = (c[:, None, :] * x[None]).reshape(-1, size)
        return total + jnp.einsum("rn,pn->rp", weighted, x, precision=HIGHEST)

    start = jnp.zeros((len(a) * p, p), rows.dtype)
    grams = lax.fori_loop(0, (n_samples + short) // size, add, start).reshape(-1, p, p)
    which = jnp.zeros((k, k), jnp.int32).at[a, b].set(jnp.arange(len(a), dtype=jnp.int32))
    which = jnp.maximum(which, which.T)
    return grams[which].transpose(0, 2, 1, 3).reshape(k * p, k * p)
