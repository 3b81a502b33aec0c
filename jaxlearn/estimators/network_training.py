"""How a network is trained from the host: epochs, their order, and when to stop."""

from __future__ import annotations

import warnings
from collections.abc import Callable
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

__all__ = ["Rows", "outputs", "train_epoch"]

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

    def placed(self) -> Any:
        """On the device, padded to a bucket; sparse rows stay on the host."""
        if scipy.sparse.issparse(self.X):
            return self
        n_rows = row_bucket(self.n)
        X = self.X if isinstance(self.X, jax.Array) else jnp.asarray(repeated(self.X, n_rows))
        if isinstance(self.X, jax.Array):
            n_rows = self.n
        return Rows(X, jnp.asarray(repeated(self.y, n_rows)), jnp.asarray(repeated(self.weight, n_rows)))  # pyright: ignore


def train_epoch(
    module: Any,
    state: Any,
    rows: Any,
    n: int,
    rate: float,
    *,
    optimizer: Any,
    loss: Callable[..., Any],
    batch_size: int,
    alpha: Any,
    order: np.ndarray,
) -> tuple[Any, Any, float]:
    """One epoch over rows that are `placed`, n of them.

    Returns
    -------
    module, state
    loss : float
        Mean over the rows.
    """
    run = partial(
        _run, rate=jnp.asarray(rate, rows.y.dtype), optimizer=optimizer, loss=loss, batch_size=batch_size, alpha=alpha
    )
    dtype = rows.y.dtype
    if not scipy.sparse.issparse(rows.X):
        length = -(-rows.X.shape[0] // batch_size) * batch_size
        module, state, total = run(module, state, tuple(rows), *_padded(order, length, batch_size))
        return module, state, float(total) / float(np.sum(np.asarray(rows.weight)[:n], dtype=float) or 1)
    size, sums = batch_size * DENSE_BATCHES, 0.0
    for start in range(0, n, size):
        chosen = order[start : start + size]
        X, y, w = (
            np.zeros((size, rows.X.shape[1]), dtype),
            np.zeros((size, rows.y.shape[1]), dtype),
            np.zeros(size, dtype),
        )
        X[: len(chosen)] = rows.X[chosen].toarray()
        y[: len(chosen)], w[: len(chosen)] = rows.y[chosen], rows.weight[chosen]
        local = np.arange(len(chosen), dtype=np.int32)
        batch = jnp.asarray(X), jnp.asarray(y), jnp.asarray(w)
        module, state, total = run(module, state, batch, *_padded(local, size, batch_size))
        sums += float(total)
    return module, state, sums / float(rows.weight.sum(dtype=float) or 1)


def _padded(order: np.ndarray, length: int, batch_size: int) -> tuple[jax.Array, jax.Array]:
    """An order of static length, and how many of its batches have rows."""
    padded = np.full(length, -1, np.int32)
    padded[: len(order)] = order
    return jnp.asarray(padded), jnp.asarray(-(-len(order) // batch_size), jnp.int32)


def epoch_order(n: int, seed: int, epoch: int, shuffle: bool) -> np.ndarray:
    """A pure function of seed and epoch."""
    return (permutation(n, seed, ROWS, epoch) if shuffle else np.arange(n)).astype(np.int32)


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
