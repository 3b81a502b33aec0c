"""What non-negative factorizations share: their parameters, what they refuse, and the programs that encode and judge."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from numbers import Integral, Real
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, check_non_negative

from jaxlearn.access.dense import Dense
from jaxlearn.access.design import Design
from jaxlearn.access.streamed import Streamed
from jaxlearn.models import nmf
from jaxlearn.solvers.solution import MAX_STEPS, NONFINITE, STALLED

from .base import number, one_blas_thread, warn_unless_converged
from .constraints import COUNT, NON_NEGATIVE, ONE_OF, SHARE
from .inputs import Data
from .rows import place_rows, read_rows

__all__ = ["NonNegative", "Task", "blocks", "check_factor", "check_start", "count_components", "design_of"]
__all__ += ["on_host", "run", "warn_of"]

BETAS = {"frobenius": 2.0, "kullback-leibler": 1.0, "itakura-saito": 0.0}


class Task(eqx.Module):
    """A configuration, and where to start: the name of an initialisation, and components where they are given."""

    model: nmf.NMF
    init: str | None = eqx.field(static=True, default=None)
    components: Any = None


class NonNegative(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A transformer with non-negative ``components_``."""

    n_components: Any
    init: Any
    beta_loss: Any
    tol: float
    max_iter: int
    random_state: Any
    alpha_W: float
    alpha_H: Any
    l1_ratio: float
    components_: Any
    n_features_in_: int

    _parameter_constraints: dict = {
        "n_components": [COUNT, None, ONE_OF("auto")],
        "init": [ONE_OF("random", "nndsvd", "nndsvda", "nndsvdar", "custom"), None],
        "beta_loss": [ONE_OF(*BETAS), Real],
        "tol": [NON_NEGATIVE],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "alpha_W": [NON_NEGATIVE],
        "alpha_H": [NON_NEGATIVE, ONE_OF("same")],
        "l1_ratio": [SHARE],
        "verbose": ["verbose"],
    }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self):
        return len(self.components_)

    @property
    def _n_components(self):
        return len(self.components_)

    @property
    def _beta(self) -> float:
        return BETAS[self.beta_loss] if isinstance(self.beta_loss, str) else float(self.beta_loss)

    def _model(self, k: int, n_features: int, dtype: Any, solver: str, max_iter: int) -> nmf.NMF:
        alpha_H = self.alpha_W if self.alpha_H == "same" else self.alpha_H
        return nmf.NMF(
            k,
            self._beta,
            {"cd": "hals", "mu": "multiplicative"}[solver],
            bool(getattr(self, "shuffle", False)),
            # the penalties are those of one row: scikit-learn's are n_features and n_samples times as much, of all rows
            alpha_W=number(n_features * self.alpha_W, dtype),
            alpha_H=number(alpha_H, dtype),
            l1_ratio=number(self.l1_ratio, dtype),
            tol=number(self.tol, dtype),
            max_steps=number(max_iter, np.int32),
        )

    def _read(self, X: Any, *, reset: bool) -> Any:
        """Validate; negative numbers are refused."""
        X = read_rows(self, X, reset=reset)
        name = type(self).__name__
        if not isinstance(X, Streamed) and smallest(X) < 0:
            raise ValueError(f"Negative values in data passed to {name} (input X).")
        return X

    def _refuse_zeros(self, X: Any) -> None:
        if self._beta <= 0 and smallest(X) <= 0:
            raise ValueError(
                "When beta_loss <= 0 and X contains zeros, the solver may diverge. Please add small values to X, or use a "
                "positive beta_loss."
            )

    def _encode(self, X: Any, model: nmf.NMF) -> tuple[Any, Any]:
        """Codes of rows, and how those of the last ones were found."""
        components = np.asarray(self.components_, X.dtype)
        if isinstance(X, Streamed):
            parts = []
            with jax.enable_x64(X.reader.dtype == np.float64), one_blas_thread():
                for rows, n_rows in blocks(self, X):
                    found = _encoded((rows, np.asarray(np.arange(len(rows)) < n_rows, rows.dtype)), (model, components))
                    parts.append(np.asarray(found.params)[:n_rows])
            return np.concatenate(parts), jax.device_get(found)
        self._refuse_zeros(X)
        data = place_rows(X)
        found = run(_encoded, data, model, components)
        return on_host(found.params, X, data), jax.device_get(eqx.tree_at(lambda s: s.params, found, None))

    def inverse_transform(self, X):
        """Rows that have these codes.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_components)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        return (X if hasattr(X, "dtype") else np.asarray(X)) @ self.components_

    def _warn_of_zeros(self, X: Any, codes: Any) -> None:
        if X.max() > 0 and not (self.components_.any() and codes.any()):
            warnings.warn(
                f"All codes or components are zero: alpha_W={self.alpha_W} and alpha_H={self.alpha_H} are larger than the "
                "data are worth. Lower them.",
                UserWarning,
                stacklevel=4,
            )


def count_components(n_components: Any, X: Any, H: Any = None) -> int:
    """What ``None`` and ``"auto"`` stand for."""
    if n_components == "auto" and H is not None:
        return len(H)
    return X.shape[1] if n_components in (None, "auto") else int(n_components)


def check_factor(factor: Any, shape: tuple[Any, Any], whom: str, dtype: Any) -> np.ndarray:
    """A factor that was given, in scikit-learn's words."""
    factor = check_array(np.asarray(factor) if isinstance(factor, jax.Array) else factor)
    for axis, word in enumerate(("first", "second")):
        if shape[axis] not in ("auto", factor.shape[axis]):
            raise ValueError(
                f"Array with wrong {word} dimension passed to {whom}. Expected {shape[axis]}, but got {factor.shape[axis]}."
            )
    check_non_negative(factor, whom)
    if factor.max() == 0:
        raise ValueError(f"Array passed to {whom} is full of zeros.")
    if factor.dtype != dtype:
        raise TypeError(
            f"H and W should have the same dtype as X. Got {factor.dtype} in {whom}, and X.dtype = {dtype}."
        )
    return factor


def check_start(estimator: Any, X: Any, W: Any, H: Any, *, of_rows: bool = True) -> tuple[int, str | None, Any, Any]:
    """Number of components, name of the initialisation, and the codes, unless there are none, and components given instead."""
    k = "auto" if estimator.n_components == "auto" else count_components(estimator.n_components, X)
    if estimator.init == "custom":
        H = check_factor(H, (k, X.shape[1]), "NMF (input H)", X.dtype)
        W = check_factor(W, (X.shape[0], len(H)), "NMF (input W)", X.dtype) if of_rows else None
        return len(H), None, W, H
    if W is not None or H is not None:
        warnings.warn(
            "When init!='custom', provided W or H are ignored. Set  init='custom' to use them as initialization.",
            RuntimeWarning,
            stacklevel=4,
        )
    k = count_components(k, X)
    init, least = estimator.init, min(X.shape)
    if init is None:
        init = "nndsvda" if k <= least else "random"
    if init != "random" and k > least:
        raise ValueError(f"init = '{init}' can only be used when n_components <= min(n_samples, n_features)")
    return k, init, None, None


def run(program: Any, data: Data, *rest: Any, rows: tuple[Any, ...] = ()) -> Any:
    """``program((X, weight, *rows), rest)``, compiled; the result stays where the rows lie.

    Sharded rows are partitioned by the compiler: codes go with them.
    """
    mesh = nullcontext() if data.mesh is None else jax.set_mesh(data.mesh)
    with jax.enable_x64(data.dtype == np.float64), mesh, one_blas_thread():
        return jax.block_until_ready(program((data.X, data.sample_weight, *rows), rest))


def warn_of(estimator: Any, found: Any, max_iter: int, dtype: Any) -> None:
    """Say where a fit stopped short; refuse what is not finite."""
    if found.status == NONFINITE:
        raise ValueError(
            "The fit resulted in non-finite values. The input data may contain large values and need to be preprocessed."
        )
    if found.status == MAX_STEPS and estimator.tol > 0:
        warnings.warn(
            f"Maximum number of iterations {max_iter} reached. Increase it to improve convergence. "
            f"{type(estimator).__name__} stopped at a {found.certificate} of {float(found.residual):.3g}, tolerance "
            f"{estimator.tol:.3g}.",
            ConvergenceWarning,
            stacklevel=4,
        )
    elif found.status == STALLED and estimator.tol > 0:
        warn_unless_converged(
            estimator, found.status, found.residual, found.certificate, estimator.tol, found.n_steps, dtype
        )


def design_of(X: Any) -> Design:
    """Rows as a program takes them."""
    return X if isinstance(X, Design) else Dense(X)


def on_host(codes: Any, X: Any, data: Data) -> Any:
    """Codes without the rows that fill up a bucket; of a ``jax.Array`` they stay where they are."""
    return codes if isinstance(X, jax.Array) else np.array(codes[: data.n_samples])


def blocks(estimator: Any, X: Streamed) -> Iterator[tuple[jax.Array, int]]:
    """The blocks of a stream, checked, and how many rows of each are there."""
    reader = X.reader
    for block in reader.blocks():
        rows, smallest = jax.block_until_ready(_converted(jax.device_put(block.rows), reader.source.scale))
        if not np.isfinite(smallest):
            raise ValueError(f"Input X contains NaN or infinity: see {reader.name(block)}.")
        if smallest < 0:
            name = type(estimator).__name__
            raise ValueError(f"Negative values in data passed to {name} (input X): see {reader.name(block)}.")
        n_rows = block.n_rows
        del block
        yield rows, n_rows


@jax.jit
def _converted(X: jax.Array, scale: Any) -> tuple[jax.Array, jax.Array]:
    """Numbers in the precision of the fit; the smallest, or one that is not finite."""
    X = X.astype(jnp.float64 if X.dtype == jnp.float64 else jnp.float32)
    X = X if scale is None else X * jnp.asarray(scale, X.dtype)[None]
    return X, jnp.where(jnp.isfinite(X).all(), X.min(), jnp.nan)


def smallest(X: Any) -> float:
    """Of an array or a sparse matrix."""
    if not isinstance(X, jax.Array):
        return X.min()
    with jax.enable_x64(X.dtype == np.float64):
        return float(_smallest(X))


@jax.jit
def _smallest(X: jax.Array) -> jax.Array:
    return jnp.min(X)


@jax.jit
def _encoded(rows: Any, rest: Any) -> Any:
    (X, weight), (model, components) = rows, rest
    return nmf.encode(model, components, design_of(X), weight)
