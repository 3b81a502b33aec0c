"""k-means from batches: each center is the mean of all rows that were nearest to it when they came.

*Step* ``c_j ← (n_j c_j + Σ_{i∈j} w_i x_i) / (n_j + Σ_{i∈j} w_i)`` over a batch, and ``n_j`` grows by what joined.

References
----------
Sculley, "Web-scale k-means clustering", WWW 2010.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.dense import as_design
from jaxlearn.access.design import Design
from jaxlearn.solvers.lloyd import nearest, scores

__all__ = ["MiniBatchKMeans", "State", "init", "step"]

HIGHEST = lax.Precision.HIGHEST
# Rows for each center between two looks at those that have few.
REASSIGNED_EVERY = 10


class MiniBatchKMeans(eqx.Module):
    """How to learn: an immutable configuration whose numbers are leaves.

    Parameters
    ----------
    reassignment_ratio : float
        A center that fewer rows joined than this share of the most that joined one is moved to a row of the batch.
    smoothing : float
        Weight of a batch in the running mean of the inertia.
    tol : float
        Learning is done when a batch moves the centers by ``Σ_j ‖Δc_j‖² ≤ tol``; zero is never.
    max_idle : int
        It is done when the running mean has been no less than its minimum for so many batches.
    """

    reassignment_ratio: ArrayLike = 0.01
    smoothing: ArrayLike = 0.1
    tol: ArrayLike = 0.0
    max_idle: ArrayLike = 10


class State(eqx.Module):
    """What was learnt, a pytree.

    Attributes
    ----------
    centers : (k, p)
    counts : (k,)
        Weight that joined each center.
    n_since : scalar
        Weight since the last look at centers that have few.
    inertia, least : scalar
        Running mean of the inertia of a row, and its minimum.
    idle, n_steps : int32 scalar
        Batches since that minimum, and in all.
    done : bool scalar
        No more is to be learnt.
    """

    centers: Array
    counts: Array
    n_since: Array
    inertia: Array
    least: Array
    idle: Array
    n_steps: Array
    done: Array


def init(centers: Array) -> State:
    """Nothing has joined `centers` yet."""
    zero, infinity = jnp.zeros((), centers.dtype), jnp.full((), jnp.inf, centers.dtype)
    nothing = jnp.zeros(len(centers), centers.dtype)
    return State(centers, nothing, zero, infinity, infinity, jnp.int32(0), jnp.int32(0), jnp.bool_(False))


def step(
    model: MiniBatchKMeans, state: State, X: ArrayLike | Design, sample_weight: Array | None = None, *, key: Array
) -> State:
    """Learn from a batch.

    Parameters
    ----------
    model : MiniBatchKMeans
    state : State
    X : Array (b, p) or Design
    sample_weight : (b,), optional
        Zero is a row that is not there; a batch of such rows changes nothing.
    key : PRNG key
        Draws rows that centers are moved to.

    Returns
    -------
    State

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> X = jnp.array([[0.0], [2.0], [10.0], [12.0]])
    >>> step(MiniBatchKMeans(), init(X[1:3]), X, key=jax.random.key(0)).centers.ravel().tolist()
    [1.0, 11.0]
    """
    design = as_design(X)
    weight = jnp.ones(design.shape[0], design.dtype) if sample_weight is None else sample_weight
    n_clusters, total = len(state.counts), weight.sum()
    least, labels = nearest(scores(design, state.centers))
    inertia = jnp.matmul(jnp.maximum(design.row_squares() + 2 * least, 0), weight, precision=HIGHEST)
    inertia = inertia / jnp.where(total > 0, total, 1)
    sums, joined = design.grouped(labels, weight, n_clusters)
    counts = state.counts + joined
    centers = (state.counts[:, None] * state.centers + sums) / jnp.where(counts > 0, counts, 1)[:, None]
    centers = jnp.where((counts > 0)[:, None], centers, state.centers)
    n_since = state.n_since + total
    look = (state.counts <= 0).any() | (n_since >= REASSIGNED_EVERY * n_clusters)
    moved, lowered = _reassigned(model, centers, counts, (design, weight, key))
    centers, counts = jnp.where(look, moved, centers), jnp.where(look, lowered, counts)
    first = state.n_steps == 0  # the inertia of the start says nothing of what is learnt
    smoothing = jnp.minimum(jnp.asarray(model.smoothing, inertia.dtype), 1)
    mean = jnp.where(jnp.isinf(state.inertia), inertia, (1 - smoothing) * state.inertia + smoothing * inertia)
    better = mean < state.least
    idle = jnp.where(better, 0, state.idle + 1)
    near = (jnp.square(centers - state.centers).sum() <= model.tol) & (jnp.asarray(model.tol) > 0)
    new = State(
        centers,
        counts,
        jnp.where(look, 0, n_since),
        jnp.where(first, state.inertia, mean),
        jnp.where(first, state.least, jnp.minimum(state.least, mean)),
        jnp.where(first, 0, idle).astype(jnp.int32),
        state.n_steps + 1,
        ~first & (near | (idle >= jnp.asarray(model.max_idle, jnp.int32))),
    )
    return jax.tree.map(lambda new, old: jnp.where((total > 0) & ~state.done, new, old), new, state)


def _reassigned(
    model: MiniBatchKMeans, centers: Array, counts: Array, batch: tuple[Design, Array, Array]
) -> tuple[Array, Array]:
    """Centers that few rows joined, moved to at most half of the batch; they count as the least of the others."""
    design, weight, key = batch
    n_clusters, n_rows = len(counts), design.shape[0]
    few = counts < model.reassignment_ratio * counts.max()
    rank = jnp.zeros(n_clusters, jnp.int32).at[jnp.argsort(counts)].set(jnp.arange(n_clusters, dtype=jnp.int32))
    few = few & (rank < (weight > 0).sum() // 2)
    size = min(n_clusters, n_rows)
    clock = jnp.where(weight > 0, jax.random.gumbel(key, weight.shape, jnp.float32).astype(weight.dtype), -jnp.inf)
    rows = design.rows_at(lax.top_k(clock, size)[1])
    place = jnp.minimum(jnp.cumsum(few) - 1, size - 1)
    lowest = jnp.where(few, jnp.inf, counts).min()
    return jnp.where(few[:, None], rows[place], centers), jnp.where(few & jnp.isfinite(lowest), lowest, counts)
