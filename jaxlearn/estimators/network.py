"""Any Equinox module as an estimator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from jaxlearn.models import network

from .base import seed
from .constraints import COUNT, ONE_OF
from .inputs import FLOATS, check_sample_weight
from .network_training import Rows, epoch_order, outputs, train_epoch

__all__ = ["Network"]

ADAM = optax.adam(1e-3)


def _classifies(estimator: Any) -> bool:
    if estimator.loss != "log_loss":
        raise AttributeError(f"probabilities are those of loss='log_loss', not of {estimator.loss!r}")
    return True


class Network(BaseEstimator):
    """An Equinox module, a loss and an optax optimiser, as a scikit-learn estimator.

    *Minimises* the weighted mean of ``loss(y, module(x))`` over the floating-point arrays of the module.

    *Reads the data by* scan: one epoch is one program.

    Parameters
    ----------
    module : equinox.Module or callable
        Takes one sample and returns its outputs, (k,) or a scalar: logits of the classes for "log_loss". A function is called
        with a key, the shape of a sample and the number of outputs, and returns the module.
    loss : {"squared_error", "poisson", "log_loss"} or callable, default="squared_error"
        "log_loss" makes a classifier. A callable is given targets and outputs, (b, k), and returns (b,).
    optimizer : optax.GradientTransformation, optional
        By default ``optax.adam(1e-3)``. Give the same object to several fits: programs are kept by it.
    max_iter : int, default=20
        Epochs.
    batch_size : int, default=128
    shuffle : bool, default=True
        A new order in each epoch: a pure function of a number drawn from `random_state`, and of the epoch.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    module_ : equinox.Module
        Trained.
    loss_curve_ : list of float
        Mean loss of each epoch, while it went on.
    classes_ : ndarray of shape (n_classes,)
        Of a classifier.
    n_iter_ : int
    n_features_in_ : int
        Of samples that are vectors.

    Examples
    --------
    >>> import equinox as eqx
    >>> from sklearn.datasets import load_digits
    >>> from jaxlearn.neural_network import Network
    >>> X, y = load_digits(return_X_y=True)
    >>> make = lambda key, shape, n_outputs: eqx.nn.MLP(shape[0], n_outputs, 64, 1, key=key)
    >>> Network(make, loss="log_loss", random_state=0).fit(X / 16, y).score(X / 16, y) > 0.9
    True
    """

    _parameter_constraints: dict = {
        "module": [callable],
        "loss": [ONE_OF("squared_error", "poisson", "log_loss"), callable],
        "optimizer": [optax.GradientTransformation, None],
        "max_iter": [COUNT],
        "batch_size": [COUNT],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        module,
        *,
        loss: str | Callable[..., Any] = "squared_error",
        optimizer=None,
        max_iter=20,
        batch_size=128,
        shuffle=True,
        random_state=None,
    ):
        self.module = module
        self.loss = loss
        self.optimizer = optimizer
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "classifier" if self.loss == "log_loss" else "regressor"
        tags.target_tags.required = True
        return tags

    def fit(self, X, y, sample_weight=None):
        """Train a copy of the module.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self : object
        """
        self._validate_params()
        for name in ("module_", "_state", "classes_"):
            vars(self).pop(name, None)
        self.n_iter_, self.loss_curve_ = 0, []
        return self._train(X, y, sample_weight, self.max_iter)

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """One epoch over some rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        classes : array-like, optional
            All labels; needed in the first call of a classifier.
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self : object
        """
        self._validate_params()
        if not hasattr(self, "module_"):
            self.n_iter_, self.loss_curve_ = 0, []
            if self.loss == "log_loss":
                if classes is None:
                    raise ValueError("classes must be passed on the first call to partial_fit.")
                self.classes_ = np.unique(classes)
        return self._train(X, y, sample_weight, 1)

    def _train(self, X: Any, y: Any, sample_weight: Any, max_iter: int) -> Network:
        X, targets = self._rows(X), self._targets(y)
        check_consistent_length(X, targets)
        weight = check_sample_weight(sample_weight, len(X), X.dtype)
        drawn = int(seed(self.random_state))
        optimizer = ADAM if self.optimizer is None else self.optimizer
        loss: Any = network.LOSSES[self.loss] if isinstance(self.loss, str) else self.loss
        with jax.enable_x64(X.dtype == np.float64):
            if not hasattr(self, "module_"):
                module = self._made(jax.random.key(drawn), X.shape[1:], targets.shape[1])
                self.module_ = _in_precision(module, X.dtype)
                self._state = network.begin(self.module_, optimizer)
            rows = Rows(X, targets.astype(X.dtype), weight).placed()
            for _ in range(max_iter):
                order = epoch_order(len(X), drawn, self.n_iter_, self.shuffle)
                self.module_, self._state, value = train_epoch(
                    self.module_,
                    self._state,
                    rows,
                    len(X),
                    1.0,
                    optimizer=optimizer,
                    loss=loss,
                    batch_size=min(self.batch_size, len(X)),
                    alpha=jnp.zeros((), X.dtype),
                    order=order,
                )
                if not np.isfinite(value):
                    raise ValueError(
                        f"The loss of epoch {self.n_iter_ + 1} is not finite: the step size may be too large, or the data."
                    )
                self.n_iter_ += 1
                self.loss_curve_.append(value)
        return self

    def _made(self, key: jax.Array, shape: tuple[int, ...], n_outputs: int) -> Any:
        return self.module if isinstance(self.module, eqx.Module) else self.module(key, shape, n_outputs)

    def _rows(self, X: Any) -> np.ndarray:
        X = check_array(X, allow_nd=True, dtype=FLOATS)  # pyright: ignore
        if X.ndim == 2:
            known = getattr(self, "n_features_in_", X.shape[1]) if hasattr(self, "module_") else X.shape[1]
            if known != X.shape[1]:
                raise ValueError(f"X has {X.shape[1]} features, but Network is expecting {known} features as input.")
            self.n_features_in_ = X.shape[1]
        return X

    def _targets(self, y: Any) -> np.ndarray:
        if y is None:
            raise ValueError("Network requires y to be passed, but the target y is None.")
        if self.loss != "log_loss":
            y = check_array(y, ensure_2d=False, dtype="numeric", input_name="y")  # pyright: ignore
            return y.reshape(len(y), -1)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if not hasattr(self, "classes_"):
            self.classes_ = np.unique(y)
        unseen = np.setdiff1d(y, self.classes_)
        if len(unseen):
            raise ValueError(f"y has the classes {unseen.tolist()}, which are not among {self.classes_.tolist()}.")
        return np.eye(len(self.classes_))[np.searchsorted(self.classes_, y)]

    def decision_function(self, X):
        """Outputs of the module.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)
        """
        check_is_fitted(self, "module_")
        return outputs(self.module_, self._rows(X))

    def predict(self, X):
        """Labels of a classifier, outputs (of "poisson" their exponentials) otherwise.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        f = self.decision_function(X)
        if self.loss == "log_loss":
            return self.classes_[f.argmax(1)]
        f = np.exp(f) if self.loss == "poisson" else f
        return f.ravel() if f.shape[1] == 1 else f

    @available_if(_classifies)
    def predict_proba(self, X):
        """Probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return scipy.special.softmax(self.decision_function(X), axis=1)

    def score(self, X, y, sample_weight=None):
        """Accuracy of a classifier, R² otherwise.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        float
        """
        from sklearn.metrics import accuracy_score, r2_score  # late: it takes a while to import

        measure = accuracy_score if is_classifier(self) else r2_score
        return float(measure(y, self.predict(X), sample_weight=sample_weight))


def _in_precision(module: Any, dtype: Any) -> Any:
    return jax.tree.map(
        lambda leaf: (
            leaf.astype(dtype) if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
        ),
        module,
    )
