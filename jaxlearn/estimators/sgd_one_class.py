"""One-class machines that learn by stochastic gradients."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.base import OutlierMixin
from sklearn.utils._param_validation import Interval
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import check_is_fitted

from jaxlearn.access.streamed import Streamed

from .constraints import ONE_OF
from .inputs import check_sample_weight
from .rows import read_rows
from .segments import Passing, open_rows, refuse_passing
from .sgd import SGDModel
from .sgd_epochs import Held, PassingRows
from .sgd_regressor import encoded, start_of

__all__ = ["SGDOneClassSVM"]


class SGDOneClassSVM(OutlierMixin, SGDModel):
    """A linear one-class support vector machine by stochastic gradient descent.

    *Minimises* ``½ nu ‖w‖² + nu b + mean max(0, 1 − b − w·x)`` with ``b = 1 − offset``: few samples lie below the offset.

    *Reads the data by* scan.

    Parameters
    ----------
    nu : float, default=0.5
        A bound on the share of outliers among the samples.
    fit_intercept : bool, default=True
    max_iter : int, default=1000
    tol : float or None, default=1e-3
    shuffle : bool, default=True
    verbose : int, default=0
        Without meaning.
    random_state : int, RandomState instance or None, default=None
    learning_rate : {"optimal", "constant", "invscaling", "adaptive"}, default="optimal"
    eta0 : float, default=0.01
    power_t : float, default=0.5
    warm_start : bool, default=False
    average : bool or int, default=False
        All as in `SGDClassifier`.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
    offset_ : ndarray of shape (1,)
    n_iter_ : int
    t_ : float
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.linear_model import SGDOneClassSVM
    >>> X = np.array([[-1.0, -1.0], [-2.0, -1.0], [1.0, 1.0], [2.0, 1.0]])
    >>> SGDOneClassSVM(random_state=42, tol=None).fit(X).predict([[4.0, 4.0]])
    array([1])
    """

    _one_class = True
    loss, penalty, l1_ratio, epsilon = "hinge", "l2", 0.0, 0.1
    early_stopping, n_iter_no_change = False, 5

    _parameter_constraints: dict = {
        **{
            name: kind
            for name, kind in SGDModel._parameter_constraints.items()
            if name not in ("penalty", "alpha", "l1_ratio")
        },
        "nu": [Interval(Real, 0.0, 1.0, closed="right")],
        "learning_rate": [ONE_OF("constant", "optimal", "invscaling", "adaptive")],
        "power_t": [Interval(Real, None, None, closed="neither")],
    }

    def __init__(
        self,
        nu=0.5,
        fit_intercept=True,
        max_iter=1000,
        tol=1e-3,
        shuffle=True,
        verbose=0,
        random_state=None,
        learning_rate="optimal",
        eta0=0.01,
        power_t=0.5,
        warm_start=False,
        average=False,
    ):
        self.nu = nu
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.verbose = verbose
        self.random_state = random_state
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.power_t = power_t
        self.warm_start = warm_start
        self.average = average

    @property
    def alpha(self):  # type: ignore[override]  # a parameter there, derived from another here
        """`nu`, which is the strength of the penalty."""
        return self.nu

    def fit(self, X, y=None, coef_init=None, offset_init=None, sample_weight=None):
        """Learn until an epoch is no longer worth it.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)
            Of a stream blocks are shuffled in each epoch, and the rows inside of them.
        y : Ignored
        coef_init : array-like of shape (n_features,), optional
        offset_init : array-like of shape (1,), optional
            Where to start.
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self : object
        """
        self._validate_params()
        if self.warm_start and hasattr(self, "coef_"):
            coef_init = self.coef_ if coef_init is None else coef_init
            offset_init = self.offset_ if offset_init is None else offset_init
        X = read_rows(self, X)
        self.t_ = 1.0
        vars(self).pop("_iterate", None)
        if isinstance(X, Streamed):
            self._learn_passing(X, sample_weight, coef_init, offset_init)
        else:
            self._learn(X, sample_weight, coef_init, offset_init, self.max_iter)
        self._warn_if_unfinished()
        return self

    def partial_fit(self, X, y=None, sample_weight=None):
        """One epoch over some rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
        y : Ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self : object
        """
        self._validate_params()
        refuse_passing(X, y)
        begun = hasattr(self, "coef_")
        X = read_rows(self, X, reset=not begun)
        self.t_ = getattr(self, "t_", 1.0)
        self._learn(X, sample_weight, *((self.coef_, self.offset_) if begun else (None, None)), 1)
        return self

    def _learn(self, X: Any, sample_weight: Any, coef: Any, offset: Any, max_iter: int) -> None:
        X = X.tocsr() if scipy.sparse.issparse(X) else np.asarray(X)
        weight = check_sample_weight(sample_weight, X.shape[0], X.dtype)[:, None]
        coef, offset = start_of(X.shape[1], coef, offset if offset is not None else np.zeros(1))
        self._descend(Held(X, np.ones_like(weight), weight), (coef, 1 - offset), max_iter=max_iter)
        self._adopt_offset()

    def _learn_passing(self, X: Streamed, sample_weight: Any, coef: Any, offset: Any) -> None:
        source = open_rows(self, X, np.broadcast_to(1.0, X.shape[:1]), sample_weight)
        assert source is not None
        coef, offset = start_of(X.n_features, coef, offset if offset is not None else np.zeros(1))
        rows = PassingRows(Passing(source, encoded, self.batch_size), 1)
        self._descend(rows, (coef, 1 - offset), max_iter=self.max_iter)
        self._adopt_offset()

    def _adopt_offset(self) -> None:
        self.coef_, self.offset_ = self.coef_[0], 1 - self.intercept_
        del self.intercept_

    def decision_function(self, X):
        """Signed distance to the hyperplane, positive for inliers, up to the length of its normal.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self.score_samples(X) - self.offset_

    def score_samples(self, X):
        """``X w``: the distance without the offset.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        X = read_rows(self, X, reset=False)
        return np.asarray(safe_sparse_dot(X, self.coef_.T, dense_output=True)).ravel()

    def predict(self, X):
        """1 for inliers and −1 for outliers.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)
