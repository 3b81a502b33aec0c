"""Lloyd's iterations: each row to its nearest center, each center to the mean of its rows; several starts side by side."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from .protocols import Solver

__all__ = ["Lloyd", "at_fixed_labels", "nearest", "scores"]

HIGHEST = lax.Precision.HIGHEST
# Most clusters without rows that are given a row in one step.
MOST_RELOCATED = 16


class _State(eqx.Module):
    centers: Array
    moved: Array
    inertia: Array
    n_steps: Array


class _Sums(NamedTuple):
    rows: Array  # (r, k, p)
    weight: Array  # (r, k)
    score: Array  # (r,)


class _Far(NamedTuple):
    """The rows that are farthest from their centers, farthest first; weight zero is none."""

    distance: Array  # (r, m)
    row: Array  # (r, m, p)
    weight: Array  # (r, m)
    label: Array  # (r, m)


class Lloyd(Solver):
    """Lloyd's algorithm, from r starts at once, which share the products of a pass.

    *Minimises* ``Σ ω_i min_j ‖x_i − c_j‖²``, locally.

    *Step* ``c_j ← Σ_{i∈j} ω_i x_i / Σ_{i∈j} ω_i``, where i ∈ j if c_j is the nearest center, of equally near ones the first. A
    cluster without rows is given one of those farthest from their centers, which leaves its own.

    *Reads the data by* fold.

    *Cost per step* 2 n p k r flops.

    *Stops when* ``Σ_j ‖Δc_j‖² ≤ tol`` for every start; one that does is left alone.

    Parameters
    ----------
    tol : float
        That of the budget of ``solve``, whose `params` are centers (r, k, p).

    References
    ----------
    Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory, 1982.
    """

    needs: ClassVar = frozenset({"fold"})
    certificate: ClassVar = "squared shift of the centers"

    tol: Array

    def init(self, problem, params, key=None):
        n_starts, dtype = len(params), params.dtype
        nothing = jnp.full(n_starts, jnp.inf, dtype)
        return _State(params, nothing, nothing, jnp.zeros(n_starts, jnp.int32))

    def ask(self, objective, state):
        return state.centers, state.moved > self.tol

    def read(self, problem, query):
        centers, going = query
        fold = partial(problem.design.fold, _assign, centers, problem.sample_weight)
        sums = fold()
        any_empty = ((sums.weight <= 0) & going[:, None]).any()
        farthest = lambda: problem.design.fold(_farthest, centers, problem.sample_weight, merge=_merge)  # noqa: E731
        n_starts, n_clusters, n_features = centers.shape
        shape = n_starts, min(n_clusters, MOST_RELOCATED)
        none = _Far(
            jnp.zeros(shape, centers.dtype),
            jnp.zeros((*shape, n_features), centers.dtype),
            jnp.zeros(shape, centers.dtype),
            jnp.zeros(shape, jnp.int32),
        )
        if problem.design.on_host:
            return sums, farthest() if any_empty else none
        return sums, lax.cond(any_empty, farthest, lambda: none)

    def tell(self, objective, state, answer):
        sums, far = answer
        going = state.moved > self.tol
        rows, weight = jax.vmap(_relocated)(sums.rows, sums.weight, far)
        means = rows / jnp.where(weight > 0, weight, 1)[..., None]
        # what stays without rows lies where the largest cluster is
        largest = jnp.take_along_axis(means, jnp.argmax(weight, axis=1)[:, None, None], axis=1)
        means = jnp.where((weight > 0)[..., None], means, largest)
        # a compiler may subtract from means that it has not rounded yet: what has not moved would have moved by an ulp for ever
        shift = jnp.where(means == state.centers, 0, means - state.centers)
        moved = jnp.square(shift).sum((1, 2))
        return _State(
            jnp.where(going[:, None, None], means, state.centers),
            jnp.where(going, moved, state.moved),
            jnp.where(going, sums.score, state.inertia),
            state.n_steps + going,
        )

    def params(self, state):
        return state.centers

    def residual(self, state):
        return state.moved.max()


def nearest(scores: Array) -> tuple[Array, Array]:
    """The least of each column and its row, of equal ones the first, for `scores` (k, n).

    On a CPU by a running minimum, of vectors of n: there the compiler's own arg-min goes element by element.
    """
    return lax.platform_dependent(scores, cpu=_running_minimum, default=_least)


def _least(scores: Array) -> tuple[Array, Array]:
    return scores.min(0), jnp.argmin(scores, axis=0).astype(jnp.int32)


def _running_minimum(scores: Array) -> tuple[Array, Array]:
    def closer(j: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
        least, label = best
        row = scores[j]
        return jnp.minimum(row, least), jnp.where(row < least, j.astype(jnp.int32), label)

    start = scores[0], jnp.zeros(scores.shape[1], jnp.int32)
    return lax.fori_loop(1, len(scores), closer, start)


def scores(X: Any, centers: Array) -> Array:
    """``½ ‖c‖² − c x`` of centers (m, p), (m, n): half the squared distances, but for ``½ ‖x‖²``."""
    dense = not X.is_sparse
    products = jnp.einsum("mp,np->mn", centers, X.entries, precision=HIGHEST) if dense else X.matvec(centers.T).T
    return 0.5 * jnp.square(centers).sum(1)[:, None] - products


def _labels(centers: Array, X: Any) -> tuple[Array, Array]:
    """Least scores and labels, (r, n) each."""
    n_starts, n_clusters, n_features = centers.shape
    half = scores(X, centers.reshape(-1, n_features)).reshape(n_starts, n_clusters, -1)
    return jax.vmap(nearest)(half) if n_starts > 1 else jax.tree.map(lambda a: a[None], nearest(half[0]))


def _assign(centers: Array, X: Any, w: Array) -> _Sums:
    least, labels = _labels(centers, X)
    n_clusters = centers.shape[1]
    sums = [X.grouped(row, w, n_clusters) for row in labels]
    rows, weight = (jnp.stack(parts) for parts in zip(*sums, strict=True))
    return _Sums(rows, weight, jnp.matmul(least, w, precision=HIGHEST))


def at_fixed_labels(centers: Array, X: Any, w: Array) -> tuple[Array, Array]:
    """A lift: the sums of a step from centers (k, p), and weights; differentiable as if no row changed its center."""
    return X.grouped(lax.stop_gradient(_labels(centers[None], X)[1][0]), w, len(centers))


def _farthest(centers: Array, X: Any, w: Array) -> _Far:
    least, labels = _labels(centers, X)
    squares = X.row_squares()
    distance = jnp.where((w > 0)[None], jnp.maximum(squares[None] + 2 * least, 0), 0)
    m = min(centers.shape[1], MOST_RELOCATED)
    short = m - min(m, X.shape[0])

    def of_start(distance: Array, labels: Array) -> _Far:
        distance, index = lax.top_k(distance, m - short)
        far = _Far(distance, X.rows_at(index), jnp.where(distance > 0, w[index], 0), labels[index])
        return jax.tree.map(lambda a: jnp.pad(a, [(0, short)] + [(0, 0)] * (a.ndim - 1)), far)

    starts = [of_start(distance[i], labels[i]) for i in range(len(centers))]
    return jax.tree.map(lambda *parts: jnp.stack(parts), *starts)


def _merge(parts: _Far) -> _Far:
    """The farthest of all parts, which are stacked on a first axis."""
    m = parts.distance.shape[2]
    together = jax.tree.map(lambda a: jnp.moveaxis(a, 0, 1).reshape(a.shape[1], -1, *a.shape[3:]), parts)

    def of_start(far: _Far) -> _Far:
        _, index = lax.top_k(far.distance, m)
        return jax.tree.map(lambda a: a[index], far)

    return jax.vmap(of_start)(together)


def _relocated(rows: Array, weight: Array, far: _Far) -> tuple[Array, Array]:
    """Sums and weights in which clusters without rows have one row each, as far as there are any."""
    n_clusters, m = len(weight), len(far.weight)
    empty = jnp.nonzero(weight <= 0, size=m, fill_value=n_clusters)[0]
    taken = jnp.where((empty < n_clusters) & (far.weight > 0), far.weight, 0)
    target = jnp.where(taken > 0, empty, n_clusters)
    source = jnp.where(taken > 0, far.label, n_clusters)
    moved = taken[:, None] * far.row
    rows = rows.at[source].add(-moved, mode="drop").at[target].add(moved, mode="drop")
    return rows, weight.at[source].add(-taken, mode="drop").at[target].add(taken, mode="drop")
