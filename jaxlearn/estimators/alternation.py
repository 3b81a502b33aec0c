"""The loop of codes and atoms in turn, from the host: where it starts, its dispatches and its callback."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import linalg
from sklearn.utils.extmath import svd_flip

from jaxlearn.access.dense import as_design
from jaxlearn.objectives import L1, L2Ball
from jaxlearn.solvers.alternating import Alternating, Factors
from jaxlearn.solvers.protocols import Problem
from jaxlearn.solvers.refined_codes import ITERATIONS
from jaxlearn.solvers.solution import CONVERGED, MAX_STEPS, NONFINITE, Budget, Solution
from jaxlearn.solvers.solve import solve

from .base import number, warn_unless_converged
from .encoding import encode_rows, tolerance
from .rows import place_rows

__all__ = ["Learnt", "adopt", "alternate", "warn_if_nothing"]

# Steps of one dispatch; and between two calls of a callback, of which the first is after one step.
DISPATCH, EVERY = 64, 5


class Learnt(NamedTuple):
    """What `alternate` found: certified codes, on the final dictionary."""

    codes: np.ndarray
    dictionary: np.ndarray
    errors: np.ndarray
    n_iter: int
    status: int
    decrease: float
    n_reseeded: int
    gap: float


def adopt(estimator: Any, learnt: Learnt, dtype: Any) -> None:
    """Set what the fit says of itself, and warn of what fell short."""
    estimator.error_, estimator.n_iter_, estimator.n_reseeded_ = learnt.errors, learnt.n_iter, learnt.n_reseeded
    estimator.certificate_, estimator.converged_ = learnt.decrease, learnt.status == CONVERGED
    if learnt.n_iter == 0:  # nothing was asked for
        return
    warn_if_nothing(estimator.alpha, learnt.codes, getattr(estimator, "positive_code", False))
    tol, n_iter, gap = tolerance(dtype), learnt.n_iter, learnt.gap
    warn_unless_converged(
        estimator, learnt.status, learnt.decrease, Alternating.certificate, estimator.tol, n_iter, dtype
    )
    status = CONVERGED if gap <= tol else MAX_STEPS
    warn_unless_converged(estimator, status, gap, "duality gap of the codes", tol, n_iter, dtype)


def warn_if_nothing(alpha: float, codes: np.ndarray, positive: bool) -> None:
    """Say that a penalty left nothing of the codes."""
    if not codes.any():
        why = ", or the samples agree with no atom in sign" if positive else ""
        message = f"Every code is zero, and no atom was learnt: alpha={alpha} is too large{why}. Lower it."
        warnings.warn(message, UserWarning, stacklevel=4)


def alternate(
    X: Any,
    n_components: int,
    *,
    alpha: float,
    max_iter: int,
    tol: float,
    dict_init: Any = None,
    code_init: Any = None,
    callback: Callable[[dict], Any] | None = None,
    positive_dict: bool = False,
    positive_code: bool = False,
    method_max_iter: int = 1000,
) -> Learnt:
    """Codes of validated samples and atoms in turn; see `DictionaryLearning`."""
    dtype, n_samples = np.dtype(X.dtype), X.shape[0]
    codes, dictionary = _start(X, n_components, dict_init, code_init)
    errors: list[float] = []
    if max_iter == 0:
        return Learnt(codes, dictionary, np.array(errors), 0, MAX_STEPS, np.inf, 0, np.inf)
    penalty = L1(number(alpha, dtype), positive=positive_code)
    steps = np.int32(-(-method_max_iter // ITERATIONS))
    solver = Alternating(penalty, L2Ball(number(1, dtype), positive_dict), steps, DISPATCH)
    data = place_rows(X)
    codes = np.concatenate([codes, np.zeros((len(data.X) - n_samples, n_components), dtype)])
    with jax.enable_x64(dtype == np.float64):
        rows, factors = jnp.asarray(data.X), Factors.start(jnp.asarray(dictionary), jnp.asarray(codes))
        while True:
            wanted = DISPATCH if callback is None else EVERY if errors else 1
            count = min(wanted, max_iter - len(errors))
            found = _dispatch(solver, rows, factors, Budget(number(tol, dtype), np.int32(count)))
            factors, status = found.params, int(found.status)
            errors += np.asarray(found.state.costs[: int(found.n_steps)]).tolist()
            if status != MAX_STEPS or len(errors) == max_iter:
                break
            if callback is not None:
                callback(
                    {
                        "ii": len(errors) - 1,
                        "code": np.asarray(factors.codes)[:n_samples],
                        "dictionary": np.asarray(factors.dictionary),
                        "errors": list(errors),
                        "current_cost": errors[-1],
                    }
                )
        factors = jax.device_get(factors)
    if status == NONFINITE:
        raise ValueError(
            "The fit resulted in non-finite values. The input data may contain large values and need to be preprocessed."
        )
    atoms = np.array(factors.dictionary)  # which were moved after their last codes
    final = encode_rows(X, atoms, penalty, tol=tolerance(dtype), max_steps=int(steps), init=factors.codes[:n_samples])
    decrease, n_reseeded = float(factors.decrease), int(factors.n_reseeded)
    return Learnt(final.codes, atoms, np.array(errors), len(errors), status, decrease, n_reseeded, final.gap)


@jax.jit
def _dispatch(solver: Alternating, X: Array, factors: Factors, budget: Budget) -> Solution:
    return solve(Problem(None, as_design(X), None, None), solver, factors, budget=budget)  # pyright: ignore


def _start(X: Any, n_components: int, dict_init: Any, code_init: Any) -> tuple[np.ndarray, np.ndarray]:
    """Codes and a dictionary: those given, or singular vectors; of more components than there are, zero."""
    dtype, (n_samples, n_features) = np.dtype(X.dtype), X.shape
    if dict_init is None:
        if code_init is not None:
            raise ValueError("`code_init` needs `dict_init`: codes are of no use without the atoms that they are of.")
        codes, scale, dictionary = linalg.svd(np.asarray(X), full_matrices=False)
        codes, dictionary = map(np.asarray, svd_flip(codes, dictionary))
        known = scale > np.finfo(dtype).eps * max(X.shape) * scale.max(initial=0)
        dictionary = np.where(known[:, None], scale[:, None] * dictionary, 0)
    else:
        dictionary = np.asarray(dict_init, dtype)
        codes = np.zeros((n_samples, len(dictionary)), dtype) if code_init is None else np.asarray(code_init, dtype)
    if dictionary.ndim != 2 or dictionary.shape[1] != n_features or codes.shape != (n_samples, len(dictionary)):
        raise ValueError(
            f"`dict_init` of shape {dictionary.shape} and codes of shape {codes.shape} are no factors of X of shape {X.shape}."
        )
    missing = max(n_components - len(dictionary), 0)
    codes = np.pad(codes[:, :n_components], ((0, 0), (0, missing)))
    return codes.astype(dtype), np.pad(dictionary[:n_components], ((0, missing), (0, 0))).astype(dtype)
