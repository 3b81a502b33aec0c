"""The product ``Aᵀ B`` of short arrays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax

__all__ = ["SHORT", "crossprod"]

# Rows of doubles that are transposed before they are multiplied: XLA takes twice as long to do both at once on a CPU.
SHORT = 2048
HIGHEST = lax.Precision.HIGHEST


def crossprod(a: Array, b: Array) -> Array:
    """``Aᵀ B`` for A (n, p) and B (n, q)."""
    if a.dtype.itemsize == 8 and len(a) <= SHORT and jax.default_backend() == "cpu":
        # the barrier keeps the transposition out of the product
        return jnp.matmul(lax.optimization_barrier(a.T), b, precision=HIGHEST)
    return jnp.einsum("np,nq->pq", a, b, precision=HIGHEST)
