"""Newton's method with a Cholesky factor of the full Hessian."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jax import Array

from jaxlearn.linalg import cholesky
from jaxlearn.objectives import Loss, NoPenalty

from .descent import Descent

__all__ = ["SHARE_OF_NOTHING", "NewtonCholesky", "hessian", "second_order"]

# Without a penalty, what a matrix may tell nothing of is given this share of its mean diagonal: less, and rounding errors of a
# gradient, divided by it, would lead away from the solution of least norm.
SHARE_OF_NOTHING = 1e-8


class NewtonCholesky(Descent):
    """Damped Newton.

    *Minimises* ``Σ ω loss(y, X b) + penalty(b)``, smooth and convex.

    *Step* ``d = −H⁻¹ g`` with ``H = Xᵀ diag(ω loss″) X + l2``, (pk, pk) for k classes.

    *Reads the data by* fold.

    *Cost per step* n p² k (k + 1) flops for H, (p k)³ / 3 for its factor.

    *Stops when* ``max |gradient| ≤ tol``.

    References
    ----------
    Boyd and Vandenberghe, Convex Optimization, §9.5.
    """

    needs: ClassVar = frozenset({"fold"})

    def read(self, problem, query):
        return problem.design.fold(second_order, query, problem.y, problem.sample_weight)

    def direction(self, objective, point, accepted, curvature):
        share = SHARE_OF_NOTHING if isinstance(objective.penalty, NoPenalty) else 0.0
        lower = cholesky.factor(curvature + objective.penalty.smooth_hessian(accepted.coef), share)
        flat = cholesky.solve(lower, accepted.gradient.T.ravel())
        return -flat.reshape(accepted.coef.T.shape).T, None


def hessian(loss: Loss, X: Any, y: Array, w: Array, f: Array) -> Array:
    """``Σ ω_i X_iᵀ loss″ X_i`` over the local rows, class by class: entry ``(a p + i, b p + j)`` for classes a and b."""
    curvature = loss.hessian(y, f)
    if curvature.ndim == 1:
        return X.gram(w * curvature)
    if curvature.ndim == 2:  # targets that share nothing
        return jsl.block_diag(*[X.gram(w * column) for column in curvature.T])
    k = curvature.shape[1]
    upper = {(a, b): X.gram(w * curvature[:, a, b]) for a in range(k) for b in range(a, k)}
    return jnp.block([[upper[min(a, b), max(a, b)] for b in range(k)] for a in range(k)])


def second_order(query: tuple[Loss, Array], X: Any, y: Array, w: Array) -> tuple[Array, Array, Array]:
    """A lift: value, gradient and `hessian` of ``Σ ω_i loss(y_i, X_i b)`` at the query, a loss and b."""
    loss, coef = query
    f = X.matvec(coef)
    slope = loss.gradient(y, f)
    gradient = X.rmatvec(w * slope if slope.ndim == 1 else w[:, None] * slope)
    return (w @ loss.value(y, f)).sum(), gradient, hessian(loss, X, y, w, f)
