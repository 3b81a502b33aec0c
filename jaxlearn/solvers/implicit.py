"""Derivatives of a solution with respect to everything that defines its problem, from the optimality condition.

At a solution, ``Φ(problem, b) = 0`` with Φ the gradient of the loss plus that of the penalty, on the support A that the
l1 part leaves (all of it for smooth penalties), where signs do not change under a small perturbation. So ::

    ∂b_A = −Φ_b(A, A)⁻¹ ∂Φ_A,      ∂b = 0 off A

whatever algorithm found b: nothing is differentiated through a loop. The rule is linear in the perturbation, hence serves
forward and reverse mode; being made of differentiable pieces, it may be differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.linalg import cholesky
from jaxlearn.objectives import GroupElasticNet, NoPenalty, Squared

from .gap import magnitude
from .group_newton import bend_of, bent_solve
from .multinomial_newton import anchored, pair_hessian
from .newton import hessian
from .protocols import Problem

__all__ = ["MAX_FACTOR", "attach_derivative", "conjugate_gradients", "refuse_axis"]

# Largest Hessian that is formed.
MAX_FACTOR = 4096


def attach_derivative(
    problem: Problem,
    coef: Array,
    *,
    size: int | None = None,
    held: Array | None = None,
    solved: ArrayLike = True,
) -> Array:
    """`coef`, unchanged, with the derivative it has as the solution of `problem`.

    Parameters
    ----------
    problem : Problem
        Its array leaves are what is differentiated: X, y, weights, strengths.
    coef : (p,) or (p, k)
        A solution; its own derivative is ignored.
    size : int, optional
        With an l1 penalty: at most this many coefficients are non-zero; of (p, k) in groups, so many rows.
    held : mask, like `coef`, optional
        Coefficients that a constraint holds where they are, such as those on a bound of `LBFGSB`: their derivative is zero.
        Not with `size`.
    solved : bool
        False: `coef` is where a solver gave up, for want of room for instance. The derivative is then NaN.

    Returns
    -------
    Array
        As `coef`. A solution on a streamed design is a constant.

    Raises
    ------
    ValueError
        `held` beside `size`, or with a penalty of groups.
        When differentiated where the solution is not a differentiable function: no penalty and more coefficients than
        samples; or under a mapped axis, whose collectives must not be differentiated.
    """
    if held is not None and (size is not None or isinstance(problem.objective.penalty, GroupElasticNet)):
        raise ValueError("`held` is for coefficients that are solved for together: not with `size`, nor in groups.")
    if problem.design.on_host:  # read by a loop on the host, of which nothing is traced
        return coef
    return _attach(size, jax.tree.map(jnp.asarray, problem), lax.stop_gradient(coef), (held, jnp.asarray(solved)))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _attach(size: int | None, problem: Problem, coef: Array, masks: tuple[Array | None, Array]) -> Array:
    return coef


@_attach.defjvp
def _attach_jvp(size: int | None, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    problem, _, (held, solved) = primals
    coef = _attach(size, *primals)
    _refuse(problem)
    _, change = jax.jvp(lambda problem: _optimality(problem, coef), (problem,), (tangents[0],))
    # a factor, since reverse mode would drop a constant; on both sides of the mask of the support, in whichever mode
    known = jnp.where(solved, 1, jnp.nan).astype(coef.dtype)
    return coef, -known * _solve(problem, coef, known * change, size, held)


def _solve(problem: Problem, coef: Array, change: Array, size: int | None, held: Array | None) -> Array:
    """``Φ_b(A, A)⁻¹ change_A``, zero off A."""
    if isinstance(problem.objective.penalty, GroupElasticNet):
        return _solve_groups(problem, coef, change, coef.shape[0] if size is None else size)
    if size is None or size >= coef.size:
        return _solve_all(problem, coef, change, held)
    flat, l1 = coef.ravel(), problem.objective.penalty.strengths(coef)[0].ravel()
    columns = lax.top_k(jnp.where(l1 == 0, jnp.inf, jnp.abs(flat)), size)[1]
    active = (flat != 0)[columns] | (l1 == 0)[columns]
    step = cholesky.masked_solve(_curvature(problem, coef, columns), active, change.ravel()[columns], refine=True)
    return jnp.zeros_like(flat).at[columns].set(step, unique_indices=True).reshape(coef.shape)


def refuse_axis(design: Any) -> None:
    """Refuse rows that lie over a mapped axis."""
    if design.axis_name is not None:
        raise ValueError(
            "a fit with `axis_name` cannot be differentiated: collectives have no derivative of their own. "
            "Differentiate outside the map: `jit` of the fit on a sharded array needs no axis name."
        )


def _refuse(problem: Problem) -> None:
    refuse_axis(problem.design)
    n_samples, n_features = problem.design.shape
    if isinstance(problem.objective.penalty, NoPenalty) and n_features > n_samples:
        raise ValueError(
            f"a fit of {n_features} coefficients to {n_samples} samples without a penalty has no unique solution, "
            "and so no derivative: give it a penalty, `L2(alpha)` with a small alpha for instance."
        )


def _optimality(problem: Problem, coef: Array) -> Array:
    """Gradient of the loss and the penalty, with the signs of the solution."""
    loss, penalty = problem.objective.loss, problem.objective.penalty
    gradient = problem.design.fold(_gradient, (loss, coef), problem.y, problem.sample_weight)
    return gradient + penalty.subgradient(coef)


def _solve_all(problem: Problem, coef: Array, change: Array, held: Array | None) -> Array:
    """``Φ_b⁻¹ change`` over what is not held: by one factor where the Hessian is small, else by conjugate gradients."""
    loss, penalty = problem.objective.loss, problem.objective.penalty
    l1, l2 = penalty.strengths(coef)
    active = (coef != 0) | (l1 == 0)
    active = active if held is None else active & ~held
    if (
        isinstance(loss, Squared)
        and held is None
        and coef.ndim == 2
        and len(coef) <= MAX_FACTOR
        and not problem.design.is_sparse
    ):
        gram = problem.design.fold(_gram, None, problem.sample_weight)
        if jnp.ndim(getattr(penalty, "alpha", 0.0)) < 2:
            return _solve_regular(gram, l2[:, 0] + 0 * coef[:, 0], change)  # zero times: see below
        return jax.vmap(partial(_solve_regular, gram), 1, 1)(l2 + 0 * coef, change)
    if coef.size <= MAX_FACTOR and not problem.design.is_sparse:
        matrix = problem.design.fold(_hessian, (loss, coef), problem.y, problem.sample_weight)
        # Zero times the solution: the factorisation waits for it where the Hessian does not depend on it. JAX before
        # 0.11.2 runs lanes of a factorisation as tasks of the pool whose thread waits for them: on two cores, two such
        # factorisations at a time wait for ever.
        matrix += jnp.diag((l2 + 0 * coef).T.ravel())
        step = cholesky.masked_solve(matrix, active.T.ravel(), change.T.ravel(), refine=True)
        return step.reshape(coef.T.shape).T

    return conjugate_gradients(partial(_optimality, problem), coef, active, change)


def conjugate_gradients(optimality: Callable[[Array], Array], coef: Array, active: Array, change: Array) -> Array:
    """``Φ_b(A, A)⁻¹ change_A``, zero off the mask A, by products with the derivative of the optimality condition Φ."""

    def curved(v: Array) -> Array:
        _, product = jax.jvp(optimality, (coef,), (jnp.where(active, v, 0),))
        return jnp.where(active, product, v)

    def by_conjugate_gradients(matvec: Any, b: Array) -> Array:
        return jax.scipy.sparse.linalg.cg(matvec, b, tol=float(jnp.finfo(b.dtype).eps) ** 0.75)[0]

    return lax.custom_linear_solve(curved, jnp.where(active, change, 0), by_conjugate_gradients, symmetric=True)


def _solve_groups(problem: Problem, coef: Array, change: Array, size: int) -> Array:
    """``Φ_b⁻¹ change`` over the groups that are not zero, of a squared loss."""
    penalty, p = problem.objective.penalty, coef.shape[0]
    rows, push = penalty.rows(coef), penalty.rows(change)
    l1, l2 = penalty.row_strengths(rows)
    width = 1 if penalty.groups is None else rows.shape[1]
    score = jnp.where(l1 == 0, jnp.inf, magnitude(rows))
    groups = lax.top_k(score, min(-(-size // width), len(score)))[1]
    columns = groups if penalty.groups is None else penalty.groups[groups].ravel()
    real = columns < p
    gram = problem.design.fold(_column_gram, jnp.minimum(columns, p - 1), problem.sample_weight)
    gram = jnp.where(real[:, None] & real[None, :], gram, 0) + jnp.diag(
        jnp.where(real, jnp.repeat(l2[groups], width), 0)
    )
    step = bent_solve(gram, score[groups] > 0, bend_of(rows[groups], l1[groups]), push[groups])
    return penalty.joined(jnp.zeros_like(rows).at[groups].set(step, unique_indices=True), p)


def _solve_regular(gram: Array, l2: Array, b: Array) -> Array:
    """``(G + diag(l2))⁻¹ b`` for b (p,) or (p, k), refined once."""
    matrix = gram + jnp.diag(l2)
    lower = cholesky.factor(matrix)
    x = cholesky.solve(lower, b)
    return x + cholesky.solve(lower, b - jnp.matmul(matrix, x, precision=lax.Precision.HIGHEST))


def _gram(_: None, X: Any, w: Array) -> Array:
    return X.gram(w)


def _curvature(problem: Problem, coef: Array, columns: Array) -> Array:
    l1, l2 = (strengths.ravel()[columns] for strengths in problem.objective.penalty.strengths(coef))
    query = (problem.objective.loss, coef, columns)
    curvature = problem.design.fold(_column_hessian, query, problem.y, problem.sample_weight) + jnp.diag(l2)
    return curvature if coef.ndim == 1 else anchored(curvature, (l1 == 0) & (l2 == 0), columns // coef.shape[1])


def _gradient(query: Any, X: Any, y: Array, w: Array) -> Array:
    loss, coef = query
    slope = loss.gradient(y, X.matvec(coef))
    return X.rmatvec(w * slope if slope.ndim == 1 else w[:, None] * slope)


def _hessian(query: Any, X: Any, y: Array, w: Array) -> Array:
    loss, coef = query
    return hessian(loss, X, y, w, X.matvec(coef))


def _column_gram(columns: Array, X: Any, w: Array) -> Array:
    rows = X.take(columns)
    return jnp.matmul(rows * w[None], rows.T, precision=lax.Precision.HIGHEST)


def _column_hessian(query: Any, X: Any, y: Array, w: Array) -> Array:
    loss, coef, columns = query
    f = X.matvec(coef)
    if coef.ndim == 1:
        return _column_gram(columns, X, w * loss.hessian(y, f))
    features, classes = jnp.divmod(columns, coef.shape[1])  # as in the rows of coef, one after the other
    return pair_hessian(X.take(features), classes, loss.inverse_link(f), w)
