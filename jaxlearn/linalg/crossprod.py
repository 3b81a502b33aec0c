"""The products ``Aᵀ B`` and ``Xᵀ d X`` of some rows, in the forms that take a CPU least time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax

__all__ = ["crossprod", "of_upper", "upper_gram"]

# Rows of doubles that are transposed before they are multiplied: XLA takes twice as long to do both at once on a CPU.
SHORT = 2048
# A symmetric product is made in at most so many rows of blocks, of at least so many columns.
PARTS, NARROWEST = 4, 100
HIGHEST = lax.Precision.HIGHEST


def crossprod(a: Array, b: Array) -> Array:
    """``Aᵀ B`` for A (n, p) and B (n, q)."""
    if a.dtype.itemsize == 8 and len(a) <= SHORT and jax.default_backend() == "cpu":
        # the barrier keeps the transposition out of the product
        return jnp.matmul(lax.optimization_barrier(a.T), b, precision=HIGHEST)
    return jnp.einsum("np,nq->pq", a, b, precision=HIGHEST)


def upper_gram(X: Array, d: Array) -> tuple[Array, ...]:
    """``Xᵀ d X`` for X (n, p) and d (n,), from its diagonal on: rows of blocks, of which `of_upper` makes the whole.

    Five of eight products for four rows of blocks; sums of them are sums of Gram matrices.
    """
    p = X.shape[1]
    n_parts = min(max(p // NARROWEST, 1), PARTS)
    cuts = [i * p // n_parts for i in range(n_parts + 1)]
    weighted = X * d[:, None]
    return tuple(crossprod(weighted[:, a:b], X[:, a:]) for a, b in zip(cuts, cuts[1:], strict=False))


def of_upper(parts: tuple[Array, ...]) -> Array:
    """The symmetric matrix of the rows of blocks of `upper_gram`."""
    p = parts[0].shape[1]
    first = [p - part.shape[1] for part in parts]

    def row(i: int) -> Array:
        here = slice(first[i], first[i] + len(parts[i]))
        below = [part[:, here.start - at : here.stop - at].T for part, at in zip(parts[:i], first, strict=False)]
        return jnp.concatenate([*below, parts[i]], axis=1)

    return jnp.concatenate([row(i) for i in range(len(parts))])
