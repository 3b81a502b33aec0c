"""Lasso and elastic net."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.base import MultiOutputMixin, RegressorMixin

from jaxlearn.models.glm import GLM
from jaxlearn.objectives import L2, NoPenalty
from jaxlearn.objectives import ElasticNet as ElasticNetPenalty

from .base import NO_SEED, LinearRegressor, compute, number, seed
from .constraints import NON_NEGATIVE, SHARE, SPARSE
from .given_gram import given_gram, is_gram
from .inputs import Data, place, read
from .programs import elastic_net, fit

__all__ = ["ElasticNet", "Lasso", "sparse_model", "without_selection"]


def sparse_model(
    params: Any, dtype: Any, *, alpha: Any, l1_ratio: Any, fit_intercept: bool, gram: np.ndarray | None = None
) -> GLM:
    """The configuration behind scikit-learn's parameters of a Lasso, whose objective has the scale of ours.

    Parameters
    ----------
    params : estimator
        With ``positive, tol, max_iter, selection, precompute``.
    dtype : dtype
        Of the fit.
    alpha, l1_ratio : float
    fit_intercept : bool
    gram : ndarray of shape (n_features, n_features), optional
        What `given_gram` made of ``precompute``.
    """
    random = params.selection == "random"
    return GLM(
        penalty=ElasticNetPenalty(number(alpha, dtype), number(l1_ratio, dtype), params.positive),
        tol=number(params.tol, dtype),
        max_steps=np.int32(1000 if params.max_iter is None else params.max_iter),
        fit_intercept=fit_intercept,
        solver="coordinate_descent" if random else "auto",
        precompute=True if params.precompute is True or is_gram(params.precompute) else None,
        gram=None if gram is None else number(gram, dtype),
        random=random,
    )


def without_selection(alpha: float, model: GLM) -> GLM:
    """What an elastic net of no l1 part is: ridge, or least squares."""
    penalty = L2(number(alpha, np.asarray(model.tol).dtype)) if alpha > 0 else NoPenalty()
    return GLM(penalty=penalty, fit_intercept=model.fit_intercept)


class ElasticNet(MultiOutputMixin, RegressorMixin, LinearRegressor):
    """Linear regression with a combined l1 and l2 penalty.

    *Minimises* ``1 / (2 n) ‖y − X w‖² + alpha (l1_ratio ‖w‖₁ + ½ (1 − l1_ratio) ‖w‖²)``, the mean weighted by
    `sample_weight`; each column of a two-dimensional y on its own.

    By feature-sign Newton steps on a working set of columns. The duality gap bounds how far the objective may be from
    its minimum.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength. With 0 there is nothing to select: the closed form of `LinearRegression` is used, with a warning.
    l1_ratio : float, default=0.5
        Share of the l1 part. With 0 the closed form of `Ridge` is used.
    fit_intercept : bool, default=True
        Whether to fit an intercept; it is never penalised.
    precompute : bool or array-like of shape (n_features, n_features), default=False
        True holds the Gram matrix of X in memory; False leaves the choice to the shape of X. A matrix is ``XᵀX``, with
        weights scaled to a mean of one, and X is centred if there is an intercept; it is compared with X.
    max_iter : int, default=1000
        Largest number of passes over the data.
    copy_X : bool, default=True
        Without meaning: X is never written to.
    tol : float, default=1e-4
        Stop when the duality gap is at most `tol` times the weighted mean of (y − ȳ)².
    warm_start : bool, default=False
        Start from the coefficients of the previous fit.
    positive : bool, default=False
        Restrict the coefficients to be ≥ 0.
    random_state : int, RandomState instance or None, default=None
        Of the order of ``selection="random"``.
    selection : {"cyclic", "random"}, default="cyclic"
        ``random`` is coordinate descent in a random order. ``cyclic`` is the default solver, which has no order.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients.
    sparse_coef_ : sparse array of shape (1, n_features) or (n_targets, n_features)
        The same, without its zeros.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept; 0.0 without.
    dual_gap_ : float or ndarray of shape (n_targets,)
        Duality gap; NaN where there is no l1 part (``alpha=0`` or ``l1_ratio=0``).
    certificate_ : float or ndarray of shape (n_targets,)
        What `tol` bounds: the duality gap, or the relative residual of the normal equations in a closed form.
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
    >>> from jaxlearn.linear_model import ElasticNet
    >>> model = ElasticNet(alpha=0.1).fit([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], [0.0, 1.0, 2.0])
    >>> model.coef_.round(3), bool(model.dual_gap_ <= 1e-4)
    (array([0.446, 0.446]), True)
    """

    _parameter_constraints: dict = {
        **SPARSE,
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
        precompute=False,
        max_iter=1000,
        copy_X=True,
        tol=1e-4,
        warm_start=False,
        positive=False,
        random_state=None,
        selection="cyclic",
    ):
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.precompute = precompute
        self.max_iter = max_iter
        self.copy_X = copy_X
        self.tol = tol
        self.warm_start = warm_start
        self.positive = positive
        self.random_state = random_state
        self.selection = selection

    def fit(self, X, y, sample_weight=None, check_input=True):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
            float32 is computed in float32, everything else in float64.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : float or array-like of shape (n_samples,), optional
            Only ratios matter; zero is a row that is not there.
        check_input : bool
            Without meaning: the input is always checked.

        Returns
        -------
        self : object
        """
        self._validate_params()
        X, y, weight = read(self, X, y, sample_weight)
        gram = given_gram(self.precompute, X, weight, self.fit_intercept)
        data = place(X, y, weight, centred=self.fit_intercept)
        options = {"alpha": self.alpha, "l1_ratio": self.l1_ratio, "fit_intercept": self.fit_intercept}
        return self._fit(data, sparse_model(self, data.dtype, **options, gram=gram))

    def _fit(self, data: Data, model: GLM) -> ElasticNet:
        if self.alpha == 0:
            warnings.warn(
                "With alpha=0, this algorithm does not converge well. You are advised to use the LinearRegression "
                "estimator, in whose closed form it is solved here.",
                stacklevel=3,
            )
        closed = self._closed_form(model)
        if closed is None:
            fitted = elastic_net(data, model, self._start(data), seed(self.random_state) if model.random else NO_SEED)
        else:
            fitted = compute(fit, data, closed, None)
        self.dual_gap_ = np.array(fitted.residual)[()] if closed is None else np.nan
        return self._adopt(fitted, data, self.tol)

    def _start(self, data: Data) -> np.ndarray | None:
        if not (self.warm_start and hasattr(self, "coef_")):
            return None
        coef, shape = np.asarray(self.coef_, data.dtype).T, (data.n_features, *data.y.shape[1:])
        if coef.shape != shape:
            raise ValueError(f"`warm_start` found coefficients of shape {coef.shape}; X and y now ask for {shape}.")
        return coef

    def _closed_form(self, model: GLM) -> GLM | None:
        """Without an l1 part: the penalty that remains, in a closed form."""
        if self.positive or self.selection == "random" or (self.alpha > 0 and self.l1_ratio > 0):
            return None
        return without_selection(self.alpha, model)

    @property
    def sparse_coef_(self):
        """Sparse representation of ``coef_``."""
        return scipy.sparse.csr_array(np.atleast_2d(self.coef_))


class Lasso(ElasticNet):
    """Linear regression with an l1 penalty.

    *Minimises* ``1 / (2 n) ‖y − X w‖² + alpha ‖w‖₁``: the `ElasticNet` of ``l1_ratio`` one.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength. With 0 there is nothing to select: the closed form of `LinearRegression` is used, with a warning.
    fit_intercept : bool, default=True
        Whether to fit an intercept; it is never penalised.
    precompute : bool or array-like of shape (n_features, n_features), default=False
        True holds the Gram matrix of X in memory; False leaves the choice to the shape of X. A matrix is ``XᵀX``, with
        weights scaled to a mean of one, and X is centred if there is an intercept; it is compared with X.
    copy_X : bool, default=True
        Without meaning: X is never written to.
    max_iter : int, default=1000
        Largest number of passes over the data.
    tol : float, default=1e-4
        Stop when the duality gap is at most `tol` times the weighted mean of (y − ȳ)².
    warm_start : bool, default=False
        Start from the coefficients of the previous fit.
    positive : bool, default=False
        Restrict the coefficients to be ≥ 0.
    random_state : int, RandomState instance or None, default=None
        Of the order of ``selection="random"``.
    selection : {"cyclic", "random"}, default="cyclic"
        ``random`` is coordinate descent in a random order. ``cyclic`` is the default solver, which has no order.

    Attributes
    ----------
    coef_, sparse_coef_, intercept_, dual_gap_, certificate_, converged_, n_iter_, n_features_in_, feature_names_in_
        As for `ElasticNet`.

    Examples
    --------
    >>> from jaxlearn.linear_model import Lasso
    >>> model = Lasso(alpha=0.1).fit([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]], [0.0, 1.0, 2.0])
    >>> model.coef_.round(3), round(float(model.intercept_), 3)
    (array([0.85, 0.  ]), 0.15)
    """

    _parameter_constraints: dict = {k: v for k, v in ElasticNet._parameter_constraints.items() if k != "l1_ratio"}

    l1_ratio = 1.0

    def __init__(
        self,
        alpha=1.0,
        *,
        fit_intercept=True,
        precompute=False,
        copy_X=True,
        max_iter=1000,
        tol=1e-4,
        warm_start=False,
        positive=False,
        random_state=None,
        selection="cyclic",
    ):
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.precompute = precompute
        self.copy_X = copy_X
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.positive = positive
        self.random_state = random_state
        self.selection = selection
