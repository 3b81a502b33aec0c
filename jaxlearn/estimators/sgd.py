"""What the estimators that learn by stochastic gradients share: the epochs, when to stop, and what to do on divergence."""

from __future__ import annotations

import dataclasses
import warnings
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval

from jaxlearn.access.buckets import row_bucket
from jaxlearn.access.rows import PIECE, DenseRows, SparseRows
from jaxlearn.access.scan import ROWS, permutation
from jaxlearn.objectives import Squared
from jaxlearn.objectives.margins import (
    EpsilonInsensitive,
    Hinge,
    Huber,
    LogisticMargin,
    ModifiedHuber,
    SquaredEpsilonInsensitive,
    SquaredHinge,
)
from jaxlearn.solvers import stochastic_gradient as sgd

from .base import LinearModel, number, seed
from .constraints import COUNT, NON_NEGATIVE, ONE_OF, POSITIVE, SHARE
from .inputs import repeated

__all__ = ["CLASSIFICATION", "REGRESSION", "SGDModel", "Validation"]

REGRESSION = "squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive"
CLASSIFICATION = "hinge", "squared_hinge", "perceptron", "log_loss", "modified_huber"
# Steps of an intercept where X is sparse: it changes with every row, and other coefficients rarely.
SPARSE_INTERCEPT_DECAY = 0.01
# Rows that the curvature of a batch is estimated from.
SAMPLE = 1024
# A mean objective that is as good as infinite at the end: slopes are clipped, and what diverges may stay finite for long.
BLOWN_UP = 1e18
# What steps are multiplied by after a divergence.
CAUTION = 0.1


class Validation(NamedTuple):
    """Rows that are kept out, and the score of coefficients (k, p) and intercepts (k,) on them, of each target."""

    rows: np.ndarray
    score: Any


class SGDModel(LinearModel):
    """Stochastic gradient descent."""

    loss: str
    penalty: Any
    alpha: Any
    l1_ratio: Any
    epsilon: Any
    max_iter: int
    tol: Any
    shuffle: bool
    random_state: Any
    learning_rate: str
    eta0: Any
    power_t: Any
    early_stopping: bool
    n_iter_no_change: int
    average: Any
    batch_size: Any = 1

    _one_class: ClassVar[bool] = False

    loss_functions: ClassVar[dict[str, tuple[Any, ...]]] = {
        "hinge": (Hinge, 1.0),
        "squared_hinge": (SquaredHinge,),
        "perceptron": (Hinge, 0.0),
        "log_loss": (LogisticMargin,),
        "modified_huber": (ModifiedHuber,),
        "squared_error": (Squared,),
        "huber": (Huber, 0.1),
        "epsilon_insensitive": (EpsilonInsensitive, 0.1),
        "squared_epsilon_insensitive": (SquaredEpsilonInsensitive, 0.1),
    }
    """Formulas, and their numbers where `epsilon` does not say other ones."""

    @property
    def _loss_name(self) -> str:
        return self.loss

    _parameter_constraints: dict = {
        "penalty": [ONE_OF("l2", "l1", "elasticnet"), None],
        "alpha": [NON_NEGATIVE],
        "l1_ratio": [SHARE, None],
        "fit_intercept": ["boolean"],
        "max_iter": [COUNT],
        "tol": [NON_NEGATIVE, None],
        "shuffle": ["boolean"],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "average": [Interval(Integral, 0, None, closed="neither"), "boolean"],
        "eta0": [POSITIVE],
    }
    _stopping: dict = {
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [COUNT],
    }

    def _refuse(self, *, partial_fit: bool = False) -> None:
        """Combinations that mean nothing, in scikit-learn's words."""
        if self.early_stopping and partial_fit:
            raise ValueError("early_stopping should be False with partial_fit")
        if self.learning_rate == "optimal" and self.alpha == 0:
            raise ValueError(
                "alpha must be > 0 since learning_rate is 'optimal'. alpha is used to compute the optimal learning rate."
            )
        if self.penalty == "elasticnet" and self.l1_ratio is None:
            raise ValueError("l1_ratio must be set when penalty is 'elasticnet'")
        wanted = "epsilon_insensitive" if self._loss_name in REGRESSION else "hinge"
        if self.learning_rate in ("pa1", "pa2") and self._loss_name != wanted:
            raise ValueError(f"Learning rate '{self.learning_rate}' only works with loss '{wanted}'.")
        if self.learning_rate in ("pa1", "pa2") and self.batch_size != 1:
            raise ValueError(f"Learning rate '{self.learning_rate}' takes one sample at a time: batch_size=1.")

    def _rule(self, dtype: Any, sparse: bool) -> sgd.Rule:
        kind, *numbers = self.loss_functions[self._loss_name]
        if kind in (Huber, EpsilonInsensitive, SquaredEpsilonInsensitive):
            numbers = [self.epsilon]
        loss = kind(*(number(value, dtype) for value in numbers))
        return sgd.Rule(
            loss,
            alpha=number(self.alpha, dtype),
            l1_ratio=number(self.l1_ratio or 0.0, dtype),
            eta0=number(self.eta0, dtype),
            power_t=number(self.power_t, dtype),
            average_from=number(int(self.average), dtype),
            intercept_decay=number(SPARSE_INTERCEPT_DECAY if sparse else 1.0, dtype),
            caution=number(1, dtype),
            schedule=self.learning_rate,
            l1=self.penalty in ("l1", "elasticnet"),
            l2=self.penalty in ("l2", "elasticnet"),
            fit_intercept=self.fit_intercept,
            one_class=self._one_class,
            average=bool(self.average),
        )

    def _descend(
        self,
        X: Any,
        y: np.ndarray,
        weight: np.ndarray,
        start: tuple[np.ndarray, np.ndarray],
        *,
        max_iter: int,
        validation: Validation | None = None,
    ) -> None:
        """Epochs from `start`, coefficients (k, p) and intercepts (k,); sets ``_iterate``, ``t_`` and ``n_iter_``.

        Parameters
        ----------
        X : ndarray or CSR, (n, p)
        y, weight : (n, k)
        """
        dtype, sparse = np.dtype(X.dtype), scipy.sparse.issparse(X)
        if sparse and self.batch_size != 1:
            raise ValueError("Sparse X is learnt from one sample at a time: batch_size=1.")
        with jax.enable_x64(dtype == np.float64):
            rule, drawn = self._rule(dtype, sparse), int(seed(self.random_state))
            learn = _Epochs(self, rule, X, y.astype(dtype), weight.astype(dtype), validation, drawn)
            it = sgd.begin(rule, jnp.asarray(start[0].T, dtype), jnp.asarray(start[1], dtype), self.t_)
            carried = getattr(self, "_iterate", None)
            if carried is not None and rule.average:  # coefficients that were learnt so far, and their mean
                it = jax.tree.map(jnp.asarray, carried)
                it = sgd.again(rule, it)
            it, self.n_iter_ = learn.run(it, max_iter)
            mean = sgd.averaged(rule, it) if rule.average else sgd.coefficients(it)
            self._iterate = jax.device_get(it)
            coef, intercept = (np.array(part) for part in mean)
            if rule.average:  # under scikit-learn's names: the last iterate, and the mean
                last = sgd.coefficients(it)
                self._standard_coef, self._standard_intercept = np.array(last[0].T), np.array(last[1])
                self._average_coef, self._average_intercept = np.array(coef.T), np.array(intercept)
        self.t_ += self.n_iter_ * learn.n_rows
        self.coef_, self.intercept_ = np.ascontiguousarray(coef.T), intercept

    def _warn_if_unfinished(self) -> None:
        if self.power_t < 0:
            warnings.warn(
                "Negative values for `power_t` are deprecated, as in scikit-learn: step sizes would grow.",
                FutureWarning,
                stacklevel=3,
            )
        if self.tol is not None and self.n_iter_ == self.max_iter:
            warnings.warn(
                "Maximum number of iteration reached before convergence. Consider increasing max_iter to improve the fit.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def densify(self):
        """Coefficients as an array: the inverse of `sparsify`.

        Returns
        -------
        self : object
        """
        self.coef_ = self.coef_.toarray() if scipy.sparse.issparse(self.coef_) else self.coef_
        return self

    def sparsify(self):
        """Coefficients as a sparse matrix, which saves memory where most of them are zero.

        Returns
        -------
        self : object
        """
        self.coef_ = scipy.sparse.csr_matrix(self.coef_)
        return self


class _Epochs:
    """The epochs of one fit, for k targets that stop each in its own time."""

    def __init__(self, model: SGDModel, rule: sgd.Rule, X: Any, y: Any, weight: Any, validation: Any, drawn: int):
        self.model, self.rule, self.validation, self.drawn = model, rule, validation, drawn
        held = np.zeros(len(y), bool) if validation is None else validation.rows
        self.train = np.flatnonzero(~held).astype(np.int32)
        self.n_rows = X.shape[0]
        n_rows = row_bucket(X.shape[0])
        if scipy.sparse.issparse(X):
            padded = np.append(X.indptr, np.full(n_rows - X.shape[0], X.indptr[-1]))
            size = row_bucket(X.nnz + PIECE)
            indices, values = np.zeros(size, np.int32), np.zeros(size, X.dtype)
            indices[: X.nnz], values[: X.nnz] = X.indices, X.data
            self.rows: Any = SparseRows(jnp.asarray(padded, jnp.int32), jnp.asarray(indices), jnp.asarray(values))
        else:
            self.rows = DenseRows(jnp.asarray(repeated(X, n_rows)))
        self.y, self.weight = jnp.asarray(repeated(y, n_rows)), jnp.asarray(repeated(weight, n_rows))
        self.size = model.batch_size
        length = -(-n_rows // self.size) * self.size
        self.order = np.full(length, -1, np.int32)
        if self.size > 1:
            some = self.train[permutation(len(self.train), drawn, ROWS)[: max(self.size, SAMPLE)]]
            self.steepest = _curvature(rule, self.rows.X[jnp.asarray(some)], batch_size=self.size)

    def run(self, start: sgd.Iterate, max_iter: int) -> tuple[sgd.Iterate, int]:
        """Epochs until all targets have stopped; once more, with shorter steps, where that diverges."""
        it, epoch, sound = self._run(start, max_iter)
        if sound:
            return it, epoch
        self.rule = dataclasses.replace(self.rule, caution=number(CAUTION, it.scale.dtype))
        it, epoch, sound = self._run(start, max_iter)
        if not _finite(it):
            raise ValueError(
                f"Floating-point under-/overflow occurred at epoch #{epoch}. Scaling input data with StandardScaler or "
                "MinMaxScaler might help."
            )
        warnings.warn(
            f"The descent diverged, and was begun anew with steps of a tenth of their size{'' if sound else ', in vain'}: the "
            "data may need to be scaled.",
            ConvergenceWarning,
            stacklevel=5,
        )
        return it, epoch

    def _run(self, it: sgd.Iterate, max_iter: int) -> tuple[sgd.Iterate, int, bool]:
        model, k = self.model, self.y.shape[1]
        best, idle, active = np.full(k, np.inf), np.zeros(k, int), np.ones(k, bool)
        epoch, mean = 0, np.zeros(k)
        while epoch < max_iter and active.any():
            new, objective = self._epoch(it, epoch)
            epoch += 1
            if not _finite(new):
                return new, epoch, False
            it = new if active.all() else _chosen(jnp.asarray(active), new, it)
            mean = np.where(active, np.asarray(objective, float) / len(self.train), mean)
            cost = mean
            if self.validation is not None:
                coef, intercept = (np.asarray(part) for part in sgd.coefficients(it))
                cost = -np.asarray(self.validation.score(coef.T, intercept), float)
            if model.tol is not None:
                idle = np.where(cost > best - model.tol, idle + 1, 0)
            best = np.minimum(best, cost)
            done = active & (idle >= model.n_iter_no_change)
            if model.learning_rate == "adaptive":
                lower = done & (np.asarray(it.eta) > 1e-6)
                it = dataclasses.replace(it, eta=jnp.where(jnp.asarray(lower), it.eta / 5, it.eta))
                idle, done = np.where(lower, 0, idle), done & ~lower
            active &= ~done
        return it, epoch, bool((mean < BLOWN_UP).all())

    def _epoch(self, it: sgd.Iterate, epoch: int) -> tuple[sgd.Iterate, Any]:
        train = self.train
        order = train[permutation(len(train), self.drawn, ROWS, epoch)] if self.model.shuffle else train
        if self.size > 1:
            padded = self.order.copy()
            padded[: len(order)] = order
            rows, count = (self.rows.X, self.y, self.weight), np.int32(-(-len(order) // self.size))
            return _batches(self.rule, it, rows, padded, count, batch_size=self.size, steepest=self.steepest)
        padded = np.resize(order, len(self.order)).astype(np.int32)
        return _samples(self.rule, it, (self.rows, self.y, self.weight), padded, np.int32(len(order)))


_samples = jax.jit(sgd.one_by_one)
_curvature = jax.jit(sgd.curvature, static_argnames="batch_size")
_batches = jax.jit(sgd.in_batches, static_argnames="batch_size")


@jax.jit
def _chosen(active: jax.Array, new: Any, old: Any) -> Any:
    """`new` for the targets that are still learnt; `t` goes on for all."""
    return jax.tree.map(lambda a, b: a if a.ndim == 0 else jnp.where(active, a, b), new, old)


@jax.jit
def _finite(it: sgd.Iterate) -> jax.Array:
    return jnp.isfinite(it.direction).all() & jnp.isfinite(it.intercept).all() & jnp.isfinite(it.scale).all()
