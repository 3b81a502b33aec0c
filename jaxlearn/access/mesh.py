"""Rows over the devices of a mesh: placing them from the host, and running one program on every shard."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

__all__ = ["row_mesh", "run_sharded", "shard_rows", "with_rows_over"]


def shard_rows(X: Any, y: Any = None, sample_weight: Any = None, *, mesh: Mesh | None = None) -> tuple[Any, Any, Any]:
    """Place rows over the first axis of a mesh.

    Parameters
    ----------
    X : (n_samples, n_features) array
        float64 stays float64 only inside ``jax.enable_x64(True)``, as everywhere in JAX.
    y : (n_samples,) or (n_samples, k) array, optional
        What estimators take as it is: also labels that are no numbers, which stay on the host.
    sample_weight : (n_samples,) array, optional
        One for each row by default.
    mesh : jax.sharding.Mesh, optional
        By default one axis ``"rows"`` over all devices.

    Returns
    -------
    X, y, sample_weight
        With rows repeated to a multiple of the number of shards, at weight zero; `y` is None where none was given. The
        weights belong to the data from here on: without them the added rows would count.

    Examples
    --------
    >>> import numpy as np
    >>> X, y, sample_weight = shard_rows(np.ones((3, 2), np.float32), np.arange(3.0))
    >>> X.shape[0] % len(X.sharding.device_set), float(sample_weight.sum())
    (0, 3.0)
    """
    if mesh is None:
        mesh = Mesh(np.asarray(jax.devices()), ("rows",))
    X = np.asarray(X)
    n_samples, n_shards = X.shape[0], mesh.shape[mesh.axis_names[0]]
    weight = np.ones(n_samples, X.dtype) if sample_weight is None else np.asarray(sample_weight)
    n_rows = -(-n_samples // n_shards) * n_shards
    put = partial(jax.device_put, device=NamedSharding(mesh, P(mesh.axis_names[0])))
    padded = np.pad(weight, (0, n_rows - n_samples))
    y = None if y is None else _repeated(np.asarray(y), n_rows)
    return put(_repeated(X, n_rows)), put(y) if y is not None and y.dtype.kind in "biuf" else y, put(padded)


def _repeated(rows: np.ndarray, n_rows: int) -> np.ndarray:
    return rows if len(rows) == n_rows else rows.take(np.arange(n_rows), axis=0, mode="wrap")


def row_mesh(X: jax.Array) -> tuple[Mesh, str] | None:
    """The mesh of `X` with ``Auto`` axes, and the axis that its rows go over; None on one device.

    ``shard_map`` and the compiler's own partitioning both take ``Auto`` axes, whatever the kind of the caller's mesh.
    """
    sharding = X.sharding
    if not isinstance(sharding, NamedSharding) or sharding.num_devices == 1:
        return None
    spec = sharding.spec
    axis = spec[0] if len(spec) and spec[0] is not None else sharding.mesh.axis_names[0]
    return Mesh(np.asarray(sharding.mesh.devices), sharding.mesh.axis_names), axis if isinstance(axis, str) else axis[0]  # pyright: ignore


def with_rows_over(X: jax.Array, mesh: Mesh, axis: str) -> jax.Array:
    """`X` with its rows split over `axis`; nothing moves where they are so already."""
    n_shards = mesh.shape[axis]
    if X.shape[0] % n_shards:
        raise ValueError(f"{X.shape[0]} rows do not divide over {n_shards} shards: `shard_rows` pads them.")
    return jax.device_put(X, NamedSharding(mesh, P(axis)))


def run_sharded(fn: Callable[..., Any], mesh: Mesh, axis: str, rows: Any, rest: Any) -> Any:
    """``fn(rows, rest, axis_name=axis)`` on every shard, compiled once for each `fn` and `mesh`.

    Parameters
    ----------
    fn : callable
        A module-level function (it is a compilation key) whose result is the same on every shard.
    mesh : Mesh
        With ``Auto`` axes.
    axis : str
        The rows are split over it.
    rows : pytree
        First axis of every leaf: the rows, a multiple of the size of `axis`.
    rest : pytree
        The same everywhere.

    Returns
    -------
    pytree
        Replicated.
    """
    with jax.set_mesh(mesh):
        return _sharded(fn, mesh, axis)(rows, rest)


@cache
def _sharded(fn: Callable[..., Any], mesh: Mesh, axis: str) -> Callable[..., Any]:
    body = partial(fn, axis_name=axis)
    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=(P(axis), P()), out_specs=P(), check_vma=False))
