"""Any Equinox module as an estimator."""

from __future__ import annotations

import os
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
from .batches import Batch
from .constraints import COUNT, ONE_OF
from .inputs import FLOATS, check_sample_weight
from .network_checkpoints import NetworkCheckpoints
from .network_training import Held, PassingRows, Rows, outputs, train_epoch
from .rows import mapped
from .segments import Passing, Source, numeric_targets, open_rows, refuse_passing, refuse_unseen

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
    checkpoint : path, optional
        A folder. A fit to arrays or a stream that was killed goes on from there, to the same bits as if it had not been.
    every : int, default=1
        Epochs between checkpoints; there is one after the last epoch in any case.
    resume : bool, default=True
        Whether a fit goes on from a checkpoint that it finds. Data or parameters that have changed, other than `max_iter`, are
        refused; functions are told by their names, and an optimiser by its first steps.
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
        "checkpoint": [str, os.PathLike, None],
        "every": [COUNT],
        "resume": ["boolean"],
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
        checkpoint=None,
        every=1,
        resume=True,
        random_state=None,
    ):
        self.module = module
        self.loss = loss
        self.optimizer = optimizer
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.checkpoint = checkpoint
        self.every = every
        self.resume = resume
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "classifier" if self.loss == "log_loss" else "regressor"
        tags.target_tags.required = True
        return tags

    def fit(self, X, y=None, sample_weight=None, *, classes=None):
        """Train a copy of the module.

        Parameters
        ----------
        X : {array-like, stream, numpy.memmap} of shape (n_samples, ...), or iterable
            Of a stream blocks are shuffled in each epoch, and the rows inside of them. An iterable gives tuples (X, y) or
            (X, y, sample_weight) of any number of rows, in its own order, anew in each epoch.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Without it X is an iterable.
        sample_weight : array-like of shape (n_samples,), optional
        classes : array-like, optional
            All labels of a classifier; needed where the first batch of an iterable does not have them all.

        Returns
        -------
        self : object
        """
        self._validate_params()
        for name in ("module_", "_state", "classes_"):
            vars(self).pop(name, None)
        self.n_iter_, self.loss_curve_ = 0, []
        if classes is not None and self.loss == "log_loss":
            self.classes_ = np.unique(classes)
        numeric = self.loss != "log_loss"
        source = open_rows(self, X, y, sample_weight, multi_output=numeric, y_numeric=numeric, any_shape=True)
        if source is not None:
            return self._train_passing(source, X)
        rows = self._read(X, y, sample_weight)
        checkpoints = None if self.checkpoint is None else NetworkCheckpoints(self, rows.X, y, rows.weight)
        return self._train(rows, rows.y.shape[1], self.max_iter, checkpoints)

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
        refuse_passing(X, y)
        if not hasattr(self, "module_"):
            self.n_iter_, self.loss_curve_ = 0, []
            if self.loss == "log_loss":
                if classes is None:
                    raise ValueError("classes must be passed on the first call to partial_fit.")
                self.classes_ = np.unique(classes)
        rows = self._read(X, y, sample_weight)
        return self._train(rows, rows.y.shape[1], 1)

    def _read(self, X: Any, y: Any, sample_weight: Any) -> Rows:
        X, targets = self._rows(X), self._targets(y)
        check_consistent_length(X, targets)
        return Rows(X, targets.astype(X.dtype), check_sample_weight(sample_weight, len(X), X.dtype))

    def _train_passing(self, source: Source, X: Any) -> Network:
        numeric, dtype = self.loss != "log_loss", source.kind.dtype
        if source.kind.sparse:
            raise ValueError("Network takes dense rows, and batch 0 is sparse.")
        if not numeric:
            self._know(column_or_1d(source.y, warn=True))
        n_outputs = int(np.prod(source.y.shape[1:])) if numeric else len(self.classes_)

        def encode(batch: Batch) -> Batch:
            y = numeric_targets(batch, n_outputs) if numeric else self._one_hot(column_or_1d(batch.y), batch.name)
            return Batch(batch.X, y.astype(dtype), batch.sample_weight, batch.name)

        checkpoints = None
        if self.checkpoint is not None:
            if source.weight is None:
                raise ValueError(
                    "An iterable of batches does not tell whether it is the same as before: for `checkpoint` pass arrays or a "
                    "stream."
                )
            checkpoints = NetworkCheckpoints(self, mapped(X), source.y, source.weight)
        size = self.batch_size if source.n_rows is None else min(self.batch_size, source.n_rows)
        return self._train(Passing(source, encode, size), n_outputs, self.max_iter, checkpoints)

    def _train(
        self, rows: Rows | Passing, n_outputs: int, n_epochs: int, checkpoints: NetworkCheckpoints | None = None
    ) -> Network:
        shape, dtype = rows.source.kind[:2] if isinstance(rows, Passing) else (rows.X.shape[1:], rows.X.dtype)
        drawn = None if checkpoints is None else checkpoints.seed
        drawn = int(seed(self.random_state)) if drawn is None else drawn
        optimizer = ADAM if self.optimizer is None else self.optimizer
        loss: Any = network.LOSSES[self.loss] if isinstance(self.loss, str) else self.loss
        with jax.enable_x64(dtype == np.float64):
            if not hasattr(self, "module_"):
                module = self._made(jax.random.key(drawn), shape, n_outputs)
                self.module_ = _in_precision(module, dtype)
                self._state = network.begin(self.module_, optimizer)
            n_begun = self.n_iter_
            if checkpoints is not None:
                self.module_, self._state, self.loss_curve_ = checkpoints.take_up(self.module_, self._state, optimizer)
                self.n_iter_ = len(self.loss_curve_)
            source = PassingRows(rows) if isinstance(rows, Passing) else Held(rows)
            batch_size = rows.batch_size if isinstance(rows, Passing) else min(self.batch_size, rows.n)
            while self.n_iter_ < n_begun + n_epochs:
                self.module_, self._state, value, _ = train_epoch(
                    self.module_,
                    self._state,
                    source.parts(self.n_iter_, drawn, self.shuffle),
                    1.0,
                    optimizer=optimizer,
                    loss=loss,
                    batch_size=batch_size,
                    alpha=jnp.zeros((), dtype),
                )
                if not np.isfinite(value):
                    raise ValueError(
                        f"The loss of epoch {self.n_iter_ + 1} is not finite: the step size may be too large, or the data."
                    )
                self.n_iter_ += 1
                self.loss_curve_.append(value)
                ended = self.n_iter_ == n_begun + n_epochs
                if checkpoints is not None and (ended or self.n_iter_ % self.every == 0):
                    checkpoints.save(self.module_, self._state, self.loss_curve_, drawn)
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
        self._know(y)
        return self._one_hot(y, "y")

    def _know(self, y: np.ndarray) -> None:
        check_classification_targets(y)
        if not hasattr(self, "classes_"):
            self.classes_ = np.unique(y)

    def _one_hot(self, y: np.ndarray, name: str) -> np.ndarray:
        refuse_unseen(y, self.classes_, name)
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
