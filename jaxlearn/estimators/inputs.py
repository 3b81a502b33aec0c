"""From what a user passes to what a compiled program takes: validation, then padding and placement."""

from __future__ import annotations

import numbers
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax.sharding import Mesh
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.validation import validate_data

from jaxlearn.access.buckets import row_bucket
from jaxlearn.access.dense import Dense
from jaxlearn.access.host import from_scipy
from jaxlearn.access.memory import aligned, fill
from jaxlearn.access.mesh import row_mesh, with_rows_over
from jaxlearn.access.sparse import Sparse

__all__ = [
    "Data",
    "check_features",
    "check_sample_weight",
    "near",
    "place",
    "read",
    "refuse_other_width",
    "refuse_traced",
    "repeated",
]

SPARSE = ("csr", "csc", "coo")
FLOATS = (np.float64, np.float32)
# Rows that a shift is estimated from.
SAMPLE = 1024
# Means of so many standard deviations cost products of rows that are not shifted less than a digit.
DEVIATIONS = 3


class Data(NamedTuple):
    """Rows ready for a program.

    Attributes
    ----------
    X : ndarray, Sparse or jax.Array
        NumPy and SciPy input is padded to a bucket of rows, a ``jax.Array`` is taken as it is.
    y, sample_weight : ndarray
        Padded alike, in the dtype of X; padding has weight zero.
    n_samples : int
        Without padding.
    total_weight : float
        Sum of the weights.
    mesh : Mesh or None
        Where the rows lie on several devices, over its axis `axis`.
    is_column : bool
        `y` was given as (n_samples, 1); here it is (n_samples,).
    near_zero : bool
        Dense rows have means that are small beside their spread: no program need shift, and so copy, them.
    location : ndarray of shape (n_features,) or None
        What was taken from each row for it.
    """

    X: Any
    y: np.ndarray
    sample_weight: np.ndarray
    n_samples: int
    total_weight: float
    mesh: Mesh | None = None
    axis: str | None = None
    is_column: bool = False
    near_zero: bool = False
    location: np.ndarray | None = None

    @property
    def dtype(self) -> np.dtype:
        """Of X, and so of the fit."""
        return np.dtype(self.X.dtype)

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.X.shape[1]

    @property
    def is_sparse(self) -> bool:
        """Whether X came as a SciPy matrix."""
        return isinstance(self.X, Sparse)

    @property
    def of_tasks(self) -> Data:
        """With y of two dimensions, also where it has one column."""
        return self._replace(y=self.y[:, None], is_column=False) if self.is_column else self

    @property
    def design(self) -> Any:
        """X as a program takes it."""
        return Dense(self.X, near_zero=True) if self.near_zero else self.X

    @property
    def rows(self) -> tuple[Any, np.ndarray, np.ndarray]:
        """What a program takes."""
        return self.design, self.y, self.sample_weight

    def unshifted(self, coef: Any, intercept: Any) -> np.ndarray:
        """Intercepts for rows as they were given, from those of the rows here and coefficients (..., p), or (..., p, k)."""
        intercept = np.asarray(intercept)
        if self.location is None:
            return intercept
        coef = np.moveaxis(np.asarray(coef), -1 if self.y.ndim == 1 else -2, -1)
        return (intercept - coef @ self.location.astype(np.float64)).astype(intercept.dtype)


def read(
    estimator: Any, X: Any, y: Any, sample_weight: Any = None, *, multi_output: bool = True, y_numeric: bool = True
) -> tuple[Any, np.ndarray, np.ndarray]:
    """Validate, in scikit-learn's words.

    Returns
    -------
    X : ndarray, CSR or jax.Array
        float32 or float64; a ``jax.Array`` stays where it is.
    y : ndarray
    sample_weight : ndarray, (n_samples,)
        Ones by default.
    """
    refuse_traced(X, y, sample_weight)
    if isinstance(X, jax.Array):
        X = _device_array(estimator, X, reset=True)
        y = _target(estimator, y, multi_output, y_numeric)
        check_consistent_length(X, y)
    else:
        X, y = validate_data(
            estimator,
            X,
            np.asarray(y) if isinstance(y, jax.Array) else y,  # pyright: ignore
            accept_sparse=SPARSE,
            dtype=FLOATS,
            multi_output=multi_output,
            y_numeric=y_numeric,
        )
    return X, y, check_sample_weight(sample_weight, X.shape[0], X.dtype)


def _target(estimator: Any, y: Any, multi_output: bool, y_numeric: bool) -> np.ndarray:
    if y is None:
        raise ValueError(f"{type(estimator).__name__} requires y to be passed, but the target y is None.")
    y = check_array(np.asarray(y), ensure_2d=False, dtype="numeric" if y_numeric else None, input_name="y")  # pyright: ignore
    return y if multi_output else column_or_1d(y, warn=True)


def check_features(estimator: Any, X: Any) -> Any:
    """X for ``predict``: as `read`, and with the features that the estimator was fitted to."""
    refuse_traced(X)
    if isinstance(X, jax.Array):
        return _device_array(estimator, X, reset=False)
    return validate_data(estimator, X, accept_sparse=SPARSE, reset=False)


def check_sample_weight(sample_weight: Any, n_samples: int, dtype: Any) -> np.ndarray:
    """Non-negative weights, one for each sample, of which at least one is positive."""
    if sample_weight is None or isinstance(sample_weight, numbers.Number):
        weight = np.full(n_samples, 1 if sample_weight is None else sample_weight, dtype)
    else:
        weight = np.asarray(sample_weight) if isinstance(sample_weight, jax.Array) else sample_weight
        weight = check_array(weight, ensure_2d=False, dtype=dtype, input_name="sample_weight")
    if weight.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {weight.ndim}D array. "
            f"Expected either a scalar value or a 1D array of length {n_samples}."
        )
    if weight.shape != (n_samples,):
        raise ValueError(f"sample_weight.shape == {weight.shape}, expected {(n_samples,)}!")
    if (weight < 0).any():
        raise ValueError("Negative values in data passed to `sample_weight`: the problem would not be convex.")
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weight


def place(X: Any, y: np.ndarray, sample_weight: np.ndarray, *, centred: bool = False) -> Data:
    """Pad rows to their bucket and put them where the program runs.

    Parameters
    ----------
    X : ndarray, sparse matrix or jax.Array
    y, sample_weight : ndarray
    centred : bool
        Programs will centre X. NumPy's dense rows, of which one copy is made in any case, are shifted near zero in it, which
        spares the programs a second one.
    """
    dtype, n_samples = np.dtype(X.dtype), X.shape[0]
    total = float(sample_weight.sum(dtype=np.float64))
    y = np.asarray(y, dtype)
    is_column = y.shape[1:] == (1,)
    y = y.ravel() if is_column else y
    if isinstance(X, jax.Array):
        placed = row_mesh(X)
        with jax.enable_x64(dtype == np.float64):
            X = X if placed is None else with_rows_over(X, *placed)
            near_zero = centred and placed is None and bool(_is_near_zero(X))
        return Data(X, y, sample_weight, n_samples, total, *(placed or (None, None)), is_column, near_zero)
    n_rows, location = row_bucket(n_samples), None
    weight = np.zeros(n_rows, dtype)
    weight[:n_samples] = sample_weight
    if scipy.sparse.issparse(X):
        with jax.enable_x64(dtype == np.float64):
            X = from_scipy(X, n_rows=n_rows)
    else:
        location = near(X) if centred else None
        X = repeated(X, n_rows, location)
    data = Data(X, repeated(y, n_rows), weight, n_samples, total, is_column=is_column)
    return data._replace(near_zero=location is not None, location=location)


def near(X: np.ndarray) -> np.ndarray:
    """A point near the rows: the mean of some of them."""
    return X[:: max(1, len(X) // SAMPLE)].mean(0, dtype=np.float64).astype(X.dtype)


@jax.jit
def _is_near_zero(X: jax.Array) -> jax.Array:
    ones = jnp.full(X.shape[0], 1 / X.shape[0], X.dtype)
    design = Dense(X)
    mean, squares = design.rmatvec(ones), design.squares(ones)
    return (jnp.square(mean) <= DEVIATIONS**2 * (squares - jnp.square(mean))).all()


def repeated(rows: np.ndarray, n_rows: int, location: np.ndarray | None = None) -> np.ndarray:
    """Rows, less `location`, repeated cyclically up to `n_rows`.

    Those added look like the data, in whose unweighted mean they count.
    """
    n_samples = len(rows)
    if n_rows == n_samples and location is None:
        return rows
    copy = aligned((n_rows, *rows.shape[1:]), rows.dtype)
    fill(copy, rows, location)
    for first in range(n_samples, n_rows, n_samples):
        copy[first : first + n_samples] = copy[: min(n_samples, n_rows - first)]
    return copy


def refuse_other_width(estimator: Any, X: Any, n_features: int | None) -> None:
    """Rows of a later call have the features of the first."""
    if n_features is not None and X.shape[1] != n_features:
        estimator.n_features_in_ = n_features
        raise ValueError(
            f"X has {X.shape[1]} features, but {type(estimator).__name__} is expecting {n_features} features as input."
        )


def refuse_traced(*arrays: Any) -> None:
    """Estimators keep state and raise on values: neither can happen while a function is traced."""
    for array in arrays:
        if isinstance(array, jax.Array):
            try:
                array.is_fully_addressable  # noqa: B018
            except jax.errors.ConcretizationTypeError:
                raise TypeError(
                    "An estimator was given a traced array. Inside `jit`, `vmap` or `grad` call the pure functions of "
                    "`jaxlearn.models` instead, as `jaxlearn.models.glm.fit` and `jaxlearn.models.glm.predict`."
                ) from None


def _device_array(estimator: Any, X: jax.Array, *, reset: bool) -> jax.Array:
    """A ``jax.Array`` checked where it lies: its values never travel to the host."""
    if X.ndim != 2:
        raise ValueError(f"Expected 2D array, got {X.ndim}D array instead:\narray of shape {X.shape}.")
    for axis, unit in enumerate(("sample", "feature")):
        if X.shape[axis] == 0:
            raise ValueError(
                f"Found array with 0 {unit}(s) (shape={X.shape}) while a minimum of 1 is required "
                f"by {type(estimator).__name__}."
            )
    if jnp.issubdtype(X.dtype, jnp.complexfloating):
        raise ValueError(f"Complex data not supported\narray of shape {X.shape}.")
    validate_data(estimator, X, y="no_validation", skip_check_array=True, reset=reset)  # pyright: ignore
    exact = X.dtype.kind in "biu"
    with jax.enable_x64(exact or X.dtype == np.float64):
        X = X if X.dtype in FLOATS else X.astype(np.float64 if exact else np.float32)
        if not exact and not _all_finite(X):
            kind = "NaN" if bool(jnp.isnan(X).any()) else f"infinity or a value too large for dtype('{X.dtype}')"
            raise ValueError(f"Input X contains {kind}.")
    return X


@jax.jit
def _all_finite(X: jax.Array) -> jax.Array:
    return jnp.isfinite(X).all()
