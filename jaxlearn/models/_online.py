"""The parts of one step of the online factorization: look at a batch, remember it, move the atoms."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.access.design import Design
from jaxlearn.solvers.dictionary_update import sweep

from ._codes import correlate
from ._factorization_types import MatrixFactorization, State

__all__ = ["PRIOR", "Window", "look", "remember", "reseeded", "unit", "updated", "window_of"]

HIGHEST = lax.Precision.HIGHEST
# What the first dictionary counts for, in samples for each atom: those that follow would overfit the first batch otherwise.
PRIOR = 2
# An atom that no code has used for so many samples for each atom there is, is replaced.
PATIENCE = 20
# Steps for which a Gram matrix is carried along by differences.
REFRESH = 64
# Weight of the last visit of a sample among c of them: c to the power of minus this.
AVERAGING = 0.76


class Window(eqx.Module):
    """Contiguous features, `size` of them from `start` on."""

    start: Array
    size: int = eqx.field(static=True)

    def of(self, rows: Array) -> Array:
        """These columns of (m, p)."""
        return lax.dynamic_slice_in_dim(rows, self.start, self.size, axis=1)

    def put(self, rows: Array, part: Array) -> Array:
        """(m, p) with these columns replaced."""
        return lax.dynamic_update_slice_in_dim(rows, part, self.start, 1)


def unit(model: MatrixFactorization, atoms: Array) -> Array:
    """Atoms on the boundary of the ball, in the direction given: an atom inside of it wastes some of its radius."""
    length = jnp.sqrt(jnp.square(atoms).sum(1, keepdims=True))
    return model.ball.scaled(
        atoms / jnp.where(length > 0, length, 1) * jnp.sqrt(jnp.asarray(model.ball.radius, atoms.dtype))
    )


def window_of(model: MatrixFactorization, state: State) -> Window:
    """Every feature once in r steps, in an order drawn anew; the last window reaches back where r does not divide p."""
    p, r = state.dictionary.shape[1], model.reduction
    size = -(-p // r)
    round_key = jax.random.fold_in(jax.random.wrap_key_data(state.key), -1 - state.n_steps // r)
    turn = jax.random.permutation(round_key, r)[state.n_steps % r]
    return Window(jnp.minimum(turn.astype(jnp.int32) * size, p - size), size)


def look(
    model: MatrixFactorization, state: State, rows: Array, w: Array, window: Window | None, *, samples: Array | None
) -> tuple[State, Any]:
    """What the codes depend on, estimated from the features in the window."""
    if window is None:
        return state, correlate(state.dictionary, rows, w, gram=state.gram)
    share = rows.shape[1] / window.size
    seen = correlate(window.of(state.dictionary), window.of(rows), w, share=share)
    if not model.average:
        return state, seen
    if samples is None or state.averages is None or state.visits is None:
        raise ValueError("`average` needs `samples`, which says which samples these are, and a state `with_averages`.")
    visits = state.visits[samples] + 1
    rate = (visits ** -jnp.asarray(AVERAGING, visits.dtype))[:, None]
    mean = (1 - rate) * state.averages[samples] + rate * seen.correlations
    there = w > 0
    target = jnp.where(there, samples, len(state.visits))  # beyond the end, and dropped
    averages = state.averages.at[target].set(mean, mode="drop")
    state = eqx.tree_at(
        lambda s: (s.averages, s.visits), state, (averages, state.visits.at[target].set(visits, mode="drop"))
    )
    return state, correlate(None, rows, w, gram=state.gram, correlations=mean)


def remember(model: MatrixFactorization, state: State, design: Design, w: Array, codes: Array) -> State:
    """The sums with this batch in them, and less of the past."""
    total, second, first, uses = design.fold(_sums, None, w, codes)
    # Π_i (1 − i⁻ᵘ) over the samples of the batch is what remains of the past
    local = w.sum()
    position = PRIOR * model.n_components + state.weight_seen
    position = position + jnp.cumsum(w) * (total / jnp.where(local > 0, local, 1))
    kept = jnp.log1p(-(jnp.maximum(position, 1) ** -jnp.asarray(model.learning_decay, w.dtype)))
    logarithm = design.fold(_weighted, None, jnp.where(w > 0, w, 0), jnp.where(w > 0, kept, 0))
    rate = jnp.where(total > 0, -jnp.expm1(logarithm), 0)
    norm = jnp.where(total > 0, total, 1)
    # the sums of a past in which the first dictionary was right, with codes that do not correlate
    alike = jnp.where(state.n_steps == 0, jnp.trace(second) / (norm * model.n_components), 0)
    past_first = state.first + alike * state.dictionary
    past_second = state.second + alike * jnp.eye(model.n_components, dtype=w.dtype)
    return eqx.tree_at(
        lambda s: (s.first, s.second, s.idle, s.weight_seen, s.n_steps),
        state,
        (
            (1 - rate) * past_first + (rate / norm) * first,
            (1 - rate) * past_second + (rate / norm) * second,
            jnp.where(uses > 0, 0, state.idle + total),
            state.weight_seen + total,
            state.n_steps + jnp.int32(1),
        ),
    )


def _sums(_: None, block: Design, w: Array, codes: Array) -> tuple[Array, Array, Array, Array]:
    weighted = w[:, None] * codes
    second = jnp.einsum("nk,nl->kl", weighted, codes, precision=HIGHEST)
    return w.sum(), second, block.rmatvec(weighted).T, jnp.abs(weighted).sum(0)


def _weighted(_: None, block: Design, w: Array, values: Array) -> Array:
    return w @ values


def reseeded(model: MatrixFactorization, state: State, rows: Array, w: Array, key: Array) -> State:
    """Samples in the place of atoms that no code uses."""
    dead = state.idle > PATIENCE * model.n_components

    def replace(_: Array, state: State) -> State:
        energy = w * jnp.square(rows).sum(1)
        gone = dead & (energy.max() > 0)
        # without replacement, by their energies (Efraimidis and Spirakis, 2006)
        lot = jnp.log(jax.random.uniform(key, w.shape, w.dtype, jnp.finfo(w.dtype).tiny)) / energy
        chosen = lax.top_k(lot, min(len(w), len(dead)))[1]
        fresh = unit(model, rows[chosen[(jnp.cumsum(gone) - 1) % len(chosen)]])
        atoms = jnp.where(gone[:, None], fresh, state.dictionary)
        alive = ~gone
        slack = None if state.slack is None else model.ball.radius - model.ball.norm(atoms)
        return eqx.tree_at(
            lambda s: (s.dictionary, s.gram, s.first, s.second, s.slack, s.idle, s.n_reseeded),
            state,
            (
                atoms,
                None if state.gram is None else jnp.matmul(atoms, atoms.T, precision=HIGHEST),
                jnp.where(alive[:, None], state.first, 0),
                jnp.where(alive[:, None] & alive[None], state.second, 0),
                slack,
                jnp.where(alive, state.idle, 0),
                state.n_reseeded + gone.sum().astype(jnp.int32),
            ),
            is_leaf=lambda leaf: leaf is None,
        )

    # a loop of no or one step changes the state in place; a branch that leaves it alone would copy it
    return lax.fori_loop(0, dead.any().astype(jnp.int32), replace, state)


def updated(model: MatrixFactorization, state: State, window: Window | None) -> State:
    """The atoms, where the window lies, after one sweep."""
    if window is None:
        assert state.gram is not None
        atoms, gram = sweep(state.dictionary, state.first, state.second, model.ball, gram=state.gram)
        return _with_gram(eqx.tree_at(lambda s: s.dictionary, state, atoms), gram)
    old = window.of(state.dictionary)
    assert state.slack is not None
    budget = state.slack + model.ball.norm(old)
    before = jnp.matmul(old, old.T, precision=HIGHEST)
    new, after = sweep(old, window.of(state.first), state.second, model.ball, gram=before, budget=budget)
    atoms, slack = window.put(state.dictionary, new), budget - model.ball.norm(new)
    state = eqx.tree_at(lambda s: (s.dictionary, s.slack), state, (atoms, slack))
    return state if state.gram is None else _with_gram(state, state.gram - before + after)


def _with_gram(state: State, gram: Array) -> State:
    """`gram`, or now and then the product itself: what rounding has added up is taken out."""

    def product(atoms: Array, _: Array) -> Array:
        return jnp.matmul(atoms, atoms.T, precision=HIGHEST)

    stale = state.n_steps % REFRESH == 0
    gram = lax.cond(stale, product, lambda _, gram: gram, state.dictionary, gram)
    return eqx.tree_at(lambda s: s.gram, state, gram)
