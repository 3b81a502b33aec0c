"""First factors of a non-negative factorization: random, or the positive parts of singular vectors."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.access.design import Design

from . import pca

__all__ = ["INITS", "first_factors", "mean_entry"]

INITS = ("nndsvda", "nndsvd", "nndsvdar", "random")
# Of singular vectors, numbers below this are zero.
NEGLIGIBLE = 1e-6


def first_factors(design: Design, weight: Array, n_components: int, init: str, key: Array) -> tuple[Array, Array]:
    """Codes (n, k) and components (k, p) to start from.

    Parameters
    ----------
    design : Design
    weight : (n,)
        A row of weight zero has no influence on the components.
    n_components : int
    init : str
        ``random``: absolute values of normal numbers, of the scale of X. ``nndsvd``: of each pair of singular vectors the
        positive or the negative parts, whichever are larger. Its zeros stay zero in multiplicative updates: ``nndsvda`` puts
        the mean of X in their place, ``nndsvdar`` small random numbers.
    key : PRNG key

    References
    ----------
    Boutsidis and Gallopoulos, "SVD based initialization: a head start for nonnegative matrix factorization", Pattern
    Recognition 2008.
    """
    mean, shape = mean_entry(design, weight), (design.shape[0], n_components)
    of_codes, of_components, of_svd = jax.random.split(key, 3)
    noise = (
        _positive_normal(of_codes, shape, design.dtype),
        _positive_normal(of_components, (n_components, design.n_features), design.dtype),
    )
    if init == "random":
        scale = jnp.sqrt(mean / n_components)
        return scale * noise[0], scale * noise[1]
    factors = _parts(design, weight, n_components, of_svd)
    if init == "nndsvda":
        return tuple(jnp.where(factor == 0, mean, factor) for factor in factors)  # pyright: ignore
    if init == "nndsvdar":
        return tuple(jnp.where(f == 0, 0.01 * mean * z, f) for f, z in zip(factors, noise, strict=True))  # pyright: ignore
    return factors


def mean_entry(design: Design, weight: Array) -> Array:
    """Of the rows, weighted, and of all columns."""
    total, rows = design.fold(_sums, None, weight)
    return total / (rows * design.n_features)


def _positive_normal(key: Array, shape: tuple[int, int], dtype: Any) -> Array:
    # drawn in single precision: the same numbers in either
    return jnp.abs(jax.random.normal(key, shape, jnp.float32)).astype(dtype)


def _parts(design: Design, weight: Array, n_components: int, key: Array) -> tuple[Array, Array]:
    found = pca.fit(pca.PCA(n_components, "krylov", center=False), design, weight, key=key)
    # of X with each row repeated as often as its weight says
    singular = jnp.sqrt(jnp.maximum(found.explained_variance, 0) * found.total_weight)
    V = found.components
    U = design.matvec(V.T) / jnp.where(singular > 0, singular, 1)[None]
    positive, negative = (jnp.maximum(U, 0), jnp.maximum(V, 0)), (jnp.maximum(-U, 0), jnp.maximum(-V, 0))
    # the first pair has one sign, up to rounding
    first = jnp.arange(n_components) == 0
    positive = jnp.where(first[None], jnp.abs(U), positive[0]), jnp.where(first[:, None], jnp.abs(V), positive[1])

    def lengths(parts: tuple[Array, Array]) -> tuple[Array, Array]:
        squares = design.fold(_squares, None, weight, parts[0])
        return jnp.sqrt(squares), jnp.sqrt(jnp.square(parts[1]).sum(1))

    of_positive, of_negative = lengths(positive), lengths(negative)
    chosen = first | (of_positive[0] * of_positive[1] > of_negative[0] * of_negative[1])
    u, v = jnp.where(chosen[None], positive[0], negative[0]), jnp.where(chosen[:, None], positive[1], negative[1])
    length_u, length_v = (jnp.where(chosen, a, b) for a, b in zip(of_positive, of_negative, strict=True))
    scale = jnp.sqrt(singular * length_u * length_v)
    codes = u * (scale / jnp.where(length_u > 0, length_u, 1))[None]
    components = v * (scale / jnp.where(length_v > 0, length_v, 1))[:, None]
    return tuple(jnp.where(f < NEGLIGIBLE, 0, f) for f in (codes, components))  # pyright: ignore


def _sums(_: None, block: Design, w: Array) -> tuple[Array, Array]:
    row_sums = block.matvec(jnp.ones(block.shape[1], block.dtype))
    return jnp.matmul(w, row_sums, precision=lax.Precision.HIGHEST), w.sum()


def _squares(_: None, block: Design, w: Array, u: Array) -> Array:
    return jnp.matmul(w, jnp.square(u), precision=lax.Precision.HIGHEST)
