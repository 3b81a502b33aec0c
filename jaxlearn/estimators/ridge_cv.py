"""Ridge regression whose strength is chosen by cross-validation."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.model_selection import check_cv
from sklearn.utils import check_scalar
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, _raise_for_params

from jaxlearn.models.glm import GLM
from jaxlearn.objectives import L2

from .base import LinearRegressor, compute, number
from .constraints import ONE_OF, POSITIVE
from .folds import fold_weights, of_rows, routed_to_scorer
from .inputs import Data, place, read
from .programs import leave_one_out, ridge_folds
from .ridge import Ridge

__all__ = ["RidgeCV"]


class _Identity(RegressorMixin, BaseEstimator):
    """Lets a scorer see predictions that were made before."""

    def __sklearn_is_fitted__(self):
        return True

    def predict(self, predictions):
        return predictions


class RidgeCV(MultiOutputMixin, RegressorMixin, LinearRegressor):
    """Ridge regression whose strength is chosen by cross-validation.

    Leaving one row out at a time takes one eigendecomposition for all strengths and targets. With other folds, these
    are weights over one X, and all folds and strengths are one compiled program.

    Parameters
    ----------
    alphas : float or array-like of shape (n_alphas,), default=(0.1, 1.0, 10.0)
        Strengths to choose from; positive for leave-one-out.
    fit_intercept : bool, default=True
        Whether to fit an intercept; it is never penalised.
    scoring : str or callable, default=None
        What is maximised: by default the negative mean squared error for leave-one-out, else R².
    cv : int, splitter or iterable, default=None
        Folds; None leaves one row out at a time.
    gcv_mode : {"auto", "svd", "eigen"}, default=None
        Without meaning: all of these are one eigendecomposition of the smaller of Xᵀ X and X Xᵀ.
    store_cv_results : bool, default=False
        Whether to keep ``cv_results_``; leave-one-out only.
    alpha_per_target : bool, default=False
        Whether to choose for each target; leave-one-out only.

    Attributes
    ----------
    cv_results_ : ndarray of shape (n_samples, n_alphas) or (n_samples, n_targets, n_alphas)
        Weighted squared errors of the leave-one-out predictions, or the predictions where `scoring` is given. Only with
        ``store_cv_results=True``.
    alpha_ : float or ndarray of shape (n_targets,)
        Chosen strength.
    best_score_ : float or ndarray of shape (n_targets,)
        Its score.
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients of the fit to all data.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept; 0.0 without.
    certificate_, converged_, n_iter_
        Of that fit, as for `Ridge`.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where X has some.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from jaxlearn.linear_model import RidgeCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> float(RidgeCV(alphas=[1e-3, 1e-2, 1e-1, 1]).fit(X, y).alpha_)
    0.01
    """

    _parameter_constraints: dict = {
        "alphas": ["array-like", POSITIVE],
        "fit_intercept": ["boolean"],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "cv": ["cv_object"],
        "gcv_mode": [ONE_OF("auto", "svd", "eigen"), None],
        "store_cv_results": ["boolean"],
        "alpha_per_target": ["boolean"],
    }

    def __init__(
        self,
        alphas=(0.1, 1.0, 10.0),
        *,
        fit_intercept=True,
        scoring=None,
        cv=None,
        gcv_mode=None,
        store_cv_results=False,
        alpha_per_target=False,
    ):
        self.alphas: Any = alphas
        self.fit_intercept = fit_intercept
        self.scoring = scoring
        self.cv: Any = cv
        self.gcv_mode = gcv_mode
        self.store_cv_results = store_cv_results
        self.alpha_per_target = alpha_per_target

    def fit(self, X, y, sample_weight=None, **params):
        """Choose by cross-validation, then fit to all data.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
            float32 is computed in float32, everything else in float64. Rows over several devices: leave-one-out only.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : float or array-like of shape (n_samples,), optional
            Zero is a row that is not there. Leave-one-out weights its errors too.
        **params : dict
            For the scorer and the splitter, with scikit-learn's metadata routing enabled.

        Returns
        -------
        self : object
        """
        self._validate_params()
        _raise_for_params(params, self, "fit")
        alphas = self._checked_alphas()
        X, y, weight = read(self, X, y, sample_weight)
        data = place(X, y, weight)
        routed = routed_to_scorer(self, sample_weight, params)
        if self.cv is None:
            self._choose_leaving_one_out(data, y, weight, alphas, routed)
        else:
            self._choose_by_folds(data, X, y, alphas, routed)
        best = Ridge(alpha=self.alpha_, fit_intercept=self.fit_intercept)._fit(data)
        for name in ("coef_", "intercept_", "n_iter_", "certificate_", "converged_"):
            setattr(self, name, getattr(best, name))
        return self

    def _checked_alphas(self) -> np.ndarray:
        alphas = np.atleast_1d(np.asarray(self.alphas, dtype=object))
        boundaries = "neither" if self.cv is None else "left"
        for index, alpha in enumerate(alphas):
            name = f"alphas[{index}]" if alphas.size > 1 else "alphas"
            check_scalar(alpha, name, (float, int, np.floating, np.integer), min_val=0, include_boundaries=boundaries)
        if self.cv is not None and (self.store_cv_results or self.alpha_per_target):
            which = "store_cv_results" if self.store_cv_results else "alpha_per_target"
            raise ValueError(f"cv!=None and {which}=True are incompatible")
        return alphas.astype(np.float64)

    def _choose_leaving_one_out(self, data: Data, y: Any, weight: Any, alphas: np.ndarray, routed: Any) -> None:
        model = GLM(penalty=L2(number(0, data.dtype)), fit_intercept=self.fit_intercept)
        rest = model, number(alphas / data.total_weight, data.dtype)
        predictions = compute(leave_one_out, data, *rest, by_rows=True)[:, : data.n_samples]
        target = np.asarray(y, data.dtype).reshape(predictions.shape[1:])
        weights = weight.reshape(-1, *(1,) * (target.ndim - 1))
        errors = weights * np.square(target - predictions)
        if self.scoring is None:
            scores = -errors.mean(axis=1 if self.alpha_per_target else tuple(range(1, errors.ndim)))
        else:
            scores = self._scores(predictions, target, routed.scorer.score)
        if self.store_cv_results:
            results = np.moveaxis(errors if self.scoring is None else predictions, 0, -1)
            self.cv_results_ = results.reshape(*np.shape(y), -1)
        best = np.asarray(scores).argmax(axis=0)
        self.alpha_, self.best_score_ = alphas[best], np.take_along_axis(scores, best[None], axis=0)[0]

    def _scores(self, predictions: np.ndarray, target: np.ndarray, params: dict) -> np.ndarray:
        scorer = self._scorer()
        if not self.alpha_per_target or target.ndim == 1:
            return np.array([scorer(_Identity(), f, target, **params) for f in predictions])
        columns = range(target.shape[1])
        return np.array([[scorer(_Identity(), f[:, j], target[:, j], **params) for j in columns] for f in predictions])

    def _choose_by_folds(self, data: Data, X: Any, y: Any, alphas: np.ndarray, routed: Any) -> None:
        if data.mesh is not None:
            raise ValueError(
                "RidgeCV takes rows over several devices only with cv=None: a scorer needs rows on the host."
            )
        splitter: Any = check_cv(self.cv)
        folds = list(splitter.split(X, y, **routed.splitter.split))
        train, _ = fold_weights(folds, data.sample_weight, data.n_samples)
        model = GLM(penalty=L2(number(0, data.dtype)), fit_intercept=self.fit_intercept)
        rows = data.X, data.y, train
        found = compute(ridge_folds, data, model, number(alphas, data.dtype), rows=rows)
        X = X.tocsr() if data.is_sparse else np.asarray(X)
        scorer, scores = self._scorer(), []
        for fold, (_, test) in enumerate(folds):
            params = {name: of_rows(value, len(y), test) for name, value in routed.scorer.score.items()}
            fits = [self._fitted(data, found.coef[fold, i], found.intercept[fold, i]) for i in range(len(alphas))]
            scores.append([scorer(ridge, X[test], y[test], **params) for ridge in fits])
        means = np.mean(scores, axis=0)
        self.alpha_, self.best_score_ = alphas[means.argmax()], means.max()

    def _fitted(self, data: Data, coef: np.ndarray, intercept: np.ndarray) -> Ridge:
        """What a scorer sees of a fold."""
        ridge: Any = Ridge(fit_intercept=self.fit_intercept)
        ridge.coef_, ridge.intercept_, ridge.n_features_in_ = coef.T, intercept, data.n_features
        return ridge

    def _scorer(self) -> Any:
        return get_scorer("r2" if self.scoring is None else self.scoring)

    def get_metadata_routing(self):
        """Where metadata goes, see scikit-learn's user guide.

        Returns
        -------
        MetadataRouter
        """
        scoring = MethodMapping().add(caller="fit", callee="score")
        splitting = MethodMapping().add(caller="fit", callee="split")
        router = MetadataRouter(owner=self).add_self_request(self)
        router.add(scorer=self._scorer(), method_mapping=scoring)
        return router.add(splitter=check_cv(self.cv), method_mapping=splitting)
