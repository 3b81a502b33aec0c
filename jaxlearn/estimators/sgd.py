"""What the estimators that learn by stochastic gradients share: parameters, their rule, and what is adopted of a descent."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval

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
from .sgd_epochs import Descent, Held, PassingRows, Validation

__all__ = ["CLASSIFICATION", "REGRESSION", "SGDModel"]

REGRESSION = "squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive"
CLASSIFICATION = "hinge", "squared_hinge", "perceptron", "log_loss", "modified_huber"
# Steps of an intercept where X is sparse: it changes with every row, and other coefficients rarely.
SPARSE_INTERCEPT_DECAY = 0.01


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
            average_from=np.int32(int(self.average)),
            intercept_decay=number(SPARSE_INTERCEPT_DECAY if sparse and self.batch_size == 1 else 1.0, dtype),
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
        rows: Held | PassingRows,
        start: tuple[np.ndarray, np.ndarray],
        *,
        max_iter: int,
        validation: Validation | None = None,
    ) -> None:
        """Epochs from `start`, coefficients (k, p) and intercepts (k,); sets ``_iterate``, ``t_`` and ``n_iter_``."""
        dtype = rows.dtype
        with jax.enable_x64(dtype == np.float64):
            rule, drawn = self._rule(dtype, rows.sparse), int(seed(self.random_state))
            descent = Descent(self, rule, rows, validation, drawn)
            it = sgd.begin(rule, jnp.asarray(start[0].T, dtype), jnp.asarray(start[1], dtype), self.t_)
            carried = getattr(self, "_iterate", None)
            if carried is not None and rule.average:  # coefficients that were learnt so far, and their mean
                it = jax.tree.map(jnp.asarray, carried)
                it = sgd.again(rule, it)
            it, self.n_iter_ = descent.run(it, max_iter)
            mean = sgd.averaged(rule, it) if rule.average else sgd.coefficients(it)
            self._iterate = jax.device_get(it)
            coef, intercept = (np.array(part) for part in mean)
            if rule.average:  # under scikit-learn's names: the last iterate, and the mean
                last = sgd.coefficients(it)
                self._standard_coef, self._standard_intercept = np.array(last[0].T), np.array(last[1])
                self._average_coef, self._average_intercept = np.array(coef.T), np.array(intercept)
        self.t_ += descent.n_seen
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
