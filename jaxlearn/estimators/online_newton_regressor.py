"""Least squares and Poisson regression in one pass."""

from __future__ import annotations

import jax
import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin

from jaxlearn.objectives import ElasticNet, Poisson, Squared

from .base import LinearRegressor, number, warn_unless_converged
from .constraints import COUNT, NON_NEGATIVE, ONE_OF, SHARE
from .inputs import read
from .one_pass import OnlineNewtonModel, fitted_sparse

__all__ = ["OnlineNewtonRegressor"]


class OnlineNewtonRegressor(MultiOutputMixin, RegressorMixin, OnlineNewtonModel, LinearRegressor):
    """Least squares or Poisson regression in one pass, by second-order moments.

    *Minimises* ``(1 / Σ s) Σ s_i loss_i + alpha (l1_ratio ‖w‖₁ + ½ (1 − l1_ratio) ‖w‖²)``, the loss ``½ (y − f)²`` or
    ``exp(f) − y f``; the intercept is free.

    *Step* As in `OnlineNewtonClassifier`. The expansion of a square is the square itself: moments and coefficients are those
    of all rows at once, whatever their order, and any penalty may be solved for at any time, by `solve`.

    *Reads the data by* scan, once.

    *Cost* n p² flops, and p³ / 3 for a solution; memory for p² numbers in double precision.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default="squared_error"
        "poisson" has the logarithm as link; its predictions are means, and it takes y ≥ 0.
    alpha : float, default=1e-4
        Strength of the penalty, in the scale of `ElasticNet` and `SGDRegressor`.
    l1_ratio : float, default=0.0
        Share of the l1 norm: squared error and one target only.
    positive : bool, default=False
        Coefficients ≥ 0: squared error and one target only.
    tol : float, default=1e-4
        With an l1 part or signs: duality gap, in units of the weighted mean of (y − ȳ)².
    fit_intercept : bool, default=True
    batch_size : int or "auto", default="auto"
        Rows of a batch in `fit`.
    shuffle : bool, default=True
        As in `OnlineNewtonClassifier`; of no consequence for the squared error.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
    intercept_ : float or ndarray of shape (n_targets,)
    n_samples_seen_ : int
    certificate_ : float
        Largest entry of the gradient, per unit of weight, or the duality gap.
    converged_ : bool
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.linear_model import OnlineNewtonRegressor
    >>> X = np.random.default_rng(0).standard_normal((300, 4))
    >>> y = X @ np.array([1.0, 0.0, 0.0, -2.0])
    >>> model = OnlineNewtonRegressor(alpha=0).fit(X, y)
    >>> model.coef_.round(3) + 0.0
    array([ 1.,  0.,  0., -2.])
    >>> model.set_params(alpha=0.1, l1_ratio=1.0).solve().coef_.round(1) + 0.0
    array([ 0.9,  0. ,  0. , -1.9])
    """

    _parameter_constraints: dict = {
        "loss": [ONE_OF("squared_error", "poisson")],
        "alpha": [NON_NEGATIVE],
        "l1_ratio": [SHARE],
        "positive": ["boolean"],
        "tol": [NON_NEGATIVE],
        "fit_intercept": ["boolean"],
        "batch_size": [COUNT, ONE_OF("auto")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        loss="squared_error",
        alpha=1e-4,
        l1_ratio=0.0,
        positive=False,
        tol=1e-4,
        fit_intercept=True,
        batch_size="auto",
        shuffle=True,
        random_state=None,
    ):
        self.loss = loss
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.positive = positive
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = self.loss == "poisson"
        tags.target_tags.multi_output = self.loss != "poisson"
        return tags

    def fit(self, X, y=None, sample_weight=None):
        """Forget what was seen, and learn from all rows in one pass.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream} of shape (n_samples, n_features), or iterable
            An iterable gives tuples (X, y) or (X, y, sample_weight), one for each batch.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Without it X is an iterable.
        sample_weight : float or array-like of shape (n_samples,), optional

        Returns
        -------
        self : object
        """
        self._validate_params()
        self._refuse_unsupported()
        return self._fit(X, y, sample_weight)

    def partial_fit(self, X, y, sample_weight=None):
        """Learn from one batch.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : float or array-like of shape (n_samples,), optional

        Returns
        -------
        self : object
        """
        self._refuse_unsupported()
        return super().partial_fit(X, y, sample_weight)

    def predict(self, X):
        """Predict the mean of y.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples,) or (n_samples, n_targets)
        """
        f = super().predict(X)
        return f if self.loss == "squared_error" else (jax.numpy if isinstance(f, jax.Array) else np).exp(f)

    def _read(self, X, y, sample_weight):
        return read(self, X, y, sample_weight, multi_output=self.loss != "poisson")

    def _refuse_unsupported(self) -> None:
        if self.loss != "squared_error" and (self.l1_ratio or self.positive):
            raise ValueError(
                f"loss={self.loss!r} takes an l2 penalty: the expansions are not exact, and an l1 part or signs would ask for "
                "others. Use l1_ratio=0 and positive=False."
            )

    def _loss(self):
        return Squared() if self.loss == "squared_error" else Poisson()

    def _targets(self, y, weight, name):
        y = np.asarray(y)
        if y.dtype.kind not in "fiub" or not np.isfinite(y).all():
            raise ValueError(f"The targets of {name} are not finite numbers.")
        if self.loss == "poisson" and ((y < 0).any() or y.ndim > 1):
            raise ValueError(f"loss='poisson' takes one target y >= 0; {name} has others.")
        return y, weight

    def _solved(self):
        if not (self.l1_ratio or self.positive):
            return super()._solved()
        penalty = ElasticNet(number(self.alpha, np.float64), number(self.l1_ratio, np.float64), self.positive)
        found = fitted_sparse(self._model(), self._state, penalty, tol=number(self.tol, np.float64))
        certificate, dtype = found.certificate, np.float64
        warn_unless_converged(self, found.status, found.residual, certificate, self.tol, found.n_steps, dtype)
        return found

    def _adopt_moments(self):
        super()._adopt_moments()
        if self._column:
            self.coef_, self.intercept_ = self.coef_.reshape(1, -1), np.reshape(self.intercept_, (1,))
