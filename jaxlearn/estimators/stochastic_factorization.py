"""Dictionaries of matrices that no memory holds: the estimator of `models.matrix_factorization`."""

from __future__ import annotations

import os
import warnings
from numbers import Integral, Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from jaxlearn.access.buckets import row_bucket
from jaxlearn.access.scan import COLUMNS, in_order, permutation
from jaxlearn.access.streamed import Streamed
from jaxlearn.models import matrix_factorization as mf
from jaxlearn.solvers.solution import CONVERGED, MAX_STEPS

from .base import one_blas_thread, seed, warn_unless_converged
from .constraints import COUNT, NON_NEGATIVE, ONE_OF, SHARE
from .encoding import encode_rows
from .factorization_fit import Learner
from .factorization_setup import first_state, learner_of, model_of, penalty_of
from .rows import read_rows

__all__ = ["StochasticFactorization"]

_step = jax.jit(mf.step)


class StochasticFactorization(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Sparse codes and a dictionary of rows that stream, batch by batch.

    *Minimises* ``E_x min_a ½ ‖x − a D‖² + alpha Ω(a)`` over dictionaries D whose rows, the atoms, lie in a ball.

    *Step* Codes of a batch; sums ``C = Σ ω aᵀa`` and ``B = Σ ω aᵀx`` with weights that forget; one sweep over the atoms,
    ``d_j ← Proj(d_j + (b_j − c_j D) / c_jj)``.

    *Reads the data by* scan: rows in a random order, as many passes as `max_iter` says.

    *Cost per step* of b rows: 4 b k p flops, and 2 to 8 k² p for the sweep.

    *Stops when* an epoch lowers the objective of rows that were held out by less than the share `tol`.

    Parameters
    ----------
    n_components : int, optional
        k, atoms; all features by default.
    code_penalty : {"l1", "l2", "elasticnet"}, default="l1"
        Ω: ``‖a‖₁``, ``½ ‖a‖²`` or a mixture.
    alpha : float, default=1.0
        Strength, in the scale of scikit-learn's `DictionaryLearning`.
    l1_ratio : float, default=0.5
        Of ``elasticnet``: the share of the l1 norm.
    positive_code : bool, default=False
    atom_ball : {"l2", "l1", "elasticnet"}, default="l2"
        What is at most 1 of each atom: ``‖d‖²``, ``‖d‖₁`` or ``atom_l1_ratio ‖d‖₁ + (1 − atom_l1_ratio) ‖d‖²``; atoms in the
        last two are sparse.
    atom_l1_ratio : float, default=0.5
    positive_dict : bool, default=False
    reduction : int or "auto", default=1
        r: a step looks at one r-th of the features to find codes, and updates atoms there. It saves computing where features
        are very many, and never saves reading. "auto" probes which r lowers the held-out objective fastest on this machine:
        the choice then depends on clocks, and the result with it.
    average : bool, default=False
        With r > 1, average what is known of a sample over the epochs; needs memory for ``n_samples × n_components`` numbers.
    batch_size : int or "auto", default="auto"
        Rows of a batch; "auto" grows from a quarter of about four rows for each atom to four times that.
    learning_decay : float, default=0.76
        u: sample i has the weight ``i⁻ᵘ``. In (3/4, 1] convergence is proven; small values forget a bad beginning sooner.
    max_iter : int, default=10
        Most epochs.
    tol : float, default=1e-3
        See above; 0 uses all epochs.
    shuffle : bool, default=True
        Rows in memory are shuffled anew for each epoch; of a stream its blocks are, and the rows inside of them.
    dict_init : array-like of shape (n_components, n_features), optional
        By default rows of the data.
    n_validation : int, optional
        Rows that are held out; by default a tenth of the data, at most 1000, and at most 64 MB of them or 64 rows.
    code_tol : float, default=0.3
        Duality gap of the codes of a batch, in units of their objective.
    transform_tol : float, default=1e-4
        The same for ``transform``, of every row.
    checkpoint : path, optional
        A folder. A fit that was killed goes on from there, to the same bits as if it had not been.
    every : float, default=60.0
        Seconds between checkpoints; 0 writes one whenever the program returns to the host, after 16 batches or a block.
    resume : bool, default=True
        Whether a fit goes on from a checkpoint that it finds. Data or parameters that have changed, other than `max_iter`, are
        refused.
    callback : callable, optional
        Called with a `LearningProgress` after each batch.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        The atoms.
    objective_ : float
        Of the rows that were held out, at their best codes.
    history_ : list of dict
        The same at the beginning and after each epoch, with samples seen and seconds.
    certificate_ : float
        Share by which the objective fell in the last epoch.
    converged_ : bool
    reduction_ : int
    n_iter_, n_steps_, n_samples_seen_ : int
        Epochs, batches and rows.
    n_reseeded_ : int
        Atoms that no code used, and that a row has replaced.
    n_passes_, bytes_read_ : int
        Of a stream.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    References
    ----------
    Mairal, Bach, Ponce, Sapiro, "Online learning for matrix factorization and sparse coding", JMLR 2010. Mensch, Mairal,
    Thirion, Varoquaux, "Stochastic subsampling for factorizing huge matrices", IEEE Trans. Signal Processing 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.decomposition import StochasticFactorization
    >>> X = np.random.default_rng(0).standard_normal((500, 20))
    >>> model = StochasticFactorization(8, alpha=0.5, tol=0, max_iter=2, random_state=0).fit(X)
    >>> model.components_.shape, model.transform(X).shape
    ((8, 20), (500, 8))
    """

    _parameter_constraints: dict = {
        "n_components": [COUNT, None],
        "code_penalty": [ONE_OF("l1", "l2", "elasticnet")],
        "alpha": [NON_NEGATIVE],
        "l1_ratio": [SHARE],
        "positive_code": ["boolean"],
        "atom_ball": [ONE_OF("l2", "l1", "elasticnet")],
        "atom_l1_ratio": [SHARE],
        "positive_dict": ["boolean"],
        "reduction": [COUNT, ONE_OF("auto")],
        "average": ["boolean"],
        "batch_size": [COUNT, ONE_OF("auto")],
        "learning_decay": [Interval(Real, 0, 1, closed="right")],
        "max_iter": [COUNT],
        "tol": [NON_NEGATIVE],
        "shuffle": ["boolean"],
        "dict_init": ["array-like", None],
        "n_validation": [Interval(Integral, 1, None, closed="left"), None],
        "code_tol": [Interval(Real, 0, 1, closed="neither")],
        "transform_tol": [Interval(Real, 0, 1, closed="neither")],
        "checkpoint": [str, os.PathLike, None],
        "every": [NON_NEGATIVE],
        "resume": ["boolean"],
        "callback": [callable, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components=None,
        *,
        code_penalty="l1",
        alpha=1.0,
        l1_ratio=0.5,
        positive_code=False,
        atom_ball="l2",
        atom_l1_ratio=0.5,
        positive_dict=False,
        reduction=1,
        average=False,
        batch_size="auto",
        learning_decay=0.76,
        max_iter=10,
        tol=1e-3,
        shuffle=True,
        dict_init=None,
        n_validation=None,
        code_tol=0.3,
        transform_tol=1e-4,
        checkpoint=None,
        every=60.0,
        resume=True,
        callback=None,
        random_state=None,
    ):
        self.n_components = n_components
        self.code_penalty = code_penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.positive_code = positive_code
        self.atom_ball = atom_ball
        self.atom_l1_ratio = atom_l1_ratio
        self.positive_dict = positive_dict
        self.reduction = reduction
        self.average = average
        self.batch_size = batch_size
        self.learning_decay = learning_decay
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.dict_init = dict_init
        self.n_validation = n_validation
        self.code_tol = code_tol
        self.transform_tol = transform_tol
        self.checkpoint = checkpoint
        self.every = every
        self.resume = resume
        self.callback = callback
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self):
        return len(self.components_)

    def fit(self, X, y=None):
        """Learn a dictionary.

        Parameters
        ----------
        X : {array-like, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        self : object
        """
        self._validate_params()
        X = read_rows(self, X, sparse=False)
        dtype = np.dtype(X.dtype)
        with jax.enable_x64(dtype == np.float64), one_blas_thread():
            learner = learner_of(self, X, dtype)
            learner.run()
            self._adopt(learner.state, learner.columns)
            self._judge(learner, dtype)
        return self

    def partial_fit(self, X, y=None):
        """Learn from one batch: all of X. The first one must have at least one row for each atom, unless there is `dict_init`.

        Parameters
        ----------
        X : {array-like, jax.Array} of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        self : object
        """
        self._validate_params()
        if self.reduction == "auto" or self.average:
            raise ValueError("`reduction='auto'` and `average` need all rows at hand: call `fit`.")
        begun = hasattr(self, "_state")
        X = read_rows(self, X, sparse=False, reset=not begun)
        if isinstance(X, Streamed):
            raise ValueError("A stream is learnt from by `fit`.")
        dtype = np.dtype(X.dtype)
        with jax.enable_x64(dtype == np.float64), one_blas_thread():
            model = model_of(self, X.shape[1], dtype, self.reduction)
            if not begun:
                self.n_samples_seen_ = 0
                drawn = int(seed(self.random_state))
                self._columns = permutation(X.shape[1], drawn, COLUMNS) if self.reduction > 1 else None
                rows = X if self._columns is None else X[:, self._columns]
                self._state = first_state(self, model, rows, self._columns, drawn)
            rows = X if self._columns is None else X[:, self._columns]
            n_rows = row_bucket(len(rows))
            weight = np.zeros(n_rows, dtype)
            weight[: len(rows)] = 1
            rows = jnp.pad(jnp.asarray(rows), ((0, n_rows - len(rows)), (0, 0)))
            self._state = jax.device_get(_step(model, self._state, rows, weight))
            self.n_samples_seen_ += len(X)
            self._adopt(self._state, self._columns)
        return self

    def transform(self, X):
        """Codes of rows.

        Parameters
        ----------
        X : {array-like, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_components)
        """
        check_is_fitted(self)
        X = read_rows(self, X, sparse=False, reset=False)
        penalty = penalty_of(self, self.components_.dtype)
        if not isinstance(X, Streamed):
            return self._encoded(X, self.components_, penalty)
        components, reader = self.components_, X.reader
        columns, scale = getattr(reader.source, "columns", None), reader.source.scale
        components = components if columns is None else components[:, columns]
        codes = []
        for block in reader.blocks():
            rows = np.asarray(block.rows)[: block.n_rows].astype(components.dtype)
            codes.append(self._encoded(rows if scale is None else rows * scale[None], components, penalty))
        return np.concatenate(codes)

    def inverse_transform(self, X):
        """Rows that have the codes `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        X = check_array(X, dtype=[np.float64, np.float32])  # pyright: ignore
        if X.shape[1] != len(self.components_):
            raise ValueError(f"Expected {len(self.components_)} codes for each row, got {X.shape[1]}.")
        return X @ self.components_

    def reconstruct(self, X):
        """The best approximation of rows by few atoms: ``inverse_transform(transform(X))``.

        Parameters
        ----------
        X : {array-like, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        return self.inverse_transform(self.transform(X))

    def score(self, X, y=None):
        """Minus the mean of ``½ ‖x − a D‖² + alpha Ω(a)`` over rows, at their best codes.

        Parameters
        ----------
        X : {array-like, jax.Array} of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        float
        """
        codes = self.transform(X)
        loss = 0.5 * np.square(np.asarray(X) - self.inverse_transform(codes)).sum(1)
        l1, l2 = (float(strength[0]) for strength in penalty_of(self, codes.dtype).strengths(jnp.zeros(1)))
        return -float(np.mean(loss + l1 * np.abs(codes).sum(1) + 0.5 * l2 * np.square(codes).sum(1)))

    def _encoded(self, X: Any, components: np.ndarray, penalty: Any) -> np.ndarray:
        codes, gap, converged = encode_rows(X, components, penalty, tol=self.transform_tol, max_steps=100)
        status = CONVERGED if converged else MAX_STEPS
        warn_unless_converged(self, status, gap, "duality gap", self.transform_tol, 100, components.dtype)
        return codes

    def _adopt(self, state: mf.State, columns: np.ndarray | None) -> None:
        components = in_order(state.dictionary, columns)
        if not np.isfinite(components).all():
            raise ValueError("Input X contains NaN, infinity or values too large for its dtype.")
        self.components_ = components
        self.n_steps_, self.n_reseeded_ = int(state.n_steps), int(state.n_reseeded)
        if not np.asarray(state.second).any():
            warnings.warn(
                f"alpha={self.alpha} is so large that every code is zero: no atom was learnt. Lower it.",
                UserWarning,
                stacklevel=3,
            )

    def _judge(self, learner: Learner, dtype: np.dtype) -> None:
        self.objective_, self.history_ = learner.judged(1e-4), learner.history
        self.certificate_, self.converged_ = learner.improvement, learner.converged
        self.reduction_, self.n_iter_ = learner.model.reduction, learner.place.epoch
        self.n_samples_seen_ = learner.place.seen
        if learner.scan.reader is not None:
            self.n_passes_, self.bytes_read_ = learner.scan.reader.n_passes, learner.scan.reader.bytes_read
        if self.tol > 0 and not self.converged_ and learner.place.epoch == self.max_iter:
            certificate = "decrease of the held-out objective in an epoch, as a share of it,"
            warn_unless_converged(self, MAX_STEPS, self.certificate_, certificate, self.tol, self.n_iter_, dtype)
