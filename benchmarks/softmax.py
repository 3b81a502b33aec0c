"""Logistic regression of many classes beside scikit-learn's solvers: ``python -m benchmarks.softmax``.

Images of ten kinds of clothes (60,000 × 784, alpha 1e-4 of a mean loss) and seven kinds of forest (92,962 × 54, standardised, C = 1);
`JAXLEARN_BENCH_FULL=1` for all images. Newton's method is not asked for images: its Hessian of 7850² numbers takes 55 Gram matrices
of all rows a step, a minute on two cores.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from . import data
from .evaluate_logistic import TruncatedNewton
from .reach import command
from .workloads import ITERATIONS, Answer, LogisticProblem, Row, Workload

__all__ = ["WORKLOADS"]


class Softmax(LogisticProblem):
    """The one alpha is the strength beside a mean loss."""

    @cached_property
    def judge(self):
        return TruncatedNewton(self.X, self.y, self.alphas[0])


def _way(library, solver):
    def prepare(problem, dtype):
        if library == "jaxlearn":
            from jaxlearn.linear_model import LogisticRegression
        else:
            from sklearn.linear_model import LogisticRegression
        X, y = problem.arrays(dtype)
        C = 1 / (problem.alphas[0] * len(X))

        def solve(tol):
            m = LogisticRegression(C=C, solver=solver, tol=tol, max_iter=100 * ITERATIONS).fit(X, y)
            certificate = getattr(m, "certificate_", None)
            return Answer(m.coef_, m.intercept_, passes=np.max(m.n_iter_), certificate=certificate, meaning="gradient")

        return solve

    return prepare


def _rows(*solvers):
    """Ours by these solvers and ``auto``, scikit-learn's by these and Newton's method with conjugate gradients."""
    ways = [("jaxlearn", solver) for solver in ("auto", *solvers)] + [
        ("scikit-learn", solver) for solver in (*solvers, "newton-cg")
    ]
    return [
        Row(f"{who} {solver}", dtype, _way(who, solver)) for who, solver in ways for dtype in ("float64", "float32")
    ]


def _images():
    X, Y, source = data.fashion()
    return Softmax(X, Y.argmax(1), source, np.array([1e-4]))


def _forest():
    X, y, source = data.covertype()
    return Softmax(X, y, source, np.array([1 / len(X)]))


WORKLOADS = {
    w.name: w
    for w in [
        Workload("images", "Softmax, images, 10 classes, alpha 1e-4", _images, _rows("lbfgs"), (1e-6,)),
        Workload("forest", "Softmax, covertype, 7 classes, C=1", _forest, _rows("lbfgs", "newton-cholesky"), (1e-6,)),
    ]
}


def main(arguments=None) -> None:
    about = "Multinomial logistic regression with an l2 penalty; gaps of the objective in units of the entropy of the classes."
    command("softmax", "Logistic regression of many classes", about, WORKLOADS, arguments)


if __name__ == "__main__":
    main()
