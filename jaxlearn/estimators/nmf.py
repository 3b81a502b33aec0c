"""Non-negative matrix factorization of rows in memory."""

from __future__ import annotations

import warnings
from typing import Any

import equinox as eqx
import jax
import numpy as np
from sklearn.utils.validation import check_is_fitted

from jaxlearn.access.streamed import Streamed
from jaxlearn.models import nmf
from jaxlearn.solvers.hals import CODE_SWEEPS
from jaxlearn.solvers.solution import CONVERGED

from .base import seed
from .constraints import ONE_OF
from .nonnegative import (
    NonNegative,
    Task,
    check_factor,
    check_start,
    count_components,
    design_of,
    on_host,
    run,
    warn_of,
)
from .rows import place_rows

__all__ = ["NMF", "non_negative_factorization"]


class NMF(NonNegative):
    """Non-negative matrix factorization: codes W and components H without signs, whose product is near X.

    Minimises, with ``Ω(A) = l1_ratio Σ A + ½ (1 − l1_ratio) Σ A²``,
    ``d(X, W H) + n_features alpha_W Ω(W) + n_samples alpha_H Ω(H)``.

    Parameters
    ----------
    n_components : int, "auto" or None, default="auto"
        How many; "auto" takes the number that W and H have where they are given, and else, as None, all features.
    init : {"random", "nndsvd", "nndsvda", "nndsvdar", "custom"} or None, default=None
        ``random`` : absolute values of normal numbers.

        ``nndsvd`` : positive parts of singular vectors; ``nndsvda`` with the mean of X in place of zeros, ``nndsvdar`` with
        small random numbers.

        ``custom`` : the W and H that `fit` is given.

        None is ``nndsvda`` where there are as many singular vectors as components, and else ``random``.
    solver : {"cd", "mu"}, default="cd"
        ``cd`` : coordinate descent over the atoms (HALS), several passes for each product with X, with momentum.

        ``mu`` : multiplicative updates, for any `beta_loss`.
    beta_loss : float or {"frobenius", "kullback-leibler", "itakura-saito"}, default="frobenius"
        The divergence d: 2, 1 and 0 are the three that have names.
    tol : float, default=1e-4
        ``cd`` : stop when the sum of the absolute values of the projected gradient has fallen to this share of what it was in
        the first iteration. ``mu`` : when the error fell in ten iterations by less than this share of the first error.
    max_iter : int, default=200
        Most iterations, each of which reads X twice.
    random_state : int, RandomState instance or None, default=None
        Seed of a random start and of `shuffle`.
    alpha_W : float, default=0.0
        Strength of the penalty of W.
    alpha_H : float or "same", default="same"
        Strength of the penalty of H; "same" is `alpha_W`.
    l1_ratio : float, default=0.0
        Share of the l1 norm in the penalties.
    verbose : int, default=0
        Without meaning: a compiled program prints nothing.
    shuffle : bool, default=False
        ``cd`` : draw the order of the atoms anew in each iteration.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        H.
    n_components_ : int
        As many as there are.
    reconstruction_err_ : float
        ``√(2 d(X, W H))``: the Frobenius norm of what is left, for the squared error.
    n_iter_ : int
        Iterations.
    n_features_in_, feature_names_in_
        As in scikit-learn.
    certificate_ : float
        What `tol` is compared with.
    converged_ : bool
        Whether it fell below `tol`.

    Notes
    -----
    `fit` also takes `sample_weight`, and a ``jax.Array``, that may be sharded by rows: its codes are a ``jax.Array`` too. Of a
    ``jaxlearn.stream`` a `MiniBatchNMF` makes a model.

    The problem is not convex: another solver, seed or precision may end in another stationary point, with another objective.

    References
    ----------
    Cichocki and Phan, "Fast local algorithms for large scale nonnegative matrix and tensor factorizations", IEICE Trans.
    2009. Ang and Gillis, "Accelerating nonnegative matrix factorization algorithms using extrapolation", Neural Computation
    2019. Févotte and Idier, "Algorithms for nonnegative matrix factorization with the β-divergence", Neural Computation 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.decomposition import NMF
    >>> X = np.array([[1, 1], [2, 1], [3, 1.2], [4, 1], [5, 0.8], [6, 1]])
    >>> model = NMF(n_components=2, random_state=0)
    >>> W = model.fit_transform(X)
    >>> bool(abs(W @ model.components_ - X).max() < 0.01)
    True
    """

    _parameter_constraints: dict = {
        **NonNegative._parameter_constraints,
        "solver": [ONE_OF("cd", "mu")],
        "shuffle": ["boolean"],
    }

    def __init__(
        self,
        n_components="auto",
        *,
        init=None,
        solver="cd",
        beta_loss="frobenius",
        tol=1e-4,
        max_iter=200,
        random_state=None,
        alpha_W=0.0,
        alpha_H="same",
        l1_ratio=0.0,
        verbose=0,
        shuffle=False,
    ):
        self.n_components = n_components
        self.init = init
        self.solver = solver
        self.beta_loss = beta_loss
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.alpha_W = alpha_W
        self.alpha_H = alpha_H
        self.l1_ratio = l1_ratio
        self.verbose = verbose
        self.shuffle = shuffle

    def fit(self, X, y=None, *, W=None, H=None, sample_weight=None):
        """Find the components.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
            ≥ 0. float32 is computed in float32, everything else in float64.
        y : Ignored
            There is no target.
        W, H : array-like of shape (n_samples, n_components) and (n_components, n_features), optional
            Where to start, for ``init="custom"``.
        sample_weight : float or array-like of shape (n_samples,), optional
            As if rows were repeated; zero is a row that is not there.

        Returns
        -------
        self : object
        """
        self.fit_transform(X, W=W, H=H, sample_weight=sample_weight)
        return self

    def fit_transform(self, X, y=None, W=None, H=None, sample_weight=None):
        """Find the components, and the codes of the same rows.

        Parameters
        ----------
        X, y, W, H, sample_weight
            As in `fit`.

        Returns
        -------
        ndarray, or jax.Array for a jax.Array, of shape (n_samples, n_components)
        """
        self._validate_params()
        X = self._read(_in_memory(self, X), reset=True)
        return self._factorize(X, W, H, sample_weight)

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
        return self._transform(self._read(X, reset=False))[0]

    def _transform(self, X: Any) -> tuple[Any, int]:
        model = self._model(self._n_components, self.n_features_in_, X.dtype, self.solver, self.max_iter)
        codes, found = self._encode(X, model)
        warn_of(self, found, self.max_iter, X.dtype)
        n_steps = int(found.n_steps)
        return codes, min(CODE_SWEEPS * n_steps, self.max_iter) if self.solver == "cd" else n_steps

    def _factorize(self, X: Any, W: Any, H: Any, sample_weight: Any) -> Any:
        if self.solver == "cd" and self._beta != 2:
            raise ValueError(
                f"Invalid beta_loss parameter: solver {self.solver!r} does not handle beta_loss = {self.beta_loss!r}"
            )
        if self.solver == "mu" and self.init == "nndsvd":
            warnings.warn(
                "The multiplicative update ('mu') solver cannot update zeros present in the initialization, and so leads to "
                "poorer results when used jointly with init='nndsvd'. You may try init='nndsvda' or init='nndsvdar' instead.",
                UserWarning,
                stacklevel=3,
            )
        self._refuse_zeros(X)
        k, init, W, H = check_start(self, X, W, H)
        data = place_rows(X, sample_weight)
        if W is not None:
            W = np.pad(W, [(0, data.X.shape[0] - len(W)), (0, 0)])
        task = Task(self._model(k, X.shape[1], X.dtype, self.solver, self.max_iter), init, H)
        fitted = run(_fit, data, task, seed(self.random_state), rows=(W,))
        codes = on_host(fitted.codes, X, data)
        self._adopt(jax.device_get(eqx.tree_at(lambda f: f.codes, fitted, None)))
        self._warn_of_zeros(X, codes)
        return codes

    def _adopt(self, fitted: nmf.FittedNMF) -> None:
        warn_of(self, fitted, self.max_iter, fitted.components.dtype)
        self.components_ = np.array(fitted.components)
        self.n_components_ = len(self.components_)
        self.reconstruction_err_ = float(np.sqrt(2 * max(float(fitted.loss) * float(fitted.total_weight), 0)))
        self.n_iter_ = int(fitted.n_steps)
        self.certificate_, self.converged_ = float(fitted.residual), bool(fitted.status == CONVERGED)


def non_negative_factorization(
    X: Any,
    W: Any = None,
    H: Any = None,
    n_components: Any = "auto",
    *,
    init: Any = None,
    update_H: bool = True,
    solver: str = "cd",
    beta_loss: Any = "frobenius",
    tol: float = 1e-4,
    max_iter: int = 200,
    alpha_W: float = 0.0,
    alpha_H: Any = "same",
    l1_ratio: float = 0.0,
    random_state: Any = None,
    verbose: int = 0,
    shuffle: bool = False,
) -> tuple[Any, Any, int]:
    """Non-negative matrix factorization, as a function.

    Parameters
    ----------
    X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
    W, H : array-like, optional
        Where to start, for ``init="custom"``; without `update_H`, H is what the codes are found for.
    n_components, init, solver, beta_loss, tol, max_iter, alpha_W, alpha_H, l1_ratio, random_state, verbose, shuffle
        As in `NMF`.
    update_H : bool, default=True
        Otherwise only W is found.

    Returns
    -------
    W : (n_samples, n_components), H : (n_components, n_features), n_iter : int

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.decomposition import non_negative_factorization
    >>> X = np.array([[1, 1], [2, 1], [3, 1.2], [4, 1], [5, 0.8], [6, 1]])
    >>> W, H, n_iter = non_negative_factorization(X, n_components=2, random_state=0)
    >>> W.shape, H.shape
    ((6, 2), (2, 2))
    """
    model = NMF(
        n_components,
        init=init,
        solver=solver,
        beta_loss=beta_loss,
        tol=tol,
        max_iter=max_iter,
        random_state=random_state,
        alpha_W=alpha_W,
        alpha_H=alpha_H,
        l1_ratio=l1_ratio,
        verbose=verbose,
        shuffle=shuffle,
    )
    model._validate_params()
    X = model._read(_in_memory(model, X), reset=True)
    if update_H:
        codes = model._factorize(X, W, H, None)
        return codes, model.components_, model.n_iter_
    if W is not None:
        warnings.warn("When update_H=False, the provided initial W is not used.", RuntimeWarning, stacklevel=2)
    k = "auto" if n_components == "auto" else count_components(n_components, X)
    model.components_ = check_factor(H, (k, X.shape[1]), "NMF (input H)", X.dtype)
    codes, n_iter = model._transform(X)
    return codes, model.components_, n_iter


def _in_memory(estimator: NMF, X: Any) -> Any:
    if isinstance(X, Streamed):
        raise TypeError(
            f"{type(estimator).__name__} does not support a stream: each iteration needs all rows, and their codes. "
            "MiniBatchNMF learns from one batch by batch."
        )
    return np.asarray(X) if isinstance(X, np.memmap) else X


@jax.jit
def _fit(rows: Any, rest: Any) -> nmf.FittedNMF:
    (X, weight, W), (task, start) = rows, rest
    init = (W, task.components) if task.init is None else task.init
    return nmf.fit(task.model, design_of(X), weight, init=init, key=jax.random.key(start))
