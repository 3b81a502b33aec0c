"""Multi-task Lasso and elastic net whose strength is chosen by cross-validation."""

from __future__ import annotations

from typing import Any

from jaxlearn.models.glm import GLM

from .constraints import SHARE, SPARSE_CV
from .inputs import Data
from .lasso_cv import ElasticNetCV, LassoCV
from .multi_task import Tasks, grouped_model

__all__ = ["MultiTaskElasticNetCV", "MultiTaskLassoCV"]

MULTI_TASK_CV: dict = {name: what for name, what in SPARSE_CV.items() if name not in ("positive", "precompute")}


class _TasksCV(Tasks):
    def _model(self, data: Data, alpha: float, l1_ratio: float) -> GLM:
        return grouped_model(self, data.dtype, alpha=alpha, l1_ratio=l1_ratio)


class MultiTaskElasticNetCV(_TasksCV, ElasticNetCV):
    """Elastic net for several tasks whose strength and share are chosen by cross-validation.

    *Minimises* what `MultiTaskElasticNet` does. Folds are weights over one X: the paths of all folds are one compiled program,
    for every share.

    Parameters
    ----------
    l1_ratio : float or list of float, default=0.5
        Share of the norms that are not squared, or the shares to choose from.
    eps : float, default=1e-3
        Smallest strength of an automatic grid, in units of the largest.
    alphas : int or array-like, default=100
        Number of strengths of an automatic grid, for each share, or the strengths.
    fit_intercept : bool, default=True
        Whether to fit an intercept for each task; it is never penalised.
    max_iter : int, default=1000
        Largest number of passes over the data, for each strength.
    tol : float, default=1e-4
        Stop when the duality gap is at most `tol` times the weighted mean of ‖y − ȳ‖².
    cv : int, splitter or iterable, default=None
        Folds, five by default.
    copy_X : bool, default=True
        Without meaning: X is never written to.
    verbose : int, default=0
        Without meaning: a compiled program prints nothing.
    n_jobs : int, default=None
        Without meaning: all folds are one program, and XLA uses the cores.
    random_state : int, RandomState instance or None, default=None
        Without meaning, as `selection`.
    selection : {"cyclic", "random"}, default="cyclic"
        Without meaning: features are not visited in an order.

    Attributes
    ----------
    alpha_ : float
        Chosen strength.
    l1_ratio_ : float
        Chosen share.
    coef_ : ndarray of shape (n_tasks, n_features)
        Coefficients of the fit to all data.
    intercept_ : ndarray of shape (n_tasks,), or 0.0 without
        Intercepts.
    mse_path_ : ndarray of shape (n_l1_ratio, n_alphas, n_folds), or (n_alphas, n_folds) for one share
        Mean squared errors on the test folds.
    alphas_ : ndarray of shape (n_l1_ratio, n_alphas), or (n_alphas,) for one share or given strengths
        Strengths, decreasing.
    dual_gap_, certificate_, converged_, n_iter_, n_features_in_, feature_names_in_
        As for `MultiTaskElasticNet`, of the fit to all data.

    Examples
    --------
    >>> from sklearn.datasets import load_linnerud
    >>> from jaxlearn.linear_model import MultiTaskElasticNetCV
    >>> X, Y = load_linnerud(return_X_y=True)
    >>> model = MultiTaskElasticNetCV(alphas=10, cv=3).fit(X, Y)
    >>> model.mse_path_.shape, model.coef_.shape
    ((10, 3), (3, 3))
    """

    _parameter_constraints: dict = {**MULTI_TASK_CV, "l1_ratio": [SHARE, "array-like"]}

    def __init__(
        self,
        *,
        l1_ratio=0.5,
        eps=1e-3,
        alphas=100,
        fit_intercept=True,
        max_iter=1000,
        tol=1e-4,
        cv=None,
        copy_X=True,
        verbose=0,
        n_jobs=None,
        random_state=None,
        selection="cyclic",
    ):
        self.l1_ratio = l1_ratio
        self.eps = eps
        self.alphas: Any = alphas
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.cv = cv
        self.copy_X = copy_X
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.selection = selection


class MultiTaskLassoCV(_TasksCV, LassoCV):
    """Lasso for several tasks whose strength is chosen by cross-validation.

    *Minimises* what `MultiTaskLasso` does. Folds are weights over one X: the paths of all folds are one compiled program.

    Parameters
    ----------
    eps : float, default=1e-3
        Smallest strength of an automatic grid, in units of the largest.
    alphas : int or array-like, default=100
        Number of strengths of an automatic grid, or the strengths.
    fit_intercept : bool, default=True
        Whether to fit an intercept for each task; it is never penalised.
    max_iter : int, default=1000
        Largest number of passes over the data, for each strength.
    tol : float, default=1e-4
        Stop when the duality gap is at most `tol` times the weighted mean of ‖y − ȳ‖².
    copy_X : bool, default=True
        Without meaning: X is never written to.
    cv : int, splitter or iterable, default=None
        Folds, five by default.
    verbose : bool, default=False
        Without meaning: a compiled program prints nothing.
    n_jobs : int, default=None
        Without meaning: all folds are one program, and XLA uses the cores.
    random_state : int, RandomState instance or None, default=None
        Without meaning, as `selection`.
    selection : {"cyclic", "random"}, default="cyclic"
        Without meaning: features are not visited in an order.

    Attributes
    ----------
    alpha_ : float
        Chosen strength.
    mse_path_ : ndarray of shape (n_alphas, n_folds)
        Mean squared errors on the test folds.
    alphas_ : ndarray of shape (n_alphas,)
        Strengths, decreasing.
    coef_, intercept_, dual_gap_, certificate_, converged_, n_iter_, n_features_in_, feature_names_in_
        As for `MultiTaskElasticNetCV`.

    Examples
    --------
    >>> from sklearn.datasets import load_linnerud
    >>> from jaxlearn.linear_model import MultiTaskLassoCV
    >>> X, Y = load_linnerud(return_X_y=True)
    >>> MultiTaskLassoCV(alphas=10, cv=3).fit(X, Y).mse_path_.shape
    (10, 3)
    """

    _parameter_constraints: dict = MULTI_TASK_CV

    def __init__(
        self,
        *,
        eps=1e-3,
        alphas=100,
        fit_intercept=True,
        max_iter=1000,
        tol=1e-4,
        copy_X=True,
        cv=None,
        verbose=False,
        n_jobs=None,
        random_state=None,
        selection="cyclic",
    ):
        self.eps = eps
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.copy_X = copy_X
        self.cv = cv
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.selection = selection
