"""Rows in memory, cut into batches of one shape, for programs that learn from one batch after the other."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from jaxlearn.access.buckets import row_bucket
from jaxlearn.access.dense import Dense
from jaxlearn.access.design import Design
from jaxlearn.access.host import from_scipy, split_rows

from .base import one_blas_thread
from .inputs import check_sample_weight

__all__ = ["RowBatches"]


class RowBatches(NamedTuple):
    """Batches of rows, in their order.

    Attributes
    ----------
    X : ndarray, sparse matrix or jax.Array, (n_samples, n_features)
        As it was given.
    batches : Design
        Its arrays are stacked on a first axis: a design for each batch. The last one is filled up with zeros.
    weights : ndarray, (n_batches, batch_size)
        Zero where rows are none.
    """

    X: Any
    batches: Design
    weights: np.ndarray

    @classmethod
    def of(cls, X: Any, size: int, sample_weight: Any = None) -> RowBatches:
        """Batches of `size` rows; one alone is padded to its bucket."""
        n_samples, dtype = X.shape[0], np.dtype(X.dtype)
        size = row_bucket(n_samples) if size >= n_samples else size
        n_batches = -(-n_samples // size)
        weights = np.zeros((n_batches, size), dtype)
        weights.ravel()[:n_samples] = check_sample_weight(sample_weight, n_samples, dtype)
        with jax.enable_x64(dtype == np.float64):
            if scipy.sparse.issparse(X):
                return cls(X, split_rows(X, n_batches, n_rows=size), weights)
            rows = jnp.pad(jnp.asarray(X), [(0, weights.size - n_samples), (0, 0)])
            return cls(X, Dense(rows.reshape(n_batches, size, X.shape[1])), weights)

    @property
    def precision(self) -> ExitStack:
        """A context: that of the rows, and LAPACK in one thread."""
        stack = ExitStack()
        stack.enter_context(jax.enable_x64(self.weights.dtype == np.float64))
        stack.enter_context(one_blas_thread())
        return stack

    @property
    def whole(self) -> Design:
        """One design of all rows, those that fill up included."""
        if scipy.sparse.issparse(self.X):
            return from_scipy(self.X, n_rows=self.weights.size)
        return Dense(self.batches.X.reshape(self.weights.size, -1))  # type: ignore[attr-defined]

    def stacked(self, codes: Any) -> jax.Array:
        """What goes with the rows, (n_samples, k) or already filled up, in batches."""
        padded = jnp.pad(jnp.asarray(codes), [(0, self.weights.size - len(codes)), (0, 0)])
        return padded.reshape(*self.weights.shape, -1)

    def flat(self, codes: jax.Array) -> Any:
        """The inverse of `stacked`; NumPy, unless the rows were on a device."""
        rows = codes.reshape(self.weights.size, -1)[: self.X.shape[0]]
        return rows if isinstance(self.X, jax.Array) else np.array(rows)
