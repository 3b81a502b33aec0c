"""Pure model definitions: ``fit(model, X, y) -> fitted`` and ``predict(fitted, X)``, for use under any transformation."""

from . import glm, matrix_completion, matrix_factorization, nmf, online_nmf, pca, random_projection

__all__ = ["glm", "matrix_completion", "matrix_factorization", "nmf", "online_nmf", "pca", "random_projection"]
