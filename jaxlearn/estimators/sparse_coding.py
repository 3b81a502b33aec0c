"""Codes of samples on a dictionary that is given."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils.validation import check_is_fitted, validate_data

from .constraints import COUNT, NON_NEGATIVE, ONE_OF
from .encoding import encode
from .inputs import FLOATS, _device_array, refuse_traced

__all__ = ["STEPS", "TRANSFORM", "SparseCoder", "SparseCoding", "like", "read_dense", "sparse_encode"]

ALGORITHM = ONE_OF("lasso_lars", "lasso_cd", "lars", "omp", "threshold")
STEPS = Interval(Integral, 0, None, closed="left")
TRANSFORM: dict = {
    "transform_algorithm": [ALGORITHM],
    "transform_n_nonzero_coefs": [COUNT, None],
    "transform_alpha": [NON_NEGATIVE, None],
    "split_sign": ["boolean"],
    "n_jobs": [Integral, None],
    "positive_code": ["boolean"],
    "transform_max_iter": [STEPS],
}


def read_dense(estimator: Any, X: Any, *, reset: bool = True) -> Any:
    """Validate, in scikit-learn's words: an ndarray, or a jax.Array where it lies."""
    refuse_traced(X)
    if isinstance(X, jax.Array):
        return _device_array(estimator, X, reset=reset)
    return validate_data(estimator, X, dtype=FLOATS, reset=reset)  # pyright: ignore


def like(codes: np.ndarray, X: Any) -> Any:
    """`codes`, as a jax.Array where X is one."""
    if not isinstance(X, jax.Array):
        return codes
    with jax.enable_x64(codes.dtype == np.float64):
        return jnp.asarray(codes)


@validate_params(
    {
        "X": ["array-like"],
        "dictionary": ["array-like"],
        "gram": ["array-like", None],
        "cov": ["array-like", None],
        "algorithm": [ALGORITHM],
        "n_nonzero_coefs": [COUNT, None],
        "alpha": [NON_NEGATIVE, None],
        "copy_cov": ["boolean"],
        "init": ["array-like", None],
        "max_iter": [STEPS],
        "n_jobs": [Integral, None],
        "check_input": ["boolean"],
        "verbose": ["verbose"],
        "positive": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def sparse_encode(
    X,
    dictionary,
    *,
    gram=None,
    cov=None,
    algorithm="lasso_lars",
    n_nonzero_coefs=None,
    alpha=None,
    copy_cov=True,
    init=None,
    max_iter=1000,
    n_jobs=None,
    check_input=True,
    verbose=0,
    positive=False,
):
    """Code each sample by few atoms: ``X ≈ codes @ dictionary``.

    Parameters
    ----------
    X : {array-like, jax.Array} of shape (n_samples, n_features)
    dictionary : array-like of shape (n_components, n_features)
        Atoms; 'lars' and 'omp' choose among them as if they were of norm one.
    gram : array-like of shape (n_components, n_components), default=None
        ``dictionary @ dictionary.T``, where it is known.
    cov : array-like of shape (n_components, n_samples), default=None
        ``dictionary @ X.T``, where it is known.
    algorithm : {"lasso_lars", "lasso_cd", "lars", "omp", "threshold"}, default="lasso_lars"
        ``lasso_lars`` and ``lasso_cd`` are one problem, ``½ ‖x − a D‖² + alpha ‖a‖₁``, and are solved alike, by the method of
        multipliers and conjugate gradients on all samples together, until the duality gap of every sample is at most 1e-4 (in
        float64 1e-8) of ``½ ‖x‖²``. ``omp``: orthogonal matching pursuit. ``lars``: least angle regression, of as many
        steps. ``threshold``: soft thresholding of ``X @ dictionary.T``.
    n_nonzero_coefs : int, default=None
        Non-zero codes of a sample, for ``lars`` and ``omp``; by default a tenth of the number of features.
    alpha : float, default=None
        Strength of the penalty, or the threshold; by default 1. ``lars`` and ``omp`` have none.
    copy_cov : bool, default=True
        Without meaning: `cov` is never written to.
    init : array-like of shape (n_samples, n_components), default=None
        Codes that the lasso starts from.
    max_iter : int, default=1000
        Iterations for the lasso of a sample.
    n_jobs : int, default=None
        Without meaning: all samples are one program, and XLA uses the cores.
    check_input : bool, default=True
        Whether to validate X and `dictionary`.
    verbose : int, default=0
        Without meaning: a compiled program prints nothing.
    positive : bool, default=False
        Restrict codes to be ≥ 0; not for ``lars`` and ``omp``.

    Returns
    -------
    ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_components)

    Notes
    -----
    The signs of least angle regression stay what they were when an atom was chosen. scikit-learn flips the sign of an atom
    whose code passes through zero, and adds none in that step; otherwise the codes are the same.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.decomposition import sparse_encode
    >>> X = np.array([[-1, -1, -1], [0, 0, 3]])
    >>> dictionary = np.array([[0, 1, 0], [-1, -1, 2], [1, 1, 1], [0, 1, 1], [0, 2, 1]], dtype=np.float64)
    >>> sparse_encode(X, dictionary, alpha=0.1).round(2)
    array([[ 0.  ,  0.  , -0.97,  0.  ,  0.  ],
           [ 0.  ,  0.98,  0.97,  0.  ,  0.  ]])
    """
    if check_input:
        dictionary = check_array(np.asarray(dictionary), dtype=FLOATS)  # pyright: ignore
        X = read_dense(SparseCoder(dictionary), X)
    codes = encode(
        "sparse_encode",
        X,
        dictionary,
        algorithm=algorithm,
        n_nonzero_coefs=n_nonzero_coefs,
        alpha=alpha,
        max_iter=max_iter,
        positive=positive,
        gram=gram,
        cov=cov,
        init=init,
    )
    return like(codes, X)


class SparseCoding(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A transformer whose output are sparse codes on atoms."""

    transform_algorithm: str
    transform_n_nonzero_coefs: int | None
    transform_alpha: float | None
    transform_max_iter: int
    split_sign: bool
    positive_code: bool
    components_: np.ndarray

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self):
        return len(self.components_) * (2 if self.split_sign else 1)

    def _atoms(self) -> np.ndarray:
        check_is_fitted(self)
        return self.components_

    def transform(self, X):
        """Code samples by `transform_algorithm`.

        Parameters
        ----------
        X : {array-like, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_components)
            With `split_sign`, twice as many columns: positive parts, then the sizes of negative parts.
        """
        atoms = self._atoms()
        X = read_dense(self, X, reset=False)
        alpha = getattr(self, "alpha", None) if self.transform_alpha is None else self.transform_alpha
        codes = encode(
            self,
            X,
            atoms,
            algorithm=self.transform_algorithm,
            n_nonzero_coefs=self.transform_n_nonzero_coefs,
            alpha=alpha,
            max_iter=self.transform_max_iter,
            positive=self.positive_code,
        )
        if self.split_sign:
            codes = np.concatenate([np.maximum(codes, 0), -np.minimum(codes, 0)], axis=1)
        return like(codes, X)

    def inverse_transform(self, X):
        """Samples that have these codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_features)
        """
        atoms = self._atoms()
        codes = X if isinstance(X, jax.Array) else check_array(X)
        expected = len(atoms) * (2 if self.split_sign else 1)
        if codes.shape[1] != expected:
            raise ValueError(
                "The number of components in the code is different from the number of components in the dictionary."
                f"Expected {expected}, got {codes.shape[1]}."
            )
        if self.split_sign:
            codes = codes[:, : len(atoms)] - codes[:, len(atoms) :]
        return codes @ atoms


class SparseCoder(SparseCoding):
    """Codes of samples on a dictionary that is given.

    Parameters
    ----------
    dictionary : array-like of shape (n_components, n_features)
        Atoms, of norm one.
    transform_algorithm : {"lasso_lars", "lasso_cd", "lars", "omp", "threshold"}, default="omp"
        As in `sparse_encode`.
    transform_n_nonzero_coefs : int, default=None
        Non-zero codes of a sample, for ``lars`` and ``omp``; by default a tenth of the number of features.
    transform_alpha : float, default=None
        Strength of the penalty, or the threshold; by default 1.
    split_sign : bool, default=False
        Return positive and negative parts of codes as different columns.
    n_jobs : int, default=None
        Without meaning: all samples are one program, and XLA uses the cores.
    positive_code : bool, default=False
        Restrict codes to be ≥ 0.
    transform_max_iter : int, default=1000
        Iterations for the lasso of a sample.

    Attributes
    ----------
    n_components_ : int
        Number of atoms.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.decomposition import SparseCoder
    >>> X = np.array([[-1, -1, -1], [0, 0, 3]])
    >>> dictionary = np.array([[0, 1, 0], [-1, -1, 2], [1, 1, 1], [0, 1, 1], [0, 2, 1]], dtype=np.float64)
    >>> SparseCoder(dictionary, transform_algorithm="omp", transform_n_nonzero_coefs=1).transform(X)
    array([[ 0.,  0., -1.,  0.,  0.],
           [ 0.,  1.,  0.,  0.,  0.]])
    """

    _parameter_constraints: dict = {"dictionary": ["array-like"], **TRANSFORM}

    def __init__(
        self,
        dictionary,
        *,
        transform_algorithm="omp",
        transform_n_nonzero_coefs=None,
        transform_alpha=None,
        split_sign=False,
        n_jobs=None,
        positive_code=False,
        transform_max_iter=1000,
    ):
        self.dictionary = dictionary
        self.transform_algorithm = transform_algorithm
        self.transform_n_nonzero_coefs = transform_n_nonzero_coefs
        self.transform_alpha = transform_alpha
        self.split_sign = split_sign
        self.n_jobs = n_jobs
        self.positive_code = positive_code
        self.transform_max_iter = transform_max_iter

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags

    @property
    def _n_features_out(self):
        return self.n_components_ * (2 if self.split_sign else 1)

    def _atoms(self) -> np.ndarray:
        return check_array(np.asarray(self.dictionary), dtype=FLOATS)  # pyright: ignore

    def fit(self, X, y=None):
        """Check the parameters, and that X has the features of the atoms.

        Parameters
        ----------
        X : {array-like, jax.Array} of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        self : object
        """
        self._validate_params()
        X, atoms = read_dense(self, X), self._atoms()
        if X.shape[1] != atoms.shape[1]:
            raise ValueError(
                "Dictionary and X have different numbers of features:"
                f"dictionary.shape: {atoms.shape} X.shape: {X.shape}"
            )
        self.n_components_ = len(atoms)
        return self
