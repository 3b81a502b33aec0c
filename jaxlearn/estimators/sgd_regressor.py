"""Linear regression that learns by stochastic gradients."""

from __future__ import annotations

from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.base import RegressorMixin
from sklearn.utils._param_validation import Interval

from .base import LinearRegressor
from .batches import Batch
from .constraints import COUNT, NON_NEGATIVE, ONE_OF
from .inputs import read, refuse_other_width
from .segments import Passing, Source, numeric_targets, open_rows, refuse_passing
from .sgd import REGRESSION, SGDModel
from .sgd_classifier import check_split
from .sgd_epochs import Held, PassingRows, Validation

__all__ = ["SGDRegression", "SGDRegressor", "encoded", "start_of"]


class SGDRegression(RegressorMixin, LinearRegressor, SGDModel):
    """One target."""

    _parameter_constraints: dict = {**SGDModel._parameter_constraints, **SGDModel._stopping}

    validation_fraction: float
    warm_start: bool
    n_features_in_: int

    def fit(self, X, y=None, coef_init=None, intercept_init=None, sample_weight=None):
        """Learn until an epoch is no longer worth it.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features), or iterable
            Of a stream blocks are shuffled in each epoch, and the rows inside of them. An iterable gives tuples (X, y) or
            (X, y, sample_weight) of any number of rows, in its own order, anew in each epoch.
        y : array-like of shape (n_samples,)
            Without it X is an iterable.
        coef_init : array-like of shape (n_features,), optional
        intercept_init : array-like of shape (1,), optional
            Where to start.
        sample_weight : array-like of shape (n_samples,), optional
            Factors of the steps.

        Returns
        -------
        self : object
        """
        self._validate_params()
        self._refuse()
        warm = (self.coef_, self.intercept_) if self.warm_start and hasattr(self, "coef_") else (None, None)
        source = open_rows(self, X, y, sample_weight, multi_output=False)
        if source is None:
            learn = partial(self._learn, *read(self, X, y, sample_weight, multi_output=False))
        else:
            learn = partial(self._learn_passing, source)
        self.t_ = 1.0
        vars(self).pop("_iterate", None)
        coef_init = warm[0] if coef_init is None else coef_init
        intercept_init = warm[1] if intercept_init is None else intercept_init
        start = start_of(self.n_features_in_, coef_init, intercept_init)
        learn(start, self.max_iter)
        self._warn_if_unfinished()
        return self

    def partial_fit(self, X, y, sample_weight=None):
        """One epoch over some rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self : object
        """
        self._validate_params()
        refuse_passing(X, y)
        begun = hasattr(self, "coef_")
        if not begun:
            self._refuse(partial_fit=True)
        n_features = self.n_features_in_ if begun else None
        X, y, weight = read(self, X, y, sample_weight, multi_output=False)
        refuse_other_width(self, X, n_features)
        self.t_ = getattr(self, "t_", 1.0)
        start = start_of(X.shape[1], *((self.coef_, self.intercept_) if begun else (None, None)))
        self._learn(X, y, weight, start, 1)
        return self

    def predict(self, X):
        """Predict by the linear model.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples,)
        """
        return super().predict(X).reshape(-1)  # coefficients that were made sparse are a matrix

    def _learn(self, X: Any, y: np.ndarray, weight: np.ndarray, start: Any, max_iter: int) -> None:
        X = X.tocsr() if scipy.sparse.issparse(X) else np.asarray(X)
        y = np.asarray(y, X.dtype)
        validation = self._validation(X, y, weight) if self.early_stopping else None
        rows = Held(X, y[:, None], weight[:, None], None if validation is None else validation.rows)
        self._descend(rows, start, max_iter=max_iter, validation=validation)
        self.coef_ = self.coef_[0]

    def _learn_passing(self, source: Source, start: Any, max_iter: int) -> None:
        self._descend(PassingRows(Passing(source, encoded, self.batch_size), 1), start, max_iter=max_iter)
        self.coef_ = self.coef_[0]

    def _validation(self, X: Any, y: np.ndarray, weight: np.ndarray) -> Validation:
        from sklearn.metrics import r2_score  # late: they take a while to import
        from sklearn.model_selection import ShuffleSplit

        splitter = ShuffleSplit(test_size=self.validation_fraction, random_state=self.random_state)
        train, test = next(splitter.split(np.zeros((len(y), 1)), y))
        check_split(self, len(y), train, test, weight)
        rows = np.zeros(len(y), bool)
        rows[test] = True

        def score(coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
            f = np.asarray(X[rows] @ coef[0]) + intercept[0]
            return np.atleast_1d(r2_score(y[rows], f, sample_weight=weight[rows]))

        return Validation(rows, score)


def encoded(batch: Batch) -> Batch:
    """What the programs take: one target."""
    return Batch(batch.X, numeric_targets(batch, 1), batch.sample_weight[:, None], batch.name)


def start_of(n_features: int, coef: Any, intercept: Any) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (1, p) and intercept (1,) to start from; zeros by default."""
    start = np.zeros((1, n_features)), np.zeros(1)
    if coef is not None:
        coef = coef.toarray() if scipy.sparse.issparse(coef) else np.asarray(coef, float)
        if coef.size != n_features:
            raise ValueError("Provided coef_init does not match dataset.")
        start = coef.reshape(1, -1), start[1]
    if intercept is not None:
        intercept = np.asarray(intercept, float)
        if intercept.shape not in ((1,), ()):
            raise ValueError("Provided intercept_init does not match dataset.")
        start = start[0], intercept.reshape(1)
    return start


class SGDRegressor(SGDRegression):
    """Linear regression by stochastic gradient descent.

    *Minimises* the mean of ``loss(y − f)`` plus ``alpha (l1_ratio ‖w‖₁ + ½ (1 − l1_ratio) ‖w‖²)``.

    *Step*, *cost* and *stopping* as in `SGDClassifier`. `OnlineNewtonRegressor` learns the squared error exactly, in one pass.

    *Reads the data by* scan.

    Parameters
    ----------
    loss : {"squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive"}, default="squared_error"
        The first is ``½ (y − f)²``.
    penalty : {"l2", "l1", "elasticnet"} or None, default="l2"
    alpha : float, default=1e-4
    l1_ratio : float, default=0.15
    fit_intercept : bool, default=True
    max_iter : int, default=1000
    tol : float or None, default=1e-3
    shuffle : bool, default=True
    verbose : int, default=0
        Without meaning.
    epsilon : float, default=0.1
    random_state : int, RandomState instance or None, default=None
    learning_rate : {"invscaling", "constant", "optimal", "adaptive", "pa1", "pa2"}, default="invscaling"
    eta0 : float, default=0.01
    power_t : float, default=0.25
    early_stopping : bool, default=False
    validation_fraction : float, default=0.1
    n_iter_no_change : int, default=5
    warm_start : bool, default=False
    average : bool or int, default=False
    batch_size : int, default=1
        All as in `SGDClassifier`.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
    intercept_ : ndarray of shape (1,)
    n_iter_ : int
    t_ : float
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.linear_model import SGDRegressor
    >>> X = np.random.default_rng(0).standard_normal((200, 2))
    >>> SGDRegressor(random_state=0).fit(X, X[:, 0]).coef_.round(2)
    array([0.99, 0.  ])
    """

    _parameter_constraints: dict = {
        **SGDRegression._parameter_constraints,
        "loss": [ONE_OF(*REGRESSION)],
        "power_t": [Interval(Real, None, None, closed="neither")],
        "epsilon": [NON_NEGATIVE],
        "learning_rate": [ONE_OF("constant", "optimal", "invscaling", "adaptive", "pa1", "pa2")],
        "batch_size": [COUNT],
    }

    def __init__(
        self,
        loss="squared_error",
        *,
        penalty="l2",
        alpha=0.0001,
        l1_ratio=0.15,
        fit_intercept=True,
        max_iter=1000,
        tol=1e-3,
        shuffle=True,
        verbose=0,
        epsilon=0.1,
        random_state=None,
        learning_rate="invscaling",
        eta0=0.01,
        power_t=0.25,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        warm_start=False,
        average=False,
        batch_size=1,
    ):
        self.loss = loss
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.verbose = verbose
        self.epsilon = epsilon
        self.random_state = random_state
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.power_t = power_t
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.average = average
        self.batch_size = batch_size
