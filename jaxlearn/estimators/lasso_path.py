"""Paths of Lasso and elastic net over a grid of strengths."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.utils import check_array, check_consistent_length, check_scalar

from jaxlearn.models.glm import GLM

from .base import compute, number, warn_unless_converged
from .given_gram import given_gram, is_gram
from .inputs import Data, place, refuse_traced
from .lasso import sparse_model
from .multi_task import grouped_model
from .paths import follow
from .programs import alpha_max

__all__ = ["alpha_grid", "enet_path", "lasso_path"]


def alpha_grid(data: Data, model: GLM, l1_ratio: float, eps: float, n_alphas: int) -> np.ndarray:
    """`n_alphas` strengths from the smallest without a non-zero coefficient down to `eps` times it, evenly in the log.

    Parameters
    ----------
    data : Data
    model : GLM
        With an ``ElasticNet`` of alpha one.
    l1_ratio, eps : float
    n_alphas : int
    """
    if l1_ratio == 0:
        raise ValueError(
            "Automatic alpha grid generation is not supported for l1_ratio=0. Please supply a grid by providing your "
            "estimator with the appropriate `alphas=` argument."
        )
    largest = float(compute(alpha_max, data, model))
    floor = np.finfo(np.float64).resolution
    return np.full(n_alphas, floor) if largest <= floor else np.geomspace(largest, largest * eps, num=n_alphas)


def lasso_path(
    X,
    y,
    *,
    eps=1e-3,
    n_alphas="deprecated",
    alphas="warn",
    precompute="auto",
    Xy=None,
    copy_X=True,
    coef_init=None,
    verbose=False,
    return_n_iter=False,
    positive=False,
    max_iter=1000,
    tol=1e-4,
    **params,
):
    """Lasso for a decreasing grid of strengths, each from the solution before it; without an intercept.

    *Minimises*, for each alpha, ``1 / (2 n) ‖y − X w‖² + alpha ‖w‖₁``.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Several targets are tasks that select the same features, as in `MultiTaskLasso`.
    eps : float, default=1e-3
        Smallest strength of an automatic grid, in units of the largest.
    n_alphas : int, default=100
        An older spelling of an integer `alphas`, accepted with a warning.
    alphas : int or array-like, default=100
        Number of strengths, or the strengths.
    precompute : "auto", bool or array-like of shape (n_features, n_features), default="auto"
        True holds the Gram matrix of X in memory; ``auto`` and False leave the choice to the shape of X. A matrix, for one
        target, is ``XᵀX``; it is compared with X.
    Xy : None
        Anything else is refused: it is one product with X.
    copy_X : bool, default=True
        Without meaning: X is never written to.
    coef_init : array-like of shape (n_features,) or (n_features, n_tasks), optional
        Where to start.
    verbose : bool, default=False
        Without meaning: a compiled program prints nothing.
    return_n_iter : bool, default=False
        Whether to return the number of passes over the data.
    positive : bool, default=False
        Restrict the coefficients to be ≥ 0; of one target.
    max_iter : int, default=1000
        Largest number of passes over the data, for each strength.
    tol : float, default=1e-4
        Stop when the duality gap is at most `tol` times the mean of y².
    **params : dict
        Refused by name.

    Returns
    -------
    alphas : ndarray of shape (n_alphas,)
        Decreasing.
    coefs : ndarray of shape (n_features, n_alphas) or (n_tasks, n_features, n_alphas)
        Coefficients.
    dual_gaps : ndarray of shape (n_alphas,)
        Duality gaps.
    n_iters : list of int
        Passes over the data; only with ``return_n_iter=True``.

    Examples
    --------
    >>> from jaxlearn.linear_model import lasso_path
    >>> X, y = [[1.0, 2.0], [2.0, 3.0], [3.0, 5.4]], [1.0, 2.0, 3.1]
    >>> alphas, coefs, gaps = lasso_path(X, y, alphas=[5.0, 1.0, 0.5])
    >>> coefs.shape, bool(gaps.max() < 1e-3)
    ((2, 3), True)
    """
    return enet_path(
        X,
        y,
        l1_ratio=1.0,
        eps=eps,
        n_alphas=n_alphas,
        alphas=alphas,
        precompute=precompute,
        Xy=Xy,
        copy_X=copy_X,
        coef_init=coef_init,
        verbose=verbose,
        return_n_iter=return_n_iter,
        positive=positive,
        max_iter=max_iter,
        tol=tol,
        **params,
    )


def enet_path(
    X,
    y,
    *,
    l1_ratio=0.5,
    eps=1e-3,
    n_alphas="deprecated",
    alphas="warn",
    precompute="auto",
    Xy=None,
    copy_X=True,
    coef_init=None,
    verbose=False,
    return_n_iter=False,
    positive=False,
    check_input=True,
    max_iter=1000,
    tol=1e-4,
    **params,
):
    """Elastic net for a decreasing grid of strengths, each from the solution before it; without an intercept.

    *Minimises*, for each alpha, ``1 / (2 n) ‖y − X w‖² + alpha (l1_ratio ‖w‖₁ + ½ (1 − l1_ratio) ‖w‖²)``.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Several targets are tasks that select the same features, as in `MultiTaskElasticNet`.
    l1_ratio : float, default=0.5
        Share of the l1 part. An automatic grid asks for more than 0.
    check_input : bool, default=True
        Without meaning: the input is always checked.
    eps, n_alphas, alphas, precompute, Xy, copy_X, coef_init, verbose, return_n_iter, positive, max_iter, tol, params
        As in `lasso_path`.

    Returns
    -------
    alphas, coefs, dual_gaps, n_iters
        As of `lasso_path`.

    Examples
    --------
    >>> from jaxlearn.linear_model import enet_path
    >>> X, y = [[1.0, 2.0], [2.0, 3.0], [3.0, 5.4]], [1.0, 2.0, 3.1]
    >>> alphas, coefs, gaps = enet_path(X, y, alphas=4)
    >>> coefs.shape, bool(abs(coefs[:, 0]).max() < 1e-9)
    ((2, 4), True)
    """
    if params:
        raise ValueError("Unexpected parameters in params", sorted(params))
    if Xy is not None:
        raise ValueError("`Xy` is not supported: it is one product with X, and is made anew.")
    X, y = _read(X, y)
    data = place(X, y, np.ones(X.shape[0], X.dtype)).of_tasks
    settings = SimpleNamespace(
        precompute=precompute, selection="cyclic", positive=positive, tol=tol, max_iter=max_iter, fit_intercept=False
    )
    if data.y.ndim > 1:
        if positive:
            raise ValueError("positive=True is not allowed for several tasks, y of shape (n_samples, n_tasks).")
        if is_gram(precompute):
            raise ValueError("`precompute` is a boolean or 'auto' for several tasks, y of shape (n_samples, n_tasks).")
        model = grouped_model(settings, data.dtype, alpha=1, l1_ratio=l1_ratio)
    else:
        gram = given_gram(precompute, X, np.ones(X.shape[0]), False)
        model = sparse_model(settings, data.dtype, alpha=1, l1_ratio=l1_ratio, fit_intercept=False, gram=gram)
    grid = _grid(alphas, n_alphas, lambda n: alpha_grid(data, model, l1_ratio, eps, n))
    init = None if coef_init is None else np.asarray(coef_init, data.dtype)
    path = follow(data, model, number(grid, data.dtype), init)
    warn_unless_converged("enet_path", path.status, path.residual, "duality gap", tol, path.n_steps, data.dtype)
    found = grid, np.array(path.values.T), np.array(path.residual)
    return (*found, path.n_steps.tolist()) if return_n_iter else found


def _read(X: Any, y: Any) -> tuple[Any, np.ndarray]:
    refuse_traced(X, y)
    X = check_array(X, accept_sparse=("csr", "csc", "coo"), dtype=(np.float64, np.float32))  # pyright: ignore
    y = check_array(y, dtype=X.dtype, ensure_2d=False, input_name="y")
    check_consistent_length(X, y)
    return X, y


def _grid(alphas: Any, n_alphas: Any, automatic: Any) -> np.ndarray:
    """An integer (by either name, or neither: 100) is an automatic grid."""
    until = "deprecated in 1.9 and will be removed in 1.11 of scikit-learn: pass an integer `alphas`."
    if n_alphas != "deprecated":
        warnings.warn(f"'n_alphas' was {until}", FutureWarning, stacklevel=3)
    if alphas is None:
        warnings.warn(f"'alphas=None' is {until.replace('in 1.9 ', '')}", FutureWarning, stacklevel=3)
    if alphas is None or isinstance(alphas, str):
        alphas = 100 if isinstance(n_alphas, str) else n_alphas
    if isinstance(alphas, Integral):
        return automatic(alphas)
    for index, alpha in enumerate(alphas):
        check_scalar(alpha, f"alphas[{index}]", Real, min_val=0.0)
    return np.sort(np.asarray(alphas, np.float64))[::-1]
