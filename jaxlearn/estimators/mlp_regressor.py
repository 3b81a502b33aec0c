"""A multi-layer perceptron that regresses."""

from __future__ import annotations

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from .constraints import ONE_OF
from .inputs import check_sample_weight
from .mlp import Perceptrons
from .segments import numeric_targets, open_rows, refuse_passing

__all__ = ["MLPRegressor"]


class MLPRegressor(RegressorMixin, Perceptrons):
    """A multi-layer perceptron for one target or several.

    *Minimises* the mean loss of its outputs, and ``½ alpha ‖W‖²`` over the weights.

    *Reads the data by* scan: one epoch is one program.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default="squared_error"
        The second has the logarithm as link.
    hidden_layer_sizes : array-like of int, default=(100,)
        Neurons of the hidden layers.
    activation : {"relu", "identity", "logistic", "tanh"}, default="relu"
        Of the hidden layers.
    solver : {"adam", "sgd", "lbfgs"} or optax.GradientTransformation, default="adam"
        An optimiser of optax has its own step size; `learning_rate_init` and the like are those of ``adam`` and ``sgd``.
    alpha : float, default=1e-4
        Strength of ``½ alpha ‖W‖²``, divided by the weight of a batch.
    batch_size : int or "auto", default="auto"
        "auto" is 200, or all rows if they are fewer.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Of ``sgd``.
    learning_rate_init : float, default=0.001
    power_t : float, default=0.5
        Of ``invscaling``.
    max_iter : int, default=200
        Most epochs, or iterations of ``lbfgs``.
    shuffle : bool, default=True
        A new order in each epoch: a pure function of a number drawn from `random_state`, and of the epoch.
    random_state : int, RandomState instance or None, default=None
        For the first weights, which are scikit-learn's, and for orders.
    tol : float, default=1e-4
    verbose : bool, default=False
        Write the loss of each epoch.
    warm_start : bool, default=False
    momentum : float, default=0.9
    nesterovs_momentum : bool, default=True
    early_stopping : bool, default=False
        Stop by the score on rows that are kept out, and return the best weights.
    validation_fraction : float, default=0.1
    beta_1, beta_2, epsilon : float
        Of ``adam``.
    n_iter_no_change : int, default=10
        Epochs without a gain of `tol` after which the fit ends.
    max_fun : int, default=15000
        Of ``lbfgs``.

    Attributes
    ----------
    coefs_, intercepts_ : list of ndarray
        Of the layers.
    loss_ : float
        Mean over the last epoch.
    best_loss_ : float or None
    loss_curve_ : list of float
    validation_scores_, best_validation_score_ : list of float, float
        With `early_stopping`.
    n_iter_, n_layers_, n_outputs_, t_ : int
    out_activation_ : str
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> from jaxlearn.neural_network import MLPRegressor
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> y = np.sin(3 * X[:, 0])
    >>> MLPRegressor(hidden_layer_sizes=(20,), solver="lbfgs", random_state=0, max_iter=500).fit(X, y).score(X, y) > 0.99
    True
    """

    _parameter_constraints: dict = {**Perceptrons._parameter_constraints, "loss": [ONE_OF("squared_error", "poisson")]}

    def __init__(
        self,
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
    ):
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun

    def fit(self, X, y=None, sample_weight=None):
        """Train the network.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array, stream, numpy.memmap} of shape (n_samples, n_features), or iterable
            Of a stream blocks are shuffled in each epoch, and the rows inside of them. An iterable gives tuples (X, y) or
            (X, y, sample_weight) of any number of rows, in its own order, anew in each epoch.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Without it X is an iterable.
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self : object
        """
        self._validate_params()
        source = open_rows(self, X, y, sample_weight)
        if source is None:
            return self._fit(X, y, sample_weight, incremental=False)
        self.out_activation_ = "exp" if self.loss == "poisson" else "identity"
        n_outputs = int(np.prod(source.y.shape[1:]))

        def targets(batch):
            y = numeric_targets(batch, n_outputs)
            self._refuse_negative(y, f"{batch.name}: ")
            return y

        self._train_passing(source, n_outputs, targets)
        return self

    @available_if(lambda estimator: estimator._partly())
    def partial_fit(self, X, y, sample_weight=None):
        """One epoch over some rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, jax.Array} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self : object
        """
        self._validate_params()
        refuse_passing(X, y)
        return self._fit(X, y, sample_weight, incremental=True)

    def _fit(self, X, y, sample_weight, *, incremental):
        X, y = self._read(X, y, incremental=incremental, numeric=True)
        self._refuse_negative(y)
        self.out_activation_ = "exp" if self.loss == "poisson" else "identity"
        weight = check_sample_weight(sample_weight, X.shape[0], X.dtype)
        self._train(X, y.reshape(len(y), -1), weight, incremental=incremental)
        return self

    def _refuse_negative(self, y, where=""):
        if self.loss == "poisson" and (y < 0).any():
            raise ValueError(f"{where}loss='poisson' takes targets y >= 0.")

    def _loss_name(self):
        return self.loss

    def _validation_score(self, f, y, weight):
        if not np.isfinite(f).all():
            return np.nan
        from sklearn.metrics import r2_score  # late: it takes a while to import

        return float(r2_score(y, np.exp(f) if self.loss == "poisson" else f, sample_weight=weight))

    def predict(self, X):
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        f = self._outputs(X)
        f = np.exp(f) if self.loss == "poisson" else f
        return f.ravel() if f.shape[1] == 1 else f
