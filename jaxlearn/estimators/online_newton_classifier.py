"""Logistic regression in one pass."""

from __future__ import annotations

import numpy as np
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from jaxlearn.objectives import Logistic, Multinomial

from .base import ProbabilisticClassifier
from .constraints import COUNT, NON_NEGATIVE, ONE_OF
from .inputs import read
from .one_pass import OnlineNewtonModel

__all__ = ["OnlineNewtonClassifier"]


class OnlineNewtonClassifier(OnlineNewtonModel, ProbabilisticClassifier):
    """Logistic regression in one pass, by stochastic Newton steps on sums of second-order expansions.

    *Minimises* ``(1 / Σ s) Σ s_i log_loss_i + ½ alpha ‖w‖²``, s the sample weights times the class weights; the intercept is
    free.

    *Step* ``H += Xᵀ diag(s loss″) X``, ``h += H_batch w − Xᵀ (s loss′)``, ``w = (H + Σ s alpha)⁻¹ h``, for each batch.

    *Reads the data by* scan, once.

    *Cost* 2 n q² flops for q coefficients, and q³ / 3 for each batch; memory for q² numbers.

    There is no step size, and nothing to tune: after one pass the excess risk is close to q / (2 n), as that of the minimum.
    With three classes and more the loss is multinomial and q counts the coefficients of all classes.

    Parameters
    ----------
    alpha : float, default=1e-4
        Strength of the l2 penalty, as in `SGDClassifier`.
    fit_intercept : bool, default=True
    class_weight : dict, optional
        Weights of the classes.
    batch_size : int or "auto", default="auto"
        Rows of a batch in `fit`; "auto" is about four for each feature, and 1024 at least.
    shuffle : bool, default=True
        Rows in memory are shuffled; of a stream its blocks are, and the rows inside of each. An iterable is taken as it comes.
    random_state : int, RandomState instance or None, default=None
        For the order of the rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
    intercept_ : ndarray of shape (1,) or (n_classes,)
    n_samples_seen_ : int
    certificate_ : float
        Largest entry of the gradient of the sum of the expansions, per unit of weight.
    converged_ : bool
    n_features_in_, feature_names_in_
        As in scikit-learn.

    References
    ----------
    Bercu, Godichon, Portier, "An efficient stochastic Newton algorithm for parameter estimation in logistic regressions",
    SIAM J. Control Optim. 2020. Bottou and Le Cun, "Large scale online learning", NIPS 2003.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from jaxlearn.linear_model import OnlineNewtonClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = (X - X.mean(0)) / X.std(0)
    >>> OnlineNewtonClassifier(random_state=0).fit(X, y).score(X, y) > 0.97
    True
    """

    _parameter_constraints: dict = {
        "alpha": [NON_NEGATIVE],
        "fit_intercept": ["boolean"],
        "class_weight": [dict, None],
        "batch_size": [COUNT, ONE_OF("auto")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self, *, alpha=1e-4, fit_intercept=True, class_weight=None, batch_size="auto", shuffle=True, random_state=None
    ):
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.random_state = random_state

    def fit(self, X, y=None, sample_weight=None, *, classes=None):
        """Forget what was seen, and learn from all rows in one pass.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream} of shape (n_samples, n_features), or iterable
            An iterable gives tuples (X, y) or (X, y, sample_weight), one for each batch.
        y : array-like of shape (n_samples,)
            Without it X is an iterable.
        sample_weight : float or array-like of shape (n_samples,), optional
        classes : array-like, optional
            All labels; needed where the first batch of an iterable does not have them all.

        Returns
        -------
        self : object
        """
        self._validate_params()
        vars(self).pop("classes_", None)
        self._given = classes
        self._fit(X, y, sample_weight)
        return self

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Learn from one batch.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like, optional
            All labels; needed in the first call.
        sample_weight : float or array-like of shape (n_samples,), optional

        Returns
        -------
        self : object
        """
        if not hasattr(self, "_state"):
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self.classes_ = np.unique(classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
            )
        return self._partial_fit(X, y, sample_weight)

    def _read(self, X, y, sample_weight):
        return read(self, X, y, sample_weight, multi_output=False, y_numeric=False)

    def _prepare(self, y):
        check_classification_targets(y)
        self.classes_ = np.unique(y if self._given is None else self._given)
        if len(self.classes_) < 2:
            raise ValueError(
                "This solver needs samples of at least 2 classes in the data, but the data contains only one class: "
                f"{self.classes_[0]!r}"
            )

    def _loss(self):
        return Logistic() if len(self.classes_) == 2 else Multinomial()

    def _targets(self, y, weight, name):
        codes = np.searchsorted(self.classes_, y)
        codes = np.minimum(codes, len(self.classes_) - 1)
        unseen = np.unique(y[self.classes_[codes] != y])
        if len(unseen):
            raise ValueError(f"{name} has the classes {unseen.tolist()}, which are not among {self.classes_.tolist()}.")
        if self.class_weight is not None:
            each = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_)
            weight = weight * each.astype(weight.dtype)[codes]
        return codes if len(self.classes_) == 2 else np.eye(len(self.classes_))[codes], weight

    def _adopt_moments(self):
        super()._adopt_moments()
        self.coef_ = np.atleast_2d(self.coef_)
        self.intercept_ = np.broadcast_to(np.asarray(self.intercept_, self._dtype), (len(self.coef_),)).copy()
