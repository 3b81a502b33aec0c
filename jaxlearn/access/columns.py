"""Least squares over the columns of a design: the reading that working sets and coordinate descent ask for."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.solvers.column_blocks import ColumnBlocks
from jaxlearn.solvers.coordinate_path import Reading
from jaxlearn.solvers.quadratic import GramQuadratic, Quadratic
from jaxlearn.solvers.wide_set import RowQuadratic, is_wide

from .design import Design

__all__ = ["ColumnQuadratic", "SharedColumns", "column_quadratic", "gram_quadratic"]

# Columns of a block of coordinate descent: with 32 or 128 a sweep took a twentieth to a fifth longer.
BLOCK = 64


class ColumnQuadratic(Quadratic):
    """``½ Σ ω (y − X b)²`` with X read by columns; a point is the residual of the local rows, (n,) or (n, k).

    With `gram_matrix`, the curvature comes from memory, and every residual still from X: rounding errors of the moments
    then slow a float32 fit down, and never enter its certificate.
    """

    design: Design
    y: Array
    sample_weight: Array
    gram_matrix: Array | None = None

    @property
    def serves(self):  # type: ignore[override]
        return self.design.serves

    def start(self, columns, coef):
        if columns.shape[0] == self.design.shape[1]:  # all of them, in order
            return self.y - self.design.matvec(coef)
        return self.y - self.design.matvec_at(columns, coef)

    def correlations(self, point):
        return self.design.fold(_correlations, None, point, self.sample_weight)

    def correlations_at(self, point, columns):
        return self.design.fold(_correlations_at, columns, point, self.sample_weight)

    def move(self, point, columns, step):
        return point - self.design.matvec_at(columns, step)

    def gram(self, columns):
        if self.gram_matrix is not None:
            everything = len(columns) == len(self.gram_matrix)
            return self.gram_matrix if everything else self.gram_matrix[columns][:, columns]
        return self.design.fold(_column_gram, columns, self.sample_weight)

    def working(self, columns, at):
        together = self.gram_matrix is None and self.y.ndim == 1 and self.design.axis_name is None
        if not (together and is_wide(len(columns), self.design.shape[0])):
            return super().working(columns, at)
        rows = self.design.take(columns).T * jnp.sqrt(self.sample_weight)[:, None]
        return RowQuadratic(at[1], at[2], self.squares[columns], rows, at[0])


class SharedColumns(eqx.Module):
    """F least-squares problems ``½ Σ_i ω_fi (y_fi − (X − m_f)_i b_f)²`` over the same rows, as `CoordinatePath` reads them.

    Parameters
    ----------
    design : Design
        Serves ``columns``; its rows lie on one device.
    y : (F, n)
        Targets; of weighted mean zero, where there are means.
    sample_weight : (F, n)
        ω, which sums to one.
    mean : (F, p), optional
        m, the weighted mean of the columns.
    index : (J, m) of int32, optional
        With it the coefficients of the problems are those of groups, side by side, (F, J m): the features of each, and p
        where a group has less than m.
    """

    on_host: ClassVar[bool] = False

    design: Design
    y: Array
    sample_weight: Array
    mean: Array | None
    index: Array | None = None

    @property
    def serves(self):
        return self.design.serves

    def reading(self, coef: Array) -> Reading:
        """At the coefficients, (F, p) or (F, J m)."""
        if self.index is not None:
            features = jnp.zeros((len(coef), self.design.shape[1]), coef.dtype)
            coef = features.at[:, self.index.ravel()].set(coef, mode="drop")
        residual = self.y - self.design.matvec(coef.T).T
        if self.mean is not None:
            residual = residual + (self.mean * coef).sum(1)[:, None]
        weighted = self.sample_weight * residual
        energy, null = (weighted * residual).sum(1), (self.sample_weight * jnp.square(self.y)).sum(1)
        return Reading(residual, self._by_groups(self.design.rmatvec(weighted.T).T), energy, null)

    def _by_groups(self, values: Array) -> Array:
        """(F, p) as (F, J m)."""
        if self.index is None:
            return values
        return values.at[:, self.index.ravel()].get(mode="fill", fill_value=0)

    def blocks(self) -> ColumnBlocks:
        """The columns in blocks, in single precision."""
        columns = self.design.take(jnp.arange(self.design.shape[1], dtype=jnp.int32)).astype(jnp.float32)
        size, mean = BLOCK, jnp.zeros((len(self.y), len(columns))) if self.mean is None else self.mean
        if self.index is not None:
            columns = columns.at[self.index.ravel()].get(mode="fill", fill_value=0)
            width = self.index.shape[1]
            size = max(BLOCK // width, 1) * width
        mean = self._by_groups(mean.astype(jnp.float32))
        return ColumnBlocks.of(columns, self.sample_weight.astype(jnp.float32), mean, size)


def column_quadratic(design: Design, y: Array, sample_weight: Array) -> ColumnQuadratic:
    """The least-squares problem of a centred design, read by columns.

    Parameters
    ----------
    design : Design
        Serves ``columns``.
    y : (n_samples,) or (n_samples, k)
        Centred.
    sample_weight : (n_samples,)
        Weights that sum to one over all rows.
    """
    correlation, energy, squares = design.fold(_first_moments, None, y, sample_weight)
    return ColumnQuadratic(correlation, energy, squares, design, y, sample_weight)


def gram_quadratic(design: Design, y: Array, sample_weight: Array, gram: Array | None = None) -> Quadratic:
    """The same problem with its Gram matrix (p, p) in memory, made or given, for n ≫ p.

    In float64 X is not needed afterwards. In float32 the moments lose too many digits to certify a solution by them, so
    residuals are still read from X, where it is at hand.
    """
    if gram is None:
        (correlation, energy, squares), matrix = design.fold(_second_moments, None, y, sample_weight)
    else:
        (correlation, energy), squares = design.fold(_correlations, None, y, sample_weight), jnp.diagonal(gram)
        matrix = gram
    if design.dtype == jnp.float64 or "columns" not in design.serves:
        return GramQuadratic(correlation, energy, squares, matrix)
    return ColumnQuadratic(correlation, energy, squares, design, y, sample_weight, matrix)


def _first_moments(_: Any, X: Design, y: Array, w: Array) -> tuple[Array, Array, Array]:
    return *_correlations(None, X, y, w), X.squares(w)


def _second_moments(_: Any, X: Design, y: Array, w: Array) -> tuple[tuple[Array, Array, Array], Array]:
    gram = X.gram(w)
    return (*_correlations(None, X, y, w), jnp.diagonal(gram)), gram


def _correlations(_: Any, X: Design, r: Array, w: Array) -> tuple[Array, Array]:
    if r.ndim == 1:
        return X.rmatvec(w * r), w @ jnp.square(r)
    return X.rmatvec(w[:, None] * r), w @ jnp.square(r).sum(1)


def _correlations_at(columns: Array, X: Design, r: Array, w: Array) -> Array:
    rows = X.take(columns)
    return _times(w * r, rows.T) if r.ndim == 1 else _times(rows, w[:, None] * r)


def _column_gram(columns: Array, X: Design, w: Array) -> Array:
    rows = X.take(columns)
    return _times(rows * w[None], rows.T)


def _times(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
