"""Lasso and elastic net for several tasks, which select the same features."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxlearn.models.glm import GLM
from jaxlearn.objectives import GroupElasticNet

from .base import number
from .constraints import NON_NEGATIVE, SHARE, SPARSE
from .inputs import Data, place, read
from .lasso import ElasticNet, without_selection

__all__ = ["MultiTaskElasticNet", "MultiTaskLasso", "Tasks", "grouped_model"]

MULTI_TASK: dict = {name: what for name, what in SPARSE.items() if name not in ("positive", "precompute")}


def grouped_model(params: Any, dtype: Any, *, alpha: Any, l1_ratio: Any, groups: np.ndarray | None = None) -> GLM:
    """The configuration behind scikit-learn's parameters of a penalty of groups.

    Parameters
    ----------
    params : estimator
        With ``tol, max_iter, fit_intercept``.
    dtype : dtype
        Of the fit.
    alpha, l1_ratio : float, or alpha one for each group
    groups : (n_groups, m) of int32, optional
        Of features; without, the penalty of several tasks.
    """
    return GLM(
        penalty=GroupElasticNet(number(alpha, dtype), number(l1_ratio, dtype), groups),
        tol=number(params.tol, dtype),
        max_steps=np.int32(1000 if params.max_iter is None else params.max_iter),
        fit_intercept=params.fit_intercept,
    )


class Tasks:
    """An estimator whose targets are tasks, (n_samples, n_tasks)."""

    fit_intercept: bool
    positive = False
    precompute = False

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        return tags

    def _place(self, X: Any, y: np.ndarray, weight: np.ndarray) -> Data:
        if y.ndim != 2:
            single = type(self).__name__.removeprefix("MultiTask")
            raise ValueError(f"For mono-task outputs, use {single}: {type(self).__name__} takes y of two dimensions.")
        return place(X, y, weight, centred=self.fit_intercept).of_tasks


class MultiTaskElasticNet(Tasks, ElasticNet):
    """Linear regression of several tasks with a penalty on the norm of what a feature does for all of them.

    *Minimises* ``1 / (2 n) ‖Y − X W‖² + alpha (l1_ratio Σ_j ‖W_j‖ + ½ (1 − l1_ratio) ‖W‖²)``, W_j the row of a feature, the
    mean weighted by `sample_weight`: a feature is there for all tasks, or for none.

    By Newton steps on the rows of a working set, which converge quadratically. The duality gap bounds how far the objective
    may be from its minimum.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength. With 0 there is nothing to select: the closed form of `LinearRegression` is used, with a warning.
    l1_ratio : float, default=0.5
        Share of the norms that are not squared. With 0 the closed form of `Ridge` is used.
    fit_intercept : bool, default=True
        Whether to fit an intercept for each task; it is never penalised.
    copy_X : bool, default=True
        Without meaning: X is never written to.
    max_iter : int, default=1000
        Largest number of passes over the data.
    tol : float, default=1e-4
        Stop when the duality gap is at most `tol` times the weighted mean of ‖y − ȳ‖².
    warm_start : bool, default=False
        Start from the coefficients of the previous fit.
    random_state : int, RandomState instance or None, default=None
        Without meaning, as `selection`.
    selection : {"cyclic", "random"}, default="cyclic"
        Without meaning: features are not visited in an order.

    Attributes
    ----------
    coef_ : ndarray of shape (n_tasks, n_features)
        Coefficients.
    sparse_coef_ : sparse array of shape (n_tasks, n_features)
        The same, without its zeros.
    intercept_ : ndarray of shape (n_tasks,), or 0.0 without
        Intercepts.
    dual_gap_ : float
        Duality gap; NaN where there is nothing to select (``alpha=0`` or ``l1_ratio=0``).
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

    Examples
    --------
    >>> from jaxlearn.linear_model import MultiTaskElasticNet
    >>> X, Y = [[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]], [[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]]
    >>> model = MultiTaskElasticNet(alpha=0.1).fit(X, Y)
    >>> model.coef_.shape, bool(model.dual_gap_ <= 1e-3)
    ((2, 2), True)
    """

    _parameter_constraints: dict = {
        **MULTI_TASK,
        "alpha": [NON_NEGATIVE],
        "l1_ratio": [SHARE],
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        alpha=1.0,
        *,
        l1_ratio=0.5,
        fit_intercept=True,
        copy_X=True,
        max_iter=1000,
        tol=1e-4,
        warm_start=False,
        random_state=None,
        selection="cyclic",
    ):
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.selection = selection

    def fit(self, X, y, sample_weight=None):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
            float32 is computed in float32, everything else in float64.
        y : array-like of shape (n_samples, n_tasks)
        sample_weight : float or array-like of shape (n_samples,), optional
            Only ratios matter; zero is a row that is not there.

        Returns
        -------
        self : object
        """
        self._validate_params()
        data = self._place(*read(self, X, y, sample_weight))
        return self._fit(data, grouped_model(self, data.dtype, alpha=self.alpha, l1_ratio=self.l1_ratio))

    def _closed_form(self, model: GLM) -> GLM | None:
        return None if self.alpha > 0 and self.l1_ratio > 0 else without_selection(self.alpha, model)


class MultiTaskLasso(MultiTaskElasticNet):
    """Linear regression of several tasks which select the same features.

    *Minimises* ``1 / (2 n) ‖Y − X W‖² + alpha Σ_j ‖W_j‖``, W_j the row of a feature: the `MultiTaskElasticNet` of
    ``l1_ratio`` one.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength. With 0 there is nothing to select: the closed form of `LinearRegression` is used, with a warning.
    fit_intercept : bool, default=True
        Whether to fit an intercept for each task; it is never penalised.
    copy_X : bool, default=True
        Without meaning: X is never written to.
    max_iter : int, default=1000
        Largest number of passes over the data.
    tol : float, default=1e-4
        Stop when the duality gap is at most `tol` times the weighted mean of ‖y − ȳ‖².
    warm_start : bool, default=False
        Start from the coefficients of the previous fit.
    random_state : int, RandomState instance or None, default=None
        Without meaning, as `selection`.
    selection : {"cyclic", "random"}, default="cyclic"
        Without meaning: features are not visited in an order.

    Attributes
    ----------
    coef_, sparse_coef_, intercept_, dual_gap_, certificate_, converged_, n_iter_, n_features_in_, feature_names_in_
        As for `MultiTaskElasticNet`.

    Examples
    --------
    >>> from jaxlearn.linear_model import MultiTaskLasso
    >>> X, Y = [[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]], [[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]]
    >>> MultiTaskLasso(alpha=0.1).fit(X, Y).coef_.round(2)
    array([[0.93, 0.  ],
           [1.87, 0.  ]])
    """

    _parameter_constraints: dict = {
        k: v for k, v in MultiTaskElasticNet._parameter_constraints.items() if k != "l1_ratio"
    }

    l1_ratio = 1.0

    def __init__(
        self,
        alpha=1.0,
        *,
        fit_intercept=True,
        copy_X=True,
        max_iter=1000,
        tol=1e-4,
        warm_start=False,
        random_state=None,
        selection="cyclic",
    ):
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.selection = selection
