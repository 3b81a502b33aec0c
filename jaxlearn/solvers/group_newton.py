"""Group Newton: the group lasso on a small Gram matrix; gradient steps find the groups, Newton steps the values."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.linalg import cholesky

from .feature_sign import FeatureSign
from .gap import magnitude
from .working_set import WorkingSetPath

__all__ = ["GroupNewton", "GroupPath"]

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
        if self._shared(hessian):
            return jnp.matmul(hessian, d, precision=HIGHEST)
        return jnp.matmul(d.ravel(), hessian, precision=HIGHEST).reshape(d.shape)

    def _shared(self, hessian: Array) -> bool:
        return len(hessian) == len(self.l1)

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
        size = magnitude(coef)
        there = size > 0
        along = coef / jnp.where(there, size, 1)[:, None]
        bend = jnp.where(there, self.l1 / jnp.where(there, size, 1), 0)
        push = jnp.where(there[:, None], g - self.l1[:, None] * along, 0)
        solve = self._of_tasks if self._shared(hessian) else self._of_entries
        d = solve(hessian, there, (along, bend), push)
        trials = coef[None] + jnp.asarray(STEP_SIZES, coef.dtype)[:, None, None] * d[None]
        turned = jnp.sum(trials * coef[None], 2) <= 0
        trials = jnp.where(turned[:, :, None], 0, trials)
        gains = jax.vmap(lambda trial: self._gain(hessian, (coef, g), trial))(trials)
        best = jnp.argmin(gains)
        return jnp.where(gains[best] < 0, trials[best], coef)

    def _of_tasks(self, hessian: Array, there: Array, bent: tuple[Array, Array], push: Array) -> Array:
        """``(P ⊗ I − W D Wᵀ)⁻¹`` by the formula of Woodbury, P = H + D on the rows there, W's columns the directions."""
        along, bend = bent
        root = jnp.sqrt(bend)[:, None]
        masked = jnp.where(there[:, None] & there[None, :], hessian, 0)
        ridge = cholesky.jitter(masked) * there
        lower = cholesky.lower(masked + jnp.diag(jnp.where(there, bend + ridge, 1)))
        inverse = cholesky.solve(lower, jnp.eye(len(bend), dtype=bend.dtype))
        alike = jnp.matmul(along, along.T, precision=HIGHEST)
        rest = jnp.eye(len(bend), dtype=bend.dtype) - root * inverse * alike * root.T
        narrow = cholesky.factor(rest)

        def solve(b: Array) -> Array:
            x = cholesky.solve(lower, b)
            inside = cholesky.solve(narrow, root[:, 0] * jnp.sum(along * x, 1))
            return x + cholesky.solve(lower, along * (root[:, 0] * inside)[:, None])

        def curved(d: Array) -> Array:
            return self._times(masked, d) + bend[:, None] * (d - along * jnp.sum(along * d, 1, keepdims=True))

        d = solve(push)
        return d + solve(push - curved(d))  # the second factor cancels where rows are short

    def _of_entries(self, hessian: Array, there: Array, bent: tuple[Array, Array], push: Array) -> Array:
        along, bend = bent
        n_groups, size = along.shape
        blocks = bend[:, None, None] * (jnp.eye(size, dtype=bend.dtype)[None] - along[:, :, None] * along[:, None, :])
        rows = jnp.arange(n_groups)
        matrix = hessian.reshape(n_groups, size, n_groups, size).at[rows, :, rows].add(blocks).reshape(hessian.shape)
        active = jnp.repeat(there, size) & (jnp.diagonal(hessian) > 0)  # a short group fills up with zeros
        return cholesky.masked_solve(matrix, active, push.ravel()).reshape(along.shape)


class GroupPath(WorkingSetPath):
    """Group Newton on a working set of K groups, following a decreasing grid of alphas.

    *Minimises*, for each alpha, ``½ Σ ω ‖y − X b‖² + alpha Σ_j (l1_j ‖B_j‖ + ½ l2_j ‖B_j‖²)``, with B (p, k) the coefficients of k
    tasks or (J, m) those of J groups of at most m features.

    *Step*, *cost*, *stops when*: as of `WorkingSetPath`, with `GroupNewton` on the working set.
    """

    def _inner(self, l1, l2):
        return GroupNewton(l1, l2)
