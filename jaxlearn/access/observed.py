"""Rows of a matrix of which some entries are observed: pieces of equal length, in batches that a compiled loop maps over.

Rows differ in length by orders of magnitude. Each is cut into pieces of a few entries; a batch holds so many pieces, of whole
rows, and sums over the entries of a row are sums over its pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

__all__ = ["Batch", "Observed"]


class Batch(NamedTuple):
    """Some rows, while they are mapped over.

    Attributes
    ----------
    features : (n_pieces, width, K)
        Of the columns of the observed entries; zeros where there is none.
    values : (n_pieces, width)
        Zero where there is none.
    columns : (n_pieces, width) of int32
    rows : (n_rows,) of int32
    owner : (n_pieces,) of int32
        The place among `rows` of the row of each piece.
    """

    features: Array
    values: Array
    columns: Array
    rows: Array
    owner: Array

    def sum_by_row(self, of_pieces: Array) -> Array:
        """Sums over the pieces of each row, (n_rows, ...)."""
        n_rows = len(self.rows)
        return jax.ops.segment_sum(of_pieces, self.owner, n_rows + 1, indices_are_sorted=True)[:n_rows]


class Observed(eqx.Module):
    """Observed entries; build it on the host with `jaxlearn.access.packing.pack`.

    Parameters
    ----------
    values : (n_batches, n_pieces, width)
        Zero where a piece is not full.
    columns : (n_batches, n_pieces, width) of int32
        ``n_columns`` where there is none.
    owner : (n_batches, n_pieces) of int32
        The place in `rows` of the row of each piece; beyond the end where there is none.
    rows : (n_batches, batch_rows) of int32
        ``n_rows`` where there is none. Rows without entries are in no batch.
    counts : (n_rows,)
        Entries of each row.
    n_filled : int32 scalar
        Batches that hold anything.
    n_columns : int
    """

    values: Array
    columns: Array
    owner: Array
    rows: Array
    counts: Array
    n_filled: Array
    n_columns: int = eqx.field(static=True)

    @property
    def n_rows(self) -> int:
        """Rows, padding included."""
        return len(self.counts)

    def map(self, of_batch: Callable[[Batch], Array], features: Array, width: int) -> Array:
        """One output row per row: ``of_batch(batch)`` (batch_rows, width) for rows with entries, zeros for others.

        Parameters
        ----------
        of_batch : callable
        features : (n_columns, K)
            Of each column, which a batch gathers for its entries.
        width : int

        Returns
        -------
        (n_rows, width)
        """
        features = jnp.pad(features, ((0, 1), (0, 0)))  # the last one is that of no column

        def add(i: Array, out: Array) -> Array:
            values, columns, owner, rows = (
                lax.dynamic_index_in_dim(a, i, keepdims=False)
                for a in (self.values, self.columns, self.owner, self.rows)
            )
            batch = Batch(features.at[columns].get(mode="promise_in_bounds"), values, columns, rows, owner)
            return out.at[rows].set(of_batch(batch), mode="drop")

        return lax.fori_loop(0, self.n_filled, add, jnp.zeros((self.n_rows, width), self.values.dtype))
