"""The race of an elastic net whose strength and ratio are chosen by cross-validation: 5 folds × 100 alphas × 5 ratios."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from sklearn.model_selection import KFold

from . import recipes
from .evaluate import elastic_net_gap
from .lassos import largest, tiny
from .workloads import ITERATIONS, Answer, Problem, Workload, both, linear_model

__all__ = ["WORKLOADS", "CrossValidation"]

RATIOS = (0.1, 0.5, 0.7, 0.9, 1.0)
SHORTEST = 1e-2  # smallest alpha of a grid, in units of the largest


class CrossValidation(Problem):
    """The gap: the worst relative error of an entry of the table of errors, or that of the fit to all rows.

    Or, if larger, by how much the error of what was chosen exceeds the least one. The right table is made of paths that the
    judge finds to be within 1e-9 of the optimum.
    """

    n_alphas = 100

    @cached_property
    def grids(self):
        largest_alphas = largest(self.X, self.y) / np.array(RATIOS)
        return largest_alphas[:, None] * np.geomspace(1, SHORTEST, self.n_alphas)

    @cached_property
    def errors(self):
        """(n_ratios, n_alphas, n_folds)."""
        from jaxlearn.linear_model import enet_path

        errors = np.empty((len(RATIOS), self.n_alphas, 5))
        for k, (train, test) in enumerate(KFold(5).split(self.X)):
            X, y = self.X[train], self.y[train]
            for i, (ratio, alphas) in enumerate(zip(RATIOS, self.grids, strict=True)):
                # with an l2 part a path may end by the bound by strong convexity, far below the gap that is asked for
                tol = 1e-10 if ratio == 1 else 1e-18
                coef = enet_path(X, y, l1_ratio=ratio, alphas=alphas, tol=tol, max_iter=10_000)[1]
                gap = np.max(elastic_net_gap(X, y, coef, alphas, ratio)) / self.null
                if not gap <= 1e-9:
                    raise RuntimeError(
                        f"the path of l1_ratio={ratio} on fold {k}, to compare with, has a gap of {gap:.1e}"
                    )
                errors[i, :, k] = np.square(self.y[test, None] - self.X[test] @ coef).mean(0)
        return errors

    def gap(self, answer):
        wrong = np.abs(np.asarray(answer.errors, np.float64) / self.errors - 1).max()
        means, ratio = self.errors.mean(2), RATIOS.index(answer.l1_ratio)
        alpha = np.argmin(np.abs(self.grids[ratio] / answer.alpha - 1))
        excess = means[ratio, alpha] / means.min() - 1
        refit = elastic_net_gap(self.X, self.y, answer.coef, float(answer.alpha), answer.l1_ratio) / self.null
        return max(wrong, excess, refit)


class TinyCrossValidation(CrossValidation):
    n_alphas = 10


def _cross_validation(library, order):
    def prepare(problem, dtype):
        return _chooser(problem, dtype, linear_model(library).ElasticNetCV, order, max_iter=1000 * ITERATIONS)

    return prepare


def _celer(problem, dtype):
    return _chooser(problem, dtype, _celer_elastic_net_cv(), "F", max_iter=100 * ITERATIONS)


def _celer_elastic_net_cv():
    """celer's ElasticNetCV, which fails with scikit-learn 1.9: likewise scikit-learn's, with celer's path and refit."""
    import celer
    from sklearn.linear_model import ElasticNetCV

    def path(X, y, *, alphas, l1_ratio, tol, max_iter, **others):
        options = {"max_iter": max_iter, "max_epochs": 5_000, "prune": 1}
        return celer.celer_path(X, y, "lasso", alphas=alphas.astype(X.dtype), l1_ratio=l1_ratio, tol=tol, **options)

    class CelerElasticNetCV(ElasticNetCV):
        def _get_estimator(self):
            return celer.ElasticNet()

    CelerElasticNetCV.path = staticmethod(path)
    return CelerElasticNetCV


def _chooser(problem, dtype, ElasticNetCV, order, **options):
    X, y = problem.arrays(dtype, order)
    # of jaxlearn folds are one program: n_jobs has no meaning
    options |= {
        "l1_ratio": RATIOS,
        "eps": SHORTEST,
        "alphas": problem.n_alphas,
        "cv": 5,
        "fit_intercept": False,
        "n_jobs": 2,
    }

    def solve(tol):
        m = ElasticNetCV(tol=tol, **options).fit(X, y)
        return Answer(
            m.coef_,
            alpha=m.alpha_,
            certificate=m.dual_gap_ / problem.null,
            meaning="duality gap of the last fit",
            l1_ratio=float(m.l1_ratio_),
            errors=m.mse_path_,
        )

    return solve


def _load():
    X, y, source = recipes.toeplitz(*tiny((60, 100), (1000, 5000)), s=tiny(5, 100))
    return tiny(TinyCrossValidation, CrossValidation)(X, y, source)


WORKLOADS = {
    w.name: w
    for w in [
        Workload(
            "elastic_net_cv",
            "Elastic net, 5 folds, 100 alphas, 5 ratios, 1000×5000 AR(1) columns",
            _load,
            both(
                [
                    ("jaxlearn", _cross_validation("jaxlearn", "C")),
                    ("scikit-learn n_jobs=2", _cross_validation("sklearn", "F")),
                    ("celer n_jobs=2", _celer),
                ]
            ),
            (1e-3, 1e-4),
            full_only=True,
        )
    ]
}
