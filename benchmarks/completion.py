"""Completion of ratings, held-out error against time: ``python -m benchmarks.completion --k 20``.

Beside `MatrixCompletion` there are two programs in NumPy: alternating least squares from noise, and the published online algorithm
(Mensch, Mairal, Thirion, Varoquaux, "Dictionary learning for massive matrix factorization", ICML 2016), whose dictionary remembers
all users by one matrix of second moments, and what it knows of an item by the users who rated it. All are given strengths that
suit the recipe. The error is the root mean square over ratings held out, clipped to their range. Seconds are those of learning, and
of jaxlearn warm; its first fit, which compiles, is given apart.

Ratings are those of ``ratings.npz`` in the folder `JAXLEARN_DATA` (a CSR matrix ``X``, a tenth of which is held out), or of a recipe.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from time import perf_counter

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from . import data

Factors = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # u, v, and the biases of rows and columns
Curve = list[tuple[float, float]]


def ratings(n_users: int, n_items: int, n_ratings: int, rank: int):
    """(known, held out, source)."""
    folder = data.folder()
    if folder is None or not (folder / "ratings.npz").exists():
        return data.ratings(n_users, n_items, n_ratings, rank)
    with np.load(folder / "ratings.npz", allow_pickle=False) as f:
        X = csr_array(tuple(f[f"X_{part}"] for part in ("data", "indices", "indptr")), shape=tuple(f["X_shape"]))
    held, (user, item) = np.random.default_rng(0).random(X.nnz) < 0.1, X.nonzero()
    marks = X.data.astype(np.float32)
    known, heldout = (csr_array((marks[i], (user[i], item[i])), shape=X.shape) for i in (~held, held))
    return known, heldout, "ratings.npz"


def rows_of(X):
    """(row, columns, values) of the rows that have entries."""
    for i in np.flatnonzero(np.diff(X.indptr)):
        entries = slice(X.indptr[i], X.indptr[i + 1])
        yield i, X.indices[entries], X.data[entries]


def regressed(X, v, c, alpha, beta):
    """Factors and biases of rows: one regression for each."""
    k = v.shape[1]
    features, found = np.column_stack([v, np.ones(len(v), v.dtype)]), np.zeros((X.shape[0], k + 1), v.dtype)
    for i, columns, values in rows_of(X):
        F = features[columns]
        gram = F.T @ F
        gram.flat[:: k + 2] += np.append(np.full(k, alpha * (len(values) + beta), v.dtype), beta)
        found[i] = cho_solve(cho_factor(gram, check_finite=False), F.T @ (values - c[columns]), check_finite=False)
    return found[:, :k], found[:, k]


def alternating(X, k: int, alpha: float, beta: float = 5.0, seed: int = 0) -> Iterator[Factors]:
    """Alternating least squares on entries without their mean, in NumPy."""
    by_column = csr_array(X.T)
    v = 0.1 * np.random.default_rng(seed).standard_normal((X.shape[1], k)).astype(X.dtype)
    c = np.zeros(len(v), v.dtype)
    while True:
        u, b = regressed(X, v, c, alpha, beta)
        v, c = regressed(by_column, u, b, alpha, beta)
        yield u, v, b, c


def biases(X, beta: float = 5.0) -> tuple[np.ndarray, np.ndarray]:
    """Of rows and columns, by a few alternations."""
    rows, columns = X.nonzero()
    b, c = (np.zeros(size, X.dtype) for size in X.shape)
    for _ in range(5):
        b = np.bincount(rows, X.data - c[columns], len(b)) / (np.bincount(rows, minlength=len(b)) + beta)
        c = np.bincount(columns, X.data - b[rows], len(c)) / (np.bincount(columns, minlength=len(c)) + beta)
    return b.astype(X.dtype), c.astype(X.dtype)


class Published:
    """The online algorithm of Mensch et al. on what biases leave.

    Codes are ``argmin ½ ‖P_i (x − a D)‖² + ½ alpha n_i / p ‖a‖²``, atoms are in the unit ball. C is common to all items; the
    column of B of an item is learnt from those who rated it, at the rate of a batch times its share of the item's ratings.
    Atoms change at the items of a batch, and the rest of their norm is kept.
    """

    def __init__(self, X, k: int, alpha: float, *, batch_size: int = 500, learning_decay: float = 0.92, seed: int = 0):
        self.b, self.c = biases(X)
        rows, columns = X.nonzero()
        self.X = csr_array((X.data - self.b[rows] - self.c[columns], X.indices, X.indptr), shape=X.shape)
        self.rng, self.alpha, self.batch_size, self.decay = (
            np.random.default_rng(seed),
            alpha,
            batch_size,
            learning_decay,
        )
        D = self.rng.standard_normal((k, X.shape[1])).astype(X.dtype)
        self.D = D / np.linalg.norm(D, axis=1, keepdims=True)
        self.B, self.C = np.zeros_like(self.D), np.zeros((k, k), X.dtype)
        self.counts, self.n_seen = np.zeros(X.shape[1]), 0

    def codes(self, X) -> np.ndarray:
        """Of rows."""
        k, p = self.D.shape
        v, found = np.ascontiguousarray(self.D.T), np.zeros((X.shape[0], k), X.dtype)
        for i, columns, values in rows_of(X):
            F = v[columns]
            gram = F.T @ F
            gram.flat[:: k + 1] += self.alpha * len(values) / p
            found[i] = cho_solve(cho_factor(gram, check_finite=False), F.T @ values, check_finite=False)
        return found

    def epoch(self) -> None:
        """All rows once."""
        order = self.rng.permutation(self.X.shape[0])
        for first in range(0, len(order), self.batch_size):
            self._learn(csr_array(self.X[order[first : first + self.batch_size]]))

    def _learn(self, X) -> None:
        A, n = self.codes(X), X.shape[0]
        times = np.arange(self.n_seen + 1, self.n_seen + n + 1)
        rate, self.n_seen = 1 - np.prod(1 - times**-self.decay), self.n_seen + n
        fresh = np.bincount(X.indices, minlength=X.shape[1])
        self.counts += fresh
        seen = np.flatnonzero(fresh)
        of_item = np.minimum(1, rate * self.n_seen / n * fresh[seen] / self.counts[seen]).astype(A.dtype)
        self.C = ((1 - rate) * self.C + rate / n * A.T @ A).astype(A.dtype)
        self.B[:, seen] = (1 - of_item) * self.B[:, seen] + of_item * (X.T @ A)[seen].T / fresh[seen]
        D, B = self.D[:, seen], self.B[:, seen]
        limits = 1 - np.square(self.D).sum(1) + np.square(D).sum(1)
        for j in self.rng.permutation(len(D)):
            if self.C[j, j] > 0:
                D[j] += (B[j] - self.C[j] @ D) / self.C[j, j]
                D[j] *= min(1, np.sqrt(max(limits[j], 0)) / np.linalg.norm(D[j]))
        self.D[:, seen] = D

    def __iter__(self) -> Iterator[Factors]:
        while True:
            self.epoch()
            yield np.zeros(0), self.D.T, self.b, self.c  # codes are the judge's to find: they are no part of learning


def error(factors: Factors, heldout, mean: float, limits: tuple[float, float]) -> float:
    """Root mean square of what predictions miss."""
    u, v, b, c = factors
    i, j = heldout.nonzero()
    found = mean + b[i] + c[j] + np.einsum("ek,ek->e", u[i], v[j])
    return float(np.sqrt(np.mean(np.square(np.clip(found, *limits) - heldout.data, dtype=np.float64))))


def ours(known, heldout, k: int, n_steps: int, alpha: float) -> tuple[Curve, float]:
    """The curve of the second fit, and seconds of the first."""
    from jaxlearn.decomposition import MatrixCompletion

    mean, limits, n, p = float(known.data.mean(dtype=float)), (known.data.min(), known.data.max()), *known.shape
    curve: Curve = []
    paused = 0.0

    def look(told):
        nonlocal paused
        begin = perf_counter()
        rows, columns = told.state.rows, told.state.columns
        u, v, b, c = (np.asarray(a) for a in (rows.codes, columns.codes, rows.bias, columns.bias))
        curve.append((begin - began - paused, error((u[:n], v[:p], b[:n], c[:p]), heldout, mean, limits)))
        paused += perf_counter() - begin

    model = MatrixCompletion(k, alpha=alpha, max_iter=n_steps, tol=0, random_state=0, callback=look)
    began = perf_counter()
    model.fit(known)
    first = perf_counter() - began
    curve.clear()
    paused, began = 0.0, perf_counter()
    model.fit(known)
    return curve, first


def timed(factors: Iterator[Factors], complete, judge, *, n_steps: int, budget: float) -> Curve:
    """Errors after each of some steps, and the seconds that the steps took."""
    curve, seconds = [], 0.0
    while len(curve) < n_steps and seconds < budget:
        began = perf_counter()
        found = next(factors)
        seconds += perf_counter() - began
        curve.append((seconds, judge(complete(found))))
    return curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=3000)
    parser.add_argument("--ratings", type=int, default=1_000_000)
    parser.add_argument("--rank", type=int, default=20)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--budget", type=float, default=40.0)
    given = parser.parse_args()
    known, heldout, source = ratings(given.users, given.items, given.ratings, given.rank)
    mean, scale = (float(f(known.data, dtype=float)) for f in (np.mean, np.std))
    limits = known.data.min(), known.data.max()
    centred = csr_array((known.data - np.float32(mean), known.indices, known.indptr), shape=known.shape)

    def judge(factors):
        return error(factors, heldout, mean, limits)

    mine, first = ours(known, heldout, given.k, given.steps, alpha=0.07)
    print(f"{source}, {given.k} factors")
    print(f"{'jaxlearn':30} ends at {mine[-1][1]:.4f} after {mine[-1][0]:6.1f} s; first fit, compiling, {first:.1f} s")
    options = {"n_steps": given.steps, "budget": given.budget}
    with threadpool_limits(1):  # many small products are slower on two
        als = timed(alternating(centred, given.k, 0.07 * scale), lambda f: f, judge, **options)
        online = Published(centred, given.k, 1.0)

        def with_codes(factors):
            return online.codes(online.X), *factors[1:]

        curves = {
            "alternating least squares": als,
            "published online algorithm": timed(iter(online), with_codes, judge, **options),
        }
    for name, curve in curves.items():
        for seconds, target in (curve[0], min(curve, key=lambda point: point[1])):
            reached = next((s for s, e in mine if e <= target), np.inf)
            print(
                f"{name:30} reaches {target:.4f} after {seconds:6.1f} s; jaxlearn is there after {reached:6.2f} s: "
                f"{seconds / reached:5.1f}x",
                flush=True,
            )
    for name, curve in {"jaxlearn": mine, **curves}.items():
        print(name, "  ".join(f"{s:.2f} s {e:.4f}" for s, e in curve))


if __name__ == "__main__":
    main()
