"""Pairs: what is asked of every row together with every query, reduced in tiles under a byte budget.

A reduction over rows is a fold whose query holds the queries, so that dense, sparse, sharded and streamed rows share one
code. Nothing is ever as large as rows × queries: a lift goes over tiles, and keeps of each what the reduction needs.

The k nearest rows are found in three steps. Of every bucket of consecutive rows the least score is kept: one pass over a
tile that the cache still holds. The k rows that are first by (score, row) lie in the k buckets that are first by (least
score, bucket). The rows of these buckets, and of two more, are ranked by their distances themselves: scores by matrix
products have cancelled digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.objectives.distances import Distance, SquaredEuclidean
from jaxlearn.objectives.kernels import Density, Kernel

from .dense import Dense
from .design import PRESENT, Design
from .reduce import combine

__all__ = ["BUDGET", "Probe", "count_within", "gathered", "kernel_sum", "log_density_sum", "nearest"]

BUDGET = 1 << 26
# A tile of scores: rows × queries of it that stay in the cache.
TILE_BYTES = 1 << 22
# Queries that share a pass over the rows.
MOST_QUERIES = 512
# Buckets that are looked at beyond the k that would do if scores were exact.
SLACK = 2
# Among as few rows all are measured.
FEW_ROWS = 64
# With as few, distances themselves cost no more than products do.
FEW_FEATURES = 16


class Probe(eqx.Module):
    """What is asked of all rows.

    Parameters
    ----------
    distance : Distance
    queries : (m, p)
    location : (p,), optional
        A point near the rows, from which a shift-invariant distance measures: products cancel fewer digits.
    reach : scalar, optional
        A rank.
    k : int
        How many rows are sought for each query.
    budget : int
        Bytes that tiles may take.
    """

    distance: Distance
    queries: Array
    location: Array | None = None
    reach: Any = None
    k: int = eqx.field(static=True, default=1)
    budget: int = eqx.field(static=True, default=BUDGET)


class Tile(NamedTuple):
    """Rows and queries of a tile, and rows of a bucket."""

    rows: int
    queries: int
    bucket: int


def nearest(design: Design, probe: Probe, weight: Any, index: Array) -> tuple[Array, Array]:
    """The `probe.k` rows nearest to each query: ranks (m, k), ascending, and what `index` calls them; the lowest of equals.

    Parameters
    ----------
    design : Design
    probe : Probe
    weight : (n,) or PRESENT
        Rows of weight zero are not there. Where fewer than k rows are, the ranks behind them are infinite.
    index : int32 (n,)
        Ascending.
    """
    return design.fold(_nearest, probe, weight, index, merge=_first)


def count_within(design: Design, probe: Probe, weight: Any = PRESENT) -> Array:
    """How many rows have a rank of `probe.reach` at most, (m,): rounding errors of scores count for the rows."""
    return design.fold(_count, probe, weight)


def kernel_sum(design: Design, kernel: Kernel, queries: Array, values: Any = PRESENT) -> Array:
    """``Σ_i k(x_i, y) v_i`` for each query y: (m,) for values (n,), (m, k) for (n, k). It can be differentiated."""
    return design.fold(_kernel_sum, (kernel, queries), values)


def log_density_sum(design: Design, probe: Probe, density: Density, bandwidth: Any, weight: Any = PRESENT) -> Array:
    """``log Σ_i w_i exp(density(d(x_i, y) / bandwidth))``, (m,)."""
    return design.fold(_log_density, (probe, density, bandwidth), weight, merge=_log_sum)


def gathered(local: Any, axis_name: str | None) -> Any:
    """The results of all shards, one after the other."""
    return combine(local, axis_name, None if axis_name is None else _in_turn)


def _in_turn(parts: Any) -> Any:
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), parts)


def tile_of(n_samples: int, n_features: int, k: int, *, itemsize: int, budget: int) -> Tile:
    """Sizes that suit a cache, within the budget."""
    sought = k + SLACK
    # of minima the least are found at 3 ns each, candidates are measured at 1 ns for each number: as much on either side
    balance = (3 * n_samples / (sought * max(n_features, 1))) ** 0.5
    bucket = 1 << min(max(round(math.log2(balance)), 3), 7)
    if 2 * sought * bucket > n_samples:
        bucket = 1
    beside = 3 * -(-n_samples // bucket) * itemsize  # minima, and their transpose
    queries = max(min(MOST_QUERIES, budget // (TILE_BYTES // MOST_QUERIES + beside)), 1)
    rows = max(TILE_BYTES // itemsize // queries // bucket, 1) * bucket
    return Tile(min(rows, max(n_samples // bucket, 1) * bucket), queries, bucket)


def _over_queries(one: Callable[[Array], Any], queries: Array, size: int) -> Any:
    """``one(some queries)`` for all, some at a time."""
    n_queries = len(queries)
    if n_queries <= size:
        return one(queries)
    n_tiles = -(-n_queries // size)
    padded = jnp.pad(queries, [(0, n_tiles * size - n_queries), (0, 0)])
    parts = lax.map(one, padded.reshape(n_tiles, size, -1))
    return jax.tree.map(lambda a: a.reshape(n_tiles * size, *a.shape[2:])[:n_queries], parts)


def _rounded(location: Any) -> Array:
    """To eight binary digits: what is subtracted leaves integers exact, and equal scores equal."""
    mantissa, exponent = jnp.frexp(jnp.asarray(location))
    return jnp.ldexp(jnp.round(mantissa * 256) / 256, exponent)


class _Rows:
    """The rows at hand, a chunk at a time: sparse ones all together."""

    def __init__(self, probe: Probe, block: Design, weight: Array):
        self.distance, self.block, self.present = probe.distance, block, weight > 0
        self.n, n_features = block.shape
        movable = probe.location is not None and probe.distance.shift_invariant and not block.is_sparse
        self.location = lax.stop_gradient(_rounded(probe.location)) if movable else None
        self.dense: Any = lax.stop_gradient(block.entries) if isinstance(block, Dense) else None
        itemsize = block.dtype.itemsize
        self.tile = tile_of(self.n, n_features, min(probe.k, self.n), itemsize=itemsize, budget=probe.budget)
        if self.dense is None:
            if not self.distance.by_product:
                raise ValueError(
                    f"{type(self.distance).__name__} is not made of products: sparse rows do not serve it."
                )
            self.squares = block.row_squares()
            queries = max(min(probe.budget // (3 * self.n * itemsize), MOST_QUERIES), 1)
            self.tile = Tile(self.n, queries, self.tile.bucket)

    def moved(self, queries: Array) -> Array:
        return queries if self.location is None else queries - self.location[None]

    def ranks(self, queries: Array, first: Any, size: int) -> Array:
        """Of consecutive rows, (size, t); infinite where no row is."""
        return self._masked(self.distance.ranks(self._chunk(first, size), queries), first)

    def scores(self, queries: Array, first: Any, size: int, slack: float = 0.0) -> Array:
        """As `ranks`, up to a term of the query; less `slack` in units of their rounding errors."""
        if not self.distance.by_product:
            return self.ranks(queries, first, size)
        block, squares = self.block, getattr(self, "squares", None)
        if self.dense is not None:
            X = self.moved(self._chunk(first, size))
            block, squares = Dense(X), jnp.square(X).sum(1)
        scores = self.distance.scores(block, self.moved(queries), squares)  # pyright: ignore
        if slack:
            scores = scores - slack * self.distance.magnitude(squares)[:, None]  # pyright: ignore
        return self._masked(scores, first)

    def _chunk(self, first: Any, size: int) -> Array:
        return lax.dynamic_slice_in_dim(self.dense, first, size)

    def _masked(self, scores: Array, first: Any) -> Array:
        return jnp.where(lax.dynamic_slice_in_dim(self.present, first, len(scores))[:, None], scores, jnp.inf)

    def by_chunks(self, one: Callable[[Any, int], Array]) -> list[Array]:
        """``one(first, size)`` of chunks of rows: of all whole ones, stacked, and of what is left."""
        whole, rest = divmod(self.n, self.tile.rows)
        chunk = lambda i: one(i * self.tile.rows, self.tile.rows)  # noqa: E731
        parts = [lax.map(chunk, jnp.arange(whole, dtype=jnp.int32))] if whole else []
        return parts + ([one(whole * self.tile.rows, rest)[None]] if rest else [])


def _nearest(probe: Probe, block: Design, weight: Array, index: Array) -> tuple[Array, Array]:
    rows, k = _Rows(probe, block, weight), min(probe.k, block.shape[0])
    few = rows.n <= max(2 * (k + SLACK), FEW_ROWS)
    find = _among_scores if rows.dense is None else _among_all if few else _among_buckets
    found = _over_queries(partial(find, rows, k), lax.stop_gradient(probe.queries), rows.tile.queries)
    ranks, places = jax.tree.map(lax.stop_gradient, found)
    if rows.dense is not None:
        ranks = _differentiable(ranks, places, probe.distance, block.entries, probe.queries)
    beyond = [(0, 0), (0, probe.k - k)]
    return jnp.pad(ranks, beyond, constant_values=jnp.inf), jnp.pad(index[places], beyond)


@jax.custom_jvp
def _differentiable(ranks: Array, places: Array, distance: Distance, X: Array, queries: Array) -> Array:
    """`ranks`, with the derivative that those of the rows `places` have: no search is differentiated."""
    return ranks


@_differentiable.defjvp
def _differentiable_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    ranks, places, *measured = primals
    rank = lambda distance, X, queries: distance.rank(X[places], queries[:, None])  # noqa: E731
    return ranks, jax.jvp(rank, tuple(measured), tuple(tangents[2:]))[1]


def _least(ranks: Array, k: int) -> tuple[Array, Array]:
    """The k least along the last axis, ascending, and where they are: of equal ones the first."""
    least, places = lax.top_k(-ranks, k)
    return -least, places


def _among_scores(rows: _Rows, k: int, queries: Array) -> tuple[Array, Array]:
    rest = rows.distance.rest(jnp.square(queries).sum(1))
    return _least((rows.scores(queries, 0, rows.n) + rest[None]).T, k)


def _among_all(rows: _Rows, k: int, queries: Array) -> tuple[Array, Array]:
    chunks = rows.by_chunks(partial(rows.ranks, queries))
    return _least(jnp.concatenate([a.reshape(-1, len(queries)) for a in chunks]).T, k)


def _among_buckets(rows: _Rows, k: int, queries: Array) -> tuple[Array, Array]:
    size = rows.tile.bucket

    def minima(first: Any, length: int) -> Array:
        scores = rows.scores(queries, first, length)
        scores = jnp.pad(scores, [(0, -length % size), (0, 0)], constant_values=jnp.inf)
        return scores.reshape(-1, size, len(queries)).min(1)

    least = jnp.concatenate([a.reshape(-1, len(queries)) for a in rows.by_chunks(minima)])
    _, buckets = _least(least.T, min(k + SLACK, len(least)))
    buckets, _ = _least(buckets, buckets.shape[1])  # ascending, so that of equal ranks the first row comes first

    def refine(one: tuple[Array, Array]) -> tuple[Array, Array]:
        query, chosen = one
        places = (chosen[:, None] * size + jnp.arange(size, dtype=jnp.int32)[None]).reshape(-1)
        within = jnp.minimum(places, rows.n - 1)
        there = (places < rows.n) & rows.present[within]
        ranks = rows.distance.rank(rows.dense.at[within].get(mode="promise_in_bounds"), query[None])
        ranks, order = _least(jnp.where(there, ranks, jnp.inf), k)
        return ranks, within[order]

    return lax.map(refine, (queries, buckets))


def _first(parts: tuple[Array, Array]) -> tuple[Array, Array]:
    """The k nearest of those that several blocks have found."""
    n_parts, n_queries, k = parts[0].shape
    if n_parts == 1:
        return parts[0][0], parts[1][0]
    ranks, places = (jnp.moveaxis(a, 0, 1).reshape(n_queries, n_parts * k) for a in parts)
    ranks, order = _least(ranks, k)
    return ranks, jnp.take_along_axis(places, order, 1)


def _count(probe: Probe, block: Design, weight: Array) -> Array:
    rows, distance = _Rows(probe, block, weight), probe.distance
    slack = (8 + block.shape[1] ** 0.5) * float(jnp.finfo(block.dtype).eps) if distance.by_product else 0.0

    def count(queries: Array) -> Array:
        squares, reach = jnp.square(rows.moved(queries)).sum(1), jnp.broadcast_to(probe.reach, len(queries))
        if distance.by_product:
            reach = reach - distance.rest(squares) + slack * distance.magnitude(squares)
        within = lambda first, size: (rows.scores(queries, first, size, slack) <= reach[None]).sum(0, dtype=jnp.int32)  # noqa: E731
        return jnp.concatenate(rows.by_chunks(within)).sum(0, dtype=jnp.int32)

    return _over_queries(count, probe.queries, rows.tile.queries)


def _kernel_sum(query: tuple[Kernel, Array], block: Design, values: Array) -> Array:
    kernel, queries = query
    columns = values if values.ndim > 1 else values[:, None]

    def some(queries: Array) -> Array:
        def add(total: Array, tile: tuple[Array, Array]) -> Array:
            X, here = tile
            return total + jnp.matmul(kernel.values(queries, X), here, precision=lax.Precision.HIGHEST)

        return _scanned(add, jnp.zeros((len(queries), columns.shape[1]), block.dtype), _entries(block), columns)

    sums = _over_queries(some, queries, MOST_QUERIES)
    return sums if values.ndim > 1 else sums[:, 0]


def _log_density(query: tuple[Probe, Density, Any], block: Design, weight: Array) -> Array:
    probe, density, bandwidth = query
    distance = probe.distance
    few = block.shape[1] <= FEW_FEATURES
    ranks_of = distance.ranks_by_product if isinstance(distance, SquaredEuclidean) and not few else distance.ranks

    def some(queries: Array) -> Array:
        def add(total: Array, tile: tuple[Array, Array]) -> Array:
            X, w = tile
            terms = density.log(distance.distance(ranks_of(X, queries)) / bandwidth) + jnp.log(w)[:, None]
            return jnp.logaddexp(total, jax.nn.logsumexp(terms, axis=0))

        return _scanned(add, jnp.full(len(queries), -jnp.inf, block.dtype), _entries(block), weight)

    return _over_queries(some, probe.queries, MOST_QUERIES)


def _log_sum(parts: Array) -> Array:
    return jax.nn.logsumexp(parts, axis=0)


def _entries(block: Design) -> Array:
    if not isinstance(block, Dense):
        raise ValueError("Sums over pairs are made of dense rows.")
    return block.entries


def _scanned(add: Callable[[Array, Any], Array], total: Array, *rows: Array) -> Array:
    """`add` over chunks of the rows. What a tile holds is made anew for a gradient: neither way holds rows × queries."""
    n = len(rows[0])
    size = min(max(TILE_BYTES // (rows[0].dtype.itemsize * MOST_QUERIES), 1), n)
    whole, add = n // size * size, jax.checkpoint(add)
    if whole:
        chunks = tuple(a[:whole].reshape(-1, size, *a.shape[1:]) for a in rows)
        total, _ = lax.scan(lambda total, tile: (add(total, tile), None), total, chunks)
    return add(total, tuple(a[whole:] for a in rows)) if n > whole else total
