"""A dictionary that codes samples by few atoms, learnt from all samples together."""

from __future__ import annotations

from sklearn.utils._param_validation import validate_params

from .alternation import adopt, alternate
from .constraints import COUNT, NON_NEGATIVE, ONE_OF
from .encoding import refuse_positive
from .sparse_coding import STEPS, TRANSFORM, SparseCoding, like, read_dense

__all__ = ["FIT", "METHOD", "DictionaryLearning", "dict_learning"]

METHOD = ONE_OF("lars", "cd")
FIT: dict = {
    "n_components": [COUNT, None],
    "alpha": [NON_NEGATIVE],
    "max_iter": [STEPS],
    "tol": [NON_NEGATIVE],
    "fit_algorithm": [METHOD],
    "dict_init": ["array-like", None],
    "callback": [callable, None],
    "verbose": ["verbose"],
    "random_state": ["random_state"],
    "positive_dict": ["boolean"],
    **TRANSFORM,
}


class DictionaryLearning(SparseCoding):
    """A dictionary and sparse codes of all samples: ``X ≈ codes @ components_``.

    Minimises ``½ ‖X − A D‖² + alpha ‖A‖₁`` over codes A and atoms D of norm at most one, in turn: codes by the method of
    multipliers on all samples together, atoms by a sweep of exact minimisations.

    Parameters
    ----------
    n_components : int, default=None
        Number of atoms; by default that of the features.
    alpha : float, default=1.0
        Strength of the penalty.
    max_iter : int, default=1000
        Steps.
    tol : float, default=1e-8
        Stop when a step lowers the cost by less than this share of itself.
    fit_algorithm : {"lars", "cd"}, default="lars"
        Two names of one problem, which is solved alike; ``lars`` refuses `positive_code`, as scikit-learn does.
    transform_algorithm : {"lasso_lars", "lasso_cd", "lars", "omp", "threshold"}, default="omp"
        As in `sparse_encode`.
    transform_n_nonzero_coefs : int, default=None
        Non-zero codes of a sample, for ``lars`` and ``omp``; by default a tenth of the number of features.
    transform_alpha : float, default=None
        Strength of the penalty in `transform`, or the threshold; by default `alpha`.
    n_jobs : int, default=None
        Without meaning: all samples are one program, and XLA uses the cores.
    code_init : ndarray of shape (n_samples, n_components), default=None
        Codes to start from, with `dict_init`.
    dict_init : ndarray of shape (n_components, n_features), default=None
        Atoms to start from; by default the leading right singular vectors of X, times the singular values.
    callback : callable, default=None
        Called after the first step and after every fifth one that follows, with a dict of ``ii`` (number of the step),
        ``code``, ``dictionary``, ``errors`` and ``current_cost``.
    verbose : bool, default=False
        Without meaning: a compiled program prints nothing.
    split_sign : bool, default=False
        Return positive and negative parts of codes as different columns.
    random_state : int, RandomState instance or None, default=None
        Without meaning: nothing is drawn.
    positive_code : bool, default=False
        Restrict codes to be ≥ 0.
    positive_dict : bool, default=False
        Restrict atoms to be ≥ 0.
    transform_max_iter : int, default=1000
        Iterations for the lasso of a sample, here and in `transform`.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Atoms.
    error_ : ndarray of shape (n_steps,)
        Cost after each step.
    n_iter_ : int
    n_reseeded_ : int
        Atoms that no code used, and that were replaced by the sample that was approximated worst.
    certificate_ : float
        Share of itself by which the last step lowered the cost.
    converged_ : bool
        Whether that is less than `tol`.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Examples
    --------
    >>> from sklearn.datasets import make_sparse_coded_signal
    >>> from jaxlearn.decomposition import DictionaryLearning
    >>> X, _, _ = make_sparse_coded_signal(
    ...     n_samples=30, n_components=15, n_features=20, n_nonzero_coefs=10, random_state=42
    ... )
    >>> model = DictionaryLearning(15, alpha=0.1, transform_algorithm="lasso_lars")
    >>> codes = model.fit(X).transform(X)
    >>> bool((codes == 0).mean() > 0.5)
    True
    >>> bool(((X - codes @ model.components_) ** 2).sum() < 0.03 * (X**2).sum())
    True
    """

    _parameter_constraints: dict = {**FIT, "code_init": ["array-like", None]}

    def __init__(
        self,
        n_components=None,
        *,
        alpha=1,
        max_iter=1000,
        tol=1e-8,
        fit_algorithm="lars",
        transform_algorithm="omp",
        transform_n_nonzero_coefs=None,
        transform_alpha=None,
        n_jobs=None,
        code_init=None,
        dict_init=None,
        callback=None,
        verbose=False,
        split_sign=False,
        random_state=None,
        positive_code=False,
        positive_dict=False,
        transform_max_iter=1000,
    ):
        self.n_components = n_components
        self.alpha = alpha
        self.max_iter = max_iter
        self.tol = tol
        self.fit_algorithm = fit_algorithm
        self.transform_algorithm = transform_algorithm
        self.transform_n_nonzero_coefs = transform_n_nonzero_coefs
        self.transform_alpha = transform_alpha
        self.n_jobs = n_jobs
        self.code_init = code_init
        self.dict_init = dict_init
        self.callback = callback
        self.verbose = verbose
        self.split_sign = split_sign
        self.random_state = random_state
        self.positive_code = positive_code
        self.positive_dict = positive_dict
        self.transform_max_iter = transform_max_iter

    def fit(self, X, y=None):
        """Learn atoms.

        Parameters
        ----------
        X : {array-like, jax.Array} of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        self : object
        """
        self.fit_transform(X)
        return self

    def fit_transform(self, X, y=None):
        """Learn atoms, and return the codes of X on them: those of the lasso, whatever `transform_algorithm` is.

        Parameters
        ----------
        X : {array-like, jax.Array} of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_components)
        """
        self._validate_params()
        refuse_positive(self.fit_algorithm, self.positive_code)
        X = read_dense(self, X)
        learnt = alternate(
            X,
            X.shape[1] if self.n_components is None else self.n_components,
            alpha=self.alpha,
            max_iter=self.max_iter,
            tol=self.tol,
            dict_init=self.dict_init,
            code_init=self.code_init,
            callback=self.callback,
            positive_dict=self.positive_dict,
            positive_code=self.positive_code,
            method_max_iter=self.transform_max_iter,
        )
        self.components_ = learnt.dictionary
        adopt(self, learnt, X.dtype)
        return like(learnt.codes, X)


@validate_params(
    {
        "X": ["array-like"],
        "method": [METHOD],
        "return_n_iter": ["boolean"],
        "method_max_iter": [STEPS],
    },
    prefer_skip_nested_validation=False,
)
def dict_learning(
    X,
    n_components,
    *,
    alpha,
    max_iter=100,
    tol=1e-8,
    method="lars",
    n_jobs=None,
    dict_init=None,
    code_init=None,
    callback=None,
    verbose=False,
    random_state=None,
    return_n_iter=False,
    positive_dict=False,
    positive_code=False,
    method_max_iter=1000,
):
    """Learn a dictionary from all samples together; see `DictionaryLearning`.

    Parameters
    ----------
    X : {array-like, jax.Array} of shape (n_samples, n_features)
    n_components : int
        Number of atoms.
    alpha : float
        Strength of the penalty.
    max_iter : int, default=100
        Steps.
    tol : float, default=1e-8
        Stop when a step lowers the cost by less than this share of itself.
    method : {"lars", "cd"}, default="lars"
        `fit_algorithm` there.
    n_jobs, dict_init, code_init, callback, verbose, random_state, positive_dict, positive_code
        As there.
    return_n_iter : bool, default=False
        Whether to return the number of steps.
    method_max_iter : int, default=1000
        Iterations for the lasso of a sample.

    Returns
    -------
    code : ndarray of shape (n_samples, n_components)
    dictionary : ndarray of shape (n_components, n_features)
    errors : ndarray
        Cost after each step.
    n_iter : int
        Only with `return_n_iter`.
    """
    model = DictionaryLearning(
        n_components=n_components,
        alpha=alpha,
        max_iter=max_iter,
        tol=tol,
        fit_algorithm=method,
        n_jobs=n_jobs,
        dict_init=dict_init,
        code_init=code_init,
        callback=callback,
        verbose=verbose,
        random_state=random_state,
        positive_code=positive_code,
        positive_dict=positive_dict,
        transform_max_iter=method_max_iter,
    ).set_output(transform="default")
    found = model.fit_transform(X), model.components_, model.error_, model.n_iter_
    return found if return_n_iter else found[:3]
