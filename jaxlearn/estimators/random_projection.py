"""Random projections: a matrix drawn without a look at the data keeps distances."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any

import jax
import numpy as np
import scipy.sparse
from scipy import linalg
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import DataDimensionalityWarning
from sklearn.random_projection import johnson_lindenstrauss_min_dim
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import check_is_fitted

from jaxlearn.models import random_projection

from .base import seed
from .components import project
from .constraints import COUNT, ONE_OF, POSITIVE
from .rows import read_rows

__all__ = ["GaussianRandomProjection", "SparseRandomProjection", "johnson_lindenstrauss_min_dim"]


class _RandomProjection(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    n_components: Any
    eps: float
    compute_inverse_components: bool
    random_state: Any
    components_: Any

    _parameter_constraints: dict = {
        "n_components": [COUNT, ONE_OF("auto")],
        "eps": [POSITIVE],
        "compute_inverse_components": ["boolean"],
        "random_state": ["random_state"],
    }

    def _draw(self, n_components: int, n_features: int, dtype: Any) -> Any:
        raise NotImplementedError

    def fit(self, X, y=None):
        """Draw a matrix for rows like those of X, of which only the shape is looked at.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        self : object
        """
        self._validate_params()
        X = read_rows(self, X)
        n_samples, n_features = X.shape
        if self.n_components == "auto":
            self.n_components_ = int(johnson_lindenstrauss_min_dim(n_samples=n_samples, eps=self.eps))
            if self.n_components_ <= 0:
                raise ValueError(
                    f"eps={self.eps:f} and n_samples={n_samples} lead to a target dimension of {self.n_components_} "
                    "which is invalid"
                )
            if self.n_components_ > n_features:
                raise ValueError(
                    f"eps={self.eps:f} and n_samples={n_samples} lead to a target dimension of {self.n_components_} "
                    f"which is larger than the original space with n_features={n_features}"
                )
        else:
            if self.n_components > n_features:
                warnings.warn(
                    f"The number of components is higher than the number of features: n_features < n_components "
                    f"({n_features} < {self.n_components}). The dimensionality of the problem will not be reduced.",
                    DataDimensionalityWarning,
                    stacklevel=2,
                )
            self.n_components_ = self.n_components
        dtype = np.dtype(X.dtype)
        with jax.enable_x64(dtype == np.float64):
            self.components_ = self._draw(self.n_components_, n_features, dtype)
        if self.compute_inverse_components:
            self.inverse_components_ = self._pseudo_inverse()
        return self

    def transform(self, X):
        """Project rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, sparse matrix or jax.Array of shape (n_samples, n_components)
        """
        check_is_fitted(self)
        return self._project(read_rows(self, X, reset=False))

    def _project(self, X: Any) -> Any:
        components = self.components_
        if isinstance(X, np.ndarray):
            return safe_sparse_dot(X, components.T, dense_output=True)
        dense = components.toarray() if scipy.sparse.issparse(components) else components
        return project(X, None, dense)

    def inverse_transform(self, X):
        """Rows that have these coordinates, by the pseudo-inverse of the matrix.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_components)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        X = check_array(X, dtype=[np.float64, np.float32], accept_sparse=("csr", "csc"))  # pyright: ignore
        inverse = self.inverse_components_ if self.compute_inverse_components else self._pseudo_inverse()
        return X @ inverse.T

    def _pseudo_inverse(self) -> np.ndarray:
        components = self.components_
        dense = components.toarray() if scipy.sparse.issparse(components) else components
        return linalg.pinv(dense, check_finite=False)  # pyright: ignore

    @property
    def _n_features_out(self):
        return self.n_components_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.input_tags.sparse = True
        return tags


class GaussianRandomProjection(_RandomProjection):
    """Projection by a matrix of independent normal numbers.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        How many; by default enough to keep distances up to a factor 1 ± `eps`.
    eps : float, default=0.1
        Distortion of distances that ``"auto"`` allows.
    compute_inverse_components : bool, default=False
        Compute the pseudo-inverse in `fit`.
    random_state : int, RandomState instance or None, default=None
        Seed of the matrix.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
    inverse_components_ : ndarray of shape (n_features, n_components)
        With `compute_inverse_components`.
    n_components_, n_features_in_, feature_names_in_
        As in scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.random_projection import GaussianRandomProjection
    >>> GaussianRandomProjection(random_state=0).fit_transform(np.ones((25, 3000))).shape
    (25, 2759)
    """

    def __init__(self, n_components="auto", *, eps=0.1, compute_inverse_components=False, random_state=None):
        self.n_components = n_components
        self.eps = eps
        self.compute_inverse_components = compute_inverse_components
        self.random_state = random_state

    def _draw(self, n_components, n_features, dtype):
        key = jax.random.key(seed(self.random_state))
        return jax.device_get(random_projection.gaussian(key, n_components, n_features, dtype))


class SparseRandomProjection(_RandomProjection):
    """Projection by a sparse matrix of random signs.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        As for `GaussianRandomProjection`.
    density : float or "auto", default="auto"
        Share of entries that are not zero; ``1 / √n_features`` by default.
    eps : float, default=0.1
        As for `GaussianRandomProjection`.
    dense_output : bool, default=False
        Give dense rows for sparse ones.
    compute_inverse_components : bool, default=False
        Compute the pseudo-inverse in `fit`.
    random_state : int, RandomState instance or None, default=None
        Seed of the matrix.

    Attributes
    ----------
    components_ : CSR matrix of shape (n_components, n_features)
    density_ : float
    inverse_components_, n_components_, n_features_in_, feature_names_in_
        As for `GaussianRandomProjection`.

    References
    ----------
    Li, Hastie and Church, "Very sparse random projections", KDD 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.random_projection import SparseRandomProjection
    >>> model = SparseRandomProjection(random_state=0).fit(np.ones((25, 3000)))
    >>> model.components_.shape, round(float(model.density_), 4)
    ((2759, 3000), 0.0183)
    """

    density: Any

    _parameter_constraints: dict = {
        **_RandomProjection._parameter_constraints,
        "density": [Interval(Real, 0.0, 1.0, closed="right"), ONE_OF("auto")],
        "dense_output": ["boolean"],
    }

    def __init__(
        self,
        n_components="auto",
        *,
        density="auto",
        eps=0.1,
        dense_output=False,
        compute_inverse_components=False,
        random_state=None,
    ):
        self.n_components = n_components
        self.density = density
        self.eps = eps
        self.dense_output = dense_output
        self.compute_inverse_components = compute_inverse_components
        self.random_state = random_state

    def _draw(self, n_components, n_features, dtype):
        self.density_ = 1 / np.sqrt(n_features) if self.density == "auto" else self.density
        rng = np.random.default_rng(int(seed(self.random_state)))
        # row by row, so that nothing dense is made: a binomial number of columns, and a sign for each
        counts = rng.binomial(n_features, self.density_, n_components)
        columns = [np.sort(rng.choice(n_features, count, replace=False)) for count in counts]
        signs = rng.choice(np.asarray([-1, 1], dtype), counts.sum())
        data = signs * dtype.type(np.sqrt(1 / (self.density_ * n_components)))
        places = np.concatenate(columns) if columns else np.zeros(0, int)
        matrix = (data, places, np.concatenate([[0], np.cumsum(counts)]))
        return scipy.sparse.csr_matrix(matrix, shape=(n_components, n_features))

    def _project(self, X):
        if scipy.sparse.issparse(X):
            return safe_sparse_dot(X, self.components_.T, dense_output=self.dense_output)
        return super()._project(X)
