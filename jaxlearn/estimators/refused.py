"""Models of scikit-learn that are not here, refused by name, with what does their work."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["linear_model"]

_PATHS = "`Lasso`, `LassoCV` and `lasso_path` find its solutions, at the strengths that they are asked for"
_CODES = "`jaxlearn.decomposition.SparseCoder(transform_algorithm={!r})` takes its steps"
LINEAR_MODELS = {
    "Lars": _CODES.format("lars"),
    "LarsCV": _PATHS,
    "LassoLars": _PATHS,
    "LassoLarsCV": _PATHS,
    "LassoLarsIC": _PATHS,
    "OrthogonalMatchingPursuit": _CODES.format("omp"),
    "OrthogonalMatchingPursuitCV": _CODES.format("omp"),
    "lars_path": _PATHS,
    "orthogonal_mp": _CODES.format("omp"),
}


def linear_model(name: str) -> NoReturn:
    """The ``__getattr__`` of `jaxlearn.linear_model`: no other error lets ``hasattr`` say that a name is not there."""
    instead = f": {LINEAR_MODELS[name]}" if name in LINEAR_MODELS else ""
    raise AttributeError(f"module 'jaxlearn.linear_model' has no attribute {name!r}{instead}")
