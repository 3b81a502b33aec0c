"""Ranges of parameters, as scikit-learn declares and checks them."""

from __future__ import annotations

from numbers import Integral, Real

from sklearn.utils._param_validation import Interval, StrOptions

__all__ = ["COUNT", "LINEAR", "NON_NEGATIVE", "ONE_OF", "POSITIVE", "SHARE", "SPARSE", "SPARSE_CV"]

COUNT = Interval(Integral, 1, None, closed="left")
NON_NEGATIVE = Interval(Real, 0, None, closed="left")
POSITIVE = Interval(Real, 0, None, closed="neither")
SHARE = Interval(Real, 0, 1, closed="both")


def ONE_OF(*options: str) -> StrOptions:
    """One of some strings."""
    return StrOptions(set(options))


LINEAR: dict = {"fit_intercept": ["boolean"], "copy_X": ["boolean"], "tol": [NON_NEGATIVE], "positive": ["boolean"]}
SPARSE: dict = {
    **LINEAR,
    "precompute": ["boolean", "array-like"],
    "max_iter": [COUNT, None],
    "random_state": ["random_state"],
    "selection": [ONE_OF("cyclic", "random")],
}
SPARSE_CV: dict = {
    **SPARSE,
    "eps": [POSITIVE],
    "alphas": [COUNT, "array-like"],
    "precompute": [ONE_OF("auto"), "array-like", "boolean"],
    "max_iter": [COUNT],
    "cv": ["cv_object"],
    "verbose": ["verbose"],
    "n_jobs": [Integral, None],
}
