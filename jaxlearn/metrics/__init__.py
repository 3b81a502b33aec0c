"""Metrics, under the names of scikit-learn."""

from . import pairwise

__all__ = ["pairwise"]
