"""The vertex that a point near the minimum of a piecewise linear objective tells of, and its derivative.

At a vertex as many residuals are zero as coefficients are not, ``X_B b_A = y_B``, and a small change of X or y leaves B and A
as they are. So ::

    ∂b_A = X_BA⁻¹ (∂y_B − ∂X_B b)

while strengths, quantile and weights change nothing, until they change B.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.linalg.cholesky import Equilibrated

from .implicit import refuse_axis

__all__ = ["attach_vertex", "onto_vertex"]


def onto_vertex(design: Any, residual: Array, basis: Array, active: Array) -> Array:
    """The least step of the `active` coefficients, (p,), that makes the residuals of the rows in `basis`, (n,), zero.

    Where there are more such rows than coefficients, in the sense of least squares.
    """
    kept = jnp.where(basis, 1, 0).astype(residual.dtype)
    gram, moments = design.fold(_normal, None, kept, residual)
    return _solve(gram, moments, active)


def attach_vertex(design: Any, y: Array, coef: Array, basis: Array, active: Array) -> Array:
    """`coef`, unchanged, with the derivative that it has as a vertex with respect to `design` and `y`.

    Parameters
    ----------
    design : Design
        X, (n, p).
    y : (n,)
    coef : (p,)
    basis : (n,) of bool
        Rows whose residual is zero.
    active : (p,) of bool
        Coefficients that are not.

    Returns
    -------
    Array
        As `coef`. Its derivative is NaN where there are not as many rows in `basis` as coefficients in `active`: there the
        solution is not unique, or not a differentiable function of the data.

    Raises
    ------
    ValueError
        When differentiated under a mapped axis, whose collectives must not be differentiated.
    """
    return _attach(*jax.tree.map(jnp.asarray, (design, y)), *lax.stop_gradient((coef, basis, active)))


@jax.custom_jvp
def _attach(design: Any, y: Array, coef: Array, basis: Array, active: Array) -> Array:
    return coef


@_attach.defjvp
def _attach_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    design, y, coef, basis, active = primals
    coef = _attach(*primals)
    refuse_axis(design)
    kept = jnp.where(basis, 1, 0).astype(y.dtype)
    moments = lambda design, y: design.fold(_normal, None, kept, y - design.matvec(coef))[1]  # noqa: E731
    # the residuals of the basis are zero, so that all of its change is that of the residuals
    _, change = jax.jvp(moments, (design, y), tangents[:2])
    gram = design.fold(_normal, None, kept, y)[0]
    # a factor, and no choice, whose transpose would be zero
    known = jnp.where(basis.sum() == active.sum(), 1, jnp.nan).astype(y.dtype)
    return coef, known * _solve(gram, change, active)


def _solve(gram: Array, b: Array, active: Array) -> Array:
    """On the active coefficients, refined once; zero elsewhere."""
    masked = jnp.where(active[:, None] & active[None, :], gram, 0) + jnp.diag(jnp.where(active, 0, 1).astype(b.dtype))
    b = jnp.where(active, b, 0)
    factor = Equilibrated.of(masked, jittered=True)
    x = factor.solve(b)
    return x + factor.solve(b - jnp.matmul(masked, x, precision=lax.Precision.HIGHEST))


def _normal(_: Any, X: Any, d: Array, r: Array) -> tuple[Array, Array]:
    return X.gram(d), X.rmatvec(d * r)
