"""Least squares from a spectrum: one factorisation serves every ridge strength and every target."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

__all__ = ["Spectrum", "of_gram", "of_rows", "of_short_rows", "triangular_factor"]


class Spectrum(eqx.Module):
    """Right singular vectors and squared singular values of a weighted, centred X.

    Attributes
    ----------
    vectors : (p, r)
        Orthonormal columns; the row space of X where r < p.
    values : (r,)
        Eigenvalues of ``XᵀX``, ascending or descending, ≥ 0.
    """

    vectors: Array
    values: Array

    def solve(self, alpha: Array, b: Array) -> Array:
        """``(XᵀX + alpha I)⁻¹ b`` on the row space of X, for b (p,) or (p, k) in that space, alpha a scalar or (k,)."""
        scale = self.values + (alpha if alpha.ndim == 0 else alpha[:, None])
        scale = scale if b.ndim == 1 or alpha.ndim else scale[None]
        inverse = jnp.where(scale > 0, 1 / jnp.where(scale > 0, scale, 1), 0)
        rotated = jnp.einsum("p...,pr->...r", b, self.vectors, precision=lax.Precision.HIGHEST)
        return jnp.matmul(self.vectors, (rotated * inverse).T, precision=lax.Precision.HIGHEST)


def of_gram(gram: Array) -> Spectrum:
    """Spectrum of a Gram matrix (p, p). Eigenvalues below its rounding error are set to zero and their vectors kept."""
    values, vectors = jnp.linalg.eigh(gram, symmetrize_input=False)
    floor = jnp.finfo(gram.dtype).eps * gram.shape[0] * values[-1]
    return Spectrum(vectors, jnp.where(values > floor, values, 0))


def of_rows(X: Array) -> tuple[Array, Spectrum]:
    """Left singular vectors (n, r) and spectrum of an explicit X; for short X, and for the triangle of a QR."""
    left, singular, right = jnp.linalg.svd(X, full_matrices=False)
    floor = jnp.finfo(X.dtype).eps * max(X.shape) * singular[0]
    return left, Spectrum(right.T, jnp.square(jnp.where(singular > floor, singular, 0)))


def of_short_rows(rows: Array) -> Spectrum:
    """Spectrum of `rows` (n, p) with n ≤ p, from the (n, n) matrix of their products; r = n."""
    kernel = jnp.matmul(rows, rows.T, precision=lax.Precision.HIGHEST)
    left = of_gram(kernel)
    root = jnp.sqrt(left.values)
    inverse = jnp.where(root > 0, 1 / jnp.where(root > 0, root, 1), 0)
    vectors = jnp.einsum("np,nr->pr", rows, left.vectors * inverse[None], precision=lax.Precision.HIGHEST)
    return Spectrum(vectors, left.values)


def triangular_factor(rows: Array) -> Array:
    """R of the QR factorisation of `rows` (n, m): (min(n, m), m). R of stacked factors is the factor of the stacked rows."""
    return jnp.linalg.qr(rows, mode="r")
