"""Least squares from a spectrum: one factorisation serves every ridge strength and every target."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from .crossprod import crossprod

__all__ = ["Spectrum", "merge_triangular_factors", "of_gram", "of_rows", "of_short_rows", "triangular_factor"]


class Spectrum(eqx.Module):
    """Right singular vectors and squared singular values of a weighted, centred X.

    Attributes
    ----------
    vectors : (p, r)
        Orthonormal columns; the row space of X where r < p.
    values : (r,)
        Eigenvalues of ``XᵀX``, ascending or descending, ≥ 0; zero where nothing but rounding is known of them.
    rounding : scalar
        One ulp of the largest: the rounding error of an eigenvalue of the Gram matrix of many rows.
    """

    vectors: Array
    values: Array
    rounding: Array

    def inverse(self, alpha: Array) -> Array:
        """``1 / (λ + alpha)``, (r,) or (r, k) for alpha a scalar or (k,).

        An alpha below the rounding error does not bound a small λ + alpha: one ulp does. It is an upper bound up to a
        factor of two, so that refinements by this inverse contract. Without alpha the inverse is the pseudo-inverse.
        """
        values, alpha = (self.values, alpha) if alpha.ndim == 0 else (self.values[:, None], alpha[None])
        unknown = values <= self.rounding * self.vectors.shape[0]
        known = jnp.where(unknown, 1, values)
        return jnp.where(
            unknown & (alpha == 0), 0, 1 / jnp.where(unknown, values + alpha + self.rounding, known + alpha)
        )

    def solve(self, alpha: Array, b: Array) -> Array:
        """``(XᵀX + alpha I)⁻¹ b`` on the row space of X, for b (p,) or (p, k) in that space, alpha a scalar or (k,)."""
        inverse = self.inverse(alpha)
        rotated = jnp.einsum("pr,p...->r...", self.vectors, b, precision=lax.Precision.HIGHEST)
        scaled = rotated * (inverse if inverse.ndim == rotated.ndim else inverse[:, None])
        return jnp.matmul(self.vectors, scaled, precision=lax.Precision.HIGHEST)


def of_gram(gram: Array) -> Spectrum:
    """Spectrum of a Gram matrix (p, p)."""
    values, vectors = jnp.linalg.eigh(gram, symmetrize_input=False)
    values = jnp.maximum(values, 0)
    return Spectrum(vectors, values, jnp.finfo(gram.dtype).eps * values[-1])


def of_rows(X: Array) -> tuple[Array, Spectrum]:
    """Left singular vectors (n, r) and spectrum of an explicit X; for short X, and for the triangle of a QR."""
    left, singular, right = jnp.linalg.svd(X, full_matrices=False)
    floor = jnp.finfo(X.dtype).eps * max(X.shape) * singular[0]
    values = jnp.square(jnp.where(singular <= floor, 0, singular))  # not a number stays one
    return left, Spectrum(right.T, values, jnp.finfo(X.dtype).eps * values[0])


def of_short_rows(rows: Array) -> Spectrum:
    """Spectrum of `rows` (n, p) with n ≤ p, from the (n, n) matrix of their products; r = n."""
    left = of_gram(jnp.matmul(rows, rows.T, precision=lax.Precision.HIGHEST))
    # rowsᵀ u_i = √λ_i v_i, with rounding errors along the large v: taken from the largest down, QR projects them off the small
    scaled = crossprod(rows, left.vectors[:, ::-1])
    return Spectrum(jnp.linalg.qr(scaled)[0], left.values[::-1], left.rounding)


def merge_triangular_factors(stacked: Array) -> Array:
    """The factor of all rows from those of their blocks, stacked on a first axis."""
    return triangular_factor(stacked.reshape(-1, stacked.shape[-1])) if stacked.shape[0] > 1 else stacked[0]


def triangular_factor(rows: Array) -> Array:
    """R of the QR factorisation of `rows` (n, m): (min(n, m), m). R of stacked factors is the factor of the stacked rows."""
    return jnp.linalg.qr(rows, mode="r")
