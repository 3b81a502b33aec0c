"""Truncated singular value decomposition, of data as it is: nothing is centred."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal

import jax
import numpy as np
import scipy.sparse
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval
from sklearn.utils.sparsefuncs import mean_variance_axis
from sklearn.utils.validation import check_is_fitted

from jaxlearn.linalg import randomized
from jaxlearn.models import pca
from jaxlearn.solvers.solution import CONVERGED, MAX_STEPS, NONFINITE

from .base import number, seed, warn_unless_converged
from .components import NORMALIZER, Components, project, warn_of_qr
from .constraints import COUNT, NON_NEGATIVE, ONE_OF
from .pca import TOL, fit_components
from .rows import read_rows

__all__ = ["TruncatedSVD", "randomized_range_finder", "randomized_svd"]


class TruncatedSVD(Components):
    """Leading singular vectors: of term counts, latent semantic analysis.

    Parameters
    ----------
    n_components : int, default=2
        How many.
    algorithm : {"randomized", "arpack", "krylov"}, default="randomized"
        ``randomized``: subspace iteration, `n_iter` times. ``krylov``: block Lanczos until `tol` is reached, which reads
        the data less often for the same accuracy. ``arpack``: the same to the precision of the dtype, or `tol`.
    n_iter : int, default=5
        Power iterations of ``randomized``.
    n_oversamples : int, default=10
        More columns than components in ``randomized``.
    power_iteration_normalizer : {"auto", "QR", "LU", "none"}, default="auto"
        Blocks are always orthonormalised by QR; with "LU" and "none" a warning says so.
    random_state : int, RandomState instance or None, default=None
        Seed of the random start.
    tol : float, default=0.0
        As for `PCA`: largest estimated error of a squared singular value, in units of the first that is left out.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Right singular vectors.
    explained_variance_, explained_variance_ratio_ : ndarray of shape (n_components,)
        Of the projected rows, around their mean.
    singular_values_ : ndarray of shape (n_components,)
        Falling.
    n_iter_, n_passes_, certificate_, converged_, n_features_in_, feature_names_in_
        As for `PCA`.

    Examples
    --------
    >>> import scipy.sparse
    >>> from jaxlearn.decomposition import TruncatedSVD
    >>> X = scipy.sparse.random_array((100, 40), density=0.1, rng=0)
    >>> TruncatedSVD(n_components=5, random_state=0).fit_transform(X).shape
    (100, 5)
    """

    _parameter_constraints: dict = {
        "n_components": [COUNT],
        "algorithm": [ONE_OF("randomized", "arpack", "krylov")],
        "n_iter": [Interval(Integral, 0, None, closed="left")],
        "n_oversamples": [COUNT],
        "power_iteration_normalizer": [NORMALIZER],
        "random_state": ["random_state"],
        "tol": [NON_NEGATIVE],
    }

    def __init__(
        self,
        n_components=2,
        *,
        algorithm="randomized",
        n_iter=5,
        n_oversamples=10,
        power_iteration_normalizer="auto",
        random_state=None,
        tol=0.0,
    ):
        self.n_components = n_components
        self.algorithm = algorithm
        self.n_iter = n_iter
        self.n_oversamples = n_oversamples
        self.power_iteration_normalizer = power_iteration_normalizer
        self.random_state = random_state
        self.tol = tol

    def fit(self, X, y=None):
        """Find the singular vectors.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        self : object
        """
        self.fit_transform(X)
        return self

    def fit_transform(self, X, y=None):
        """Find the singular vectors, and project the rows on them.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_components)
        """
        self._validate_params()
        X = read_rows(self, X)
        if X.shape[1] < 2:
            raise ValueError(
                f"Found array with {X.shape[1]} feature(s) (shape={X.shape}) while a minimum of 2 is required by "
                "TruncatedSVD."
            )
        most = X.shape[1] - (self.algorithm == "arpack")
        if self.n_components > most:
            raise ValueError(f"n_components({self.n_components}) must be <= n_features({most}).")
        fitted = self._solve(X)
        if fitted.status == NONFINITE:
            raise ValueError("Input X contains NaN, infinity or a value too large for its dtype.")
        dtype = np.dtype(X.dtype)
        self.components_ = np.array(fitted.components)
        self.singular_values_ = np.sqrt(np.float64(fitted.explained_variance) * X.shape[0]).astype(dtype)
        self.n_iter_, self.n_passes_ = int(fitted.n_steps), int(fitted.n_passes)
        self.certificate_, self.converged_ = float(fitted.residual), bool(fitted.status == CONVERGED)
        Z = project(X, None, self.components_)
        self.explained_variance_ = np.asarray(Z.var(0))
        total = _variance(X, fitted)
        self.explained_variance_ratio_ = self.explained_variance_ / (total if total > 0 else 1)
        if self.algorithm != "randomized" or self.tol > 0 or fitted.status != MAX_STEPS:
            tol = self._tol(dtype)
            warn_unless_converged(self, fitted.status, fitted.residual, fitted.certificate, tol, fitted.n_steps, dtype)
        return Z

    def transform(self, X):
        """Project rows on the singular vectors.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_components)
        """
        check_is_fitted(self)
        return project(read_rows(self, X, reset=False), None, self.components_)

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
        return (X if isinstance(X, jax.Array) else check_array(X)) @ self.components_

    def _tol(self, dtype: np.dtype) -> float:
        if self.tol > 0 or self.algorithm == "randomized":
            return self.tol
        return float(np.finfo(dtype).eps) ** 1.5 if self.algorithm == "arpack" else TOL

    def _solve(self, X: Any) -> pca.FittedPCA:
        dtype, k = np.dtype(X.dtype), self.n_components
        tol = number(self._tol(dtype), dtype)
        if self.algorithm == "randomized":
            warn_of_qr(self.power_iteration_normalizer)
            size = min(k + self.n_oversamples, X.shape[1])
            model = pca.PCA(k, "randomized", center=False, block_size=size, max_steps=self.n_iter + 2, tol=tol)
        else:
            model = pca.PCA(k, "krylov", center=False, tol=tol)
        return fit_components(model, X, None, self.random_state)[0]


def _variance(X: Any, fitted: pca.FittedPCA) -> float:
    """Of all features, around their means."""
    if scipy.sparse.issparse(X):
        return float(mean_variance_axis(X, axis=0)[1].sum())  # pyright: ignore
    mean = X.mean(0) if not hasattr(X, "reader") else X.rmatvec(np.ones(X.shape[0], X.dtype)) / X.shape[0]
    return float(fitted.total_variance) - float((mean * mean).sum())


def randomized_svd(
    M: Any,
    n_components: int,
    *,
    n_oversamples: int = 10,
    n_iter: int | Literal["auto"] = "auto",
    flip_sign: bool = True,
    random_state: Any = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truncated singular value decomposition by subspace iteration.

    Parameters
    ----------
    M : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)
    n_components : int
        k.
    n_oversamples : int, default=10
        More columns than k.
    n_iter : int or "auto", default="auto"
        Power iterations: 7 for less than a tenth of all components, else 4.
    flip_sign : bool, default=True
        Make the largest entry of each left vector positive.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    U : (n_samples, k), s : (k,), Vt : (k, n_features)

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.decomposition import randomized_svd
    >>> U, s, Vt = randomized_svd(np.array([[1.0, 2, 3, 5], [3, 4, 5, 6], [7, 8, 9, 10]]), 2, random_state=0)
    >>> U.shape, s.shape, Vt.shape
    ((3, 2), (2,), (2, 4))
    """
    model = TruncatedSVD(n_components, n_oversamples=n_oversamples, random_state=random_state)
    X = read_rows(model, M)
    least = min(X.shape)
    if not 1 <= n_components <= least:
        raise ValueError(f"n_components={n_components} must be between 1 and min(n_samples, n_features)={least}.")
    model.n_iter = (7 if n_components < 0.1 * least else 4) if n_iter == "auto" else n_iter
    fitted = model._solve(X)
    s = np.sqrt(np.float64(fitted.explained_variance) * X.shape[0]).astype(X.dtype)
    Vt = np.asarray(fitted.components)
    U = np.asarray(project(X, None, Vt)) / np.where(s > 0, s, 1)
    if flip_sign:
        signs = np.sign(U[np.abs(U).argmax(0), np.arange(U.shape[1])])
        U, Vt = U * np.where(signs < 0, -1, 1), Vt * np.where(signs < 0, -1, 1)[:, None]
    return U, s, Vt


def randomized_range_finder(A: Any, *, size: int, n_iter: int, random_state: Any = None) -> np.ndarray:
    """An orthonormal basis of most of the range of a dense matrix, by subspace iteration.

    Parameters
    ----------
    A : array-like of shape (n_samples, n_features)
    size : int
        Columns of the result.
    n_iter : int
        Power iterations.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    ndarray of shape (n_samples, size)

    References
    ----------
    Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 2011, algorithm 4.4.
    """
    A = check_array(A, dtype=[np.float64, np.float32])  # pyright: ignore
    with jax.enable_x64(A.dtype == np.float64):
        return jax.device_get(_range(A, seed(random_state), size, n_iter))


def _range_of(A: jax.Array, start: jax.Array, size: int, n_iter: int) -> jax.Array:
    return randomized.range_finder(A, size, n_iter=n_iter, key=jax.random.key(start))


_range = jax.jit(_range_of, static_argnums=(2, 3))
