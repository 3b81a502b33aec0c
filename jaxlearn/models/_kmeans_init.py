"""Where k-means starts: rows drawn at random, far from one another."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.access.dense import Dense
from jaxlearn.access.design import Design
from jaxlearn.solvers.lloyd import nearest, scores

__all__ = ["STARTS", "plus_plus", "start"]

STARTS = "k-means++", "k-means||", "random"
HIGHEST = lax.Precision.HIGHEST
# Of k-means||: rounds, and rows that are drawn in each, in units of k.
ROUNDS, OVERSAMPLED = 5, 2
# Distances to new candidates that are held at once.
CANDIDATE_BYTES = 1 << 26
# Sums of so many weights are looked through before the weights are.
GROUP = 1024


def start(init: str, n_clusters: int, design: Design, weight: Array, key: Array) -> tuple[Array, Array]:
    """Centers (k, p), and the rows that they are, (k,); -1 is none."""
    if init == "random":
        index = _race(weight, n_clusters, key)
        return design.rows_at(index), index
    if init == "k-means++":
        return plus_plus(n_clusters, design, weight, key)
    return _parallel(n_clusters, design, weight, key)


def plus_plus(
    n_clusters: int, design: Design, weight: Array, key: Array, n_trials: int | None = None
) -> tuple[Array, Array]:
    """Greedy k-means++: each center is the best of some rows, drawn in proportion to their squared distances so far."""
    n_trials = 2 + int(math.log(n_clusters)) if n_trials is None else n_trials
    squares = design.row_squares()
    first = _draw(weight, 1, jax.random.fold_in(key, 0))
    center = design.rows_at(first)
    centers = jnp.zeros((n_clusters, design.shape[1]), design.dtype).at[0].set(center[0])
    index = jnp.zeros(n_clusters, jnp.int32).at[0].set(first[0])
    distance = jnp.maximum(squares + 2 * scores(design, center)[0], 0)

    def add(j: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        centers, index, distance = carry
        drawn = _draw(weight * distance, n_trials, jax.random.fold_in(key, j))
        rows = design.rows_at(drawn)
        left = jnp.minimum(jnp.maximum(squares[None] + 2 * scores(design, rows), 0), distance[None])
        best = jnp.argmin(jnp.matmul(left, weight, precision=HIGHEST))
        return centers.at[j].set(rows[best]), index.at[j].set(drawn[best]), left[best]

    centers, index, _ = lax.fori_loop(1, n_clusters, add, (centers, index, distance))
    return centers, index


def _parallel(n_clusters: int, design: Design, weight: Array, key: Array) -> tuple[Array, Array]:
    """k-means||: many rows in each of a few rounds, then k-means++ among them, each with the weight of what is near it."""
    n_samples, n_features = design.shape
    n_drawn = min(OVERSAMPLED * n_clusters, n_samples)
    size = max(1, min(n_drawn, CANDIDATE_BYTES // (max(n_samples, 1) * weight.dtype.itemsize)))
    n_drawn = -(-n_drawn // size) * size if -(-n_drawn // size) * size <= n_samples else n_drawn // size * size
    squares = design.row_squares()
    first = _draw(weight, 1, jax.random.fold_in(key, ROUNDS))
    center = design.rows_at(first)
    candidates = jnp.zeros((1 + ROUNDS * n_drawn, n_features), design.dtype).at[0].set(center[0])
    half = scores(design, center)[0]
    labels = jnp.zeros(n_samples, jnp.int32)

    def closer(first: Array, rows: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        def some(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            half, labels = carry
            least, label = nearest(scores(design, lax.dynamic_slice_in_dim(rows, i * size, size)))
            return jnp.minimum(half, least), jnp.where(least < half, first + i * size + label, labels)

        return lax.fori_loop(0, len(rows) // size, some, carry)

    for i in range(ROUNDS):
        distance = jnp.maximum(squares + 2 * half, 0)
        rows = design.rows_at(_race(weight * distance, n_drawn, jax.random.fold_in(key, i)))
        place = 1 + i * n_drawn
        candidates = lax.dynamic_update_slice_in_dim(candidates, rows, place, 0)
        half, labels = closer(jnp.int32(place), rows, (half, labels))
    near = jnp.zeros(len(candidates), weight.dtype).at[labels].add(weight)
    centers, _ = plus_plus(n_clusters, Dense(candidates), near, jax.random.fold_in(key, ROUNDS + 1))
    return centers, jnp.full(n_clusters, -1, jnp.int32)


def _race(weight: Array, size: int, key: Array) -> Array:
    """Different rows, drawn in proportion to their weights one after the other: the first of exponential clocks."""
    # in single precision always: the same seed draws the same rows whatever the precision of a fit
    clock = jnp.log(weight) + jax.random.gumbel(key, weight.shape, jnp.float32).astype(weight.dtype)
    return lax.top_k(clock, size)[1].astype(jnp.int32)


def _draw(weight: Array, size: int, key: Array) -> Array:
    """Rows in proportion to their weights, with replacement; where all are zero, the last."""
    padded = jnp.pad(weight, (0, -len(weight) % GROUP)).reshape(-1, GROUP)
    sums = jnp.cumsum(padded.sum(1))
    at = jax.random.uniform(key, (size,), jnp.float32).astype(weight.dtype) * sums[-1]
    group = jnp.minimum(jnp.searchsorted(sums, at, side="right"), len(sums) - 1)
    inside = jnp.cumsum(padded[group], axis=1)
    rest = at - jnp.where(group > 0, sums[jnp.maximum(group - 1, 0)], 0)
    # the first row whose sum is beyond what was drawn; rounding may ask for more than there is: then the last that counts
    beyond = (inside > rest[:, None]) & (padded[group] > 0)
    last = GROUP - 1 - jnp.argmax((padded[group] > 0)[:, ::-1], axis=1)
    place = jnp.where(beyond.any(1), jnp.argmax(beyond, axis=1), last)
    return jnp.minimum(group * GROUP + place, len(weight) - 1).astype(jnp.int32)
