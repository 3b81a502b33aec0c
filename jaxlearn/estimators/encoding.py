"""Codes of many rows, in chunks of one shape; rows that are done leave, and the others are worked on in fuller chunks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxlearn.access.buckets import row_bucket
from jaxlearn.models._codes import correlate, encode_correlations
from jaxlearn.objectives import L1, L2, Penalty
from jaxlearn.solvers.least_angle import least_angle
from jaxlearn.solvers.orthogonal_matching_pursuit import matching_pursuit
from jaxlearn.solvers.protocols import Problem
from jaxlearn.solvers.refined_codes import ITERATIONS, RefinedCodes
from jaxlearn.solvers.solution import CONVERGED, MAX_STEPS, Budget
from jaxlearn.solvers.solve import solve

from .base import number, warn_unless_converged

__all__ = ["Encoded", "encode", "encode_rows", "refuse_positive", "tolerance"]

# Rows of a chunk; and of one that is worked on until all of its rows are done.
CHUNK, LAST = 1024, 64
# ρ of the method of multipliers, for most rows and for those that took more steps.
STIFFNESS, PATIENT = (0.5, 0.1), 2
# Decades between correlations and a penalty from which on stronger ones come before it; and how many do at most.
WEAK, MOST_DECADES = 3.5, 12
# Numbers that the bases of a chunk of pursuits may have.
BASES = 1 << 24


class Encoded(NamedTuple):
    """Codes and their certificate.

    Attributes
    ----------
    codes : ndarray, (n, k)
    gap : float
        The largest duality gap of a row, in units of ``½ ‖x‖²``.
    converged : bool
        Whether it is at most the tolerance.
    """

    codes: np.ndarray
    gap: float
    converged: bool


def tolerance(dtype: Any) -> float:
    """Largest duality gap of a code, in units of ``½ ‖x‖²``."""
    return 1e-8 if dtype == np.float64 else 1e-4


def refuse_positive(algorithm: str, positive: bool) -> None:
    """Say which algorithms know no signs."""
    if positive and algorithm in ("omp", "lars"):
        raise ValueError(f"Positive constraint not supported for '{algorithm}' coding method.")


def encode(
    name: Any,
    X: Any,
    dictionary: np.ndarray,
    *,
    algorithm: str = "lasso_lars",
    n_nonzero_coefs: int | None = None,
    alpha: float | None = None,
    max_iter: int = 1000,
    positive: bool = False,
    gram: Any = None,
    cov: Any = None,
    init: Any = None,
) -> np.ndarray:
    """Codes of validated rows; see `sparse_encode`. `name` is who warns."""
    if dictionary.shape[1] != X.shape[1]:
        raise ValueError(
            f"Dictionary and X have different numbers of features:dictionary.shape: {dictionary.shape} X.shape{X.shape}"
        )
    refuse_positive(algorithm, positive)
    dtype = np.dtype(X.dtype)
    dictionary = dictionary.astype(dtype, copy=False)
    penalty = L1(1.0 if alpha is None else alpha, positive=positive)
    correlations = None if cov is None else np.asarray(cov, dtype).T
    if algorithm in ("lasso_lars", "lasso_cd"):
        tol, steps = tolerance(dtype), math.ceil(max_iter / ITERATIONS)
        codes, gap, converged = encode_rows(
            X, dictionary, penalty, tol=tol, max_steps=steps, gram=gram, correlations=correlations, init=init
        )
        status = CONVERGED if converged else MAX_STEPS
        warn_unless_converged(name, status, gap, "duality gap", tol, steps * ITERATIONS, dtype)
        return codes
    count = _n_nonzero(n_nonzero_coefs, *dictionary.shape) if algorithm != "threshold" else 0
    if algorithm == "omp" and count > len(dictionary):
        raise ValueError("The number of atoms cannot be more than the number of features")
    count = min(count, len(dictionary))
    penalty = jax.tree.map(lambda leaf: number(leaf, dtype), penalty)
    size = min(CHUNK, row_bucket(len(X)), max(BASES // max(count * len(dictionary), 1), 1))
    codes = np.zeros((len(X), len(dictionary)), dtype)
    with jax.enable_x64(dtype == np.float64):
        gram = dictionary @ dictionary.T if gram is None else gram
        fixed = jnp.asarray(dictionary), jnp.asarray(gram, dtype), penalty
        program = partial(_directly, *fixed, algorithm=algorithm, n_nonzero=count)
        for rows, found in map_chunks(program, (X, correlations), np.arange(len(X)), size):
            codes[rows] = found
    return codes


def _n_nonzero(wanted: int | None, n_components: int, n_features: int) -> int:
    return int(min(max(n_features / 10, 1), n_components)) if wanted is None else wanted


def encode_rows(
    X: Any,
    dictionary: Any,
    penalty: Penalty,
    *,
    tol: float,
    max_steps: int,
    gram: Any = None,
    correlations: Any = None,
    init: Any = None,
) -> Encoded:
    """Minimise ``½ ‖x − a D‖² + Ω(a)`` for each row x, until every one is certified.

    Parameters
    ----------
    X : {ndarray, jax.Array} of shape (n, p)
        In the dtype to compute in.
    dictionary : (k, p)
        D.
    penalty : ElasticNet or L2
        Ω.
    tol : float
        Largest duality gap of a row, in units of ``½ ‖x‖²``.
    max_steps : int
        Steps of `RefinedCodes` that a row may take.
    gram : (k, k), optional
        ``D Dᵀ``, in place of what would be computed.
    correlations : (n, k), optional
        ``X Dᵀ``, likewise.
    init : (n, k), optional
        Codes to start from.

    Returns
    -------
    Encoded
    """
    dtype, n, k = np.dtype(X.dtype), X.shape[0], dictionary.shape[0]
    codes = np.zeros((n, k), dtype) if init is None else np.array(init, dtype)
    gaps = np.full(n, np.inf, dtype)
    penalty = jax.tree.map(lambda leaf: number(leaf, dtype), penalty)
    closed = isinstance(penalty, L2)

    with jax.enable_x64(dtype == np.float64):
        fixed = tuple(None if a is None else jnp.asarray(a, dtype) for a in (dictionary, gram))

        def work(penalty: Penalty, rows: np.ndarray, count: int, size: int, stiffness: float = STIFFNESS[0]) -> None:
            settings = penalty, number(stiffness, dtype), Budget(number(tol, dtype), np.int32(count))
            for chunk, found in map_chunks(partial(_advance, *fixed, settings), (X, correlations, codes), rows, size):
                codes[chunk], gaps[chunk] = found

        pending, size, steps = np.arange(n), min(CHUNK, row_bucket(n)), 0
        if init is None and not closed:
            largest, positive = np.empty(n, dtype), penalty.positive  # pyright: ignore
            program = partial(_largest, fixed[0], positive=positive)
            for chunk, found in map_chunks(program, (X, correlations), pending, size):
                largest[chunk] = found
            strength = float(penalty.strengths(jnp.zeros(1, dtype))[0][0])
            zero = largest <= strength  # no atom is worth its penalty
            gaps[zero], pending = 0, pending[~zero]
            for easier in _easier(penalty, largest, strength) if max_steps > 1 else ():
                work(easier, pending, 1, size)
        while len(pending) and steps < max_steps:
            last = closed or len(pending) <= LAST
            # rows that took longer are given longer: no end of a round undoes what multipliers have gained
            count = max_steps - steps if last else min(max(steps, 1), max_steps - steps)
            stiffness = STIFFNESS[steps >= PATIENT]
            work(penalty, pending, count, min(size, row_bucket(LAST)) if last and steps else size, stiffness)
            pending, steps = pending[~(gaps[pending] <= tol)], steps + count
    codes += 0.0  # a zero has no sign
    gap = float(gaps.max(initial=0))
    return Encoded(codes, gap, gap <= tol)


def _easier(penalty: Penalty, largest: np.ndarray, strength: float) -> list[Penalty]:
    """Penalties ten times as strong as each other, that come before one that is much weaker than the correlations.

    Of codes that explain a sample alike, a weak penalty prefers the smaller ones so little that few steps would not tell.
    """
    typical = float(np.median(largest))
    decades = math.log10(typical / strength) if strength > 0 and typical > 0 else 0
    if decades < WEAK:
        return []
    alpha = penalty.alpha  # pyright: ignore
    powers = range(min(int(decades) - 1, MOST_DECADES), 0, -1)
    return [eqx.tree_at(lambda p: p.alpha, penalty, (alpha * 10.0**j).astype(largest.dtype)) for j in powers]  # pyright: ignore


def map_chunks(program: Callable[..., Any], arrays: tuple[Any, ...], rows: np.ndarray, size: int) -> Iterator[tuple]:
    """Results of a compiled program for chunks of `size` rows, one of which is computed while another is fetched.

    Parameters
    ----------
    program : callable
        Of chunks of `arrays`, and of which of their rows are there.
    arrays : tuple of (n, …) arrays or None
    rows : (m,) of int
        Which rows.
    size : int
        The last chunk is filled up with a row that is there.

    Yields
    ------
    rows : ndarray
    result : pytree of ndarray
        Of these rows.
    """

    def fetched(chunk: np.ndarray, result: Any) -> tuple[np.ndarray, Any]:
        return chunk, jax.tree.map(lambda leaf: np.asarray(leaf)[: len(chunk)], result)

    before = None
    for start in range(0, len(rows), size):
        chunk = rows[start : start + size]
        filled = np.concatenate([chunk, np.full(size - len(chunk), chunk[0])])
        there = np.arange(size) < len(chunk)
        result = program(*(None if a is None else a[filled] for a in arrays), there)
        if before is not None:
            yield fetched(*before)
        before = chunk, result
    if before is not None:
        yield fetched(*before)


@partial(jax.jit, static_argnames="positive")
def _largest(dictionary: Array, X: Array, correlations: Any, there: Array, *, positive: bool) -> Array:
    """Of each row, the largest correlation with an atom."""
    seen = correlate(dictionary, X, there.astype(X.dtype), correlations=correlations).correlations
    return (seen if positive else jnp.abs(seen)).max(1)


@jax.jit
def _advance(
    dictionary: Array,
    gram: Any,
    settings: tuple[Any, Array, Budget],
    X: Array,
    correlations: Any,
    codes: Array,
    there: Array,
) -> tuple[Array, Array]:
    penalty, stiffness, budget = settings
    seen = correlate(dictionary, X, there.astype(X.dtype), gram=gram, correlations=correlations)
    if isinstance(penalty, L2):
        return encode_correlations(seen, penalty, budget).codes, jnp.zeros(len(X), X.dtype)
    state = solve(
        Problem(None, seen, None, None), RefinedCodes(penalty, stiffness=stiffness), codes, budget=budget
    ).state
    return state.codes, jnp.where(state.unit > 0, state.gaps / jnp.where(state.unit > 0, state.unit, 1), 0)


@partial(jax.jit, static_argnames=("algorithm", "n_nonzero"))
def _directly(
    dictionary: Array,
    gram: Array,
    penalty: Any,
    X: Array,
    correlations: Any,
    there: Array,
    *,
    algorithm: str,
    n_nonzero: int,
) -> Array:
    if correlations is None:
        correlations = jnp.einsum("np,kp->nk", X, dictionary, precision=lax.Precision.HIGHEST)
    if algorithm == "threshold":
        return penalty.prox(correlations, 1)
    return {"omp": matching_pursuit, "lars": least_angle}[algorithm](gram, correlations, n_nonzero)
