"""Any Equinox module as an estimator."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score

from jaxlearn.neural_network import Network


def mlp(key, shape, n_outputs):
    return eqx.nn.MLP(shape[0], n_outputs, 32, 1, key=key)


class Convolution(eqx.Module):
    filters: eqx.nn.Conv2d
    linear: eqx.nn.Linear

    def __call__(self, image):
        return self.linear(jax.nn.relu(self.filters(image[None])).mean((1, 2)))


def digits(dtype=np.float32):
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(dtype), y


def test_classifier(dtype):
    X, y = digits(dtype)
    model = Network(mlp, loss="log_loss", max_iter=8, optimizer=optax.adam(5e-3), random_state=0)
    assert is_classifier(model)
    assert clone(model).fit(X, y.astype(str)).score(X, y.astype(str)) > 0.9
    model.fit(X, y)
    assert model.loss_curve_[-1] < 0.5 * model.loss_curve_[0]
    assert model.predict_proba(X[:3]).shape == (3, 10)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(eqx.filter(model.module_, eqx.is_inexact_array)))
    again = clone(model).fit(X, y)
    assert again.loss_curve_ == model.loss_curve_
    assert cross_val_score(clone(model).set_params(max_iter=3), X[:300], y[:300], cv=2).min() > 0.2


def test_images_and_a_module_of_ones_own():
    X, y = digits()
    keys = jax.random.split(jax.random.key(0))
    module = Convolution(eqx.nn.Conv2d(1, 8, 3, key=keys[0]), eqx.nn.Linear(8, 10, key=keys[1]))
    before = module.linear.weight
    model = Network(module, loss="log_loss", max_iter=60, optimizer=optax.adam(2e-2)).fit(X.reshape(-1, 8, 8), y)
    assert model.score(X.reshape(-1, 8, 8), y) > 0.5
    assert (module.linear.weight == before).all()  # a copy is trained


@pytest.mark.parametrize("loss", ["squared_error", "poisson", lambda y, f: jnp.abs(y - f).sum(-1)])
def test_regression(loss):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 3)).astype(np.float32)
    y = np.exp(0.5 * X[:, 0]).astype(np.float32)
    model = Network(mlp, loss=loss, max_iter=60, batch_size=32, optimizer=optax.adam(1e-2), random_state=0).fit(X, y)
    assert is_regressor(model)
    assert model.score(X, y) > 0.9
    assert model.predict(X).shape == (400,)
    with pytest.raises(AttributeError, match="predict_proba"):
        model.predict_proba(X)


def test_partial_fit_and_bad_input():
    X, y = digits()
    model = Network(mlp, loss="log_loss", random_state=0)
    with pytest.raises(ValueError, match="classes must be passed"):
        model.partial_fit(X, y)
    for _ in range(3):
        model.partial_fit(X, y, classes=range(10))
    assert model.n_iter_ == 3
    with pytest.raises(ValueError, match=r"classes \[11\]"):
        model.partial_fit(X[:1], [11])
    with pytest.raises(ValueError, match="expecting 64 features"):
        model.predict(X[:, :5])
    with pytest.raises(ValueError, match="not finite"):
        Network(mlp, optimizer=optax.sgd(1e6), max_iter=50).fit(X, y)
    with pytest.raises(ValueError, match="y to be passed"):
        model.fit(X, None)
