"""The group lasso: linear regression that selects groups of features."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import column_or_1d

from jaxlearn.models.glm import GLM
from jaxlearn.objectives import as_groups

from .constraints import COUNT, NON_NEGATIVE, POSITIVE
from .inputs import Data, place, read
from .lasso import Lasso
from .lasso_cv import LassoCV
from .multi_task import grouped_model

__all__ = ["GroupLasso", "GroupLassoCV"]

GROUPED: dict = {
    "groups": [COUNT, "array-like"],
    "group_weights": ["array-like", None],
    "fit_intercept": ["boolean"],
    "max_iter": [COUNT],
    "tol": [NON_NEGATIVE],
}


def _grouped(params: Any, data: Data, alpha: float) -> GLM:
    """Features in groups, and a strength for each."""
    index = as_groups(_labels(params.groups, data.n_features))
    sizes = (index < data.n_features).sum(1)
    if params.group_weights is None:
        weights = np.sqrt(sizes)
    else:
        weights = np.asarray(params.group_weights, np.float64)
        if weights.shape != sizes.shape or not (weights >= 0).all():
            raise ValueError(
                f"`group_weights` has shape {weights.shape}; expected one number ≥ 0 for each of the {len(sizes)} groups."
            )
    return grouped_model(params, data.dtype, alpha=alpha * weights, l1_ratio=1, groups=index)


def _labels(groups: Any, n_features: int) -> np.ndarray:
    if isinstance(groups, Integral):
        if n_features % int(groups):
            raise ValueError(f"groups={groups} does not divide the {n_features} features.")
        return np.arange(n_features) // int(groups)
    if len(groups) and isinstance(groups[0], (Sequence, np.ndarray)) and not isinstance(groups[0], str):
        members = np.concatenate([np.asarray(group) for group in groups])
        if not np.array_equal(np.sort(members), np.arange(n_features)):
            raise ValueError(f"`groups` must name each of the {n_features} features once.")
        labels = np.empty(n_features, np.int64)
        labels[members] = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        return labels
    labels = np.asarray(groups)
    if labels.shape != (n_features,):
        raise ValueError(f"`groups` has shape {labels.shape}; expected a label for each of the {n_features} features.")
    return labels


class GroupLasso(Lasso):
    """Linear regression that selects groups of features.

    *Minimises* ``1 / (2 n) ‖y − X w‖² + alpha Σ_g v_g ‖w_g‖``, w_g the coefficients of a group and v its weight, the mean
    weighted by `sample_weight`: the features of a group are there together, or not at all.

    By Newton steps on the groups of a working set, which converge quadratically. The duality gap bounds how far the objective
    may be from its minimum.

    Parameters
    ----------
    groups : int, array-like of shape (n_features,) or list of lists of int, default=1
        Consecutive groups of one size; or the group of each feature, labels of any kind; or the features of each group. Groups
        are in the order of their labels, or as listed.
    alpha : float, default=1.0
        Strength. With 0 there is nothing to select: the closed form of `LinearRegression` is used, with a warning.
    group_weights : array-like of shape (n_groups,), default=None
        v ≥ 0; by default the square root of a group's size. A group of weight zero is not penalised.
    fit_intercept : bool, default=True
        Whether to fit an intercept; it is never penalised.
    max_iter : int, default=1000
        Largest number of passes over the data.
    tol : float, default=1e-4
        Stop when the duality gap is at most `tol` times the weighted mean of (y − ȳ)².
    warm_start : bool, default=False
        Start from the coefficients of the previous fit.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Coefficients.
    sparse_coef_ : sparse array of shape (1, n_features)
        The same, without its zeros.
    intercept_ : float
        Intercept; 0.0 without.
    dual_gap_ : float
        Duality gap; NaN where there is nothing to select.
    certificate_ : float
        What `tol` bounds: the duality gap, or the relative residual of the normal equations in a closed form.
    converged_ : bool
        Whether it is within the tolerance.
    n_iter_ : int
        Passes over the data.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where X has some.

    References
    ----------
    Yuan and Lin, "Model selection and estimation in regression with grouped variables", JRSS B 2006.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from jaxlearn.linear_model import GroupLasso
    >>> X, y = load_diabetes(return_X_y=True)
    >>> (GroupLasso(groups=2, alpha=1.0).fit(X, y).coef_ != 0).tolist()
    [False, False, True, True, False, False, False, False, True, True]
    """

    _parameter_constraints: dict = {**GROUPED, "alpha": [NON_NEGATIVE], "warm_start": ["boolean"]}

    positive = False
    selection = "cyclic"

    def __init__(
        self,
        groups=1,
        alpha=1.0,
        *,
        group_weights=None,
        fit_intercept=True,
        max_iter=1000,
        tol=1e-4,
        warm_start=False,
    ):
        self.groups = groups
        self.alpha = alpha
        self.group_weights = group_weights
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = False
        return tags

    def fit(self, X, y, sample_weight=None):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
            float32 is computed in float32, everything else in float64.
        y : array-like of shape (n_samples,)
        sample_weight : float or array-like of shape (n_samples,), optional
            Only ratios matter; zero is a row that is not there.

        Returns
        -------
        self : object
        """
        self._validate_params()
        X, y, weight = read(self, X, y, sample_weight, multi_output=False)
        data = place(X, y, weight, centred=self.fit_intercept)
        return self._fit(data, _grouped(self, data, self.alpha))


class GroupLassoCV(LassoCV):
    """Group lasso whose strength is chosen by cross-validation.

    *Minimises* what `GroupLasso` does. Folds are weights over one X: the paths of all folds are one compiled program.

    Parameters
    ----------
    groups : int, array-like of shape (n_features,) or list of lists of int, default=1
        As of `GroupLasso`.
    eps : float, default=1e-3
        Smallest strength of an automatic grid, in units of the largest.
    alphas : int or array-like, default=100
        Number of strengths of an automatic grid, or the strengths.
    group_weights : array-like of shape (n_groups,), default=None
        As of `GroupLasso`.
    fit_intercept : bool, default=True
        Whether to fit an intercept; it is never penalised.
    max_iter : int, default=1000
        Largest number of passes over the data, for each strength.
    tol : float, default=1e-4
        Stop when the duality gap is at most `tol` times the weighted mean of (y − ȳ)².
    cv : int, splitter or iterable, default=None
        Folds, five by default.

    Attributes
    ----------
    alpha_ : float
        Chosen strength.
    mse_path_ : ndarray of shape (n_alphas, n_folds)
        Mean squared errors on the test folds.
    alphas_ : ndarray of shape (n_alphas,)
        Strengths, decreasing.
    coef_, intercept_, dual_gap_, certificate_, converged_, n_iter_, n_features_in_, feature_names_in_
        As for `GroupLasso`, of the fit to all data.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from jaxlearn.linear_model import GroupLassoCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> GroupLassoCV(groups=2, alphas=20).fit(X, y).mse_path_.shape
    (20, 5)
    """

    _parameter_constraints: dict = {**GROUPED, "eps": [POSITIVE], "alphas": [COUNT, "array-like"], "cv": ["cv_object"]}

    def __init__(
        self,
        groups=1,
        *,
        eps=1e-3,
        alphas=100,
        group_weights=None,
        fit_intercept=True,
        max_iter=1000,
        tol=1e-4,
        cv=None,
    ):
        self.groups = groups
        self.eps = eps
        self.alphas = alphas
        self.group_weights = group_weights
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.cv = cv

    def _place(self, X: Any, y: np.ndarray, weight: np.ndarray) -> Data:
        return place(X, column_or_1d(y, warn=True), weight, centred=self.fit_intercept)

    def _model(self, data: Data, alpha: float, l1_ratio: float) -> GLM:
        return _grouped(self, data, alpha)
