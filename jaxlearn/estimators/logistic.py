"""Logistic regression, with all features or some."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import compute_class_weight
from sklearn.utils._param_validation import Interval
from sklearn.utils.multiclass import check_classification_targets

from jaxlearn.models.glm import GLM
from jaxlearn.objectives import L2, ElasticNet, Logistic, Multinomial, NoPenalty

from .base import ProbabilisticClassifier, compute, number, seed
from .constraints import NON_NEGATIVE, ONE_OF, POSITIVE, SHARE
from .inputs import Data, place, read
from .programs import elastic_net, separates
from .smooth import SOLVERS, minimise

__all__ = ["LogisticRegression", "warn_deprecated"]

# Names that scikit-learn has for solvers whose minimum others find here.
ALIASES = ("liblinear", "newton-cg", "sag", "saga")
# Names that select features, all by the same solver.
SELECTING = ("auto", "saga", "liblinear")


def warn_deprecated(what: str, instead: str) -> None:
    """Of a spelling that scikit-learn is about to drop."""
    message = f"{what} was deprecated in version 1.8 of scikit-learn, which drops it in 1.10: use {instead} instead."
    warnings.warn(message, FutureWarning, stacklevel=4)


class LogisticRegression(ProbabilisticClassifier):
    """Logistic regression, for two classes and multinomial, with an elastic-net penalty or none.

    *Minimises* ``C Σ s_i log_loss_i + l1_ratio ‖w‖₁ + ½ (1 − l1_ratio) ‖w‖²``, s the sample weights times the class
    weights; the intercept is free.

    By L-BFGS in the metric of a quadratic majorant, by Newton's method, or by stochastic gradients with reduced variance; with
    an l1 part by proximal Newton steps on a working set of coefficients.

    Parameters
    ----------
    penalty : {"l1", "l2", "elasticnet", None}
        An older spelling of `C` and `l1_ratio`, accepted with a warning: None is ``C=inf``, ``l1`` and ``l2`` are ratios of 1
        and 0.
    C : float, default=1.0
        Inverse strength; ``inf`` is no penalty.
    l1_ratio : float, default=0.0
        0 is the l2 penalty, 1 the l1 penalty.
    dual : bool, default=False
        True is refused: the primal problem is solved.
    tol : float, default=1e-4
        Stop when no entry of the gradient, of the objective divided by ``C Σ s_i``, is larger; with an l1 part, when the
        duality gap is at most `tol` times the loss that a constant leaves.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    intercept_scaling : float, default=1
        Only 1: the intercept is not penalised, also not with ``solver="liblinear"``.
    class_weight : dict or "balanced", default=None
        Weights of the classes.
    random_state : int, RandomState instance or None, default=None
        Seeds the solvers that draw rows, ``sketchy-``.
    solver : {"auto", "lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga", "sketchy-svrg", \
            "sketchy-saga", "sketchy-katyusha"}, default="auto"
        ``auto`` begins with L-BFGS in the metric of the rows, or of a sample, and goes on with Newton's method if it has
        not ended after as many passes as that is estimated to cost; see ``solver_``. ``newton-cholesky`` is Newton's
        method, of many dense features or classes L-BFGS in the metric of a sample's Hessian; ``sketchy-`` are stochastic
        gradients with reduced variance and a preconditioner from a sample of the rows, for dense rows. scikit-learn's other
        names reach the same minimum: ``newton-cg`` and ``liblinear`` are Newton's
        method where Hessians are cheap, else L-BFGS, which ``sag`` and ``saga`` are; ``liblinear`` takes two classes, and
        a penalty. With an l1 part ``auto``, ``saga`` and ``liblinear`` (which takes it alone) are proximal Newton, and
        the others refused.
    max_iter : int, default=100
        Largest number of passes over the data; of ``sketchy-``, of epochs.
    verbose : int, default=0
        Without meaning: a compiled program prints nothing.
    warm_start : bool, default=False
        Start from the coefficients of the previous fit.
    n_jobs : int, default=None
        Without meaning: XLA uses the cores.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts; zeros without.
    n_iter_ : ndarray of shape (1,)
        Passes over the data, or epochs.
    solver_ : str
        What ran: ``lbfgs``, ``newton``, ``sampled_newton``, ``svrg``, ``saga``, ``katyusha``, ``prox-newton``, or two of
        them, as in ``lbfgs, then newton``.
    certificate_ : float
        Largest entry of the gradient, or the duality gap.
    converged_ : bool
        Whether it is within the tolerance.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where X has some.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from jaxlearn.linear_model import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression().fit(X, y)
    >>> model.predict_proba(X[:1]).round(2)
    array([[0.98, 0.02, 0.  ]])
    """

    _parameter_constraints: dict = {
        "penalty": [ONE_OF("l1", "l2", "elasticnet", "deprecated"), None],
        "C": [Interval(Real, 0, None, closed="right")],
        "l1_ratio": [SHARE, None],
        "dual": ["boolean"],
        "tol": [NON_NEGATIVE],
        "fit_intercept": ["boolean"],
        "intercept_scaling": [POSITIVE],
        "class_weight": [dict, ONE_OF("balanced"), None],
        "random_state": ["random_state"],
        "solver": [ONE_OF(*SOLVERS, *ALIASES)],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "n_jobs": [None, Integral],
    }

    def __init__(
        self,
        penalty="deprecated",
        *,
        C=1.0,
        l1_ratio=0.0,
        dual=False,
        tol=1e-4,
        fit_intercept=True,
        intercept_scaling=1,
        class_weight=None,
        random_state=None,
        solver="auto",
        max_iter=100,
        verbose=0,
        warm_start=False,
        n_jobs=None,
    ):
        self.penalty = penalty
        self.C = C
        self.l1_ratio = l1_ratio
        self.dual = dual
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.class_weight = class_weight
        self.random_state = random_state
        self.solver = solver
        self.max_iter = max_iter
        self.verbose = verbose
        self.warm_start = warm_start
        self.n_jobs = n_jobs

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = self.solver != "liblinear"
        return tags

    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
            float32 is computed in float32, everything else in float64.
        y : array-like of shape (n_samples,)
            Labels of any kind.
        sample_weight : float or array-like of shape (n_samples,), optional
            Zero is a row that is not there.

        Returns
        -------
        self : object
        """
        self._validate_params()
        self._warn_of_older_spellings()
        self._refuse_unsupported()
        X, y, weight = read(self, X, y, sample_weight, multi_output=False, y_numeric=False)
        data = place(X, *self._encode(y, weight), centred=self.fit_intercept and self._share > 0)
        return self._fit(data, self._start(data))

    def _fit(self, data: Data, start: tuple[np.ndarray, np.ndarray]) -> LogisticRegression:
        model = self._model(data)
        if isinstance(model.penalty, ElasticNet):
            # without a start of its own the intercept is that of no features
            fitted, self.solver_ = elastic_net(data, model, start if self.warm_start else None), "prox-newton"
            return self._adopt(fitted, data, self.tol)
        drawn = seed(self.random_state)
        fitted, self.solver_ = minimise(data, model, start, solver=self.solver, max_iter=self.max_iter, drawn=drawn)
        if isinstance(model.penalty, NoPenalty) and compute(separates, data, fitted):
            self._warn_separable()
        return self._adopt(fitted, data, self.tol)

    @property
    def _share(self) -> float:
        """Of the l1 part."""
        if self.penalty is None or np.isinf(self.C):
            return 0.0
        return {"l1": 1.0, "l2": 0.0}.get(self.penalty, float(self.l1_ratio or 0))

    def _warn_of_older_spellings(self) -> None:
        if self.penalty != "deprecated":
            warn_deprecated("'penalty'", "`l1_ratio`, and C=inf for no penalty,")
        elif self.l1_ratio is None:
            warn_deprecated("'l1_ratio=None'", "l1_ratio=0")

    def _refuse_unsupported(self) -> None:
        if self._share and self.solver not in SELECTING:
            raise ValueError(
                f"Solver {self.solver} supports only 'l2' or None penalties, got l1_ratio={self._share}: use 'auto'."
            )
        if self.dual:
            raise ValueError(
                f"Solver {self.solver} supports only dual=False, got dual=True: the primal problem is solved."
            )
        if self.penalty == "elasticnet" and self.l1_ratio is None:
            raise ValueError("penalty='elasticnet' asks for a number between 0 and 1, got l1_ratio=None.")
        if self.solver == "liblinear" and 0 < self._share < 1:
            raise ValueError(
                "Only 'saga' solver supports elasticnet penalty, got solver=liblinear: use 'auto', or an l1_ratio of 0 or 1."
            )
        if self.solver == "liblinear" and (self.penalty is None or np.isinf(self.C)):
            raise ValueError("penalty=None is not supported for the liblinear solver, nor is C=inf: use 'auto'.")
        if self.intercept_scaling != 1:
            raise ValueError(
                f"intercept_scaling={self.intercept_scaling} is not supported: it scales liblinear's penalty on the "
                "intercept, which here is not penalised; use intercept_scaling=1."
            )

    def _encode(self, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Targets in {0, 1} or one-hot rows, and weights of samples times classes; sets ``classes_``."""
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        seen = np.unique(codes[weight > 0])
        if len(seen) < 2:
            raise ValueError(
                "This solver needs samples of at least 2 classes in the data, but the data contains only one class: "
                f"{self.classes_[seen[0]]!r}"
            )
        if self.solver == "liblinear" and len(self.classes_) > 2:
            raise ValueError(
                "The 'liblinear' solver does not support multiclass classification (n_classes >= 3). Either use "
                "another solver or wrap the estimator in a OneVsRestClassifier to keep applying a one-versus-rest scheme."
            )
        if self.class_weight is not None:
            each = compute_class_weight(self.class_weight, classes=self.classes_, y=y, sample_weight=weight)
            weight = weight * each.astype(weight.dtype)[codes]
        return codes if len(self.classes_) == 2 else np.eye(len(self.classes_))[codes], weight

    def _model(self, data: Data) -> GLM:
        dtype = data.dtype
        # C Σ s_i loss_i + l1_ratio ‖w‖₁ + ½ (1 − l1_ratio) ‖w‖² in units of C Σ s_i
        alpha = number(1 / (self.C * data.total_weight), dtype)
        penalty = ElasticNet(alpha, number(self._share, dtype)) if self._share else L2(alpha)
        return GLM(
            loss=Logistic() if data.y.ndim == 1 else Multinomial(),
            penalty=NoPenalty() if self.penalty is None or np.isinf(self.C) else penalty,
            tol=number(self.tol, dtype),
            max_steps=np.int32(self.max_iter),
            fit_intercept=self.fit_intercept,
        )

    def _start(self, data: Data) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients and intercepts."""
        shape = data.n_features, *data.y.shape[1:]
        if not (self.warm_start and hasattr(self, "coef_")):
            return np.zeros(shape, data.dtype), np.zeros(shape[1:], data.dtype)
        coef, intercept = np.asarray(self.coef_.T, data.dtype), np.asarray(self.intercept_, data.dtype)
        if coef.size != np.prod(shape):
            raise ValueError(f"`warm_start` found coefficients of shape {coef.shape}; X and y now ask for {shape}.")
        coef, intercept = coef.reshape(shape), intercept.reshape(shape[1:])
        return coef, intercept if data.location is None else intercept + data.location @ coef

    def _adopt(self, fitted: Any, data: Data, tol: Any) -> LogisticRegression:
        super()._adopt(fitted, data, tol)
        n_outputs = data.y.shape[1] if data.y.ndim > 1 else 1
        self.coef_ = np.atleast_2d(self.coef_)
        self.intercept_ = np.broadcast_to(np.asarray(self.intercept_, data.dtype), (n_outputs,)).copy()
        if n_outputs > 1 and data.location is not None:  # of the shifted rows they summed to zero
            self.intercept_ -= self.intercept_.mean()
        self.n_iter_ = np.array([fitted.n_steps], np.int32)
        return self

    def _warn_separable(self) -> None:
        warnings.warn(
            "The classes are separable and there is no penalty: the likelihood has no maximum, and the coefficients "
            "would grow without bound. They were stopped by `tol` or `max_iter`; use a finite C.",
            ConvergenceWarning,
            stacklevel=3,
        )
