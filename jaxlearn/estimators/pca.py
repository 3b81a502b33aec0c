"""Principal component analysis."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from numbers import Integral, Real
from typing import Any

import jax
import numpy as np
import scipy.sparse
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from jaxlearn.access.streamed import Streamed
from jaxlearn.models import pca
from jaxlearn.models._pca_routes import BLOCK_SIZE
from jaxlearn.solvers.solution import CONVERGED, MAX_STEPS, NONFINITE, UNSHUFFLED

from .base import compute, number, one_blas_thread, seed, warn_unless_converged
from .components import NORMALIZER, GaussianComponents, warn_of_qr
from .constraints import NON_NEGATIVE, ONE_OF
from .inputs import check_sample_weight, near
from .pca_choice import choose_solver, count_components, infer_dimension
from .rows import Task, place_rows, read_rows

__all__ = ["PCA", "fit_components"]

# What a solver's tolerance is where none is given: largest error of an eigenvalue, in units of the first left out.
TOL = 1e-3
# Components that a share of the variance is first looked for among.
FIRST_RANK = 128
TRUNCATED = ("arpack", "krylov", "randomized", "onepass")


class PCA(GaussianComponents):
    """Principal component analysis of data in memory, sparse, on several devices, or larger than memory.

    Finds orthonormal directions ``components_`` that keep most of the variance of the centred data.

    Parameters
    ----------
    n_components : int, float or "mle", default=None
        How many; a share of the variance between 0 and 1; or estimated by Minka's method. By default all.
    copy : bool, default=True
        Without meaning: X is never written to.
    whiten : bool, default=False
        Scale the projections to unit variance.
    svd_solver : str, default="auto"
        ``auto`` : chosen from shape, place and `n_components` by the arithmetic that each solver takes;
        ``svd_solver_`` says which.

        ``full`` : singular vectors of a QR factor of the rows, one pass.

        ``covariance_eigh`` : eigenvectors of the covariance, summed in double precision whatever the dtype, one pass.

        ``krylov`` : block Lanczos, until every eigenvalue is accurate to `tol`; dense, sparse, streamed, sharded.

        ``arpack`` : the same, to the precision of the dtype unless `tol` is given.

        ``randomized`` : subspace iteration with `n_oversamples` and `iterated_power`, in the memory of one block.

        ``onepass`` : the singular vectors of each block of rows (of a stream, of a shard), weighted by their singular
        values, merged. Each row is read once; blocks that differ by more than chance are detected, and a second look
        is taken where the rows can be read again.
    tol : float, default=0.0
        ``krylov``, ``arpack``, ``randomized``: largest estimated error of an eigenvalue, in units of the first one that
        is left out. Zero is 1e-3 for ``krylov``, the precision of the dtype for ``arpack``, and no tolerance for
        ``randomized``.
    iterated_power : int or "auto", default="auto"
        Power iterations of ``randomized``: 7 for less than a tenth of all components, else 4.
    n_oversamples : int, default=10
        More columns than components in ``randomized``.
    power_iteration_normalizer : {"auto", "QR", "LU", "none"}, default="auto"
        Blocks are always orthonormalised by QR; with "LU" and "none" a warning says so.
    random_state : int, RandomState instance or None, default=None
        Seed of the random start of ``krylov``, ``arpack``, ``randomized`` and ``onepass``.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        By falling variance; the largest entry of each is positive.
    explained_variance_, explained_variance_ratio_ : ndarray of shape (n_components,)
        Variance along the components, and its share of the whole.
    singular_values_ : ndarray of shape (n_components,)
        Of the centred data.
    mean_ : ndarray of shape (n_features,)
        Of the features.
    noise_variance_ : float
        Mean variance along the directions that are left out.
    n_components_, n_samples_, n_features_in_, feature_names_in_
        As in scikit-learn.
    svd_solver_ : str
        The solver that was used.
    n_iter_ : int
        Products with all rows.
    n_passes_ : int
        Readings of all rows, those for the mean included.
    bytes_read_ : int
        As they are stored.
    certificate_ : float
        Of an iterative solver, the estimated error in the units of `tol`; of ``onepass``, how much more blocks differ than
        by chance.
    converged_ : bool
        Whether the certificate fell below its tolerance.

    Notes
    -----
    `fit` also takes `sample_weight`, a ``jax.Array`` that may be sharded by rows, a ``numpy.memmap``, and a
    ``jaxlearn.stream``.

    References
    ----------
    Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 2011. Musco and Musco, "Randomized block
    Krylov methods for stronger and faster approximate singular value decomposition", NeurIPS 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.decomposition import PCA
    >>> X = np.array([[-1, -1], [-2, -1], [-3, -2], [1, 1], [2, 1], [3, 2]])
    >>> PCA(n_components=2).fit(X).explained_variance_ratio_.round(4)
    array([0.9924, 0.0076])
    """

    iterated_power: Any

    _parameter_constraints: dict = {
        "n_components": [
            Interval(Integral, 0, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
            ONE_OF("mle"),
            None,
        ],
        "copy": ["boolean"],
        "whiten": ["boolean"],
        "svd_solver": [ONE_OF("auto", "full", "covariance_eigh", "arpack", "randomized", "krylov", "onepass")],
        "tol": [NON_NEGATIVE],
        "iterated_power": [ONE_OF("auto"), Interval(Integral, 0, None, closed="left")],
        "n_oversamples": [Interval(Integral, 1, None, closed="left")],
        "power_iteration_normalizer": [NORMALIZER],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components=None,
        *,
        copy=True,
        whiten=False,
        svd_solver="auto",
        tol=0.0,
        iterated_power="auto",
        n_oversamples=10,
        power_iteration_normalizer="auto",
        random_state=None,
    ):
        self.n_components = n_components
        self.copy = copy
        self.whiten = whiten
        self.svd_solver = svd_solver
        self.tol = tol
        self.iterated_power = iterated_power
        self.n_oversamples = n_oversamples
        self.power_iteration_normalizer = power_iteration_normalizer
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.svd_solver != "full"
        return tags

    def fit(self, X, y=None, sample_weight=None):
        """Find the components.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)
            float32 is computed in float32, everything else in float64.
        y : Ignored
            There is no target.
        sample_weight : float or array-like of shape (n_samples,), optional
            Weights that count, as if rows were repeated; zero is a row that is not there.

        Returns
        -------
        self : object
        """
        self._validate_params()
        self._fit(read_rows(self, X), sample_weight)
        return self

    def fit_transform(self, X, y=None):
        """Find the components, and project the same rows on them.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_components)
        """
        return self.fit(X).transform(X)

    def score_samples(self, X):
        """Log-likelihood of each row under the Gaussian model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)

        References
        ----------
        Bishop, "Pattern recognition and machine learning", 2006, section 12.2.1.
        """
        check_is_fitted(self)
        X = np.asarray(read_rows(self, X, sparse=False, reset=False))
        centred, precision = X - self.mean_, self.get_precision()
        energy = np.einsum("np,np->n", centred, centred @ precision)
        return -0.5 * (energy + len(precision) * np.log(2 * np.pi) - np.linalg.slogdet(precision)[1])

    def score(self, X, y=None):
        """Mean log-likelihood of rows under the Gaussian model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        float
        """
        return float(np.mean(self.score_samples(X)))

    def _fit(self, X: Any, sample_weight: Any) -> None:
        n_samples, p = _shape(X)
        if sample_weight is not None:  # weights count, as if rows were repeated
            sample_weight = check_sample_weight(sample_weight, X.shape[0], np.dtype(X.dtype))
            n_samples = round(float(sample_weight.sum(dtype=np.float64)))
        wanted, solver = count_components(self.n_components, self.svd_solver, (n_samples, p), scipy.sparse.issparse(X))
        solver = choose_solver(X, wanted) if solver == "auto" else solver
        least = p if n_samples is None else min(n_samples, p)
        fitted, n_rows, location = self._solve(X, sample_weight, (wanted, least), solver)
        n_samples = n_rows if n_samples is None else n_samples
        self._adopt(fitted, n_samples, location, wanted)
        self.svd_solver_ = solver
        self._count_reading(X, fitted)
        status = np.asarray(fitted.status)
        self.certificate_, self.converged_ = float(fitted.residual), bool(status == CONVERGED)
        if status != MAX_STEPS or solver != "randomized" or self.tol > 0:
            dtype = np.dtype(X.dtype)
            tol = 1.0 if status == UNSHUFFLED else self._tol(solver, dtype)
            warn_unless_converged(self, status, fitted.residual, fitted.certificate, tol, fitted.n_steps, dtype)

    def _tol(self, solver: str, dtype: np.dtype) -> float:
        if self.tol > 0 or solver == "randomized":
            return self.tol
        return float(np.finfo(dtype).eps) ** 1.5 if solver == "arpack" else TOL  # vectors err by roots

    def _solve(self, X: Any, sample_weight: Any, counts: tuple[Any, int], solver: str) -> tuple[Any, int, np.ndarray]:
        (wanted, least), shape, dtype = counts, _shape(X), np.dtype(X.dtype)
        tol = number(self._tol(solver, dtype), dtype)
        if solver in ("full", "covariance_eigh"):
            rank = least if isinstance(wanted, (str, float)) else max(int(wanted), 1)
            return fit_components(pca.PCA(rank, solver), X, sample_weight, self.random_state)
        if solver == "randomized":
            warn_of_qr(self.power_iteration_normalizer)
            n_iter = self.iterated_power
            n_iter = (7 if wanted < 0.1 * least else 4) if n_iter == "auto" else n_iter
            size = min(wanted + self.n_oversamples, shape[1])
            model = pca.PCA(wanted, solver, block_size=None if _streams(X) else size, max_steps=n_iter + 2, tol=tol)
            return fit_components(model, X, sample_weight, self.random_state)
        if solver == "onepass":
            return fit_components(pca.PCA(wanted, solver, tol=tol), X, sample_weight, self.random_state)
        share = number(wanted, dtype) if isinstance(wanted, float) else None
        if share is not None and shape[1] <= 4 * FIRST_RANK and not _streams(X):  # a basis of as many is no saving
            return fit_components(pca.PCA(least, "covariance_eigh"), X, sample_weight, self.random_state)
        rank = int(wanted) if share is None else min(FIRST_RANK, least)
        model = pca.PCA(rank, "krylov", tol=tol, explained=share)
        return self._grow(model, X, sample_weight)

    def _grow(self, model: pca.PCA, X: Any, sample_weight: Any) -> tuple[Any, int, np.ndarray]:
        """Lanczos with more room, as long as it runs out of it and there may be more."""
        p = _shape(X)[1]
        while True:
            found = fit_components(model, X, sample_weight, self.random_state)
            fitted = found[0]
            if fitted.status != MAX_STEPS or _streams(X):
                return found
            steps = 2 * int(fitted.n_steps)
            if model.explained is not None and model.n_components < p // 2:
                model = dataclasses.replace(model, n_components=2 * model.n_components)
            elif steps * (BLOCK_SIZE if model.n_components > BLOCK_SIZE // 2 else BLOCK_SIZE // 2) > p:
                return found
            else:
                model = dataclasses.replace(model, max_steps=steps)

    def _adopt(self, fitted: Any, n_samples: int, location: np.ndarray, wanted: Any) -> None:
        if fitted.status == NONFINITE:
            raise ValueError("Input X contains NaN, infinity or a value too large for its dtype.")
        dtype = np.dtype(fitted.components.dtype)
        n_features = fitted.components.shape[1]
        values, total = np.asarray(fitted.explained_variance, np.float64), float(fitted.total_variance)
        ratio = values / total if total > 0 else np.zeros_like(values)
        if wanted == "mle":
            k = infer_dimension(values, n_samples)
        elif isinstance(wanted, float):
            k = min(int(np.searchsorted(np.cumsum(ratio), wanted, side="right")) + 1, len(values))
        else:
            k = int(wanted)
        rest = min(n_samples, n_features) - k
        self.n_samples_, self.n_components_ = n_samples, k
        self.mean_ = (location.astype(np.float64) + fitted.mean).astype(dtype)
        self.components_ = np.array(fitted.components[:k])
        self.explained_variance_ = values[:k].astype(dtype)
        self.explained_variance_ratio_ = ratio[:k].astype(dtype)
        self.singular_values_ = np.sqrt(values[:k] * max(float(fitted.total_weight) - 1, 0)).astype(dtype)
        self.noise_variance_ = dtype.type(max(total - values[:k].sum(), 0) / rest) if rest > 0 else 0.0
        self.n_iter_ = int(fitted.n_steps)

    def _count_reading(self, X: Any, fitted: Any) -> None:
        self.n_passes_ = int(fitted.n_passes)
        if isinstance(X, Streamed):
            size = X.reader.source.dtype.itemsize * X.shape[0] * X.n_features
        else:
            size = X.data.nbytes + X.indices.nbytes if scipy.sparse.issparse(X) else X.nbytes
        self.bytes_read_ = self.n_passes_ * size


def _streams(X: Any) -> bool:
    return isinstance(X, Streamed)


def _shape(X: Any) -> tuple[int | None, int]:
    return (X.reader.n_samples, X.n_features) if isinstance(X, Streamed) else X.shape


def fit_components(
    model: pca.PCA, X: Any, sample_weight: Any, random_state: Any
) -> tuple[pca.FittedPCA, int, np.ndarray]:
    """Fit a configuration to validated rows, wherever they lie.

    Returns
    -------
    FittedPCA of NumPy arrays, number of samples, and the location that was subtracted from the rows before the fit.
    """
    double, start = model.solver == "covariance_eigh", seed(random_state)
    few_threads = one_blas_thread() if model.solver not in ("covariance_eigh", "full") else nullcontext()
    nowhere = np.zeros(_shape(X)[1], X.dtype)
    if isinstance(X, Streamed):
        with jax.enable_x64(double or X.reader.dtype == np.float64), few_threads:
            fitted = pca.fit(model, X, sample_weight, key=jax.random.key(start))
            return jax.device_get(fitted), X.shape[0], nowhere
    dense = isinstance(X, np.ndarray)
    location = near(X) if dense and model.center else nowhere
    data = place_rows(X, sample_weight, location=location if model.center else None)
    task = Task(model, near_zero=dense)
    with few_threads:
        fitted = compute(_fit, data, task, start, rows=(data.X, data.sample_weight), double=double)
    return fitted, data.n_samples, location


def _fit(rows: Any, rest: Any, axis_name: str | None = None) -> pca.FittedPCA:
    (X, weight), (task, start) = rows, rest
    return pca.fit(task.model, task.design(X, axis_name), weight, key=jax.random.key(start))
