"""What every model does first: X as a design, and weights that sum to one."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxlearn.access.dense import as_design
from jaxlearn.access.design import Design

__all__ = ["weighted"]


def weighted(X: Any, sample_weight: Any, axis_name: str | None) -> tuple[Design, Array, Array]:
    """Design, weights that sum to one over all rows, and what they summed to; ones by default."""
    design = as_design(X, axis_name)
    n_samples = design.shape[0]
    weight = jnp.ones(n_samples, design.dtype) if sample_weight is None else jnp.asarray(sample_weight, design.dtype)
    if weight.shape != (n_samples,):
        raise ValueError(f"`sample_weight` has shape {weight.shape}; expected ({n_samples},).")
    total = design.fold(_total, None, weight)
    return design, weight / total, total


def _total(_: Any, X: Design, w: Array) -> Array:
    return w.sum()
