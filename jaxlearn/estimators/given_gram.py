"""A Gram matrix that a user has made: whether it is that of X."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

__all__ = ["given_gram", "is_gram"]


def is_gram(precompute: Any) -> bool:
    """Whether it is a matrix, and not a word or a truth value."""
    return not isinstance(precompute, (bool, np.bool_, str))


def given_gram(precompute: Any, X: Any, weight: np.ndarray, fit_intercept: bool) -> np.ndarray | None:
    """``Σ ω x xᵀ``, ω weights that sum to one, from a ``precompute`` that is scikit-learn's, whose weights sum to n.

    None where there is none; or where X has means that an intercept would take away, with a warning, as it is then another's.

    Raises
    ------
    ValueError
        Where it is not the Gram matrix of X: both are multiplied with one random vector, by which nearly all errors show.
    """
    if not is_gram(precompute):
        return None
    n_samples, n_features = X.shape
    gram = np.asarray(precompute)
    if gram.shape != (n_features, n_features):
        raise ValueError(f"`precompute` has shape {gram.shape}; expected {(n_features, n_features)}, or a boolean.")
    narrow = min(gram.dtype, X.dtype, key=lambda dtype: np.dtype(dtype).itemsize) == np.float32
    tolerance = 1e-4 if narrow else 1e-7
    gram = gram.astype(np.float64) / n_samples
    X = X.astype(np.float64) if hasattr(X, "tocsr") else np.asarray(X, np.float64)
    share = weight.astype(np.float64) / weight.sum(dtype=np.float64)
    size = np.sqrt(np.maximum(np.diagonal(gram), 0))
    if fit_intercept and (np.abs(share @ X) > tolerance * size).any():
        warnings.warn(
            "Gram matrix was provided but X was centered to fit intercept: recomputing Gram matrix.", stacklevel=3
        )
        return None
    probe = np.random.default_rng(0).standard_normal(n_features)
    expected, found = (share * (X @ probe)) @ X, gram @ probe
    wrong = ~(np.abs(found - expected) <= tolerance * size * (size @ np.abs(probe)))
    if wrong.any():
        raise ValueError(
            "Gram matrix passed in via 'precompute' parameter did not pass validation: it is not that of X, with its "
            f"weights scaled to a mean of one; row {np.flatnonzero(wrong)[0]} is wrong."
        )
    return gram
