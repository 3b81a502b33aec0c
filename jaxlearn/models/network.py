"""Networks that learn from batches: any Equinox module, a loss and an optax optimiser, as pure functions.

*Minimises* the weighted mean of ``loss(y_i, f(x_i))`` plus a penalty, over the floating-point arrays of the module f.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.objectives import Logistic, Multinomial, Poisson, Squared

__all__ = ["LOSSES", "MLP", "apply", "begin", "mean_loss", "run"]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda f: f,
    "logistic": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
}


def _softmax(y: Array, f: Array) -> Array:
    return Multinomial().value(y, f)


def _logistic(y: Array, f: Array) -> Array:
    return Logistic().value(y, f).sum(-1)


def _squared(y: Array, f: Array) -> Array:
    return Squared().value(y, f).sum(-1)


def _poisson(y: Array, f: Array) -> Array:
    return (Poisson().value(y, f) + jax.scipy.special.xlogy(y, y) - y).sum(-1)


LOSSES: dict[str, Callable[[Array, Array], Array]] = {
    "log_loss": _softmax,
    "binary_log_loss": _logistic,
    "squared_error": _squared,
    "poisson": _poisson,
}
"""Losses of samples, (b,), from targets and outputs, (b, k): classes are one-hot rows, outputs are logits."""


class MLP(eqx.Module):
    """A multi-layer perceptron.

    Attributes
    ----------
    coefs : list of (d_i, d_{i+1})
    intercepts : list of (d_{i+1},)
    activation : {"identity", "logistic", "tanh", "relu"}
        Of the hidden layers; outputs are linear.
    """

    coefs: list[Array]
    intercepts: list[Array]
    activation: str = eqx.field(static=True, default="relu")

    def __call__(self, x: Array) -> Array:
        """Outputs of one sample (p,), or of several (b, p)."""
        for i, (coef, intercept) in enumerate(zip(self.coefs, self.intercepts, strict=True)):
            x = jnp.matmul(x, coef) + (intercept if x.ndim == 1 else intercept[None])
            x = x if i == len(self.coefs) - 1 else ACTIVATIONS[self.activation](x)
        return x


def apply(module: Any, X: ArrayLike) -> Array:
    """Outputs of samples X (b, p), (b, k): of a module that takes one sample at a time."""
    X = jnp.asarray(X)
    f = module(X) if isinstance(module, MLP) else jax.vmap(module)(X)
    return f if f.ndim > 1 else f[:, None]


def begin(module: Any, optimizer: optax.GradientTransformation) -> Any:
    """The optimiser's first state."""
    return optimizer.init(eqx.filter(module, eqx.is_inexact_array))


def mean_loss(
    module: Any, X: Array, y: Array, weight: Array, *, loss: Callable[..., Array], alpha: ArrayLike = 0.0
) -> Array:
    """Weighted mean of the loss, and ``½ alpha ‖coefs‖² / Σ weight`` of an `MLP`, as scikit-learn has it."""
    total = weight.sum()
    total = jnp.where(total > 0, total, 1)
    value = weight @ loss(y, apply(module, X)) / total
    if isinstance(module, MLP):
        value = value + 0.5 * alpha / total * sum(jnp.square(coef).sum() for coef in module.coefs)
    return value


def run(
    module: Any,
    state: Any,
    rows: tuple[Array, Array, Array],
    order: Array,
    count: ArrayLike | None = None,
    *,
    rate: ArrayLike = 1.0,
    optimizer: optax.GradientTransformation,
    loss: Callable[..., Array],
    batch_size: int,
    alpha: ArrayLike = 0.0,
) -> tuple[Any, Any, Array]:
    """Learn from several batches: one dispatch.

    Parameters
    ----------
    module : equinox.Module
    state : pytree
        Of the optimiser.
    rows : (X, y, weight)
        (n, p), (n, k) and (n,).
    order : (m,) of int32
        Rows, batch after batch; −1 is a row that is not there.
    count : int32 scalar, optional
        How many batches of `order` are learnt from; by default all that are whole.
    rate : float
        Factor of the gradients: of the step size, where the optimiser is linear.
    optimizer : optax.GradientTransformation
    loss : callable
        Of targets (b, k) and outputs (b, k), to (b,).
    batch_size : int
    alpha : float
        As in `mean_loss`.

    Returns
    -------
    module, state
    loss : scalar
        Sum over the batches of their mean losses, times their weights.
    """
    X, y, weight = rows
    params, static = eqx.partition(module, eqx.is_inexact_array)

    def objective(params: Any, X: Array, y: Array, w: Array) -> Array:
        return mean_loss(eqx.combine(params, static), X, y, w, loss=loss, alpha=alpha)

    def learn(i: Array, carry: tuple[Any, Any, Array]) -> tuple[Any, Any, Array]:
        params, state, total = carry
        chosen = lax.dynamic_slice_in_dim(order, i * batch_size, batch_size)
        w = jnp.where(chosen >= 0, weight[jnp.maximum(chosen, 0)], 0)
        chosen = jnp.maximum(chosen, 0)
        value, gradient = jax.value_and_grad(objective)(params, X[chosen], y[chosen], w)
        gradient = jax.tree.map(lambda g: rate * g, gradient)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, total + value * w.sum()

    start = params, state, jnp.zeros((), y.dtype)
    params, state, total = lax.fori_loop(0, len(order) // batch_size if count is None else count, learn, start)
    return eqx.combine(params, static), state, total
