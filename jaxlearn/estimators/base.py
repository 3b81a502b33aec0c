"""What every estimator does: run a program in the precision of the data, adopt its result, warn, predict."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax import lax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import ThreadpoolController

from jaxlearn.access.memory import n_cores
from jaxlearn.access.mesh import run_sharded
from jaxlearn.solvers.solution import CONVERGED, MAX_STEPS, NONFINITE, SENTENCES, STALLED

from .inputs import Data, check_features

__all__ = [
    "NO_SEED",
    "LinearClassifier",
    "LinearModel",
    "LinearRegressor",
    "ProbabilisticClassifier",
    "compute",
    "in_threads",
    "number",
    "one_blas_thread",
    "seed",
    "warn_unless_converged",
]


NO_SEED = np.zeros((), np.uint32)


def one_blas_thread() -> Any:
    """A context in which LAPACK runs in one thread.

    Its threads wait busily for some 30 ms after each call, on the processors that XLA's own threads need: programs that
    factor small matrices between large products take twice as long on two cores.
    """
    return _blas().limit(limits=1, user_api="blas")


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def number(value: Any, dtype: Any) -> np.ndarray:
    """A hyper-parameter as an array leaf: a Python number is of a weak type, and would compile a second program."""
    return np.asarray(value, dtype)


def seed(random_state: Any) -> np.ndarray:
    """What a program makes its key of; the one place where a `random_state` is read."""
    return np.asarray(check_random_state(random_state).randint(np.iinfo(np.int32).max), np.uint32)


def compute(
    program: Callable[..., Any], data: Data, *rest: Any, rows: Any = None, by_rows: bool = False, double: bool = False
) -> Any:
    """``program(data.rows, rest)``, compiled once for each shape, dtype and place of the data; NumPy arrays.

    Parameters
    ----------
    program : callable
        A module-level function ``(rows, rest, axis_name=None)``.
    data : Data
    *rest : pytrees
        Models, with their hyper-parameters as arrays, and whatever does not go with the rows.
    rows : pytree, optional
        In place of ``data.rows``.
    by_rows : bool
        The result goes with the rows, and is not the same on every shard: the compiler partitions the program.
    double : bool
        The program may use double precision, whatever the dtype of the data.
    """
    rows = data.rows if rows is None else rows
    # outermost, and left with NumPy arrays in hand: a float64 array is demoted silently outside
    with jax.enable_x64(double or data.dtype == np.float64):
        if data.mesh is None:
            return jax.device_get(_compiled(program)(rows, rest))
        if by_rows:
            with jax.set_mesh(data.mesh):
                return jax.device_get(_compiled(program)(rows, rest))
        return jax.device_get(run_sharded(program, data.mesh, data.axis or "", rows, rest))


def in_threads(task: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """What a task makes of each item, on the host; a thread for each core, since a loop of a program uses one."""

    def one(item: Any) -> Any:
        with jax.enable_x64(True):  # each thread has settings of its own
            return jax.device_get(task(item))

    with ThreadPoolExecutor(n_cores()) as pool:
        with jax.enable_x64(True):  # while items are made, and not while whoever asks uses what was found
            found = pool.map(one, items)
        yield from found


@functools.cache
def _compiled(program: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(program)


def warn_unless_converged(
    estimator: Any, status: Any, residual: Any, certificate: str, tol: Any, n_steps: Any, dtype: Any
) -> None:
    """A `ConvergenceWarning` with the certificate, the tolerance, the steps and the likeliest remedy.

    Parameters
    ----------
    estimator : object or str
        Named in the warning.
    status, residual, n_steps : array_like
        Of one fit or of several.
    certificate : str
        What `residual` is.
    tol : float
    dtype : dtype
        Of the fit.
    """
    status, residual = np.atleast_1d(status), np.atleast_1d(residual)
    failed = status != CONVERGED
    if not failed.any():
        return
    worst = np.flatnonzero(failed)[np.argmax(np.nan_to_num(residual[failed], nan=np.inf))]
    name = estimator if isinstance(estimator, str) else type(estimator).__name__
    which = "" if status.size == 1 else f", the worst of {failed.sum()} of {status.size} fits"
    steps = np.broadcast_to(n_steps, status.shape)[worst]
    # in words that scikit-learn's users may have a filter for
    warnings.warn(
        f"{name}{which}: {certificate} {residual[worst]:.3g}, tolerance {float(tol):.3g} (in the units that `tol` is "
        f"documented in), after {steps} steps. Objective did not converge. {_remedy(status[worst], dtype)}",
        ConvergenceWarning,
        stacklevel=4,
    )


def _remedy(status: int, dtype: Any) -> str:
    if status == MAX_STEPS:
        more = ", or fit in float64" if dtype == np.float32 else ""
        return (
            "You might want to increase the number of iterations, `max_iter`, or to scale the features to a common "
            f"variance{more}."
        )
    if status != STALLED:
        return f"{SENTENCES[status]} The data may contain large values and need to be scaled."
    if dtype == np.float32:
        return f"{SENTENCES[status]} Fit in float64, or raise `tol`: float32 cannot certify more."
    return f"{SENTENCES[status]} Raise `tol`, or scale the features: they may differ by many orders of magnitude."


def check_finite(*arrays: Any) -> None:
    """Refuse coefficients that are not finite."""
    if not all(np.isfinite(a).all() for a in arrays):
        raise ValueError(
            "The fit resulted in non-finite parameter values. The input data may contain large values and need to be "
            "preprocessed."
        )


class LinearModel(BaseEstimator):
    """An estimator with ``coef_`` and ``intercept_``."""

    fit_intercept: bool
    coef_: Any
    intercept_: Any

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _adopt(self, fitted: Any, data: Data, tol: Any) -> Any:
        """Copy a fit to NumPy attributes, targets first; warn where it stopped short."""
        self.coef_ = np.array(np.asarray(fitted.coef).T)
        shape = (1,) if data.is_column else np.shape(fitted.intercept)
        intercept = np.array(data.unshifted(fitted.coef, fitted.intercept))
        self.intercept_ = intercept.reshape(shape)[()] if self.fit_intercept else 0.0
        check_finite(self.coef_, self.intercept_)
        self.n_iter_ = np.asarray(fitted.n_steps).tolist()
        self.certificate_ = np.array(fitted.residual)[()]
        self.converged_ = bool(np.all(fitted.status == CONVERGED))
        status = np.asarray(fitted.status)
        if (status == NONFINITE).any():
            check_finite(np.nan)
        warn_unless_converged(self, status, fitted.residual, fitted.certificate, tol, fitted.n_steps, data.dtype)
        return self

    def _linear_predictor(self, X: Any) -> Any:
        check_is_fitted(self)
        X = check_features(self, X)
        if isinstance(X, jax.Array):
            with jax.enable_x64(X.dtype == np.float64):
                return _predictor(X, np.asarray(self.coef_, X.dtype), np.asarray(self.intercept_, X.dtype))
        return safe_sparse_dot(X, self.coef_.T, dense_output=True) + self.intercept_


@jax.jit
def _predictor(X: jax.Array, coef: jax.Array, intercept: jax.Array) -> jax.Array:
    f = jnp.matmul(X, coef.T, precision=lax.Precision.HIGHEST)
    return f + (intercept.reshape(()) if f.ndim == 1 else intercept.reshape(1, -1))


class LinearRegressor(LinearModel):
    """``predict`` is the linear predictor."""

    def predict(self, X):
        """Predict by the linear model.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples,) or (n_samples, n_targets)
        """
        return self._linear_predictor(X)


class LinearClassifier(ClassifierMixin, LinearModel):
    """A classifier with one linear predictor for each class, or one for two classes."""

    classes_: np.ndarray

    def decision_function(self, X):
        """Signed distances to the hyperplanes, up to the length of their normals.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples,) for two classes, else (n_samples, n_classes)
        """
        scores = self._linear_predictor(X)
        return scores.reshape(-1) if scores.ndim > 1 and scores.shape[1] == 1 else scores

    def predict(self, X):
        """Predict class labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels as in ``classes_``, which need not be numbers: NumPy whatever X is.
        """
        scores = np.asarray(self.decision_function(X))
        return self.classes_[(scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)]


class ProbabilisticClassifier(LinearClassifier):
    """A linear classifier whose scores are logits."""

    def predict_proba(self, X):
        """Probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_classes)
        """
        return self._over_classes(X, scipy.special.softmax, jax.nn.softmax)

    def predict_log_proba(self, X):
        """Logarithms of the probabilities, finite where these underflow.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_classes)
        """
        return self._over_classes(X, scipy.special.log_softmax, jax.nn.log_softmax)

    def _over_classes(self, X: Any, on_host: Any, on_device: Any) -> Any:
        f = self.decision_function(X)
        if not isinstance(f, jax.Array):
            return on_host(np.stack([np.zeros_like(f), f], axis=1) if f.ndim == 1 else f, axis=1)
        with jax.enable_x64(f.dtype == np.float64):
            return on_device(jnp.stack([jnp.zeros_like(f), f], axis=1) if f.ndim == 1 else f, axis=1)
