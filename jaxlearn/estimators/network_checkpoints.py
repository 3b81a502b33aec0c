"""Checkpoints of networks: the arrays of a module and of its optimiser, and what tells that these are others."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlearn.access import checkpoint as checkpoints
from jaxlearn.access.source import digest
from jaxlearn.access.streamed import Streamed
from jaxlearn.models import network

from .checkpointing import Checkpointing, checkpointing_of

__all__ = ["NetworkCheckpoints"]

# Parameters that do not change what a fit computes, but how far it goes; and one that is told by its steps.
BESIDE = {"max_iter", "checkpoint", "every", "resume", "optimizer"}
# Relative difference of first steps that rounding explains.
ALIKE = 1e-4


class NetworkCheckpoints:
    """Where the fit of a `Network` is written to, and what it goes on from.

    Parameters
    ----------
    estimator : Network
    X, y, weight
        Rows or a stream, targets as given, and weights.

    Attributes
    ----------
    seed : int or None
        Of the fit to go on with.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, weight: np.ndarray):
        given = np.asarray(y)
        targets = digest(given.shape, given.dtype.str, given.tobytes(), weight.tobytes())
        block_size = X.reader.block_size if isinstance(X, Streamed) else None  # which the order of the rows depends on
        self.place: Checkpointing = checkpointing_of(estimator, X, BESIDE, targets=targets, block_size=block_size)
        self.found = self.place.find()
        self.seed = None if self.found is None else int(self.found[1]["seed"])

    def take_up(self, module: Any, state: Any, optimizer: optax.GradientTransformation) -> tuple[Any, Any, list[float]]:
        """Module, state and losses of the checkpoint, or those of a beginning."""
        self.steps = _first_steps(optimizer, module)
        if self.found is None:
            return module, state, []
        arrays, header = self.found
        arrays_now = _arrays(module, state)
        now = {name: list(array.shape) for name, array in arrays_now.items()}
        then = {name: list(array.shape) for name, array in arrays.items()}
        difference = checkpoints.changes(then, now, "shapes")
        if not difference and not np.allclose(header["first_steps"], self.steps, rtol=ALIKE):
            difference = f"the first steps of `optimizer` were {header['first_steps']} and are {self.steps}"
        if difference:
            raise ValueError(f"'{self.place.folder}' holds a checkpoint of something else: {difference}.")
        module, state = (_filled(tree, name, arrays) for name, tree in (("module", module), ("state", state)))
        return module, state, header["losses"]

    def save(self, module: Any, state: Any, losses: list[float], seed: int) -> None:
        """Write what is known after some epochs, one loss for each."""
        header = {**self.place.expected, "seed": seed, "losses": losses, "first_steps": self.steps}
        checkpoints.save(self.place.folder, len(losses), _arrays(module, state), header)


def _arrays(module: Any, state: Any) -> dict[str, np.ndarray]:
    return {
        f"{name}.{i}": np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        for name, tree in (("module", module), ("state", state))
        for i, leaf in enumerate(jax.tree.leaves(eqx.filter(tree, eqx.is_array)))
    }


def _filled(tree: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """The tree with the arrays of a checkpoint in place of its own."""
    own, static = eqx.partition(tree, eqx.is_array)
    leaves, structure = jax.tree.flatten(own)
    new = [
        jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
        if _is_key(leaf)
        else jnp.asarray(array)
        for leaf, array in zip(leaves, (arrays[f"{name}.{i}"] for i in range(len(leaves))), strict=True)
    ]
    return eqx.combine(jax.tree.unflatten(structure, new), static)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _first_steps(optimizer: optax.GradientTransformation, module: Any) -> list[float]:
    """Lengths of two steps on made-up gradients: functions cannot be compared, what they do can."""
    params = eqx.filter(module, eqx.is_inexact_array)
    return [float(length) for length in jax.jit(partial(_lengths, optimizer))(params)]


def _lengths(optimizer: optax.GradientTransformation, params: Any) -> tuple[jax.Array, jax.Array]:
    state, lengths = network.begin(params, optimizer), []
    for slope in (0.5, -0.25):
        gradient = jax.tree.map(lambda leaf, slope=slope: jnp.full_like(leaf, slope), params)
        updates, state = optimizer.update(gradient, state, params)
        lengths.append(optax.tree.norm(updates))
    return lengths[0], lengths[1]
