"""Random projections: matrices that keep distances, drawn without a look at the data.

``‖R x‖² ≈ ‖x‖²`` for a matrix R (k, p) with independent entries of mean zero and variance 1/k.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.dense import as_design
from jaxlearn.access.design import Design

__all__ = ["gaussian", "sparse_sign", "transform"]


def gaussian(key: Array, n_components: int, n_features: int, dtype: Any = jnp.float32) -> Array:
    """Entries from ``N(0, 1 / k)``.

    Parameters
    ----------
    key : PRNG key
    n_components, n_features : int
        k and p.
    dtype : dtype

    Returns
    -------
    (k, p)
    """
    return jax.random.normal(key, (n_components, n_features), dtype) / jnp.sqrt(jnp.asarray(n_components, dtype))


def sparse_sign(key: Array, n_components: int, n_features: int, density: ArrayLike, dtype: Any = jnp.float32) -> Array:
    """Entries ``±√(1 / (density k))`` with probability density / 2 each, else zero; dense, for use inside a program.

    Parameters
    ----------
    key : PRNG key
    n_components, n_features : int
        k and p.
    density : float
        Between 0 and 1; ``1 / √p`` is recommended.
    dtype : dtype

    Returns
    -------
    (k, p)

    References
    ----------
    Li, Hastie and Church, "Very sparse random projections", KDD 2006.
    """
    uniform = jax.random.uniform(key, (n_components, n_features), dtype)
    density = jnp.asarray(density, dtype)
    signs = jnp.where(uniform < density / 2, -1, jnp.where(uniform < density, 1, 0)).astype(dtype)
    return signs / jnp.sqrt(density * n_components)


def transform(components: Array, X: ArrayLike | Design) -> Array:
    """``X Rᵀ``, (n_samples, k)."""
    design = as_design(X)
    return design.matvec(lax.transpose(components, (1, 0)))
