"""Sparse principal components: dictionary learning in which features are coded by few of the components."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import jax
import numpy as np
from scipy import linalg
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.extmath import svd_flip
from sklearn.utils.validation import check_is_fitted

from .alternation import adopt, alternate
from .components import project
from .constraints import COUNT, NON_NEGATIVE
from .dictionary_learning import METHOD
from .minibatch_dictionary_learning import ONLINE, MiniBatchDictionaryLearning
from .sparse_coding import STEPS, read_dense

__all__ = ["MiniBatchSparsePCA", "SparsePCA"]


class _SparsePCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """What both share: centring, the regression on the components, and back."""

    n_components: int | None
    ridge_alpha: float
    components_: np.ndarray
    mean_: np.ndarray
    n_features_in_: int

    _parameter_constraints: dict = {
        "n_components": [COUNT, None],
        "alpha": [NON_NEGATIVE],
        "ridge_alpha": [NON_NEGATIVE],
        "max_iter": [STEPS],
        "tol": [NON_NEGATIVE],
        "method": [METHOD],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self):
        return len(self.components_)

    def fit(self, X, y=None):
        """Find sparse components.

        Parameters
        ----------
        X : {array-like, jax.Array} of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        self : object
        """
        self._validate_params()
        X = read_dense(self, X)
        with jax.enable_x64(X.dtype == np.float64):
            mean = X.mean(0)
            centered = (X - mean[None]).T
        self.mean_ = np.array(mean)
        loadings = self._loadings(centered, self.n_features_in_ if self.n_components is None else self.n_components)
        norms = np.linalg.norm(loadings, axis=0)
        self.components_ = (loadings / np.where(norms > 0, norms, 1)).T
        self.n_components_ = len(self.components_)
        return self

    def _loadings(self, features: Any, n_components: int) -> np.ndarray:
        """Codes of features, (n_features, n_components)."""
        raise NotImplementedError

    def transform(self, X):
        """Regress rows on the components, which are not orthogonal, with a ridge of strength `ridge_alpha`.

        Parameters
        ----------
        X : {array-like, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_components)
        """
        check_is_fitted(self)
        X = read_dense(self, X, reset=False)
        components = self.components_.astype(np.float64)
        gram = components @ components.T + self.ridge_alpha * np.eye(len(components))
        weights = (linalg.pinvh(gram) @ components).astype(self.components_.dtype)
        return project(X, self.mean_, weights)

    def inverse_transform(self, X):
        """Rows that have these coordinates.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        Z = X if isinstance(X, jax.Array) else check_array(X)
        return Z @ self.components_ + self.mean_[None]


class SparsePCA(_SparsePCA):
    """Components that are combinations of few features: ``X − mean ≈ U @ V``, V sparse.

    Minimises ``½ ‖X − mean − U V‖² + alpha ‖V‖₁`` over components V and scores U whose columns have norm at most one, as
    `DictionaryLearning` does of the transpose of X: features are what is coded there.

    Parameters
    ----------
    n_components : int, default=None
        How many; by default the number of features.
    alpha : float, default=1
        Strength of the penalty; more makes components sparser.
    ridge_alpha : float, default=0.01
        Strength of the ridge in `transform`.
    max_iter : int, default=1000
        Steps.
    tol : float, default=1e-8
        Stop when a step lowers the cost by less than this share of itself.
    method : {"lars", "cd"}, default="lars"
        Two names of one problem, which is solved alike.
    n_jobs : int, default=None
        Without meaning: all features are one program, and XLA uses the cores.
    U_init : ndarray of shape (n_samples, n_components), default=None
        Scores to start from; by default the leading left singular vectors, times the singular values.
    V_init : ndarray of shape (n_components, n_features), default=None
        Components to start from, with `U_init`.
    verbose : int or bool, default=False
        Without meaning: a compiled program prints nothing.
    random_state : int, RandomState instance or None, default=None
        Without meaning: nothing is drawn.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Of norm one, the largest entry of each positive.
    error_ : ndarray of shape (n_steps,)
        Cost after each step.
    n_components_, n_iter_ : int
    n_reseeded_ : int
        Scores that no component used, and that were replaced by the feature that was approximated worst.
    mean_ : ndarray of shape (n_features,)
    certificate_, converged_, n_features_in_, feature_names_in_
        As for `DictionaryLearning`.

    Examples
    --------
    >>> from sklearn.datasets import make_friedman1
    >>> from jaxlearn.decomposition import SparsePCA
    >>> X, _ = make_friedman1(n_samples=200, n_features=30, random_state=0)
    >>> model = SparsePCA(n_components=5).fit(X)
    >>> model.transform(X).shape
    (200, 5)
    >>> float((model.components_ == 0).mean().round(2))
    0.97
    """

    _parameter_constraints: dict = {
        **_SparsePCA._parameter_constraints,
        "U_init": [None, np.ndarray],
        "V_init": [None, np.ndarray],
    }

    def __init__(
        self,
        n_components=None,
        *,
        alpha=1,
        ridge_alpha=0.01,
        max_iter=1000,
        tol=1e-8,
        method="lars",
        n_jobs=None,
        U_init=None,
        V_init=None,
        verbose=False,
        random_state=None,
    ):
        self.n_components = n_components
        self.alpha = alpha
        self.ridge_alpha = ridge_alpha
        self.max_iter = max_iter
        self.tol = tol
        self.method = method
        self.n_jobs = n_jobs
        self.U_init = U_init
        self.V_init = V_init
        self.verbose = verbose
        self.random_state = random_state

    def _loadings(self, features, n_components):
        if self.V_init is not None and self.U_init is None:
            raise ValueError("`V_init` needs `U_init`: components are of no use without the scores that they are of.")
        learnt = alternate(
            features,
            n_components,
            alpha=self.alpha,
            max_iter=self.max_iter,
            tol=self.tol,
            dict_init=None if self.U_init is None else self.U_init.T,
            code_init=None if self.V_init is None else self.V_init.T,
        )
        adopt(self, learnt, features.dtype)
        return svd_flip(learnt.codes, learnt.dictionary, u_based_decision=True)[0]


class MiniBatchSparsePCA(_SparsePCA):
    """Sparse components, learnt from batches of features.

    As `SparsePCA`, by `MiniBatchDictionaryLearning` of the transpose of X.

    Parameters
    ----------
    n_components : int, default=None
        How many; by default the number of features.
    alpha : float, default=1
        Strength of the penalty; more makes components sparser.
    ridge_alpha : float, default=0.01
        Strength of the ridge in `transform`.
    max_iter : int, default=1000
        Epochs.
    callback : callable, default=None
        As for `MiniBatchDictionaryLearning`.
    batch_size : int, default=3
        Features of a batch.
    verbose : int or bool, default=False
        Without meaning: a compiled program prints nothing.
    shuffle : bool, default=True
        Whether each epoch has an order of its own, which is a function of the seed.
    n_jobs : int, default=None
        Without meaning: a batch is one program, and XLA uses the cores.
    method : {"lars", "cd"}, default="lars"
        Two names of one problem, which is solved alike.
    random_state : int, RandomState instance or None, default=None
        As for `MiniBatchDictionaryLearning`.
    tol : float, default=1e-3
        Likewise.
    max_no_improvement : int, default=10
        Likewise.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Of norm one.
    n_components_, n_iter_ : int
    mean_ : ndarray of shape (n_features,)
    n_reseeded_, converged_, n_features_in_, feature_names_in_
        As for `MiniBatchDictionaryLearning`.

    Examples
    --------
    >>> from sklearn.datasets import make_friedman1
    >>> from jaxlearn.decomposition import MiniBatchSparsePCA
    >>> X, _ = make_friedman1(n_samples=200, n_features=30, random_state=0)
    >>> model = MiniBatchSparsePCA(n_components=5, batch_size=10, max_iter=10, random_state=0).fit(X)
    >>> model.transform(X).shape
    (200, 5)
    """

    _parameter_constraints: dict = {**_SparsePCA._parameter_constraints, "callback": [None, callable], **ONLINE}

    def __init__(
        self,
        n_components=None,
        *,
        alpha=1,
        ridge_alpha=0.01,
        max_iter=1_000,
        callback=None,
        batch_size=3,
        verbose=False,
        shuffle=True,
        n_jobs=None,
        method="lars",
        random_state=None,
        tol=1e-3,
        max_no_improvement=10,
    ):
        self.n_components = n_components
        self.alpha = alpha
        self.ridge_alpha = ridge_alpha
        self.max_iter = max_iter
        self.callback = callback
        self.batch_size = batch_size
        self.verbose = verbose
        self.shuffle = shuffle
        self.n_jobs = n_jobs
        self.method = method
        self.random_state = random_state
        self.tol = tol
        self.max_no_improvement = max_no_improvement

    def _loadings(self, features, n_components):
        model = MiniBatchDictionaryLearning(
            n_components=n_components,
            alpha=self.alpha,
            max_iter=self.max_iter,
            batch_size=self.batch_size,
            shuffle=self.shuffle,
            fit_algorithm=self.method,
            random_state=self.random_state,
            transform_algorithm=f"lasso_{self.method}",
            transform_alpha=self.alpha,
            callback=self.callback,
            tol=self.tol,
            max_no_improvement=self.max_no_improvement,
        )
        loadings = model.set_output(transform="default").fit(features).transform(features)
        self.n_iter_, self.n_reseeded_, self.converged_ = model.n_iter_, model.n_reseeded_, model.converged_
        return np.asarray(loadings)
