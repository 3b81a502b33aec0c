"""How a network is trained from the host: epochs, their order, and when to stop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from sklearn.exceptions import ConvergenceWarning

from jaxlearn.access.buckets import row_bucket
from jaxlearn.access.scan import ROWS, permutation
from jaxlearn.models import network

from .inputs import repeated
from .segments import Passing

__all__ = ["Held", "PassingRows", "Rows", "Schedule", "Stopping", "outputs", "train_epoch", "warn_of_the_last_epoch"]

# Batches of sparse rows that are made dense at a time.
DENSE_BATCHES = 16

_run = eqx.filter_jit(network.run)
_apply = eqx.filter_jit(network.apply)


class Rows(NamedTuple):
    """What a network learns from: X (n, p), dense or CSR, y (n, k), weight (n,)."""

    X: Any
    y: np.ndarray
    weight: np.ndarray

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.X.shape[0]

    def placed(self, n_rows: int | None = None) -> Any:
        """On the device, padded to `n_rows`, by default to a bucket; sparse rows stay on the host."""
        if scipy.sparse.issparse(self.X):
            return self
        n_rows = row_bucket(self.n) if n_rows is None else n_rows
        X = self.X if isinstance(self.X, jax.Array) else jnp.asarray(repeated(self.X, n_rows))
        if isinstance(self.X, jax.Array):
            n_rows = self.n
        return Rows(X, jnp.asarray(repeated(self.y, n_rows)), jnp.asarray(repeated(self.weight, n_rows)))  # pyright: ignore


class Part(NamedTuple):
    """Rows that are `placed`, and the order in which all of them are learnt from."""

    rows: Any
    order: np.ndarray


class Held:
    """Rows in memory: an epoch is one part."""

    def __init__(self, rows: Rows):
        self.n_rows, self.placed = rows.n, rows.placed()

    def parts(self, epoch: int, seed: int, shuffle: bool) -> Iterator[Part]:
        """All of an epoch, in an order that is a pure function of seed and epoch."""
        order = permutation(self.n_rows, seed, ROWS, epoch) if shuffle else np.arange(self.n_rows)
        yield Part(self.placed, order.astype(np.int32))


class PassingRows:
    """Rows that pass by: each segment is a part."""

    def __init__(self, passing: Passing):
        self.passing = passing

    def parts(self, epoch: int, seed: int, shuffle: bool) -> Iterator[Part]:
        """All of an epoch."""
        for X, y, weight, _ in self.passing.segments(epoch, seed, shuffle):
            yield Part(Rows(X, y, weight).placed(self.passing.size), np.arange(len(y), dtype=np.int32))


def train_epoch(
    module: Any,
    state: Any,
    parts: Iterable[Part],
    rate: float,
    *,
    optimizer: Any,
    loss: Callable[..., Any],
    batch_size: int,
    alpha: Any,
) -> tuple[Any, Any, float, int]:
    """One epoch.

    Returns
    -------
    module, state
    loss : float
        Mean over the rows.
    n_rows : int
    """
    sums, weights, n_rows, last = 0.0, 0.0, 0, 0.0
    for rows, order in parts:
        dtype, n = rows.y.dtype, len(order)
        run = partial(
            _run, rate=jnp.asarray(rate, dtype), optimizer=optimizer, loss=loss, batch_size=batch_size, alpha=alpha
        )
        for batches, padded, count in _dispatches(rows, order, batch_size):
            module, state, total = run(module, state, batches, padded, count)
            sums, last = sums + float(last), total  # which waits: one dispatch is at work while the next is made ready
        n_rows, weights = n_rows + n, weights + float(np.sum(np.asarray(rows.weight)[:n], dtype=float))
    return module, state, (sums + float(last)) / (weights or 1), n_rows


def _dispatches(rows: Any, order: np.ndarray, batch_size: int) -> Iterator[tuple[Any, jax.Array, jax.Array]]:
    """Rows, an order of static length, and how many of its batches have rows; sparse rows are made dense by and by."""
    if not scipy.sparse.issparse(rows.X):
        yield tuple(rows), *_padded(order, -(-rows.X.shape[0] // batch_size) * batch_size, batch_size)
        return
    size, dtype = batch_size * DENSE_BATCHES, rows.y.dtype
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        X, y, w = (
            np.zeros((size, rows.X.shape[1]), dtype),
            np.zeros((size, rows.y.shape[1]), dtype),
            np.zeros(size, dtype),
        )
        X[: len(chosen)] = rows.X[chosen].toarray()
        y[: len(chosen)], w[: len(chosen)] = rows.y[chosen], rows.weight[chosen]
        local = np.arange(len(chosen), dtype=np.int32)
        yield (jnp.asarray(X), jnp.asarray(y), jnp.asarray(w)), *_padded(local, size, batch_size)


def _padded(order: np.ndarray, length: int, batch_size: int) -> tuple[jax.Array, jax.Array]:
    """An order of static length, and how many of its batches have rows."""
    padded = np.full(length, -1, np.int32)
    padded[: len(order)] = order
    return jnp.asarray(padded), jnp.asarray(-(-len(order) // batch_size), jnp.int32)


def outputs(module: Any, X: Any, size: int = 8192) -> np.ndarray:
    """Outputs for all rows, some thousand at a time."""
    dtype = X.dtype
    parts = []
    with jax.enable_x64(dtype == np.float64):
        for start in range(0, X.shape[0], size):
            part = X[start : start + size]
            part = part.toarray() if scipy.sparse.issparse(part) else np.asarray(part)
            n = len(part)
            parts.append(np.asarray(_apply(module, repeated(part, row_bucket(n))))[:n])
    return np.concatenate(parts)


class Schedule:
    """The step size of plain gradient descent, as scikit-learn schedules it."""

    def __init__(self, first: float, kind: str, power_t: float):
        self.first, self.kind, self.power_t = first, kind, power_t
        self.learning_rate = first

    @property
    def rate(self) -> float:
        """In units of the first one."""
        return self.learning_rate / self.first

    def after(self, n_seen: int) -> None:
        """An epoch has ended."""
        if self.kind == "invscaling":
            self.learning_rate = self.first / (n_seen + 1) ** self.power_t

    def lowered(self) -> bool:
        """Whether there is a smaller step to go on with."""
        if self.kind != "adaptive" or self.learning_rate <= 1e-6:
            return False
        self.learning_rate /= 5
        return True


class Stopping:
    """Whether an epoch was still worth it, in scikit-learn's way of counting."""

    def __init__(self, tol: float, patience: float):
        self.tol, self.patience, self.best, self.idle = tol, patience, np.inf, 0

    def better(self, cost: float) -> bool:
        """Take note of a cost; whether it is the lowest so far."""
        self.idle = self.idle + 1 if cost > self.best - self.tol else 0
        lowest, self.best = cost < self.best, min(self.best, cost)
        return lowest

    @property
    def over(self) -> bool:
        """More idle epochs than one is patient for."""
        return self.idle > self.patience


def warn_of_the_last_epoch(max_iter: int) -> None:
    """It ended because the epochs were used up."""
    warnings.warn(
        f"Stochastic Optimizer: Maximum iterations ({max_iter}) reached and the optimization hasn't converged yet.",
        ConvergenceWarning,
        stacklevel=4,
    )
