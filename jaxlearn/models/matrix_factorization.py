"""Matrix factorization that learns from batches: sparse codes, a dictionary, and sums that remember all samples.

*Minimises* ``E_x min_a ½ ‖x − a D‖² + Ω(a)`` over the rows of D (k, p) in a ball: dictionary learning for an l1 penalty Ω,
sparse principal components for a ball that makes atoms sparse, non-negative factors where both are positive.

All functions are pure: a dictionary may be learnt, or used as a layer, inside of a compiled training step. Codes have
derivatives with respect to the dictionary, the samples and the penalty.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.dense import as_design
from jaxlearn.access.design import Design
from jaxlearn.solvers.solution import Budget

from ._codes import Codes, correlate, encode_correlations
from ._factorization_types import MatrixFactorization, State
from ._online import look, remember, reseeded, unit, updated, window_of

__all__ = ["MatrixFactorization", "State", "decode", "encode", "init", "objective", "run", "start", "step"]
__all__ += ["with_averages", "with_reduction"]

HIGHEST = lax.Precision.HIGHEST


def init(model: MatrixFactorization, X: ArrayLike, key: Array | None = None) -> State:
    """A first state whose atoms are samples, drawn without replacement; where there are too few, noise.

    Parameters
    ----------
    model : MatrixFactorization
    X : (n, p)
    key : PRNG key, optional
    """
    X = _floating(X)
    key = jax.random.key(0) if key is None else key
    n, k = len(X), model.n_components
    chosen = jax.random.permutation(jax.random.fold_in(key, 0), n)[:k]
    atoms = X[chosen]
    if n < k:
        noise = jax.random.normal(jax.random.fold_in(key, 1), (k - n, X.shape[1]), X.dtype)
        atoms = jnp.concatenate([atoms, noise])
    return start(model, atoms, key)


def start(model: MatrixFactorization, dictionary: ArrayLike, key: Array | None = None) -> State:
    """A first state whose atoms are `dictionary` (k, p), scaled into the ball; otherwise as `init`."""
    atoms = unit(model, _floating(dictionary))
    k = model.n_components
    if atoms.shape[0] != k:
        raise ValueError(f"`dictionary` has {atoms.shape[0]} rows; expected `n_components={k}`.")
    if model.reduction > atoms.shape[1]:
        raise ValueError(f"`reduction={model.reduction}` is more than the {atoms.shape[1]} features.")
    dtype, whole = atoms.dtype, model.reduction == 1 or model.average
    return State(
        dictionary=atoms,
        gram=jnp.matmul(atoms, atoms.T, precision=HIGHEST) if whole else None,
        first=jnp.zeros_like(atoms),
        second=jnp.zeros((k, k), dtype),
        slack=None if model.reduction == 1 else jnp.asarray(model.ball.radius, dtype) - model.ball.norm(atoms),
        idle=jnp.zeros(k, dtype),
        weight_seen=jnp.zeros((), dtype),
        n_steps=jnp.int32(0),
        n_reseeded=jnp.int32(0),
        key=jax.random.key_data(jax.random.key(0) if key is None else key),
    )


def with_averages(state: State, n_samples: int) -> State:
    """With room for what ``model.average`` keeps of each sample."""
    k, dtype = len(state.dictionary), state.dictionary.dtype
    return dataclasses.replace(state, averages=jnp.zeros((n_samples, k), dtype), visits=jnp.zeros(n_samples, dtype))


def step(
    model: MatrixFactorization,
    state: State,
    X: ArrayLike | Design,
    sample_weight: ArrayLike | None = None,
    *,
    samples: Array | None = None,
    axis_name: str | None = None,
) -> State:
    """Learn from one batch.

    Parameters
    ----------
    model : MatrixFactorization
    state : State
    X : (b, p) array or dense design
        The batch.
    sample_weight : (b,), optional
        ≥ 0; zero is a row that is not there.
    samples : (b,) of int32, optional
        Which samples these are: for ``model.average``.
    axis_name : str, optional
        Inside ``shard_map``, ``pmap`` or ``vmap``: the axis over which the batch is split.

    Returns
    -------
    State
    """
    design = as_design(X, axis_name)
    rows: Array = design.X  # type: ignore[attr-defined]
    w = jnp.ones(len(rows), rows.dtype) if sample_weight is None else jnp.asarray(sample_weight, rows.dtype)
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.n_steps)
    window = None if model.reduction == 1 else window_of(model, state)
    state, seen = look(model, state, rows, w, window, samples=samples)
    codes = encode_correlations(seen, model.penalty, Budget(model.tol, model.max_steps)).codes
    state = remember(model, state, design, w, codes)
    state = reseeded(model, state, rows, w, key)
    return updated(model, state, window)


def run(
    model: MatrixFactorization,
    state: State,
    X: Array,
    order: Array,
    batches: tuple[ArrayLike, ArrayLike, ArrayLike],
    *,
    batch_size: int,
    scale: Array | None = None,
) -> State:
    """Learn from several batches of rows that are in memory: one dispatch.

    Parameters
    ----------
    model : MatrixFactorization
    state : State
    X : (n, p)
        In the dtype it is stored in.
    order : (m,) of int32
        Rows of X, batch after batch; −1 is a row that is not there. m is a multiple of `batch_size`.
    batches : (first, count, offset)
        Of `order`, `count` batches are taken from batch number `first` on; row i of X is sample ``offset + i``.
    batch_size : int
    scale : (p,), optional
        What columns of X are to be multiplied by.

    Returns
    -------
    State
    """
    X, order = jnp.asarray(X), jnp.asarray(order)
    first, count, offset = (jnp.asarray(number, jnp.int32) for number in batches)

    def learn(i: Array, state: State) -> State:
        rows = lax.dynamic_slice_in_dim(order, (first + i) * batch_size, batch_size)
        there = rows >= 0
        rows = jnp.maximum(rows, 0)
        batch = X[rows].astype(state.dictionary.dtype)
        batch = batch if scale is None else batch * scale[None]
        return step(model, state, batch, there.astype(batch.dtype), samples=rows + offset)

    return lax.fori_loop(0, count, learn, state)


def encode(
    model: MatrixFactorization,
    dictionary: ArrayLike,
    X: ArrayLike,
    *,
    tol: ArrayLike = 1e-4,
    max_steps: ArrayLike = 200,
) -> Codes:
    """Codes of samples on a dictionary.

    Parameters
    ----------
    model : MatrixFactorization
        Its penalty.
    dictionary : (k, p)
    X : (n, p)
    tol : float
        Largest duality gap of a sample, in units of ``½ ‖x‖²``.
    max_steps : int
        Steps of five iterations.

    Returns
    -------
    Codes
        ``codes`` (n, k), with derivatives with respect to `dictionary`, `X` and the penalty: those of the solution, where no
        code is about to become zero or to cease to be.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jaxlearn.objectives import L1
    >>> model = MatrixFactorization(n_components=2, penalty=L1(0.1))
    >>> D, x = jnp.eye(2), jnp.array([[1.0, 0.05]])
    >>> encode(model, D, x).codes
    Array([[0.9, 0. ]], dtype=float32)
    >>> jax.grad(lambda x: encode(model, D, x).codes.sum())(x)
    Array([[1., 0.]], dtype=float32)
    """
    X, dictionary = _floating(X), _floating(dictionary)
    seen = correlate(dictionary, X, jnp.ones(len(X), X.dtype))
    return encode_correlations(seen, model.penalty, Budget(tol, max_steps), every_row=True)


def decode(dictionary: ArrayLike, codes: ArrayLike) -> Array:
    """``a D``, (n, p)."""
    return jnp.matmul(_floating(codes), _floating(dictionary), precision=HIGHEST)


def objective(
    model: MatrixFactorization,
    dictionary: ArrayLike,
    X: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    tol: ArrayLike = 1e-4,
) -> Array:
    """Mean of ``½ ‖x − a D‖² + Ω(a)`` at the best codes, a scalar: of samples that were held out, what a fit is judged by.

    It is at most the share `tol` of itself too large.
    """
    X, dictionary = _floating(X), _floating(dictionary)
    w = jnp.ones(len(X), X.dtype) if sample_weight is None else jnp.asarray(sample_weight, X.dtype)
    codes = encode_correlations(correlate(dictionary, X, w), model.penalty, Budget(tol, 200)).codes
    values = 0.5 * jnp.square(X - decode(dictionary, codes)).sum(1) + jax.vmap(model.penalty.value)(codes)
    return w @ values / w.sum()


def with_reduction(model: MatrixFactorization, state: State, reduction: int) -> tuple[MatrixFactorization, State]:
    """The same knowledge, to go on from with another `reduction`."""
    model = dataclasses.replace(model, reduction=reduction, average=model.average and reduction > 1)
    fresh = start(model, state.dictionary)
    kept = {
        name: getattr(state, name)
        for name in ("first", "second", "idle", "weight_seen", "n_steps", "n_reseeded", "key")
    }
    slack = None if reduction == 1 else model.ball.radius - model.ball.norm(state.dictionary)
    return model, dataclasses.replace(fresh, dictionary=state.dictionary, slack=slack, **kept)


def _floating(X: ArrayLike) -> Array:
    X = jnp.asarray(X)
    return X if jnp.issubdtype(X.dtype, jnp.floating) else X.astype(jnp.float32)
