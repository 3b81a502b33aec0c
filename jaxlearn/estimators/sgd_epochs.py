"""Epochs of stochastic gradients: over rows in memory or passing by, when to stop, and what to do on divergence."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from sklearn.exceptions import ConvergenceWarning

from jaxlearn.access.buckets import row_bucket
from jaxlearn.access.rows import PIECE, DenseRows, Rows, SparseRows
from jaxlearn.access.scan import ROWS, permutation
from jaxlearn.solvers import minibatch_gradient
from jaxlearn.solvers import stochastic_gradient as sgd

from .base import number
from .inputs import repeated
from .segments import Passing

__all__ = ["Descent", "Held", "PassingRows", "Validation"]

# Rows that the curvature of a batch is estimated from.
SAMPLE = 1024
# A mean objective that is as good as infinite at the end: slopes are clipped, and what diverges may stay finite for long.
BLOWN_UP = 1e18
# What steps are multiplied by after a divergence.
CAUTION = 0.1


class Validation(NamedTuple):
    """Rows that are kept out, and the score of coefficients (k, p) and intercepts (k,) on them, of each target."""

    rows: np.ndarray
    score: Any


class _Piece(NamedTuple):
    """What one dispatch learns from: rows, targets and weights (n, k), and an order of some of them."""

    data: tuple[Any, jax.Array, jax.Array]
    order: np.ndarray


class Held:
    """Rows in memory: an epoch is one piece.

    Parameters
    ----------
    X : ndarray or CSR, (n, p)
    y, weight : ndarray, (n, k)
    held_out : ndarray of bool, (n,), optional
        Rows that are not learnt from.
    """

    rereadable = True

    def __init__(self, X: Any, y: np.ndarray, weight: np.ndarray, held_out: np.ndarray | None = None):
        self.dtype, self.sparse, self.n_targets = np.dtype(X.dtype), scipy.sparse.issparse(X), y.shape[1]
        self.X, self.y, self.weight = X, y, weight
        self.train = np.flatnonzero(np.ones(len(y), bool) if held_out is None else ~held_out).astype(np.int32)
        self.n_held_out = len(y) - len(self.train)

    @cached_property
    def _placed(self) -> tuple[Any, jax.Array, jax.Array]:
        return _place(self.X, self.y, self.weight, row_bucket(self.X.shape[0]))

    def pieces(self, epoch: int, seed: int, shuffle: bool) -> Iterator[_Piece]:
        """All of an epoch."""
        train = self.train
        yield _Piece(self._placed, train[permutation(len(train), seed, ROWS, epoch)] if shuffle else train)

    def sample(self, n_rows: int, seed: int, shuffle: bool) -> tuple[Any, np.ndarray]:
        """Rows on the device, and the numbers of at most so many, drawn at random."""
        return self._placed[0], self.train[permutation(len(self.train), seed, ROWS)[:n_rows]]


class PassingRows:
    """Rows that pass by: each segment is a piece."""

    n_held_out = 0

    def __init__(self, passing: Passing, n_targets: int):
        self.passing, self.n_targets = passing, n_targets
        kind = passing.source.kind
        self.dtype, self.sparse, self.rereadable = kind.dtype, kind.sparse, passing.source.rereadable
        self._n_entries = 0  # room for those of a sparse segment: it only grows, since each size is a program

    def pieces(self, epoch: int, seed: int, shuffle: bool) -> Iterator[_Piece]:
        """All of an epoch."""
        for X, y, weight, _ in self.passing.segments(epoch, seed, shuffle):
            if self.sparse:
                self._n_entries = max(self._n_entries, row_bucket(X.nnz + PIECE))
            placed = _place(X, y, weight, self.passing.size, self._n_entries)
            yield _Piece(placed, np.arange(len(y), dtype=np.int32))

    def sample(self, n_rows: int, seed: int, shuffle: bool) -> tuple[Any, np.ndarray]:
        """At most so many rows, drawn at random or the first ones, on the device, and their numbers."""
        X = self.passing.sample(n_rows, seed, shuffle)
        return _place_rows(X, X.shape[0]), np.arange(X.shape[0], dtype=np.int32)


def _place(X: Any, y: np.ndarray, weight: np.ndarray, n_rows: int, n_entries: int = 0) -> tuple[Any, Any, Any]:
    """What is learnt from, on the device, padded to `n_rows`."""
    targets, factors = (jnp.asarray(repeated(part.astype(X.dtype), n_rows)) for part in (y, weight))
    return _place_rows(X, n_rows, n_entries), targets, factors


def _place_rows(X: Any, n_rows: int, n_entries: int = 0) -> Rows:
    """Rows on the device, padded to `n_rows`, and sparse ones to `n_entries` if they fit."""
    if not scipy.sparse.issparse(X):
        return DenseRows(jnp.asarray(repeated(X, n_rows)))
    padded = np.append(X.indptr, np.full(n_rows - X.shape[0], X.indptr[-1]))
    size = max(row_bucket(X.nnz + PIECE), n_entries)
    indices, values = np.zeros(size, np.int32), np.zeros(size, X.dtype)
    indices[: X.nnz], values[: X.nnz] = X.indices, X.data
    return SparseRows(jnp.asarray(padded, jnp.int32), jnp.asarray(indices), jnp.asarray(values))


class Descent:
    """The epochs of one fit, for k targets that stop each in its own time.

    Attributes
    ----------
    n_seen : int
        Rows of all epochs, those held out included.
    """

    def __init__(self, model: Any, rule: sgd.Rule, rows: Held | PassingRows, validation: Any, seed: int):
        self.model, self.rule, self.rows, self.validation, self.seed = model, rule, rows, validation, seed
        self.size, self.n_seen = model.batch_size, 0
        if self.size > 1:
            some = rows.sample(max(self.size, SAMPLE), seed, model.shuffle)
            self.steepest = _curvature(rule, *some, model.n_features_in_, self.size)

    def run(self, start: sgd.Iterate, max_iter: int) -> tuple[sgd.Iterate, int]:
        """Epochs until all targets have stopped; once more, with shorter steps, where that diverges."""
        it, epoch, sound = self._run(start, max_iter)
        if sound:
            return it, epoch
        if not self.rows.rereadable:
            raise ValueError(
                f"The descent diverged in epoch #{epoch}, and an iterator cannot be read again to begin anew with shorter "
                "steps: scale the data, or lower `eta0`."
            )
        self.rule = dataclasses.replace(self.rule, caution=number(CAUTION, it.scale.dtype))
        it, epoch, sound = self._run(start, max_iter)
        if not _finite(it):
            raise ValueError(
                f"Floating-point under-/overflow occurred at epoch #{epoch}. Scaling input data with StandardScaler or "
                "MinMaxScaler might help."
            )
        warnings.warn(
            f"The descent diverged, and was begun anew with steps of a tenth of their size{'' if sound else ', in vain'}: the "
            "data may need to be scaled.",
            ConvergenceWarning,
            stacklevel=5,
        )
        return it, epoch

    def _run(self, it: sgd.Iterate, max_iter: int) -> tuple[sgd.Iterate, int, bool]:
        model, k = self.model, self.rows.n_targets
        best, idle, active = np.full(k, np.inf), np.zeros(k, int), np.ones(k, bool)
        epoch, mean, self.n_seen = 0, np.zeros(k), 0
        while epoch < max_iter and active.any():
            new, objective, n_rows = self._epoch(it, epoch)
            epoch, self.n_seen = epoch + 1, self.n_seen + n_rows + self.rows.n_held_out
            if not _finite(new):
                return new, epoch, False
            it = new if active.all() else _chosen(jnp.asarray(active), new, it)
            mean = np.where(active, objective / n_rows, mean)
            cost = mean
            if self.validation is not None:
                coef, intercept = (np.asarray(part) for part in sgd.coefficients(it))
                cost = -np.asarray(self.validation.score(coef.T, intercept), float)
            if model.tol is not None:
                idle = np.where(cost > best - model.tol, idle + 1, 0)
            best = np.minimum(best, cost)
            done = active & (idle >= model.n_iter_no_change)
            if model.learning_rate == "adaptive":
                lower = done & (np.asarray(it.eta) > 1e-6)
                it = dataclasses.replace(it, eta=jnp.where(jnp.asarray(lower), it.eta / 5, it.eta))
                idle, done = np.where(lower, 0, idle), done & ~lower
            active &= ~done
        return it, epoch, bool((mean < BLOWN_UP).all())

    def _epoch(self, it: sgd.Iterate, epoch: int) -> tuple[sgd.Iterate, np.ndarray, int]:
        """An iterate, the sum of the objective, and the number of rows."""
        total, n_rows, last = np.zeros(self.rows.n_targets), 0, np.zeros(self.rows.n_targets)
        for piece in self.rows.pieces(epoch, self.seed, self.model.shuffle):
            it, objective = self._learn(it, piece)
            total += np.asarray(last, float)  # which waits: one piece is at work while the next is made ready
            n_rows, last = n_rows + len(piece.order), objective
        return it, total + np.asarray(last, float), n_rows

    def _learn(self, it: sgd.Iterate, piece: _Piece) -> tuple[sgd.Iterate, Any]:
        data, order = piece
        length = -(-len(data[1]) // self.size) * self.size
        if self.size == 1:
            padded = np.resize(order, length).astype(np.int32)
            return _samples(self.rule, it, data, padded, np.int32(len(order)))
        padded = np.full(length, -1, np.int32)
        padded[: len(order)] = order
        count = np.int32(-(-len(order) // self.size))
        return _batches(self.rule, it, data, padded, count, batch_size=self.size, steepest=self.steepest)


_samples = jax.jit(sgd.one_by_one)
_curvature = jax.jit(minibatch_gradient.curvature, static_argnums=(3, 4))
_batches = jax.jit(minibatch_gradient.in_batches, static_argnames="batch_size")


@jax.jit
def _chosen(active: jax.Array, new: Any, old: Any) -> Any:
    """`new` for the targets that are still learnt; `t` goes on for all."""
    return jax.tree.map(lambda a, b: a if a.ndim == 0 else jnp.where(active, a, b), new, old)


@jax.jit
def _finite(it: sgd.Iterate) -> jax.Array:
    return jnp.isfinite(it.direction).all() & jnp.isfinite(it.intercept).all() & jnp.isfinite(it.scale).all()
