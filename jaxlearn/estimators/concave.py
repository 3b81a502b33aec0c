"""Linear regression with concave penalties, which select features and leave large coefficients alone."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval

from jaxlearn.models.glm import GLM
from jaxlearn.objectives import MCP, SCAD

from .base import number
from .constraints import COUNT, NON_NEGATIVE
from .inputs import Data, place, read
from .lasso import Lasso

__all__ = ["MCPRegression", "SCADRegression"]

CONCAVE: dict = {
    "alpha": [NON_NEGATIVE],
    "feature_weights": ["array-like", None],
    "fit_intercept": ["boolean"],
    "max_iter": [COUNT],
    "tol": [NON_NEGATIVE],
    "warm_start": ["boolean"],
}


class _Concave(Lasso):
    """A Lasso whose penalty flattens out, and whose solution is a stationary point."""

    positive = False
    selection = "cyclic"

    feature_weights: Any

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
        data = place(*read(self, X, y, sample_weight, multi_output=False), centred=self.fit_intercept)
        self._fit(data, self._model(data))
        del self.dual_gap_  # where the objective is not convex there is no dual
        return self

    def _model(self, data: Data) -> GLM:
        return GLM(
            penalty=self._penalty(number(self.alpha * self._weights(data.n_features), data.dtype), data.dtype),
            tol=number(self.tol, data.dtype),
            max_steps=np.int32(self.max_iter),
            fit_intercept=self.fit_intercept,
        )

    def _penalty(self, alpha: np.ndarray, dtype: Any) -> Any:
        raise NotImplementedError

    def _weights(self, n_features: int) -> np.ndarray:
        if self.feature_weights is None:
            return np.ones(n_features)
        weights = np.asarray(self.feature_weights, np.float64)
        if weights.shape != (n_features,) or not (np.isfinite(weights) & (weights >= 0)).all():
            raise ValueError(
                f"`feature_weights` has shape {weights.shape}; expected one finite number ≥ 0 for each of the "
                f"{n_features} features."
            )
        return weights


class MCPRegression(_Concave):
    """Linear regression with the minimax concave penalty.

    *Minimises* ``1 / (2 n) ‖y − X w‖² + Σ_j Ω_j(|w_j|)``, the mean weighted by `sample_weight`, with ``Ω_j(t) = a t − t² /
    (2 gamma)`` up to ``t = gamma a``, constant beyond, and ``a = alpha v_j``: as far as a stationary point, which is found from
    the Lasso. Small coefficients are zero, as of the Lasso; large ones are not shrunk.

    By coordinate descent and Newton steps from the Lasso. The certificate is how far the gradient is from the slopes of the
    penalty.

    Features are taken to have variances of about one. Of one whose variance is less than ``1 / gamma`` the objective is not
    convex, even if it is alone.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength. With 0 there is nothing to select: the closed form of `LinearRegression` is used, with a warning.
    gamma : float, default=3.0
        > 1. The smaller, the sooner the penalty is flat; with a large one it is that of the Lasso.
    feature_weights : array-like of shape (n_features,), default=None
        v ≥ 0; by default one. A feature of weight zero is not penalised.
    fit_intercept : bool, default=True
        Whether to fit an intercept; it is never penalised.
    max_iter : int, default=1000
        Largest number of passes over the data, of the Lasso and of what follows it each.
    tol : float, default=1e-4
        Stop when no entry of the gradient is further from the slopes of the penalty than `tol` times the largest of
        ``|Xᵀ (y − ȳ)| / n``.
    warm_start : bool, default=False
        Start from the coefficients of the previous fit, and so find the stationary point near to them.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Coefficients.
    sparse_coef_ : sparse array of shape (1, n_features)
        The same, without its zeros.
    intercept_ : float
        Intercept; 0.0 without.
    certificate_ : float
        What `tol` bounds: the distance, or the relative residual of the normal equations in a closed form.
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
    Zhang, "Nearly unbiased variable selection under minimax concave penalty", Ann. Statist. 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.linear_model import Lasso, MCPRegression
    >>> X = np.random.default_rng(0).standard_normal((200, 10))
    >>> y = 2 * X[:, 0]
    >>> [model.fit(X, y).coef_[:2].round(1).tolist() for model in (Lasso(0.5), MCPRegression(0.5))]
    [[1.5, 0.0], [2.0, 0.0]]
    """

    _parameter_constraints: dict = {**CONCAVE, "gamma": [Interval(Real, 1, None, closed="neither")]}

    def __init__(
        self,
        alpha=1.0,
        gamma=3.0,
        *,
        feature_weights=None,
        fit_intercept=True,
        max_iter=1000,
        tol=1e-4,
        warm_start=False,
    ):
        self.alpha = alpha
        self.gamma = gamma
        self.feature_weights = feature_weights
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start

    def _penalty(self, alpha: np.ndarray, dtype: Any) -> Any:
        return MCP(alpha, number(self.gamma, dtype))


class SCADRegression(_Concave):
    """Linear regression with the smoothly clipped absolute deviation.

    *Minimises* what `MCPRegression` does, with ``Ω_j(t) = α t`` up to ``α = alpha v_j``, then with a slope that falls to zero
    at ``t = a α``, and constant beyond.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength. With 0 there is nothing to select: the closed form of `LinearRegression` is used, with a warning.
    a : float, default=3.7
        > 2. The smaller, the sooner the penalty is flat; with a large one it is that of the Lasso.
    feature_weights : array-like of shape (n_features,), default=None
        v ≥ 0; by default one. A feature of weight zero is not penalised.
    fit_intercept : bool, default=True
        Whether to fit an intercept; it is never penalised.
    max_iter : int, default=1000
        Largest number of passes over the data, of the Lasso and of what follows it each.
    tol : float, default=1e-4
        Stop when no entry of the gradient is further from the slopes of the penalty than `tol` times the largest of
        ``|Xᵀ (y − ȳ)| / n``.
    warm_start : bool, default=False
        Start from the coefficients of the previous fit, and so find the stationary point near to them.

    Attributes
    ----------
    coef_, sparse_coef_, intercept_, certificate_, converged_, n_iter_, n_features_in_, feature_names_in_
        As for `MCPRegression`.

    References
    ----------
    Fan and Li, "Variable selection via nonconcave penalized likelihood and its oracle properties", JASA 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.linear_model import SCADRegression
    >>> X = np.random.default_rng(0).standard_normal((200, 10))
    >>> SCADRegression(0.5).fit(X, 2 * X[:, 0]).coef_[:2].round(2).tolist()
    [2.0, 0.0]
    """

    _parameter_constraints: dict = {**CONCAVE, "a": [Interval(Real, 2, None, closed="neither")]}

    def __init__(
        self,
        alpha=1.0,
        a=3.7,
        *,
        feature_weights=None,
        fit_intercept=True,
        max_iter=1000,
        tol=1e-4,
        warm_start=False,
    ):
        self.alpha = alpha
        self.a = a
        self.feature_weights = feature_weights
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start

    def _penalty(self, alpha: np.ndarray, dtype: Any) -> Any:
        return SCAD(alpha, number(self.a, dtype))
