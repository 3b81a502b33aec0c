"""A sparse matrix on devices, as triplets ordered by row. Every product is a gather, a multiplication and a scatter.

Both products read the same triplets. A copy ordered by column would cost twice the memory and a second set of values,
and its ``Xᵀ u`` is slower on a CPU: consecutive additions to one sum wait for each other, scattered ones do not
(11314 × 130107, 1.8 M non-zeros: 3.1 ms against 5.7 ms; 20000 × 2000, 0.2 M: 0.3 ms against 1.0 ms).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, dtypes, lax

from jaxlearn.linalg.crossprod import crossprod

from .design import Design, filled
from .reduce import combine

__all__ = ["Sparse"]

# Numbers gathered at once: in pieces that stay in the cache, products with 8 to 100 columns are 1.5 to 3 times faster
# than in one piece, and those with one column are no slower.
PRODUCT_BLOCK = 1 << 18
# Two dense copies of a block of rows, plain and weighted, together.
GRAM_BLOCK_BYTES = 1 << 26
IN_BOUNDS = "promise_in_bounds"


class Sparse(Design):
    """The non-zeros of a matrix (n_samples, n_features), whole or this device's rows of it.

    Build it on the host with `jaxlearn.access.host.from_scipy`. Gradients flow to `data`.

    Parameters
    ----------
    data : Array, (n_entries,)
        Values. Entries beyond the last non-zero are zeros at the last row and column: nearby counts share a program.
    rows, columns : int32 Array, (n_entries,)
        Where they are, each place at most once, `rows` ascending.
    local_shape : tuple of int
        (n_samples, n_features) of the local rows.
    longest : int, optional
        No row has more non-zeros than this, and `gram` is made from the pairs of non-zeros in each row; by default it
        is made from dense blocks of rows. `from_scipy` chooses.
    axis_name : str, optional
        The mapped axis (of ``shard_map``, ``pmap`` or ``vmap``) over which the remaining rows lie; folds are summed
        over it.
    """

    data: Array
    rows: Array
    columns: Array
    local_shape: tuple[int, int] = eqx.field(static=True)
    longest: int | None = eqx.field(static=True, default=None)
    axis_name: str | None = eqx.field(static=True, default=None)

    @property
    def shape(self):
        return self.local_shape

    @property
    def dtype(self):
        return self.data.dtype

    @property
    def is_sparse(self):
        return True

    def matvec(self, b):
        return _product((self.data, self.columns, self.rows), b, self.shape[0], True)

    def rmatvec(self, u):
        return _product((self.data, self.rows, self.columns), u, self.shape[1], False)

    def gram(self, d):
        return self._gram_by_blocks(d) if self.longest is None else self._gram_by_pairs(d, self.longest)

    def _gram_by_pairs(self, d: Array, longest: int) -> Array:
        """Entries e and e + t of one row add to one place of G, for each distance t: entries × longest additions."""
        n_entries, n_features = self.data.size, self.shape[1]
        weighted = self.data * _read(d, self.rows)
        # what lies beyond the last entry is in no row, and pairs with none
        rows = jnp.pad(self.rows, (0, longest), constant_values=-1)
        columns, data = (jnp.pad(a, (0, longest)) for a in (self.columns, self.data))

        def add(t: Array, upper: Array) -> Array:
            shift = lambda a: lax.dynamic_slice_in_dim(a, t, n_entries)  # noqa: E731
            left = jnp.where(shift(rows) == self.rows, self.columns, n_features)  # n_features: dropped
            return upper.at[left, shift(columns)].add(weighted * shift(data), mode="drop")

        empty = jnp.zeros((n_features, n_features), weighted.dtype)
        # each pair was met once, as (earlier, later) column: the other half is the mirror image
        upper = lax.fori_loop(jnp.int32(1), jnp.int32(max(longest, 1)), add, empty)
        return upper + upper.T + jnp.diag(self.squares(d))

    def _gram_by_blocks(self, d: Array) -> Array:
        """Rows are made dense a block at a time. Each block looks at all entries: its matrix product outweighs that."""
        n_samples, n_features = self.shape
        weighted = self.data * _read(d, self.rows)
        n_blocks = max(1, -(-2 * n_samples * n_features * weighted.dtype.itemsize // GRAM_BLOCK_BYTES))
        size = max(1, -(-n_samples // n_blocks))

        def add(total: Array, first: Array) -> tuple[Array, None]:
            local = self.rows - first
            local = jnp.where((local >= 0) & (local < size), local, size)  # size: dropped
            empty = jnp.zeros((size, n_features), weighted.dtype)
            left, right = (empty.at[local, self.columns].add(v, mode="drop") for v in (weighted, self.data))
            return total + crossprod(left, right), None

        total = jnp.zeros((n_features, n_features), weighted.dtype)
        return lax.scan(add, total, jnp.arange(0, max(n_samples, 1), size, dtype=jnp.int32))[0]

    def squares(self, d):
        return _product((jnp.square(self.data), self.rows, self.columns), d, self.shape[1], False)

    def moments(self, d, location):
        """`location` is zero by contract."""
        dtype = dtypes.canonicalize_dtype(jnp.float64)
        wide, d = replace(self, data=self.data.astype(dtype)), d.astype(dtype)
        return d.sum(), wide.rmatvec(d), wide.gram(d)

    def take(self, columns):
        n_taken = len(columns)
        everyone = jnp.arange(n_taken, dtype=jnp.int32)
        slots = jnp.full(self.shape[1], n_taken, jnp.int32).at[columns].set(everyone)
        dense = jnp.zeros((n_taken, self.shape[0]), self.dtype)
        dense = dense.at[_read(slots, self.columns), self.rows].add(self.data, mode="drop")
        # a column asked for twice has one slot, and is copied to its other places: a gather would copy all of them
        first = slots[columns]
        again = jnp.nonzero(first != everyone, size=n_taken, fill_value=0)[0]
        copy = lambda i, dense: dense.at[again[i]].set(dense[first[again[i]]])  # noqa: E731
        return lax.fori_loop(0, (first != everyone).sum(), copy, dense)

    def rows_at(self, index):
        slots = jnp.full(self.shape[0], len(index), jnp.int32).at[index].set(jnp.arange(len(index), dtype=jnp.int32))
        dense = jnp.zeros((len(index), self.shape[1]), self.dtype)
        dense = dense.at[_read(slots, self.rows), self.columns].add(self.data, mode="drop")
        return dense[slots[index]]  # a row asked for twice has one slot

    def row_squares(self):
        return _product(
            (jnp.square(self.data), self.columns, self.rows), jnp.ones(self.shape[1], self.dtype), self.shape[0], True
        )

    def grouped(self, labels, d, n_groups):
        sums = jnp.zeros((n_groups, self.shape[1]), self.dtype)
        entries, d = (self.data, 1) if d is None else (self.data * _read(d, self.rows), d)
        sums = sums.at[_read(labels, self.rows), self.columns].add(entries)
        return sums, jnp.zeros(n_groups, self.dtype).at[labels].add(d)

    @property
    def entries(self):
        return self.data

    def entries_of(self, u, b):
        u, columns = jnp.asarray(u), b.T

        def products(places: tuple[Array, Array]) -> Array:
            row, column = places
            return (_read(u, row) * _read(columns, column)).sum(1)

        n_entries, n_blocks = self.data.size, _n_blocks(self.data.size * u.shape[1])
        size = -(-n_entries // n_blocks)
        padding = 0, n_blocks * size - n_entries
        places = tuple(jnp.pad(a, padding).reshape(n_blocks, size) for a in (self.rows, self.columns))
        return lax.map(products, places).reshape(-1)[:n_entries]

    def with_entries(self, entries):
        return replace(self, data=entries)

    def location(self):
        return jnp.zeros(self.shape[1], self.dtype)

    def shifted(self, location):
        """Itself: `location` is zero by contract, and any other shift would densify."""
        return self

    def fold(self, lift, query, *rows, merge=None, whole=False):
        return combine(lift(query, self, *filled(rows, self)), self.axis_name, merge)


def _read(values: Array, places: Array) -> Array:
    return jnp.asarray(values).at[places].get(mode=IN_BOUNDS)


def _n_blocks(n_numbers: int) -> int:
    """A power of two, as buckets of entries are multiples of: with a remainder all others are copied, to be read in blocks."""
    return 1 << max(-(-n_numbers // PRODUCT_BLOCK) - 1, 0).bit_length()


Entries = tuple[Array, Array, Array]


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _product(entries: Entries, b: Array, size: int, is_sorted: bool) -> Array:
    """``out[target] += data · b[source]`` for b (m,) or (m, k), of which lanes of `vmap` become further columns.

    Lanes as columns are 2 to 4 times faster than lanes side by side (32 of them), in a fixed amount of memory.
    `custom_vmap` sees to them, and cannot be differentiated: `custom_jvp` does that with the plain product.
    """
    product = jax.custom_batching.custom_vmap(partial(_scatter, size=size, is_sorted=is_sorted))

    @product.def_vmap
    def lanes(axis_size, in_batched, entries, b):
        if any(in_batched[0]):  # other entries in each lane: shards emulated on one device
            in_axes = jax.tree.map(lambda batched: 0 if batched else None, tuple(in_batched))
            return jax.vmap(partial(_scatter, size=size, is_sorted=is_sorted), in_axes)(entries, b), True
        columns = jnp.moveaxis(b, 0, -1)
        out = _product(entries, columns.reshape(columns.shape[0], -1), size, is_sorted)
        return jnp.moveaxis(out.reshape(size, *columns.shape[1:]), -1, 0), True

    return product(entries, b)


@partial(_product.defjvp, symbolic_zeros=True)
def _product_jvp(size, is_sorted, primals, tangents):
    entries, b = primals
    data, source, target = entries
    (data_dot, *_), b_dot = tangents
    moves = [(data_dot, b), (data, b_dot)]
    still = jax.custom_derivatives.SymbolicZero
    parts = [
        _scatter((values, source, target), operand, size, is_sorted)
        for values, operand in moves
        if not isinstance(values, still) and not isinstance(operand, still)
    ]
    return _product(entries, b, size, is_sorted), sum(parts[1:], parts[0])


def _scatter(entries: Entries, b: Array, size: int, is_sorted: bool) -> Array:
    def add(out: Array, entries: Entries) -> tuple[Array, None]:
        data, source, target = entries
        terms = (data if b.ndim == 1 else data[:, None]) * _read(b, source)
        return out.at[target].add(terms, indices_are_sorted=is_sorted, mode=IN_BOUNDS), None

    n_entries, n_columns = entries[0].size, b.size // max(len(b), 1)
    out = jnp.zeros((size, *b.shape[1:]), jnp.result_type(entries[0], b))
    n_blocks = _n_blocks(n_entries * n_columns)
    if n_blocks == 1:
        return add(out, entries)[0]
    body = n_entries // n_blocks * n_blocks
    out, _ = add(out, jax.tree.map(lambda a: a[body:], entries))
    return lax.scan(add, out, jax.tree.map(lambda a: a[:body].reshape(n_blocks, -1), entries))[0]
