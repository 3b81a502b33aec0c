"""The published algorithm of online and subsampled matrix factorization, in NumPy: what jaxlearn's is measured against.

After Mensch, Mairal, Thirion and Varoquaux (ICML 2016; IEEE Transactions on Signal Processing 66, 2018). It does what
their program does where that decides its speed: the dictionary is updated through rank-one updates of a residual, codes
with an L1 penalty are found row by row by compiled coordinate descent on the Gram matrix (scikit-learn's), and B is
updated on all features whatever the mask. It departs where that can only help: nothing is copied where nothing is
masked, coordinates are screened, the first code of a row starts from zero, and the tolerance of a code that sees a part
of a row is relative to that part.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from time import perf_counter

import numpy as np
from scipy.linalg import cho_factor, cho_solve, get_blas_funcs
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model._cd_fast import enet_coordinate_descent_gram

__all__ = ["Baseline", "ball_norm", "project", "shuffled"]


class Baseline:
    """Mean of ``½|x − a D|² + alpha (l1_ratio |a|₁ + ½ (1 − l1_ratio) |a|²)`` over codes a, atoms in a ball.

    Parameters
    ----------
    init : (k, p) array
        The first dictionary. Its dtype is that of the fit.
    n_rows : int
        How many there are: codes and averages are kept for each.
    alpha, l1_ratio : float
    ball_l1_ratio : float
        Atoms have ``ball_l1_ratio |d|₁ + (1 − ball_l1_ratio) |d|² ≤ 1``.
    positive_codes, positive_atoms : bool
    learning_rate : float
        u: row t has the weight ``t^−u``.
    reduction : float
        r: with each batch the codes see, and the dictionary changes, one in r features, drawn at random.
    correlation, gram : {"full", "masked", "averaged"}
        How ``x Dᵀ`` and ``D Dᵀ`` are estimated. Averages are kept for each row: of Gram matrices, k² numbers a row.
    averaging_rate : float
        v: a row that is seen for the c-th time has the weight ``c^−v`` in its averages.
    tol, max_sweeps : float, int
        Of coordinate descent: duality gap in units of the squared norm of the row.
    """

    def __init__(
        self,
        init,
        n_rows,
        *,
        alpha=1.0,
        l1_ratio=0.0,
        ball_l1_ratio=0.0,
        positive_codes=False,
        positive_atoms=False,
        learning_rate=0.92,
        reduction=1.0,
        correlation="masked",
        gram="masked",
        averaging_rate=0.76,
        tol=1e-2,
        max_sweeps=100,
        seed=0,
    ):
        if positive_codes and l1_ratio == 0:
            raise ValueError("positive_codes needs l1_ratio > 0: the published ridge codes have any sign")
        self.l1, self.l2 = alpha * l1_ratio, alpha * (1 - l1_ratio)
        self.ball_l1_ratio, self.positive_codes, self.positive_atoms = ball_l1_ratio, positive_codes, positive_atoms
        self.learning_rate, self.reduction, self.averaging_rate = learning_rate, reduction, averaging_rate
        self.correlation, self.gram = correlation, gram
        self.tol, self.max_sweeps = tol, max_sweeps
        self.rng, self.unused_rng = np.random.default_rng(seed), np.random.RandomState(0)

        self.D = np.array(init, order="C")
        k, dtype = len(self.D), self.D.dtype
        (self.ger,) = get_blas_funcs(("ger",), (self.D,))
        self.B, self.C = np.zeros_like(self.D), np.zeros((k, k), dtype)
        self.leftover = np.zeros(k)  # of each atom's radius, what is not used by the features that were masked last
        self.codes = np.zeros((n_rows, k), dtype)
        self.times_seen, self.n_seen = np.zeros(n_rows, int), 0
        if correlation == "averaged":
            self.mean_correlation = np.zeros((n_rows, k), dtype)
        if gram == "averaged":
            self.mean_gram = np.zeros((n_rows, k, k), dtype)
        self.G = self.D @ self.D.T

    def fit(self, batches: Iterable) -> Iterator[tuple[float, int, np.ndarray]]:
        """After each batch, the seconds that steps have taken so far, the rows seen, and the dictionary.

        The clock stands still while batches are read, and while the caller looks at a dictionary.
        """
        seconds = 0.0
        for rows, X in batches:
            start = perf_counter()
            self.step(rows, X)
            seconds += perf_counter() - start
            yield seconds, self.n_seen, self.D

    def step(self, rows, X):
        """One batch: X are the rows that have the numbers `rows`, each at most once."""
        p, n = self.D.shape[1], len(X)
        mask = None if self.reduction == 1 else np.flatnonzero(self.rng.random(p) < 1 / self.reduction)
        self.times_seen[rows] += 1
        self.n_seen += n
        self.codes[rows] = A = self._code(rows, X, mask)
        t = np.arange(self.n_seen - n + 1, self.n_seen + 1)
        weight = 1 - np.prod(1 - t**-self.learning_rate)
        weighted = A * A.dtype.type(weight / n)
        self.C *= 1 - weight
        self.C += weighted.T @ A
        self.B *= 1 - weight
        self.B += weighted.T @ X
        self._update(mask)

    # Codes ------------------------------------------------------------------------------------------------------

    def _code(self, rows, X, mask):
        D, seen, r = _at(self.D, mask), _at(X, mask), self.D.dtype.type(self.reduction)
        correlation = X @ self.D.T if self.correlation == "full" else r * (seen @ D.T)
        if self.correlation == "averaged":
            correlation = self._average(self.mean_correlation, rows, correlation)
        gram = self.G if self.gram == "full" else r * (D @ D.T)
        if self.gram == "averaged":
            gram = self._average(self.mean_gram, rows, gram)
        if self.l1 == 0:
            return self._ridge(correlation, gram)
        # a masked row has the norm that its own problem speaks of, and screening is safe; for a mixture there is none
        consistent = self.correlation == self.gram != "averaged"
        masked = consistent and self.gram == "masked"
        norms = np.sqrt(r * np.square(seen).sum(1)) if masked else np.linalg.norm(X, axis=1)
        return self._coordinate_descent(self.codes[rows], correlation, gram, norms[:, None], consistent)

    def _average(self, means, rows, estimate):
        fresh = (self.times_seen[rows] ** -self.averaging_rate).astype(means.dtype)
        mean = means[rows]
        mean += fresh.reshape(-1, *(1,) * (mean.ndim - 1)) * (estimate - mean)
        means[rows] = mean
        return mean

    def _ridge(self, correlation, gram):
        gram = gram + self.l2 * np.eye(len(self.D), dtype=gram.dtype)
        if gram.ndim == 3:
            return np.linalg.solve(gram, correlation[:, :, None])[:, :, 0]
        factor = cho_factor(gram, overwrite_a=True, check_finite=False)
        return np.ascontiguousarray(cho_solve(factor, correlation.T, check_finite=False).T)

    def _coordinate_descent(self, A, correlation, gram, norms, screening):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # as published, it stops after max_sweeps
            for i, a in enumerate(A):
                enet_coordinate_descent_gram(
                    a,
                    self.l1,
                    self.l2,
                    gram if gram.ndim == 2 else gram[i],
                    correlation[i],
                    norms[i],  # is only asked for its norm
                    self.max_sweeps,
                    self.tol,
                    self.unused_rng,
                    positive=self.positive_codes,
                    do_screening=screening,
                )
        return A

    # Dictionary -------------------------------------------------------------------------------------------------

    def _update(self, mask):
        """One round of block coordinate descent on the features of the mask, the others held."""
        if mask is not None and not len(mask):
            return
        D, C = _at(self.D, mask), self.C
        few = mask is not None and len(mask) < self.D.shape[1] / 2
        if self.gram == "full" and few:
            self.G -= D @ D.T
        R = _at(self.B, mask) - C @ D
        for j in self.rng.permutation(len(D)):
            self.leftover[j] += ball_norm(D[j], self.ball_l1_ratio)
            self._add_to(R, 1, C[j], D[j])
            if C[j, j] > 1e-20:
                D[j] = R[j] / C[j, j]
            if self.positive_atoms:
                np.maximum(D[j], 0, out=D[j])
            D[j] = project(D[j], self.leftover[j], self.ball_l1_ratio)
            self.leftover[j] -= ball_norm(D[j], self.ball_l1_ratio)
            self._add_to(R, -1, C[j], D[j])
        if mask is not None:
            self.D[:, mask] = D
        if self.gram == "full":
            self.G = self.G + D @ D.T if few else self.D @ self.D.T

    def _add_to(self, R, sign, column, row):
        self.ger(sign, row, column, a=R.T, overwrite_a=True)  # in place, as R.T is contiguous by columns


def _at(M, mask):
    return M if mask is None else M.take(mask, axis=1)


def ball_norm(d, l1_ratio):
    """``l1_ratio |d|₁ + (1 − l1_ratio) |d|²``."""
    return l1_ratio * np.abs(d).sum() + (1 - l1_ratio) * (d @ d)


def project(d, radius, l1_ratio):
    """The nearest point whose `ball_norm` is at most `radius`.

    It is ``sign(d) (|d| − λ)₊ / (1 + γ λ)`` with ``γ = 2 / l1_ratio − 2``. For the entries above λ, λ is the root of a
    quadratic equation. All entries taken, it is too small, and grows as those below it are left out.
    """
    if ball_norm(d, l1_ratio) <= radius:
        return d
    if radius <= 0:
        return np.zeros_like(d)
    if l1_ratio == 0:
        return d * d.dtype.type(np.sqrt(radius / (d @ d)))
    size, gamma, radius = np.abs(d), 2 / l1_ratio - 2, radius / l1_ratio
    above, n = size, len(size) + 1
    while len(above) < n:
        n = len(above)
        excess = above.sum(dtype=float) + gamma / 2 * np.square(above).sum(dtype=float) - radius
        b = n + 2 * gamma * radius
        shift = 2 * excess / (b + np.sqrt(b * b + 4 * gamma * (gamma * radius + n / 2) * excess))
        above = above[above > shift]
    return np.copysign(np.maximum(size - shift, 0) / (1 + gamma * shift), d).astype(d.dtype)


def shuffled(X, batch_size, n_epochs, *, seed=0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches (row numbers, rows), in a new order in each epoch."""
    rng = np.random.default_rng(seed)
    for _ in range(n_epochs):
        order = rng.permutation(len(X))
        for start in range(0, len(X), batch_size):
            rows = order[start : start + batch_size]
            yield rows, X[rows]
