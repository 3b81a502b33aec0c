"""A dense matrix on devices. The forms of its products are chosen by measurement, here and nowhere else."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array, dtypes, lax

from .design import Design, filled
from .reduce import combine

__all__ = ["Dense", "as_design"]

HIGHEST = lax.Precision.HIGHEST
# Rows made double at once: larger than the caches they are slower, smaller ones keep the product from its speed.
MOMENT_BYTES = 1 << 24
# Columns that are squared at once, where there are more.
SQUARED_COLUMNS = 1024


class Dense(Design):
    """A ``jax.Array`` (n_samples, n_features), whole or this device's rows of it.

    Parameters
    ----------
    X : Array
        Rows at hand. Under ``jit`` a sharded array is partitioned by the compiler.
    axis_name : str, optional
        The mapped axis (of ``shard_map``, ``pmap`` or ``vmap``) over which the remaining rows lie; folds are summed
        over it.
    near_zero : bool
        The mean of the rows is known not to be much larger than their spread: a shift, which copies X, would gain
        nothing, and is not made.
    """

    serves: ClassVar = frozenset({"fold", "map", "columns", "rows"})

    X: Array
    axis_name: str | None = eqx.field(static=True, default=None)
    near_zero: bool = eqx.field(static=True, default=False)

    @property
    def shape(self):
        return self.X.shape

    @property
    def dtype(self):
        return self.X.dtype

    def matvec(self, b):
        return jnp.matmul(self.X, _not_one_number(b, self.X[:1]), precision=HIGHEST)

    def rmatvec(self, u):
        if u.ndim == 1:  # on a CPU `X.T @ u` copies X transposed at every call
            return jnp.matmul(u, self.X, precision=HIGHEST)
        return jnp.einsum("nk,np->kp", u, self.X, precision=HIGHEST).T  # with few columns, in any form alike

    def gram(self, d):
        # One weighted copy of X. Row blocks would save it, cost 15 %, and make the compiler gather a sharded X.
        return jnp.einsum("np,nq->pq", self.X * d[:, None], self.X, precision=HIGHEST)

    def squares(self, d):
        n_features = self.shape[1]
        if n_features <= SQUARED_COLUMNS:
            return (d[:, None] * jnp.square(self.X)).sum(0)

        # On a CPU a sum down long rows can take a thousand times as long as a product with them (400 × 40000: 4 s)
        def add(i: Array, total: Array) -> Array:
            first = jnp.minimum(i * SQUARED_COLUMNS, n_features - SQUARED_COLUMNS)
            some = lax.dynamic_slice_in_dim(self.X, first, SQUARED_COLUMNS, 1)
            return lax.dynamic_update_slice_in_dim(total, jnp.matmul(d, jnp.square(some), precision=HIGHEST), first, 0)

        empty = jnp.zeros(n_features, jnp.result_type(d, self.X))
        return lax.fori_loop(0, -(-n_features // SQUARED_COLUMNS), add, empty)

    def energy(self, d):
        return d @ jnp.square(self.X).sum(1)  # by rows: twelve times faster than by columns on a CPU

    def moments(self, d, location):
        dtype = dtypes.canonicalize_dtype(jnp.float64)
        if dtype == self.dtype:
            return _moments(self.X, d, location)
        # double precision of single-precision rows, some rows at a time: there is never a second copy of X
        n_samples, n_features = self.shape
        size = min(max(MOMENT_BYTES // (dtype.itemsize * n_features), 1), n_samples)

        def add(i: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
            rows, weights = (lax.dynamic_slice_in_dim(a, i * size, size) for a in (self.X, d))
            parts = _moments(rows.astype(dtype), weights.astype(dtype), location.astype(dtype))
            return tuple(a + b for a, b in zip(sums, parts, strict=True))

        n_blocks, wide = n_samples // size, location.astype(dtype)
        rest = _moments(self.X[n_blocks * size :].astype(dtype), d[n_blocks * size :].astype(dtype), wide)
        return lax.fori_loop(0, n_blocks, add, rest)

    def take(self, columns):
        return self.X[:, columns].T

    def rows_at(self, index):
        return self.X[index]

    def row_squares(self):
        return jnp.square(self.X).sum(1)

    def grouped(self, labels, d, n_groups):
        # rows added one by one; a product with the members took as long for 8 groups, and up to twice as long for 100
        empty = jnp.zeros((n_groups, self.shape[1]), self.dtype), jnp.zeros(n_groups, self.dtype)
        rows, d = (self.X, 1) if d is None else (self.X * d[:, None], d)
        return empty[0].at[labels].add(rows), empty[1].at[labels].add(d)

    def some(self, index):
        return Dense(self.X[index], self.axis_name, self.near_zero)

    @property
    def entries(self):
        return self.X

    def entries_of(self, u, b):
        return jnp.matmul(u, b, precision=HIGHEST)

    def with_entries(self, entries):
        return Dense(entries, self.axis_name)

    def location(self):
        if self.near_zero:
            return jnp.zeros(self.shape[1], self.dtype)
        total, count = self.fold(_column_sums, None)
        return total / count

    def shifted(self, location):
        return self if self.near_zero else Dense(self.X - location[None], self.axis_name)

    def fold(self, lift, query, *rows, merge=None, whole=False):
        return combine(lift(query, self, *filled(rows, self)), self.axis_name, merge)


def _moments(X: Array, d: Array, location: Array) -> tuple[Array, Array, Array]:
    X = X - location[None]
    gram = jnp.einsum("np,nq->pq", X * d[:, None], X, precision=HIGHEST)
    return d.sum(), jnp.matmul(d, X, precision=HIGHEST), gram


def _column_sums(_: Any, block: Design, *rows: Array) -> tuple[Array, Array]:
    n_samples = block.shape[0]
    return jnp.ones(n_samples, block.dtype) @ block.X, jnp.asarray(n_samples, block.dtype)  # type: ignore[attr-defined]


def as_design(X: Any, axis_name: str | None = None) -> Design:
    """`X` as a design: an array becomes `Dense`, a design stays what it is (and knows its own axis)."""
    if isinstance(X, Design):
        return X
    X = jnp.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"`X` has shape {X.shape}; expected (n_samples, n_features).")
    return Dense(X if jnp.issubdtype(X.dtype, jnp.floating) else X.astype(jnp.float32), axis_name)


def _not_one_number(b: Array, row: Array) -> Array:
    """b; to the compiler it may have different entries.

    Of a product with a broadcast number, zeros to start from, to which a row is added and then reduced, XLA makes one
    library call on CPUs that reads memory it never wrote (JAX 0.10.2 to 0.12).
    """
    never = (row < -jnp.inf).any(0)
    return jnp.where(never if b.ndim == 1 else never[:, None], -1, b)
