"""One sweep of block coordinate descent over the atoms of a dictionary, in two forms that are fast where memory is slow.

*Minimises* ``½ tr(C D Dᵀ) − tr(B Dᵀ)`` over the rows of D in a ball, with ``C = Σ ω a aᵀ`` (k, k) and ``B = Σ ω a xᵀ`` (k, p)
of codes a: least squares of all samples that these sums remember.

*Step* for one atom after the other, ``d_j ← Proj(d_j + (b_j − c_j D) / c_jj)``, the exact minimum over d_j. An atom that no
code uses, ``c_jj = 0``, stays.

Written so, each step streams all of D through memory. Both forms below give the same iterates with matrix products.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.objectives.balls import Ball, L2Ball

__all__ = ["by_blocks", "by_gram", "sweep"]

HIGHEST = lax.Precision.HIGHEST
# Atoms that share one product with all others; more would leave the processor's cache.
BLOCK = 16


def sweep(
    atoms: Array, first: Array, second: Array, ball: Ball, *, gram: Array, budget: Array | None = None
) -> tuple[Array, Array]:
    """The dictionary after one sweep, in the form that suits the ball and the device.

    Parameters
    ----------
    atoms : (k, p)
        D.
    first : (k, p)
        B.
    second : (k, k)
        C, positive semidefinite.
    ball : Ball
    gram : (k, k)
        ``D Dᵀ``.
    budget : (k,), optional
        What each atom may use of the radius, where it is not all of it.

    Returns
    -------
    atoms : (k, p)
    gram : (k, k)
        Of the new atoms.

    References
    ----------
    Mairal, Bach, Ponce, Sapiro, "Online learning for matrix factorization and sparse coding", JMLR 2010.
    """
    budget = jnp.full(len(atoms), ball.radius, atoms.dtype) if budget is None else budget

    def blocks(atoms: Array, gram: Array) -> tuple[Array, Array]:
        atoms = by_blocks(atoms, first, second, ball, budget)
        return atoms, jnp.matmul(atoms, atoms.T, precision=HIGHEST)

    def by_products(atoms: Array, gram: Array) -> tuple[Array, Array]:
        return by_gram(atoms, first, second, ball, gram=gram, budget=budget)

    if not isinstance(ball, L2Ball) or ball.positive:
        return blocks(atoms, gram)
    # twice the flops, and k steps on short vectors instead of k passes over 16 atoms: no CPU gains from that
    return lax.platform_dependent(atoms, gram, cpu=blocks, default=by_products)


def by_gram(
    atoms: Array, first: Array, second: Array, ball: Ball, *, gram: Array, budget: Array
) -> tuple[Array, Array]:
    """The sweep in coordinates of ``Z = [D; B]``: two products with Z, and k steps on vectors of length 4 k.

    During a sweep each atom is a combination ``t Z``, whose norm is ``t M tᵀ`` with ``M = Z Zᵀ``: only for an l2 ball without
    signs is nothing else needed. Both t and ``t M`` are carried along, since they change by the same formula.
    """
    k, dtype = len(atoms), atoms.dtype
    stacked = jnp.concatenate([atoms, first])
    cross = jnp.matmul(stacked, first.T, precision=HIGHEST)
    # rows [t | t M], of the atoms and of B
    ours = jnp.concatenate([jnp.eye(k, 2 * k, dtype=dtype), gram, cross[:k]], axis=1)
    target = jnp.concatenate([jnp.eye(k, 2 * k, k, dtype=dtype), cross[:k].T, cross[k:]], axis=1)

    def step(j: Array, rows: Array) -> Array:
        c = second[j]
        used = c[j] > 0
        free = rows[j] + (target[j] - jnp.matmul(c, rows, precision=HIGHEST)) / jnp.where(used, c[j], 1)
        norm = jnp.maximum(free[: 2 * k] @ free[2 * k :], 0)
        return rows.at[j].set(jnp.where(used, free * ball.scale(norm, budget[j]), rows[j]))

    rows = lax.fori_loop(0, k, step, ours)
    moved, products = rows[:, : 2 * k], rows[:, 2 * k :]
    atoms = jnp.matmul(moved, stacked, precision=HIGHEST)
    # norms from M are rounded where terms cancel: the last word has the ball
    return ball.project(atoms, budget), jnp.matmul(moved, products.T, precision=HIGHEST)


def by_blocks(atoms: Array, first: Array, second: Array, ball: Ball, budget: Array) -> Array:
    """The sweep for any ball: what 16 atoms leave to the others is one product, then each of them is one with these 16."""
    k = len(atoms)

    def block(start: Array | int, atoms: Array, size: int) -> Array:
        rows, targets, weights, limits = (
            lax.dynamic_slice_in_dim(a, start, size) for a in (atoms, first, second, budget)
        )
        inner = lax.dynamic_slice_in_dim(weights, start, size, axis=1)
        outer = lax.dynamic_update_slice_in_dim(weights, jnp.zeros_like(inner), start, 1)
        left = targets - jnp.matmul(outer, atoms, precision=HIGHEST)

        def step(j: Array, rows: Array) -> Array:
            c, d, r = (lax.dynamic_slice_in_dim(a, j, 1) for a in (inner, rows, left))
            c_jj = lax.dynamic_slice_in_dim(c[0], j, 1)
            used = c_jj > 0
            residual = r - jnp.matmul(c, rows, precision=HIGHEST)
            free = d + residual / jnp.where(used, c_jj, 1)[:, None]
            new = jnp.where(used[:, None], ball.project(free, lax.dynamic_slice_in_dim(limits, j, 1)), d)
            return lax.dynamic_update_slice_in_dim(rows, new, j, 0)

        rows = lax.fori_loop(0, size, step, rows)
        return lax.dynamic_update_slice_in_dim(atoms, rows, start, 0)

    n_blocks, rest = divmod(k, BLOCK)
    if n_blocks:
        atoms = lax.fori_loop(0, n_blocks, lambda i, atoms: block(i * BLOCK, atoms, BLOCK), atoms)
    return block(n_blocks * BLOCK, atoms, rest) if rest else atoms
