"""Races of principal components: float32 rows, judged by the eigenvalues of their covariance in float64."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from . import data
from .workloads import Answer, Problem, Row, Workload

__all__ = ["WORKLOADS", "Components"]

K = 50


class Components(Problem):
    """The gap of components: the largest error of an eigenvalue in units of the first left out, or 100 (1 − variance kept).

    Both count, since the sum hides wrong small components, and the values say nothing of the vectors.
    """

    @cached_property
    def covariance(self):
        mean, total = self.X.mean(0, dtype=np.float64), 0
        for i in range(0, len(self.X), 20_000):
            rows = self.X[i : i + 20_000] - mean
            total = total + rows.T @ rows
        return total / (len(self.X) - 1)

    @cached_property
    def values(self):
        return np.linalg.eigvalsh(self.covariance)[::-1]

    def gap(self, answer):
        V, found = (np.asarray(a, np.float64) for a in (answer.coef, answer.intercept))
        k = len(V)
        kept = np.trace(V @ self.covariance @ V.T) / self.values[:k].sum()
        return max(np.abs(found - self.values[:k]).max() / self.values[k], 100 * (1 - kept))


def _pca(library, solver, k=K):
    def prepare(problem, dtype):
        if library == "jaxlearn":
            from jaxlearn.decomposition import PCA
        else:
            from sklearn.decomposition import PCA
        X = problem.arrays(dtype)[0]

        def solve(tol):
            m = PCA(k, svd_solver=solver, random_state=0).fit(X)
            certificate = m.certificate_ if library == "jaxlearn" else None
            passes = m.n_passes_ if library == "jaxlearn" else None
            return Answer(m.components_, m.explained_variance_, None, passes, certificate, "eigenvalue error")

        return solve

    return prepare


def _rows(ways, k=K):
    names = {"jaxlearn": "jaxlearn", "sklearn": "scikit-learn"}
    return [
        Row(f"{names[library]} {solver}", "float32", _pca(library, solver, k), iterative=False)
        for library, solver in ways
    ]


def _fashion():
    X, _, source = data.fashion(60_000)
    return Components(X, np.zeros(len(X)), source)


def _spectrum(spectrum, name, n):
    def load():
        rows, p = (500, 120) if data.size() == "tiny" else (n, 2000)
        rng = np.random.default_rng(0)
        V = np.linalg.qr(rng.standard_normal((p, p)))[0].astype(np.float32)
        scale = spectrum(np.arange(1, p + 1)).astype(np.float32)
        X = (rng.standard_normal((rows, p), dtype=np.float32) * scale) @ V.T + np.float32(0.3)
        return Components(X, np.zeros(rows), f"recipe: {name}, {rows}×{p}, seed 0")

    return load


class Triplets(Components):
    """Singular vectors of sparse rows, which are not centred: eigenvalues of ``XᵀX / n`` by ARPACK in double precision."""

    def _arrays(self, dtype, order="C"):
        return self.X.astype(dtype), self.y

    @cached_property
    def values(self):
        s = svds(self.X.astype(np.float64), K + 1, return_singular_vectors=False, random_state=0)
        return np.sort(s)[::-1] ** 2 / self.X.shape[0]

    def gap(self, answer):
        V, found = (np.asarray(a, np.float64) for a in (answer.coef, answer.intercept))
        k = len(V)
        kept = np.square(self.X @ np.linalg.qr(V.T)[0]).sum() / self.X.shape[0] / self.values[:k].sum()
        return max(np.abs(found - self.values[:k]).max() / self.values[k], 100 * (1 - kept))


def _truncated(library, algorithm):
    def prepare(problem, dtype):
        if library == "jaxlearn":
            from jaxlearn.decomposition import TruncatedSVD
        else:
            from sklearn.decomposition import TruncatedSVD
        X = problem.arrays(dtype)[0]

        def solve(tol):
            m = TruncatedSVD(K, algorithm=algorithm, random_state=0).fit(X)
            own = (m.n_passes_, m.certificate_, "eigenvalue error") if library == "jaxlearn" else ()
            return Answer(m.components_, m.singular_values_.astype(np.float64) ** 2 / X.shape[0], None, *own)

        return solve

    return prepare


def _documents():
    """Counts of words: each row draws from one of 200 orders of Zipf's law over the columns."""
    n, p, length = (800, 300, 20) if data.size() == "tiny" else (200_000, 50_000, 100)
    rng = np.random.default_rng(0)
    orders = np.stack([rng.permutation(p) for _ in range(200)])
    words = np.minimum((rng.pareto(1.0, (n, length)) * 3).astype(np.int64), p - 1)
    common = rng.random((n, length)) < 0.3
    topic = rng.zipf(1.3, n) % len(orders)
    columns = np.where(common, words, orders[topic[:, None], words])
    X = csr_array((np.ones(n * length), columns.ravel(), np.arange(0, n * length + 1, length)), shape=(n, p))
    X.sum_duplicates()
    X.data = 1 + np.log(X.data)
    return Triplets(X, np.zeros(n), f"recipe: documents of {length} words, {n}×{p}, {X.nnz} non-zeros, seed 0")


SPARSE_WAYS = [("jaxlearn", "krylov"), ("jaxlearn", "randomized"), ("sklearn", "randomized"), ("sklearn", "arpack")]
ALL = [("jaxlearn", "auto"), ("jaxlearn", "randomized"), ("sklearn", "auto"), ("sklearn", "randomized")]
TALL = [*ALL[:1], ("sklearn", "randomized"), ("sklearn", "covariance_eigh"), ("sklearn", "full")]
RACES = [
    Workload("pca_fashion", f"PCA, {K} components, images of 784 pixels", _fashion, _rows(ALL), (1e-2,)),
    Workload(
        "pca_sqrt",
        f"PCA, {K} components, standard deviations i^-1/2",
        _spectrum(lambda i: i**-0.5, "standard deviations i^-1/2", 20_000),
        _rows(TALL),
        (1e-2,),
    ),
    Workload(
        "pca_spiked",
        f"PCA, {K} components, {K} spikes above a bulk",
        _spectrum(lambda i: np.where(i <= K, 3 - 1.8 * i / K, 0.9), f"{K} spikes above a bulk", 20_000),
        _rows(TALL),
        (1e-2,),
    ),
    Workload(
        "pca_share",
        "PCA, components that explain 95 %, standard deviations exp(-i / 40)",
        _spectrum(lambda i: np.exp(-i / 40), "standard deviations exp(-i / 40)", 20_000),
        _rows([("jaxlearn", "auto"), ("sklearn", "auto")], 0.95),
        (1e-2,),
    ),
    Workload(
        "svd_sparse",
        f"Truncated SVD, {K} components, sparse counts of words",
        _documents,
        [
            Row(
                f"{'scikit-learn' if library == 'sklearn' else library} {how}",
                "float32",
                _truncated(library, how),
                iterative=False,
            )
            for library, how in SPARSE_WAYS
        ],
        (1e-2,),
    ),
]
WORKLOADS = {race.name: race for race in RACES}
