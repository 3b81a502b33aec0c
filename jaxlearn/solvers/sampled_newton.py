"""L-BFGS in the metric of a sampled Hessian: of second order where Hessians of all rows take too long."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jax import Array, lax

from jaxlearn.linalg import cholesky
from jaxlearn.objectives import Loss, NoPenalty

from . import tree
from .descent import Descent, last_pair, value_and_gradient
from .newton import SHARE_OF_NOTHING
from .quasi_newton import Pairs
from .sampling import by_weight

__all__ = ["PASSES", "PASSES_FOR_A_FEATURE", "SampledNewton", "passes_for_hessian", "rows_for_hessian"]

# A Gram matrix of p features takes as long as p / 15 passes over the data (28 to 784 features on two cores: p / 8 to p / 35 in
# double precision), that of some rows for a pair of several classes p / 9 (p / 6 to p / 15).
PASSES_FOR_A_FEATURE, OF_SEVERAL_CLASSES = 1 / 15, 1 / 9
# A sample is one whose Hessian takes about so many passes; it has at least so many rows for each coefficient.
PASSES, ROWS_FOR_EACH = 4, 16
# Rows that are taken at once, and multiplied for all pairs of classes: no sample is held.
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
    of_feature = PASSES_FOR_A_FEATURE if n_classes == 1 else OF_SEVERAL_CLASSES
    return of_feature * n_features * (n_classes + 1) / 2


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
        # zeros of these rows: split over a mapped axis, both branches must be of one kind
        nothing = jnp.zeros((coef.size, coef.size), coef.dtype) * w[0]
        return lax.cond(wanted, lambda: self._sampled(loss, coef, X, y, w), lambda: nothing)

    def _sampled(self, loss: Loss, coef: Array, X: Any, y: Array, w: Array) -> Array:
        n_samples, p = X.shape
        index, weight = jnp.arange(n_samples, dtype=jnp.int32), w
        if self.size < n_samples:
            index, weight = by_weight(w, self.size, jax.random.key(0))
        size = min(TOGETHER, len(index))
        index, weight = (jnp.pad(v, (0, -len(v) % size)) for v in (index, weight))
        every = jnp.arange(p, dtype=jnp.int32)

        def products(first: Array) -> Array:
            """``Σ c_i x_i x_iᵀ`` over some rows, for the curvature c of each pair of classes, one below the other."""
            at, some_weight = (lax.dynamic_slice_in_dim(v, first, size) for v in (index, weight))
            some = X.some(at)
            x = some.take(every)  # (p, rows)
            c = some_weight[None] * _pairs(loss.hessian(y[at], some.matvec(coef)))
            return jnp.einsum("rn,pn->rp", (c[:, None, :] * x[None]).reshape(-1, size), x, precision=HIGHEST)

        start = jnp.zeros(jax.eval_shape(products, jnp.int32(0)).shape, coef.dtype) * w[0]
        add = lambda i, total: total + products(i * size)  # noqa: E731
        grams = lax.fori_loop(0, len(index) // size, add, start).reshape(-1, p, p)
        return _of_pairs(grams, 1 if coef.ndim == 1 else coef.shape[1])


def _pairs(curvature: Array) -> Array:
    """Of each row the second derivatives that differ, (m, n): one, one for each target, or for each pair of classes."""
    if curvature.ndim < 3:
        return curvature.reshape(len(curvature), -1).T
    a, b = jnp.triu_indices(curvature.shape[1])
    return curvature[:, a, b].T


def _of_pairs(grams: Array, k: int) -> Array:
    """(p k, p k) from the products of the pairs of classes, (m, p, p), or of targets that share nothing."""
    m, p, _ = grams.shape
    if m == k:
        return jsl.block_diag(*grams)
    a, b = jnp.triu_indices(k)
    which = jnp.zeros((k, k), jnp.int32).at[a, b].set(jnp.arange(m, dtype=jnp.int32))
    return grams[jnp.maximum(which, which.T)].transpose(0, 2, 1, 3).reshape(k * p, k * p)
