"""Linear classifiers that learn by stochastic gradients, one against the rest."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.utils import column_or_1d, compute_class_weight
from sklearn.utils._param_validation import Interval
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from .base import LinearClassifier
from .batches import Batch
from .constraints import COUNT, NON_NEGATIVE, ONE_OF
from .inputs import read, refuse_other_width
from .segments import Passing, Source, open_rows, refuse_passing, refuse_unseen
from .sgd import CLASSIFICATION, REGRESSION, SGDModel
from .sgd_epochs import Held, PassingRows, Validation

__all__ = ["SGDClassification", "SGDClassifier", "check_split"]

NO_WEIGHT = "The sample weights for validation set are all zero, consider using a different random state."


class SGDClassification(LinearClassifier, SGDModel):
    """One binary problem for each class, or one for two classes, learnt together."""

    _parameter_constraints: dict = {
        **SGDModel._parameter_constraints,
        **SGDModel._stopping,
        "n_jobs": [Integral, None],
        "class_weight": [ONE_OF("balanced"), dict, None],
    }

    class_weight: Any
    validation_fraction: float
    warm_start: bool
    n_features_in_: int

    def fit(self, X, y=None, coef_init=None, intercept_init=None, sample_weight=None, *, classes=None):
        """Learn until an epoch is no longer worth it.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features), or iterable
            Of a stream blocks are shuffled in each epoch, and the rows inside of them. An iterable gives tuples (X, y) or
            (X, y, sample_weight) of any number of rows, in its own order, anew in each epoch.
        y : array-like of shape (n_samples,)
            Without it X is an iterable.
        coef_init : array-like of shape (n_classes, n_features), optional
        intercept_init : array-like of shape (n_classes,), optional
            Where to start.
        sample_weight : array-like of shape (n_samples,), optional
            Factors of the steps.
        classes : array-like, optional
            All labels; needed where the first batch of an iterable does not have them all.

        Returns
        -------
        self : object
        """
        self._validate_params()
        self._refuse()
        warm = (self.coef_, self.intercept_) if self.warm_start and hasattr(self, "coef_") else None
        if self.early_stopping and sample_weight is not None and not np.any(sample_weight):
            raise ValueError(NO_WEIGHT)
        source = open_rows(self, X, y, sample_weight, multi_output=False, y_numeric=False)
        if source is None:
            X, y, weight = read(self, X, y, sample_weight, multi_output=False, y_numeric=False)
            labels, learn = y, partial(self._learn, X, y, weight)
        else:
            labels, learn = source.y, partial(self._learn_passing, source)
        check_classification_targets(labels)
        self.classes_ = np.unique(labels if classes is None else classes)
        self.t_ = 1.0
        vars(self).pop("_iterate", None)
        start = self._start(self.n_features_in_, coef_init, intercept_init, warm)
        learn(start, self.max_iter)
        self._warn_if_unfinished()
        return self

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """One epoch over some rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like of shape (n_classes,), optional
            All labels; needed in the first call.
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self : object
        """
        self._validate_params()
        refuse_passing(X, y)
        begun = getattr(self, "classes_", None) is not None
        if not begun:
            self._refuse(partial_fit=True)
            if self.class_weight == "balanced":
                raise ValueError(
                    "class_weight 'balanced' is not supported for partial_fit. In order to use 'balanced' weights, use "
                    "compute_class_weight('balanced', classes=classes, y=y). In place of y you can use a large enough "
                    "sample of the full training set target to properly estimate the class frequency distributions. Pass "
                    "the resulting weights as the class_weight parameter."
                )
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self.classes_ = np.unique(classes)
        elif classes is not None and not np.array_equal(self.classes_, np.unique(classes)):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
            )
        n_features = getattr(self, "n_features_in_", None) if hasattr(self, "coef_") else None
        X, y, weight = read(self, X, y, sample_weight, multi_output=False, y_numeric=False)
        refuse_other_width(self, X, n_features)
        self.t_ = getattr(self, "t_", 1.0)
        warm = (self.coef_, self.intercept_) if hasattr(self, "coef_") else None
        self._learn(X, y, weight, self._start(X.shape[1], None, None, warm), 1)
        return self

    def _start(self, n_features: int, coef_init: Any, intercept_init: Any, warm: Any) -> tuple[np.ndarray, np.ndarray]:
        n_outputs = 1 if len(self.classes_) == 2 else len(self.classes_)
        coef, intercept = np.zeros((n_outputs, n_features)), np.zeros(n_outputs)
        given = warm[0] if coef_init is None and warm is not None else coef_init
        if given is not None:
            given = given.toarray() if scipy.sparse.issparse(given) else np.asarray(given, float)
            if given.size != coef.size or (n_outputs > 1 and given.shape != coef.shape):
                raise ValueError("Provided coef_init does not match dataset.")
            coef = given.reshape(coef.shape)
        given = warm[1] if intercept_init is None and warm is not None else intercept_init
        if given is not None:
            given = np.asarray(given, float)
            if given.size != n_outputs or given.ndim > 1:
                raise ValueError("Provided intercept_init does not match dataset.")
            intercept = given.reshape(n_outputs)
        return coef, intercept

    def _learn(self, X: Any, y: np.ndarray, weight: np.ndarray, start: Any, max_iter: int) -> None:
        refuse_unseen(y, self.classes_, "y")
        signs, factor = self._encoded(y, weight, self._class_weights(y))
        X = X.tocsr() if scipy.sparse.issparse(X) else np.asarray(X)
        validation = self._validation(X, y, signs, weight) if self.early_stopping else None
        rows = Held(X, signs, factor, None if validation is None else validation.rows)
        self._descend(rows, start, max_iter=max_iter, validation=validation)

    def _learn_passing(self, source: Source, start: Any, max_iter: int) -> None:
        if source.n_rows is None and self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all labels, and an iterable of batches shows some at a time: pass a dict."
            )
        each = self._class_weights(self.classes_ if source.n_rows is None else source.y)

        def encode(batch: Batch) -> Batch:
            y = column_or_1d(batch.y, warn=True)
            refuse_unseen(y, self.classes_, batch.name)
            signs, factor = self._encoded(y, batch.sample_weight, each)
            return Batch(batch.X, signs, factor, batch.name)

        n_targets = 1 if len(each) == 2 else len(each)
        rows = PassingRows(Passing(source, encode, self.batch_size), n_targets)
        self._descend(rows, start, max_iter=max_iter)

    def _class_weights(self, y: np.ndarray) -> np.ndarray:
        n_classes = len(self.classes_)
        if n_classes < 2:
            raise ValueError(f"The number of classes has to be greater than one; got {n_classes} class")
        return compute_class_weight(self.class_weight, classes=self.classes_, y=y)

    def _encoded(self, y: np.ndarray, weight: np.ndarray, each: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Signs of the binary problems, and factors of the steps, (n, k)."""
        codes = np.searchsorted(self.classes_, y)
        if len(each) == 2:
            return 2 * codes[:, None] - 1, (weight * each[codes])[:, None]
        mine = codes[:, None] == np.arange(len(each))
        return np.where(mine, 1, -1), weight[:, None] * np.where(mine, each[None], 1)

    def _validation(self, X: Any, y: np.ndarray, signs: np.ndarray, weight: np.ndarray) -> Validation:
        from sklearn.model_selection import StratifiedShuffleSplit  # late: it takes a while to import

        splitter = StratifiedShuffleSplit(test_size=self.validation_fraction, random_state=self.random_state)
        train, test = next(splitter.split(np.zeros((len(y), 1)), y))
        check_split(self, len(y), train, test, weight)
        rows = np.zeros(len(y), bool)
        rows[test] = True

        def score(coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
            """Accuracy of each binary problem."""
            f = np.asarray(X[rows] @ coef.T) + intercept
            return np.average((f > 0) == (signs[rows] > 0), axis=0, weights=weight[rows])

        return Validation(rows, score)


def check_split(estimator: Any, n_samples: int, train: np.ndarray, test: np.ndarray, weight: np.ndarray) -> None:
    """Refuse rows to stop by that are none, or have no weight."""
    if not (weight[test] > 0).any():
        raise ValueError(NO_WEIGHT)
    if not len(train) or not len(test):
        raise ValueError(
            f"Splitting {n_samples} samples into a train set and a validation set with "
            f"validation_fraction={estimator.validation_fraction!r} led to an empty set ({len(train)} and {len(test)} "
            "samples). Please either change validation_fraction, increase number of samples, or disable early_stopping."
        )


def _gives_probabilities(estimator: Any) -> bool:
    if estimator.loss not in ("log_loss", "modified_huber"):
        raise AttributeError(f"probability estimates are not available for loss={estimator.loss!r}")
    return True


class SGDClassifier(SGDClassification):
    """Linear classifiers by stochastic gradient descent.

    *Minimises* the mean of ``loss(y f)`` plus ``alpha (l1_ratio ‖w‖₁ + ½ (1 − l1_ratio) ‖w‖²)``, for each class against all
    others.

    *Step* ``w ← (1 − η alpha) w − η loss′ x``, sample after sample, or the mean over a batch; the classes together.

    *Reads the data by* scan.

    *Cost* 4 p flops for each sample and class.

    *Stops when* the mean objective of an epoch, or the score on rows that are kept out, has not been better by `tol` for
    `n_iter_no_change` epochs.

    Parameters
    ----------
    loss : {"hinge", "log_loss", "modified_huber", "squared_hinge", "perceptron", "squared_error", "huber", \
"epsilon_insensitive", "squared_epsilon_insensitive"}, default="hinge"
    penalty : {"l2", "l1", "elasticnet"} or None, default="l2"
    alpha : float, default=1e-4
    l1_ratio : float, default=0.15
        Of ``elasticnet``.
    fit_intercept : bool, default=True
    max_iter : int, default=1000
        Most epochs.
    tol : float or None, default=1e-3
        None uses all epochs.
    shuffle : bool, default=True
        A new order in each epoch, which is a pure function of `random_state` and the epoch.
    verbose : int, default=0
        Without meaning: a compiled program prints nothing.
    epsilon : float, default=0.1
        Of the losses that have one.
    n_jobs : int, default=None
        Without meaning: classes are learnt together.
    random_state : int, RandomState instance or None, default=None
    learning_rate : {"optimal", "constant", "invscaling", "adaptive", "pa1", "pa2"}, default="optimal"
        η: ``1 / (alpha (t0 + t))``; `eta0`; ``eta0 / t^power_t``; `eta0`, a fifth of it whenever the fit would have stopped;
        passive-aggressive steps.
    eta0 : float, default=0.01
    power_t : float, default=0.5
    early_stopping : bool, default=False
    validation_fraction : float, default=0.1
    n_iter_no_change : int, default=5
    class_weight : dict or "balanced", default=None
    warm_start : bool, default=False
    average : bool or int, default=False
        ``coef_`` is the mean of the iterates, of those from that step on.
    batch_size : int, default=1
        Rows of a step. One is scikit-learn's algorithm. With more, t counts batches, and η is at most the inverse of the
        curvature of a batch, so that large features do not make it diverge.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
    intercept_ : ndarray of shape (1,) or (n_classes,)
    classes_ : ndarray of shape (n_classes,)
    n_iter_ : int
        Epochs; of several classes the most.
    t_ : float
        Samples that were learnt from, plus one.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    References
    ----------
    Bottou, "Stochastic gradient descent tricks", 2012. Crammer et al., "Online passive-aggressive algorithms", JMLR 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.linear_model import SGDClassifier
    >>> X = np.array([[-1.0, -1.0], [-2.0, -1.0], [1.0, 1.0], [2.0, 1.0]])
    >>> SGDClassifier(random_state=0).fit(X, [1, 1, 2, 2]).predict([[-0.8, -1.0]])
    array([1])
    """

    _parameter_constraints: dict = {
        **SGDClassification._parameter_constraints,
        "loss": [ONE_OF(*CLASSIFICATION, *REGRESSION)],
        "power_t": [Interval(Real, None, None, closed="neither")],
        "epsilon": [NON_NEGATIVE],
        "learning_rate": [ONE_OF("constant", "optimal", "invscaling", "adaptive", "pa1", "pa2")],
        "batch_size": [COUNT],
    }

    def __init__(
        self,
        loss="hinge",
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
        n_jobs=None,
        random_state=None,
        learning_rate="optimal",
        eta0=0.01,
        power_t=0.5,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        class_weight=None,
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
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.power_t = power_t
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.average = average
        self.batch_size = batch_size

    @available_if(_gives_probabilities)
    def predict_proba(self, X):
        """Probabilities, for ``log_loss`` and ``modified_huber``; of several classes those of each against the rest, scaled.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        f = np.asarray(self.decision_function(X))
        each = 1 / (1 + np.exp(-f)) if self.loss == "log_loss" else (np.clip(f, -1, 1) + 1) / 2
        if each.ndim == 1:
            return np.stack([1 - each, each], axis=1)
        total = each.sum(axis=1, keepdims=True)
        return np.where(total > 0, each / np.where(total > 0, total, 1), 1 / each.shape[1])

    @available_if(_gives_probabilities)
    def predict_log_proba(self, X):
        """Logarithms of the probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return np.log(self.predict_proba(X))
