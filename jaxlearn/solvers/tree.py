"""Pytree arithmetic."""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["where"]

Tree = TypeVar("Tree")


def where(condition: Array, yes: Tree, no: Tree) -> Tree:
    """``yes`` if `condition` else ``no``, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
