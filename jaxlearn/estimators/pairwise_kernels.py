"""Kernels of all pairs of rows."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import numpy as np
from sklearn.metrics.pairwise import check_pairwise_arrays

from jaxlearn.objectives import kernels
from jaxlearn.objectives.distances import Function

from .pairwise_distances import _one_or_two, all_pairs, read_pairs

__all__ = [
    "cosine_similarity",
    "laplacian_kernel",
    "linear_kernel",
    "pairwise_kernels",
    "polynomial_kernel",
    "rbf_kernel",
    "sigmoid_kernel",
]


class _Callable(eqx.Module):
    function: Function

    def values(self, X: Any, Y: Any) -> Any:
        return self.function.ranks(X, Y)


def _kernel(kernel: Any, X: Any, Y: Any, *, by_tiles: bool = False) -> np.ndarray:
    return all_pairs(kernel, X, Y, by_tiles=by_tiles)


def _number(value: Any, X: Any) -> np.ndarray:
    return np.asarray(value, X.dtype)


def _gamma(gamma: Any, X: Any) -> np.ndarray:
    return _number(1 / X.shape[1] if gamma is None else gamma, X)


def linear_kernel(X, Y=None):
    """``xᵀ y`` of all pairs.

    Parameters
    ----------
    X : {array-like, sparse matrix, jax.Array} of shape (n_samples_X, n_features)
    Y : {array-like, sparse matrix, jax.Array} of shape (n_samples_Y, n_features), optional
        X by default.

    Returns
    -------
    ndarray of shape (n_samples_X, n_samples_Y)
    """
    return _kernel(kernels.Linear(), *_one_or_two(*read_pairs(X, Y)))


def cosine_similarity(X, Y=None):
    """Cosines of all pairs; zero where either row is zero. Parameters are as for `linear_kernel`."""
    return _kernel(kernels.CosineSimilarity(), *_one_or_two(*read_pairs(X, Y)))


def polynomial_kernel(X, Y=None, degree=3, gamma=None, coef0=1):
    """``(gamma xᵀ y + coef0)^degree`` of all pairs.

    Parameters
    ----------
    X, Y
        As for `linear_kernel`.
    degree : float, default=3
    gamma : float, optional
        ``1 / n_features`` by default.
    coef0 : float, default=1

    Returns
    -------
    ndarray of shape (n_samples_X, n_samples_Y)
    """
    X, Y = _one_or_two(*read_pairs(X, Y))
    degree = int(degree) if float(degree).is_integer() else _number(degree, X)
    return _kernel(kernels.Polynomial(degree, _gamma(gamma, X), _number(coef0, X)), X, Y)


def sigmoid_kernel(X, Y=None, gamma=None, coef0=1):
    """``tanh(gamma xᵀ y + coef0)`` of all pairs. Parameters are as for `polynomial_kernel`."""
    X, Y = _one_or_two(*read_pairs(X, Y))
    return _kernel(kernels.Sigmoid(_gamma(gamma, X), _number(coef0, X)), X, Y)


def rbf_kernel(X, Y=None, gamma=None):
    """``exp(−gamma ‖x − y‖²)`` of all pairs. Parameters are as for `polynomial_kernel`."""
    X, Y = _one_or_two(*read_pairs(X, Y))
    return _kernel(kernels.RBF(_gamma(gamma, X)), X, Y)


def laplacian_kernel(X, Y=None, gamma=None):
    """``exp(−gamma Σ |x_j − y_j|)`` of all pairs. Parameters are as for `polynomial_kernel`."""
    X, Y = _one_or_two(*read_pairs(X, Y))
    return _kernel(kernels.Laplacian(_gamma(gamma, X)), X, Y, by_tiles=True)


NAMED: dict[str, tuple[Any, tuple[str, ...]]] = {
    "linear": (linear_kernel, ()),
    "cosine": (cosine_similarity, ()),
    "polynomial": (polynomial_kernel, ("gamma", "degree", "coef0")),
    "poly": (polynomial_kernel, ("gamma", "degree", "coef0")),
    "sigmoid": (sigmoid_kernel, ("gamma", "coef0")),
    "rbf": (rbf_kernel, ("gamma",)),
    "laplacian": (laplacian_kernel, ("gamma",)),
}


def pairwise_kernels(X, Y=None, metric="linear", *, filter_params=False, n_jobs=None, **kwds):
    """Kernels of all pairs.

    Parameters
    ----------
    X : {array-like, sparse matrix, jax.Array} of shape (n_samples_X, n_features)
        With ``metric="precomputed"`` the kernels, which are returned.
    Y : {array-like, sparse matrix, jax.Array} of shape (n_samples_Y, n_features), optional
        X by default.
    metric : str or callable, default="linear"
        "linear", "cosine", "polynomial", "poly", "sigmoid", "rbf", "laplacian", or a function of two vectors that JAX can
        trace.
    filter_params : bool, default=False
        Leave out what the kernel does not take, instead of refusing it.
    n_jobs : int, optional
        Without effect: XLA has threads of its own.
    **kwds
        Parameters of the kernel.

    Returns
    -------
    ndarray of shape (n_samples_X, n_samples_Y)
    """
    if callable(metric):
        X, Y = _one_or_two(*read_pairs(X, Y))
        return _kernel(_Callable(Function(metric, {k: _number(v, X) for k, v in kwds.items()})), X, Y, by_tiles=True)
    if metric == "precomputed":
        return check_pairwise_arrays(X, Y, precomputed=True)[0]
    if metric not in NAMED:
        raise ValueError(f"Unknown kernel {metric!r}. Valid kernels are {sorted(NAMED)}, or a callable.")
    function, known = NAMED[metric]
    if filter_params:
        kwds = {name: value for name, value in kwds.items() if name in known}
    return function(X, Y, **kwds)
