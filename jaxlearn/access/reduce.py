"""The global half of a fold: what each shard computed becomes what all shards know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

__all__ = ["combine"]


def combine(local: Any, axis_name: str | None, merge: Callable[[Any], Any] | None = None) -> Any:
    """Reduce `local` over the mapped axis; the same on every shard.

    Parameters
    ----------
    local : pytree
        What the rows at hand contribute.
    axis_name : str or None
        The axis of ``shard_map``, ``pmap`` or ``vmap`` over which the rows lie; None where they are all at hand.
    merge : callable, optional
        Combines contributions stacked on a new first axis; the sum by default.
    """
    if merge is None:
        return local if axis_name is None else lax.psum(local, axis_name)
    if axis_name is None:
        return merge(jax.tree.map(lambda leaf: leaf[None], local))
    return merge(lax.all_gather(local, axis_name))
