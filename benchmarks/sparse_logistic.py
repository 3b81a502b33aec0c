"""Logistic regression that selects features, along paths of strengths, beside celer, skglm and scikit-learn.

``python -m benchmarks.sparse_logistic``; `JAXLEARN_BENCH_FULL=1` for the sizes of the titles. Dense rows of equicorrelated columns,
labels the sign of a noisy sum of 20 of them; sparse ones, as of texts, which nobody here may make dense: what the compiled path
takes is held to one and a half of X, the columns of its working set, and the path. No intercepts, since celer has none.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse
from scipy.special import expit
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import normalize

from . import data
from .evaluate_logistic import l1_logistic_gap
from .reach import command
from .workloads import ITERATIONS, Answer, Problem, Row, Workload

__all__ = ["WORKLOADS", "SparseLogistic", "peak_of_path"]


class SparseLogistic(Problem):
    """A path for each column of y, of −1 and 1; `alphas` are (n_columns, n_alphas), answers (n_columns, p, n_alphas)."""

    null = float(np.log(2))

    def _arrays(self, dtype, order="C"):
        if scipy.sparse.issparse(self.X):
            return (self.X.tocsr() if order == "C" else self.X.tocsc()).astype(dtype), self.y.astype(dtype)
        return super()._arrays(dtype, order)

    def gap(self, answer):
        paths = zip(self.y.T, answer.coef, self.alphas, strict=True)
        return max(l1_logistic_gap(self.X, y, coef, alphas).max() for y, coef, alphas in paths) / self.null


def _problem(X, y, source, n_alphas, least=1e-2, most=1.0):
    y = y.reshape(len(y), -1).astype(np.float64)
    alpha_max = np.abs(X.T @ y).max(0) / (2 * len(y))
    return SparseLogistic(X, y, source, alpha_max[:, None] * np.geomspace(most, least, n_alphas))


def _columns(problem):
    """What a library is to fit: (index, alphas)."""
    return list(enumerate(problem.alphas))


# Ways to follow a path ---------------------------------------------------------------------------------------------


def _path_model(tol, dtype):
    from jaxlearn.models import glm
    from jaxlearn.objectives import L1, Logistic

    one, tol = np.asarray(1, dtype), np.asarray(tol, dtype)
    return glm.GLM(Logistic(), L1(one), tol=tol, max_steps=np.int32(1000), fit_intercept=False)


def _jaxlearn_path(problem, dtype):
    from jaxlearn.estimators.inputs import place
    from jaxlearn.estimators.paths import follow

    X, y = problem.arrays(dtype)

    def solve(tol):
        paths = []
        for column, alphas in _columns(problem):
            placed = place(X, (y[:, column] > 0).astype(dtype), np.ones(len(y), dtype))
            paths.append(follow(placed, _path_model(tol, dtype), alphas.astype(dtype)))
        gaps = max(float(np.max(path.residual)) for path in paths) / problem.null
        passes = sum(int(path.n_steps.sum()) for path in paths)
        return Answer([path.values.T for path in paths], passes=passes, certificate=gaps, meaning="duality gap")

    return solve


def _one_by_one(make, order, scale):
    """Fits from the largest alpha to the smallest, each of one estimator that goes on from the last, if it can."""

    def prepare(problem, dtype):
        X, y = problem.arrays(dtype, order)

        def solve(tol):
            paths, passes = [], 0
            for column, alphas in _columns(problem):
                model, coef = make(tol), []
                for alpha in alphas:
                    model.set_params(**scale(float(alpha), len(y)))
                    model.fit(X, y[:, column])
                    coef.append(np.ravel(model.coef_).copy())
                    passes += int(np.max(model.n_iter_))
                paths.append(np.transpose(coef))
            return Answer(paths, passes=passes)

        return solve

    return prepare


def _logistic_regression(library, **options):
    def make(tol):
        if library == "jaxlearn":
            from jaxlearn.linear_model import LogisticRegression
        else:
            from sklearn.linear_model import LogisticRegression
        return LogisticRegression(l1_ratio=1.0, fit_intercept=False, tol=tol, max_iter=100 * ITERATIONS, **options)

    return make


def _skglm(tol):
    from skglm import SparseLogisticRegression

    return SparseLogisticRegression(tol=tol, fit_intercept=False, warm_start=True, max_iter=20 * ITERATIONS)


def _celer(newton):
    def prepare(problem, dtype):
        from celer import celer_path

        X, y = problem.arrays(dtype, "F")

        def solve(tol):
            options = {"tol": tol, "prune": 1, "max_iter": 20 * ITERATIONS, "max_epochs": 5_000, "use_PN": newton}
            coef = [
                celer_path(X, y[:, i], "logreg", alphas=(len(y) * a).astype(dtype), **options)[1]
                for i, a in _columns(problem)
            ]
            return Answer(coef)

        return solve

    return prepare


def inverse(alpha, n):
    return {"C": 1 / (alpha * n)}


JAXLEARN = [
    ("jaxlearn path", _jaxlearn_path),
    (
        "jaxlearn LogisticRegression, warm",
        _one_by_one(_logistic_regression("jaxlearn", warm_start=True), "C", inverse),
    ),
]
CELER = [("celer", _celer(False)), ("celer prox-Newton", _celer(True))]
SKGLM = ("skglm, warm", _one_by_one(_skglm, "F", lambda alpha, n: {"alpha": alpha}))
LIBLINEAR = (
    "scikit-learn liblinear",
    _one_by_one(_logistic_regression("sklearn", solver="liblinear", random_state=0), "C", inverse),
)
SAGA = (
    "scikit-learn saga, warm",
    _one_by_one(_logistic_regression("sklearn", solver="saga", warm_start=True, random_state=0), "C", inverse),
)


def _rows(ways):
    """liblinear and skglm turn all data to double precision; celer's prox-Newton did not end in single precision (200×20)."""
    wide = LIBLINEAR[0], SKGLM[0], CELER[1][0]
    both = [(library, dtype, way) for library, way in ways for dtype in ("float64", "float32")]
    return [Row(*each) for each in both if each[1] == "float64" or each[0] not in wide]


# What is fitted ----------------------------------------------------------------------------------------------------


def texts_like(n, p, n_nonzero=75, *, seed=0):
    """Texts as of rcv1: words of popularity rank^-1.1, tf-idf in rows of unit length: (X, y in {−1, 1}, source).

    Labels are drawn by the logit of a sum over 50 of the thousand most frequent words, and 5 % of them flipped.
    """
    rng = np.random.default_rng(seed)
    popularity = np.arange(1, p + 1) ** -1.1
    length = np.maximum(rng.lognormal(np.log(1.35 * n_nonzero), 0.5, n).astype(int), 5)
    words = rng.choice(p, length.sum(), p=popularity / popularity.sum())
    rows = np.repeat(np.arange(n), length)
    X = scipy.sparse.csr_matrix((np.ones(len(words)), (rows, words)), shape=(n, p))
    X.data = 1 + np.log(X.data)
    X.data *= np.log(n / np.bincount(X.indices, minlength=p).clip(1))[X.indices]
    X = normalize(X)
    frequent = rng.choice(min(1000, p), 50, replace=False)
    f = X[:, frequent] @ rng.standard_normal(50)
    positive = rng.random(n) < expit(5 * (f - f.mean()) / f.std())
    y = np.where(positive ^ (rng.random(n) < 0.05), 1.0, -1.0)
    density = X.nnz / (n * p)
    return X, y, f"recipe: words of popularity rank^-1.1, {n}×{p}, density {density:.4f}, seed {seed}"


def _size(**sizes):
    return sizes[data.size()]


def _equicorrelated(name, shapes, rho, n_alphas):
    def load():
        X, y, source = data.equicorrelated(*_size(**shapes), rho)
        return _problem(X, np.where(y > 0, 1.0, -1.0), f"{source}, signs", _size(tiny=5, quick=30, full=n_alphas))

    n, p = shapes["full"]
    title = f"L1 logistic path, {n_alphas} alphas, {n}×{p} equicorrelated, rho {rho:g}"
    return Workload(name, title, load, _rows([*JAXLEARN, *CELER, SKGLM, LIBLINEAR]), (1e-6,), full_only=rho != 0.4)


def _texts_like():
    n, p, n_alphas = _size(tiny=(200, 500, 3), quick=(5_000, 20_000, 20), full=(20_000, 47_000, 20))
    X, y, source = texts_like(n, p)
    return _problem(X, y, source, n_alphas, 0.05)


def _texts(n_classes=3):
    X, y, source = data.texts(n=_size(tiny=500, quick=4_000, full=11_314))
    labels = np.where(y[:, None] == np.arange(n_classes), 1.0, -1.0)
    source = f"{source}, tf-idf, {n_classes} classes against the rest"
    return _problem(TfidfTransformer().fit_transform(X), labels, source, 3, 0.05, 0.5)


WIDE = {"tiny": (50, 300), "quick": (200, 5_000), "full": (400, 40_000)}
TALL = {"tiny": (200, 20), "quick": (2_000, 100), "full": (10_000, 100)}
SPARSE = _rows([*JAXLEARN, *CELER, SKGLM, LIBLINEAR, SAGA])
WORKLOADS = {
    w.name: w
    for w in [
        *(_equicorrelated(f"wide_rho{rho:g}", WIDE, rho, 50) for rho in (0, 0.4, 0.8)),
        *(_equicorrelated(f"tall_rho{rho:g}", TALL, rho, 100) for rho in (0, 0.4, 0.8)),
        Workload("texts_like", "L1 logistic path, 20 alphas, 20000×47000 sparse", _texts_like, SPARSE, (1e-6,)),
        Workload("texts", "L1 logistic, 3 alphas, 3 classes of texts, sparse", _texts, SPARSE, (1e-6,)),
    ]
}


def peak_of_path(problem, tol=1e-6, dtype="float64") -> dict:
    """Bytes of the compiled path of the first column, and of what it works on, at the working set that it ends with.

    Raises
    ------
    AssertionError
        If X and all else exceed one and a half of the sparse X, three dense copies of the columns of the working set (as they
        are scattered, in order, and weighted), eight of its Hessian, two of the path (what is carried, what comes out), and a
        dozen vectors.
    """
    import jax

    from jaxlearn.access.host import from_scipy
    from jaxlearn.models import glm
    from jaxlearn.solvers.solution import OVERFLOW

    X, y = problem.arrays(dtype)
    sparse = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    follow = jax.jit(lambda model, X, y, alphas: glm.path(model, X, y, alphas))
    with jax.enable_x64(dtype == "float64"):
        arguments = from_scipy(X), (y[:, 0] > 0).astype(dtype), problem.alphas[0].astype(dtype)
        size, status = 16, OVERFLOW
        while np.any(status == OVERFLOW):
            size = min(4 * size, X.shape[1])
            model = dataclasses.replace(_path_model(tol, dtype), working_set=size)
            program = follow.lower(model, *arguments).compile()
            status = program(model, *arguments).status
        memory = program.memory_analysis()
    columns = size * X.shape[0] * X.dtype.itemsize
    found = {"sparse X": sparse, "dense X": int(np.prod(X.shape)) * X.dtype.itemsize, "working set": size}
    found |= {"columns of it": columns, "path": memory.output_size_in_bytes}
    found["peak"] = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    vectors = 12 * sum(X.shape) * X.dtype.itemsize
    limit = 1.5 * sparse + 3 * columns + 8 * size**2 * X.dtype.itemsize + 2 * memory.output_size_in_bytes + vectors
    assert found["peak"] <= limit, f"a path takes more memory than {limit:.0f} bytes: {found}"
    return found


def main(arguments=None) -> None:
    about = "Logistic losses with an l1 penalty and no intercept; gaps in units of log 2."
    command("sparse_logistic", "Logistic regression that selects features", about, WORKLOADS, arguments)
    for name in ("texts_like", "texts"):
        print(name, peak_of_path(WORKLOADS[name].load()))


if __name__ == "__main__":
    main()
