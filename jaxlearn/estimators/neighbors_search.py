"""Rows placed for queries: blocks of queries are answered by one compiled program, two at a time on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import equinox as eqx
import jax
import numpy as np
import scipy.sparse
import sklearn
from sklearn.preprocessing import normalize

from jaxlearn.access.buckets import row_bucket
from jaxlearn.access.dense import as_design
from jaxlearn.access.memory import n_cores
from jaxlearn.access.mesh import row_mesh, run_sharded
from jaxlearn.access.pairs import gathered
from jaxlearn.access.streamed import Streamed
from jaxlearn.models import neighbors
from jaxlearn.models.neighbors import Neighbors
from jaxlearn.objectives.distances import Cosine, Distance, SquaredEuclidean
from jaxlearn.objectives.kernels import Density

from .base import compute
from .inputs import Data, near, repeated
from .rows import place_rows

__all__ = ["Index", "dtype_of"]

# Queries of a block, and fewer where they have many features; and so few that one block has them.
MOST, FEW = 512, 64
# Neighbours beyond k of sparse rows, which are found by products.
BEYOND = 8


class _Ask(eqx.Module):
    """What is asked of a block of queries."""

    k: int = eqx.field(static=True, default=0)
    budget: int = eqx.field(static=True, default=0)
    radius: Any = None
    density: Density | None = None


def _neighbors(rows: Any, distance: Distance, location: Any, axis_name: str | None) -> Neighbors:
    X, weight, index = rows
    return Neighbors(distance, as_design(X, axis_name), weight, index, location)


def _answer(fitted: Neighbors, queries: Any, ask: _Ask) -> Any:
    if ask.density is not None:
        return neighbors.log_density(fitted, queries, ask.density, ask.radius)
    if ask.k:
        return neighbors.kneighbors(fitted, queries, ask.k, budget=ask.budget)
    return neighbors.count_within_radius(fitted, queries, ask.radius, budget=ask.budget)


def _ask_rows(rows: Any, rest: Any, axis_name: str | None = None) -> Any:
    """The rows may lie on several devices, the queries are the same on all."""
    distance, location, queries, ask = rest
    return _answer(_neighbors(rows, distance, location, axis_name), queries, ask)


def _ask_for_queries(queries: Any, rest: Any, axis_name: str | None = None) -> Any:
    """The queries lie on several devices, the rows are the same on all."""
    rows, distance, location, ask = rest
    return gathered(_answer(_neighbors(rows, distance, location, None), queries, ask), axis_name)


class Index:
    """Rows, where programs find them.

    Parameters
    ----------
    distance : Distance
    X : ndarray, CSR, jax.Array or Streamed
    weight : array_like, (n_samples,), optional
        A row of weight zero is not there.

    Attributes
    ----------
    n_rows, n_samples : int
        Of all rows, and of those that are there.
    """

    def __init__(self, distance: Distance, X: Any, weight: Any = None):
        self.distance, self.csr = distance, X if scipy.sparse.issparse(X) else None
        self.dtype, self.stream = dtype_of(X), None
        if isinstance(X, Streamed):
            self.stream = _stream(distance, X, weight, self.dtype)
        self.n_rows = X.shape[0]
        self.n_samples = self.n_rows if weight is None else int(np.count_nonzero(np.asarray(weight)))
        if self.stream is not None:
            return
        data = place_rows(X, weight)
        self.rows = data.X, data.sample_weight, np.arange(data.X.shape[0], dtype=np.int32)
        self.data: Data = data
        self.location = None
        if distance.shift_invariant:
            self.location = near(X) if isinstance(X, np.ndarray) else np.zeros(X.shape[1], self.dtype)

    @property
    def X(self) -> Any:
        """The rows as they were given; of a NumPy array the copy that programs read."""
        if self.stream is not None:
            return self.stream.design
        if self.csr is not None:
            return self.csr
        return self.data.X if isinstance(self.data.X, jax.Array) else self.data.X[: self.n_rows]

    def nearest(self, queries: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Distances and places of the k nearest rows, (m, k)."""
        if self.csr is None:
            return self._ask(queries, lambda: _Ask(k, _budget()))
        candidates = self._ask(queries, lambda: _Ask(min(k + BEYOND, self.n_samples), _budget()))[1]
        return tuple(a[:, :k] for a in self._of_sparse(queries, candidates))  # pyright: ignore

    def within(self, queries: Any, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distances and places of the nearest rows, (m, K) with K at least as many as lie within, and how many do."""
        reach = np.asarray(radius, self.dtype)
        most = int(self._ask(queries, lambda: _Ask(0, _budget(), reach)).max(initial=0))
        most = min(1 << max(most - 1, 0).bit_length(), self.n_samples)
        distances, places = self.nearest(queries, most)
        return distances, places, (distances <= reach).sum(1)

    def log_density(self, queries: Any, density: Density, bandwidth: float) -> np.ndarray:
        """As `jaxlearn.models.neighbors.log_density`."""
        return self._ask(queries, lambda: _Ask(0, 0, np.asarray(bandwidth, self.dtype), density))

    def _ask(self, queries: Any, ask: Callable[[], _Ask]) -> Any:
        if self.stream is not None:  # in one pass
            with jax.enable_x64(self.dtype == np.float64):
                return jax.device_get(_answer(self.stream, _dense(queries, self.dtype), ask()))
        placed = row_mesh(queries) if isinstance(queries, jax.Array) else None
        if placed is not None and self.data.mesh is None:
            return self._ask_sharded(queries, placed, ask())
        return self._ask_blocks(queries, ask())

    def _ask_sharded(self, queries: Any, placed: Any, ask: _Ask) -> Any:
        with jax.enable_x64(self.dtype == np.float64):
            rest = self.rows, self.distance, self.location, ask
            mesh, axis = placed
            return jax.device_get(run_sharded(_ask_for_queries, mesh, axis, queries.astype(self.dtype), rest))

    def _ask_blocks(self, queries: Any, ask: _Ask) -> Any:
        n_queries, threads = queries.shape[0], _threads(self.data)
        most = max(min(MOST, _budget() // (8 * queries.shape[1] * self.dtype.itemsize)), 1)
        n_blocks = 1 if n_queries <= min(FEW, most) else -(-n_queries // (most * threads)) * threads
        size = min(row_bucket(-(-n_queries // n_blocks)), max(most, 8))

        def one(first: int) -> Any:
            block = _dense(queries[first : first + size], self.dtype)
            rest = self.distance, self.location, repeated(block, size), ask
            found = compute(_ask_rows, self.data, *rest, rows=self.rows)
            return jax.tree.map(lambda a: a[: len(block)], found)

        starts = range(0, n_queries, size)
        if min(threads, len(starts)) == 1:
            found = [one(first) for first in starts]
        else:
            with ThreadPoolExecutor(threads) as pool:
                found = list(pool.map(one, starts))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *found)

    def _of_sparse(self, queries: Any, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances from the rows themselves, in double precision, in their order: products have cancelled digits."""
        rows: Any = scipy.sparse.csr_array(self.csr, dtype=np.float64)
        queries = scipy.sparse.csr_array(queries, dtype=np.float64)
        if isinstance(self.distance, Cosine):
            rows, queries = normalize(rows), normalize(queries)
        distances = np.empty(places.shape)
        for j, column in enumerate(places.T):
            squares = np.asarray((rows[column] - queries).power(2).sum(axis=1)).ravel()
            if isinstance(self.distance, Cosine):
                empty = (np.diff(rows.indptr)[column] == 0) | (np.diff(queries.indptr) == 0)
                distances[:, j] = np.where(empty, 1, squares / 2)
            else:
                distances[:, j] = squares if type(self.distance) is SquaredEuclidean else np.sqrt(squares)
        order = np.lexsort((places, distances))
        return tuple(np.take_along_axis(a, order, 1) for a in (distances.astype(self.dtype), places))  # pyright: ignore


def dtype_of(X: Any) -> np.dtype:
    """Of the rows, and so of what is found; that of a stream does not depend on the precision that JAX is in."""
    if isinstance(X, Streamed):
        return np.dtype(np.float64 if X.reader.dtype == np.float64 else np.float32)
    return np.dtype(X.dtype)


def _stream(distance: Distance, X: Streamed, weight: Any, dtype: np.dtype) -> Neighbors:
    if not X.rereadable:
        raise ValueError("The rows are read again for every call: a source that gives them once does not serve.")
    with jax.enable_x64(dtype == np.float64):
        if X.reader.n_samples is None:
            X.fold(_nothing, None)  # a pass, after which the number of rows is known
        location = jax.device_get(X.location()) if distance.shift_invariant else None
    weight = None if weight is None else np.asarray(weight, dtype)
    return Neighbors(distance, X, weight, np.arange(X.shape[0], dtype=np.int32), location)


def _nothing(*_: Any) -> tuple[()]:
    return ()


def _dense(queries: Any, dtype: np.dtype) -> np.ndarray:
    return np.ascontiguousarray(queries.toarray() if scipy.sparse.issparse(queries) else queries, dtype)


def _threads(data: Data) -> int:
    """Blocks at work at the same time: the loops of a program run on one core each, on a CPU."""
    if data.mesh is not None or jax.default_backend() != "cpu":
        return 1
    return min(n_cores(), 4)


def _budget() -> int:
    """Bytes for the tiles of a block: a share of scikit-learn's `working_memory`."""
    return int(sklearn.get_config()["working_memory"] * 2**20) // 16
