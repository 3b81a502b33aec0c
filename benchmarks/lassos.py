"""Races of the Lasso: paths of a hundred strengths, and single ones, on dense, sparse and nearly collinear columns.

No model has an intercept, as y is centred, and but for the sparse ones so are the columns. All minimise
``|y − X b|² / 2n + alpha |b|₁``.
"""

from __future__ import annotations

import numpy as np

from . import data, recipes
from .evaluate import elastic_net_gap
from .workloads import ITERATIONS, Answer, Problem, Workload, both, linear_model

__all__ = ["WORKLOADS", "LassoPath", "largest", "skglm_options", "tiny"]


class LassoPath(Problem):
    """Coefficients (p, n_alphas), and the worst of their gaps."""

    def gap(self, answer):
        return np.max(elastic_net_gap(self.X, self.y, answer.coef, self.alphas)) / self.null


def largest(X, y):
    """The least alpha for which every coefficient is zero."""
    return np.abs(X.T @ y).max() / len(y)


def tiny(shape, otherwise):
    """A size that only shows that a race runs, where that is asked for."""
    return shape if data.size() == "tiny" else otherwise


def skglm_options(problem, tol):
    """Its tolerance is that of a distance of gradients, and absolute: here it is in units of the largest alpha."""
    # as many epochs as by default, over more working sets, as for celer
    return {"tol": tol * float(np.max(problem.alphas)), "fit_intercept": False, "max_iter": 200, "max_epochs": 5_000}


# Paths ---------------------------------------------------------------------------------------------------------------


def _lasso_path(library, order):
    def prepare(problem, dtype):
        lasso_path = linear_model(library).lasso_path
        X, y = problem.arrays(dtype, order)
        # scikit-learn holds the Gram matrix where n > p: that is the default of both
        options = {"alphas": problem.alphas, "max_iter": 1000 * ITERATIONS, "return_n_iter": True}

        def solve(tol):
            _, coef, gaps, passes = lasso_path(X, y, tol=tol, **options)
            return Answer(coef, passes=np.sum(passes), certificate=np.max(gaps) / problem.null, meaning="duality gap")

        return solve

    return prepare


def _celer_path(problem, dtype):
    from celer import celer_path

    X, y = problem.arrays(dtype, "F")
    alphas = problem.alphas.astype(dtype)  # others fail in single precision

    def solve(tol):
        # as many epochs as by default, over more working sets: 20 of 50 000 may take hours in single precision
        _, coef, gaps = celer_path(X, y, "lasso", alphas=alphas, tol=tol, prune=1, max_iter=200, max_epochs=5_000)
        return Answer(coef, certificate=np.max(gaps) / problem.null, meaning="duality gap")

    return solve


def _skglm_path(problem, dtype):
    from skglm import Lasso

    X, y = problem.arrays(dtype, "F")

    def solve(tol):
        _, coef, distances, _ = Lasso(**skglm_options(problem, tol)).path(X, y, problem.alphas)
        return Answer(coef, certificate=np.max(distances), meaning="distance to the subdifferential")

    return solve


PATHS = both(
    [
        ("jaxlearn", _lasso_path("jaxlearn", "C")),
        ("scikit-learn", _lasso_path("sklearn", "F")),
        ("celer", _celer_path),
        ("skglm", _skglm_path),
    ]
)


def _path(name, title, read, *, ratio=1e-2, targets=(1e-6,), rows=PATHS, full_only=True):
    def load():
        X, y, source = read()
        return LassoPath(X, y, source, largest(X, y) * np.geomspace(1, ratio, tiny(20, 100)))

    return Workload(name, f"Lasso path, 100 alphas, {title}", load, rows, targets, full_only)


def _equicorrelated(n, p, rho, full_only=True, ratio=1e-2, **signal):
    return _path(
        f"lasso_equi_{n}x{p}_rho{rho:g}",
        f"{n}×{p} equicorrelated, rho {rho:g}",
        lambda: data.equicorrelated(*tiny((50, 300) if n < p else (300, 30), (n, p)), rho, **signal),
        ratio=ratio,
        full_only=full_only,
    )


# Single strengths ----------------------------------------------------------------------------------------------------


def _single(problem, dtype, Lasso, **options):
    X, y = problem.arrays(dtype, "C" if Lasso.__module__.startswith("jaxlearn") else "F")
    alpha = problem.alphas.astype(dtype)[0]  # celer fails in single precision with another

    def solve(tol):
        m = Lasso(alpha=alpha, fit_intercept=False, tol=tol, **options).fit(X, y)
        return Answer(m.coef_[:, None], passes=m.n_iter_, certificate=m.dual_gap_ / problem.null, meaning="duality gap")

    return solve


def _lasso(library):
    return lambda problem, dtype: _single(problem, dtype, linear_model(library).Lasso, max_iter=1000 * ITERATIONS)


def _celer(problem, dtype):
    from celer import Lasso

    return _single(problem, dtype, Lasso, max_iter=100 * ITERATIONS, max_epochs=5_000)


def _skglm(problem, dtype):
    from skglm import Lasso

    X, y = problem.arrays(dtype, "F")

    def solve(tol):
        m = Lasso(alpha=problem.alphas[0], **skglm_options(problem, tol)).fit(X, y)
        return Answer(m.coef_[:, None], certificate=m.stop_crit_, meaning="distance to the subdifferential")

    return solve


SINGLE = both(
    [("jaxlearn", _lasso("jaxlearn")), ("scikit-learn", _lasso("sklearn")), ("celer", _celer), ("skglm", _skglm)]
)


def _one(name, title, read, share, **options):
    def load():
        X, y, source = read()
        return LassoPath(X, y, source, share * largest(X, y) * np.ones(1))

    return Workload(
        f"{name}_{share:g}", f"Lasso, {title}, alpha {share:g} of the largest", load, SINGLE, (1e-6,), **options
    )


def _polynomial(d, n, p, share):
    return _one(
        f"lasso_poly_{n}x{p}",
        f"{n}×{p} monomials of {d} variables",
        lambda: recipes.polynomial(*tiny((4, 60), (d, n)), degree=tiny(4, 7)),
        share,
        full_only=True,
        cutoff=10.0,
    )


def _toeplitz(n, p, share):
    s = max(5, min(n, p) // 10)
    return _one(
        f"lasso_toep_{n}x{p}",
        f"{n}×{p} AR(1) columns",
        lambda: recipes.toeplitz(*tiny((60, 200) if n < p else (200, 40), (n, p)), s=tiny(5, s)),
        share,
        full_only=(n, p) != (500, 600),
    )


WORKLOADS = {
    w.name: w
    for w in [
        _path("lasso_leukemia", "leukemia 72×7129", data.leukemia, targets=(1e-4, 1e-6), full_only=False),
        _path("lasso_colon", "colon 62×2000", data.colon),
        _path("lasso_sarcoma", "sarcoma 105×22283", data.sarcoma),
        *(_equicorrelated(200, 5_000, rho, full_only=rho != 0.4) for rho in (0, 0.4, 0.8)),
        *(_equicorrelated(400, 40_000, rho) for rho in (0, 0.4, 0.8)),
        *(_equicorrelated(10_000, 100, rho, ratio=1e-4, s=5, snr=1.0) for rho in (0, 0.4, 0.8)),
        _path(
            "lasso_words_4000x40000",
            "4000×40000 sparse, unscaled",
            lambda: recipes.words(*tiny((100, 400), (4000, 40_000))),
            rows=[row for row in PATHS if row.library != "skglm"],
        ),
        *(_polynomial(*size, share) for size in ((8, 4177, 6435), (14, 252, 116_280)) for share in (1e-3, 1e-4)),
        *(_toeplitz(n, p, share) for n, p in ((100, 10_000), (500, 600), (10_000, 100)) for share in (0.1, 0.05, 0.01)),
    ]
}
