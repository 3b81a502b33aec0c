"""The races: what is solved, how an answer is judged, and each library's own way of solving it.

A library is called as its users call it, with NumPy arrays in and out, and X in the memory order that it prefers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np
import scipy.sparse

from . import data
from .evaluate import Logistic, Ridge, elastic_net_null

__all__ = ["ITERATIONS", "WORKLOADS", "Answer", "Problem", "Row", "Workload", "both", "linear_model"]

ITERATIONS = 10  # every library may take this many times its default


@dataclass(frozen=True)
class Answer:
    """What a library returned, with what it says itself about passes over the data and its certificate."""

    coef: Any
    intercept: Any = 0.0
    alpha: float | None = None  # where the library has chosen one
    passes: float | None = None
    certificate: float | None = None  # in units of the empty model's objective where it is a gap
    meaning: str | None = None
    l1_ratio: float | None = None  # as alpha
    errors: Any = None  # by which it has chosen: of each alpha on each fold


@dataclass
class Problem:
    """Data, and the relative gap of an answer: the worst of a grid, in units of the empty model's objective."""

    X: Any  # an array, or scipy sparse
    y: np.ndarray
    source: str
    alphas: np.ndarray = field(default_factory=lambda: np.ones(1))

    def __post_init__(self):
        self.arrays = cache(self._arrays)  # all rows of one dtype and order share one copy

    def _arrays(self, dtype: str, order: str = "C") -> tuple[Any, np.ndarray]:
        labels = self.y.dtype.kind != "f"
        if scipy.sparse.issparse(self.X):
            X = self.X.asformat({"C": "csr", "F": "csc"}[order]).astype(dtype)
        else:
            X = np.asarray(self.X, dtype, order=order)
        return X, self.y if labels else self.y.astype(dtype, order=order)

    @property
    def null(self) -> float:
        return elastic_net_null(self.y)

    def gap(self, answer: Answer) -> float:
        raise NotImplementedError


class RidgeGrid(Problem):
    @cached_property
    def judge(self):
        return Ridge(self.X, self.y)

    @property
    def null(self):
        return self.judge.null

    def gap(self, answer):
        fits = zip(answer.coef, answer.intercept, self.alphas, strict=True)
        return np.max([self.judge.gap(b, c, alpha / len(self.X)) for b, c, alpha in fits]) / self.null


class RidgeLeaveOneOut(RidgeGrid):
    """The alpha that leave-one-out prefers counts too: by how much its error exceeds the grid's least."""

    @cached_property
    def errors(self):
        return {alpha: self.judge.leave_one_out(alpha / len(self.X)) for alpha in self.alphas}

    def gap(self, answer):
        chosen = min(self.alphas, key=lambda alpha: abs(alpha - answer.alpha))
        excess = self.errors[chosen] / min(self.errors.values()) - 1
        return max(excess, self.judge.gap(answer.coef, answer.intercept, chosen / len(self.X)) / self.null)


class LogisticProblem(Problem):
    @cached_property
    def judge(self):
        return Logistic(self.X, self.y, 1 / len(self.X))  # C = 1

    @property
    def null(self):
        return self.judge.null

    def gap(self, answer):
        return self.judge.gap(answer.coef, answer.intercept) / self.null


@dataclass(frozen=True)
class Row:
    """One library's way: ``prepare(problem, dtype)`` is not timed, the ``solve(tol) -> Answer`` that it returns is."""

    library: str
    dtype: str
    prepare: Callable[[Problem, str], Callable[[float | None], Answer]]
    iterative: bool = True  # otherwise there is no tolerance to find

    @property
    def name(self) -> str:
        return f"{self.library}, {self.dtype}"

    @property
    def ours(self) -> bool:
        return self.library.startswith("jaxlearn")


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    load: Callable[[], Problem]
    rows: list[Row]
    targets: tuple[float, ...]
    full_only: bool = False
    cutoff: float | None = None  # a peer's fit is ended after so many times ours


def linear_model(library):
    """The module of that name, of jaxlearn or of scikit-learn."""
    if library == "jaxlearn":
        import jaxlearn.linear_model as names
    else:
        import sklearn.linear_model as names
    return names


# Ridge, in scikit-learn's scale of alpha --------------------------------------------------------------------------


def _jaxlearn_ridge_grid(problem, dtype):
    import jax
    import jax.numpy as jnp

    from jaxlearn.models import glm
    from jaxlearn.objectives import L2

    X, y = problem.arrays(dtype)
    strengths = (problem.alphas / len(X)).astype(dtype)

    @jax.jit
    def grid(X, y, strengths):
        fitted = jax.vmap(lambda strength: glm.fit(glm.GLM(penalty=L2(strength)), X, y))(strengths)
        return fitted.coef, fitted.intercept, jnp.max(fitted.residual)

    def solve(tol):
        with jax.enable_x64(dtype == "float64"):
            coef, intercept, residual = jax.device_get(grid(X, y, strengths))
        return Answer(coef, intercept, certificate=residual, meaning="residual of the normal equations")

    return solve


def _ridge_loop(library):
    def prepare(problem, dtype):
        X, y = problem.arrays(dtype)
        Ridge = linear_model(library).Ridge

        def solve(tol):
            fits = [Ridge(alpha).fit(X, y) for alpha in problem.alphas]
            residual = max(getattr(m, "certificate_", np.nan) for m in fits) if library == "jaxlearn" else None
            return Answer(
                [m.coef_.T for m in fits],
                [m.intercept_ for m in fits],
                certificate=residual,
                meaning="residual of the normal equations",
            )

        return solve

    return prepare


def _ridge_cv(library):
    def prepare(problem, dtype):
        X, y = problem.arrays(dtype)
        RidgeCV = linear_model(library).RidgeCV

        def solve(tol):
            m = RidgeCV(problem.alphas).fit(X, y)
            return Answer(m.coef_.T, m.intercept_, alpha=m.alpha_)

        return solve

    return prepare


def _ridge_problem(kind, n=None):
    X, y, source = data.fashion()
    if n is not None and n < len(X):
        X, y, source = X[:n], y[:n], f"{source}, first {n} rows"
    return kind(X, y, source, np.geomspace(1e-1, 1e5, 20))


# Logistic regression, C = 1 ---------------------------------------------------------------------------------------


def _logistic(library, solver):
    def prepare(problem, dtype):
        X, y = problem.arrays(dtype)
        LogisticRegression = linear_model(library).LogisticRegression

        def solve(tol):
            m = LogisticRegression(solver=solver, tol=tol, max_iter=100 * ITERATIONS).fit(X, y)
            certificate = m.certificate_ if library == "jaxlearn" else None
            return Answer(m.coef_, m.intercept_, passes=np.max(m.n_iter_), certificate=certificate, meaning="gradient")

        return solve

    return prepare


def _logistic_problem(binary):
    if binary:
        X, y, source = data.covertype()
        return LogisticProblem(X, (y == 2).astype(int), source)
    return LogisticProblem(*data.covertype(quick=20_000))


# The table ---------------------------------------------------------------------------------------------------------


def both(ways: Iterable[tuple], **options) -> list[Row]:
    """Each way in double and in single precision: no single-precision row stands without its double."""
    return [Row(library, dtype, prepare, **options) for library, prepare in ways for dtype in ("float64", "float32")]


LOGISTIC = both(
    (f"{name} {solver}", _logistic(library, solver))
    for name, library in (("jaxlearn", "jaxlearn"), ("scikit-learn", "sklearn"))
    for solver in ("lbfgs", "newton-cholesky")
)


WORKLOADS = {
    w.name: w
    for w in [
        Workload(
            "ridge_grid",
            "Ridge, 20 alphas, 10 targets, images of 784 pixels",
            lambda: _ridge_problem(RidgeGrid),
            both(
                [
                    ("jaxlearn one program", _jaxlearn_ridge_grid),
                    ("jaxlearn Ridge x 20", _ridge_loop("jaxlearn")),
                    ("scikit-learn Ridge x 20", _ridge_loop("sklearn")),
                ],
                iterative=False,
            ),
            (1e-6,),
        ),
        Workload(
            "ridge_cv",
            "RidgeCV (leave one out), 20 alphas, 10 targets, images of 784 pixels",
            lambda: _ridge_problem(RidgeLeaveOneOut, 5_000),
            both(
                [("jaxlearn RidgeCV", _ridge_cv("jaxlearn")), ("scikit-learn RidgeCV", _ridge_cv("sklearn"))],
                iterative=False,
            ),
            (1e-6,),
        ),
        Workload(
            "logistic_binary",
            "Logistic regression, covertype, class 2 against the rest, C=1",
            lambda: _logistic_problem(binary=True),
            LOGISTIC,
            (1e-6,),
        ),
        Workload(
            "logistic_multinomial",
            "Logistic regression, covertype, 7 classes, C=1",
            lambda: _logistic_problem(binary=False),
            LOGISTIC,
            (1e-6,),
        ),
    ]
}
