"""Quantile regression, as scikit-learn has it."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from sklearn.base import RegressorMixin
from sklearn.utils._param_validation import Interval

from jaxlearn.access.blocks import in_blocks
from jaxlearn.models import quantile as model

from .base import LinearRegressor, compute, number
from .constraints import NON_NEGATIVE, ONE_OF
from .inputs import place, read

__all__ = ["QuantileRegressor"]

MAX_STEPS = 100


class QuantileRegressor(RegressorMixin, LinearRegressor):
    """Linear regression of a quantile of y, or of the median, with an l1 penalty.

    *Minimises* ``(1 / Σ s) Σ s_i ρ_q(y_i − x_i w − b) + alpha ‖w‖₁`` with ``ρ_q(r) = max(q r, (q − 1) r)``.

    *Step* of `jaxlearn.solvers.InteriorPoint`: weighted least squares, whose weights find the rows that the solution meets.
    From the last point the solution steps onto the vertex near it: coefficients are exactly zero and rows exactly met.

    *Cost* n p² flops a step, of which there are ten to thirty.

    *Stops when* the duality gap is at most ``tol`` times the loss that a constant leaves.

    Parameters
    ----------
    quantile : float, default=0.5
        q, between 0 and 1.
    alpha : float, default=1.0
        Strength of the penalty; 0 is none.
    fit_intercept : bool, default=True
        Whether to fit an intercept; it is never penalised.
    solver : {"auto", "highs", "highs-ds", "highs-ipm", "interior-point"}, default="highs"
        Names of one solver: the minimum and its vertex are those that scikit-learn's solvers of these names find.
        ``revised simplex`` is refused, as it is by SciPy. Where several solutions are minimal they may find another.
    solver_options : dict, default=None
        ``tol``, the duality gap in units of the loss that a constant leaves, by default three quarters of the digits of X
        (2e-12, or 6e-6 in single precision); ``maxiter``, the largest number of steps, 100 by default. Others are refused
        by name.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Coefficients.
    intercept_ : float
        Intercept; 0.0 without.
    n_iter_ : int
        Steps.
    certificate_ : float
        Duality gap, in units of the loss that a constant leaves: the objective is at most this above the minimum.
    converged_ : bool
        Whether it is within the tolerance.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where X has some.

    See Also
    --------
    jaxlearn.models.quantile : The same as pure functions: many quantiles and strengths at once, derivatives.

    Examples
    --------
    >>> from jaxlearn.linear_model import QuantileRegressor
    >>> model = QuantileRegressor(quantile=0.8, alpha=0).fit([[0], [1], [2], [3], [4], [5]], [0, 3, 2, 5, 4, 9])
    >>> model.coef_.round(3), round(float(model.intercept_), 3)
    (array([1.5]), 1.5)
    """

    _parameter_constraints: dict = {
        "quantile": [Interval(Real, 0, 1, closed="neither")],
        "alpha": [NON_NEGATIVE],
        "fit_intercept": ["boolean"],
        "solver": [ONE_OF("auto", "highs", "highs-ds", "highs-ipm", "interior-point")],
        "solver_options": [dict, None],
    }

    def __init__(self, *, quantile=0.5, alpha=1.0, fit_intercept=True, solver="highs", solver_options=None):
        self.quantile = quantile
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.solver_options = solver_options

    def fit(self, X, y, sample_weight=None):
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
        data = place(X, y, weight)
        tol, max_steps = self._options(data.dtype)
        asked = model.Quantile(
            quantile=number(self.quantile, data.dtype),
            alpha=number(self.alpha, data.dtype),
            tol=number(tol, data.dtype),
            max_steps=number(max_steps, "int32"),
            fit_intercept=self.fit_intercept,
        )
        return self._adopt(compute(_fit, data, asked), data, tol)

    def _options(self, dtype: Any) -> tuple[float, int]:
        """Tolerance and number of steps."""
        options = self.solver_options or {}
        unknown = sorted(set(options) - {"tol", "maxiter"})
        if unknown:
            raise ValueError(f"`solver_options` of {type(self).__name__} are 'tol' and 'maxiter'; got {unknown}.")
        tol, max_steps = options.get("tol", model.digits(dtype)), options.get("maxiter", MAX_STEPS)
        if not (isinstance(tol, Real) and float(tol) >= 0):
            raise ValueError(f"`solver_options['tol']` must be a number of at least 0; got {tol!r}.")
        if not (isinstance(max_steps, Integral) and int(max_steps) >= 1):
            raise ValueError(f"`solver_options['maxiter']` must be an integer of at least 1; got {max_steps!r}.")
        return float(tol), int(max_steps)


def _fit(rows: Any, rest: Any, axis_name: str | None = None) -> model.FittedQuantile:
    (X, y, weight), (asked,) = rows, rest
    return model.fit(asked, in_blocks(X, axis_name), y, weight, axis_name=axis_name)
