"""What estimators with ``components_`` share: projection, reconstruction, and the Gaussian model of PCA."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import lax
from scipy import linalg
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from jaxlearn.access.streamed import Streamed

from .constraints import ONE_OF
from .rows import read_rows

__all__ = ["NORMALIZER", "Components", "GaussianComponents", "project", "warn_of_qr"]

NORMALIZER = ONE_OF("auto", "QR", "LU", "none")


def warn_of_qr(normalizer: str) -> None:
    """Say what takes the place of a normaliser that trades digits for speed."""
    if normalizer in ("LU", "none"):
        warnings.warn(
            f"power_iteration_normalizer={normalizer!r} is taken as 'QR', which is more accurate.",
            UserWarning,
            stacklevel=4,
        )


class Components(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A transformer with ``components_``, of dense rows and of sparse ones."""

    components_: Any

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.input_tags.sparse = True
        return tags

    @property
    def _n_features_out(self):
        return len(self.components_)


class GaussianComponents(Components):
    """Principal components, and the Gaussian whose covariance they and a noise variance make."""

    whiten: bool
    mean_: Any
    explained_variance_: Any
    noise_variance_: Any
    n_components_: int

    def transform(self, X):
        """Project rows on the components.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_components)
        """
        check_is_fitted(self)
        X = read_rows(self, X, reset=False)
        Z = project(X, self.mean_, self.components_)
        return Z / self._scale(Z.dtype)[None] if self.whiten else Z

    def inverse_transform(self, X):
        """Rows that have these coordinates.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        X = X if isinstance(X, jax.Array) else np.asarray(X)
        Z = X * self._scale(self.components_.dtype)[None] if self.whiten else X
        return Z @ self.components_ + self.mean_[None]

    def _scale(self, dtype: Any) -> np.ndarray:
        """Standard deviations along the components; what lies below rounding is not blown up."""
        return np.maximum(np.sqrt(self.explained_variance_), np.finfo(self.explained_variance_.dtype).eps).astype(dtype)

    def get_covariance(self):
        """Covariance of the Gaussian model: ``Vᵀ diag(λ − σ²) V + σ² I``.

        Returns
        -------
        ndarray of shape (n_features, n_features)

        References
        ----------
        Tipping and Bishop, "Mixtures of probabilistic principal component analysers", 1999.
        """
        check_is_fitted(self)
        excess = np.maximum(self.explained_variance_ - self.noise_variance_, 0)
        V = self.components_
        covariance = (V.T * excess) @ V
        covariance.flat[:: len(covariance) + 1] += self.noise_variance_
        return covariance

    def get_precision(self):
        """Inverse of the covariance of the Gaussian model, by a matrix of the size of the components.

        Returns
        -------
        ndarray of shape (n_features, n_features)
        """
        check_is_fitted(self)
        n_features = self.components_.shape[1]
        if self.n_components_ == 0:
            return np.eye(n_features) / self.noise_variance_
        if np.isclose(self.noise_variance_, 0.0, atol=0.0):
            return linalg.inv(self.get_covariance())
        V, noise = self.components_, self.noise_variance_
        excess = np.maximum(self.explained_variance_ - noise, 0)
        # (σ² I + Vᵀ D V)⁻¹ = I/σ² − Vᵀ diag(D / (D + σ²)) V / σ², since the rows of V are orthonormal
        precision = -(V.T * (excess / (excess + noise))) @ V / noise
        precision.flat[:: n_features + 1] += 1 / noise
        return precision


def project(X: Any, mean: np.ndarray | None, components: np.ndarray) -> Any:
    """``(X − mean) componentsᵀ`` where X lies; of a stream, block by block."""
    if scipy.sparse.issparse(X):
        Z = X @ components.T
        return Z if mean is None else Z - (mean @ components.T)[None]
    if isinstance(X, np.ndarray):
        return (X if mean is None else X - mean) @ components.T
    mean = np.zeros(components.shape[1], X.dtype) if mean is None else mean
    if isinstance(X, Streamed):
        with jax.enable_x64(X.dtype == np.float64):
            return jax.device_get(X.shifted(jnp.asarray(mean, X.dtype)).matvec(jnp.asarray(components.T, X.dtype)))
    with jax.enable_x64(X.dtype == np.float64):
        return _project(X, np.asarray(mean, X.dtype), np.asarray(components, X.dtype))


@jax.jit
def _project(X: jax.Array, mean: jax.Array, components: jax.Array) -> jax.Array:
    return jnp.matmul(X - mean[None], components.T, precision=lax.Precision.HIGHEST)
