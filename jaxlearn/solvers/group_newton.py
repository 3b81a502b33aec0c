"""Group Newton: the group lasso on a small Gram matrix; gradient steps find the groups, Newton steps the values."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.linalg import cholesky

from .feature_sign import FeatureSign
from .gap import magnitude
from .working_set import WorkingSetPath

__all__ = ["GroupNewton", "GroupPath", "bend_of", "bent_solve"]

HIGHEST = lax.Precision.HIGHEST
# Lengths of a Newton step that are compared.
STEP_SIZES = (1.0, 0.5, 0.25, 0.125)


class GroupNewton(FeatureSign):
    """Feature-sign Newton for groups: what a sign is to a number, a direction is to a group.

    *Minimises* ``½ ⟨B, H B⟩ − ⟨Q, B⟩ + Σ_j (l1_j ‖B_j‖ + ½ l2_j ‖B_j‖²)`` over B ∈ R^{K × m}, the groups its rows. H of K
    rows serves every column of B, which are the tasks of one design; H of K m rows serves its entries.

    *Step* as of `FeatureSign`, with groups that shrink as one. Where no row is zero the objective is smooth, and of a row the
    penalty has the curvature ``l1 (I − v vᵀ) / ‖B_j‖`` with ``v = B_j / ‖B_j‖``. A Newton step is taken in full or in
    part, whatever is lowest; rows that it would turn round are set to zero.

    *Cost per step* as of `FeatureSign` on K or K m coordinates. For tasks the Newton system is ``(H + D) ⊗ I`` less a matrix of
    rank K, so that two factors of K × K are all it needs.

    References
    ----------
    Yuan and Lin, "Model selection and estimation in regression with grouped variables", JRSS B 2006 (the problem); Qin,
    Scheinberg and Goldfarb, "Efficient block-coordinate descent algorithms for the group lasso", Math. Program. Comput. 2013
    (second-order steps).
    """

    def _times(self, hessian, d):
        if len(hessian) == len(self.l1):
            return jnp.matmul(hessian, d, precision=HIGHEST)
        return jnp.matmul(d.ravel(), hessian, precision=HIGHEST).reshape(d.shape)

    def _held(self, z, lipschitz):
        size, most = magnitude(z), self.l1 / lipschitz
        return z * jnp.where(size > most, most / jnp.where(size > 0, size, 1), 1)[:, None]

    def _gain(self, hessian, start, coef):
        old, g = start
        d = coef - old
        # ‖b + d‖ − ‖b‖ without cancellation
        total = magnitude(coef) + magnitude(old)
        longer = jnp.sum(d * (old + coef), 1) / jnp.where(total > 0, total, 1)
        return jnp.sum(self.l1 * longer) + jnp.sum(d * (0.5 * self._times(hessian, d) - g))

    def _newton(self, hessian, coef, g):
        along, bend = bend_of(coef, self.l1)
        there = magnitude(coef) > 0
        d = bent_solve(hessian, there, (along, bend), g - self.l1[:, None] * along)
        trials = coef[None] + jnp.asarray(STEP_SIZES, coef.dtype)[:, None, None] * d[None]
        turned = jnp.sum(trials * coef[None], 2) <= 0
        trials = jnp.where(turned[:, :, None], 0, trials)
        gains = jax.vmap(lambda trial: self._gain(hessian, (coef, g), trial))(trials)
        best = jnp.argmin(gains)
        return jnp.where(gains[best] < 0, trials[best], coef)


def bend_of(coef: Array, l1: Array) -> tuple[Array, Array]:
    """Directions of rows, and the curvature of ``l1_j ‖B_j‖`` across them; zeros where a row is zero."""
    size = magnitude(coef)
    safe = jnp.where(size > 0, size, 1)
    return coef / safe[:, None], jnp.where(size > 0, l1 / safe, 0)


def bent_solve(hessian: Array, there: Array, bent: tuple[Array, Array], push: Array) -> Array:
    """The Newton step of groups: ``(H + curvature of their norms)⁻¹ push`` on the rows that are there, zero on others.

    Parameters
    ----------
    hessian : (K, K), for every column of `push`, or (K m, K m), for its entries
    there : (K,) of bool
    bent : (along, bend), (K, m) and (K,)
        Unit vectors v, and the curvatures across them: of row j, ``bend_j (I − v_j v_jᵀ)``.
    push : (K, m)

    Returns
    -------
    (K, m)
    """
    return (_of_tasks if len(hessian) == len(there) else _of_entries)(hessian, there, bent, push)


def _of_tasks(hessian: Array, there: Array, bent: tuple[Array, Array], push: Array) -> Array:
    """``(P ⊗ I − W D Wᵀ)⁻¹`` by the formula of Woodbury, P = H + D on the rows there, W's columns the directions."""
    along, bend = bent
    n_rows, root = len(bend), jnp.sqrt(bend)
    push = jnp.where(there[:, None], push, 0)
    masked = jnp.where(there[:, None] & there[None, :], hessian, 0)
    ridge = cholesky.jitter(masked)
    lower = cholesky.lower(masked + jnp.diag(jnp.where(there, bend + ridge, 1)))
    inverse = cholesky.solve(lower, jnp.eye(n_rows, dtype=bend.dtype))
    alike = jnp.matmul(along, along.T, precision=HIGHEST)
    narrow = cholesky.factor(jnp.eye(n_rows, dtype=bend.dtype) - jnp.outer(root, root) * inverse * alike)

    def solve(b: Array) -> Array:
        x = cholesky.solve(lower, b)
        inside = cholesky.solve(narrow, root * jnp.sum(along * x, 1))
        return x + cholesky.solve(lower, along * (root * inside)[:, None])

    def curved(d: Array) -> Array:
        across = d - along * jnp.sum(along * d, 1, keepdims=True)
        return jnp.matmul(masked, d, precision=HIGHEST) + bend[:, None] * across

    d = solve(push)
    return d + solve(push - jnp.where(there[:, None], curved(d), 0))  # the second factor cancels where rows are short


def _of_entries(hessian: Array, there: Array, bent: tuple[Array, Array], push: Array) -> Array:
    along, bend = bent
    n_groups, size = along.shape
    blocks = bend[:, None, None] * (jnp.eye(size, dtype=bend.dtype)[None] - along[:, :, None] * along[:, None, :])
    rows = jnp.arange(n_groups)
    matrix = hessian.reshape(n_groups, size, n_groups, size).at[rows, :, rows].add(blocks).reshape(hessian.shape)
    active = jnp.repeat(there, size) & (jnp.diagonal(hessian) > 0)  # a short group fills up with zeros
    return cholesky.packed_solve(matrix, active, push.ravel(), refine=True).reshape(along.shape)


class GroupPath(WorkingSetPath):
    """Group Newton on a working set of K groups, following a decreasing grid of alphas.

    *Minimises*, for each alpha, ``½ Σ ω ‖y − X b‖² + alpha Σ_j (l1_j ‖B_j‖ + ½ l2_j ‖B_j‖²)``, with B (p, k) the coefficients
    of k tasks or (J, m) those of J groups of at most m features.

    *Step*, *cost*, *stops when*: as of `WorkingSetPath`, with `GroupNewton` on the working set.
    """

    def _inner(self, quadratic, l1, l2):
        return GroupNewton(l1, l2)
