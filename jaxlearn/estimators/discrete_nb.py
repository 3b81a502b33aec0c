"""Naive Bayes of counts and of features that are there or not."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any

import jax
import numpy as np
import scipy.sparse
from sklearn.preprocessing import binarize

from jaxlearn.models import naive_bayes

from .base import number
from .constraints import NON_NEGATIVE
from .naive_bayes import NaiveBayes

__all__ = ["BernoulliNB", "ComplementNB", "DiscreteNB", "MultinomialNB"]

# The least smoothing without `force_alpha`.
LEAST_ALPHA = 1e-10


class DiscreteNB(NaiveBayes):
    """Counts of each class, smoothed. Sums and logarithms are in double precision, whatever the dtype of X."""

    alpha: Any
    force_alpha: bool
    fit_prior: bool
    class_prior: Any

    _parameter_constraints: dict = {
        "alpha": [NON_NEGATIVE, "array-like"],
        "fit_prior": ["boolean"],
        "class_prior": ["array-like", None],
        "force_alpha": ["boolean"],
    }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.poor_score = True
        return tags

    def _check_parameters(self):
        self._given_priors()
        if isinstance(self.alpha, Real):
            return
        alpha = np.asarray(self.alpha, np.float64)
        if alpha.shape != (self.n_features_in_,):
            raise ValueError(
                "When alpha is an array, it should contains `n_features`. "
                f"Got {alpha.size} elements instead of {self.n_features_in_}."
            )
        if alpha.min() < 0:
            raise ValueError("All values in alpha must be greater than 0.")

    def _check_alpha(self) -> np.ndarray:
        alpha = np.asarray(self.alpha, np.float64)
        if alpha.min() >= LEAST_ALPHA or self.force_alpha:
            return alpha
        warnings.warn(
            f"alpha too small will result in numeric errors, setting alpha = {LEAST_ALPHA:.1e}. Use `force_alpha=True` to keep "
            "alpha unchanged.",
            stacklevel=4,
        )
        return np.maximum(alpha, LEAST_ALPHA)

    def _given_priors(self) -> np.ndarray | None:
        n_classes = len(self.classes_)
        if self.class_prior is None:
            return None if self.fit_prior else np.full(n_classes, 1 / n_classes)
        if len(self.class_prior) != n_classes:
            raise ValueError("Number of priors must match number of classes.")
        return np.asarray(self.class_prior, np.float64)

    def _counted(self):
        return naive_bayes.Multinomial()

    def _add(self, seen):
        if seen.negative < 0:
            raise ValueError(f"Negative values in data passed to {type(self).__name__} (input X).")
        super()._add(seen)

    def _adopt(self):
        with jax.enable_x64(True):
            found = jax.device_get(_logarithms(self._model(), self._seen))
        self.class_log_prior_, self.feature_log_prob_ = found
        self.class_count_, self.feature_count_ = self._seen.weight, self._seen.counts

    def _joint(self, X, dtype):
        # one product with few columns, for which BLAS is quicker than a program; of sparse rows in double precision: SciPy adds
        # the words of a text one by one, which costs single precision digits
        wide = np.dtype(np.float64) if scipy.sparse.issparse(X) else dtype
        coef, intercept = (np.asarray(leaf, wide) for leaf in self._fitted(np.dtype(np.float64)).linear())
        return (X @ coef.T + intercept).astype(dtype, copy=False)

    def _fitted(self, dtype):
        return naive_bayes.FittedCounts(self.class_log_prior_.astype(dtype), self.feature_log_prob_.astype(dtype))


class MultinomialNB(DiscreteNB):
    """Naive Bayes of counts, as of words in texts.

    *Maximises* ``Σ w_i log p(x_i, y_i)`` for multinomial rows, each count raised by alpha, in one pass.

    Parameters
    ----------
    alpha : float or array-like of shape (n_features,), default=1.0
        Added to each count of a class.
    force_alpha : bool, default=True
        Without it an alpha below 1e-10 is raised to that.
    fit_prior : bool, default=True
        Whether the probabilities of the classes are their shares of the weight; else they are alike.
    class_prior : array-like of shape (n_classes,), optional
        Probabilities of the classes.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    class_count_ : ndarray of shape (n_classes,)
        Weight of the rows of each class.
    feature_count_ : ndarray of shape (n_classes, n_features)
        Weighted sums of the rows of each class.
    class_log_prior_ : ndarray of shape (n_classes,)
    feature_log_prob_ : ndarray of shape (n_classes, n_features)
    n_features_in_, feature_names_in_
        As in scikit-learn.

    References
    ----------
    Manning, Raghavan and Schütze, "Introduction to information retrieval", 2008, chapter 13.

    Examples
    --------
    >>> from jaxlearn.naive_bayes import MultinomialNB
    >>> model = MultinomialNB().fit([[3, 0, 1], [2, 1, 0], [0, 4, 1]], ["sea", "sea", "land"])
    >>> model.predict([[1, 0, 0], [0, 1, 1]])
    array(['sea', 'land'], dtype='<U4')
    """

    def __init__(self, *, alpha=1.0, force_alpha=True, fit_prior=True, class_prior=None):
        self.alpha = alpha
        self.force_alpha = force_alpha
        self.fit_prior = fit_prior
        self.class_prior = class_prior

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags

    def _model(self):
        return naive_bayes.Multinomial(self._check_alpha(), self._given_priors())


class ComplementNB(MultinomialNB):
    """Naive Bayes of counts, by what the other classes have: of use where classes are of different sizes.

    Parameters
    ----------
    alpha, force_alpha
        As of `MultinomialNB`.
    fit_prior, class_prior
        Of use only where there is a single class.
    norm : bool, default=False
        Divide the weights of each class by their sum.

    Attributes
    ----------
    classes_, class_count_, feature_count_, class_log_prior_
        As of `MultinomialNB`.
    feature_all_ : ndarray of shape (n_features,)
        Weighted sums of all rows.
    feature_log_prob_ : ndarray of shape (n_classes, n_features)
        Weights of the features.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    References
    ----------
    Rennie, Shih, Teevan and Karger, "Tackling the poor assumptions of naive Bayes text classifiers", ICML 2003.

    Examples
    --------
    >>> from jaxlearn.naive_bayes import ComplementNB
    >>> model = ComplementNB().fit([[3, 0, 1], [2, 1, 0], [0, 4, 1]], ["sea", "sea", "land"])
    >>> model.predict([[1, 0, 0], [0, 1, 1]])
    array(['sea', 'land'], dtype='<U4')
    """

    _parameter_constraints: dict = {**DiscreteNB._parameter_constraints, "norm": ["boolean"]}

    def __init__(self, *, alpha=1.0, force_alpha=True, fit_prior=True, class_prior=None, norm=False):
        super().__init__(alpha=alpha, force_alpha=force_alpha, fit_prior=fit_prior, class_prior=class_prior)
        self.norm = norm

    def _model(self):
        return naive_bayes.Complement(self._check_alpha(), self._given_priors(), self.norm)

    def _adopt(self):
        super()._adopt()
        self.feature_all_ = self.feature_count_.sum(axis=0)

    def _fitted(self, dtype):
        return naive_bayes.FittedComplement(self.class_log_prior_.astype(dtype), self.feature_log_prob_.astype(dtype))


class BernoulliNB(DiscreteNB):
    """Naive Bayes of features that are there or not.

    *Maximises* ``Σ w_i log p(x_i, y_i)`` for binary rows, the count of either outcome raised by alpha, in one pass.

    Parameters
    ----------
    alpha, force_alpha, fit_prior, class_prior
        As of `MultinomialNB`.
    binarize : float or None, default=0.0
        Larger numbers count as there; None takes X as zeros and ones.

    Attributes
    ----------
    classes_, class_count_, feature_count_, class_log_prior_
        As of `MultinomialNB`.
    feature_log_prob_ : ndarray of shape (n_classes, n_features)
        Logarithms of the probabilities that a feature is there.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    References
    ----------
    McCallum and Nigam, "A comparison of event models for naive Bayes text classification", 1998.

    Examples
    --------
    >>> from jaxlearn.naive_bayes import BernoulliNB
    >>> model = BernoulliNB().fit([[1, 0, 1], [1, 0, 0], [0, 1, 1]], ["sea", "sea", "land"])
    >>> model.predict([[1, 0, 0], [0, 1, 1]])
    array(['sea', 'land'], dtype='<U4')
    """

    sums_tell = False

    _parameter_constraints: dict = {**DiscreteNB._parameter_constraints, "binarize": [None, NON_NEGATIVE]}

    def __init__(self, *, alpha=1.0, force_alpha=True, binarize=0.0, fit_prior=True, class_prior=None):
        self.alpha = alpha
        self.force_alpha = force_alpha
        self.binarize = binarize
        self.fit_prior = fit_prior
        self.class_prior = class_prior

    def _counted(self):
        return naive_bayes.Bernoulli(binarize=self._threshold())

    def _model(self):
        return naive_bayes.Bernoulli(self._check_alpha(), self._given_priors(), self._threshold())

    def _threshold(self) -> np.ndarray | None:
        return None if self.binarize is None else number(self.binarize, np.float64)

    def _fitted(self, dtype):
        there = self.feature_log_prob_.astype(dtype)
        with np.errstate(divide="ignore"):  # of what all rows of a class have, without smoothing
            absent = np.log(-np.expm1(self.feature_log_prob_)).astype(dtype)
        return naive_bayes.FittedBernoulli(self.class_log_prior_.astype(dtype), there, absent, self._threshold())

    def _joint(self, X, dtype):
        if self.binarize is None:
            return super()._joint(X, dtype)
        if scipy.sparse.issparse(X):
            return super()._joint(binarize(X, threshold=self.binarize), dtype)
        return NaiveBayes._joint(self, X, dtype)


@jax.jit
def _logarithms(model: naive_bayes.Model, seen: naive_bayes.Statistics) -> tuple[Any, Any]:
    found: Any = naive_bayes.fitted(model, seen)
    return found.class_log_prior, found.feature_log_prob
