"""From the parameters of `StochasticFactorization` to the model, the rows and the fit that they mean."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.utils import check_array

from jaxlearn.access.scan import COLUMNS, BatchSizes, Scan, permutation
from jaxlearn.access.streamed import Streamed
from jaxlearn.models import matrix_factorization as mf
from jaxlearn.objectives import L2, Ball, ElasticNet, ElasticNetBall, L2Ball, Penalty

from .base import number, seed
from .checkpointing import checkpointing_of
from .factorization_fit import Learner

__all__ = ["first_state", "learner_of", "model_of", "penalty_of"]

# Rows that are held out, unless asked for: a tenth of the data, at most so many, and no more than so many bytes hold in single
# precision or a few: they are read one by one before anything is learnt, and stay in memory.
HELD_OUT = 1000
HELD_OUT_BYTES = 1 << 26
HELD_OUT_ANYWAY = 64
# Parameters that do not change what a fit computes, but how far it goes and what it leaves behind.
BESIDE = {"max_iter", "checkpoint", "every", "resume", "callback", "transform_tol"}


def penalty_of(estimator: Any, dtype: Any) -> Penalty:
    """Of the codes."""
    alpha, positive = number(estimator.alpha, dtype), estimator.positive_code
    if estimator.code_penalty == "l2":  # with signs, no ridge regression
        return ElasticNet(alpha, number(0, dtype), True) if positive else L2(alpha)
    if estimator.code_penalty == "l1":
        return ElasticNet(alpha, number(1, dtype), positive)
    return ElasticNet(alpha, number(estimator.l1_ratio, dtype), positive)


def ball_of(estimator: Any, dtype: Any) -> Ball:
    """Of the atoms."""
    one, positive = number(1, dtype), estimator.positive_dict
    if estimator.atom_ball == "l2":
        return L2Ball(one, positive)
    ratio = 1 if estimator.atom_ball == "l1" else estimator.atom_l1_ratio
    return ElasticNetBall(one, positive, number(ratio, dtype))


def model_of(estimator: Any, n_features: int, dtype: Any, reduction: int) -> mf.MatrixFactorization:
    """The configuration, with its numbers as arrays."""
    if reduction > n_features:
        raise ValueError(f"reduction={reduction} is more than the {n_features} features of X.")
    return mf.MatrixFactorization(
        n_components=n_features if estimator.n_components is None else estimator.n_components,
        penalty=penalty_of(estimator, dtype),
        ball=ball_of(estimator, dtype),
        reduction=reduction,
        average=estimator.average,
        learning_decay=number(estimator.learning_decay, dtype),
        tol=number(estimator.code_tol, dtype),
        max_steps=number(40, np.int32),
    )


def first_state(estimator: Any, model: mf.MatrixFactorization, rows: Any, columns: Any, seed: int) -> mf.State:
    """Atoms of `dict_init`, whose columns are in the order of the features, or of rows."""
    if estimator.dict_init is None:
        return mf.init(model, rows, jax.random.key(seed))
    given = check_array(estimator.dict_init, dtype=np.dtype(rows.dtype), input_name="dict_init")  # pyright: ignore
    if given.shape != (model.n_components, rows.shape[1]):
        raise ValueError(f"dict_init has shape {given.shape}; expected {(model.n_components, rows.shape[1])}.")
    return mf.start(model, given if columns is None else given[:, columns], jax.random.key(seed))


def learner_of(estimator: Any, X: Any, dtype: np.dtype) -> Learner:
    """The fit, before it begins."""
    checkpointing = None if estimator.checkpoint is None else checkpointing_of(estimator, X, BESIDE)
    found = None if checkpointing is None else checkpointing.find()
    drawn = int(seed(estimator.random_state)) if found is None else int(found[1]["seed"])
    choose, reduction = estimator.reduction == "auto", 1 if estimator.reduction == "auto" else estimator.reduction
    n_features = X.n_features if isinstance(X, Streamed) else X.shape[1]
    model = model_of(estimator, n_features, dtype, reduction)
    columns = _columns(X, drawn, choose or reduction > 1)
    if not isinstance(X, Streamed):
        X = jnp.asarray(X if columns is None else X[:, columns])
    sizes = BatchSizes.automatic(model.n_components, n_features)
    if estimator.batch_size != "auto":
        sizes = BatchSizes(estimator.batch_size, estimator.batch_size)
    scan = Scan(X, sizes, drawn, shuffle=estimator.shuffle, n_held_out=_held_out(estimator, X))
    state = (
        None if found is not None else first_state(estimator, model, scan.sample(model.n_components), columns, drawn)
    )
    if state is not None and model.average:
        state = mf.with_averages(state, _known(scan))
    return Learner(
        model,
        scan,
        state,
        max_iter=estimator.max_iter,
        tol=estimator.tol,
        seed=drawn,
        choose=choose,
        checkpointing=checkpointing,
        found=found,
        callback=estimator.callback,
        columns=columns,
    )


def _columns(X: Any, seed: int, subsampled: bool) -> np.ndarray | None:
    """Contiguous columns must be a random sample of the features where a step sees some of them."""
    if not isinstance(X, Streamed):
        return permutation(X.shape[1], seed, COLUMNS) if subsampled else None
    stored = getattr(X.reader.source, "columns", None)
    if stored is None and subsampled:
        warnings.warn(
            "With `reduction` > 1 each step sees columns that follow each other, and those of this stream lie in their own "
            "order: if neighbours are alike, the fit is poor or diverges. `jaxlearn.access.write_tiles` permutes them.",
            UserWarning,
            stacklevel=4,
        )
    return stored


def _held_out(estimator: Any, X: Any) -> int:
    n_samples = X.reader.n_samples if isinstance(X, Streamed) else len(X)
    if n_samples is None:
        n_samples = len(X.reader.source.head(2 * HELD_OUT)) * 5  # half of the first block at most
    n_features = X.n_features if isinstance(X, Streamed) else X.shape[1]
    most = min(HELD_OUT, max(HELD_OUT_BYTES // (4 * n_features), HELD_OUT_ANYWAY))
    wanted = min(most, max(n_samples // 10, 1)) if estimator.n_validation is None else estimator.n_validation
    if wanted >= n_samples:
        raise ValueError(
            f"Found array with {n_samples} sample(s) while a minimum of {wanted + 1} is required: {wanted} are held out."
        )
    return wanted


def _known(scan: Scan) -> int:
    if scan.n_samples is None:
        raise ValueError("`average` needs to know the number of rows: this stream is an iterator.")
    return scan.n_samples
