"""Proximal Newton for multinomial regression: what a column is for two classes, a pair of a feature and a class is for more."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.objectives.losses import relative_entropy

from .prox_newton import LEAST_CURVATURE, ProxNewton, ProxNewtonPath

__all__ = ["MultinomialNewton", "MultinomialNewtonPath", "anchored", "pair_hessian"]

HIGHEST = lax.Precision.HIGHEST


class _Balance(NamedTuple):
    """Of the dual point ``(1 − t) p + t q``."""

    kept: Array  # 1 − t
    added: Array  # t q, of each class
    there: Array  # classes that have rows; the others get no probability


class MultinomialNewton(ProxNewton):
    """Proximal Newton on few pairs of a feature and a class.

    *Minimises* ``Σ ω loss(y, f) + Σ l1 |b| + ½ Σ l2 b²`` over b ∈ Rᴷ, or over b ≥ 0, of `Multinomial`: the pair q adds
    ``x_j(q) b_q`` to the predictor of class c(q).

    *Step* as of `ProxNewton`. With p the probabilities, the Hessian of two pairs of one class is
    ``Σ ω p_c (1 − p_c) x_j x_j'``, and of two classes ``− Σ ω p_c p_c' x_j x_j'``.

    *Reads the data by* columns.

    *Cost per step* 4 n K² flops for H, the steps of `FeatureSign`.

    *Stops when* the duality gap of the model at b is at most ``tol``.

    Parameters
    ----------
    columns : (K,) of int32
        Pairs: the place of ``(j, c)`` in coefficients (n_features, n_classes), row by row.
    """

    def _lifts(self):
        return _slopes, _curvature, _values

    def _hessian(self, problem, b):
        free = (self.l1 == 0) & (self.l2 == 0)
        return anchored(super()._hessian(problem, b), free, self.columns // problem.y.shape[1])


class MultinomialNewtonPath(ProxNewtonPath):
    """Proximal Newton on a working set of K pairs of a feature and a class, following a decreasing grid of alphas.

    *Minimises*, for each alpha, ``Σ ω loss(y, X B) + alpha (Σ l1 |b| + ½ Σ l2 b²)``, or the same over b ≥ 0, of `Multinomial`;
    b are the entries of B, row by row.

    *Step* as of `WorkingSetPath`, with `MultinomialNewton` on the working set.

    *Reads the data by* columns.

    *Cost per step* one product with X for each class, the steps of `MultinomialNewton`.

    *Stops when* every alpha has a duality gap of at most ``tol · unit`` or has used `max_passes`; or when the support
    outgrows the working set. The dual point is ``(1 − t) p + t q``, of the probabilities p and constants q that bring the
    mean of each class to what it is in y: then no intercept gains. It is shrunk towards y.

    Parameters
    ----------
    intercept : bool
        The last row of B goes with a column of ones, and has no strengths.
    """

    newton: ClassVar = MultinomialNewton

    def _lifts(self):
        return _pushes, _divergences

    def _taken(self, problem, columns):
        return problem.design.taken(columns // problem.y.shape[1])

    def _balance(self, problem, at):
        n_classes, dtype = problem.y.shape[1], at[1].dtype
        if not self.intercept:
            return _Balance(jnp.ones((), dtype), jnp.zeros(n_classes, dtype), jnp.ones(n_classes, bool))
        wanted = problem.design.fold(_mean, None, problem.y, problem.sample_weight)
        there = wanted > 0
        mean = problem.design.fold(_mean_probabilities, (at, there), problem.y, problem.sample_weight)
        kept = jnp.min(jnp.where(there & (mean > wanted), wanted / jnp.where(mean > 0, mean, 1), 1))
        return _Balance(kept, jnp.where(there, jnp.maximum(wanted - kept * mean, 0), 0), there)


def pair_hessian(rows: Array, classes: Array, p: Array, w: Array) -> Array:
    """``Σ_i ω_i x_ij x_ij' (1[c = c'] p_ic − p_ic p_ic')`` of pairs (j, c).

    Parameters
    ----------
    rows : (K, n)
        The feature of each pair.
    classes : (K,) of int32
    p : (n, n_classes)
        Probabilities.
    w : (n,)

    Returns
    -------
    (K, K)
    """
    # 1 − p as a sum: of a class that is nearly certain, what is left keeps its digits, and the matrix its positive pivots
    others = jnp.matmul(p, 1 - jnp.eye(p.shape[1], dtype=p.dtype), precision=HIGHEST)
    weighted = rows * (w[:, None] * p).T[classes]
    within = jnp.matmul(weighted * others.T[classes], rows.T, precision=HIGHEST)
    between = jnp.matmul(weighted, (rows * p.T[classes]).T, precision=HIGHEST)
    return jnp.where(classes[:, None] == classes[None], within, -between)


def anchored(hessian: Array, free: Array, features: Array) -> Array:
    """A Hessian of pairs with a curvature where it has none: along a constant for all classes of a feature without strengths.

    No probability changes there, and so the gradient is zero: a Newton step is still one, and does not move along.
    """
    of_one = (free[:, None] & free[None]) & (features[:, None] == features[None])
    scale = jnp.sqrt(jnp.diagonal(lax.stop_gradient(hessian)))
    return hessian + jnp.where(of_one, jnp.outer(scale, scale), 0)


def _pairs(at: tuple, X: Any, y: Array) -> tuple[Array, Array]:
    """Features of the pairs, (K, n), and their classes."""
    (_, pairs), n_classes = at, y.shape[1]
    return X.take(pairs // n_classes), pairs % n_classes


def _predictor(coef: Array, rows: Array, classes: Array, n_classes: int) -> Array:
    """(n, n_classes)."""
    of_class = classes[None] == jnp.arange(n_classes, dtype=classes.dtype)[:, None]
    return jnp.matmul(jnp.where(of_class, coef[None], 0), rows, precision=HIGHEST).T


def _lifted(loss: Any, f: Array) -> Array:
    """Probabilities of which none vanishes."""
    p = jnp.maximum(loss.inverse_link(f), LEAST_CURVATURE)
    return p / p.sum(1, keepdims=True)


def _slopes(query: tuple, X: Any, y: Array, w: Array) -> tuple[Array, Array, Array]:
    """A lift: value and negative gradient of the loss, and the energy of its working residuals."""
    at, coef = query
    rows, classes = _pairs(at, X, y)
    f, loss = _predictor(coef, rows, classes, y.shape[1]), at[0]
    slope = loss.gradient(y, f)
    push = -(rows * (w[:, None] * slope).T[classes]).sum(1)
    # slopes sum to zero: u = slope / p solves (diag(p) − p pᵀ) u = slope
    return w @ loss.value(y, f), push, w @ (jnp.square(slope) / _lifted(loss, f)).sum(1)


def _curvature(query: tuple, X: Any, y: Array, w: Array) -> Array:
    """A lift: the Hessian of the loss."""
    at, coef = query
    rows, classes = _pairs(at, X, y)
    return pair_hessian(rows, classes, _lifted(at[0], _predictor(coef, rows, classes, y.shape[1])), w)


def _values(query: tuple, X: Any, y: Array, w: Array) -> Array:
    """A lift: values of the loss at several points of a line, one after the other."""
    at, coef, d, sizes = query
    rows, classes = _pairs(at, X, y)
    f, along = (_predictor(b, rows, classes, y.shape[1]) for b in (coef, d))
    return lax.map(lambda size: w @ at[0].value(y, f + size * along), sizes)


def _mean(_: None, X: Any, y: Array, w: Array) -> Array:
    return w @ y


def _certain(at: tuple, there: Array, X: Any, y: Array) -> tuple[Array, Array, Array]:
    """Probabilities; those among the classes that are there; and what the others have."""
    (loss, pairs), coef = at
    p = loss.probabilities(_predictor(coef, *_pairs((loss, pairs), X, y), y.shape[1]))
    among = jnp.where(there[None], p, 0)
    return p, among / among.sum(1, keepdims=True), (p - among).sum(1, keepdims=True)


def _mean_probabilities(query: tuple, X: Any, y: Array, w: Array) -> Array:
    at, there = query
    return w @ _certain(at, there, X, y)[1]


def _pushes(query: tuple, X: Any, y: Array, w: Array) -> Array:
    """A lift: ``Xᵀ ω (y − v)``, v the dual point."""
    at, (kept, added, there) = query
    among = _certain(at, there, X, y)[1]
    return X.rmatvec(w[:, None] * (y - kept * among - added[None])).ravel()


def _divergences(query: tuple, X: Any, y: Array, w: Array) -> Array:
    """A lift: what rows add to the duality gap, for each scale of the dual point, which is shrunk towards y."""
    at, (kept, added, there), scales = query
    p, among, lost = _certain(at, there, X, y)
    # of the probabilities among the classes that are there, from p
    moved = jnp.where(there[None], lost * among, -p) + added[None] - (1 - kept) * among
    return jax.vmap(lambda s: w @ relative_entropy(p, s * moved + (1 - s) * (y - p)))(scales)
