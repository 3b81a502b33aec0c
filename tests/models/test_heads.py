"""Fits inside of a compiled training step: heads, whitening and codes on the features of a network, and their gradients."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxlearn.models import glm, matrix_factorization, pca
from jaxlearn.models.glm import GLM
from jaxlearn.models.matrix_factorization import MatrixFactorization
from jaxlearn.objectives import L1, L2, Logistic, Multinomial

N_TASKS, N, D, H = 8, 24, 6, 4


class Features(eqx.Module):
    layers: list
    alpha: jax.Array

    def __init__(self, key):
        a, b = jax.random.split(key)
        self.layers = [eqx.nn.Linear(D, 8, key=a), eqx.nn.Linear(8, H, key=b)]
        self.alpha = jnp.asarray(-2.0)

    def __call__(self, x):
        return self.layers[1](jnp.tanh(self.layers[0](x)))


def ridge(net, Z, y):
    return glm.fit(GLM(penalty=L2(jnp.exp(net.alpha))), Z, y)


def ridges(net, Z, y):
    """Several targets, of one strength."""
    return glm.fit(GLM(penalty=L2(jnp.exp(net.alpha))), Z, jnp.stack([y, y**2, jnp.sin(y)], axis=1))


def strengths(net, Z, y):
    """Several targets, each with a strength of its own."""
    alphas = jnp.exp(net.alpha) * jnp.array([[0.5, 1.0, 2.0]])
    return glm.fit(GLM(penalty=L2(alphas)), Z, jnp.stack([y, y**2, jnp.sin(y)], axis=1))


def logistic(net, Z, y):
    return glm.fit(GLM(loss=Logistic(), penalty=L2(jnp.exp(net.alpha)), tol=1e-10), Z, y > 0)


def softmax(net, Z, y):
    model = GLM(loss=Multinomial(), penalty=L2(jnp.exp(net.alpha)), tol=1e-10, solver="newton")
    thirds = jnp.argsort(jnp.argsort(y)) * 3 // len(y)
    return glm.fit(model, Z, jax.nn.one_hot(thirds, 3, dtype=Z.dtype))


def head_loss(head, net, X, y):
    """Learn from one half of a task, and be judged on the other."""
    Z = jax.vmap(net)(X)
    fitted = head(net, Z[: N // 2], y[: N // 2])
    f = glm.linear_predictor(fitted, Z[N // 2 :])
    target = y[N // 2 :] if f.ndim == 1 else jnp.stack([y[N // 2 :]] * f.shape[1], axis=1)
    return jnp.mean(jnp.square(f - target))


def whitened_loss(net, X, y):
    Z = jax.vmap(net)(X)
    found = pca.fit(pca.PCA(2), Z)
    white = pca.transform(found, Z) / jnp.sqrt(found.explained_variance)[None]
    return jnp.mean(jnp.square(white[:, 0] * y) + jnp.square(white[:, 1] - y))


def coded_loss(net, X, y):
    Z = jax.vmap(net)(X)
    atoms = jnp.asarray(np.random.default_rng(5).standard_normal((6, H)), Z.dtype)
    codes = matrix_factorization.encode(
        MatrixFactorization(6, L1(0.5 * jnp.exp(net.alpha))), atoms, Z, tol=1e-14, max_steps=2000
    )
    return jnp.mean(jnp.square(codes.codes.sum(1) - y))


LOSSES = {
    "ridge": partial(head_loss, ridge),
    "ridges": partial(head_loss, ridges),
    "strengths": partial(head_loss, strengths),
    "logistic": partial(head_loss, logistic),
    "softmax": partial(head_loss, softmax),
    "whitening": whitened_loss,
    "sparse_code": coded_loss,
}
FEW = "ridge", "strengths", "logistic"  # of the kinds: factors, derivatives of strengths, iterations


def tasks():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_TASKS, N, D))
    return jnp.asarray(X), jnp.asarray(np.sin(X[:, :, 0]) + X[:, :, 1] + 0.1 * rng.standard_normal((N_TASKS, N)))


def mean_loss(loss, net, X, y):
    return jnp.mean(jax.vmap(partial(loss, net))(X, y))


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_through_a_fit_are_central_differences(name, x64):
    X, y = tasks()
    net = Features(jax.random.key(0))
    flat, unravel = jax.flatten_util.ravel_pytree(net)
    value = jax.jit(lambda flat: mean_loss(LOSSES[name], unravel(flat), X, y))
    gradient = np.asarray(jax.jit(jax.grad(value))(flat))
    rng = np.random.default_rng(1)
    for _ in range(4):
        d, h = rng.standard_normal(flat.size), 1e-6
        difference = (value(flat + h * d) - value(flat - h * d)) / (2 * h)
        np.testing.assert_allclose(gradient @ d, difference, rtol=2e-5, atol=1e-8)


def training_step(loss, optimizer, axis_name, net, state, X, y):
    value, gradient = eqx.filter_value_and_grad(partial(mean_loss, loss))(net, X, y)
    if axis_name is not None:
        value, gradient = jax.lax.pmean((value, gradient), axis_name)
    updates, state = optimizer.update(gradient, state)
    return eqx.apply_updates(net, updates), state, value


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in FEW)) for name in LOSSES])
def test_data_parallel_steps_are_those_of_one_device(name, x64, count_compiles):
    X, y = tasks()
    optimizer = optax.sgd(1e-2)
    net = Features(jax.random.key(0))
    state = optimizer.init(net)
    alone = jax.jit(partial(training_step, LOSSES[name], optimizer, None))
    split = partial(training_step, LOSSES[name], optimizer, "tasks")
    mesh = Mesh(np.array(jax.devices()[:4]), ("tasks",))
    rows = P("tasks")
    mapped = jax.jit(jax.shard_map(split, mesh=mesh, in_specs=(P(), P(), rows, rows), out_specs=P(), check_vma=False))
    pmapped = jax.pmap(split, axis_name="tasks", in_axes=(None, None, 0, 0), out_axes=None, devices=jax.devices()[:4])
    blocks = [v.reshape(4, N_TASKS // 4, *v.shape[1:]) for v in (X, y)]
    expected = found = other = net, state
    values = []
    for _ in range(3):
        *expected, value = alone(*expected, X, y)
        *found, sharded_value = mapped(*found, X, y)
        *other, pmapped_value = pmapped(*other, *blocks)
        np.testing.assert_allclose([sharded_value, pmapped_value], value, rtol=1e-9)
        values.append(float(value))
    assert values[-1] < values[0]
    for leaf, *others in zip(*map(jax.tree.leaves, (expected[0], found[0], other[0])), strict=True):
        for one in others:
            np.testing.assert_allclose(one, leaf, rtol=1e-7, atol=1e-9)
    with count_compiles() as compiled:
        alone(*expected, X, y)
    assert compiled.count == 0


def test_rows_of_a_head_may_lie_on_several_devices(x64):
    """Under `jit` the compiler partitions the fit and its derivative."""
    X, y = tasks()
    X, y = X.reshape(-1, D), y.reshape(-1)
    net = Features(jax.random.key(0))

    def loss(net, X, y):
        Z = jax.vmap(net)(X)
        return jnp.mean(jnp.square(glm.predict(ridge(net, Z, y), Z) - y))

    mesh = Mesh(np.array(jax.devices()), ("rows",))
    placed = [jax.device_put(v, NamedSharding(mesh, P("rows"))) for v in (X, y)]
    gradient = jax.jit(jax.grad(loss))
    for one, leaf in zip(*map(jax.tree.leaves, (gradient(net, *placed), gradient(net, X, y))), strict=True):
        np.testing.assert_allclose(one, leaf, rtol=1e-8, atol=1e-10)
