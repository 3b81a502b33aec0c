"""A dense matrix on devices. The forms of its products are chosen by measurement, here and nowhere else."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from .design import Design
from .reduce import combine

__all__ = ["Dense", "as_design"]

HIGHEST = lax.Precision.HIGHEST


class Dense(Design):
    """A ``jax.Array`` (n_samples, n_features), whole or this device's rows of it.

    Parameters
    ----------
    X : Array
        Rows at hand. Under ``jit`` a sharded array is partitioned by the compiler.
    axis_name : str, optional
        The mapped axis (of ``shard_map``, ``pmap`` or ``vmap``) over which the remaining rows lie; folds are summed
        over it.
    """

    X: Array
    axis_name: str | None = eqx.field(static=True, default=None)

    @property
    def shape(self):
        return self.X.shape

    @property
    def dtype(self):
        return self.X.dtype

    def matvec(self, b):
        return jnp.matmul(self.X, b, precision=HIGHEST)

    def rmatvec(self, u):
        # on a CPU `X.T @ u` copies X transposed at every call, `u @ X` does not; for several columns they are equal
        if u.ndim == 1:
            return jnp.matmul(u, self.X, precision=HIGHEST)
        return jnp.einsum("np,nk->pk", self.X, u, precision=HIGHEST)

    def gram(self, d):
        # One weighted copy of X. Row blocks would save it, cost 15 %, and make the compiler gather a sharded X.
        return jnp.einsum("np,nq->pq", self.X * d[:, None], self.X, precision=HIGHEST)

    def squares(self, d):
        return (d[:, None] * jnp.square(self.X)).sum(0)

    def take(self, columns):
        return self.X[:, columns].T

    def location(self):
        total, count = self.fold(_column_sums, None)
        return total / count

    def shifted(self, location):
        return Dense(self.X - location[None], self.axis_name)

    def fold(self, lift, query, *rows, merge=None):
        return combine(lift(query, self, *rows), self.axis_name, merge)


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
