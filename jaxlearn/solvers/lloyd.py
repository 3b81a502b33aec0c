"""Lloyd's iterations: each row to its nearest center, each center to the mean of its rows; several starts side by side."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from .protocols import Solver
from .solution import MAX_STEPS

__all__ = ["Lloyd", "Sums", "at_fixed_labels", "farthest_if_empty", "means", "nearest", "scores", "shift"]

HIGHEST = lax.Precision.HIGHEST
# Most clusters without rows that are given a row in one step.
MOST_RELOCATED = 16
# Centers that a running minimum compares in one pass: of 32 a pair takes half as long as one by one, of more no less.
TOGETHER = 32


class _State(eqx.Module):
    centers: Array
    moved: Array
    inertia: Array
    n_steps: Array
    at_work: Array  # (s,), starts that a pass is made for
    n_begun: Array


class Sums(NamedTuple):
    """Of the rows of each cluster, and of all scores, from r starts."""

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
    """Lloyd's algorithm, from r starts, of which s at once share the products of a pass.

    *Minimises* ``Σ ω_i min_j ‖x_i − c_j‖²``, locally.

    *Step* ``c_j ← Σ_{i∈j} ω_i x_i / Σ_{i∈j} ω_i``, where i ∈ j if c_j is the nearest center, of equally near ones the first. A
    cluster without rows is given one of those farthest from their centers, which leaves its own.

    *Reads the data by* fold.

    *Cost per step* 2 n p k s flops.

    *Stops when* ``Σ_j ‖Δc_j‖² ≤ tol`` for every start; one that does, or has made its steps, leaves its place to the next.

    Parameters
    ----------
    tol : float
        That of the budget of ``solve``, whose `params` are centers (r, k, p).
    max_steps : int
        Of one start; the budget of ``solve`` is that of all.
    at_once : int
        s.

    References
    ----------
    Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory, 1982.
    """

    needs: ClassVar = frozenset({"fold"})
    certificate: ClassVar = "squared shift of the centers"

    tol: Array
    max_steps: ArrayLike
    at_once: int = eqx.field(static=True, default=1)

    def init(self, problem, params, key=None):
        n_starts, dtype = len(params), params.dtype
        nothing, n_steps = jnp.full(n_starts, jnp.inf, dtype), jnp.zeros(n_starts, jnp.int32)
        at_once = min(self.at_once, n_starts)
        return _State(params, nothing, nothing, n_steps, jnp.arange(at_once, dtype=jnp.int32), jnp.int32(at_once))

    def ask(self, objective, state):
        return state.centers[state.at_work], self._going(state)[state.at_work]

    def _going(self, state):
        return (state.moved > self.tol) & (state.n_steps < self.max_steps)

    def read(self, problem, query):
        centers, going = query
        fold = partial(problem.design.fold, _assign, centers, problem.sample_weight)
        sums = fold()
        any_empty = ((sums.weight <= 0) & going[:, None]).any()
        return sums, farthest_if_empty(problem, centers, any_empty)

    def tell(self, objective, state, answer):
        sums, far = answer
        i, going = state.at_work, self._going(state)[state.at_work]
        before = state.centers[i]
        made = means(before, sums, far)
        moved = jnp.square(shift(before, made)).sum((1, 2))
        state = _State(
            state.centers.at[i].set(jnp.where(going[:, None, None], made, before)),
            state.moved.at[i].set(jnp.where(going, moved, state.moved[i])),
            state.inertia.at[i].set(jnp.where(going, sums.score, state.inertia[i])),
            state.n_steps.at[i].add(going),
            i,
            state.n_begun,
        )
        ended = ~self._going(state)[i]
        following = state.n_begun + jnp.cumsum(ended, dtype=jnp.int32) - 1
        begins = ended & (following < len(state.centers))
        at_work, n_begun = jnp.where(begins, following, i), state.n_begun + begins.sum(dtype=jnp.int32)
        return eqx.tree_at(lambda s: (s.at_work, s.n_begun), state, (at_work, n_begun))

    def status(self, state):
        return jnp.where(self._going(state).any(), 0, MAX_STEPS)  # where all have converged, nothing asks for it

    def params(self, state):
        return state.centers

    def residual(self, state):
        return state.moved.max()


def farthest_if_empty(problem: Any, centers: Array, any_empty: Array) -> _Far:
    """Rows to give to clusters that have none, of centers (r, k, p)."""
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
        return farthest() if any_empty else none
    return lax.cond(any_empty, farthest, lambda: none)


def means(before: Array, sums: Sums, far: _Far) -> Array:
    """Centers of the sums of r starts; those without rows where a farthest row is."""
    rows, weight = jax.vmap(_relocated)(sums.rows, sums.weight, far)
    means = rows / jnp.where(weight > 0, weight, 1)[..., None]
    # what stays without rows lies where the largest cluster is
    largest = jnp.take_along_axis(means, jnp.argmax(weight, axis=1)[:, None, None], axis=1)
    return jnp.where((weight > 0)[..., None], means, largest)


def shift(before: Array, made: Array) -> Array:
    """How far centers have moved: a compiler may subtract from means that it has not rounded yet, by an ulp for ever."""
    return jnp.where(made == before, 0, made - before)


def nearest(scores: Array) -> tuple[Array, Array]:
    """The least of each column and its row, of equal ones the first, for `scores` (k, n).

    On a CPU by a running minimum, of vectors of n: there the compiler's own arg-min goes element by element.
    """
    return lax.platform_dependent(scores, cpu=_running_minimum, default=_least)


def _least(scores: Array) -> tuple[Array, Array]:
    return scores.min(0), jnp.argmin(scores, axis=0).astype(jnp.int32)


def _running_minimum(scores: Array) -> tuple[Array, Array]:
    n_rows = len(scores)
    whole = n_rows // TOGETHER * TOGETHER

    def closer(i: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
        first = i.astype(jnp.int32) * TOGETHER
        return _chain(lax.dynamic_slice_in_dim(scores, first, TOGETHER), first, best)

    best = jnp.full(scores.shape[1], jnp.inf, scores.dtype), jnp.zeros(scores.shape[1], jnp.int32)
    best = lax.fori_loop(0, whole // TOGETHER, closer, best) if whole else best
    return _chain(scores[whole:], jnp.int32(whole), best)


def _chain(rows: Array, first: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
    """One comparison after the other, which the compiler makes a single pass over vectors."""
    least, label = best
    for j in range(len(rows)):
        label = jnp.where(rows[j] < least, first + j, label)
        least = jnp.minimum(rows[j], least)
    return least, label


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


def _assign(centers: Array, X: Any, w: Array) -> Sums:
    least, labels = _labels(centers, X)
    n_clusters = centers.shape[1]
    cpu, default = _grouped(n_clusters), _weighted(n_clusters)
    rows, weight = lax.map(lambda row: lax.platform_dependent(X, row, w, cpu=cpu, default=default), labels)
    return Sums(rows, weight, jnp.matmul(least, w, precision=HIGHEST))


def _weighted(n_clusters: int) -> Any:
    return lambda X, labels, w: X.grouped(labels, w, n_clusters)


def _grouped(n_clusters: int) -> Any:
    """Sums of clusters; rows of equal weights, or zero, are added as they are: a weighted copy takes a CPU thrice as long."""

    def plain(X: Any, labels: Array, w: Array) -> tuple[Array, Array]:
        sums = X.grouped(jnp.where(w > 0, labels, n_clusters), None, n_clusters)
        return jax.tree.map(lambda a: w.max() * a, sums)

    return lambda X, labels, w: lax.cond(((w == w.max()) | (w == 0)).all(), plain, _weighted(n_clusters), X, labels, w)


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
