"""Non-negative factorization that learns from batches of rows: sums that remember, and forget, all batches."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.design import Design
from jaxlearn.objectives.divergence import FLOOR
from jaxlearn.solvers.hals import n_sweeps, seen, sums, sweeps
from jaxlearn.solvers.multiplicative import cleared, components_terms, divergence, updated_codes

from .nmf import NMF, encode

__all__ = ["OnlineNMF", "State", "learn", "start"]

# Passes over the atoms of H after each batch: more lower the cost little, and take longer.
BATCH_SWEEPS = 4


class OnlineNMF(eqx.Module):
    """How to learn from batches: an immutable configuration.

    Parameters
    ----------
    model : jaxlearn.models.nmf.NMF
        What to find. Its `tol` is that of the codes of a batch where they are solved for, its `max_steps` the most passes or
        updates.
    memory : float
        What a batch counts for, once the next one has been seen.
    weight : float
        Of the rows of an epoch: the cost is averaged over the batches of about one.
    tol : float
        Stop when a batch changes the components by at most this, relative to their norm; 0 never does.
    patience : float
        Stop after so many batches without a lower mean cost.
    """

    model: NMF
    memory: ArrayLike
    weight: ArrayLike = jnp.inf
    tol: ArrayLike = 0.0
    patience: ArrayLike = jnp.inf


class State(eqx.Module):
    """What has been learnt, a pytree.

    Attributes
    ----------
    components : (k, p)
        H.
    first, second : (k, p) and (k, k), or (k, p) twice
        ``Σ Wᵀ w X`` and ``Σ Wᵀ w W`` of the batches, those that came before scaled by `memory` for each that followed; of
        multiplicative updates, what drew H up and down.
    weight : scalar
        Of the rows that they remember.
    loss : scalar
        Sum of the divergences of all rows, each with the components and the codes of its time.
    cost, least : scalar
        Mean objective of a row, averaged over batches, and the smallest there was.
    n_idle : int32 scalar
        Batches since then.
    n_steps : int32 scalar
        Batches.
    done : bool scalar
        Nothing more is learnt.
    """

    components: Array
    first: Array
    second: Array
    weight: Array
    loss: Array
    cost: Array
    least: Array
    n_idle: Array
    n_steps: Array
    done: Array


def start(model: NMF, components: Any) -> State:
    """Before the first batch, at components (k, p)."""
    components = jnp.asarray(components)
    zero = jnp.zeros((), components.dtype)
    if model.solver == "hals":
        first, second = jnp.zeros_like(components), jnp.zeros((len(components), len(components)), components.dtype)
    else:
        first, second = components ** (1 / model.divergence.exponent), jnp.ones_like(components)
    infinite = zero + jnp.inf
    none = jnp.int32(0)
    return State(components, first, second, zero, zero, infinite, infinite, none, none, jnp.asarray(False))


def learn(
    online: OnlineNMF, state: State, batches: Design, weights: Array, codes: Array | None = None
) -> tuple[State, Array | None]:
    """Learn from batches, one after the other.

    Parameters
    ----------
    online : OnlineNMF
    state : State
    batches : Design
        Whose arrays are stacked on a first axis: one design of b rows for each batch.
    weights : (n_batches, b)
        ≥ 0; zero is a row that is not there.
    codes : (n_batches, b, k), optional
        Of an earlier epoch, to start from. By default those of each batch are solved for.

    Returns
    -------
    State, and the codes with which each batch was learnt
        None where none were given.
    """

    def step(state: State, batch: tuple[Design, Array, Array | None]) -> tuple[State, Array | None]:
        idle = state.done | (batch[1].sum() == 0)
        return lax.cond(idle, lambda: (state, batch[2]), lambda: _learnt(online, state, *batch))

    return lax.scan(step, state, (batches, weights, codes))


def _learnt(
    online: OnlineNMF, state: State, batch: Design, w: Array, codes: Array | None
) -> tuple[State, Array | None]:
    model, H, total = online.model, state.components, w.sum()
    of_codes, of_components = model.penalties(H.dtype)
    found = encode(model, H, batch, w).params if codes is None else _moved(model, H, batch, codes)
    memory = jnp.asarray(online.memory, H.dtype)
    if model.solver == "hals":
        second, first = sums(batch, w, found)
        product = jnp.matmul(second, H, precision=lax.Precision.HIGHEST)
        value = 0.5 * batch.energy(w) + (H * (0.5 * product - first)).sum()
        weight = memory * state.weight + total
        first, second = memory * state.first + first, memory * state.second + second
        components = sweeps(*of_components.joined(second / weight, first / weight), H, BATCH_SWEEPS)
    else:
        loss, weight = model.divergence, state.weight
        value = divergence(loss, batch, w, found, H)
        attracted, repelled = components_terms(loss, batch, w, found, H)
        repelled = repelled + total * (of_components.l1 + of_components.l2 * H)
        repelled = jnp.where(repelled == 0, FLOOR, repelled)
        first = memory * state.first + attracted * H ** (1 / loss.exponent)
        second = memory * state.second + repelled
        components = (first / second) ** loss.exponent
        components = cleared(components) if loss.beta <= 1 else components
    penalty = of_codes.l1 * (w @ found).sum() + 0.5 * of_codes.l2 * (w @ jnp.square(found)).sum()
    cost = (value + penalty) / total + of_components.value(H)
    change, norm = (jnp.sqrt(jnp.square(a).sum()) for a in (components - H, components))
    tol = jnp.asarray(online.tol, norm.dtype)
    # a batch of zeros, without codes, shows nothing of how far the components are
    still = (tol > 0) & (change <= tol * norm) & found.any()
    judged = _judged(online, state, cost, total, still)
    return State(components, first, second, weight, state.loss + value, *judged), None if codes is None else found


def _moved(model: NMF, components: Array, batch: Design, codes: Array) -> Array:
    of_codes, _ = model.penalties(components.dtype)
    if model.solver == "multiplicative":
        return updated_codes(model.divergence, batch, codes, components, of_codes)
    gram, correlations = of_codes.joined(*seen(batch, components))
    return sweeps(gram, correlations, codes.T, n_sweeps(model.n_components, batch.n_features)).T


def _judged(online: OnlineNMF, state: State, cost: Array, total: Array, still: Array) -> tuple[Array, ...]:
    """Cost, least cost, batches since then, steps, and whether that is enough; nothing is known of the first batch."""
    known = state.n_steps > 0
    share = jnp.minimum(total / (jnp.asarray(online.weight, cost.dtype) + 1), 1)
    mean = jnp.where(jnp.isinf(state.cost), cost, state.cost + share * (cost - state.cost))
    lower = mean < state.least
    n_idle = jnp.where(lower, jnp.int32(0), state.n_idle + jnp.int32(1))
    done = known & (still | (n_idle >= online.patience))
    mean, least = jnp.where(known, mean, state.cost), jnp.where(known & lower, mean, state.least)
    return mean, least, jnp.where(known, n_idle, 0), state.n_steps + jnp.int32(1), done
