"""Ridge regression and the classifier made of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_sample_weight

from jaxlearn.models._glm_routes import squared_solver
from jaxlearn.models.glm import GLM
from jaxlearn.objectives import L2
from jaxlearn.objectives import ElasticNet as ElasticNetPenalty
from jaxlearn.solvers.variance_reduced import METHODS

from .base import LinearClassifier, LinearModel, LinearRegressor, compute, number, seed
from .constraints import COUNT, LINEAR, NON_NEGATIVE, ONE_OF
from .inputs import Data, place, read
from .programs import elastic_net, fit, fit_drawn, fit_each

__all__ = ["Ridge", "RidgeClassifier"]

SOLVERS = {
    "auto": "auto",
    "svd": "spectral",
    "cholesky": "cholesky",
    "lsqr": "conjugate_gradient",
    "sparse_cg": "conjugate_gradient",
    "sag": "lbfgs",
    "saga": "lbfgs",
    **{f"sketchy-{method}": method for method in METHODS},
}


class _RidgeModel(LinearModel):
    """Parameters and solution that `Ridge` and `RidgeClassifier` share."""

    _parameter_constraints: dict = {
        **LINEAR,
        "alpha": [NON_NEGATIVE, "array-like"],
        "max_iter": [COUNT, None],
        "solver": [ONE_OF("lbfgs", *SOLVERS)],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        alpha: Any = 1.0,
        *,
        fit_intercept=True,
        copy_X=True,
        max_iter=None,
        tol=1e-4,
        solver="auto",
        positive=False,
        random_state=None,
    ):
        self.alpha: Any = alpha
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.max_iter = max_iter
        self.tol = tol
        self.solver = solver
        self.positive = positive
        self.random_state = random_state

    def _fit(self, data: Data) -> _RidgeModel:
        if SOLVERS.get(self.solver) in METHODS and data.is_sparse:
            raise ValueError(f"solver={self.solver!r} takes dense rows; for a sparse X use solver='auto'.")
        model = self._model(data)
        self.solver_ = model.solver
        if self.positive:
            self.solver_, fitted = "feature_sign", elastic_net(data, model)
        elif np.ndim(model.penalty.alpha):  # type: ignore[attr-defined]
            fitted = compute(fit_each, data, model)
        elif self.solver_ in METHODS:
            fitted = compute(fit_drawn, data, model, seed(self.random_state))
        else:
            fitted = compute(fit, data, model, None)
        if self.solver_ == "cholesky" and not np.isfinite(fitted.residual):
            self.solver_ = "cholesky, then spectral"
            fitted = compute(fit, data, dataclasses.replace(model, solver="spectral"), None)
        return self._adopt(fitted, data, self.tol)

    def _chosen(self, data: Data, alpha: np.ndarray) -> str:
        """The solver of `GLM`."""
        if self.positive:
            return "auto"
        chosen = SOLVERS[self.solver]
        if chosen == "auto":
            chosen = squared_solver(GLM(penalty=L2(1.0)), data.X.shape, data.is_sparse)
            chosen = "cholesky" if chosen == "spectral" else chosen
        # one factor serves one strength
        return "spectral" if chosen == "cholesky" and alpha.ndim else chosen

    def _model(self, data: Data) -> GLM:
        # ‖y − X w‖² + alpha ‖w‖², weighted, in units of twice the total weight
        alpha = number(self._alpha(data) / data.total_weight, data.dtype)
        if SOLVERS.get(self.solver) == "lbfgs" and data.y.ndim > 1:
            alpha = np.broadcast_to(
                alpha, data.y.shape[1:]
            )  # targets share nothing but X: one step size would couple them
        penalty = ElasticNetPenalty(alpha, number(0, data.dtype), True) if self.positive else L2(alpha)
        return GLM(
            penalty=penalty,
            tol=number(self.tol, data.dtype),
            max_steps=np.int32(max(1000, 10 * data.n_features) if self.max_iter is None else self.max_iter),
            fit_intercept=self.fit_intercept,
            solver=self._chosen(data, alpha),
        )

    def _alpha(self, data: Data) -> np.ndarray:
        """A scalar, or one for each target where these differ."""
        alpha = np.asarray(self.alpha, np.float64)
        n_targets = data.y.shape[1] if data.y.ndim > 1 else 1
        if alpha.size not in (1, n_targets):
            raise ValueError(
                f"Number of targets and number of penalties do not correspond: {alpha.size} != {n_targets}"
            )
        if (alpha < 0).any():
            raise ValueError(f"alpha == {alpha.min()}, must be >= 0.0.")
        return alpha.ravel() if alpha.size > 1 else alpha.reshape(())

    def _refuse_unsupported(self) -> None:
        if self.solver == "lbfgs" and not self.positive:
            raise ValueError("'lbfgs' solver can be used only when positive=True. Please use another solver.")
        if self.positive and self.solver not in ("auto", "lbfgs"):
            raise ValueError(
                f"solver='{self.solver}' does not support positive fitting. Please set the solver to 'auto' or "
                "'lbfgs', or set `positive=False`"
            )


class Ridge(MultiOutputMixin, RegressorMixin, LinearRegressor, _RidgeModel):
    """Linear regression with an l2 penalty.

    *Minimises* ``‖y − X w‖² + alpha ‖w‖²``, weighted by `sample_weight`.

    Parameters
    ----------
    alpha : float or array-like of shape (n_targets,), default=1.0
        Strength, one for all targets or one for each.
    fit_intercept : bool, default=True
        Whether to fit an intercept; it is never penalised.
    copy_X : bool, default=True
        Without meaning: X is never written to.
    max_iter : int, default=None
        Largest number of passes over the data of an iterative solver; by default the larger of 1000 and ten times the
        number of features.
    tol : float, default=1e-4
        Conjugate gradients: relative residual of the normal equations. L-BFGS and ``sketchy-``: largest entry of the
        gradient of the objective divided by twice the total weight. ``positive=True``: duality gap, in units of the
        weighted mean of (y − ȳ)². The closed form does not use it.
    solver : {"auto", "svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga", "lbfgs", "sketchy-svrg", \
            "sketchy-saga", "sketchy-katyusha"}, default="auto"
        ``svd`` is one eigendecomposition of the smaller of Xᵀ X and X Xᵀ, ``cholesky`` one factor of it, both refined
        on the data. A factor that tells of a nearly singular system, and strengths that differ by target, are left to
        the eigendecomposition: see ``solver_``. ``lsqr`` and ``sparse_cg`` are preconditioned conjugate gradients;
        ``sag`` and ``saga`` are L-BFGS, which reaches the same minimum; ``sketchy-`` are stochastic gradients with
        reduced variance and a preconditioner from a sample of the rows, for dense rows; ``auto`` chooses ``cholesky`` or
        ``lsqr`` by the shape of X. ``lbfgs`` asks for ``positive=True``, which is solved by feature-sign Newton steps.
    positive : bool, default=False
        Restrict the coefficients to be ≥ 0.
    random_state : int, RandomState instance or None, default=None
        Seeds the solvers that draw rows, ``sketchy-``.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept; 0.0 without.
    n_iter_ : int or list of int
        Passes over the data; 1 for the closed form.
    solver_ : str
        What ran: ``cholesky``, ``spectral``, ``cholesky, then spectral``, ``conjugate_gradient``, ``lbfgs``, ``svrg``,
        ``saga``, ``katyusha`` or ``feature_sign``.
    certificate_ : float or ndarray of shape (n_targets,)
        What `tol` bounds; the relative residual of the normal equations for the closed form.
    converged_ : bool
        Whether it is within the tolerance.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where X has some.

    Examples
    --------
    >>> from jaxlearn.linear_model import Ridge
    >>> model = Ridge(alpha=2.0).fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
    >>> model.coef_.round(6), round(float(model.intercept_), 6)
    (array([1.]), 2.0)
    """

    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
            float32 is computed in float32, everything else in float64.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : float or array-like of shape (n_samples,), optional
            Zero is a row that is not there.

        Returns
        -------
        self : object
        """
        self._validate_params()
        self._refuse_unsupported()
        return self._fit(place(*read(self, X, y, sample_weight)))


class RidgeClassifier(LinearClassifier, _RidgeModel):
    """Classification by ridge regression to targets of ±1, one for each class (one for two classes).

    Parameters
    ----------
    alpha : float or array-like of shape (n_targets,), default=1.0
        Strength, one for all targets or one for each.
    fit_intercept : bool, default=True
        Whether to fit an intercept; it is never penalised.
    copy_X : bool, default=True
        Without meaning: X is never written to.
    max_iter : int, default=None
        Largest number of passes over the data of an iterative solver; as for `Ridge`.
    tol : float, default=1e-4
        As for `Ridge`.
    class_weight : dict or "balanced", default=None
        Weights of the classes.
    solver : {"auto", "svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga", "lbfgs", "sketchy-svrg", \
            "sketchy-saga", "sketchy-katyusha"}, default="auto"
        As for `Ridge`.
    positive : bool, default=False
        Restrict the coefficients to be ≥ 0.
    random_state : int, RandomState instance or None, default=None
        Seeds the solvers that draw rows, ``sketchy-``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels.
    coef_ : ndarray of shape (n_features,) for two classes, else (n_classes, n_features)
        Coefficients.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercepts; 0.0 without.
    n_iter_, solver_, certificate_, converged_, n_features_in_, feature_names_in_
        As for `Ridge`.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from jaxlearn.linear_model import RidgeClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> round(RidgeClassifier().fit(X, y).score(X, y), 2)
    0.96
    """

    _parameter_constraints: dict = {
        **_RidgeModel._parameter_constraints,
        "class_weight": [dict, ONE_OF("balanced"), None],
    }

    def __init__(
        self,
        alpha=1.0,
        *,
        fit_intercept=True,
        copy_X=True,
        max_iter=None,
        tol=1e-4,
        class_weight=None,
        solver="auto",
        positive=False,
        random_state=None,
    ):
        super().__init__(
            alpha,
            fit_intercept=fit_intercept,
            copy_X=copy_X,
            max_iter=max_iter,
            tol=tol,
            solver=solver,
            positive=positive,
            random_state=random_state,
        )
        self.class_weight = class_weight

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
            float32 is computed in float32, everything else in float64.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any kind, or an indicator matrix of labels that do not exclude each other.
        sample_weight : float or array-like of shape (n_samples,), optional
            Zero is a row that is not there.

        Returns
        -------
        self : object
        """
        self._validate_params()
        self._refuse_unsupported()
        X, y, weight = read(self, X, y, sample_weight, y_numeric=False)
        data = place(X, *self._encode(y, weight))
        self._fit(data)
        return self

    def _encode(self, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._label_binarizer = LabelBinarizer(pos_label=1, neg_label=-1)
        targets = self._label_binarizer.fit_transform(y)
        self.classes_ = self._label_binarizer.classes_
        if not self._multilabel:
            y = column_or_1d(y, warn=True)
        if self.class_weight is not None:
            weight = weight * compute_sample_weight(self.class_weight, y).astype(weight.dtype)
        return targets, weight

    @property
    def _multilabel(self) -> bool:
        return self._label_binarizer.y_type_.startswith("multilabel")

    def predict(self, X):
        """Predict class labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
        """
        if not hasattr(self, "_label_binarizer") or not self._multilabel:
            return super().predict(X)
        scores = np.asarray(self.decision_function(X))
        return self._label_binarizer.inverse_transform(np.where(scores > 0, 1.0, -1.0))
