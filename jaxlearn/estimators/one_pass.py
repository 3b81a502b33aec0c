"""What learning in one pass shares: moments that grow batch by batch, and the coefficients that follow from them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import jax
import numpy as np
import scipy.sparse
from sklearn.utils.validation import check_is_fitted

from jaxlearn.access.streamed import Streamed
from jaxlearn.models import online_newton
from jaxlearn.models.online_newton import OnlineNewton
from jaxlearn.objectives import Loss, Multinomial, Squared
from jaxlearn.solvers.solution import CONVERGED

from .base import LinearModel, check_finite, compute, number, one_blas_thread, seed
from .batches import Batch, batches_of_arrays, batches_of_iterable, batches_of_stream, is_iterable_of_batches
from .inputs import check_sample_weight, place, read, refuse_other_width
from .rows import read_rows

__all__ = ["OnlineNewtonModel", "fitted", "fitted_sparse"]

# Coefficients whose second moments are kept: their matrix takes 200 MB, and a factor of it some seconds.
MOST_COEFFICIENTS = 5000
# Rows of a batch for each coefficient, so that the factor costs no more than the products do; and bytes of a batch.
ROWS_FOR_EACH, BATCH_BYTES = 4, 1 << 26


class OnlineNewtonModel(LinearModel):
    """Moments that grow batch by batch, and what follows from them."""

    alpha: Any
    batch_size: Any
    shuffle: bool
    random_state: Any

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
        return self._partial_fit(X, y, sample_weight)

    def solve(self):
        """Coefficients for the present penalty, from what was seen: no row is read again.

        Returns
        -------
        self : object
        """
        check_is_fitted(self)
        self._validate_params()
        self._adopt_moments()
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
        if not np.array_equal(getattr(self, "classes_", ()), getattr(other, "classes_", ())):
            raise ValueError(f"`other` knows the classes {other.classes_}, this model {self.classes_}.")  # pyright: ignore
        if self._state.linear.shape != other._state.linear.shape:
            raise ValueError("The models have different numbers of targets.")
        with jax.enable_x64(True), one_blas_thread():
            self._state = jax.device_get(_merge(self._model(), self._state, other._state))
        self.n_samples_seen_ += other.n_samples_seen_
        self._adopt_moments()
        return self

    def _loss(self) -> Loss:
        raise NotImplementedError

    def _targets(self, y: np.ndarray, weight: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        """What the loss takes, and weights."""
        raise NotImplementedError

    def _model(self) -> OnlineNewton:
        return OnlineNewton(self._loss(), number(self.alpha, np.float64), self.fit_intercept)

    def _forget(self) -> None:
        for name in ("_state", "n_samples_seen_"):
            vars(self).pop(name, None)

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> Any:
        self._forget()
        for batch in self._batches(X, y, sample_weight):
            self._learn(batch)
        if not hasattr(self, "_state"):
            raise ValueError("There was no batch.")
        self._adopt_moments()
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any) -> Any:
        self._validate_params()
        begun = hasattr(self, "_state")
        n_features = self.n_features_in_ if begun else None
        X, y, weight = self._read(X, y, sample_weight)
        refuse_other_width(self, X, n_features)
        self._learn(Batch(X, y, weight, "this batch"))
        self._adopt_moments()
        return self

    def _read(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, np.ndarray, np.ndarray]:
        return read(self, X, y, sample_weight)

    def _batches(self, X: Any, y: Any, sample_weight: Any) -> Iterator[Batch]:
        """What `fit` learns from; validated before the first one is given."""
        if is_iterable_of_batches(X, y):
            batches = batches_of_iterable(X)
            first = next(batches, None)
            if first is None:
                raise ValueError("The iterable gave no batch.")
            self.n_features_in_ = first.X.shape[1]
            self._prepare(first.y)
            return chain([first], batches)
        drawn = int(seed(self.random_state))
        if isinstance(X, (Streamed, np.memmap)):
            X = read_rows(self, X, sparse=False)
        if isinstance(X, Streamed):
            y = np.asarray(y)
            if X.reader.n_samples is not None and len(y) != X.reader.n_samples:
                raise ValueError(f"X has {X.reader.n_samples} rows, and y {len(y)}.")
            weight = check_sample_weight(sample_weight, len(y), np.float64 if X.dtype == np.float64 else np.float32)
            self._prepare(y)
            size = X.reader.block_size if isinstance(self._loss(), Squared) else self._rows_of_batch(X.n_features, 4)
            return batches_of_stream(X, y, weight, size, seed=drawn, shuffle=self.shuffle)
        X, y, weight = self._read(X, y, sample_weight)
        self._prepare(y)
        X = X.tocsr() if scipy.sparse.issparse(X) else X
        exact = isinstance(self._loss(), Squared)  # in any order
        size = self._rows_of_batch(X.shape[1], X.dtype.itemsize)
        return batches_of_arrays(X, y, weight, size, seed=drawn, shuffle=self.shuffle and not exact)

    def _rows_of_batch(self, n_features: int, itemsize: int) -> int:
        if self.batch_size != "auto":
            return self.batch_size
        fits = max(BATCH_BYTES // (itemsize * n_features), 256)
        if isinstance(self._loss(), Squared):
            return fits
        return min(max(1024, 1 << (ROWS_FOR_EACH * n_features - 1).bit_length()), max(fits, 1024))

    def _prepare(self, y: np.ndarray) -> None:
        """Look at the first targets."""

    def _learn(self, batch: Batch) -> None:
        y, weight = self._targets(batch.y, batch.sample_weight, batch.name)
        data = place(batch.X, y, weight)
        n_coefficients = (data.n_features + 1) * (data.y.shape[1] if isinstance(self._loss(), Multinomial) else 1)
        if n_coefficients > MOST_COEFFICIENTS:
            raise ValueError(
                f"{type(self).__name__} keeps the second moments of all coefficients, and {n_coefficients} are more than "
                f"{MOST_COEFFICIENTS}: use SGDClassifier or SGDRegressor, or fewer features."
            )
        if hasattr(self, "_state") and self._state.linear.shape[1:] != data.y.shape[1:]:
            raise ValueError(
                f"{batch.name} has targets of shape {data.y.shape}; expected (n, *{self._state.linear.shape[1:]})."
            )
        with one_blas_thread():
            if not hasattr(self, "_state"):
                self._state = compute(_begin, data, self._model(), double=True)
                self.n_samples_seen_ = 0
                self._dtype, self._column = data.dtype, data.is_column
            self._state = compute(_step, data, self._model(), self._state, double=True)
        if not np.isfinite(self._state.coef).all():
            raise ValueError(
                f"The fit resulted in non-finite parameter values at {batch.name}. The input data may contain large values "
                "and need to be preprocessed."
            )
        self.n_samples_seen_ += data.n_samples

    def _adopt_moments(self) -> None:
        with jax.enable_x64(True), one_blas_thread():
            fitted = jax.device_get(self._solved())
        coef, intercept = np.asarray(fitted.coef, self._dtype), np.asarray(fitted.intercept, self._dtype)
        check_finite(coef, intercept)
        self.coef_ = np.array(coef.T)
        self.intercept_ = intercept[()] if self.fit_intercept else 0.0
        self.certificate_, self.converged_ = float(fitted.residual), bool(fitted.status == CONVERGED)

    def _solved(self) -> Any:
        return fitted(self._model(), self._state)


def _begin(rows: Any, rest: Any, axis_name: str | None = None) -> Any:
    (X, y, weight), (model,) = rows, rest
    return online_newton.init(model, X, y, weight, axis_name=axis_name)


def _step(rows: Any, rest: Any, axis_name: str | None = None) -> Any:
    (X, y, weight), (model, state) = rows, rest
    return online_newton.step(model, state, X, y, weight, axis_name=axis_name)


fitted = jax.jit(online_newton.fitted)
_merge = jax.jit(online_newton.merge)

fitted_sparse = jax.jit(online_newton.fitted_sparse)
