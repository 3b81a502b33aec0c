"""Least squares and ridge regression in closed form: a fold over the rows, and one factorisation for all strengths.

*Minimises* ``½ Σ ω (y − X b)² + ½ alpha ‖b‖²``, for any number of targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxlearn.linalg import spectral
from jaxlearn.linalg.cholesky import Equilibrated
from jaxlearn.linalg.spectral import Spectrum
from jaxlearn.objectives import L2, Squared

from .protocols import Objective, Problem
from .refinement import Refinement, length_of_each, normal_residual
from .solution import Budget
from .solve import solve

__all__ = ["factored_ridge", "gram_spectrum", "kernel_spectrum", "least_squares", "ridge"]

# A Gram matrix squares the condition number; each refinement gains about as many digits as one solve keeps. No more are
# made than one that gains nothing.
REFINEMENTS = {4: 3, 8: 1}
# Rows of a triangular factor that are taken at once: at most so many for each column, fewer where the factors of all the
# parts take less room than a part does, and at least so many.
TALLEST, FEWEST_ROWS = 32, 4096


def gram_spectrum(design: Any, sample_weight: Array) -> Spectrum:
    """Spectrum of ``Xᵀ ω X`` (p, p): one fold, n p² flops; for p ≤ n."""
    return spectral.of_gram(design.fold(_gram, None, sample_weight))


def kernel_spectrum(design: Any, sample_weight: Array) -> Spectrum:
    """The same from ``√ω X Xᵀ √ω`` (n, n), for n < p and rows that lie together; vectors span the row space."""
    return spectral.of_short_rows(_weighted_rows(design, sample_weight))


def _weighted_rows(design: Any, sample_weight: Array) -> Array:
    return design.take(jnp.arange(design.shape[1], dtype=jnp.int32)).T * jnp.sqrt(sample_weight)[:, None]


def ridge(spectrum: Spectrum, design: Any, y: Array, sample_weight: Array, alpha: Any) -> tuple[Array, Array]:
    """Coefficients and certificate for one strength.

    Parameters
    ----------
    spectrum : Spectrum
        Of the same design and weights; under ``vmap`` over `alpha` it is factored once.
    design : Design
        Serves ``fold``.
    y : (n_samples,) or (n_samples, k)
    sample_weight : (n_samples,)
        Sums to one.
    alpha : scalar or (k,)
        Strength ≥ 0, for each target if (k,). With zero, the solution of least norm.

    Returns
    -------
    coef : (p,) or (p, k)
    residual : scalar
        ``max ‖Xᵀ ω r − alpha b‖ / ‖Xᵀ ω y‖`` over targets, evaluated on the data after the last refinement.
    """
    alpha = jnp.asarray(alpha, y.dtype)
    start = design.fold(_correlation, None, y, sample_weight)
    return _refined(Partial(Spectrum.solve, spectrum, alpha), start, design, (y, sample_weight), alpha)


def factored_ridge(design: Any, y: Array, sample_weight: Array, alpha: Array) -> tuple[Array, Array]:
    """`ridge` for one strength, by a Cholesky factor of ``Xᵀ ω X + alpha I``, or of the rows' products where they are fewer.

    The residual is infinite where the factor tells of a system that is nearly singular: then only `ridge` finds the
    solution of least norm.
    """
    n_samples, n_features = design.shape
    if n_samples < n_features and design.axis_name is None and "columns" in design.serves:
        return _dual_ridge(_weighted_rows(design, sample_weight), y, jnp.sqrt(sample_weight), alpha)
    gram, start = design.fold(_normal_equations, None, y, sample_weight)
    factor = Equilibrated.of(gram + alpha * jnp.eye(n_features, dtype=y.dtype))
    coef, residual = _refined(Partial(Equilibrated.solve, factor), start, design, (y, sample_weight), alpha)
    return coef, jnp.where(factor.is_regular, residual, jnp.inf)


def _dual_ridge(rows: Array, y: Array, root: Array, alpha: Array) -> tuple[Array, Array]:
    """``b = Rᵀ a`` with ``(R Rᵀ + alpha I) a = √ω y``, for the weighted rows R."""
    target = root * y if y.ndim == 1 else root[:, None] * y
    kernel = jnp.matmul(rows, rows.T, precision=lax.Precision.HIGHEST)
    factor = Equilibrated.of(kernel + alpha * jnp.eye(len(rows), dtype=y.dtype))
    of_rows = lambda a: jnp.einsum("np,n...->p...", rows, a, precision=lax.Precision.HIGHEST)  # noqa: E731
    a, rest = jnp.zeros_like(target), target
    for _ in range(1 + REFINEMENTS[y.dtype.itemsize]):
        a = a + factor.solve(rest)
        rest = target - jnp.matmul(rows, of_rows(a), precision=lax.Precision.HIGHEST) - alpha * a
    scale = length_of_each(of_rows(target))
    residual = (length_of_each(of_rows(rest)) / jnp.where(scale > 0, scale, 1)).max()
    return of_rows(a), jnp.where(factor.is_regular, residual, jnp.inf)


def _refined(
    inverse: Callable[[Array], Array], correlation: Array, design: Any, rows: tuple[Array, Array], alpha: Array
) -> tuple[Array, Array]:
    """Coefficients and certificate from an approximate inverse of the normal matrix, refined to the last digit that gains."""
    y, sample_weight = rows
    penalty = L2(alpha if alpha.ndim == 0 else alpha[None])
    problem = Problem(Objective(Squared(), penalty), design, y, sample_weight)
    budget = Budget(0.0, 1 + REFINEMENTS[y.dtype.itemsize])
    found = solve(problem, Refinement(inverse, correlation), correlation, budget=budget)
    return found.params, found.residual


def least_squares(design: Any, y: Array, sample_weight: Array) -> tuple[Array, Array, Array]:
    """Least squares without a penalty, of least norm where it is not unique.

    A QR factor of the weighted rows, merged over blocks and devices, then its SVD: the condition number is never squared.

    Returns
    -------
    coef : (p,) or (p, k)
    residual : scalar
        As for `ridge`.
    singular_values : (min(n, p),)
        Of ``√ω X``, descending; zero below their rounding error.
    """
    triangle = design.fold(_triangle, None, y, sample_weight, merge=spectral.merge_triangular_factors)
    p = design.shape[1]
    left, spectrum = spectral.of_rows(triangle[:, :p])
    target = triangle[:, p:] if y.ndim > 1 else triangle[:, p]
    singular = jnp.sqrt(spectrum.values)
    inverse = jnp.where(singular > 0, 1 / jnp.where(singular > 0, singular, 1), 0)
    rotated = jnp.einsum("nr,n...->r...", left, target, precision=lax.Precision.HIGHEST)
    scaled = rotated * (inverse if rotated.ndim == 1 else inverse[:, None])
    coef = jnp.matmul(spectrum.vectors, scaled, precision=lax.Precision.HIGHEST)
    start = design.fold(normal_residual, jnp.zeros_like(coef), y, sample_weight)
    end = design.fold(normal_residual, coef, y, sample_weight)
    scale = length_of_each(start)
    return coef, (length_of_each(end) / jnp.where(scale > 0, scale, 1)).max(), singular


def _gram(_: Any, X: Any, w: Array) -> Array:
    return X.gram(w)


def _correlation(_: Any, X: Any, y: Array, w: Array) -> Array:
    return X.rmatvec(w * y if y.ndim == 1 else w[:, None] * y)


def _normal_equations(_: Any, X: Any, y: Array, w: Array) -> tuple[Array, Array]:
    return X.gram(w), _correlation(None, X, y, w)


def _triangle(_: Any, X: Any, y: Array, w: Array) -> Array:
    """R of the weighted rows with their targets, from those of some rows at a time: no copy of X is made."""
    target = y if y.ndim > 1 else y[:, None]
    columns = jnp.arange(X.shape[1], dtype=jnp.int32)
    n_samples, n_columns = len(y), X.shape[1] + target.shape[1]
    size = max(min(math.isqrt(n_samples // n_columns), TALLEST) * n_columns, FEWEST_ROWS)

    def weighted(X: Any, target: Array, w: Array) -> Array:
        return jnp.sqrt(w)[:, None] * jnp.concatenate([X.take(columns).T, target], axis=1)

    if "rows" not in X.serves or n_samples < 2 * size:
        return spectral.triangular_factor(weighted(X, target, w))

    def part(first: ArrayLike, n_rows: int) -> Array:
        index = first + jnp.arange(n_rows, dtype=jnp.int32)
        return spectral.triangular_factor(weighted(X.some(index), target[index], w[index]))

    n_parts, left = divmod(n_samples, size)
    factors = lax.map(lambda i: part(i * size, size), jnp.arange(n_parts, dtype=jnp.int32))
    # one factor of all: one below the other, a thousand rounding errors add up
    factors = factors.reshape(-1, factors.shape[-1])
    return spectral.triangular_factor(jnp.concatenate([factors, part(n_parts * size, left)]) if left else factors)
