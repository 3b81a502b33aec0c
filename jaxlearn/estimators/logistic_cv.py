"""Logistic regression whose strength and share of the l1 part are chosen by cross-validation."""

from __future__ import annotations

import dataclasses
import warnings
from numbers import Integral
from typing import Any

import equinox as eqx
import jax
import numpy as np
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metadata_routing import (
    UNUSED,
    MetadataRouter,
    MethodMapping,
    _raise_for_params,
    _routing_enabled,
    process_routing,
)

from jaxlearn.models.glm import GLM
from jaxlearn.solvers.solution import CONVERGED

from .base import ProbabilisticClassifier, check_finite, number, warn_unless_converged
from .constraints import COUNT, ONE_OF
from .folds import fold_weights, of_rows, routed_to_scorer, scorer_of_all_classes
from .inputs import Data, place, read
from .logistic import ALIASES, LogisticRegression, warn_deprecated
from .logistic_folds import Fits, fit_grid, joined, scores_of
from .paths import Path
from .smooth import named, path_solver

__all__ = ["LogisticRegressionCV"]

# Scores that the program of the fits gives too.
COMPILED = (None, "accuracy", "neg_log_loss")


class LogisticRegressionCV(ProbabilisticClassifier):
    """Logistic regression whose strength and share of the l1 part are chosen by cross-validation.

    *Minimises* what `LogisticRegression` does. Folds are weights over one X: all folds and strengths are one compiled
    program, which goes from the strongest penalty to the weakest, each fit from the solution before it.

    Parameters
    ----------
    Cs : int or array-like of shape (n_cs,), default=10
        Inverse strengths to choose from, or their number between 1e-4 and 1e4; without an l1 part ``inf`` is no penalty.
    l1_ratios : array-like of shape (n_l1_ratios,), default=(0.0,)
        Shares of the l1 part to choose from; None is an older spelling of the default.
    fit_intercept : bool, default=True
        Whether to fit an intercept; it is never penalised.
    cv : int, splitter or iterable, default=None
        Folds, five with the classes in proportion by default.
    dual : bool, default=False
        True is refused: the primal problem is solved.
    penalty : {"l1", "l2", "elasticnet"}
        An older spelling of `l1_ratios`, accepted with a warning: ``l1`` and ``l2`` are ratios of 1 and 0.
    scoring : str or callable, default=None
        What is maximised: accuracy by default. It and ``neg_log_loss`` are computed with the fits, others on the host.
    solver : {"auto", "lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga"}, default="auto"
        ``auto`` is Newton's method where the Hessian is estimated to be cheap, else L-BFGS, for all folds; see
        ``solver_``. ``newton-cholesky`` is Newton's method, ``newton-cg`` and ``liblinear`` are as ``auto``, scikit-learn's
        other names L-BFGS; ``liblinear`` takes two classes. With an l1 part ``auto``, ``saga`` and ``liblinear`` (which takes
        it alone) are proximal Newton, and the others refused.
    tol : float, default=1e-4
        Stop when no entry of the gradient, of the objective divided by ``C Σ s_i``, is larger; with an l1 part, when the
        duality gap is at most `tol` times the loss that a constant leaves.
    max_iter : int, default=100
        Largest number of passes over the data, for each fit.
    class_weight : dict or "balanced", default=None
        Weights of the classes; balanced over all data, not in each fold.
    n_jobs : int, default=None
        Without meaning: all folds are one program, and XLA uses the cores.
    verbose : int, default=0
        Without meaning: a compiled program prints nothing.
    refit : bool, default=True
        Whether to fit all data at the best mean score, as a `LogisticRegression` would; else the solutions that are best in
        their folds, and what they were found with, are averaged.
    intercept_scaling : float, default=1
        Only 1: the intercept is not penalised, also not with ``solver="liblinear"``.
    random_state : int, RandomState instance or None, default=None
        Without meaning: nothing is drawn.
    use_legacy_attributes : bool, default=False
        Whether ``C_`` and ``l1_ratio_`` repeat their value for each class, and ``coefs_paths_`` and ``scores_`` are
        dictionaries of classes, or of the second of two, whose axes are (n_folds, n_cs, n_l1_ratios), as are the last ones of
        ``n_iter_``; with ``l1_ratios=None`` the last axis is dropped.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts; zeros without.
    C_, l1_ratio_ : float
        What was chosen.
    Cs_ : ndarray of shape (n_cs,)
        Inverse strengths.
    l1_ratios_ : ndarray of shape (n_l1_ratios,)
        Shares.
    coefs_paths_ : ndarray of shape (n_folds, n_l1_ratios, n_cs, n_classes or 1, n_features + fit_intercept)
        Coefficients of every fit, intercepts last.
    scores_ : ndarray of shape (n_folds, n_l1_ratios, n_cs)
        Of each on its test fold.
    n_iter_ : ndarray of shape (n_folds, n_l1_ratios, n_cs)
        Passes over the data of each.
    solver_ : str
        What ran: ``newton``, ``lbfgs`` or ``prox-newton``; of shares with and without an l1 part, two of them.
    certificate_ : float
        Largest entry of the gradient, or the duality gap, of the fit to all data; without `refit` the largest of those that
        were averaged.
    converged_ : bool
        Whether it is within the tolerance.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where X has some.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from jaxlearn.linear_model import LogisticRegressionCV
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegressionCV(scoring="neg_log_loss").fit(X, y)
    >>> model.scores_.shape, round(model.score(X, y), 2)
    ((5, 1, 10), -0.04)
    """

    # as scikit-learn has it, until `score` takes no weights of its own
    __metadata_request__score = {"sample_weight": UNUSED}
    _parameter_constraints: dict = {
        name: LogisticRegression._parameter_constraints[name]
        for name in ("fit_intercept", "dual", "tol", "max_iter", "class_weight", "n_jobs", "verbose")
    } | {
        "Cs": [COUNT, "array-like"],
        "l1_ratios": ["array-like", None],
        "cv": ["cv_object"],
        "penalty": [ONE_OF("l1", "l2", "elasticnet", "deprecated")],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "solver": [ONE_OF("auto", "lbfgs", "newton-cholesky", *ALIASES)],
        "refit": ["boolean"],
        "intercept_scaling": LogisticRegression._parameter_constraints["intercept_scaling"],
        "random_state": ["random_state"],
        "use_legacy_attributes": ["boolean"],
    }

    def __init__(
        self,
        *,
        Cs=10,
        l1_ratios=(0.0,),
        fit_intercept=True,
        cv=None,
        dual=False,
        penalty="deprecated",
        scoring=None,
        solver="auto",
        tol=1e-4,
        max_iter=100,
        class_weight=None,
        n_jobs=None,
        verbose=0,
        refit=True,
        intercept_scaling=1,
        random_state=None,
        use_legacy_attributes=False,
    ):
        self.Cs: Any = Cs
        self.l1_ratios: Any = l1_ratios
        self.fit_intercept = fit_intercept
        self.cv: Any = cv
        self.dual = dual
        self.penalty = penalty
        self.scoring: Any = scoring
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.refit = refit
        self.intercept_scaling = intercept_scaling
        self.random_state = random_state
        self.use_legacy_attributes = use_legacy_attributes

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = self.solver != "liblinear"
        return tags

    def fit(self, X, y, sample_weight=None, **params):
        """Choose by cross-validation, then fit to all data.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
            float32 is computed in float32, everything else in float64. Rows over several devices: accuracy and
            ``neg_log_loss`` only.
        y : array-like of shape (n_samples,)
            Labels of any kind.
        sample_weight : float or array-like of shape (n_samples,), optional
            Of the fits, where zero is a row that is not there, and of the scores, unless metadata routing says otherwise.
        **params : dict
            For the scorer and the splitter, with scikit-learn's metadata routing enabled.

        Returns
        -------
        self : object
        """
        self._validate_params()
        _raise_for_params(params, self, "fit")
        self.Cs_ = self._inverse_strengths()
        self.l1_ratios_ = self._shares()
        for ratio in self.l1_ratios_:
            self._one(1.0, ratio)._refuse_unsupported()
        one = self._one(1.0, 0.0)
        X, y, weight = read(self, X, y, sample_weight, multi_output=False, y_numeric=False)
        data = place(X, *one._encode(y, weight), centred=self.fit_intercept and bool(self.l1_ratios_.any()))
        self.classes_ = one.classes_
        self._check_class_weight()
        routed = routed_to_scorer(self, None if sample_weight is None else weight, params)
        splitter: Any = check_cv(self.cv, y, classifier=True)
        folds = list(splitter.split(X, y, **routed.splitter.split))
        compiled = self.scoring in COMPILED and set(routed.scorer.score) <= {"sample_weight"}
        if data.mesh is not None and not compiled:
            raise ValueError(f"Rows over several devices take scoring in {COMPILED}: a scorer needs rows on the host.")
        judged = np.zeros_like(data.sample_weight)
        judged[: data.n_samples] = routed.scorer.score.get("sample_weight", 1) if compiled else 1
        train, _ = fold_weights(folds, data.sample_weight, data.n_samples)
        _, test = fold_weights(folds, judged, data.n_samples)
        grid = self._grid(data, train, test)
        fits = grid.values
        if compiled:
            scores = scores_of(fits.log_likelihood if self.scoring == "neg_log_loss" else fits.right, test)
        else:
            scores = self._scores(fits, X, y, folds, routed.scorer.score)
        (self._refit if self.refit else self._average)(data, grid, scores)
        self.scores_: Any = scores
        self.n_iter_: Any = grid.n_steps
        self.coefs_paths_: Any = joined(fits, self.fit_intercept)
        if self.use_legacy_attributes:
            self._use_legacy_attributes()
        return self

    def _inverse_strengths(self) -> np.ndarray:
        if isinstance(self.Cs, Integral):
            return np.logspace(-4, 4, int(self.Cs))
        Cs = np.asarray(self.Cs, np.float64)
        if Cs.ndim != 1 or not Cs.size or not (Cs > 0).all():
            raise ValueError(f"Cs must be an array-like of positive numbers, or their number; got (Cs={self.Cs!r})")
        return Cs

    def _shares(self) -> np.ndarray:
        if self.penalty != "deprecated":
            warn_deprecated("'penalty'", "`l1_ratios`")
        elif self.l1_ratios is None:
            warn_deprecated("'l1_ratios=None'", "l1_ratios=(0.0,)")
        named, given = {"l1": (1.0,), "l2": (0.0,)}.get(self.penalty), self.l1_ratios
        if named and given is not None and tuple(given) not in ((0.0,), named):
            message = f"l1_ratios parameter is only used when penalty is 'elasticnet'. Got (penalty={self.penalty})"
            warnings.warn(message, stacklevel=3)
        older = (0.0,) if given is None and self.penalty == "deprecated" else given
        shares = np.asarray(named or (() if older is None else older))
        numbers = shares.ndim == 1 and shares.size and shares.dtype.kind in "iuf"
        if not numbers or not ((shares >= 0) & (shares <= 1)).all():
            raise ValueError(f"l1_ratios must be an array-like of numbers between 0 and 1; got (l1_ratios={given!r})")
        if shares.any() and np.isinf(self.Cs_).any():
            raise ValueError("Cs=inf is no penalty, and has no l1 part: use l1_ratios=(0.0,).")
        return shares.astype(np.float64)

    def _one(self, C: Any, l1_ratio: Any, solver: str | None = None) -> LogisticRegression:
        """With one strength and one share."""
        return LogisticRegression(
            C=C,
            l1_ratio=l1_ratio,
            dual=self.dual,
            tol=self.tol,
            fit_intercept=self.fit_intercept,
            intercept_scaling=self.intercept_scaling,
            class_weight=self.class_weight,
            solver=self.solver if solver is None else solver,
            max_iter=self.max_iter,
        )

    def _check_class_weight(self) -> None:
        if isinstance(self.class_weight, dict) and not set(self.class_weight) <= set(self.classes_):
            raise ValueError(
                "The given class_weight dict must have the class labels as keys; "
                f"classes={self.classes_} but key={self.class_weight.keys()}"
            )

    def _grid(self, data: Data, train: np.ndarray, test: np.ndarray) -> Path:
        """Fits and what is known of them, (n_folds, n_l1_ratios, n_cs)."""
        models = [self._path_model(data, ratio) for ratio in self.l1_ratios_]
        ran = ["prox-newton" if model.kind == "sparse_smooth" else model.solver for model in models]
        self.solver_ = ", ".join(dict.fromkeys(ran))
        grid = fit_grid(data, models, self.Cs_, train, test)
        check_finite(grid.values.coef, grid.values.intercept)
        certificates = sorted({"duality gap" if name == "prox-newton" else "gradient norm" for name in ran})
        status, residual, n_steps = (a.ravel() for a in grid[:3])
        warn_unless_converged(self, status, residual, " or ".join(certificates), self.tol, n_steps, data.dtype)
        return grid

    def _path_model(self, data: Data, l1_ratio: float) -> GLM:
        model = eqx.tree_at(lambda m: m.penalty.alpha, self._one(1.0, l1_ratio)._model(data), number(1, data.dtype))
        if model.kind != "smooth":
            return model
        return dataclasses.replace(
            model, solver=path_solver(data) if self.solver == "auto" else named(self.solver, data)
        )

    def _scores(self, fits: Fits, X: Any, y: np.ndarray, folds: list, params: dict) -> np.ndarray:
        """Of each fit, by a scorer that sees it as a `LogisticRegression`."""
        X = X.tocsr() if hasattr(X, "tocsr") else np.asarray(X)
        scorer, scores = scorer_of_all_classes(self._get_scorer(), self.classes_), np.empty(fits.right.shape)
        for fold, ratio, i in np.ndindex(*scores.shape):
            test = folds[fold][1]
            model: Any = self._one(self.Cs_[i], self.l1_ratios_[ratio])
            model.classes_, model.n_features_in_ = self.classes_, X.shape[1]
            model.coef_ = np.atleast_2d(fits.coef[fold, ratio, i].T)
            model.intercept_ = np.atleast_1d(fits.intercept[fold, ratio, i])
            some = {name: of_rows(value, len(y), test) for name, value in params.items()}
            scores[fold, ratio, i] = scorer(model, X[test], y[test], **some)
        return scores

    def _refit(self, data: Data, grid: Path, scores: np.ndarray) -> None:
        # ties go to the first C, then to the first share, as in scikit-learn
        C, ratio = np.unravel_index(scores.sum(0).T.argmax(), scores.shape[:0:-1])
        self.C_, self.l1_ratio_ = float(self.Cs_[C]), float(self.l1_ratios_[ratio])
        solver = "lbfgs" if "lbfgs" in self.solver_ else "newton-cholesky"
        best: Any = self._one(self.C_, self.l1_ratio_, "auto" if self.l1_ratio_ else solver)
        best._fit(data, best._start(data))
        for name in ("coef_", "intercept_", "certificate_", "converged_"):
            setattr(self, name, getattr(best, name))

    def _average(self, data: Data, grid: Path, scores: np.ndarray) -> None:
        n_folds, n_ratios, n_cs = scores.shape
        C, ratio = np.unravel_index(np.swapaxes(scores, 1, 2).reshape(n_folds, -1).argmax(1), (n_cs, n_ratios))
        best: Path = jax.tree.map(lambda a: a[np.arange(n_folds), ratio, C], grid)
        self.C_, self.l1_ratio_ = float(self.Cs_[C].mean()), float(self.l1_ratios_[ratio].mean())
        self.coef_ = np.atleast_2d(best.values.coef.mean(0).T)
        self.intercept_ = np.atleast_1d(best.values.intercept.mean(0))
        self.certificate_, self.converged_ = best.residual.max(), bool((best.status == CONVERGED).all())

    def _use_legacy_attributes(self) -> None:
        paths: Any = np.moveaxis(self.coefs_paths_, (3, 0, 2, 1), (0, 1, 2, 3))
        scores, n_iter = (np.swapaxes(a, 1, 2) for a in (self.scores_, self.n_iter_))
        if self.l1_ratios is None:
            scores, n_iter, paths = scores[..., 0], n_iter[..., 0], paths[..., 0, :]
        labels = self.classes_[-len(paths) :]
        self.C_, self.l1_ratio_ = np.full(len(paths), self.C_), np.full(len(paths), self.l1_ratio_)
        self.scores_, self.coefs_paths_ = dict.fromkeys(labels, scores), dict(zip(labels, paths, strict=True))
        self.n_iter_ = n_iter[None]

    def score(self, X, y, *, sample_weight=None, **score_params):
        """Score by `scoring`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), optional
        **score_params : dict
            For the scorer, with scikit-learn's metadata routing enabled.

        Returns
        -------
        float
        """
        _raise_for_params(score_params, self, "score")
        if sample_weight is not None:
            score_params["sample_weight"] = sample_weight
        routed = Bunch(scorer=Bunch(score=score_params))
        if _routing_enabled():
            routed = process_routing(self, "score", **score_params)
        return self._get_scorer()(self, X, y, **routed.scorer.score)

    def _get_scorer(self) -> Any:
        return get_scorer("accuracy" if self.scoring is None else self.scoring)

    def get_metadata_routing(self):
        """Where metadata goes, see scikit-learn's user guide.

        Returns
        -------
        MetadataRouter
        """
        splitting = MethodMapping().add(caller="fit", callee="split")
        scoring = MethodMapping().add(caller="score", callee="score").add(caller="fit", callee="score")
        router = MetadataRouter(owner=self).add_self_request(self)
        router.add(splitter=check_cv(self.cv), method_mapping=splitting)
        return router.add(scorer=self._get_scorer(), method_mapping=scoring)
