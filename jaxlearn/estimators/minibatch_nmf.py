"""Non-negative matrix factorization that learns from batches: of rows in memory, of streams, of what comes one by one."""

from __future__ import annotations

import dataclasses
import warnings
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from jaxlearn.access.dense import Dense
from jaxlearn.access.streamed import Streamed
from jaxlearn.models import nmf, online_nmf
from jaxlearn.models._nmf_init import first_factors

from .base import number, seed
from .constraints import COUNT, SHARE
from .nonnegative import NonNegative, blocks, check_start
from .row_batches import RowBatches

__all__ = ["MiniBatchNMF"]


class MiniBatchNMF(NonNegative):
    """Non-negative matrix factorization from batches of rows, in their order: data may be larger than memory.

    Minimises, with ``Ω(A) = l1_ratio Σ A + ½ (1 − l1_ratio) Σ A²``,
    ``d(X, W H) + n_features alpha_W Ω(W) + n_samples alpha_H Ω(H)``.

    For the squared error the codes of a batch are found by coordinate descent, and H minimises the squared error of all rows
    seen so far with the codes of their time, older ones counting less: their sums ``Wᵀ W`` and ``Wᵀ X`` are all that is kept.
    Other divergences are minimised by multiplicative updates.

    Parameters
    ----------
    n_components, init, beta_loss, random_state, alpha_W, alpha_H, l1_ratio
        As for `NMF`. Of a stream the first block is what `init` looks at.
    batch_size : int, default=1024
        Rows in a batch.
    tol : float, default=1e-4
        Stop when a batch changes H by at most this share of its norm; 0 never does. Also the tolerance of codes that are
        solved for.
    max_no_improvement : int or None, default=10
        Stop after so many batches that do not lower the mean cost of a row, smoothed over batches.
    max_iter : int, default=200
        Most epochs. An iterator has one.
    forget_factor : float, default=0.7
        What a row counts for one epoch later; in `partial_fit` one batch later.
    fresh_restarts : bool, default=False
        Solve for the codes of a batch each time, rather than move those of the last epoch a little. Streams and `partial_fit`,
        which keep no codes, always do.
    fresh_restarts_max_iter : int, default=30
        Most passes then.
    transform_max_iter : int or None, default=None
        Most passes in `transform`; None is `max_iter`.
    verbose : int, default=0
        Without meaning: a compiled program prints nothing.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        H.
    n_components_ : int
    reconstruction_err_ : float
        ``√(2 d(X, W H))``; of a stream with the codes and the components that each batch of the last epoch was learnt with.
    n_iter_ : int
        Epochs that were begun.
    n_steps_ : int
        Batches.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    `fit` also takes `sample_weight`, a ``jax.Array``, and a ``jaxlearn.stream``, which is read once for each epoch, in its
    order.

    References
    ----------
    Mairal, Bach, Ponce and Sapiro, "Online learning for matrix factorization and sparse coding", JMLR 2010. Lefèvre, Bach and
    Févotte, "Online algorithms for nonnegative matrix factorization with the Itakura-Saito divergence", WASPAA 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.decomposition import MiniBatchNMF
    >>> X = np.array([[1, 1], [2, 1], [3, 1.2], [4, 1], [5, 0.8], [6, 1]])
    >>> model = MiniBatchNMF(n_components=2, init="random", random_state=0)
    >>> model.fit_transform(X).shape
    (6, 2)
    """

    n_steps_: int

    _parameter_constraints: dict = {
        **NonNegative._parameter_constraints,
        "max_no_improvement": [COUNT, None],
        "batch_size": [COUNT],
        "forget_factor": [SHARE],
        "fresh_restarts": ["boolean"],
        "fresh_restarts_max_iter": [COUNT],
        "transform_max_iter": [COUNT, None],
    }

    def __init__(
        self,
        n_components="auto",
        *,
        init=None,
        batch_size=1024,
        beta_loss="frobenius",
        tol=1e-4,
        max_no_improvement=10,
        max_iter=200,
        alpha_W=0.0,
        alpha_H="same",
        l1_ratio=0.0,
        forget_factor=0.7,
        fresh_restarts=False,
        fresh_restarts_max_iter=30,
        transform_max_iter=None,
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.init = init
        self.batch_size = batch_size
        self.beta_loss = beta_loss
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.max_iter = max_iter
        self.alpha_W = alpha_W
        self.alpha_H = alpha_H
        self.l1_ratio = l1_ratio
        self.forget_factor = forget_factor
        self.fresh_restarts = fresh_restarts
        self.fresh_restarts_max_iter = fresh_restarts_max_iter
        self.transform_max_iter = transform_max_iter
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y=None, *, W=None, H=None, sample_weight=None):
        """Forget what was learnt, and find the components of X.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)
            ≥ 0. float32 is computed in float32, everything else in float64.
        y : Ignored
            There is no target.
        W, H : array-like of shape (n_samples, n_components) and (n_components, n_features), optional
            Where to start, for ``init="custom"``; of a stream H alone.
        sample_weight : float or array-like of shape (n_samples,), optional
            As if rows were repeated in their batch; zero is a row that is not there. Not for streams.

        Returns
        -------
        self : object
        """
        self._validate_params()
        X = self._read(X, reset=True)
        if isinstance(X, Streamed):
            self._fit_stream(X, H, sample_weight)
        else:
            self._fit_rows(X, W, H, sample_weight)
        return self

    def fit_transform(self, X, y=None, W=None, H=None, sample_weight=None):
        """Find the components, and the codes of the same rows.

        Parameters
        ----------
        X, y, W, H, sample_weight
            As in `fit`. A stream is read once more for its codes.

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_components)
        """
        self._validate_params()
        X = self._read(X, reset=True)
        if isinstance(X, Streamed):
            self._fit_stream(X, H, sample_weight)
            return self._codes(X)
        return self._fit_rows(X, W, H, sample_weight)

    def partial_fit(self, X, y=None, W=None, H=None):
        """Learn from one more batch.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
            The batch.
        y : Ignored
            There is no target.
        W, H : array-like, optional
            Where the first batch starts, for ``init="custom"``.

        Returns
        -------
        self : object
        """
        self._validate_params()
        known = hasattr(self, "_state")
        X = self._read(X, reset=not known)
        if isinstance(X, Streamed):
            raise TypeError("MiniBatchNMF.partial_fit takes one batch: give a stream to MiniBatchNMF.fit.")
        self._refuse_zeros(X)
        rows = RowBatches.of(X, X.shape[0])
        k, init, _, H = (self._n_components, None, None, None) if known else check_start(self, X, W, H)
        with rows.precision:
            model = self._model_of(k, X)
            if known:
                state = jax.tree.map(lambda a: a.astype(X.dtype) if a.dtype.kind == "f" else a, self._state)
            else:
                state = online_nmf.start(model, self._first(rows, model, init)[1] if init else H)
                self._memory = self.forget_factor ** (min(self.batch_size, X.shape[0]) / X.shape[0])
            online = online_nmf.OnlineNMF(model, number(self._memory, X.dtype))
            self._adopt(_learn(online, state, rows.batches, rows.weights, None)[0])
        return self

    def transform(self, X):
        """Codes of rows on the components.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_components)
        """
        check_is_fitted(self)
        return self._codes(self._read(X, reset=False))

    def _codes(self, X: Any) -> Any:
        max_iter = self.max_iter if self.transform_max_iter is None else self.transform_max_iter
        return self._encode(X, self._model_of(self._n_components, X, max_iter))[0]

    def _model_of(self, k: int, X: Any, max_iter: int | None = None) -> nmf.NMF:
        solver = "cd" if self._beta == 2 else "mu"
        return self._model(k, self.n_features_in_, X.dtype, solver, max_iter or self.fresh_restarts_max_iter)

    def _online(self, model: nmf.NMF, memory: float, weight: float, dtype: Any) -> online_nmf.OnlineNMF:
        self._memory = memory
        patience = np.inf if self.max_no_improvement is None else self.max_no_improvement
        return online_nmf.OnlineNMF(model, *(number(v, dtype) for v in (memory, weight, self.tol, patience)))

    def _first(self, rows: RowBatches, model: nmf.NMF, init: str) -> Any:
        key = jax.random.key(seed(self.random_state))
        return _start(rows.whole, rows.weights.ravel(), model.n_components, init, key)

    def _fit_rows(self, X: Any, W: Any, H: Any, sample_weight: Any) -> Any:
        self._refuse_zeros(X)
        k, init, W, H = check_start(self, X, W, H)
        n_samples, size = X.shape[0], min(self.batch_size, X.shape[0])
        rows = RowBatches.of(X, size, sample_weight)
        with rows.precision:
            model = self._model_of(k, X)
            W, H = self._first(rows, model, init) if init else (W, H)
            memory, weight = self.forget_factor ** (size / n_samples), float(rows.weights.sum(dtype=np.float64))
            online, state = self._online(model, memory, weight, X.dtype), online_nmf.start(model, H)
            codes = None if self.fresh_restarts else rows.stacked(W)
            for _ in range(self.max_iter):
                state, codes = _learn(online, state, rows.batches, rows.weights, codes)
                if bool(state.done):
                    break
            self._adopt(state)
            if codes is None or self._beta == 2:
                # those that were learnt with are of earlier components; least squares has one answer, that of `transform`
                codes = rows.stacked(self._codes(X))
            loss = float(_loss(model, state.components, rows.batches, rows.weights, codes))
            W = rows.flat(codes)
        self._count(state, -(-n_samples // size), loss)
        self._warn_of_zeros(X, W)
        return W

    def _fit_stream(self, X: Streamed, H: Any, sample_weight: Any) -> None:
        if sample_weight is not None:
            raise ValueError("MiniBatchNMF.fit takes no sample_weight for a stream.")
        reader = X.reader
        with jax.enable_x64(reader.dtype == np.float64):  # or a stream says that it is computed in single precision
            head, dtype = np.asarray(X.head().X), np.dtype(X.dtype)
        k, init, _, H = check_start(self, head, None, H, of_rows=False)
        size, rows = min(self.batch_size, reader.block_size), RowBatches.of(head, len(head))
        with rows.precision:
            model = self._model_of(k, head)
            n_samples = np.inf if reader.n_samples is None else reader.n_samples
            online = self._online(model, self.forget_factor ** (size / n_samples), n_samples, dtype)
            state = online_nmf.start(model, self._first(rows, model, init)[1] if init else H)
            for _ in range(self.max_iter):
                state = eqx.tree_at(lambda s: s.loss, state, jnp.zeros((), dtype))
                for block, n_rows in blocks(self, X):
                    self._refuse_zeros(block[:n_rows])
                    present = np.arange(len(block)) < n_rows
                    state = jax.block_until_ready(_learn_block(online, state, block, present, size=size))
                # now the number of rows is known
                online = self._online(model, self.forget_factor ** (size / X.shape[0]), X.shape[0], dtype)
                if bool(state.done) or reader.exhausted:
                    break
        self._adopt(state)
        whole, rest = divmod(X.shape[0], reader.block_size)
        self._count(
            state, whole * -(-reader.block_size // size) + -(-rest // size), float(state.loss), reader.exhausted
        )

    def _adopt(self, state: online_nmf.State) -> None:
        state = jax.device_get(state)
        if not np.isfinite(state.components).all():
            raise ValueError(
                "The fit resulted in non-finite values. The input data may contain large values and need to be preprocessed."
            )
        self._state = dataclasses.replace(state, done=np.asarray(False))
        self.components_ = np.array(state.components)
        self.n_components_, self.n_steps_ = len(self.components_), int(state.n_steps)

    def _count(self, state: online_nmf.State, n_batches: int, loss: float, once: bool = False) -> None:
        """Of a whole fit: epochs, error, and whether there were too few epochs; of an iterator there is one."""
        self.n_iter_ = -(-self.n_steps_ // n_batches)
        self.reconstruction_err_ = float(np.sqrt(2 * max(loss, 0)))
        if self.n_iter_ == self.max_iter and self.tol > 0 and not (once or bool(state.done)):
            warnings.warn(
                f"Maximum number of iterations {self.max_iter} reached. Increase it to improve convergence.",
                ConvergenceWarning,
                stacklevel=4,
            )


_start = jax.jit(first_factors, static_argnums=(2, 3))
_learn = jax.jit(online_nmf.learn)


@partial(jax.jit, static_argnames="size")
def _learn_block(online: Any, state: Any, block: jax.Array, present: Any, *, size: int) -> Any:
    n_batches = -(-len(block) // size)
    padding = 0, n_batches * size - len(block)
    rows = jnp.pad(block, (padding, (0, 0))).reshape(n_batches, size, -1)
    weights = jnp.pad(jnp.asarray(present, block.dtype), padding).reshape(n_batches, size)
    return online_nmf.learn(online, state, Dense(rows), weights)[0]


@jax.jit
def _loss(model: nmf.NMF, components: Any, batches: Any, weights: Any, codes: Any) -> jax.Array:
    """Divergence of all rows."""

    def of_batch(batch: Any) -> jax.Array:
        X, w, rows = batch
        total = w.sum()
        return total * nmf.loss(model, components, X, rows, jnp.where(total > 0, w, 1))

    return lax.map(of_batch, (batches, weights, codes)).sum()
