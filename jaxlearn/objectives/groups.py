"""The penalty of groups of coefficients that are zero together: rows of a matrix, or groups of features."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from .penalties import Penalty

__all__ = ["GroupElasticNet", "as_groups"]


class GroupElasticNet(Penalty):
    """``Σ_j alpha_j (l1_ratio ‖B_j‖ + ½ (1 − l1_ratio) ‖B_j‖²)``, the groups j rows of (p, k), or groups of features of (p,).

    Parameters
    ----------
    alpha : scalar or (n_groups,)
        Strengths, ≥ 0; one of zero leaves its group free.
    l1_ratio : scalar
        Share of the norms that are not squared.
    groups : (n_groups, m) of int32, optional
        Features of each group, of which none is in two; their number, p, fills up where a group has less than m (`as_groups`
        makes it). Without, each row of a coefficient matrix (p, k) is a group: the penalty of multi-task regression.
    """

    alpha: ArrayLike = 1.0
    l1_ratio: ArrayLike = 1.0
    groups: Array | None = eqx.field(default=None, converter=lambda g: None if g is None else jnp.asarray(g))

    def rows(self, coef: Array) -> Array:
        """Coefficients (p,) or (p, k), one group in each row."""
        if self.groups is None:
            return coef
        p = coef.shape[0]
        return jnp.where(self.groups < p, coef[jnp.minimum(self.groups, p - 1)], 0)

    def joined(self, rows: Array, n_features: int) -> Array:
        """The inverse of `rows`."""
        if self.groups is None:
            return rows
        return jnp.zeros(n_features, rows.dtype).at[self.groups.ravel()].add(rows.ravel(), mode="drop")

    def row_strengths(self, rows: Array) -> tuple[Array, Array]:
        """l1 and l2 of each group, (n_groups,)."""
        alpha = jnp.broadcast_to(jnp.asarray(self.alpha, rows.dtype), rows.shape[:1])
        return alpha * self.l1_ratio, alpha * (1 - jnp.asarray(self.l1_ratio, rows.dtype))

    def value(self, coef):
        rows = self.rows(coef)
        l1, l2 = self.row_strengths(rows)
        size = _norm(rows)
        return l1 @ size + 0.5 * l2 @ jnp.square(size)

    def subgradient(self, coef):
        rows = self.rows(coef)
        l1, l2 = self.row_strengths(rows)
        return self.joined((l1 * _inverse(_norm(rows)) + l2)[:, None] * rows, coef.shape[0])

    def prox(self, v, step_size):
        rows = self.rows(v)
        l1, l2 = self.row_strengths(rows)
        size = _norm(rows)
        shrunk = jnp.maximum(size - step_size * l1, 0) * _inverse(size) / (1 + step_size * l2)
        return self.joined(rows * shrunk[:, None], v.shape[0])

    def conjugate(self, u):
        rows = self.rows(u)
        l1, l2 = self.row_strengths(rows)
        excess = jnp.maximum(_norm(rows) - l1, 0)
        flat = jnp.where(excess > 0, jnp.inf, 0.0)
        return jnp.sum(jnp.where(l2 > 0, jnp.square(excess) / (2 * jnp.where(l2 > 0, l2, 1)), flat))

    def subdifferential_distance(self, coef, gradient):
        """One distance for each group, (n_groups,)."""
        rows, v = self.rows(coef), self.rows(gradient)
        l1, l2 = self.row_strengths(rows)
        size = _norm(rows)
        v = v + (l2 + l1 * _inverse(size))[:, None] * rows
        return jnp.where(size > 0, _norm(v), jnp.maximum(_norm(v) - l1, 0))


def _norm(rows: Array) -> Array:
    """With a derivative of zero at zero."""
    squares = jnp.square(rows).sum(1)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


def _inverse(size: Array) -> Array:
    return jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1), 0)


def as_groups(labels: ArrayLike) -> np.ndarray:
    """What `GroupElasticNet` takes, from the group of each feature.

    Parameters
    ----------
    labels : (n_features,)
        Equal where features are in one group; any values, whose order is that of the groups.

    Returns
    -------
    (n_groups, m) of int32
        NumPy: the shape depends on the values.

    Examples
    --------
    >>> from jaxlearn.objectives import as_groups
    >>> as_groups([0, 0, 1, 2, 2])
    array([[0, 1],
           [2, 5],
           [3, 4]], dtype=int32)
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not len(labels):
        raise ValueError(f"`labels` has shape {labels.shape}; expected one for each feature, (n_features,).")
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    groups = np.full((len(sizes), sizes.max()), len(labels), np.int32)
    order = np.argsort(codes, kind="stable")
    places = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    groups[codes[order], places] = order
    return groups
