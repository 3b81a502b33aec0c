"""What multi-layer perceptrons share: first weights, optimisers, and training."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
import scipy.sparse
from jax.flatten_util import ravel_pytree
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, Options
from sklearn.utils.validation import check_is_fitted, validate_data

from jaxlearn.models import network

from .batches import Batch
from .constraints import COUNT, NON_NEGATIVE, ONE_OF, POSITIVE, SHARE
from .inputs import FLOATS
from .network_training import (
    Held,
    PassingRows,
    Rows,
    Schedule,
    Stopping,
    outputs,
    train_epoch,
    warn_of_the_last_epoch,
)
from .segments import Passing, Source

__all__ = ["Perceptrons"]

STOCHASTIC = "sgd", "adam"


class Perceptrons(BaseEstimator):
    """A multi-layer perceptron that is trained."""

    _parameter_constraints: dict = {
        "hidden_layer_sizes": ["array-like", COUNT],
        "activation": [ONE_OF("identity", "logistic", "tanh", "relu")],
        "solver": [ONE_OF("lbfgs", *STOCHASTIC), optax.GradientTransformation],
        "alpha": [NON_NEGATIVE],
        "batch_size": [ONE_OF("auto"), COUNT],
        "learning_rate": [ONE_OF("constant", "invscaling", "adaptive")],
        "learning_rate_init": [POSITIVE],
        "power_t": [NON_NEGATIVE],
        "max_iter": [COUNT],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [NON_NEGATIVE],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [SHARE],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [POSITIVE],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [COUNT],
    }

    hidden_layer_sizes: Any
    activation: str
    solver: Any
    alpha: Any
    batch_size: Any
    learning_rate: str
    learning_rate_init: Any
    power_t: Any
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: Any
    verbose: Any
    warm_start: bool
    momentum: Any
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: Any
    beta_2: Any
    epsilon: Any
    n_iter_no_change: Any
    max_fun: int
    n_features_in_: int
    validation_scores_: Any
    best_validation_score_: Any
    best_loss_: Any

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _read(self, X: Any, y: Any, *, incremental: bool, numeric: bool) -> tuple[Any, Any]:
        """Validated, in scikit-learn's words."""
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, y_numeric=numeric, dtype=FLOATS, reset=first
        )
        targets: Any = y
        return X, column_or_1d(targets, warn=True) if targets.ndim == 2 and targets.shape[1] == 1 else targets

    def _partly(self) -> bool:
        if not self._stochastic:
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    def _loss_name(self) -> str:
        """Which of `network.LOSSES`."""
        raise NotImplementedError

    def _validation_score(self, f: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
        """Of outputs and targets, both (n, k)."""
        raise NotImplementedError

    def _stratify(self, y: np.ndarray) -> np.ndarray | None:
        return None

    @property
    def _stochastic(self) -> bool:
        return self.solver != "lbfgs"

    def _train(self, X: Any, y: np.ndarray, weight: np.ndarray, *, incremental: bool) -> None:
        """Learn from validated rows: X (n, p), dense or sparse, y (n, k), weight (n,)."""
        dtype = np.dtype(X.dtype)
        rows = Rows(X.tocsr() if scipy.sparse.issparse(X) else X, y.astype(dtype), weight.astype(dtype))
        self.n_outputs_ = y.shape[1]
        self._learn(rows, dtype, incremental)

    def _train_passing(self, source: Source, n_outputs: int, targets: Callable[[Batch], np.ndarray]) -> None:
        """Learn from rows that pass by, whose targets, (b, k), are made of those of each batch."""
        if not self._stochastic:
            raise ValueError(
                "solver='lbfgs' looks at all rows in each step: a stream, or an iterable, takes 'adam' or 'sgd'."
            )
        dtype, n_features = source.kind.dtype, source.kind.shape[0]
        if hasattr(self, "coefs_") and self.warm_start and len(self.coefs_[0]) != n_features:
            raise ValueError(f"X has {n_features} features, and the network {len(self.coefs_[0])}.")

        def encode(batch: Batch) -> Batch:
            return Batch(batch.X, targets(batch).astype(dtype), batch.sample_weight.astype(dtype), batch.name)

        self.n_outputs_ = n_outputs
        size = self._size_of_batch(source.n_rows)
        self._learn(Passing(source, encode, size), dtype, incremental=False)

    def _size_of_batch(self, n_rows: int | None) -> int:
        if n_rows is None:
            return 200 if self.batch_size == "auto" else self.batch_size
        if self.batch_size != "auto" and self.batch_size > n_rows:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
                UserWarning,
                stacklevel=4,
            )
        return min(200 if self.batch_size == "auto" else self.batch_size, n_rows)

    def _learn(self, rows: Rows | Passing, dtype: np.dtype, incremental: bool) -> None:
        rng = check_random_state(self.random_state)
        fresh = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        if fresh:
            self._begin(self.n_features_in_, dtype, rng)
        elif self.coefs_[-1].shape[1] != self.n_outputs_:
            raise ValueError(f"y has {self.n_outputs_} outputs, and the network {self.coefs_[-1].shape[1]}.")
        with jax.enable_x64(dtype == np.float64):
            module = network.MLP(
                [jnp.asarray(c, dtype) for c in self.coefs_],
                [jnp.asarray(b, dtype) for b in self.intercepts_],
                self.activation,
            )
            if isinstance(rows, Passing):
                module = self._descend(module, PassingRows(rows), rng, dtype, incremental, rows.batch_size)
            elif self._stochastic:
                module = self._descend_held(module, rows, rng, incremental)
            else:
                module = self._quasi_newton(module, *rows)
            self.coefs_ = [np.array(c) for c in module.coefs]
            self.intercepts_ = [np.array(b) for b in module.intercepts]
        if not all(np.isfinite(w).all() for w in (*self.coefs_, *self.intercepts_)):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed."
            )

    def _begin(self, n_features: int, dtype: np.dtype, rng: np.random.RandomState) -> None:
        """Weights after Glorot and Bengio, in scikit-learn's order of draws."""
        hidden = np.atleast_1d(self.hidden_layer_sizes).astype(int).tolist() if np.size(self.hidden_layer_sizes) else []
        if any(size <= 0 for size in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        units = [n_features, *hidden, self.n_outputs_]
        self.n_layers_, self.n_iter_, self.t_ = len(units), 0, 0
        self.coefs_, self.intercepts_ = [], []
        for fan_in, fan_out in pairwise(units):
            bound = np.sqrt((2 if self.activation == "logistic" else 6) / (fan_in + fan_out))
            self.coefs_.append(rng.uniform(-bound, bound, (fan_in, fan_out)).astype(dtype))
            self.intercepts_.append(rng.uniform(-bound, bound, fan_out).astype(dtype))
        for name in ("_state", "best_loss_", "loss_curve_"):
            vars(self).pop(name, None)
        if self._stochastic:
            self.loss_curve_, self._no_improvement_count = [], 0
            self._stopping = Stopping(self.tol, self.n_iter_no_change)
            self.best_loss_ = None if self.early_stopping else np.inf
            self.validation_scores_ = [] if self.early_stopping else None
            self.best_validation_score_ = -np.inf if self.early_stopping else None

    def _transformation(self) -> optax.GradientTransformation:
        if self.solver == "adam":
            return _adam(self.learning_rate_init, self.beta_1, self.beta_2, self.epsilon)
        if self.solver == "sgd":
            return _sgd(self.learning_rate_init, self.momentum, self.nesterovs_momentum)
        return self.solver

    def _descend_held(self, module: Any, rows: Rows, rng: Any, incremental: bool) -> Any:
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        held = None
        if self.early_stopping:
            from sklearn.model_selection import train_test_split  # late: it takes a while to import

            train, test = train_test_split(
                np.arange(rows.n), random_state=rng, test_size=self.validation_fraction, stratify=self._stratify(rows.y)
            )
            if len(test) < 2:
                raise ValueError(
                    "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
                )
            held, rows = (Rows(rows.X[i], rows.y[i], rows.weight[i]) for i in (test, train))
        size = self._size_of_batch(rows.n)
        return self._descend(module, Held(rows), rng, rows.y.dtype, incremental, size, held)

    def _descend(
        self,
        module: Any,
        rows: Held | PassingRows,
        rng: Any,
        dtype: np.dtype,
        incremental: bool,
        batch_size: int,
        held: Rows | None = None,
    ) -> Any:
        optimizer = self._transformation()
        options = {
            "optimizer": optimizer,
            "loss": network.LOSSES[self._loss_name()],
            "batch_size": batch_size,
            "alpha": jnp.asarray(self.alpha, dtype),
        }
        state = getattr(self, "_state", None)
        if state is None or not incremental:
            state = network.begin(module, optimizer)
            self._optimizer = Schedule(self.learning_rate_init, self.learning_rate, self.power_t)
        if not incremental:
            self.n_iter_, self._stopping.idle = 0, 0
        schedule = self._optimizer
        drawn, best = int(rng.randint(np.iinfo(np.int32).max)), module
        for i in range(1 if incremental else self.max_iter):
            parts = rows.parts(i, drawn, self.shuffle)
            module, state, self.loss_, n = train_epoch(module, state, parts, schedule.rate, **options)
            self.n_iter_, self.t_ = self.n_iter_ + 1, self.t_ + n
            self.loss_curve_.append(self.loss_)
            cost = self.loss_
            if held is not None:
                self.validation_scores_.append(self._validation_score(outputs(module, held.X), held.y, held.weight))
                cost = -self.validation_scores_[-1]
            if self._stopping.better(cost):
                best = module
                if held is None:
                    self.best_loss_ = cost
                else:
                    self.best_validation_score_ = -cost
            self._no_improvement_count = self._stopping.idle
            if self.verbose:
                sys.stdout.write(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}\n")
            if self.solver == "sgd":
                schedule.after(self.t_)
            if self._stopping.over:
                if self.solver == "sgd" and schedule.lowered():
                    self._stopping.idle = 0
                else:
                    break
            elif self.n_iter_ == self.max_iter and not incremental:
                warn_of_the_last_epoch(self.max_iter)
        self._state = jax.device_get(state)
        return module if held is None else best

    def _quasi_newton(self, module: Any, X: Any, y: np.ndarray, weight: np.ndarray) -> Any:
        """L-BFGS, by SciPy, on all rows at once."""
        start, unravel = ravel_pytree(module)
        rows = Rows(X.toarray() if scipy.sparse.issparse(X) else X, y, weight).placed()
        there = np.zeros(rows.y.shape[0], y.dtype)
        there[: len(weight)] = weight
        loss, alpha = network.LOSSES[self._loss_name()], jnp.asarray(self.alpha, y.dtype)

        def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
            at = jnp.asarray(flat, y.dtype), module
            value, gradient = _value_and_gradient(at, (rows.X, rows.y, jnp.asarray(there)), alpha, loss)
            return float(value), np.asarray(gradient, float)

        options = {"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol}
        found = scipy.optimize.minimize(
            evaluate, np.asarray(start, float), method="L-BFGS-B", jac=True, options=options
        )
        self.n_iter_, self.loss_ = min(found.nit, self.max_iter), float(found.fun)
        if found.status != 0:
            warnings.warn(
                f"lbfgs failed to converge after {found.nit} iteration(s) (status={found.status}):\n{found.message}\n"
                "Increase the number of iterations, or scale the data.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return unravel(jnp.asarray(found.x, y.dtype))

    def _outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "coefs_")
        dtype = np.result_type(X.dtype, self.coefs_[0].dtype)
        with jax.enable_x64(dtype == np.float64):
            module = network.MLP(
                [jnp.asarray(c) for c in self.coefs_], [jnp.asarray(b) for b in self.intercepts_], self.activation
            )
            return outputs(module, X)


@eqx.filter_jit
def _value_and_gradient(at: tuple[jax.Array, Any], rows: tuple[Any, Any, Any], alpha: Any, loss: Any) -> Any:
    """Of the mean loss at flat weights, of a network like the one given."""
    flat, like = at
    unravel = ravel_pytree(like)[1]
    return jax.value_and_grad(lambda flat: network.mean_loss(unravel(flat), *rows, loss=loss, alpha=alpha))(flat)


# One object for the same numbers: optimisers are keys of compiled programs.


@functools.cache
def _adam(rate: float, b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    return optax.adam(rate, b1=b1, b2=b2, eps=eps)


@functools.cache
def _sgd(rate: float, momentum: float, nesterov: bool) -> optax.GradientTransformation:
    return optax.sgd(rate, momentum=momentum, nesterov=nesterov)
