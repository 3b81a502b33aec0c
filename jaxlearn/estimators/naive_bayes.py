"""What naive Bayes classifiers share: statistics that grow part by part, and predictions from what follows from them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, ClassVar

import jax
import numpy as np
import scipy.special
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from jaxlearn.access.blocks import Blocks, block_rows, in_blocks
from jaxlearn.access.buckets import row_bucket
from jaxlearn.access.flat import pieces
from jaxlearn.access.streamed import Streamed
from jaxlearn.models import naive_bayes

from .base import compute, in_threads
from .batches import Batch, batches_of_iterable, is_iterable_of_batches
from .inputs import FLOATS, _target, check_features, check_sample_weight, place, read, refuse_other_width, repeated
from .labels import codes_of, labels_of
from .naive_bayes_folds import score_smoothing
from .rows import read_rows

__all__ = ["NaiveBayes"]

# Pieces of rows that are summed, each in a millisecond at least, with their smallest and largest numbers of bytes.
PIECES, LEAST_BYTES, MOST_BYTES = 8, 1 << 22, 1 << 26
# Bytes of a block of a piece that is summed, or predicted: what a program makes of it stays in a cache. Rows for each class.
BLOCK_BYTES, MAPPED_BYTES, ROWS_PER_CLASS, UNIT = 1 << 19, 1 << 20, 4, 16


class NaiveBayes(ClassifierMixin, BaseEstimator):
    """A classifier whose fit is sums over the rows of each class."""

    sums_tell: ClassVar[bool] = True
    """Whether sums are finite only where all of X is: then X is not looked at before."""

    classes_: np.ndarray
    n_features_in_: int
    _seen: Any

    def fit(self, X, y=None, sample_weight=None, *, classes=None):
        """Forget what was seen, and learn from all rows in one pass.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream} of shape (n_samples, n_features), or iterable
            An iterable gives tuples (X, y) or (X, y, sample_weight), one for each batch.
        y : array-like of shape (n_samples,)
            Without it X is an iterable.
        sample_weight : float or array-like of shape (n_samples,), optional
            Zero is a row that is not there.
        classes : array-like, optional
            All labels; needed where the first batch of an iterable does not have them all.

        Returns
        -------
        self : object
        """
        self._validate_params()
        self._forget()
        for batch in self._batches(X, y, sample_weight):
            if not hasattr(self, "classes_"):
                if batch.y.dtype.kind not in "biu":
                    check_classification_targets(batch.y)
                self.classes_ = labels_of(batch.y if classes is None else np.asarray(classes))
            self._learn(batch)
        if not hasattr(self, "_seen"):
            raise ValueError("The iterable gave no batch.")
        self._adopt()
        return self

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Learn from some more rows.

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
        self._validate_params()
        if classes is None and not hasattr(self, "classes_"):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        given = None if classes is None else labels_of(np.asarray(classes))
        if given is not None and not np.array_equal(getattr(self, "classes_", given), given):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
            )
        n_features = getattr(self, "n_features_in_", None) if hasattr(self, "_seen") else None
        X, y, weight = self._read(X, y, sample_weight)
        refuse_other_width(self, X, n_features)
        self.classes_ = self.classes_ if given is None else given
        self._learn(Batch(X, y, weight, "y"))
        self._adopt()
        return self

    def merge(self, other):
        """Add what another model has seen, on another machine for instance.

        Parameters
        ----------
        other : object
            Of the same class, fitted to rows with the same features and classes.

        Returns
        -------
        self : object
        """
        check_is_fitted(self)
        check_is_fitted(other)
        if type(self) is not type(other):
            raise TypeError(f"`other` is a {type(other).__name__}; expected a {type(self).__name__}.")
        if self.n_features_in_ != other.n_features_in_:
            raise ValueError(f"`other` has seen {other.n_features_in_} features, this model {self.n_features_in_}.")
        if not np.array_equal(self.classes_, other.classes_):
            raise ValueError(f"`other` knows the classes {other.classes_}, this model {self.classes_}.")
        self._add(other._seen)
        self._adopt()
        return self

    def cross_validate(self, X, y, values, *, sample_weight=None, cv=None):
        """Compare smoothings on rows that were not learnt from, for all folds and values in one program.

        Statistics are summed once, fold by fold; those of all other folds are a difference.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        values : array-like of shape (n_values,)
            In the place of `alpha` or `var_smoothing`, for all features alike.
        sample_weight : float or array-like of shape (n_samples,), optional
        cv : int, splitter or iterable, optional
            Folds that divide the rows; by default five, stratified.

        Returns
        -------
        SmoothingScores
            `values`, and `accuracy` and `log_likelihood` of shape (n_values, n_folds).

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from jaxlearn.naive_bayes import GaussianNB
        >>> X, y = load_digits(return_X_y=True)
        >>> scores = GaussianNB().cross_validate(X, y, [1e-9, 1e-3, 0.1])
        >>> float(scores.values[scores.accuracy.mean(1).argmax()])
        0.1
        """
        self._validate_params()
        return score_smoothing(clone(self), X, y, values, sample_weight=sample_weight, cv=cv)

    def predict(self, X):
        """Predict class labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels as in ``classes_``, which need not be numbers: NumPy whatever X is.
        """
        joint = np.asarray(self.predict_joint_log_proba(X))
        return self.classes_[joint.argmax(axis=1)]

    def predict_joint_log_proba(self, X):
        """Logarithms of the probabilities of rows together with each class, up to what is the same for all classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        plain = isinstance(X, np.ndarray) and X.dtype in FLOATS and self.sums_tell
        X = validate_data(self, X, reset=False, ensure_all_finite=False) if plain else check_features(self, X)  # pyright: ignore
        X = self._check_new(X)
        dtype = np.dtype(X.dtype) if X.dtype in (np.float32, np.float64) else np.dtype(np.float64)
        if isinstance(X, jax.Array):
            with jax.enable_x64(dtype == np.float64):
                return _joint(self._fitted(dtype), X)
        joint = self._joint(X, dtype)
        if plain and not np.isfinite(joint).all():
            check_array(X, input_name="X", estimator=self)
        return joint

    def predict_log_proba(self, X):
        """Logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_classes)
        """
        joint = self.predict_joint_log_proba(X)
        if isinstance(joint, jax.Array):
            with jax.enable_x64(joint.dtype == np.float64):
                return jax.nn.log_softmax(joint, axis=1)
        return scipy.special.log_softmax(joint, axis=1)

    def predict_proba(self, X):
        """Probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_classes)
        """
        log_proba = self.predict_log_proba(X)
        if isinstance(log_proba, jax.Array):
            with jax.enable_x64(log_proba.dtype == np.float64):
                return jax.numpy.exp(log_proba)
        return np.exp(log_proba)

    def _check_parameters(self) -> None:
        """Refuse what does not go with `classes_` or `n_features_in_`."""
        raise NotImplementedError

    def _counted(self) -> naive_bayes.Model:
        """Whose statistics are wanted; smoothing and priors come later."""
        raise NotImplementedError

    def _model(self) -> naive_bayes.Model:
        """What to learn."""
        raise NotImplementedError

    def _model_of(self, X: Any) -> naive_bayes.Model:
        """What to learn from these rows."""
        return self._model()

    def _adopt(self) -> None:
        """Attributes from what was seen."""
        raise NotImplementedError

    def _fitted(self, dtype: np.dtype) -> naive_bayes.Fitted:
        """The pure model that the attributes describe."""
        raise NotImplementedError

    def _joint(self, X: Any, dtype: np.dtype) -> np.ndarray:
        """Of rows on the host."""
        n_rows, size = _piece(X, dtype, MAPPED_BYTES, UNIT)
        fitted = self._fitted(dtype)
        joint = np.empty((X.shape[0], len(fitted.class_log_prior)), dtype)

        def one(piece: tuple[Any, Any]) -> None:
            place, rows = piece
            rows = repeated(X[place].astype(dtype, copy=False), n_rows) if rows is None else rows
            found = jax.device_get(_joint_by_blocks(fitted, rows))
            joint[place] = found[: len(joint[place])]

        list(in_threads(one, pieces(X, n_rows, size, dtype)))
        return joint

    def _check(self, X: Any) -> Any:
        """Rows that may not be any numbers, as a program takes them."""
        return X

    def _check_new(self, X: Any) -> Any:
        """The same, of rows that are to be predicted."""
        return self._check(X)

    def _forget(self) -> None:
        for name in ("_seen", "_dtype", "classes_"):
            vars(self).pop(name, None)

    def _read(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, np.ndarray, np.ndarray]:
        if isinstance(X, np.ndarray) and self.sums_tell:
            X, y = validate_data(self, X, y, dtype=FLOATS, ensure_all_finite=False)  # pyright: ignore
            return X, y, check_sample_weight(sample_weight, len(X), X.dtype)
        X, y, weight = read(self, X, y, sample_weight, multi_output=False, y_numeric=False)
        return self._check(X), y, weight

    def _batches(self, X: Any, y: Any, sample_weight: Any) -> Iterator[Batch]:
        """What `fit` learns from, part by part."""
        if is_iterable_of_batches(X, y):
            if sample_weight is not None:
                raise ValueError("Weights of an iterable of batches come with them: as (X, y, sample_weight).")
            vars(self).pop("feature_names_in_", None)
            for batch in batches_of_iterable(X):
                self.n_features_in_ = batch.X.shape[1]
                yield batch._replace(X=self._check(batch.X))
            return
        if isinstance(X, (Streamed, np.memmap)):
            X = read_rows(self, X, sparse=False)
        if not isinstance(X, Streamed):
            yield Batch(*self._read(X, y, sample_weight), "y")
            return
        y = _target(self, y, False, False)
        if X.reader.n_samples is not None and len(y) != X.reader.n_samples:
            raise ValueError(f"X has {X.reader.n_samples} rows, and y {len(y)}.")
        dtype = np.dtype(np.float64 if X.reader.dtype == np.float64 else np.float32)
        yield from self._of_stream(X, y, check_sample_weight(sample_weight, len(y), dtype))

    def _of_stream(self, X: Streamed, y: np.ndarray, weight: np.ndarray) -> Iterator[Batch]:
        """The stream as a whole."""
        yield Batch(X, y, weight, "y")
        if X.reader.n_samples != len(y):
            raise ValueError(f"The stream ended after {X.reader.n_samples} rows, and `y` has {len(y)} values.")

    def _learn(self, batch: Batch) -> None:
        self._check_parameters()
        codes = codes_of(batch.y, self.classes_, batch.name)
        if not hasattr(self, "_dtype"):
            self._dtype = batch.sample_weight.dtype
        self._add(self._statistics(batch, codes))

    def _statistics(self, batch: Batch, codes: np.ndarray) -> Any:
        return self._sums(self._counted(), batch, codes)

    def _sums(self, model: naive_bayes.Model, batch: Batch, codes: np.ndarray) -> Any:
        """In double precision."""
        X, weight, classes = batch.X, batch.sample_weight, np.arange(len(self.classes_))
        if isinstance(X, np.ndarray):
            return self._sums_of_pieces(model, batch, codes)
        if isinstance(X, Streamed):
            with jax.enable_x64(True):
                return jax.device_get(naive_bayes.statistics(model, X, codes, weight, n_classes=len(classes)))
        return compute(_statistics, place(X, codes, weight), model, classes, double=True)

    def _sums_of_pieces(self, model: naive_bayes.Model, batch: Batch, codes: np.ndarray) -> Any:
        """Without a copy of all rows, which would take longer than their sums; a thread for each core sums pieces."""
        X, classes = batch.X, np.arange(len(self.classes_))
        n_rows, size = _piece(X, X.dtype, BLOCK_BYTES, _unit(len(classes)))

        def one(piece: tuple[Any, Any]) -> Any:
            place, rows = piece
            y, w = (part[place] for part in (codes, batch.sample_weight))
            if rows is None:
                y, w = (np.pad(part, (0, n_rows - len(y))) for part in (y, w))
                rows = repeated(X[place], n_rows)
            return _summed((rows, y, w), (model, classes))

        with jax.enable_x64(True):
            seen = jax.device_get(functools.reduce(_merge, in_threads(one, pieces(X, n_rows, size))))
        if self.sums_tell and not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(seen)):
            check_array(X, input_name="X", estimator=self)
        return seen

    def _add(self, seen: Any) -> None:
        """To what was seen before."""
        if hasattr(self, "_seen"):
            with jax.enable_x64(True):
                seen = jax.device_get(_merge(self._seen, seen))
        self._seen = seen


def _statistics(rows: Any, rest: Any, axis_name: str | None = None) -> naive_bayes.Statistics:
    (X, codes, weight), (model, classes) = rows, rest
    design = in_blocks(X, axis_name, n_bytes=BLOCK_BYTES, unit=_unit(len(classes)))
    return naive_bayes.statistics(model, design, codes.astype(np.int32), weight, n_classes=len(classes))


def _unit(n_classes: int) -> int:
    """Numbers of rows of a block are multiples of this."""
    return max(UNIT, 1 << (ROWS_PER_CLASS * n_classes - 1).bit_length())


def _piece(X: Any, dtype: Any, n_bytes: int, unit: int) -> tuple[int, int]:
    """Rows of a piece of X: all, or a number that any X of the same width has; and of a block of these."""
    row_bytes = X.shape[1] * np.dtype(dtype).itemsize
    at_most = min(max(len(X) * row_bytes // PIECES, LEAST_BYTES), MOST_BYTES) // row_bytes
    at_most = 1 << (max(at_most, 1).bit_length() - 1)
    n_rows = at_most if len(X) > at_most else row_bucket(len(X))
    return n_rows, block_rows(n_rows, row_bytes, n_bytes, unit)


_summed, _merge, _joint = (jax.jit(f) for f in (_statistics, naive_bayes.merge, naive_bayes.joint_log_proba))


@jax.jit
def _joint_by_blocks(fitted: naive_bayes.Fitted, X: Any) -> Any:
    design = in_blocks(X, n_bytes=MAPPED_BYTES, unit=UNIT)
    return design.over_blocks(fitted.joint) if isinstance(design, Blocks) else fitted.joint(design)


fitted = jax.jit(naive_bayes.fitted)
