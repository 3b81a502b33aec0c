"""The judge of logistic regression that selects features, and of one whose Hessian is too large to be formed; as `evaluate`."""

from __future__ import annotations

from copy import copy
from functools import cached_property

import numpy as np

from .evaluate import Logistic

__all__ = ["TruncatedNewton", "l1_logistic_gap"]


def l1_logistic_gap(X, y, coef, alpha):
    """Duality gap of ``mean log(1 + exp(−y X b)) + alpha |b|₁``, without an intercept.

    With margins m, ``π = σ(−m)`` and ``g = Xᵀ(y π) / n``, the dual point is ``s π`` with ``s = min(1, alpha / |g|∞)``. Primal
    minus dual is a relative entropy for each row, and a term for each coefficient, all ≥ 0:

        ``mean(s π log s + (1 − s π) log(1 + (1 − s) exp(−m))) + Σ_j (alpha |b_j| − s b_j g_j)``

    Parameters
    ----------
    X : (n, p) array or sparse matrix
    y : (n,) array of −1 and 1
    coef : (p, n_alphas) array
    alpha : (n_alphas,) array

    Returns
    -------
    (n_alphas,) array
    """
    X = X.astype(np.float64)
    y, coef, alpha = (np.asarray(a, np.float64) for a in (y, coef, alpha))
    with np.errstate(
        divide="ignore", invalid="ignore"
    ):  # of log(1 − s) at s = 1, where its term is none; of answers that are NaN
        m = y[:, None] * (X @ coef)
        share = np.exp(-np.logaddexp(0, m))
        g = X.T @ (y[:, None] * share) / len(y)
        s = np.minimum(1, alpha / np.maximum(np.abs(g).max(0), np.finfo(float).tiny))
        rest = np.logaddexp(0, np.log1p(-s) - m)
        rows = (s * share * np.log(s) + (1 - s * share) * rest).mean(0)
    return rows + (alpha * np.abs(coef) - s * coef * g).sum(0)


class TruncatedNewton(Logistic):
    """As `Logistic`, its minimum by Newton steps that conjugate gradients find, preconditioned by ``½ Xᵀ X / n + l2``."""

    def at(self, l2):
        """The same rows with another strength."""
        other = copy(self)
        other.__dict__.pop("best", None)
        other.l2 = l2
        return other

    @property
    def minimum(self):
        return self.best[1:]

    @cached_property
    def gram(self):
        return self.X.T @ self.X / len(self.X)

    @cached_property
    def best(self):
        """Coefficients and intercepts (p + 1, k), the least value, and half the last Newton decrement."""
        n, width = self.X.shape
        penalised = np.append(np.ones(width - 1), 0)[:, None]
        inverse = np.linalg.inv(self.gram / 2 + self.l2 * np.diag(penalised[:, 0]) + 1e-12 * np.eye(width))
        B = np.zeros((width, self.n_columns))
        value = self._value(B)
        for _ in range(200):
            P = np.exp(self._log_probabilities(B))[:, self.reference :]
            gradient = self.X.T @ (P - self.onehot[:, self.reference :]) / n + self.l2 * penalised * B

            def curvature(V, P=P):
                F = P * (self.X @ V)
                return self.X.T @ (F - P * F.sum(1, keepdims=True)) / n + self.l2 * penalised * V

            step = _conjugate_gradients(curvature, gradient, inverse)
            decrement, size = (gradient * step).sum(), 1.0
            if decrement <= 1e-13 * self.null:
                break
            while (trial := self._value(B - size * step)) > value - 1e-4 * size * decrement and size > 1e-8:
                size /= 2
            if trial >= value:
                break  # rounding of the value
            B, value = B - size * step, trial
        return B, value, 0.5 * decrement


def _conjugate_gradients(product, target, inverse, rtol=1e-2, most=300):
    x, r = np.zeros_like(target), target.copy()
    z = inverse @ r
    d, energy = z.copy(), (r * z).sum()
    first = energy
    for _ in range(most):
        if energy <= rtol**2 * first:
            break
        q = product(d)
        step = energy / (d * q).sum()
        x += step * d
        r -= step * q
        z = inverse @ r
        energy, last = (r * z).sum(), energy
        d = z + energy / last * d
    return x
