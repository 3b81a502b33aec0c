"""Lasso and elastic net whose strength is chosen by cross-validation."""

from __future__ import annotations

import dataclasses
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_scalar, column_or_1d

from jaxlearn.models.glm import GLM
from jaxlearn.solvers.conjugate_gradient import ConjugateGradient

from .base import NO_SEED, LinearRegressor, compute, number, seed, warn_unless_converged
from .constraints import SHARE, SPARSE_CV
from .folds import SplitterRouting, fold_weights
from .given_gram import is_gram
from .inputs import Data, place, read
from .lasso import sparse_model, without_selection
from .lasso_path import alpha_grid
from .paths import follow_folds, ridge_paths
from .programs import elastic_net, fit

__all__ = ["ElasticNetCV", "LassoCV"]


class ElasticNetCV(SplitterRouting, RegressorMixin, LinearRegressor):
    """Elastic net whose strength and share of the l1 part are chosen by cross-validation.

    *Minimises* what `ElasticNet` does. Folds are weights over one X: the paths of all folds are one compiled program,
    for every share.

    Parameters
    ----------
    l1_ratio : float or list of float, default=0.5
        Share of the l1 part, or the shares to choose from. With 0 the closed form of `Ridge` is used, on given `alphas`.
    eps : float, default=1e-3
        Smallest strength of an automatic grid, in units of the largest.
    alphas : int or array-like, default=100
        Number of strengths of an automatic grid, for each share, or the strengths.
    fit_intercept : bool, default=True
        Whether to fit an intercept; it is never penalised.
    precompute : "auto" or bool, default="auto"
        True holds the Gram matrix of X in memory; otherwise the choice is left to the shape of X. A given one is
        refused: it is that of no fold.
    max_iter : int, default=1000
        Largest number of passes over the data, for each strength.
    tol : float, default=1e-4
        Stop when the duality gap is at most `tol` times the weighted mean of (y − ȳ)².
    cv : int, splitter or iterable, default=None
        Folds, five by default.
    copy_X : bool, default=True
        Without meaning: X is never written to.
    verbose : int, default=0
        Without meaning: a compiled program prints nothing.
    n_jobs : int, default=None
        Without meaning: all folds are one program, and XLA uses the cores.
    positive : bool, default=False
        Restrict the coefficients to be ≥ 0.
    random_state : int, RandomState instance or None, default=None
        Of the order of ``selection="random"``.
    selection : {"cyclic", "random"}, default="cyclic"
        ``random``: the last fit is by coordinate descent in a random order. Paths have no order.

    Attributes
    ----------
    alpha_ : float
        Chosen strength.
    l1_ratio_ : float
        Chosen share.
    coef_ : ndarray of shape (n_features,)
        Coefficients of the fit to all data.
    intercept_ : float
        Intercept; 0.0 without.
    mse_path_ : ndarray of shape (n_l1_ratio, n_alphas, n_folds), or (n_alphas, n_folds) for one share
        Mean squared errors on the test folds.
    alphas_ : ndarray of shape (n_l1_ratio, n_alphas), or (n_alphas,) for one share or given strengths
        Strengths, decreasing.
    dual_gap_ : float
        Duality gap of the fit to all data; NaN where there is no l1 part.
    certificate_ : float
        The same, or the relative residual of the normal equations.
    converged_ : bool
        Whether the fit to all data is within the tolerance.
    n_iter_ : int
        Its passes over the data.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where X has some.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from jaxlearn.linear_model import ElasticNetCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = ElasticNetCV(l1_ratio=[0.5, 1.0], cv=3).fit(X, y)
    >>> model.mse_path_.shape, float(model.l1_ratio_)
    ((2, 100, 3), 1.0)
    """

    _parameter_constraints: dict = {**SPARSE_CV, "l1_ratio": [SHARE, "array-like"]}

    def __init__(
        self,
        *,
        l1_ratio=0.5,
        eps=1e-3,
        alphas=100,
        fit_intercept=True,
        precompute="auto",
        max_iter=1000,
        tol=1e-4,
        cv=None,
        copy_X=True,
        verbose=0,
        n_jobs=None,
        positive=False,
        random_state=None,
        selection="cyclic",
    ):
        self.l1_ratio = l1_ratio
        self.eps = eps
        self.alphas: Any = alphas
        self.fit_intercept = fit_intercept
        self.precompute = precompute
        self.max_iter = max_iter
        self.tol = tol
        self.cv = cv
        self.copy_X = copy_X
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.positive = positive
        self.random_state = random_state
        self.selection = selection

    def fit(self, X, y, sample_weight=None, **params):
        """Choose by cross-validation, then fit to all data.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
            float32 is computed in float32, everything else in float64.
        y : array-like of shape (n_samples,)
        sample_weight : float or array-like of shape (n_samples,), optional
            Of the fits and of the errors of each test fold, whose mean over folds is not weighted.
        **params : dict
            For the splitter, with scikit-learn's metadata routing enabled.

        Returns
        -------
        self : object
        """
        self._validate_params()
        X, y, weight = read(self, X, y, sample_weight)
        folds = self._split(X, y, sample_weight, params)
        data = self._place(X, y, weight)
        ratios = np.atleast_1d(self._l1_ratios())
        grids = np.stack([self._alphas(data, ratio) for ratio in ratios])
        errors = self._errors(data, folds, ratios, grids)
        return self._fit(data, *self._choose(ratios, grids, errors))

    def _fit(self, data: Data, alpha: float, l1_ratio: float) -> ElasticNetCV:
        model, selects = self._model(data, alpha, l1_ratio), self._selects(l1_ratio)
        if selects:
            fitted = elastic_net(data, model, None, seed(self.random_state) if model.random else NO_SEED)
        else:
            fitted = compute(fit, data, without_selection(alpha, model), None)
        self.dual_gap_ = np.array(fitted.residual)[()] if selects else np.nan
        return self._adopt(fitted, data, self.tol)

    def _selects(self, l1_ratio: float) -> bool:
        return l1_ratio > 0 or self.positive

    def _place(self, X: Any, y: np.ndarray, weight: np.ndarray) -> Data:
        if y.ndim > 1 and y.shape[1] > 1:
            raise ValueError(
                f"For multi-task outputs, use MultiTask{type(self).__name__}: {type(self).__name__} takes one target."
            )
        return place(X, column_or_1d(y, warn=True), weight, centred=self.fit_intercept)

    def _l1_ratios(self) -> Any:
        return self.l1_ratio

    def _model(self, data: Data, alpha: float, l1_ratio: float) -> GLM:
        if is_gram(self.precompute):
            raise ValueError("`precompute` is a boolean or 'auto': the Gram matrix of all rows is that of no fold.")
        return sparse_model(self, data.dtype, alpha=alpha, l1_ratio=l1_ratio, fit_intercept=self.fit_intercept)

    def _alphas(self, data: Data, l1_ratio: float) -> np.ndarray:
        if isinstance(self.alphas, Integral):
            return alpha_grid(data, self._path_model(data, l1_ratio), l1_ratio, self.eps, int(self.alphas))  # pyright: ignore
        for index, alpha in enumerate(self.alphas):
            check_scalar(alpha, f"alphas[{index}]", Real, min_val=0.0)
        return np.sort(np.asarray(self.alphas, np.float64))[::-1]

    def _path_model(self, data: Data, l1_ratio: float) -> GLM:
        return dataclasses.replace(self._model(data, 1, l1_ratio), solver="auto", random=False)

    def _errors(self, data: Data, folds: Any, ratios: np.ndarray, grids: np.ndarray) -> np.ndarray:
        """(n_l1_ratio, n_folds, n_alphas)."""
        train, test = fold_weights(folds, data.sample_weight, data.n_samples)
        found = []
        for ratio, alphas in zip(ratios, grids, strict=True):
            model, alphas = self._path_model(data, ratio), number(alphas, data.dtype)
            if self._selects(ratio):
                path, certificate = follow_folds(data, model, alphas, train, test), "duality gap"
            else:
                rows, ridge = (data.design, data.y, train, test), without_selection(1, model)
                path, certificate = compute(ridge_paths, data, ridge, alphas, rows=rows), ConjugateGradient.certificate
            status, residual, n_steps, errors = path
            warn_unless_converged(
                self, status.ravel(), residual.ravel(), certificate, self.tol, n_steps.ravel(), data.dtype
            )
            found.append(errors)
        return np.stack(found)

    def _choose(self, ratios: np.ndarray, grids: np.ndarray, errors: np.ndarray) -> tuple[Any, Any]:
        means = errors.mean(axis=1).ravel()
        # neighbours on a path may share a solution: errors that are equal up to rounding are a tie, the first one wins
        tied = means <= means.min() * (1 + np.finfo(errors.dtype).eps ** (2 / 3))
        ratio, alpha = np.unravel_index(np.flatnonzero(tied)[0], grids.shape)
        self.alpha_, self.l1_ratio_ = grids[ratio, alpha], ratios[ratio]
        self.mse_path_ = np.squeeze(np.moveaxis(errors, 2, 1))
        self.alphas_ = grids if len(ratios) > 1 and isinstance(self.alphas, Integral) else grids[0]
        return self.alpha_, self.l1_ratio_


class LassoCV(ElasticNetCV):
    """Lasso whose strength is chosen by cross-validation.

    *Minimises* what `Lasso` does. Folds are weights over one X: the paths of all folds are one compiled program.

    Parameters
    ----------
    eps : float, default=1e-3
        Smallest strength of an automatic grid, in units of the largest.
    alphas : int or array-like, default=100
        Number of strengths of an automatic grid, or the strengths.
    fit_intercept : bool, default=True
        Whether to fit an intercept; it is never penalised.
    precompute : "auto" or bool, default="auto"
        True holds the Gram matrix of X in memory; otherwise the choice is left to the shape of X. A given one is
        refused: it is that of no fold.
    max_iter : int, default=1000
        Largest number of passes over the data, for each strength.
    tol : float, default=1e-4
        Stop when the duality gap is at most `tol` times the weighted mean of (y − ȳ)².
    copy_X : bool, default=True
        Without meaning: X is never written to.
    cv : int, splitter or iterable, default=None
        Folds, five by default.
    verbose : bool, default=False
        Without meaning: a compiled program prints nothing.
    n_jobs : int, default=None
        Without meaning: all folds are one program, and XLA uses the cores.
    positive : bool, default=False
        Restrict the coefficients to be ≥ 0.
    random_state : int, RandomState instance or None, default=None
        Of the order of ``selection="random"``.
    selection : {"cyclic", "random"}, default="cyclic"
        ``random``: the last fit is by coordinate descent in a random order. Paths have no order.

    Attributes
    ----------
    alpha_ : float
        Chosen strength.
    mse_path_ : ndarray of shape (n_alphas, n_folds)
        Mean squared errors on the test folds.
    alphas_ : ndarray of shape (n_alphas,)
        Strengths, decreasing.
    coef_, intercept_, dual_gap_, certificate_, converged_, n_iter_, n_features_in_, feature_names_in_
        As for `ElasticNetCV`.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from jaxlearn.linear_model import LassoCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = LassoCV().fit(X, y)
    >>> model.mse_path_.shape, round(float(model.alpha_), 3)
    ((100, 5), 0.004)
    """

    _parameter_constraints: dict = SPARSE_CV

    def __init__(
        self,
        *,
        eps=1e-3,
        alphas=100,
        fit_intercept=True,
        precompute="auto",
        max_iter=1000,
        tol=1e-4,
        copy_X=True,
        cv=None,
        verbose=False,
        n_jobs=None,
        positive=False,
        random_state=None,
        selection="cyclic",
    ):
        self.eps = eps
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.precompute = precompute
        self.max_iter = max_iter
        self.tol = tol
        self.copy_X = copy_X
        self.cv = cv
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.positive = positive
        self.random_state = random_state
        self.selection = selection

    def _l1_ratios(self) -> float:
        return 1.0

    def _choose(self, ratios: np.ndarray, grids: np.ndarray, errors: np.ndarray) -> tuple[Any, Any]:
        chosen = super()._choose(ratios, grids, errors)
        del self.l1_ratio_
        return chosen
