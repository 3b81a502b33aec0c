"""A multi-layer perceptron that classifies."""

from __future__ import annotations

import numpy as np
import scipy.special
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from .inputs import check_sample_weight
from .mlp import Perceptrons
from .segments import open_rows, refuse_passing, refuse_unseen

__all__ = ["MLPClassifier"]


class MLPClassifier(ClassifierMixin, Perceptrons):
    """A multi-layer perceptron for two classes, several, or several labels.

    *Minimises* the mean log loss of its outputs, and ``½ alpha ‖W‖²`` over the weights.

    *Reads the data by* scan: one epoch is one program.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int, default=(100,)
        Neurons of the hidden layers.
    activation : {"relu", "identity", "logistic", "tanh"}, default="relu"
        Of the hidden layers.
    solver : {"adam", "sgd", "lbfgs"} or optax.GradientTransformation, default="adam"
        An optimiser of optax has its own step size; `learning_rate_init` and the like are those of ``adam`` and ``sgd``.
    alpha : float, default=1e-4
        Strength of ``½ alpha ‖W‖²``, divided by the weight of a batch.
    batch_size : int or "auto", default="auto"
        "auto" is 200, or all rows if they are fewer.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Of ``sgd``.
    learning_rate_init : float, default=0.001
    power_t : float, default=0.5
        Of ``invscaling``.
    max_iter : int, default=200
        Most epochs, or iterations of ``lbfgs``.
    shuffle : bool, default=True
        A new order in each epoch: a pure function of a number drawn from `random_state`, and of the epoch.
    random_state : int, RandomState instance or None, default=None
        For the first weights, which are scikit-learn's, and for orders.
    tol : float, default=1e-4
    verbose : bool, default=False
        Write the loss of each epoch.
    warm_start : bool, default=False
    momentum : float, default=0.9
    nesterovs_momentum : bool, default=True
    early_stopping : bool, default=False
        Stop by the score on rows that are kept out, and return the best weights.
    validation_fraction : float, default=0.1
    beta_1, beta_2, epsilon : float
        Of ``adam``.
    n_iter_no_change : int, default=10
        Epochs without a gain of `tol` after which the fit ends.
    max_fun : int, default=15000
        Of ``lbfgs``.

    Attributes
    ----------
    classes_ : ndarray or list of ndarray
    coefs_, intercepts_ : list of ndarray
        Of the layers.
    loss_ : float
        Mean over the last epoch.
    best_loss_ : float or None
    loss_curve_ : list of float
    validation_scores_, best_validation_score_ : list of float, float
        With `early_stopping`.
    n_iter_, n_layers_, n_outputs_, t_ : int
    out_activation_ : str
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from jaxlearn.neural_network import MLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> MLPClassifier(random_state=0, tol=0.01).fit(X / 16, y).score(X / 16, y) > 0.95
    True
    """

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun

    def fit(self, X, y=None, sample_weight=None, *, classes=None):
        """Train the network.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features), or iterable
            Of a stream blocks are shuffled in each epoch, and the rows inside of them. An iterable gives tuples (X, y) or
            (X, y, sample_weight) of any number of rows, in its own order, anew in each epoch.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels, or indicators of several; without it X is an iterable.
        sample_weight : array-like of shape (n_samples,), optional
        classes : array-like, optional
            All labels; needed where the first batch of an iterable does not have them all.

        Returns
        -------
        self : object
        """
        self._validate_params()
        source = open_rows(self, X, y, sample_weight, y_numeric=False)
        if source is None:
            return self._fit(X, y, sample_weight, incremental=False, given=classes)
        labels = _flat(source.y)
        self._know(labels, incremental=False, given=classes)
        self._train_passing(source, self._indicators(labels[:1]).shape[1], self._targets)
        return self

    @available_if(lambda estimator: estimator._partly())
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
        if not hasattr(self, "classes_"):
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self._labels = LabelBinarizer().fit(y if np.ndim(y) > 1 else np.unique(classes))
            self.classes_ = self._labels.classes_
        elif classes is not None and not np.array_equal(self.classes_, np.unique(classes)):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
            )
        return self._fit(X, y, sample_weight, incremental=True)

    def _fit(self, X, y, sample_weight, *, incremental, given=None):
        X, y = self._read(X, y, incremental=incremental, numeric=False)
        self._know(y, incremental=incremental, given=given)
        weight = check_sample_weight(sample_weight, X.shape[0], X.dtype)
        self._train(X, self._indicators(y), weight, incremental=incremental)
        return self

    def _know(self, y, *, incremental, given):
        """The classes, from all labels or the first ones, unless they are `given` or known; and what follows from them."""
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._labels = LabelBinarizer().fit(y if given is None or np.ndim(y) > 1 else np.unique(given))
            self.classes_ = self._labels.classes_
        classes = unique_labels(y)
        if self.warm_start and not incremental and set(classes if given is None else given) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )
        multiclass = self._labels.y_type_ == "multiclass" and len(self.classes_) > 2
        self.out_activation_ = "softmax" if multiclass else "logistic"

    def _indicators(self, y):
        targets = self._labels.transform(y)
        return targets.reshape(len(targets), -1)

    def _targets(self, batch):
        y = _flat(batch.y)
        refuse_unseen(unique_labels(y), self.classes_, batch.name)
        return self._indicators(y)

    def _loss_name(self):
        return "log_loss" if self.out_activation_ == "softmax" else "binary_log_loss"

    def _stratify(self, y):
        return y.astype(bool) if self.out_activation_ != "softmax" and y.shape[1] == 1 else None

    def _validation_score(self, f, y, weight):
        if not np.isfinite(f).all():
            return np.nan
        right = f.argmax(1) == y.argmax(1) if self.out_activation_ == "softmax" else ((f > 0) == (y > 0.5)).all(1)
        return float(np.average(right, weights=weight))

    def _probabilities(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        f = self._outputs(X)
        return scipy.special.softmax(f, axis=1) if self.out_activation_ == "softmax" else scipy.special.expit(f)

    def predict(self, X):
        """Predict labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        p = self._probabilities(X)
        return self._labels.inverse_transform(p.ravel() if self.n_outputs_ == 1 else p)

    def predict_proba(self, X):
        """Probabilities of the classes, or of each label.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        p = self._probabilities(X)
        return np.concatenate([1 - p, p], axis=1) if self.n_outputs_ == 1 else p

    def predict_log_proba(self, X):
        """Logarithms of the probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return np.log(self.predict_proba(X))


def _flat(y):
    return y.ravel() if y.shape[1:] == (1,) else y
