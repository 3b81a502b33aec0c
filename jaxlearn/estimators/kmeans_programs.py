"""The programs that k-means estimators compile, and lifts that a stream maps over its blocks."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxlearn.access.blocks import Blocks, in_blocks
from jaxlearn.access.dense import Dense, as_design
from jaxlearn.access.design import Design
from jaxlearn.models import kmeans
from jaxlearn.models._kmeans_init import plus_plus
from jaxlearn.models.kmeans import FittedKMeans
from jaxlearn.solvers.lloyd import nearest, scores

__all__ = [
    "assigned",
    "distances",
    "draw",
    "draw_plus_plus",
    "fit",
    "label_blocks",
    "label_rows",
    "measure_rows",
]

# Scores of rows and centers that are held at once: in a cache, or in the memory of an accelerator, which waits for each launch.
SCORE_BYTES, LARGE_SCORE_BYTES = 1 << 22, 1 << 28


def fit(rows: Any, rest: Any, axis_name: str | None = None) -> FittedKMeans:
    """From given centers, on rows that lie on one device."""
    (X, _, weight), (task, init) = rows, rest
    design = in_blocks(task.design(X, axis_name), axis_name)
    if type(design) is Dense and task.model.algorithm == "lloyd":
        n_starts = kmeans.at_once(design, *init.shape[:2])
        size = _rows_at_once(n_starts * task.model.n_clusters, X.dtype)
        design = design if size >= len(X) else Blocks(X, axis_name, task.near_zero, size)
    return kmeans.fit(task.model, design, weight, init=init, axis_name=axis_name)


def _rows_at_once(n_columns: int, dtype: Any) -> int:
    """Rows with so many scores, or features, each."""
    most = SCORE_BYTES if jax.default_backend() == "cpu" else LARGE_SCORE_BYTES
    return max(most // (n_columns * dtype.itemsize), 1)


def draw(rows: Any, rest: Any) -> tuple[Array, Array]:
    """Centers of each start, (n_starts, k, p), and the rows that they are, wherever rows lie."""
    (X, _, weight), (task, seeds) = rows, rest
    return kmeans.starts(task.model, task.design(X), weight, jax.vmap(jax.random.key)(seeds))


@functools.cache
def draw_plus_plus(n_clusters: int, n_trials: int | None) -> Any:
    """A program that draws by k-means++, with so many trials."""

    def program(rows: Any, rest: Any) -> tuple[Array, Array]:
        (X, _, weight), (seed,) = rows, rest
        design = as_design(X)
        shifted = design.shifted(design.location())
        return plus_plus(n_clusters, shifted, weight, jax.random.key(seed), n_trials)

    return program


def assigned(centers: Array, X: Design, *_: Array) -> tuple[Array, Array]:
    """A lift: labels, and squared distances without the rounding errors of scores."""
    least, labels = nearest(scores(X, centers))
    if X.is_sparse:
        return labels, jnp.maximum(X.row_squares() + 2 * least, 0)
    return labels, jnp.square(X.entries - centers[labels]).sum(1)


def distances(centers: Array, X: Design, *_: Array) -> Array:
    """A lift: distances to all centers, (n, k)."""
    return kmeans.distances(centers, X)


def measure_rows(rows: Any, rest: Any) -> Array:
    """Distances to all centers."""
    (X, *_), (centers,) = rows, rest
    return kmeans.distances(centers, X)


def label_rows(rows: Any, rest: Any) -> tuple[Array, Array]:
    """`assigned` of all rows, wherever they lie."""
    (X, *_), (centers,) = rows, rest
    return assigned(centers, as_design(X))


def label_blocks(rows: Any, rest: Any) -> tuple[Array, Array]:
    """`assigned` of dense rows of one device, some at a time."""
    (X, *_), (centers,) = rows, rest
    size = min(_rows_at_once(max(len(centers), X.shape[1]), X.dtype), len(X))
    return Blocks(X, size=size).over_blocks(lambda rows: assigned(centers, rows))
