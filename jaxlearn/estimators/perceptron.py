"""Perceptrons and passive-aggressive learning: stochastic gradients with steps of their own."""

from __future__ import annotations

from .constraints import NON_NEGATIVE, ONE_OF, POSITIVE
from .sgd import SGDModel
from .sgd_classifier import SGDClassification
from .sgd_regressor import SGDRegression

__all__ = ["PassiveAggressiveClassifier", "PassiveAggressiveRegressor", "Perceptron"]


def _without(constraints: dict, *names: str) -> dict:
    return {name: kind for name, kind in constraints.items() if name not in names}


class Perceptron(SGDClassification):
    """The perceptron: `SGDClassifier` with its loss, steps of constant size, and no penalty.

    *Minimises* the mean of ``max(0, −y f)``.

    *Reads the data by* scan.

    Parameters
    ----------
    penalty : {"l2", "l1", "elasticnet"} or None, default=None
    alpha : float, default=1e-4
    l1_ratio : float, default=0.15
    fit_intercept : bool, default=True
    max_iter : int, default=1000
    tol : float or None, default=1e-3
    shuffle : bool, default=True
    verbose : int, default=0
        Without meaning.
    eta0 : float, default=1.0
    n_jobs : int, default=None
        Without meaning.
    random_state : int, RandomState instance or None, default=0
    early_stopping : bool, default=False
    validation_fraction : float, default=0.1
    n_iter_no_change : int, default=5
    class_weight : dict or "balanced", default=None
    warm_start : bool, default=False
        All as in `SGDClassifier`.

    Attributes
    ----------
    coef_, intercept_, classes_, n_iter_, t_, n_features_in_, feature_names_in_
        As in `SGDClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from jaxlearn.linear_model import Perceptron
    >>> X, y = load_digits(return_X_y=True)
    >>> Perceptron().fit(X, y).score(X, y) > 0.9
    True
    """

    loss, learning_rate, power_t, epsilon, average = "perceptron", "constant", 0.5, 0.1, False

    _parameter_constraints: dict = _without(SGDClassification._parameter_constraints, "average")

    def __init__(
        self,
        *,
        penalty=None,
        alpha=0.0001,
        l1_ratio=0.15,
        fit_intercept=True,
        max_iter=1000,
        tol=1e-3,
        shuffle=True,
        verbose=0,
        eta0=1.0,
        n_jobs=None,
        random_state=0,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        class_weight=None,
        warm_start=False,
    ):
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.verbose = verbose
        self.eta0 = eta0
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.warm_start = warm_start


class _PassiveAggressive(SGDModel):
    """Steps that set the loss of a sample to zero, as far as C allows."""

    C: float
    penalty, alpha, l1_ratio, power_t = None, 1.0, 0.0, 0.5

    @property
    def eta0(self):  # type: ignore[override]  # a parameter there, derived from another here
        """`C`."""
        return self.C

    @property
    def _loss_name(self):
        return self.loss.removeprefix("squared_")

    @property
    def learning_rate(self):  # type: ignore[override]  # a parameter there, derived from another here
        """The variant that the loss stands for."""
        return "pa2" if self.loss.startswith("squared") else "pa1"


_OTHERS = "penalty", "alpha", "l1_ratio", "eta0"


class PassiveAggressiveClassifier(_PassiveAggressive, SGDClassification):
    """Passive-aggressive classification: a sample whose margin is too small changes the coefficients as little as mends it.

    *Step* ``w ← w + min(C, loss / ‖x‖²) y x`` for the hinge (PA-I), ``loss / (‖x‖² + 1 / (2 C))`` for its square (PA-II).

    *Reads the data by* scan.

    Parameters
    ----------
    C : float, default=1.0
        Largest step, or what steps are softened by.
    fit_intercept : bool, default=True
    max_iter : int, default=1000
    tol : float or None, default=1e-3
    early_stopping : bool, default=False
    validation_fraction : float, default=0.1
    n_iter_no_change : int, default=5
    shuffle : bool, default=True
    verbose : int, default=0
        Without meaning.
    loss : {"hinge", "squared_hinge"}, default="hinge"
    n_jobs : int, default=None
        Without meaning.
    random_state : int, RandomState instance or None, default=None
    warm_start : bool, default=False
    class_weight : dict or "balanced", default=None
    average : bool or int, default=False
        All others as in `SGDClassifier`.

    Attributes
    ----------
    coef_, intercept_, classes_, n_iter_, t_, n_features_in_, feature_names_in_
        As in `SGDClassifier`.

    References
    ----------
    Crammer, Dekel, Keshet, Shalev-Shwartz, Singer, "Online passive-aggressive algorithms", JMLR 2006.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from jaxlearn.linear_model import PassiveAggressiveClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> PassiveAggressiveClassifier(random_state=0).fit(X, y).score(X, y) > 0.8
    True
    """

    epsilon = 0.1

    _parameter_constraints: dict = {
        **_without(SGDClassification._parameter_constraints, *_OTHERS),
        "loss": [ONE_OF("hinge", "squared_hinge")],
        "C": [POSITIVE],
    }

    def __init__(
        self,
        *,
        C=1.0,
        fit_intercept=True,
        max_iter=1000,
        tol=1e-3,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        shuffle=True,
        verbose=0,
        loss="hinge",
        n_jobs=None,
        random_state=None,
        warm_start=False,
        class_weight=None,
        average=False,
    ):
        self.C = C
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.shuffle = shuffle
        self.verbose = verbose
        self.loss = loss
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.warm_start = warm_start
        self.class_weight = class_weight
        self.average = average


class PassiveAggressiveRegressor(_PassiveAggressive, SGDRegression):
    """Passive-aggressive regression: a sample that is more than `epsilon` off changes the coefficients as little as mends it.

    *Step* As in `PassiveAggressiveClassifier`, for the loss ``max(0, |y − f| − epsilon)`` or its square.

    *Reads the data by* scan.

    Parameters
    ----------
    C : float, default=1.0
    fit_intercept : bool, default=True
    max_iter : int, default=1000
    tol : float or None, default=1e-3
    early_stopping : bool, default=False
    validation_fraction : float, default=0.1
    n_iter_no_change : int, default=5
    shuffle : bool, default=True
    verbose : int, default=0
        Without meaning.
    loss : {"epsilon_insensitive", "squared_epsilon_insensitive"}, default="epsilon_insensitive"
    epsilon : float, default=0.1
    random_state : int, RandomState instance or None, default=None
    warm_start : bool, default=False
    average : bool or int, default=False
        All others as in `SGDClassifier`.

    Attributes
    ----------
    coef_, intercept_, n_iter_, t_, n_features_in_, feature_names_in_
        As in `SGDRegressor`.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.linear_model import PassiveAggressiveRegressor
    >>> X = np.random.default_rng(0).standard_normal((200, 2))
    >>> model = PassiveAggressiveRegressor(random_state=0).fit(X, X[:, 0])
    >>> bool(abs(model.coef_ - [1, 0]).max() < 0.1)
    True
    """

    _parameter_constraints: dict = {
        **_without(SGDRegression._parameter_constraints, *_OTHERS),
        "loss": [ONE_OF("epsilon_insensitive", "squared_epsilon_insensitive")],
        "C": [POSITIVE],
        "epsilon": [NON_NEGATIVE],
    }

    def __init__(
        self,
        *,
        C=1.0,
        fit_intercept=True,
        max_iter=1000,
        tol=1e-3,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        shuffle=True,
        verbose=0,
        loss="epsilon_insensitive",
        epsilon=0.1,
        random_state=None,
        warm_start=False,
        average=False,
    ):
        self.C = C
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.shuffle = shuffle
        self.verbose = verbose
        self.loss = loss
        self.epsilon = epsilon
        self.random_state = random_state
        self.warm_start = warm_start
        self.average = average
