"""Lloyd's iterations in which most rows are not compared with the centers: bounds say that their label stays."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from .lloyd import HIGHEST, Sums, farthest_if_empty, means, nearest, scores, shift
from .protocols import Solver

__all__ = ["Elkan"]

# Rows that are gathered at once, and what a product makes of them, share a cache.
PIECE_BYTES = 1 << 21


class _Bounds(NamedTuple):
    """What is known of the distances of rows, as far as centers have not moved: add what they have, or take it away."""

    labels: Array  # (n,), −1 where nothing is known
    upper: Array  # (n,), of the center of the row
    lower: Array  # (n, k), of all others


class _Clusters(NamedTuple):
    """Of the rows with each label: the number says without rounding errors that there are none."""

    sums: Array  # (k, p)
    weight: Array  # (k,)
    count: Array  # (k,)


class _State(eqx.Module):
    centers: Array
    moved: Array
    inertia: Array
    travel: Array  # (k,), how far each center has come
    bounds: _Bounds
    clusters: _Clusters
    row_squares: Array


class _Answer(NamedTuple):
    bounds: _Bounds
    clusters: _Clusters
    far: Any


class Elkan(Solver):
    """Lloyd's algorithm by bounds, from one start.

    *Minimises* ``Σ ω_i min_j ‖x_i − c_j‖²``, locally: the centers of `Lloyd`, to rounding errors.

    *Step* as of `Lloyd`. A center that moves by δ changes no distance by more. So a row keeps its label as long as the
    largest that its distance can be is less than the least that any other can; where it is not, its own distance is
    computed, and where that does not settle it, all. Bounds are kept in terms of the whole way that a center has come, and
    are read, not written, where nothing is computed. Sums change by the rows that change their label.

    *Reads the data by* rows; by fold where a cluster is empty.

    *Cost per step* 2 p k flops for each row that is compared, n k numbers of bounds in memory.

    *Stops when* ``Σ_j ‖Δc_j‖² ≤ tol``.

    References
    ----------
    Elkan, "Using the triangle inequality to accelerate k-means", ICML 2003. Newling and Fleuret, "Fast k-means with accurate
    bounds", ICML 2016 (the simplified form).
    """

    needs: ClassVar = frozenset({"fold", "rows"})
    certificate: ClassVar = "squared shift of the centers"

    def init(self, problem, params, key=None):
        (n_samples, _), (n_clusters, _), dtype = problem.design.shape, params.shape, params.dtype
        bounds = _Bounds(
            jnp.full(n_samples, -1, jnp.int32),
            jnp.zeros(n_samples, dtype),
            jnp.full((n_samples, n_clusters), -jnp.inf, dtype),
        )
        nothing, none = jnp.asarray(jnp.inf, dtype), jnp.zeros(n_clusters, dtype)
        squares = problem.design.row_squares()
        clusters = _Clusters(jnp.zeros_like(params), none, jnp.zeros(n_clusters, jnp.int32))
        return _State(params, nothing, nothing, none, bounds, clusters, squares)

    def ask(self, objective, state):
        return state

    def read(self, problem, query):
        design, weight, s = problem.design, problem.sample_weight, query
        bounds = _compared(design, weight, s, _tightened(design, weight, s))
        clusters = _relabelled(design, weight, s, bounds.labels)
        return _Answer(bounds, clusters, farthest_if_empty(problem, s.centers[None], (clusters.count == 0).any()))

    def tell(self, objective, state, answer):
        bounds, clusters, far = answer
        sums, weight, _ = clusters
        # Σ_i ω_i (½ ‖c‖² − c x_i), the score of Lloyd's pass
        score = 0.5 * weight @ jnp.square(state.centers).sum(1) - (state.centers * sums).sum()
        made = means(state.centers[None], Sums(sums[None], weight[None], score[None]), far)[0]
        moved = jnp.square(shift(state.centers, made)).sum(1)
        travel = (state.travel + jnp.sqrt(moved)) * (1 + 4 * jnp.finfo(moved.dtype).eps)
        return _State(made, moved.sum(), score, travel, bounds, clusters, state.row_squares)

    def params(self, state):
        return state.centers

    def residual(self, state):
        return state.moved


def _rounding(shape: tuple[int, ...], dtype: Any) -> float:
    """Relative error of a sum of p products, likely."""
    return float((8 + shape[1] ** 0.5) * jnp.finfo(dtype).eps)


def _unsettled(weight: Array, s: _State, bounds: _Bounds) -> Array:
    """Whether another center may be as near, for each row; so it is where a number is no number."""
    least = (bounds.lower - s.travel[None]).min(1)
    most = bounds.upper + s.travel[bounds.labels]
    margin = 8 * jnp.finfo(least.dtype).eps * (most + s.travel.max())
    return ~(most + margin < least) & (weight > 0)


def _tightened(design: Any, weight: Array, s: _State) -> _Bounds:
    """Bounds with the distance to its own center of each row that is not settled."""
    labels, upper, lower = s.bounds
    rounding = _rounding(design.shape, upper.dtype)

    def piece(upper: Array, place: Array, live: Array) -> Array:
        own = labels[place]
        square = jnp.square(design.rows_at(place) - s.centers[own])
        distance = jnp.sqrt(jnp.matmul(square, jnp.ones(square.shape[1], square.dtype), precision=HIGHEST))
        target = jnp.where(live, place, len(labels))
        return upper.at[target].set(distance * (1 + rounding) - s.travel[own], mode="drop")

    known = _unsettled(weight, s, s.bounds) & (labels >= 0)
    return _Bounds(labels, _over_pieces(piece, upper, known, design), lower)


def _compared(design: Any, weight: Array, s: _State, bounds: _Bounds) -> _Bounds:
    """Labels and bounds in which rows that are not settled have been compared with all centers."""
    center_squares = jnp.square(s.centers).sum(1)
    rounding = _rounding(design.shape, center_squares.dtype)
    j = jnp.arange(len(s.centers), dtype=jnp.int32)[:, None]

    def piece(bounds: _Bounds, place: Array, live: Array) -> _Bounds:
        squares = s.row_squares[place]
        half = scores(design.some(place), s.centers)
        least, label = nearest(half)
        error = rounding * (squares + center_squares.max())
        lower = jnp.sqrt(jnp.maximum(squares[None] + 2 * half - error[None], 0)) + s.travel[:, None]
        lower = jnp.where(j == label[None], jnp.inf, lower)
        upper = jnp.sqrt(jnp.maximum(squares + 2 * least, 0) + error) - s.travel[label]
        target = jnp.where(live, place, len(bounds.labels))
        new = label, upper, lower.T
        return _Bounds(*(a.at[target].set(b, mode="drop") for a, b in zip(bounds, new, strict=True)))

    return _over_pieces(piece, bounds, _unsettled(weight, s, bounds), design)


def _relabelled(design: Any, weight: Array, s: _State, labels: Array) -> _Clusters:
    """Clusters, changed by the rows that have another label than before."""
    before = s.bounds.labels
    j = jnp.arange(len(s.centers), dtype=jnp.int32)[:, None]

    def piece(clusters: _Clusters, place: Array, live: Array) -> _Clusters:
        joins, leaves = (live[None] & (j == some[place][None]) for some in (labels, before))
        change = (joins.astype(weight.dtype) - leaves) * weight[place][None]
        added = jnp.einsum("kn,np->kp", change, design.rows_at(place), precision=HIGHEST)
        count = joins.sum(1, dtype=jnp.int32) - leaves.sum(1, dtype=jnp.int32)
        return _Clusters(clusters.sums + added, clusters.weight + change.sum(1), clusters.count + count)

    sums, total, count = _over_pieces(piece, s.clusters, labels != before, design)
    return _Clusters(jnp.where(count[:, None] > 0, sums, 0), jnp.where(count > 0, total, 0), count)


def _over_pieces(piece: Any, carry: Any, chosen: Array, design: Any) -> Any:
    """``carry ← piece(carry, place, live)`` over the rows that are chosen, some at a time; the last may not all be live."""
    n_samples, n_features = design.shape
    size = max(PIECE_BYTES // (n_features * design.dtype.itemsize), 1)
    size = min(1 << size.bit_length() - 1, n_samples)
    place, n_chosen = _where(chosen, n_samples + size)
    step = jnp.arange(size, dtype=jnp.int32)

    def body(i: Array, carry: Any) -> Any:
        first = i * size
        return piece(carry, lax.dynamic_slice_in_dim(place, first, size), first + step < n_chosen)

    return lax.fori_loop(0, (n_chosen + size - 1) // size, body, carry)


def _where(chosen: Array, size: int) -> tuple[Array, Array]:
    """Places of the true ones, filled up with zeros, and their number: one by one, a third of the time of ``nonzero``."""

    def put(i: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
        place, n = found
        return lax.dynamic_update_slice_in_dim(place, i[None], n, 0), n + chosen[i].astype(jnp.int32)

    empty = jnp.zeros(size, jnp.int32), jnp.int32(0)
    place, n = lax.fori_loop(jnp.int32(0), jnp.int32(len(chosen)), put, empty)
    return place, n
