"""Nearest neighbours as pure functions: exact, in tiles, inside any compiled program.

A fitted model is the rows themselves. Each query is answered by one fold over them, so that rows may be dense, sparse,
sharded over a mapped axis, or a stream that is read once for all queries of a call.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxlearn.access.dense import as_design
from jaxlearn.access.design import PRESENT, Design
from jaxlearn.access.pairs import BUDGET, Probe, count_within, log_density_sum, nearest
from jaxlearn.access.pairs import kernel_sum as _kernel_sum
from jaxlearn.objectives.distances import Distance
from jaxlearn.objectives.kernels import Density, Kernel

__all__ = ["Neighbors", "count_within_radius", "fit", "kernel_sum", "kneighbors", "log_density", "radius_neighbors"]


class Neighbors(eqx.Module):
    """Rows that neighbours are sought among.

    Attributes
    ----------
    distance : Distance
    design : Design
        Of the rows.
    weight : (n_samples,) or None
        A row of weight zero is not there; None where all are.
    index : int32 (n_samples,)
        What rows are called; by their places, over all shards.
    location : (n_features,) or None
        A point near the rows.
    """

    distance: Distance
    design: Design
    weight: Any
    index: Any
    location: Any

    @property
    def there(self) -> Any:
        """Weights, among the rows of a fold."""
        return PRESENT if self.weight is None else self.weight


def fit(
    distance: Distance,
    X: ArrayLike | Design,
    sample_weight: ArrayLike | None = None,
    index: ArrayLike | None = None,
    *,
    axis_name: str | None = None,
) -> Neighbors:
    """Keep the rows.

    *Reads the data by* fold, for their mean.

    Parameters
    ----------
    distance : Distance
    X : (n_samples, n_features)
    sample_weight : (n_samples,), optional
        A row of weight zero is not there.
    index : int32 (n_samples,), optional
        Ascending names of the rows; needed under an `axis_name`, where a shard does not know its place.
    axis_name : str, optional
        The mapped axis over which the rows lie.

    Returns
    -------
    Neighbors
    """
    design = as_design(X, axis_name)
    if index is None:
        if axis_name is not None:
            raise ValueError("`index` must be given with `axis_name`: a shard does not know what its rows are called.")
        index = jnp.arange(design.shape[0], dtype=jnp.int32)
    location = design.location() if distance.shift_invariant else None
    weight = None if sample_weight is None else jnp.asarray(sample_weight)
    return Neighbors(distance, design, weight, jnp.asarray(index), location)


def kneighbors(fitted: Neighbors, queries: ArrayLike, k: int, *, budget: int = BUDGET) -> tuple[Array, Array]:
    """The k nearest rows of each query.

    *Reads the data by* fold, once.

    *Cost* 2 n m p flops for m queries; memory for the result and `budget` bytes.

    Parameters
    ----------
    fitted : Neighbors
    queries : (m, n_features)
    k : int
        Static. Where fewer rows are there, the distances behind them are infinite.
    budget : int
        Bytes for tiles; static.

    Returns
    -------
    distances : (m, k)
        Ascending, computed from the rows themselves (of sparse rows by products).
    places : int32 (m, k)
        Of equal distances the first row comes first. They have no derivative; the distances have one.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jaxlearn.objectives.distances import Euclidean
    >>> fitted = fit(Euclidean(), jnp.asarray([[0.0], [3.0], [1.0]]))
    >>> distances, places = kneighbors(fitted, jnp.asarray([[1.5]]), 2)
    >>> distances.tolist(), places.tolist()
    ([[0.5, 1.5]], [[2, 0]])
    """
    ranks, places = nearest(fitted.design, _probe(fitted, queries, k=k, budget=budget), fitted.there, fitted.index)
    return fitted.distance.distance(ranks), places


def count_within_radius(fitted: Neighbors, queries: ArrayLike, radius: ArrayLike, *, budget: int = BUDGET) -> Array:
    """How many rows lie within a radius, or so near to it that rounding errors leave it open: int32 (m,).

    What `max_neighbors` of `radius_neighbors` must be. Parameters are as there.
    """
    reach = fitted.distance.rank_of(jnp.asarray(radius, fitted.design.dtype))
    return count_within(fitted.design, _probe(fitted, queries, reach=reach, budget=budget), fitted.there)


def radius_neighbors(
    fitted: Neighbors, queries: ArrayLike, radius: ArrayLike, max_neighbors: int, *, budget: int = BUDGET
) -> tuple[Array, Array, Array]:
    """The rows within a radius of each query, at most `max_neighbors` of them, the nearest.

    *Reads the data by* fold, once.

    Parameters
    ----------
    fitted : Neighbors
    queries : (m, n_features)
    radius : float or (m,)
        Rows at this distance belong to it.
    max_neighbors : int
        Static.
    budget : int
        Bytes for tiles; static.

    Returns
    -------
    distances : (m, max_neighbors)
        Ascending; infinite where no row is.
    places : int32 (m, max_neighbors)
        −1 where no row is.
    counts : int32 (m,)
        Rows that were found. Where this is `max_neighbors` there may be more.
    """
    distances, places = kneighbors(fitted, queries, max_neighbors, budget=budget)
    within = distances <= jnp.broadcast_to(jnp.asarray(radius, distances.dtype), len(distances))[:, None]
    distances, places = jnp.where(within, distances, jnp.inf), jnp.where(within, places, -1)
    return distances, places, within.sum(1, dtype=jnp.int32)


def log_density(fitted: Neighbors, queries: ArrayLike, density: Density, bandwidth: ArrayLike) -> Array:
    """Logarithm of a kernel density estimate, (m,), as if the distance were Euclidean.

    *Reads the data by* fold, once.

    Parameters
    ----------
    fitted : Neighbors
        With its weights.
    queries : (m, n_features)
    density : Density
        One of `jaxlearn.objectives.kernels.DENSITIES`.
    bandwidth : float
        Positive.
    """
    design, dtype = fitted.design, fitted.design.dtype
    bandwidth = jnp.asarray(bandwidth, dtype)
    total = design.fold(_total, None, fitted.there)
    sums = log_density_sum(design, _probe(fitted, queries), density, bandwidth, fitted.there)
    scale = density.log_integral(design.n_features) + design.n_features * jnp.log(bandwidth)
    return sums - jnp.log(total) - jnp.asarray(scale, dtype)


def kernel_sum(kernel: Kernel, X: ArrayLike | Design, queries: ArrayLike, values: ArrayLike) -> Array:
    """``Σ_i k(x_i, y) v_i`` for each query y, in tiles: the matrix of kernels is never held, nor for gradients.

    *Reads the data by* fold, once.

    Parameters
    ----------
    kernel : Kernel
    X : (n_samples, n_features)
    queries : (m, n_features)
    values : (n_samples,) or (n_samples, k)

    Returns
    -------
    (m,) or (m, k)

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jaxlearn.objectives.kernels import RBF
    >>> X = jnp.asarray([[0.0], [1.0]])
    >>> float(kernel_sum(RBF(1.0), X, jnp.zeros((1, 1)), jnp.ones(2))[0])
    1.3678794
    """
    design = as_design(X)
    return _kernel_sum(design, kernel, jnp.asarray(queries, design.dtype), values)


def _probe(fitted: Neighbors, queries: ArrayLike, **options: Any) -> Probe:
    return Probe(fitted.distance, jnp.asarray(queries, fitted.design.dtype), fitted.location, **options)


def _total(_: None, block: Design, weight: Array) -> Array:
    return weight.sum()
