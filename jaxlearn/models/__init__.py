"""Pure model definitions: ``fit(model, X, y) -> fitted`` and ``predict(fitted, X)``, for use under any transformation."""

from . import glm, pca, random_projection

__all__ = ["glm", "pca", "random_projection"]
