"""Naive Bayes with normal features."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import scipy.sparse

from jaxlearn.models import naive_bayes

from .base import number
from .constraints import NON_NEGATIVE
from .naive_bayes import NaiveBayes, fitted

__all__ = ["GaussianNB"]


class GaussianNB(NaiveBayes):
    """Naive Bayes with a normal distribution of each feature in each class.

    *Maximises* ``Σ w_i log p(x_i, y_i)`` in one pass: the weight, the means and the variances of each class. What calls of
    `partial_fit`, and models that are merged, have seen gives what all rows together would have given, in any order.

    Parameters
    ----------
    priors : array-like of shape (n_classes,), optional
        Probabilities of the classes; by default their shares of the weight.
    var_smoothing : float, default=1e-9
        Share of the largest variance of a feature that is added to all variances.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    class_count_ : ndarray of shape (n_classes,)
        Weight of the rows of each class.
    class_prior_ : ndarray of shape (n_classes,)
    theta_, var_ : ndarray of shape (n_classes, n_features)
        Means and smoothed variances.
    epsilon_ : float
        What was added to the variances; of the largest variance of all rows that were seen, weighted.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    References
    ----------
    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from jaxlearn.naive_bayes import GaussianNB
    >>> X, y = load_iris(return_X_y=True)
    >>> round(GaussianNB().fit(X, y).score(X, y), 2)
    0.96
    """

    _parameter_constraints: dict = {"priors": ["array-like", None], "var_smoothing": [NON_NEGATIVE]}

    def __init__(self, *, priors=None, var_smoothing=1e-9):
        self.priors: Any = priors
        self.var_smoothing = var_smoothing

    def _check(self, X):
        if scipy.sparse.issparse(X):
            raise TypeError(
                "Sparse data was passed for X, but dense data is required. Use '.toarray()' to convert to a dense numpy array."
            )
        return X

    def _check_parameters(self):
        self._given_priors()

    def _counted(self):
        return naive_bayes.Gaussian()

    def _model(self):
        return naive_bayes.Gaussian(number(self.var_smoothing, np.float64), self._given_priors())

    def _given_priors(self) -> np.ndarray | None:
        if self.priors is None:
            return None
        priors = np.asarray(self.priors, np.float64)
        if len(priors) != len(self.classes_):
            raise ValueError("Number of priors must match number of classes.")
        if not np.isclose(priors.sum(), 1.0):
            raise ValueError("The sum of the priors should be 1.")
        if (priors < 0).any():
            raise ValueError("Priors must be non-negative.")
        return priors

    def _adopt(self):
        with jax.enable_x64(True):
            found = jax.device_get(fitted(self._model(), self._seen))
        weight = np.asarray(self._seen.weight)
        priors = self._given_priors()
        self.class_count_ = weight.astype(self._dtype)
        self.class_prior_ = (weight / weight.sum() if priors is None else priors).astype(self._dtype)
        self.theta_, self.var_ = found.mean.astype(self._dtype), found.var.astype(self._dtype)
        self.epsilon_ = float(found.epsilon)

    def _fitted(self, dtype):
        with np.errstate(divide="ignore"):  # of a class without weight
            prior: Any = np.log(self.class_prior_.astype(dtype))
        epsilon: Any = number(self.epsilon_, dtype)
        return naive_bayes.FittedGaussian(prior, self.theta_.astype(dtype), self.var_.astype(dtype), epsilon)
