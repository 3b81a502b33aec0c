"""Linear regression that outliers do not spoil."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils._param_validation import Interval

from jaxlearn.access.blocks import in_blocks
from jaxlearn.models import huber

from .base import LinearRegressor, compute, number
from .constraints import NON_NEGATIVE
from .inputs import Data, place, read

__all__ = ["HuberRegressor"]


def _fit(rows: Any, rest: Any, axis_name: str | None = None) -> huber.FittedHuber:
    (X, y, weight), (model, init) = rows, rest
    return huber.fit(model, in_blocks(X, axis_name), y, weight, init=init, axis_name=axis_name)


class HuberRegressor(RegressorMixin, LinearRegressor):
    """Linear regression whose loss is quadratic near zero and linear beyond, with the scale of the residuals.

    *Minimises* ``Σ s_i (σ + σ H((y_i − x_i w − b) / σ)) + alpha ‖w‖²`` over w, b and σ together, with ``H(z) = z²`` for
    ``|z| ≤ epsilon`` and ``2 epsilon |z| − epsilon²`` beyond. It is jointly convex: Newton's method from the median of y,
    in some ten passes; of more than 4096 features, 1024 of a sparse X, L-BFGS.

    A perfect fit has no scale: σ ends at √eps of twice the median distance of y from its median, 1.5e-8 of it in double
    precision, 3.5e-4 in single. So it does for epsilon = 1, where least absolute residuals are minimised, which takes more
    steps.

    Parameters
    ----------
    epsilon : float, default=1.35
        At least one; residuals of more than epsilon σ are outliers.
    max_iter : int, default=100
        Largest number of steps after the start.
    alpha : float, default=0.0001
        Strength; 0 is no penalty.
    warm_start : bool, default=False
        Start from the coefficients and the scale of the previous fit.
    fit_intercept : bool, default=True
        Whether to fit an intercept; it is never penalised.
    tol : float, default=1e-5
        Stop when no entry of the gradient of the objective, divided by Σ s, is larger: it does not depend on how many
        samples there are, nor on the unit of y. scikit-learn does not divide.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Coefficients.
    intercept_ : float
        Intercept; 0.0 without.
    scale_ : float
        σ.
    outliers_ : ndarray of shape (n_samples,)
        Whether a residual is larger than epsilon σ.
    n_iter_ : int
        Steps after the start, each a pass over the data.
    certificate_ : float
        Largest entry of the gradient, as in `tol`.
    converged_ : bool
        Whether it is within the tolerance.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where X has some.

    Examples
    --------
    >>> from jaxlearn.linear_model import HuberRegressor
    >>> X = [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [7.0]]
    >>> model = HuberRegressor().fit(X, [1.1, 1.9, 3.05, 3.95, 5.1, 5.9, 7.0, 60.0])
    >>> model.coef_.round(1), model.outliers_.nonzero()[0][-1:]
    (array([1.]), array([7]))
    """

    _parameter_constraints: dict = {
        "epsilon": [Interval(Real, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "alpha": [NON_NEGATIVE],
        "warm_start": ["boolean"],
        "fit_intercept": ["boolean"],
        "tol": [NON_NEGATIVE],
    }

    def __init__(self, *, epsilon=1.35, max_iter=100, alpha=0.0001, warm_start=False, fit_intercept=True, tol=1e-05):
        self.epsilon = epsilon
        self.max_iter = max_iter
        self.alpha = alpha
        self.warm_start = warm_start
        self.fit_intercept = fit_intercept
        self.tol = tol

    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
            float32 is computed in float32, everything else in float64.
        y : array-like of shape (n_samples,)
        sample_weight : float or array-like of shape (n_samples,), optional
            Zero is a row that is not there.

        Returns
        -------
        self : object
        """
        self._validate_params()
        X, y, weight = read(self, X, y, sample_weight, multi_output=False)
        data = place(X, y, weight)
        model = huber.Huber(
            epsilon=number(self.epsilon, data.dtype),
            alpha=number(self.alpha / data.total_weight, data.dtype),
            tol=number(self.tol, data.dtype),
            max_steps=np.int32(min(self.max_iter + 1, np.iinfo(np.int32).max)),  # the first looks at the start
            fit_intercept=self.fit_intercept,
        )
        fitted = compute(_fit, data, model, self._start(data))
        self._adopt(fitted, data, self.tol)
        self.n_iter_ -= 1
        self.scale_ = np.array(fitted.scale)[()]
        self.outliers_ = np.abs(data.y[: data.n_samples] - np.asarray(self.predict(X))) > self.epsilon * self.scale_
        return self

    def _start(self, data: Data) -> tuple[np.ndarray, ...] | None:
        """Coefficients, intercept and scale of the last fit."""
        if not (self.warm_start and hasattr(self, "coef_")):
            return None
        if self.coef_.shape != (data.n_features,):
            raise ValueError(
                f"`warm_start` found {len(self.coef_)} coefficients; X now has {data.n_features} features."
            )
        return tuple(number(value, data.dtype) for value in (self.coef_, self.intercept_, self.scale_))
