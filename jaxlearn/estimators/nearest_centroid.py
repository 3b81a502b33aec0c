"""Classification by the nearest of the centroids of classes."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.discriminant_analysis import DiscriminantAnalysisPredictionMixin
from sklearn.metrics import pairwise_distances
from sklearn.utils._available_if import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.sparsefuncs import csc_median_axis_0
from sklearn.utils.validation import check_is_fitted

from jaxlearn.models import nearest_centroid
from jaxlearn.objectives.distances import Euclidean, Manhattan

from .base import compute
from .constraints import ONE_OF, POSITIVE
from .inputs import check_features, read
from .neighbors_search import Index
from .rows import place_rows

__all__ = ["NearestCentroid"]


def _moments(rows: Any, rest: Any, axis_name: str | None = None) -> nearest_centroid.Centroids:
    (X, codes, weight), (classes,) = rows, rest
    return nearest_centroid.fit(X, codes, len(classes), weight, axis_name=axis_name)


class NearestCentroid(DiscriminantAnalysisPredictionMixin, ClassifierMixin, BaseEstimator):
    """The class whose centroid is nearest: its mean, or its median by Manhattan distance.

    *Reads the data by* fold, twice.

    Parameters
    ----------
    metric : {"euclidean", "manhattan"}, default="euclidean"
    shrink_threshold : float, optional
        Centroids move towards the mean of all rows by this many standard errors of their features.
    priors : {"uniform", "empirical"} or array-like of shape (n_classes,), default="uniform"

    Attributes
    ----------
    centroids_, deviations_ : ndarray of shape (n_classes, n_features)
    classes_, class_prior_ : ndarray of shape (n_classes,)
    within_class_std_dev_ : ndarray of shape (n_features,)
    n_features_in_, feature_names_in_
        As in scikit-learn.

    References
    ----------
    Tibshirani, Hastie, Narasimhan and Chu, "Diagnosis of multiple cancer types by shrunken centroids of gene expression",
    PNAS 2002.

    Examples
    --------
    >>> from jaxlearn.neighbors import NearestCentroid
    >>> model = NearestCentroid().fit([[-1.0, -1], [-2, -1.5], [1, 1], [2, 1.5]], ["a", "a", "b", "b"])
    >>> model.predict([[-0.8, -1]]).tolist()
    ['a']
    """

    metric: str
    shrink_threshold: Any
    priors: Any

    _parameter_constraints: dict = {
        "metric": [ONE_OF("manhattan", "euclidean")],
        "shrink_threshold": [POSITIVE, None],
        "priors": ["array-like", ONE_OF("empirical", "uniform")],
    }

    def __init__(self, metric="euclidean", *, shrink_threshold=None, priors="uniform"):
        self.metric = metric
        self.shrink_threshold = shrink_threshold
        self.priors = priors

    def fit(self, X, y, sample_weight=None):
        """Find the centroids.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : float or array-like of shape (n_samples,), optional
            With Manhattan distances 0 and 1 only: medians have no other.

        Returns
        -------
        self : object
        """
        self._validate_params()
        X, y, weight = read(self, X, y, sample_weight, multi_output=False, y_numeric=False)
        check_classification_targets(y)
        there = weight > 0
        self.classes_, codes = np.unique(y[there], return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"The number of classes has to be greater than one; got {len(self.classes_)} class among rows with weight"
            )
        every = np.zeros(len(y), np.int32)
        every[there] = codes
        data = place_rows(X, weight)
        every = np.pad(every, (0, len(data.sample_weight) - len(every)))
        rows = data.X, every, data.sample_weight
        found = compute(_moments, data, np.zeros(len(self.classes_), np.int8), rows=rows)
        self.class_prior_ = self._priors(found.counts)
        self._refuse_constant(X, there)
        if self.metric == "manhattan":
            found = self._around_medians(X, every[: len(y)], weight, found)
        self._shrink(found)
        return self

    def _priors(self, counts: np.ndarray) -> np.ndarray:
        if isinstance(self.priors, str):
            prior = counts / counts.sum() if self.priors == "empirical" else np.full(len(counts), 1 / len(counts))
        else:
            prior = np.asarray(self.priors, float)
        if (prior < 0).any():
            raise ValueError("priors must be non-negative")
        if not np.isclose(prior.sum(), 1.0):
            warnings.warn(
                "The priors do not sum to 1. Normalizing such that it sums to one.", UserWarning, stacklevel=3
            )
            prior = prior / prior.sum()
        return prior

    def _refuse_constant(self, X: Any, there: np.ndarray) -> None:
        if not isinstance(X, jax.Array) and not there.all():
            X = X.tocsr()[there] if scipy.sparse.issparse(X) else X[there]
        with jax.enable_x64(X.dtype == np.float64):
            spread: Any = X.max(axis=0) - X.min(axis=0)
        if not np.any(spread.toarray() if scipy.sparse.issparse(spread) else np.asarray(spread)):
            raise ValueError("All features have zero variance. Division by zero.")

    def _around_medians(self, X: Any, codes: np.ndarray, weight: np.ndarray, found: Any) -> Any:
        """`found` with medians in the place of means."""
        if not np.isin(weight, (0, 1)).all():
            raise ValueError("metric='manhattan' takes weights of 0 and 1 only.")
        X = X.tocsc() if scipy.sparse.issparse(X) else np.asarray(X)
        members = [np.flatnonzero((codes == k) & (weight > 0)) for k in range(len(self.classes_))]
        if scipy.sparse.issparse(X):
            medians = np.stack([csc_median_axis_0(X[m].tocsc()) for m in members])
        else:
            medians = np.stack([np.median(X[m], axis=0) for m in members])
        # Σ (x − m)² = Σ (x − mean)² + n (mean − m)²
        within = found.within + (found.counts[:, None] * np.square(medians - found.means)).sum(axis=0)
        return found._replace(means=medians, within=within)

    def _shrink(self, found: Any) -> None:
        centroids = found.means
        n_samples = found.counts.sum()
        self.within_class_std_dev_ = np.sqrt(found.within / (n_samples - len(self.classes_)))
        if (self.within_class_std_dev_ == 0).any():
            warnings.warn(
                "self.within_class_std_dev_ has at least 1 zero standard deviation. "
                "Inputs within the same classes for at least 1 feature are identical.",
                stacklevel=3,
            )
        error = np.sqrt(1 / found.counts - 1 / n_samples)[:, None]
        scale = error * (self.within_class_std_dev_ + np.median(self.within_class_std_dev_))[None]
        with np.errstate(divide="ignore", invalid="ignore"):
            self.deviations_ = (centroids - found.mean) / scale
        if self.shrink_threshold:
            kept = np.maximum(np.abs(self.deviations_) - self.shrink_threshold, 0)
            self.deviations_ = kept * np.sign(self.deviations_)
            centroids = found.mean + scale * self.deviations_
        self.centroids_ = np.asarray(centroids)

    def predict(self, X):
        """Predict labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_queries, n_features)

        Returns
        -------
        ndarray of shape (n_queries,)
        """
        check_is_fitted(self)
        if not np.isclose(self.class_prior_, 1 / len(self.classes_)).all():
            return super().predict(X)
        X = check_features(self, X)
        X = X.tocsr() if scipy.sparse.issparse(X) else X
        distance = Euclidean() if self.metric == "euclidean" else Manhattan()
        return self.classes_[Index(distance, self.centroids_).nearest(X, 1)[1][:, 0]]

    def _decision_function(self, X: Any) -> np.ndarray:
        """Minus the squared distance in units of the standard deviation, and twice the logarithm of the prior."""
        check_is_fitted(self)
        X = check_features(self, X)
        scale = np.where(self.within_class_std_dev_ == 0, 1, self.within_class_std_dev_)
        X = scipy.sparse.csr_array(X.multiply(1 / scale)) if scipy.sparse.issparse(X) else np.asarray(X) / scale
        distances = pairwise_distances(X, self.centroids_ / scale, metric=self.metric)
        return 2 * np.log(self.class_prior_) - np.square(distances)

    def _is_euclidean(self) -> bool:
        return self.metric == "euclidean"

    decision_function = available_if(_is_euclidean)(DiscriminantAnalysisPredictionMixin.decision_function)  # pyright: ignore
    predict_proba = available_if(_is_euclidean)(DiscriminantAnalysisPredictionMixin.predict_proba)  # pyright: ignore
    predict_log_proba = available_if(_is_euclidean)(DiscriminantAnalysisPredictionMixin.predict_log_proba)  # pyright: ignore

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
