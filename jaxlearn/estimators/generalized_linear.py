"""Generalized linear models of a positive, or non-negative, target: Poisson, gamma and Tweedie regression."""

from __future__ import annotations

from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval

from jaxlearn.models.glm import GLM
from jaxlearn.objectives import L2, Loss, NoPenalty, Poisson, Tweedie

from .base import LinearModel, number
from .constraints import COUNT, NON_NEGATIVE, ONE_OF, POSITIVE
from .inputs import Data, check_sample_weight, place, read
from .smooth import SOLVERS, minimise

__all__ = ["GammaRegressor", "PoissonRegressor", "TweedieRegressor"]

NAMES = [name for name in SOLVERS if not name.startswith("sketchy")]


class _GeneralizedLinearRegressor(RegressorMixin, LinearModel):
    """Parameters, fit and score; a class says which power of the mean the variance is."""

    _parameter_constraints: dict = {
        "alpha": [NON_NEGATIVE],
        "fit_intercept": ["boolean"],
        "solver": [ONE_OF(*NAMES)],
        "max_iter": [COUNT],
        "tol": [POSITIVE],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        alpha=1.0,
        fit_intercept=True,
        solver="auto",
        max_iter=100,
        tol=1e-4,
        warm_start=False,
        verbose=0,
    ):
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.verbose = verbose

    @property
    def _variance(self) -> float:
        """Power of the mean."""
        raise NotImplementedError

    @property
    def _loss(self) -> Loss:
        return Poisson() if self._variance == 1 else Tweedie(self._variance)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = self._variance > 0
        return tags

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
        self._check_range(y)
        data, loss = place(X, y, weight), self._loss
        model = GLM(
            loss=loss,
            penalty=L2(number(self.alpha, data.dtype)) if self.alpha > 0 else NoPenalty(),
            tol=number(self.tol, data.dtype),
            fit_intercept=self.fit_intercept,
        )
        start = self._start(data, loss, np.average(y, weights=weight))
        convex = not isinstance(loss, Tweedie) or (loss.link == "log" and 1 <= loss.power <= 2) or loss.power == 0
        fitted, self.solver_ = minimise(data, model, start, solver=self.solver, max_iter=self.max_iter, change=convex)
        return self._adopt(fitted, data, self.tol)

    def _start(self, data: Data, loss: Loss, mean: float) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients and intercept: those of the last fit, or of the constant that is best."""
        if not (self.warm_start and hasattr(self, "coef_")):
            return np.zeros(data.n_features, data.dtype), number(_link(loss, mean, data.dtype), data.dtype)
        if self.coef_.shape != (data.n_features,):
            raise ValueError(
                f"`warm_start` found {len(self.coef_)} coefficients; X now has {data.n_features} features."
            )
        return np.asarray(self.coef_, data.dtype), number(self.intercept_, data.dtype)

    def _check_range(self, y: np.ndarray) -> None:
        power = self._variance
        if (power >= 1 and (y < 0).any()) or (power >= 2 and (y == 0).any()):
            least = "zero or more" if power < 2 else "more than zero"
            raise ValueError(
                f"Some value(s) of y are out of the valid range of the loss of {type(self).__name__}: with power {power:g} "
                f"they must be {least}."
            )

    def predict(self, X):
        """The mean of y.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples,)
        """
        f = self._linear_predictor(X)
        if self._loss_is_identity:
            return f
        with jax.enable_x64(f.dtype == np.float64):
            return jnp.exp(f) if isinstance(f, jax.Array) else np.exp(f)

    @property
    def _loss_is_identity(self) -> bool:
        return getattr(self._loss, "link", "log") == "identity"

    def score(self, X, y, sample_weight=None):
        """Share of the deviance that is explained, D²: one at best, zero for the mean of y.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        float
        """
        f = np.asarray(self._linear_predictor(X))
        y = check_array(np.asarray(y), ensure_2d=False, dtype=f.dtype, input_name="y")  # pyright: ignore
        self._check_range(y)
        weight = check_sample_weight(sample_weight, len(f), f.dtype)
        left, least, constant = self._deviances(y, f, weight)
        return float(1 - (left - least) / (constant - least))

    def _deviances(self, y: np.ndarray, f: np.ndarray, weight: np.ndarray) -> tuple[float, float, float]:
        """Losses of a prediction, of y itself and of its mean: in double precision."""
        loss, y, f, weight = self._loss, y.astype(float), f.astype(float), weight.astype(float)
        with jax.enable_x64(True), np.errstate(divide="ignore"):
            exact = _link(loss, y, float)
            # where y is zero the logarithm is not finite, and the loss of a mean of zero is
            zero = ~np.isfinite(exact)
            mean = np.full_like(f, _link(loss, np.average(y, weights=weight), float))
            target = jnp.asarray(y)
            value = [loss.value(target, jnp.asarray(at)) for at in (f, np.where(zero, 0, exact), mean)]
            values = value[0], np.where(zero, 0, value[1]), value[2]
            left, least, constant = (float(weight @ np.asarray(each)) for each in values)
        return left, least, constant


def _link(loss: Loss, mean: Any, dtype: Any) -> np.ndarray:
    """The linear predictor of a mean; the smallest number for a mean of zero where it has a logarithm."""
    if getattr(loss, "link", "log") == "identity":
        return np.asarray(mean)
    return np.log(np.maximum(mean, np.finfo(dtype).tiny) if np.ndim(mean) == 0 else mean)


class PoissonRegressor(_GeneralizedLinearRegressor):
    """Poisson regression: counts, or rates with weights, by the logarithm of their mean.

    *Minimises* ``(1 / Σ s) Σ s_i (exp(f_i) − y_i f_i) + ½ alpha ‖w‖²`` with ``f = X w + b``, half the mean deviance up to a
    constant.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength; 0 is no penalty.
    fit_intercept : bool, default=True
        Whether to fit an intercept; it is never penalised.
    solver : {"auto", "lbfgs", "newton-cholesky"}, default="auto"
        ``auto`` begins with L-BFGS in the metric of the rows, or of a sample, and goes on with Newton's method if it has
        not ended after as many passes as that is estimated to cost; see ``solver_``.
    max_iter : int, default=100
        Largest number of passes over the data.
    tol : float, default=1e-4
        Stop when no entry of the gradient is larger.
    warm_start : bool, default=False
        Start from the coefficients of the previous fit.
    verbose : int, default=0
        Without meaning: a compiled program prints nothing.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Coefficients.
    intercept_ : float
        Intercept; 0.0 without.
    n_iter_ : int
        Passes over the data.
    solver_ : str
        What ran: ``lbfgs``, ``newton``, ``sampled_newton``, or the first and then another: ``lbfgs, then newton``.
    certificate_ : float
        Largest entry of the gradient.
    converged_ : bool
        Whether it is within the tolerance.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where X has some.

    See Also
    --------
    OnlineNewtonRegressor : The same from one pass over a stream.

    Examples
    --------
    >>> from jaxlearn.linear_model import PoissonRegressor
    >>> model = PoissonRegressor(alpha=0.1).fit([[0.0], [1.0], [2.0], [3.0]], [1, 2, 3, 9])
    >>> model.predict([[0.0], [3.0]]).round(1)
    array([0.9, 8.3])
    """

    @property
    def _variance(self) -> float:
        return 1


class GammaRegressor(_GeneralizedLinearRegressor):
    """Gamma regression: positive amounts whose spread grows with their mean, by its logarithm.

    *Minimises* ``(1 / Σ s) Σ s_i (f_i + y_i exp(−f_i)) + ½ alpha ‖w‖²`` with ``f = X w + b``, half the mean deviance up to a
    constant.

    Parameters
    ----------
    alpha, fit_intercept, solver, max_iter, tol, warm_start, verbose
        As of `PoissonRegressor`.

    Attributes
    ----------
    coef_, intercept_, n_iter_, solver_, certificate_, converged_, n_features_in_, feature_names_in_
        As of `PoissonRegressor`.

    Examples
    --------
    >>> from jaxlearn.linear_model import GammaRegressor
    >>> model = GammaRegressor(alpha=0.1).fit([[0.0], [1.0], [2.0], [3.0]], [1.0, 2.0, 3.0, 9.0])
    >>> model.predict([[0.0], [3.0]]).round(1)
    array([1. , 7.3])
    """

    @property
    def _variance(self) -> float:
        return 2


class TweedieRegressor(_GeneralizedLinearRegressor):
    """Regression whose variance is a power of the mean.

    *Minimises* half the mean `jaxlearn.objectives.Tweedie` deviance ``+ ½ alpha ‖w‖²``.

    Parameters
    ----------
    power : float, default=0.0
        0 is the normal distribution, 1 Poisson's, between 1 and 2 a mass at zero and positive amounts, 2 the gamma
        distribution, 3 the inverse Gaussian. There is none between 0 and 1.
    link : {"auto", "identity", "log"}, default="auto"
        What of the mean is linear; ``auto`` is the identity for powers up to 0, the logarithm for others.
    alpha, fit_intercept, solver, max_iter, tol, warm_start, verbose
        As of `PoissonRegressor`. Where the loss is not convex, as for powers above 2, ``auto`` is L-BFGS.

    Attributes
    ----------
    coef_, intercept_, n_iter_, solver_, certificate_, converged_, n_features_in_, feature_names_in_
        As of `PoissonRegressor`.

    Examples
    --------
    >>> from jaxlearn.linear_model import TweedieRegressor
    >>> X, y = [[1, 2], [2, 3], [3, 4], [4, 3]], [2, 3.5, 5, 5.5]
    >>> model = TweedieRegressor(tol=1e-8).fit(X, y)
    >>> model.coef_.round(3), round(model.score(X, y), 3)
    (array([0.6, 0.3]), 0.84)
    """

    _parameter_constraints: dict = {
        **_GeneralizedLinearRegressor._parameter_constraints,
        "power": [Interval(Real, None, 0, closed="right"), Interval(Real, 1, None, closed="left")],
        "link": [ONE_OF("auto", "identity", "log")],
    }

    def __init__(
        self,
        *,
        power=0.0,
        alpha=1.0,
        fit_intercept=True,
        link="auto",
        solver="auto",
        max_iter=100,
        tol=1e-4,
        warm_start=False,
        verbose=0,
    ):
        super().__init__(
            alpha=alpha,
            fit_intercept=fit_intercept,
            solver=solver,
            max_iter=max_iter,
            tol=tol,
            warm_start=warm_start,
            verbose=verbose,
        )
        self.link = link
        self.power = power

    @property
    def _variance(self) -> float:
        return float(self.power)

    @property
    def _loss(self) -> Loss:
        link = ("identity" if self.power <= 0 else "log") if self.link == "auto" else self.link
        return Tweedie(float(self.power), link)
