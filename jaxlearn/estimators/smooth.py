"""Smooth losses by the solver that is asked for, or by L-BFGS and then Newton's method."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import numpy as np

from jaxlearn.models.glm import GLM, FittedGLM
from jaxlearn.solvers.sampled_newton import PASSES, PASSES_FOR_A_FEATURE, passes_for_hessian
from jaxlearn.solvers.solution import MAX_STEPS
from jaxlearn.solvers.variance_reduced import METHODS

from .base import NO_SEED, compute
from .inputs import Data
from .programs import smooth

__all__ = ["SOLVERS", "minimise", "named", "path_solver", "patience"]

# Ours under the names of an estimator.
SOLVERS: dict[str, str] = {"auto": "lbfgs", "lbfgs": "lbfgs", "newton-cholesky": "newton"}
SOLVERS |= {f"sketchy-{method}": method for method in METHODS}

# Newton's method from where L-BFGS has got to: about so many passes, and Hessians; of samples, which cost no more than a few
# passes, as long as four problems of two classes took (100,000 × 400 to 10⁶ × 28: 11 to 16 steps).
NEWTON_PASSES, NEWTON_HESSIANS, SAMPLED_PASSES = 7, 3, 25
# Most coefficients whose Hessian auto would form, and flops of passes that cost less than to compile a second program.
MOST_COEFFICIENTS, CHEAP = 1024, 4e9
# Of a path, whose fits begin near their ends: Newton's method took 1 to 8 steps for each of ten strengths, 3.6 in the mean,
# where L-BFGS took 1 to 30 passes, and up to 88 where the features had scales of their own (iris, wine, digits). With 30 in
# the place of 20, Newton's method would be chosen for 40,000 rows of 100 features, where it took twice as long.
PATH_STEPS, PATH_PASSES = 4, 20


def n_classes(data: Data) -> int:
    """Columns of coefficients."""
    return data.y.shape[1] if data.y.ndim > 1 else 1


def second_order(data: Data) -> str:
    """``newton``, or ``sampled_newton`` where Hessians of all rows take long: of dense rows."""
    dear = passes_for_hessian(data.n_features, n_classes(data)) > 2 * PASSES
    return "sampled_newton" if dear and not data.is_sparse else "newton"


def hessian_passes(data: Data) -> float:
    """A Hessian and its factor, in passes over the data."""
    n, p, k = data.n_samples, data.n_features, n_classes(data)
    return passes_for_hessian(p, k) + PASSES_FOR_A_FEATURE * (p * k) ** 2 / (6 * n)


def patience(data: Data) -> int:
    """Passes after which ``auto`` leaves L-BFGS for Newton's method.

    As many as Newton's method is estimated to cost, so that in hindsight about twice the best of the two was paid at most.
    """
    if data.n_features * n_classes(data) > MOST_COEFFICIENTS:
        return np.iinfo(np.int32).max
    sampled = second_order(data) == "sampled_newton"
    passes = SAMPLED_PASSES if sampled else NEWTON_PASSES + NEWTON_HESSIANS * hessian_passes(data)
    return int(max(passes, CHEAP / (4 * data.n_samples * data.n_features * n_classes(data))))


def path_solver(data: Data) -> str:
    """A Newton method or ``lbfgs``, whichever is estimated to follow a path of smooth fits in less time.

    In passes: one Gram matrix and its factor is what L-BFGS has its metric of.
    """
    if data.n_features * n_classes(data) > MOST_COEFFICIENTS:
        return "lbfgs"
    gram = PASSES_FOR_A_FEATURE * (data.n_features + data.n_features**2 / (6 * data.n_samples * n_classes(data)))
    newton = PATH_STEPS * (1 + hessian_passes(data)) <= PATH_PASSES + gram
    return second_order(data) if newton else "lbfgs"


def named(solver: str, data: Data) -> str:
    """What runs under the name of a solver; other names of scikit-learn's are those of methods that stand for them.

    Newton's by conjugate gradients are Newton's method where Hessians are cheap, which ends with as many digits, else L-BFGS.
    """
    if solver in ("newton-cg", "liblinear"):
        return path_solver(data)
    name = SOLVERS.get(solver, "lbfgs")
    return second_order(data) if name == "newton" else name


def minimise(
    data: Data, model: GLM, start: Any, *, solver: str, max_iter: int, drawn: np.ndarray = NO_SEED, change: bool = True
) -> tuple[FittedGLM, str]:
    """The fit, and what ran.

    Parameters
    ----------
    data : Data
    model : GLM
        Its solver and number of steps are replaced.
    start : (coef, intercept)
    solver : str
        Of `SOLVERS`, or another name of scikit-learn's.
    max_iter : int
        Passes, of all solvers together.
    drawn : ndarray
        Seeds solvers that draw rows.
    change : bool
        Whether ``auto`` may go on with Newton's method, which wants a convex loss.
    """
    name = named(solver, data)
    if name in METHODS and data.is_sparse:
        raise ValueError(f"solver={solver!r} takes dense rows; for a sparse X use solver='auto'.")

    def run(name: str, start: Any, max_steps: int) -> FittedGLM:
        return compute(
            smooth, data, dataclasses.replace(model, solver=name, max_steps=np.int32(max_steps)), start, drawn
        )

    most = patience(data) if solver == "auto" and change else max_iter
    fitted = run(name, start, min(most, max_iter))
    if fitted.status != MAX_STEPS or fitted.n_steps >= max_iter:
        return fitted, name
    name = second_order(data)
    rest = run(name, (fitted.coef, fitted.intercept), max_iter - int(fitted.n_steps))
    return eqx.tree_at(lambda f: f.n_steps, rest, fitted.n_steps + rest.n_steps), f"lbfgs, then {name}"
