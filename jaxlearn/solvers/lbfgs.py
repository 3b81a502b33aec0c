"""Limited-memory BFGS, preconditioned by a bound of the Hessian where one is affordable."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from jaxlearn.linalg import cholesky
from jaxlearn.objectives import NoPenalty

from . import majorant
from .descent import Descent, last_pair, value_and_gradient
from .newton import SHARE_OF_NOTHING
from .quasi_newton import Pairs
from .sampling import by_weight

__all__ = ["LBFGS"]

# From this many features on, so many rows for each stand for all: a Gram matrix of all takes as long as p / 15 to
# p / 40 passes over the data, and the metric of a sample costs some passes more to converge in.
MANY_FEATURES, ROWS_FOR_EACH = 256, 16


class _Memory(eqx.Module):
    pairs: Pairs
    factor: Array | None

    def metric(self, v: Array) -> Array:
        """``M⁻¹ v``."""
        return v if self.factor is None else cholesky.solve(self.factor, v)


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
            share = SHARE_OF_NOTHING if isinstance(problem.objective.penalty, NoPenalty) else 0.0
            lower = cholesky.factor(majorant.curvature(problem.objective.loss) * gram + jnp.diag(l2), share)
        return _Memory(Pairs.none(self.history, params), lower)

    def read(self, problem, query):
        return problem.design.fold(value_and_gradient, query, problem.y, problem.sample_weight)

    def direction(self, objective, point, accepted, curvature):
        metric = point.memory.metric
        pairs = point.memory.pairs.remember(*last_pair(point, accepted), metric)
        return -pairs.times(accepted.gradient, metric), _Memory(pairs, point.memory.factor)


def _gram(_: Any, X: Any, w: Array) -> Array:
    """``Xᵀ ω X`` over the local rows, or its estimate from a sample in strata of equal weight."""
    n_samples, n_features = X.shape
    size = ROWS_FOR_EACH * n_features
    if "rows" not in X.serves or n_features < MANY_FEATURES or n_samples < 2 * size:
        return X.gram(w)
    index, weight = by_weight(w, size, jax.random.key(0))
    return X.some(index).gram(weight)
