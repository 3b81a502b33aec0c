"""Pure model definitions: ``fit(model, X, y) -> fitted`` and ``predict(fitted, X)``, for use under any transformation."""

from . import glm

__all__ = ["glm"]
