"""The judge: how far an answer is from the optimum, in float64 NumPy, whoever computed it.

It shares no code with any library that it judges. Objectives are means over the n rows; an intercept is never
penalised.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.sparse

__all__ = ["Logistic", "Ridge", "Score", "codes_gap", "dictionary_objective", "elastic_net_gap", "elastic_net_null"]
__all__ += ["relative_frobenius"]


def elastic_net_null(y):
    """Objective of the empty model with its best intercept, ``|y − ȳ|² / 2n``: the unit of a relative gap."""
    return 0.5 * np.var(np.asarray(y, np.float64))


def elastic_net_gap(X, y, coef, alpha, l1_ratio=1.0, intercept=None):
    """Duality gap of ``|y − X b − c|² / 2n + alpha (l1_ratio |b|₁ + ½ (1 − l1_ratio) |b|²)``.

    With residual r (centred, where there is an intercept: a dual point must sum to zero), ``g = Xᵀr / n − l2 b`` and
    the residual scaled by ``s = min(1, l1 / |g|∞)`` as dual point, primal minus dual is a sum of Fenchel–Young terms,
    each ≥ 0, so that nothing cancels:

        ``½ (c − best c)² + ½ (1 − s)² (|r|² / n + l2 |b|²) + Σ_j (l1 |b_j| − s b_j g_j)``

    Parameters
    ----------
    X : (n, p) array or scipy sparse
    y : (n,) array
    coef : (p,) or (p, n_alphas) array
    alpha : float or (n_alphas,) array
    l1_ratio : float, > 0
    intercept : float or (n_alphas,) array, optional
        None is a model without.

    Returns
    -------
    float or (n_alphas,) array
    """
    X = X.astype(np.float64) if scipy.sparse.issparse(X) else np.asarray(X, np.float64)
    y, coef, alpha = (np.asarray(a, np.float64) for a in (y, coef, alpha))
    l1, l2 = alpha * l1_ratio, alpha * (1 - l1_ratio)
    r = (y if coef.ndim == 1 else y[:, None]) - X @ coef
    misplaced = 0.0
    if intercept is not None:
        best = r.mean(0)
        misplaced, r = best - np.asarray(intercept, np.float64), r - best
    g = X.T @ r / len(y) - l2 * coef
    s = np.minimum(1, l1 / np.maximum(np.abs(g).max(0), np.finfo(float).tiny))
    energy = np.square(r).sum(0) / len(y) + l2 * np.square(coef).sum(0)
    return 0.5 * misplaced**2 + 0.5 * (1 - s) ** 2 * energy + (l1 * np.abs(coef) - s * g * coef).sum(0)


class Ridge:
    """``|y − X b − c|² / 2n + ½ l2 |b|²``, summed over targets, and its direct solution for any l2.

    The objective is quadratic, so its excess over the minimum is ``½ (b − b*)ᵀ H (b − b*) + ½ (c − best c)²``, again
    without a difference of nearly equal numbers.

    Parameters
    ----------
    X : (n, p) array
        Read in blocks: a float64 copy is never held.
    y : (n,) or (n, k) array
    """

    def __init__(self, X, y):
        self.X, self.y = X, np.asarray(y, np.float64).reshape(len(X), -1)
        self.y_mean = self.y.mean(0)
        n, p = X.shape
        self.x_mean = sum(block.sum(0) for block, _ in self._blocks()) / n
        gram, correlation = np.zeros((p, p)), np.zeros((p, self.y.shape[1]))
        for block, target in self._blocks():
            block -= self.x_mean
            gram += block.T @ block / n
            correlation += block.T @ (target - self.y_mean) / n
        self.values, self.vectors = np.linalg.eigh(gram)
        self.values = np.maximum(self.values, 0)
        self.rotated = self.vectors.T @ correlation

    def _blocks(self, size=8192):
        for start in range(0, len(self.X), size):
            yield self.X[start : start + size].astype(np.float64), self.y[start : start + size]

    @cached_property
    def null(self):
        """Objective of the empty model with its best intercept."""
        return 0.5 * np.var(self.y, 0).sum()

    def coef(self, l2):
        """The minimiser, (p, k)."""
        return self.vectors @ (self.rotated / (self.values[:, None] + l2))

    def gap(self, coef, intercept, l2):
        """Excess of the objective at `coef`, (p, k) or (p,), over its minimum."""
        coef = np.asarray(coef, np.float64).reshape(len(self.values), -1)
        error = self.vectors.T @ coef - self.rotated / (self.values[:, None] + l2)
        misplaced = self.y_mean - self.x_mean @ coef - intercept
        return 0.5 * ((self.values[:, None] + l2) * error**2).sum() + 0.5 * np.square(misplaced).sum()

    def leave_one_out(self, l2):
        """Mean squared error of predicting each row from all others."""
        total, n = 0.0, len(self.X)
        for block, target in self._blocks():
            scores = (block - self.x_mean) @ self.vectors
            leverage = 1 / n + np.square(scores) @ (1 / (self.values + l2)) / n
            r = target - self.y_mean - scores @ (self.rotated / (self.values[:, None] + l2))
            total += np.square(r / (1 - leverage)[:, None]).sum()
        return total / self.y.size


class Logistic:
    """``mean log-loss + ½ l2 |B|²`` and its minimum by Newton's method.

    Two classes have one column of coefficients (the first class has none), more have one each.

    Parameters
    ----------
    X : (n, p) array
    y : (n,) array of labels
    l2 : float, > 0
    """

    def __init__(self, X, y, l2):
        self.X = np.column_stack([np.asarray(X, np.float64), np.ones(len(X))])
        self.classes, self.codes = np.unique(y, return_inverse=True)
        self.l2 = l2
        self.reference = int(len(self.classes) == 2)  # classes without coefficients of their own
        self.n_columns = len(self.classes) - self.reference
        self.onehot = np.eye(len(self.classes))[self.codes]

    @cached_property
    def null(self):
        """Objective of the empty model with its best intercepts: the entropy of the classes."""
        share = self.onehot.mean(0)
        return -(share * np.log(share)).sum()

    def _log_probabilities(self, B):
        f = np.pad(self.X @ B, ((0, 0), (self.reference, 0)))
        f -= f.max(1, keepdims=True)
        return f - np.log(np.exp(f).sum(1, keepdims=True))

    def _value(self, B):
        loss = -self._log_probabilities(B)[np.arange(len(self.X)), self.codes].mean()
        return loss + 0.5 * self.l2 * np.square(B[:-1]).sum()

    def value(self, coef, intercept):
        """Objective at `coef`, (k, p) as scikit-learn has it, (1, p) for two classes, and `intercept`, (k,)."""
        return self._value(np.vstack([np.asarray(coef, np.float64).T, np.asarray(intercept, np.float64)[None]]))

    def gap(self, coef, intercept):
        """Excess over the minimum."""
        return self.value(coef, intercept) - self.minimum[0]

    @cached_property
    def minimum(self):
        """The least value, and half the last Newton decrement: what may still be missing from it."""
        n, width = self.X.shape
        shape = width, self.n_columns
        penalised = np.append(np.ones(width - 1), 0)[:, None]
        B, value = np.zeros(shape), self._value(np.zeros(shape))
        for _ in range(100):
            P = np.exp(self._log_probabilities(B))
            gradient = self.X.T @ (P - self.onehot)[:, self.reference :] / n + self.l2 * penalised * B
            step = np.linalg.solve(self._hessian(P[:, self.reference :], penalised), gradient.T.ravel())
            step = step.reshape(self.n_columns, width).T
            decrement, size = (gradient * step).sum(), 1.0
            if decrement <= 1e-15 * self.null:
                break
            while (trial := self._value(B - size * step)) > value - 1e-4 * size * decrement and size > 1e-8:
                size /= 2
            if trial >= value:
                break  # rounding of the value: nothing is left to gain
            B, value = B - size * step, trial
        return value, 0.5 * decrement

    def _hessian(self, P, penalised):
        n, width = self.X.shape
        H = np.empty((self.n_columns, width, self.n_columns, width))
        for a in range(self.n_columns):
            for b in range(a + 1):
                block = self.X.T @ ((P[:, a] * ((a == b) - P[:, b]))[:, None] * self.X) / n
                H[a, :, b], H[b, :, a] = block, block.T
            H[a, :, a] += self.l2 * np.diag(penalised[:, 0])
        if not self.reference:
            H[:, -1, :, -1] += 1  # one constant added to all intercepts changes nothing: fix it
        return H.reshape(self.n_columns * width, -1)


# Factorisations: X is n × p, atoms are the k rows of D, codes the n rows of A ----------------------------------------


class Score(NamedTuple):
    """Of the best codes that were found, and the mean duality gap that they may still be above the best there are."""

    objective: float
    gap: float


def dictionary_objective(D, X, *, l1, l2=0.0, positive=False, ball_l1_ratio=0.0) -> Score:
    """Mean over the rows x of X of ``min_a ½|x − a D|² + l1 |a|₁ + ½ l2 |a|²``.

    The codes are found by coordinate descent, each to a duality gap of 1e-4 of ``½|x|²``, or in closed form where
    ``l1 = 0``.

    Parameters
    ----------
    D : (k, p) array
        Its atoms must lie in the ball ``ball_l1_ratio |d|₁ + (1 − ball_l1_ratio) |d|² ≤ 1``, but for 1e-5 of their
        length. Others are not judged but refused: larger atoms make smaller codes.
    X : (n, p) array
        Rows that were held out.
    l1, l2 : float, not both zero
    positive : bool
        Codes are non-negative.
    ball_l1_ratio : float
    """
    D = np.asarray(D, np.float64)
    shrunk = D / (1 + 1e-5)
    norms = ball_l1_ratio * np.abs(shrunk).sum(1) + (1 - ball_l1_ratio) * np.square(shrunk).sum(1)
    if not np.all(norms <= 1):
        raise ValueError(f"an atom lies outside of the ball: its norm is {norms.max():.6g}, which may be 1")
    energy, correlation = (np.concatenate(parts) for parts in zip(*_products(D, X), strict=True))
    gram = D @ D.T
    if l1 == 0 and not positive:
        A = np.linalg.solve(gram + l2 * np.eye(len(D)), correlation.T).T
    else:
        A = _codes(gram, correlation.T, energy, l1, l2, positive).T
    fit = energy + np.einsum("ik,ik->i", A, A @ gram - 2 * correlation)
    value = 0.5 * fit + l1 * np.abs(A).sum(1) + 0.5 * l2 * np.square(A).sum(1)
    return Score(value.mean(), codes_gap(A, D, X, l1=l1, l2=l2, positive=positive).mean())


def codes_gap(A, D, X, *, l1, l2=0.0, positive=False):
    """Duality gap of each row of codes.

    With the residual ``r = x − a D`` and ``h(a) = l1 |a| + ½ l2 a²``, r itself is a dual point if l2 > 0, and the gap is
    ``Σ_j h(a_j) + h*(z_j) − a_j z_j`` with ``z = D r``. For any l2, r and ``−√l2 a`` scaled together, as in
    `elastic_net_gap`, are another. The gap is the smaller one; either is a sum of terms ≥ 0.

    Parameters
    ----------
    A : (n, k) array
    D : (k, p) array
    X : (n, p) array
    l1, l2 : float, not both zero
    positive : bool
        Codes must be non-negative: others have an infinite gap.

    Returns
    -------
    (n,) array
    """
    if l1 == l2 == 0:
        raise ValueError("codes without a penalty have no certificate")
    A, D = np.asarray(A, np.float64), np.asarray(D, np.float64)
    gaps = []
    for i, rows in _blocks(X):
        a = A[i : i + len(rows)]
        r = rows - a @ D
        gaps.append(_gap_of_codes(a, r @ D.T, np.square(r).sum(1), l1, l2, positive))
    return np.where(positive and (A < 0).any(1), np.inf, np.concatenate(gaps))


def _gap_of_codes(a, z, residual, l1, l2, positive):
    g = z - l2 * a
    s = np.minimum(1, l1 / np.maximum((g if positive else np.abs(g)).max(1), np.finfo(float).tiny))[:, None]
    energy = residual + l2 * np.square(a).sum(1)
    scaled = 0.5 * np.square(1 - s[:, 0]) * energy + (l1 * np.abs(a) - s * g * a).sum(1)
    if l2 == 0:
        return scaled
    slope = np.minimum(z, l1) if positive else np.clip(z, -l1, l1)  # the rest of z is the gradient of ½ l2 |a|²
    return np.minimum(scaled, (0.5 * l2 * np.square(a - (z - slope) / l2) + l1 * np.abs(a) - slope * a).sum(1))


def _codes(gram, correlation, energy, l1, l2, positive, block=16):
    """Codes (k, n) by coordinate descent: one atom after the other, on all rows that have not converged at once."""
    k, n = correlation.shape
    A, left = np.zeros((k, n)), np.arange(n)
    a, c, curvature = A.copy(), correlation.copy(), np.diag(gram) + l2
    used = np.flatnonzero(np.diag(gram) > 0)  # of an atom that is zero no code is needed
    for sweep in range(100_000):
        if sweep % 5 == 0:
            z = c - gram @ a
            residual = energy[left] - np.einsum("kn,kn->n", a, c + z)
            gaps = _gap_of_codes(a.T, z.T, np.maximum(residual, 0), l1, l2, positive)
            open_ = gaps > 0.5e-4 * energy[left]
            A[:, left] = a
            left, a, c = left[open_], a[:, open_], c[:, open_]
            if len(left) == 0:
                return A
        for start in range(0, len(used), block):
            J = used[start : start + block]
            r = c[J] - gram[J] @ a + gram[J, J][:, None] * a[J]  # what is left for each atom if its code were 0
            for i, j in enumerate(J):
                new = (np.maximum(r[i] - l1, 0) if positive else r[i] - np.clip(r[i], -l1, l1)) / curvature[j]
                change = new - a[j]
                r[i + 1 :] -= gram[J[i + 1 :], j, None] * change
                a[j] = new
    raise RuntimeError(f"{len(left)} rows have no codes after {sweep + 1} sweeps")


def _products(D, X):
    """Squared norms of rows, and their products with atoms, a block of rows at a time."""
    for _, rows in _blocks(X):
        yield np.square(rows).sum(1), rows @ D.T


def _blocks(X, numbers=8_000_000):
    """(first row, rows in float64): no copy of all of X is held."""
    size = max(1, numbers // X.shape[1])
    for start in range(0, len(X), size):
        yield start, np.asarray(X[start : start + size], np.float64)


def relative_frobenius(W, H, X):
    """``|X − W H| / |X|``, in the Frobenius norm."""
    W, H, left, total = np.asarray(W), np.asarray(H, np.float64), 0.0, 0.0
    for i, rows in _blocks(X):
        left += np.square(rows - W[i : i + len(rows)] @ H).sum()
        total += np.square(rows).sum()
    return np.sqrt(left / total)
