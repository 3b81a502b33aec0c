"""Naive Bayes with categories."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import jax
import numpy as np
import scipy.sparse
from sklearn.utils._param_validation import Interval

from jaxlearn.access.host import entry_bucket
from jaxlearn.models import naive_bayes

from .batches import batches_of_stream
from .constraints import NON_NEGATIVE
from .discrete_nb import DiscreteNB
from .naive_bayes import NaiveBayes, fitted

__all__ = ["CategoricalNB"]


class CategoricalNB(DiscreteNB):
    """Naive Bayes of features that each are one of some categories 0, 1, ….

    *Maximises* ``Σ w_i log p(x_i, y_i)``, the count of each category raised by alpha, in one pass.

    Parameters
    ----------
    alpha : float, default=1.0
        Added to the count of each category of a class.
    force_alpha, fit_prior, class_prior
        As of `MultinomialNB`.
    min_categories : int or array-like of shape (n_features,), optional
        Categories that a feature has at least, seen or not; those of a feature are 0 … n − 1, n − 1 the largest seen.

    Attributes
    ----------
    classes_, class_count_, class_log_prior_
        As of `MultinomialNB`.
    n_categories_ : ndarray of shape (n_features,)
        Of all rows seen.
    category_count_ : list of ndarray of shape (n_classes, n_categories_[j])
        Weight of the rows of each class and category, for each feature.
    feature_log_prob_ : list of ndarray of shape (n_classes, n_categories_[j])
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Examples
    --------
    >>> from jaxlearn.naive_bayes import CategoricalNB
    >>> model = CategoricalNB().fit([[0, 2], [0, 1], [1, 0]], ["sea", "sea", "land"])
    >>> model.n_categories_.tolist(), model.predict([[0, 2], [1, 0]])
    ([2, 3], array(['sea', 'land'], dtype='<U4'))
    """

    sums_tell = False

    _parameter_constraints: dict = {
        **DiscreteNB._parameter_constraints,
        "alpha": [NON_NEGATIVE],
        "min_categories": [None, "array-like", Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, *, alpha=1.0, force_alpha=True, fit_prior=True, class_prior=None, min_categories=None):
        self.alpha = alpha
        self.force_alpha = force_alpha
        self.fit_prior = fit_prior
        self.class_prior = class_prior
        self.min_categories: Any = min_categories

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.sparse = False
        tags.input_tags.positive_only = True
        return tags

    def _check(self, X):
        if scipy.sparse.issparse(X):
            raise TypeError(
                "Sparse data was passed for X, but dense data is required. Use '.toarray()' to convert to a dense numpy array."
            )
        if (_of_features(X, "min") <= -1).any():  # what is after the decimal point does not count
            raise ValueError("Negative values in data passed to CategoricalNB (input X).")
        return X

    def _check_new(self, X):
        X = self._check(X)
        largest = _of_features(X, "max").astype(np.int64)
        unseen = np.flatnonzero(largest >= self.n_categories_)
        if len(unseen):
            j = unseen[0]
            raise ValueError(
                f"Feature {j} of X has the category {largest[j]}, and those that were seen are 0 to "
                f"{self.n_categories_[j] - 1}: say how many there may be by `min_categories`."
            )
        return X

    def _sizes(self, X: Any) -> np.ndarray:
        """Numbers of categories that these rows, and `min_categories`, ask for."""
        sizes = _of_features(X, "max").astype(np.int64) + 1
        if self.min_categories is None:
            return sizes
        least = np.asarray(self.min_categories)
        if not np.issubdtype(least.dtype, np.signedinteger):
            raise ValueError(f"'min_categories' should have integral type. Got {least.dtype} instead.")
        if least.ndim and least.shape != sizes.shape:
            raise ValueError(
                f"'min_categories' should have shape ({len(sizes)},) when an array-like is provided. Got {least.shape} instead."
            )
        return np.maximum(sizes, least)

    def _of_stream(self, X, y, weight):
        for batch in batches_of_stream(X, y, weight, X.reader.block_size, seed=0, shuffle=False):
            yield batch._replace(X=self._check(batch.X))

    def _statistics(self, batch, codes):
        sizes = self._sizes(batch.X)
        seen = self._sums(_counted(sizes), batch, codes)
        return naive_bayes.Counts(seen.weight, _split(seen.counts, sizes), seen.negative)

    def _add(self, seen):
        if hasattr(self, "_seen"):
            counts: Any = [_sum(a, b) for a, b in zip(self._seen.counts, seen.counts, strict=True)]
            seen = naive_bayes.Counts(self._seen.weight + seen.weight, counts, seen.negative)
        self._seen = seen

    def _model(self):
        model = _counted(self.n_categories_)
        return naive_bayes.Categorical(model.n_categories, model.n_columns, self._check_alpha(), self._given_priors())

    def _model_of(self, X):
        self.n_categories_ = self._sizes(X)
        return self._model()

    def _adopt(self):
        seen = self._seen
        self.class_count_, self.category_count_ = seen.weight, seen.counts
        self.n_categories_ = np.array([counts.shape[1] for counts in seen.counts])
        model = self._model()
        flat = naive_bayes.Counts(seen.weight, _joined(seen.counts, model.n_columns), seen.negative)
        with jax.enable_x64(True):
            found = jax.device_get(fitted(model, flat))
        self.class_log_prior_, self.feature_log_prob_ = (
            found.class_log_prior,
            _split(found.log_prob, self.n_categories_),
        )

    def _fitted(self, dtype):
        model = _counted(self.n_categories_)
        log_prob = _joined(self.feature_log_prob_, model.n_columns).astype(dtype)
        first = (np.cumsum(model.n_categories) - model.n_categories).astype(np.int32)
        return naive_bayes.FittedCategorical(self.class_log_prior_.astype(dtype), log_prob, first)

    def _joint(self, X, dtype):
        return NaiveBayes._joint(self, X, dtype)


def _of_features(X: Any, what: str) -> np.ndarray:
    """The least or the largest number of each."""
    with jax.enable_x64(X.dtype == np.float64):
        return np.asarray(getattr(X, what)(0))


def _counted(sizes: np.ndarray) -> Any:
    """Columns for so many categories of each feature, in a number that others share."""
    return naive_bayes.Categorical(sizes.astype(np.int32), entry_bucket(int(sizes.sum())))


def _split(columns: Any, sizes: np.ndarray) -> Any:
    """Feature by feature."""
    ends = np.cumsum(sizes)
    return np.split(columns[:, : ends[-1]], ends[:-1], axis=1)


def _joined(parts: Any, n_columns: int) -> Any:
    """The inverse, filled up with zeros."""
    joined = np.zeros((len(parts[0]), n_columns))
    joined[:, : sum(part.shape[1] for part in parts)] = np.concatenate(parts, axis=1)
    return joined


def _sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of counts of which one may know more categories."""
    total = np.zeros((len(a), max(a.shape[1], b.shape[1])))
    total[:, : a.shape[1]] += a
    total[:, : b.shape[1]] += b
    return total
