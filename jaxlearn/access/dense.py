"""A dense matrix on devices. The forms of its products are chosen by measurement, here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, dtypes, lax

from jaxlearn.linalg.crossprod import crossprod, of_upper, upper_gram

from .design import Design, filled
from .reduce import combine

__all__ = ["Dense", "as_design"]

HIGHEST = lax.Precision.HIGHEST
# Rows of a Gram matrix taken at once on a CPU, of single and of double precision: few enough for the caches (and doubles for
# `upper_gram`, twice as fast as all at once), and nothing of the size of X is made, for each lane of weights.
ROWS = 1024, 512
# An accelerator, for which each block is a launch, takes as many rows as fill this when it makes them double.
ACCELERATOR_BYTES = 1 << 24
# From so many entries of the result on, a product of doubles is made likewise: up to twice as fast.
WIDE = 6000
# Fewer blocks are one.
FEW_BLOCKS = 4
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

    @property
    def _sliced(self) -> bool:
        """Whether to take some rows at a time: on a CPU, and of rows that the compiler need not gather from several devices."""
        return jax.default_backend() == "cpu" and (self.axis_name is not None or jax.device_count() == 1)

    def matvec(self, b):
        return jnp.matmul(self.X, _not_one_number(b, self.X[:1]), precision=HIGHEST)

    def rmatvec(self, u):
        if u.ndim == 1:  # on a CPU `X.T @ u` copies X transposed at every call
            return jnp.matmul(u, self.X, precision=HIGHEST)
        wide = self.dtype.itemsize == 8 and u.shape[1] * self.shape[1] >= WIDE
        product = _sum_over_rows(crossprod, u, self.X) if wide and self._sliced else crossprod(u, self.X)
        # without the barrier XLA makes the product with output (p, k) of it, on a CPU up to five times slower for few columns
        return lax.optimization_barrier(product).T

    def gram(self, d):
        return of_upper(_sum_over_rows(upper_gram, self.X, d) if self._sliced else upper_gram(self.X, d))

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
        lift = partial(_moments, location.astype(dtype))
        # double precision of single-precision rows, some rows at a time: there is never a second copy of X
        by_blocks = self._sliced or dtype != self.dtype
        total, mean, upper = _sum_over_rows(lift, self.X, d, dtype=dtype) if by_blocks else lift(self.X, d)
        return total, mean, of_upper(upper)

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


def _sum_over_rows(lift: Callable[..., Any], *rows: Array, dtype: Any = None) -> Any:
    """``lift(*rows)``, a sum over rows made in this precision, that of the first by default, some rows at a time."""
    itemsize = jnp.dtype(dtype or rows[0].dtype).itemsize
    on_cpu = jax.default_backend() == "cpu"
    size = ROWS[itemsize == 8] if on_cpu else max(ACCELERATOR_BYTES // (itemsize * rows[0].shape[1]), 1)
    n_blocks = len(rows[0]) // size
    if n_blocks < FEW_BLOCKS:
        return lift(*rows)

    @partial(jax.checkpoint, prevent_cse=False)  # a derivative would keep a copy of all blocks
    def part(i: Array) -> Any:
        return lift(*(lax.dynamic_slice_in_dim(a, i * size, size) for a in rows))

    add = lambda i, total: jax.tree.map(jnp.add, total, part(i))  # noqa: E731
    return lax.fori_loop(0, n_blocks, add, lift(*(a[n_blocks * size :] for a in rows)))


def _moments(location: Array, X: Array, d: Array) -> tuple[Array, Array, tuple[Array, ...]]:
    X, d = X.astype(location.dtype) - location[None], d.astype(location.dtype)
    return d.sum(), jnp.matmul(d, X, precision=HIGHEST), upper_gram(X, d)


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
