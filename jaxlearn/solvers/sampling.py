"""Random rows: by weight, and in batches that visit each row once."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["Batches", "by_weight"]


def by_weight(weight: Array, size: int, key: Array) -> tuple[Array, Array]:
    """`size` rows drawn by their weights, one from each of as many strata of equal weight.

    Parameters
    ----------
    weight : (n,)
        ≥ 0. A row of weight zero is never drawn.
    size : int
    key : PRNG key

    Returns
    -------
    index : int (size,)
        A row may be drawn twice.
    weight : (size,)
        Of each: sums over the draw estimate those over all rows, without bias.
    """
    up_to = jnp.cumsum(weight)
    share = (jnp.arange(size, dtype=weight.dtype) + jax.random.uniform(key, (size,), weight.dtype)) / size
    index = jnp.searchsorted(up_to, share * up_to[-1], side="right")
    last = jnp.searchsorted(
        up_to, up_to[-1]
    )  # with a weight: a share may be rounded to one, and those behind have none
    return jnp.minimum(index, last), jnp.full(size, up_to[-1] / size, weight.dtype)


class Batches(eqx.Module):
    """An epoch of batches, each with a row of every one of `size` strata of neighbouring rows.

    Rows are not shuffled, which would take a sort: each stratum is walked through from a place of its own, round and
    round, and where the first stratum begins is random too. So each row of a batch is uniform over all rows, a batch of
    rows that lie ordered by their targets has all targets, and no row is met twice in an epoch.

    Attributes
    ----------
    origin, starts : int32 scalar, (size,)
        Where the first stratum begins, and where in each stratum the walk begins.
    n_samples, size : int
    """

    origin: Array
    starts: Array
    n_samples: int = eqx.field(static=True)
    size: int = eqx.field(static=True)

    @classmethod
    def draw(cls, n_samples: int, size: int, key: Array) -> Batches:
        """Of `size` rows, at most all; a pure function of the key."""
        size = min(size, n_samples)
        first, second = jax.random.split(key)
        origin = jax.random.randint(first, (), 0, n_samples, jnp.int32)
        return cls(origin, jax.random.randint(second, (size,), 0, n_samples // size, jnp.int32), n_samples, size)

    @property
    def count(self) -> int:
        """Batches in an epoch. Up to ``size − 1`` rows, other ones in each epoch, are in none."""
        return self.n_samples // self.size

    def __getitem__(self, i: Array | int) -> Array:
        """Rows of batch i, (size,)."""
        stratum = jnp.arange(self.size, dtype=jnp.int32) * self.count
        return (self.origin + stratum + (self.starts + i) % self.count) % self.n_samples
