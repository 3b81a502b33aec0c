"""Multi-layer perceptrons."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.sparse
import sklearn.neural_network as peer
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning

from jaxlearn.models import network
from jaxlearn.neural_network import MLPClassifier, MLPRegressor

QUIET = pytest.mark.filterwarnings("ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning")
pytestmark = QUIET


def classes(n=300, n_classes=3, dtype=np.float64):
    X, y = make_classification(n, 10, n_informative=6, n_classes=n_classes, random_state=0)
    return X.astype(dtype), y


def same(ours, theirs, X, y, tol=1e-9, **fit):
    ours.fit(X, y, **fit)
    theirs.fit(X, y, **fit)
    for a, b in zip([*ours.coefs_, *ours.intercepts_], [*theirs.coefs_, *theirs.intercepts_], strict=True):
        np.testing.assert_allclose(a, b, atol=tol)
    assert ours.out_activation_ == theirs.out_activation_
    assert (ours.n_iter_, ours.t_, ours.n_layers_) == (theirs.n_iter_, theirs.t_, theirs.n_layers_)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
def test_the_weights_of_scikit_learn(activation, n_classes):
    """Where rows come in order, weights and optimisers are the same."""
    X, y = classes(n_classes=n_classes)
    options = {
        "activation": activation,
        "hidden_layer_sizes": (7, 5),
        "shuffle": False,
        "random_state": 0,
        "max_iter": 4,
    }
    same(MLPClassifier(solver="sgd", **options), peer.MLPClassifier(solver="sgd", **options), X, y)
    # optax adds epsilon after the correction of the bias, scikit-learn before: where gradients are tiny, steps differ
    ours, theirs = MLPClassifier(**options).fit(X, y), peer.MLPClassifier(**options).fit(X, y)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-4)
    schedule = {"solver": "sgd", "learning_rate": "invscaling", "batch_size": 64, "nesterovs_momentum": False}
    same(MLPClassifier(**schedule, **options), peer.MLPClassifier(**schedule, **options), X, y)


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_regressors(loss):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 4))
    y = np.abs(X @ rng.standard_normal((4, 2)))
    weight = rng.random(200)
    options = {
        "loss": loss,
        "hidden_layer_sizes": (6,),
        "shuffle": False,
        "random_state": 0,
        "max_iter": 5,
        "batch_size": 50,
    }
    ours, theirs = MLPRegressor(**options), peer.MLPRegressor(**options)
    same(ours, theirs, X, y, tol=1e-5, sample_weight=weight)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-4)
    assert ours.predict(X[:, :4]).shape == (200, 2)
    assert MLPRegressor(**options).fit(X, y[:, 0]).predict(X).shape == (200,)


def test_sparse_rows_are_those_of_dense_ones():
    X, y = classes(700)
    X = X * (np.random.default_rng(0).random(X.shape) < 0.3)
    options = {"hidden_layer_sizes": (6,), "random_state": 0, "max_iter": 3, "batch_size": 30}
    dense, sparse = MLPClassifier(**options).fit(X, y), MLPClassifier(**options).fit(scipy.sparse.csr_matrix(X), y)
    np.testing.assert_allclose(dense.coefs_[0], sparse.coefs_[0], atol=1e-9)
    np.testing.assert_allclose(dense.loss_curve_, sparse.loss_curve_, atol=1e-9)
    np.testing.assert_allclose(dense.predict_proba(X), sparse.predict_proba(scipy.sparse.csr_matrix(X)), atol=1e-9)


def test_quasi_newton(dtype):
    X, y = classes(dtype=dtype)
    model = MLPClassifier((8,), solver="lbfgs", random_state=0, max_iter=2000, tol=1e-3, alpha=1.0).fit(X, y)
    assert model.score(X, y) > 0.85
    assert model.coefs_[0].dtype == dtype
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge"):
        MLPClassifier((8,), solver="lbfgs", random_state=0, max_iter=2).fit(X, y)
    with pytest.raises(AttributeError, match="partial_fit"):
        model.partial_fit(X, y)


def test_any_optimiser():
    X, y = classes()
    model = MLPClassifier((20,), solver=optax.chain(optax.clip(1.0), optax.rmsprop(1e-2)), random_state=0, max_iter=80)
    assert model.fit(X, y).score(X, y) > 0.9


def test_stops_early_with_the_best_weights():
    X, y = classes(600)
    model = MLPClassifier((20,), early_stopping=True, random_state=0, max_iter=300, learning_rate_init=0.02).fit(X, y)
    assert 11 < model.n_iter_ < 300
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert len(model.loss_curve_) == model.n_iter_
    again = MLPClassifier(**model.get_params()).fit(X, y)
    assert all((a == b).all() for a, b in zip(model.coefs_, again.coefs_, strict=True))
    adaptive = MLPClassifier((5,), solver="sgd", learning_rate="adaptive", learning_rate_init=0.1, random_state=0)
    adaptive.set_params(max_iter=400, tol=1e-3).fit(X, y)
    assert adaptive.n_iter_ < 400


def test_partial_fit_goes_on():
    X, y = classes()
    options = {"hidden_layer_sizes": (6,), "shuffle": False, "random_state": 0}
    ours, theirs = MLPClassifier(**options), peer.MLPClassifier(**options)
    for _ in range(3):
        ours.partial_fit(X, y, classes=[0, 1, 2])
        theirs.partial_fit(X, y, classes=[0, 1, 2])
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], atol=1e-5)
    with pytest.raises(ValueError, match="classes not in"):
        ours.partial_fit(X, y + 1)
    with pytest.raises(ValueError, match="does not support early_stopping"):
        MLPClassifier(early_stopping=True).partial_fit(X, y, classes=[0, 1, 2])


def test_several_labels():
    X, y = classes()
    labels = np.stack([y == 0, y == 1, X[:, 0] > 0], axis=1).astype(int)
    model = MLPClassifier((10,), random_state=0, max_iter=300, learning_rate_init=0.01).fit(X, labels)
    assert model.predict(X).shape == labels.shape
    assert (model.predict(X) == labels).mean() > 0.85
    assert model.out_activation_ == "logistic"


def test_inside_a_training_step():
    """The functions compose: weights that are learnt inside of a compiled step have derivatives, forward through the epoch."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 3)).astype(np.float32), rng.standard_normal((40, 1)).astype(np.float32)
    module = network.MLP([0.1 * jnp.ones((3, 1))], [jnp.zeros(1)], "identity")
    optimizer = optax.sgd(0.1)
    order = jnp.arange(40, dtype=jnp.int32)
    X, y = jnp.asarray(X), jnp.asarray(y)

    @jax.jit
    def loss_after(alpha):
        learnt, _, _ = network.run(
            module,
            network.begin(module, optimizer),
            (X, y, jnp.ones(40)),
            order,
            optimizer=optimizer,
            loss=network.LOSSES["squared_error"],
            batch_size=10,
            alpha=alpha,
        )
        return network.mean_loss(learnt, X, y, jnp.ones(40), loss=network.LOSSES["squared_error"])

    slope = float(jax.jacfwd(loss_after)(5.0))
    assert slope == pytest.approx(float(loss_after(5.5) - loss_after(4.5)), rel=0.05, abs=1e-5)
    with pytest.raises(ValueError, match="y >= 0"):
        MLPRegressor(loss="poisson").fit(X, y[:, 0])
