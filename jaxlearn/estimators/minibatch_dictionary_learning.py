"""A dictionary that codes samples by few atoms, learnt from batches of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.utils._param_validation import validate_params

from jaxlearn.access.buckets import row_bucket
from jaxlearn.models import matrix_factorization as mf
from jaxlearn.objectives import L1, L2Ball
from jaxlearn.solvers.sparse_codes import INNER

from .alternation import warn_if_nothing
from .base import number, seed
from .constraints import COUNT
from .dictionary_learning import FIT, METHOD
from .encoding import refuse_positive
from .online import Patience, learn_batches
from .sparse_coding import STEPS, SparseCoding, read_dense

__all__ = ["ONLINE", "MiniBatchDictionaryLearning", "dict_learning_online"]

ONLINE: dict = {
    "batch_size": [COUNT],
    "shuffle": ["boolean"],
    "max_no_improvement": [STEPS, None],
}

_step = jax.jit(mf.step)
_init = jax.jit(lambda model, X, start: mf.init(model, X, jax.random.key(start)))
_start = jax.jit(lambda model, dictionary, start: mf.start(model, dictionary, jax.random.key(start)))


class MiniBatchDictionaryLearning(SparseCoding):
    """A dictionary for sparse codes, ``X ≈ codes @ components_``, learnt from one batch of samples after another.

    Minimises the mean over samples of ``½ ‖x − a D‖² + alpha ‖a‖₁`` at their best codes, over atoms of norm at most one. After
    each batch, a sweep over the atoms minimises the error of all samples so far with the codes they had; sample i joins
    with weight ``i ** -0.76``, and so the codes of early dictionaries are forgotten. scikit-learn forgets by a rule of its own.

    Parameters
    ----------
    n_components : int, default=None
        Number of atoms; by default that of the features.
    alpha : float, default=1
        Strength of the penalty.
    max_iter : int, default=1000
        Epochs.
    fit_algorithm : {"lars", "cd"}, default="lars"
        Two names of one problem, which is solved alike, to a duality gap of 0.3 times a batch's objective; ``lars``
        refuses `positive_code`, as scikit-learn does.
    n_jobs : int, default=None
        Without meaning: a batch is one program, and XLA uses the cores.
    batch_size : int, default=256
        Samples of a batch. Larger ones are faster, as long as there are many of them.
    shuffle : bool, default=True
        Whether each epoch has an order of its own, which is a function of the seed.
    dict_init : ndarray of shape (n_components, n_features), default=None
        Atoms to start from, which are brought to norm one; by default samples drawn at random.
    transform_algorithm : {"lasso_lars", "lasso_cd", "lars", "omp", "threshold"}, default="omp"
        As in `sparse_encode`.
    transform_n_nonzero_coefs : int, default=None
        Non-zero codes of a sample, for ``lars`` and ``omp``; by default a tenth of the number of features.
    transform_alpha : float, default=None
        Strength of the penalty in `transform`, or the threshold; by default `alpha`.
    verbose : bool or int, default=False
        Without meaning: a compiled program prints nothing.
    split_sign : bool, default=False
        Return positive and negative parts of codes as different columns.
    random_state : int, RandomState instance or None, default=None
        Seed of the first atoms, of the order of samples, and of samples that replace atoms.
    positive_code : bool, default=False
        Restrict codes to be ≥ 0.
    positive_dict : bool, default=False
        Restrict atoms to be ≥ 0.
    transform_max_iter : int, default=1000
        Iterations for the lasso of a batch or, in `transform`, of a sample.
    callback : callable, default=None
        Called after each batch, with a dict of ``i`` (its number), ``dictionary`` and ``batch_cost``; then each batch is
        a dispatch of its own, instead of 64 together.
    tol : float, default=1e-3
        Stop when ``‖D − D_old‖ / n_components`` is at most this in one step; 0 is never.
    max_no_improvement : int, default=10
        Stop when so many batches in a row did not lower the smoothed cost; None is never.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Atoms.
    n_iter_ : int
        Epochs, the last of which may not have ended.
    n_steps_ : int
        Batches.
    n_reseeded_ : int
        Atoms that no code had used for long, and that were replaced by a sample.
    certificate_ : float
        ``‖D − D_old‖ / n_components`` in the last step of `fit`.
    converged_ : bool
        Whether `fit` stopped before its epochs were used up.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    References
    ----------
    Mairal, Bach, Ponce, Sapiro, "Online learning for matrix factorization and sparse coding", JMLR 2010.

    Examples
    --------
    >>> from sklearn.datasets import make_sparse_coded_signal
    >>> from jaxlearn.decomposition import MiniBatchDictionaryLearning
    >>> X, _, _ = make_sparse_coded_signal(
    ...     n_samples=30, n_components=15, n_features=20, n_nonzero_coefs=10, random_state=42
    ... )
    >>> model = MiniBatchDictionaryLearning(
    ...     15, alpha=0.1, batch_size=10, max_iter=20, transform_algorithm="lasso_lars", random_state=0
    ... )
    >>> codes = model.fit_transform(X)
    >>> bool(((X - codes @ model.components_) ** 2).sum() < 0.1 * (X**2).sum())
    True
    """

    _parameter_constraints: dict = {**FIT, **ONLINE}

    def __init__(
        self,
        n_components=None,
        *,
        alpha=1,
        max_iter=1_000,
        fit_algorithm="lars",
        n_jobs=None,
        batch_size=256,
        shuffle=True,
        dict_init=None,
        transform_algorithm="omp",
        transform_n_nonzero_coefs=None,
        transform_alpha=None,
        verbose=False,
        split_sign=False,
        random_state=None,
        positive_code=False,
        positive_dict=False,
        transform_max_iter=1000,
        callback=None,
        tol=1e-3,
        max_no_improvement=10,
    ):
        self.n_components = n_components
        self.alpha = alpha
        self.max_iter = max_iter
        self.fit_algorithm = fit_algorithm
        self.n_jobs = n_jobs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.dict_init = dict_init
        self.transform_algorithm = transform_algorithm
        self.transform_n_nonzero_coefs = transform_n_nonzero_coefs
        self.transform_alpha = transform_alpha
        self.verbose = verbose
        self.split_sign = split_sign
        self.random_state = random_state
        self.positive_code = positive_code
        self.positive_dict = positive_dict
        self.transform_max_iter = transform_max_iter
        self.callback = callback
        self.tol = tol
        self.max_no_improvement = max_no_improvement

    def fit(self, X, y=None):
        """Learn atoms from batches of X.

        Parameters
        ----------
        X : {array-like, jax.Array} of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        self : object
        """
        self._validate_params()
        refuse_positive(self.fit_algorithm, self.positive_code)
        X = read_dense(self, X)
        dtype, n_samples = np.dtype(X.dtype), X.shape[0]
        size, drawn = min(self.batch_size, n_samples), seed(self.random_state)
        with jax.enable_x64(dtype == np.float64):
            model, rows = self._model(X), jnp.asarray(X)
            state, progress = learn_batches(
                model,
                self._first(model, rows, drawn),
                rows,
                batch_size=size,
                max_iter=self.max_iter,
                patience=Patience.of(self.tol, self.max_no_improvement, n_samples, size, dtype),
                shuffle_seed=int(drawn) if self.shuffle else None,
                callback=self.callback,
            )
            self._adopt(jax.device_get(state))
        self.n_iter_ = -(-self.n_steps_ // -(-n_samples // size))
        self.certificate_, self.converged_ = float(progress.change), bool(progress.stopped)
        if self.max_iter == 0 and self.dict_init is not None:  # nothing was learnt, and nothing is changed
            self.components_ = np.array(self.dict_init, dtype)
        else:
            warn_if_nothing(self.alpha, np.asarray(state.second), self.positive_code)
        return self

    def partial_fit(self, X, y=None):
        """Learn from X as one batch.

        Parameters
        ----------
        X : {array-like, jax.Array} of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        self : object
        """
        self._validate_params()
        refuse_positive(self.fit_algorithm, self.positive_code)
        begun = hasattr(self, "_state")
        X = read_dense(self, X, reset=not begun)
        dtype, n_samples = self._state.dictionary.dtype if begun else np.dtype(X.dtype), X.shape[0]
        n_rows = row_bucket(n_samples)
        weight = (np.arange(n_rows) < n_samples).astype(dtype)
        with jax.enable_x64(dtype == np.float64):
            model, rows = self._model(X), jnp.asarray(X, dtype)
            state = self._state if begun else self._first(model, rows, seed(self.random_state))
            rows = jnp.pad(rows, ((0, n_rows - n_samples), (0, 0)))
            self._adopt(jax.device_get(_step(model, state, rows, weight)))
        return self

    def _model(self, X: Any) -> mf.MatrixFactorization:
        dtype = np.dtype(X.dtype)
        return mf.MatrixFactorization(
            X.shape[1] if self.n_components is None else self.n_components,
            L1(number(self.alpha, dtype), positive=self.positive_code),
            L2Ball(number(1, dtype), self.positive_dict),
            learning_decay=number(0.76, dtype),
            tol=number(0.3, dtype),
            max_steps=np.int32(-(-self.transform_max_iter // INNER)),
        )

    def _first(self, model: mf.MatrixFactorization, rows: Any, drawn: np.ndarray) -> mf.State:
        if self.dict_init is None:
            return _init(model, rows, drawn)
        dictionary = np.asarray(self.dict_init, rows.dtype)
        expected = (model.n_components, rows.shape[1])
        if dictionary.shape != expected:
            raise ValueError(
                f"`dict_init` has shape {dictionary.shape}; expected (n_components, n_features)={expected}."
            )
        return _start(model, dictionary, drawn)

    def _adopt(self, state: mf.State) -> None:
        if not np.isfinite(state.dictionary).all():
            raise ValueError("The fit resulted in non-finite values. The input data may contain large values.")
        self._state = state
        self.components_ = np.array(state.dictionary)
        self.n_steps_, self.n_reseeded_ = int(state.n_steps), int(state.n_reseeded)

    @property
    def _A(self) -> np.ndarray:
        """``Σ ω aᵀ a``, under the name it has in scikit-learn."""
        return np.asarray(self._state.second)

    @property
    def _B(self) -> np.ndarray:
        """``Σ ω xᵀ a``, likewise."""
        return np.asarray(self._state.first).T


@validate_params(
    {
        "X": ["array-like"],
        "return_code": ["boolean"],
        "method": [METHOD],
        "method_max_iter": [STEPS],
    },
    prefer_skip_nested_validation=False,
)
def dict_learning_online(
    X,
    n_components=2,
    *,
    alpha=1,
    max_iter=100,
    return_code=True,
    dict_init=None,
    callback=None,
    batch_size=256,
    verbose=False,
    shuffle=True,
    n_jobs=None,
    method="lars",
    random_state=None,
    positive_dict=False,
    positive_code=False,
    method_max_iter=1000,
    tol=1e-3,
    max_no_improvement=10,
):
    """Learn a dictionary from batches of samples; see `MiniBatchDictionaryLearning`.

    Parameters
    ----------
    X : {array-like, jax.Array} of shape (n_samples, n_features)
    n_components : int or None, default=2
        Number of atoms; None is that of the features.
    alpha : float, default=1
        Strength of the penalty.
    max_iter : int, default=100
        Epochs.
    return_code : bool, default=True
        Whether to code X in the end.
    method : {"lars", "cd"}, default="lars"
        `fit_algorithm` there.
    method_max_iter : int, default=1000
        Iterations for the lasso of a sample.
    dict_init, callback, batch_size, verbose, shuffle, n_jobs, random_state, positive_dict, positive_code, tol
        As there.
    max_no_improvement
        As there.

    Returns
    -------
    code : ndarray of shape (n_samples, n_components)
        Only with `return_code`.
    dictionary : ndarray of shape (n_components, n_features)
    """
    model = MiniBatchDictionaryLearning(
        n_components=n_components,
        alpha=alpha,
        max_iter=max_iter,
        n_jobs=n_jobs,
        fit_algorithm=method,
        batch_size=batch_size,
        shuffle=shuffle,
        dict_init=dict_init,
        random_state=random_state,
        transform_algorithm=f"lasso_{method}",
        transform_alpha=alpha,
        positive_code=positive_code,
        positive_dict=positive_dict,
        transform_max_iter=method_max_iter,
        verbose=verbose,
        callback=callback,
        tol=tol,
        max_no_improvement=max_no_improvement,
    ).set_output(transform="default")
    model.fit(X)
    return (model.transform(X), model.components_) if return_code else model.components_
