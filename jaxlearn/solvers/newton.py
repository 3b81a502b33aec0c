"""Newton's method with a Cholesky factor of the full Hessian."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.linalg import cholesky
from jaxlearn.objectives import Loss, NoPenalty

from .descent import Descent

__all__ = ["SHARE_OF_NOTHING", "NewtonCholesky", "hessian", "second_order"]

# Without a penalty, what a matrix may tell nothing of is given this share of its mean diagonal: less, and rounding errors of a
# gradient, divided by it, would lead away from the solution of least norm.
SHARE_OF_NOTHING = 1e-8


class _Factor(eqx.Module):
    lower: Array  # of the last Hessian
    renewed: Array  # whether the next pass makes another


class NewtonCholesky(Descent):
    """Damped Newton, whose Hessians serve as long as they gain.

    *Minimises* ``Σ ω loss(y, X b) + penalty(b)``, smooth and convex.

    *Step* ``d = −H⁻¹ g`` with ``H = Xᵀ diag(ω loss″) X + l2``, (pk, pk) for k classes, at this point or, while each step leaves
    at most `keep` of the gradient, at an earlier one.

    *Reads the data by* fold.

    *Cost per step* two products with X, 4 n p k flops; for a new Hessian n p² k (k + 1) more, and (p k)³ / 3 for its factor.

    *Stops when* ``max |gradient| ≤ tol``.

    Parameters
    ----------
    keep : float, default=0.3
        With 0 every step has a Hessian of its own, and the last ones converge quadratically.

    References
    ----------
    Boyd and Vandenberghe, Convex Optimization, §9.5; Kelley, Iterative Methods for Linear and Nonlinear Equations, 1995, §5.4
    (Shamanskii's method).
    """

    needs: ClassVar = frozenset({"fold"})

    keep: ArrayLike = 0.3

    def memory(self, problem, params):
        return _Factor(jnp.zeros((params.size, params.size), params.dtype), jnp.bool_(True))

    def ask(self, objective, state):
        return *super().ask(objective, state), state.memory.renewed

    def read(self, problem, query):
        return problem.design.fold(_with_hessian, query, problem.y, problem.sample_weight)

    def direction(self, objective, point, accepted, curvature):
        share = SHARE_OF_NOTHING if isinstance(objective.penalty, NoPenalty) else 0.0
        matrix = curvature + objective.penalty.smooth_hessian(accepted.coef)
        kept = point.memory
        lower = lax.cond(kept.renewed, lambda: cholesky.factor(matrix, share), lambda: kept.lower)
        flat = cholesky.solve(lower, accepted.gradient.T.ravel())
        before, now = (self.norm(at.coef, at.gradient) for at in (point, accepted))
        renewed = ~(now <= self.keep * before)
        return -flat.reshape(accepted.coef.T.shape).T, _Factor(lower, renewed)


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
    return *_first_order(loss, X, y, w, f), hessian(loss, X, y, w, f)


def _with_hessian(query: tuple[Loss, Array, Array], X: Any, y: Array, w: Array) -> tuple[Array, Array, Array]:
    """As `second_order`, with zeros in the place of a Hessian that is not asked for."""
    loss, coef, wanted = query
    f = X.matvec(coef)
    value, gradient = _first_order(loss, X, y, w, f)
    # zeros of these rows: split over a mapped axis, both branches must be of one kind
    nothing = jnp.zeros((coef.size, coef.size), f.dtype) * jnp.where(jnp.isfinite(value), value, 0)
    return value, gradient, lax.cond(wanted, lambda: hessian(loss, X, y, w, f), lambda: nothing)


def _first_order(loss: Loss, X: Any, y: Array, w: Array, f: Array) -> tuple[Array, Array]:
    slope = loss.gradient(y, f)
    return (w @ loss.value(y, f)).sum(), X.rmatvec(w * slope if slope.ndim == 1 else w[:, None] * slope)
