"""Naive Bayes classifiers, under the names of scikit-learn."""

from .estimators.categorical_nb import CategoricalNB
from .estimators.discrete_nb import BernoulliNB, ComplementNB, MultinomialNB
from .estimators.gaussian_nb import GaussianNB

__all__ = ["BernoulliNB", "CategoricalNB", "ComplementNB", "GaussianNB", "MultinomialNB"]
