"""The stateful face: scikit-learn's estimators over the pure functions of ``jaxlearn.models``."""

__all__ = []
