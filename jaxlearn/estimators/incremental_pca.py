"""Principal components of batches that come one after another: sums of squares, which any batches and any order share."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from scipy import linalg
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted

from jaxlearn.access.dense import Dense
from jaxlearn.access.design import PRESENT, Design
from jaxlearn.access.streamed import Streamed

from .base import compute
from .components import GaussianComponents
from .constraints import COUNT
from .inputs import near
from .rows import place_rows, read_rows

__all__ = ["IncrementalPCA"]

# Features of which sums of products are kept: half a gigabyte in double precision.
MOST_FEATURES = 8192


@dataclasses.dataclass(frozen=True, eq=False)
class _Sums:
    """``n``, ``Σ z`` and ``Σ z zᵀ`` of rows ``z = x − location``, in double precision."""

    location: np.ndarray
    n: float
    first: np.ndarray
    second: np.ndarray

    def plus(self, other: _Sums) -> _Sums:
        """Of both, around the location of the first."""
        shift = other.location - self.location
        cross = np.outer(other.first, shift)
        return _Sums(
            self.location,
            self.n + other.n,
            self.first + other.first + other.n * shift,
            self.second + other.second + cross + cross.T + other.n * np.outer(shift, shift),
        )

    @property
    def covariance(self) -> np.ndarray:
        """Divided by n."""
        mean = self.first / self.n
        return self.second / self.n - np.outer(mean, mean)

    @cached_property
    def eigenpairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the covariance, by falling value; the largest entry of each vector, a row, is positive."""
        values, vectors = linalg.eigh(self.covariance)
        vectors = vectors[:, ::-1].T
        largest = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], axis=1)
        return np.maximum(values[::-1], 0), vectors * np.where(largest < 0, -1, 1)


class IncrementalPCA(GaussianComponents):
    """Principal components of data that comes in batches, exactly: no batch is approximated, and none is kept.

    What is kept is the sum of products of all features in double precision, so that the result is that of `PCA` on all
    rows together, whatever the size and the order of the batches. Components are computed when they are asked for.

    Parameters
    ----------
    n_components : int, default=None
        How many; by default the lesser of the features and the rows of the first batch.
    whiten : bool, default=False
        Scale the projections to unit variance.
    copy : bool, default=True
        Without meaning: X is never written to.
    batch_size : int, default=None
        Rows that `fit` takes at a time; by default five times the number of features.

    Attributes
    ----------
    components_, explained_variance_, explained_variance_ratio_, singular_values_, mean_, noise_variance_, n_components_
        As for `PCA`.
    var_ : ndarray of shape (n_features,)
        Variance of each feature, divided by the number of samples.
    n_samples_seen_ : int
    batch_size_ : int
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    At most 8192 features: of more, `PCA` with ``svd_solver="onepass"`` makes a model of a stream without their products.

    References
    ----------
    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from jaxlearn.decomposition import IncrementalPCA
    >>> X, _ = load_digits(return_X_y=True)
    >>> model = IncrementalPCA(n_components=7)
    >>> for start in range(0, 1700, 100):
    ...     _ = model.partial_fit(X[start : start + 100])
    >>> model.transform(X).shape
    (1797, 7)
    """

    n_features_in_: int

    _parameter_constraints: dict = {
        "n_components": [COUNT, None],
        "whiten": ["boolean"],
        "copy": ["boolean"],
        "batch_size": [COUNT, None],
    }

    def __init__(self, n_components=None, *, whiten=False, copy=True, batch_size=None):
        self.n_components = n_components
        self.whiten = whiten
        self.copy = copy
        self.batch_size = batch_size

    def fit(self, X, y=None):
        """Forget what was seen, and find the components of X.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)
            A stream is read once.
        y : Ignored

        Returns
        -------
        self : object
        """
        self._validate_params()
        X = read_rows(self, X)
        self.batch_size_ = 5 * self.n_features_in_ if self.batch_size is None else self.batch_size
        sums, first_batch = None, None
        for batch in self._batches(X):
            batch_sums, n_rows = _sums(batch, None if sums is None else sums.location)
            first_batch = n_rows if first_batch is None else first_batch
            self._check(n_rows if sums is None else first_batch, sums is None)
            sums = batch_sums if sums is None else sums.plus(batch_sums)
        with jax.enable_x64(True):  # or a stream says that it is computed in single precision
            dtype = X.dtype
        self._adopt(sums, dtype, first_batch)
        return self

    def partial_fit(self, X, y=None, check_input=True):
        """Add the rows of X to those seen before.

        Parameters
        ----------
        X : {array-like, jax.Array} of shape (n_samples, n_features)
        y : Ignored
        check_input : bool, default=True
            Whether to validate X.

        Returns
        -------
        self : object
        """
        self._validate_params()
        first = not hasattr(self, "n_samples_seen_")
        if scipy.sparse.issparse(X):
            raise TypeError(
                "IncrementalPCA.partial_fit does not support sparse input. Either convert data to dense or use "
                "IncrementalPCA.fit to do so in batches."
            )
        X = read_rows(self, X, sparse=False, reset=first) if check_input else X
        self._check(X.shape[0], first)
        sums, n_rows = _sums(X, None if first else self._seen.location)
        self._adopt(sums if first else self._seen.plus(sums), X.dtype, n_rows if first else None)
        return self

    def merge(self, other):
        """Add what another `IncrementalPCA` has seen, on another machine for instance.

        Parameters
        ----------
        other : IncrementalPCA
            Fitted to rows with the same features.

        Returns
        -------
        self : object
        """
        check_is_fitted(self)
        check_is_fitted(other)
        if self.n_features_in_ != other.n_features_in_:
            raise ValueError(f"`other` has seen {other.n_features_in_} features, this model {self.n_features_in_}.")
        self._adopt(self._seen.plus(other._seen), self.mean_.dtype, None)
        return self

    def _batches(self, X: Any) -> Any:
        if isinstance(X, (Streamed, jax.Array)):
            return [X]
        least = min(self.n_components or 0, X.shape[0])
        slices = gen_batches(X.shape[0], self.batch_size_, min_batch_size=least)
        return (X[rows].toarray() if scipy.sparse.issparse(X) else X[rows] for rows in slices)

    def _check(self, n_rows: int, first: bool) -> None:
        if self.n_features_in_ > MOST_FEATURES:
            raise ValueError(
                f"IncrementalPCA keeps the products of all features, and {self.n_features_in_} are more than "
                f"{MOST_FEATURES}: use PCA with svd_solver='onepass' on a `jaxlearn.stream`."
            )
        if self.n_components is None:
            return
        if self.n_components > self.n_features_in_:
            raise ValueError(
                f"n_components={self.n_components} invalid for n_features={self.n_features_in_}, need more rows than "
                "columns for IncrementalPCA processing"
            )
        if first and self.n_components > n_rows:
            raise ValueError(
                f"n_components={self.n_components} must be less or equal to the batch number of samples {n_rows} for the "
                "first partial_fit call."
            )

    def _adopt(self, sums: Any, dtype: Any, first_batch: int | None) -> None:
        if not np.isfinite(sums.second).all():
            raise ValueError("Input X contains NaN, infinity or a value too large for its dtype.")
        if self.n_components is not None:
            n_components = self.n_components
        elif first_batch is not None:
            n_components = min(first_batch, self.n_features_in_)
        else:
            n_components = self.n_components_
        if first_batch is None and n_components != self.n_components_:
            raise ValueError(
                f"Number of input features has changed from {self.n_components_} to {n_components} between calls to "
                "partial_fit! Try setting n_components to a fixed value."
            )
        self._seen = sums
        self.n_components_, self.n_samples_seen_ = n_components, int(round(sums.n))
        mean = sums.first / sums.n
        self.mean_ = (sums.location + mean).astype(dtype)
        self.var_ = np.maximum(np.diagonal(sums.second) / sums.n - mean**2, 0)

    def _eigenpairs(self) -> tuple[np.ndarray, np.ndarray]:
        """The leading ones of the covariance, computed when first asked for."""
        if not hasattr(self, "n_samples_seen_"):
            raise AttributeError(f"This {type(self).__name__} has seen no rows.")
        values, vectors = self._seen.eigenpairs
        return values[: self.n_components_], vectors[: self.n_components_]

    @property
    def _unbiased(self) -> float:
        return self.n_samples_seen_ / max(self.n_samples_seen_ - 1, 1)

    @property
    def components_(self):
        """Orthonormal rows, by falling variance."""
        return self._eigenpairs()[1].astype(self.mean_.dtype)

    @property
    def explained_variance_(self):
        """Variance along the components."""
        return (self._eigenpairs()[0] * self._unbiased).astype(self.mean_.dtype)

    @property
    def explained_variance_ratio_(self):
        """Share of the variance along the components."""
        total = self.var_.sum()
        return (self._eigenpairs()[0] / (total if total > 0 else 1)).astype(self.mean_.dtype)

    @property
    def singular_values_(self):
        """Of the centred data."""
        return np.sqrt(self._eigenpairs()[0] * self.n_samples_seen_).astype(self.mean_.dtype)

    @property
    def noise_variance_(self):
        """Mean variance along the directions that are left out."""
        rest = min(self.n_samples_seen_, self.n_features_in_) - self.n_components_
        left = max(self.var_.sum() - self._eigenpairs()[0].sum(), 0) * self._unbiased
        return left / rest if rest > 0 else 0.0


def _sums(X: Any, location: np.ndarray | None) -> tuple[_Sums, int]:
    if isinstance(X, Streamed):
        with jax.enable_x64(True):
            location = np.asarray(X.location(), np.float64) if location is None else location
            n, first, second = X.fold(_fold, jnp.asarray(location), PRESENT)  # pyright: ignore
            return _Sums(location, float(n), np.asarray(first), np.asarray(second)), X.shape[0]
    if isinstance(X, np.ndarray):
        location = near(X).astype(np.float64) if location is None else location
        n_rows, data = len(X), place_rows(X)
    else:
        location = np.zeros(X.shape[1]) if location is None else location
        n_rows, data = X.shape[0], place_rows(X)
    sums = compute(_moments, data, location, rows=(data.X, data.sample_weight), double=True)
    return _Sums(location, float(sums[0]), *sums[1:]), n_rows


def _moments(rows: Any, rest: Any, axis_name: str | None = None) -> Any:
    (X, weight), (location,) = rows, rest
    return Dense(X, axis_name).fold(_fold, location, weight)


def _fold(location: Any, X: Design, w: Any) -> Any:
    return X.moments(w, location)
