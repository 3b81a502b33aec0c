"""Ordinary least squares."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin

from jaxlearn.models.glm import GLM
from jaxlearn.objectives import L1

from .base import LinearRegressor, compute, number
from .constraints import LINEAR
from .inputs import Data, place, read
from .programs import elastic_net, fit

__all__ = ["LinearRegression"]


class LinearRegression(MultiOutputMixin, RegressorMixin, LinearRegressor):
    """Ordinary least squares.

    *Minimises* ``‖y − X w‖²``, weighted by `sample_weight`.

    Dense X by an orthogonal factorisation, which gives the solution of least norm where it is not unique; sparse X by
    conjugate gradients; ``positive=True`` by the solver of the Lasso.

    Parameters
    ----------
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    copy_X : bool, default=True
        Without meaning: X is never written to.
    tol : float, default=1e-6
        Sparse X: stop when the normal equations have at most this relative residual. ``positive=True``: duality gap, in
        units of the weighted mean of (y − ȳ)². Dense X does not use it: directions of X are dropped where they are zero
        up to rounding errors.
    n_jobs : int, default=None
        Without meaning: one program solves for all targets, and XLA uses the cores.
    positive : bool, default=False
        Restrict the coefficients to be ≥ 0.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients.
    rank_ : int
        Rank of the weighted, centred X. Dense X only.
    singular_ : ndarray of shape (min(n_samples, n_features),)
        Its singular values. Dense X only.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept; 0.0 without.
    certificate_ : float or ndarray of shape (n_targets,)
        Relative residual of the normal equations; the duality gap for ``positive=True``.
    converged_ : bool
        Whether it is within the tolerance.
    n_iter_ : int or list of int
        Passes over the data.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where X has some.

    Examples
    --------
    >>> from jaxlearn.linear_model import LinearRegression
    >>> model = LinearRegression().fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
    >>> model.predict([[3.0]]).round(6)
    array([7.])
    """

    _parameter_constraints: dict = {**LINEAR, "n_jobs": [None, Integral]}

    def __init__(self, *, fit_intercept=True, copy_X=True, tol=1e-6, n_jobs=None, positive=False):
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.tol = tol
        self.n_jobs = n_jobs
        self.positive = positive

    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
            float32 is computed in float32, everything else in float64.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : float or array-like of shape (n_samples,), optional
            Only ratios matter; zero is a row that is not there.

        Returns
        -------
        self : object
        """
        self._validate_params()
        data = place(*read(self, X, y, sample_weight), centred=self.fit_intercept)
        fitted = elastic_net(data, self._model(data)) if self.positive else compute(fit, data, self._model(data), None)
        self._set_rank(fitted, data)
        self._adopt(fitted, data, self.tol)
        self.coef_ = self.coef_[None] if data.is_column else self.coef_
        return self

    def _model(self, data: Data) -> GLM:
        tol, max_steps = number(self.tol, data.dtype), np.int32(max(1000, 10 * data.n_features))
        if self.positive:
            return GLM(
                penalty=L1(number(0, data.dtype), positive=True),
                tol=tol,
                max_steps=max_steps,
                fit_intercept=self.fit_intercept,
            )
        solver = "conjugate_gradient" if data.is_sparse else "least_squares"
        return GLM(tol=tol, max_steps=max_steps, fit_intercept=self.fit_intercept, solver=solver)

    def _set_rank(self, fitted: Any, data: Data) -> None:
        if fitted.singular_values is not None:
            # those of the padding are zeros
            singular = fitted.singular_values[: min(data.n_samples, data.n_features)]
            self.singular_ = np.sqrt(data.total_weight).astype(data.dtype) * singular
            self.rank_ = int((singular > 0).sum())
