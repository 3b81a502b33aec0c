"""The loop over mini-batches of samples that are in memory, and when it may stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.dense import as_design
from jaxlearn.access.scan import permutation
from jaxlearn.models._codes import correlate, encode_correlations
from jaxlearn.models._online import remember, reseeded, updated
from jaxlearn.models.matrix_factorization import MatrixFactorization, State, decode
from jaxlearn.solvers.solution import Budget

from .base import number

__all__ = ["Patience", "Progress", "learn_batches"]

# Batches of one dispatch.
DISPATCH = 64
# Batches before a stop, if there are so many in an epoch: costs are those of a first dictionary.
WARMUP = 100


class Patience(eqx.Module):
    """When to stop: where atoms no longer move, or the smoothed cost of batches no longer falls.

    Parameters
    ----------
    tol : float
        Of ``‖D − D_old‖ / k`` in one step; 0 is never.
    max_no_improvement : int
        Steps in a row without a new lowest smoothed cost.
    warmup : float
        Steps that do not count.
    smoothing : float
        Weight of a batch in the smoothed cost: about one epoch is remembered.
    """

    tol: ArrayLike
    max_no_improvement: ArrayLike
    warmup: ArrayLike
    smoothing: ArrayLike

    @classmethod
    def of(cls, tol: float, max_no_improvement: int | None, n_samples: int, batch_size: int, dtype: Any) -> Patience:
        """As scikit-learn chooses."""
        endless = np.iinfo(np.int32).max
        return cls(
            number(tol, dtype),
            np.int32(endless if max_no_improvement is None else min(max_no_improvement, endless)),
            number(min(WARMUP, n_samples / batch_size), dtype),
            number(min(batch_size / (n_samples + 1), 1), dtype),
        )


class Progress(eqx.Module):
    """What `Patience` looks at.

    Attributes
    ----------
    cost : scalar
        Mean of ``½ ‖x − a D‖² + Ω(a)`` over the last batch, before it was learnt from.
    change : scalar
        Of the dictionary in the last step.
    smoothed, lowest : scalar
        +inf before the first step that counts.
    no_improvement : int32 scalar
    stopped : bool scalar
    """

    cost: Array
    change: Array
    smoothed: Array
    lowest: Array
    no_improvement: Array
    stopped: Array

    @classmethod
    def start(cls, dtype: Any) -> Progress:
        """Nothing seen."""
        infinite = jnp.asarray(jnp.inf, dtype)
        return cls(infinite, infinite, infinite, infinite, jnp.int32(0), jnp.bool_(False))

    def after(self, patience: Patience, cost: Array, change: Array, n_steps: Array) -> Progress:
        """One more step, the `n_steps`-th."""
        counts = n_steps > patience.warmup
        smoothed = jnp.where(
            jnp.isfinite(self.smoothed), self.smoothed + patience.smoothing * (cost - self.smoothed), cost
        )
        smoothed = jnp.where(counts, smoothed, jnp.inf)
        worse = jnp.where(counts & (smoothed >= self.lowest), self.no_improvement + 1, 0).astype(jnp.int32)
        tol = jnp.asarray(patience.tol, cost.dtype)
        still = (tol > 0) & (change <= tol)
        stopped = counts & (still | (worse >= patience.max_no_improvement))
        return Progress(cost, change, smoothed, jnp.minimum(self.lowest, smoothed), worse, stopped)


def learn_batches(
    model: MatrixFactorization,
    state: State,
    X: Array,
    *,
    batch_size: int,
    max_iter: int,
    patience: Patience,
    shuffle_seed: int | None,
    callback: Callable[[dict], Any] | None,
) -> tuple[State, Progress]:
    """Learn from batches of all rows, in `max_iter` epochs or until patience ends.

    Parameters
    ----------
    model : MatrixFactorization
    state : State
    X : Array, (n, p)
    batch_size : int
    max_iter : int
    patience : Patience
    shuffle_seed : int or None
        The order of an epoch is a function of this number and of that of the epoch; None is the order of the rows.
    callback : callable or None
        Called after each batch: then each is a dispatch.
    """
    progress, most = Progress.start(X.dtype), DISPATCH if callback is None else 1
    for order, n_batches in _orders(len(X), batch_size, max_iter, shuffle_seed):
        order = jnp.asarray(order)
        for first in range(0, n_batches, most):
            place = np.int32(first), np.int32(min(most, n_batches - first))
            state, progress = _dispatch(model, patience, (state, progress), X, order, place, batch_size=batch_size)
            if progress.stopped:
                return state, progress
            if callback is not None:
                seen = {"i": int(state.n_steps) - 1, "dictionary": np.asarray(state.dictionary)}
                callback({**seen, "batch_cost": float(progress.cost)})
    return state, progress


def _orders(n_samples: int, batch_size: int, max_iter: int, seed: int | None) -> Iterator[tuple[np.ndarray, int]]:
    """Rows in the order of some epochs, as many as make a dispatch; −1 fills the last batch of each."""
    n_batches = -(-n_samples // batch_size)
    together = max(1, DISPATCH // n_batches)
    for start in range(0, max_iter, together):
        epochs = min(together, max_iter - start)
        order = np.full((together, n_batches * batch_size), -1, np.int32)
        for i in range(epochs):
            order[i, :n_samples] = np.arange(n_samples) if seed is None else permutation(n_samples, seed, start + i)
        yield order.ravel(), epochs * n_batches


@partial(jax.jit, static_argnames="batch_size")
def _dispatch(
    model: MatrixFactorization,
    patience: Patience,
    start: tuple[State, Progress],
    X: Array,
    order: Array,
    place: tuple[Array, Array],
    *,
    batch_size: int,
) -> tuple[State, Progress]:
    first, count = place

    def learn(i: Array, carry: tuple[State, Progress]) -> tuple[State, Progress]:
        old, progress = carry
        rows = lax.dynamic_slice_in_dim(order, (first + i) * batch_size, batch_size)
        there = (rows >= 0).astype(X.dtype)
        state, cost = _step(model, old, X[jnp.maximum(rows, 0)], there)
        change = jnp.sqrt(jnp.square(state.dictionary - old.dictionary).sum()) / model.n_components
        return state, progress.after(patience, cost, change, state.n_steps)

    return lax.fori_loop(0, count, lambda i, c: lax.cond(c[1].stopped, lambda c: c, partial(learn, i), c), start)


def _step(model: MatrixFactorization, state: State, rows: Array, weight: Array) -> tuple[State, Array]:
    """`matrix_factorization.step` of one batch, and its cost with the dictionary before."""
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.n_steps)
    seen = correlate(state.dictionary, rows, weight, gram=state.gram)
    codes = encode_correlations(seen, model.penalty, Budget(model.tol, model.max_steps)).codes
    costs = 0.5 * jnp.square(rows - decode(state.dictionary, codes)).sum(1) + jax.vmap(model.penalty.value)(codes)
    cost = weight @ costs / weight.sum()
    state = remember(model, state, as_design(rows), weight, codes)
    return updated(model, reseeded(model, state, rows, weight, key), None), cost
