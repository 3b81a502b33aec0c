"""Matrices of which few entries are known, as ratings are: the estimator of `models.matrix_completion`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.sparse
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from jaxlearn.access.observed import Observed
from jaxlearn.access.packing import pack
from jaxlearn.models import matrix_completion as mc
from jaxlearn.solvers.solution import CONVERGED, MAX_STEPS

from .base import number, one_blas_thread, seed, warn_unless_converged
from .components import Components
from .constraints import COUNT, NON_NEGATIVE, POSITIVE
from .inputs import FLOATS, refuse_traced

__all__ = ["CompletionProgress", "MatrixCompletion"]

# Numbers of one factor gathered at once when entries are predicted.
GATHERED = 1 << 22

_start = jax.jit(mc.start)
_step = jax.jit(mc.step)
_encode = jax.jit(mc.encode)


class CompletionProgress(NamedTuple):
    """What a callback is told after each iteration.

    Attributes
    ----------
    n_iter : int
    seconds : float
        Since the fit began.
    objective : float
    state : jaxlearn.models.matrix_completion.State
        Its factors have rows that pad, at the end, and are of entries without their mean.
    """

    n_iter: int
    seconds: float
    objective: float
    state: mc.State


class MatrixCompletion(Components):
    """What is missing from a matrix, from biases and a few factors of its rows and columns.

    *Minimises* ``½ Σ (x_ij − mean − b_i − c_j − u_i·v_j)² + ½ alpha σ (Σ_i (n_i + beta) ‖u_i‖² + Σ_j (m_j + beta) ‖v_j‖²)
    + ½ beta (Σ_i b_i² + Σ_j c_j²)``; the first sum runs over the observed entries, of which σ is the standard deviation, n_i
    are in row i and m_j in column j.

    *Step* The best u_i and b_i of each row, then the best v_j and c_j of each column.

    *Reads the data by* map, over rows and over columns: entries are held twice.

    *Cost per step* 4 k² flops for each entry, and k³ / 3 for each row and column.

    *Stops when* an iteration lowers the objective by at most the share `tol`.

    Parameters
    ----------
    n_components : int, default=10
        k, factors; at most rows and columns.
    alpha : float, default=0.07
        Strength, without a unit: where entries double, nothing changes. Noisy entries want more, 0.03 to 0.2 is usual.
    beta : float, default=5.0
        So many entries at the mean are imagined in each row and column beside those observed.
    max_iter : int, default=50
    tol : float, default=1e-3
        See above; 0 uses all iterations.
    clip : bool, default=True
        Predictions are kept in the range of the observed entries.
    callback : callable, optional
        Called with a `CompletionProgress` after each iteration.
    random_state : int, RandomState instance or None, default=None
        Of the start.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        v.
    codes_ : ndarray of shape (n_samples, n_components)
        u, of the rows that were fitted.
    row_bias_, column_bias_ : ndarray of shape (n_samples,) and (n_features,)
    mean_ : float
        Of the observed entries.
    range_ : tuple of float
        Their least and their largest.
    objective_ : float
        What is minimised, divided by the number of observed entries, before rows were solved for a last time.
    history_ : list of dict
        The objective after each iteration, with seconds.
    certificate_ : float
        Share by which the objective fell in the last iteration.
    converged_ : bool
    n_iter_ : int
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    Each entry that a sparse matrix stores is observed, be it zero; of a dense array all that are not NaN are. Rows and columns
    without entries have factors and biases of zero, and are predicted by the biases of the other.

    To choose parameters, hold out entries, not rows: `predict` speaks of the rows that were fitted.

    References
    ----------
    Zhou, Wilkinson, Schreiber, Pan, "Large-scale parallel collaborative filtering for the Netflix prize", AAIM 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.decomposition import MatrixCompletion
    >>> X = np.add.outer(np.arange(6.0), np.arange(5.0))
    >>> X[2, 3] = np.nan
    >>> model = MatrixCompletion(1, beta=0.0, random_state=0).fit(X)
    >>> model.predict([[2, 3]]).round(1)
    array([5.])
    """

    _parameter_constraints: dict = {
        "n_components": [COUNT],
        "alpha": [POSITIVE],
        "beta": [NON_NEGATIVE],
        "max_iter": [COUNT],
        "tol": [NON_NEGATIVE],
        "clip": ["boolean"],
        "callback": [callable, None],
        "random_state": ["random_state"],
    }

    callback: Callable[[CompletionProgress], Any] | None
    n_features_in_: int

    def __init__(
        self,
        n_components=10,
        *,
        alpha=0.07,
        beta=5.0,
        max_iter=50,
        tol=1e-3,
        clip=True,
        callback=None,
        random_state=None,
    ):
        self.n_components = n_components
        self.alpha = alpha
        self.beta = beta
        self.max_iter = max_iter
        self.tol = tol
        self.clip = clip
        self.callback = callback
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def fit(self, X, y=None):
        """Find biases and factors.

        Parameters
        ----------
        X : {sparse matrix, array-like} of shape (n_samples, n_features)
            The entries stored are those observed; of a dense array those that are not NaN. float32 is computed in float32,
            everything else in float64.
        y : Ignored

        Returns
        -------
        self : object
        """
        self._validate_params()
        entries = self._read(X, reset=True)
        if self.n_components > min(entries.shape):
            raise ValueError(f"n_components={self.n_components} is more than the least of X.shape={entries.shape}.")
        if not entries.nnz:
            raise ValueError("X has no observed entry.")
        values = entries.data
        mean = values.mean(dtype=np.float64)
        self.mean_, self.range_ = float(mean), (float(values.min()), float(values.max()))
        self._scale = float(values.std(dtype=np.float64)) or 1.0  # of constant entries nothing is left to be shrunk
        with jax.enable_x64(values.dtype == np.float64), one_blas_thread():
            by_row, by_column = self._packed(entries), self._packed(scipy.sparse.csr_array(entries.T))
            model = self._model(values.dtype)
            self._learn(model, by_row, by_column, entries)
        return self

    def transform(self, X):
        """Factors of rows, given some of their entries.

        Parameters
        ----------
        X : {sparse matrix, array-like} of shape (n_samples, n_features)
            As in `fit`. Rows need not be those that were fitted.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
        """
        return self._encoded(X)[0]

    def fit_transform(self, X, y=None):
        """Find biases and factors, and return the factors of the same rows: `codes_`.

        Parameters
        ----------
        X : {sparse matrix, array-like} of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        ndarray of shape (n_samples, n_components)
        """
        return self.fit(X).codes_

    def reconstruct(self, X):
        """All entries of rows, given some of them.

        Parameters
        ----------
        X : {sparse matrix, array-like} of shape (n_samples, n_features)
            As in `fit`. Rows need not be those that were fitted.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            What the model says, also of those that are given.
        """
        codes, bias = self._encoded(X)
        return self._clipped(codes @ self.components_ + bias[:, None] + self.column_bias_[None] + self.mean_)

    def predict(self, X):
        """Entries of the rows that were fitted.

        Parameters
        ----------
        X : sparse matrix of shape (n_samples, n_features), or array-like of shape (n_entries, 2)
            Where: the places that a sparse matrix stores something at, whatever it is, or pairs of a row and a column.

        Returns
        -------
        CSR array, or ndarray of shape (n_entries,)
        """
        check_is_fitted(self)
        if scipy.sparse.issparse(X):
            where = self._places(X)
            rows = np.repeat(np.arange(where.shape[0]), np.diff(where.indptr))
            values = self._predicted(rows, where.indices)
            return scipy.sparse.csr_array((values, where.indices, where.indptr), shape=where.shape)
        pairs = check_array(X, dtype=None, ensure_min_samples=0)  # pyright: ignore
        if pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
            raise ValueError(
                f"Expected pairs of integers, a row and a column, got {pairs.dtype} of shape {pairs.shape}."
            )
        shape = self._shape
        if ((pairs < 0) | (pairs >= np.array(shape)[None])).any():
            raise ValueError(f"A pair lies outside of the {shape[0]} rows and {shape[1]} columns that were fitted.")
        return self._predicted(pairs[:, 0], pairs[:, 1])

    def score(self, X, y=None):
        """Minus the root mean squared error of `predict`.

        Parameters
        ----------
        X : {sparse matrix, array-like} of shape (n_samples, n_features)
            Entries of the rows that were fitted, such as have been held out; as in `fit`.
        y : Ignored

        Returns
        -------
        float
        """
        check_is_fitted(self)
        entries = self._read(X, reset=False)
        if not entries.nnz:
            raise ValueError("X has no observed entry.")
        return -float(np.sqrt(np.mean(np.square(self.predict(entries).data - entries.data, dtype=np.float64))))

    def _read(self, X: Any, *, reset: bool) -> Any:
        """The observed entries, as CSR."""
        refuse_traced(X)
        X = np.asarray(X) if isinstance(X, jax.Array) else X  # pyright: ignore
        finite = True if scipy.sparse.issparse(X) else "allow-nan"
        X = validate_data(self, X, accept_sparse="csr", dtype=FLOATS, ensure_all_finite=finite, reset=reset)  # pyright: ignore
        if not scipy.sparse.issparse(X):
            places = np.nonzero(~np.isnan(X))
            return scipy.sparse.csr_array((X[places], places), shape=X.shape)
        return _canonical(X)

    def _places(self, X: Any) -> Any:
        X = _canonical(X)
        if X.shape != self._shape:
            raise ValueError(f"X has shape {X.shape}; expected {self._shape}, of the rows that were fitted.")
        return X

    @property
    def _shape(self) -> tuple[int, int]:
        """Of what was fitted."""
        return len(self.codes_), self.n_features_in_

    def _packed(self, entries: Any) -> Observed:
        values = (entries.data - self.mean_).astype(entries.dtype)
        return pack(entries.indptr, entries.indices, values, entries.shape[1], n_features=self.n_components + 2)

    def _model(self, dtype: Any) -> mc.MatrixCompletion:
        return mc.MatrixCompletion(self.n_components, number(self.alpha * self._scale, dtype), number(self.beta, dtype))

    def _learn(self, model: mc.MatrixCompletion, by_row: Observed, by_column: Observed, entries: Any) -> None:
        began, self.history_, before = time.perf_counter(), [], np.inf
        state = _start(model, by_row, by_column, jax.random.key(seed(self.random_state)))
        for n_iter in range(1, self.max_iter + 1):
            state = _step(model, state, by_row, by_column)
            self.n_iter_ = n_iter
            now, seconds = float(state.objective) / entries.nnz, time.perf_counter() - began
            self.history_.append({"n_iter": n_iter, "seconds": seconds, "objective": now})
            self.certificate_ = (before - now) / abs(before) if 0 < before < np.inf else np.inf
            before = now
            if self.callback is not None:
                self.callback(CompletionProgress(n_iter, seconds, now, state))
            if self.tol > 0 and (self.certificate_ <= self.tol or now <= 0):
                break
        # the best rows for the columns as they are now: those that `transform` finds
        rows = _encode(model, state.columns, by_row)
        self._adopt(jax.device_get(rows), jax.device_get(state.columns), entries.shape)

    def _adopt(self, rows: mc.Factors, columns: mc.Factors, shape: tuple[int, int]) -> None:
        n_samples, n_features = shape
        self.codes_, self.row_bias_ = np.array(rows.codes)[:n_samples], np.array(rows.bias)[:n_samples]
        self.components_ = np.array(columns.codes)[:n_features].T.copy()
        self.column_bias_ = np.array(columns.bias)[:n_features]
        if not (np.isfinite(self.components_).all() and np.isfinite(self.codes_).all()):
            raise ValueError(
                "The fit resulted in non-finite values. The input data may contain large values and need to be preprocessed."
            )
        self.objective_ = self.history_[-1]["objective"]
        self.converged_ = bool(self.certificate_ <= self.tol or self.objective_ <= 0)
        if self.tol > 0:
            status = CONVERGED if self.converged_ else MAX_STEPS
            certificate = "decrease of the objective in an iteration, as a share of it,"
            dtype = self.components_.dtype
            warn_unless_converged(self, status, self.certificate_, certificate, self.tol, self.n_iter_, dtype)

    def _encoded(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        check_is_fitted(self)
        entries = self._read(X, reset=False)
        dtype = self.components_.dtype
        entries = entries.astype(dtype)
        n_samples, k = entries.shape[0], self.n_components
        if not entries.nnz:
            return np.zeros((n_samples, k), dtype), np.zeros(n_samples, dtype)
        with jax.enable_x64(dtype == np.float64), one_blas_thread():
            by_row = self._packed(entries)
            padding = 0, by_row.n_columns - self.n_features_in_
            columns = mc.Factors(
                np.pad(self.components_.T, (padding, (0, 0))),  # pyright: ignore
                np.pad(self.column_bias_, padding),  # pyright: ignore
            )
            found = jax.device_get(_encode(self._model(dtype), columns, by_row))
        return np.array(found.codes)[:n_samples], np.array(found.bias)[:n_samples]

    def _predicted(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        out, size = np.empty(len(rows), self.components_.dtype), max(1, GATHERED // self.n_components)
        factors = self.components_.T
        for first in range(0, len(rows), size):
            i, j = rows[first : first + size], columns[first : first + size]
            product = np.einsum("ek,ek->e", self.codes_[i], factors[j])
            out[first : first + size] = product + self.row_bias_[i] + self.column_bias_[j] + self.mean_
        return self._clipped(out)

    def _clipped(self, values: np.ndarray) -> np.ndarray:
        return np.clip(values, *self.range_) if self.clip else values


def _canonical(X: Any) -> Any:
    """CSR, in which a place is stored once: entries that share one are summed, as SciPy does. The input is left alone."""
    csr: Any = scipy.sparse.csr_array(X)
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    return csr
