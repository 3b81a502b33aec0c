"""Means of classes as a pure function: what a nearest-centroid classifier keeps."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxlearn.access.dense import Dense, as_design
from jaxlearn.access.design import PRESENT, Design

__all__ = ["Centroids", "fit"]


class Centroids(NamedTuple):
    """Moments of classes.

    Attributes
    ----------
    means : (n_classes, n_features)
    counts : (n_classes,)
        Sums of weights.
    mean : (n_features,)
        Of all rows.
    within : (n_features,)
        Sum of the squared deviations of all rows from the means of their classes.
    """

    means: Array
    counts: Array
    mean: Array
    within: Array


def fit(
    X: ArrayLike | Design,
    codes: Array,
    n_classes: int,
    sample_weight: Array | None = None,
    *,
    axis_name: str | None = None,
) -> Centroids:
    """Means of classes, and what rows deviate from them.

    *Reads the data by* fold, twice.

    *Cost per step* 2 n p n_classes flops.

    Parameters
    ----------
    X : (n_samples, n_features)
    codes : int (n_samples,)
        Classes by their numbers.
    n_classes : int
        Static.
    sample_weight : (n_samples,), optional
    axis_name : str, optional
        The mapped axis over which the rows lie.

    Returns
    -------
    Centroids
    """
    design = as_design(X, axis_name)
    weight: Any = PRESENT if sample_weight is None else sample_weight
    location = design.location()
    sums, counts = design.fold(_sums, (jnp.arange(n_classes, dtype=jnp.int32), location), codes, weight)
    means = location[None] + sums / counts[:, None]
    mean = location + sums.sum(0) / counts.sum()
    return Centroids(means, counts, mean, design.fold(_deviations, means, codes, weight))


def _sums(query: tuple[Array, Array], block: Design, codes: Array, weight: Array) -> tuple[Array, Array]:
    classes, location = query
    member = (codes[:, None] == classes[None]).astype(block.dtype) * weight[:, None]
    return block.shifted(location).rmatvec(member).T, member.sum(0)


def _deviations(means: Array, block: Design, codes: Array, weight: Array) -> Array:
    if isinstance(block, Dense):
        return weight @ jnp.square(block.entries - means[codes])
    member = (codes[:, None] == jnp.arange(len(means))[None]).astype(block.dtype) * weight[:, None]
    return jnp.maximum(block.squares(weight) - (member.sum(0)[:, None] * jnp.square(means)).sum(0), 0)
