"""Rows without a target: from what a user passes to what a program, or a loop over a stream, takes."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import numpy as np
import scipy.sparse
from sklearn.utils.validation import validate_data

from jaxlearn.access.buckets import row_bucket
from jaxlearn.access.dense import Dense
from jaxlearn.access.design import Design
from jaxlearn.access.host import from_scipy
from jaxlearn.access.memory import aligned, fill
from jaxlearn.access.mesh import row_mesh, with_rows_over
from jaxlearn.access.streamed import BLOCK_BYTES, Streamed, stream

from .inputs import FLOATS, Data, _device_array, check_sample_weight, refuse_traced

__all__ = ["Task", "mapped", "place_rows", "read_rows"]

SPARSE = ("csr", "csc")


class Task(eqx.Module):
    """What to fit, and whether rows were shifted to be near zero: a program need not shift them again."""

    model: Any
    near_zero: bool = eqx.field(static=True)

    def design(self, X: Any, axis_name: str | None = None) -> Design:
        """Rows, as a program was given them, as what it reads."""
        dense = isinstance(X, jax.Array)
        return Dense(X, axis_name, self.near_zero) if dense else dataclasses.replace(X, axis_name=axis_name)


def read_rows(estimator: Any, X: Any, *, sparse: bool = True, reset: bool = True) -> Any:
    """Validate, in scikit-learn's words.

    Returns
    -------
    ndarray, CSR or CSC, jax.Array or Streamed
        A memory map of more than one block becomes a stream: it is read block by block, and never held.
    """
    refuse_traced(X)
    X = mapped(X)
    if isinstance(X, Streamed):
        if reset:
            estimator.n_features_in_ = X.n_features
        elif X.n_features != estimator.n_features_in_:
            raise ValueError(
                f"X has {X.n_features} features, but {type(estimator).__name__} is expecting "
                f"{estimator.n_features_in_} features as input."
            )
        return X
    if isinstance(X, jax.Array):
        return _device_array(estimator, X, reset=reset)
    return validate_data(estimator, X, accept_sparse=SPARSE if sparse else False, dtype=FLOATS, reset=reset)  # pyright: ignore


def mapped(X: Any) -> Any:
    """A memory map of more than one block as a stream, and all else as it is."""
    return stream(X) if isinstance(X, np.memmap) and X.ndim == 2 and X.nbytes > BLOCK_BYTES else X


def place_rows(X: Any, sample_weight: Any = None, *, location: np.ndarray | None = None) -> Data:
    """Pad rows to their bucket and put them where the program runs.

    Parameters
    ----------
    X : ndarray, sparse matrix or jax.Array
    sample_weight : array_like, optional
    location : ndarray, (n_features,), optional
        Subtracted from a NumPy array, of which one copy is made in any case.
    """
    dtype, n_samples = np.dtype(X.dtype), X.shape[0]
    sample_weight = check_sample_weight(sample_weight, n_samples, dtype)
    total = float(sample_weight.sum(dtype=np.float64))
    if isinstance(X, jax.Array):
        placed = row_mesh(X)
        with jax.enable_x64(dtype == np.float64):
            X = X if placed is None else with_rows_over(X, *placed)
        return Data(X, sample_weight, sample_weight, n_samples, total, *(placed or (None, None)))
    n_rows = row_bucket(n_samples)
    weight = np.zeros(n_rows, dtype)
    weight[:n_samples] = sample_weight
    if scipy.sparse.issparse(X):
        with jax.enable_x64(dtype == np.float64):
            X = from_scipy(X, n_rows=n_rows)
    else:
        X = _shifted_copy(X, n_rows, location)
    return Data(X, weight, weight, n_samples, total)


def _shifted_copy(X: np.ndarray, n_rows: int, location: np.ndarray | None) -> np.ndarray:
    """``X − location`` in memory that a CPU device uses as it is, padded with zeros."""
    copy = aligned((n_rows, X.shape[1]), X.dtype)
    fill(copy, X, location)
    return copy
