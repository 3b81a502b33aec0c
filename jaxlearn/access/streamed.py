"""A dense matrix on the host, read block by block: two blocks are on the device, one at work and one on its way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from .dense import Dense
from .design import Design

__all__ = ["Streamed"]


class _Blocks:
    """A leaf that no JAX transformation takes: a compiled function given a stream is an error, not a copy of it."""

    def __init__(self, blocks: Sequence[Any]):
        self.blocks = blocks

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, i: int) -> Any:
        return self.blocks[i]


class Streamed(Design):
    """Row blocks on the host; every call that reads them is one pass, driven from the host.

    Parameters
    ----------
    blocks : sequence of numpy.ndarray, each (block_size, n_features)
        One common shape: pad the last one, with rows of weight zero. It may be read any number of times, and may
        hold memory maps. No `jit` may take it as an argument.
    offset : Array, (n_features,), optional
        Subtracted from every block on the device.
    """

    serves: ClassVar[frozenset[str]] = frozenset({"fold", "map"})
    on_host: ClassVar[bool] = True

    blocks: _Blocks = eqx.field(converter=_Blocks)
    offset: Array | None = None

    @property
    def shape(self):
        block_size, n_features = self.blocks[0].shape
        return block_size * len(self.blocks), n_features

    @property
    def dtype(self):
        return self.blocks[0].dtype

    def matvec(self, b):
        return jnp.concatenate(list(self._partials(_matvec, b)))

    def rmatvec(self, u):
        return self.fold(_rmatvec, None, u)

    def gram(self, d):
        return self.fold(_gram, None, d)

    def squares(self, d):
        return self.fold(_squares, None, d)

    def location(self):
        """The mean of the first block."""
        mean = jnp.asarray(self.blocks[0]).mean(0)
        return mean if self.offset is None else mean - self.offset

    def shifted(self, location):
        return Streamed(self.blocks.blocks, location if self.offset is None else self.offset + location)

    def fold(self, lift, query, *rows, merge=None):
        total = None
        for part in self._partials(lift, query, *rows):
            if merge is not None:
                total = _merge(merge, (part,) if total is None else (total, part))
            else:
                total = part if total is None else jax.tree.map(jnp.add, total, part)
        return total

    def _partials(self, lift: Any, query: Any, *rows: Array) -> Iterator[Any]:
        """What `lift` makes of each block, in order. The next block is sent before the current one is waited for."""
        block_shape = self.blocks[0].shape
        size = block_shape[0]
        ahead = jax.device_put(self.blocks[0])
        for i in range(len(self.blocks)):
            X = ahead
            if X.shape != block_shape:
                raise ValueError(f"`blocks` must have one shape: expected {block_shape}, got {X.shape} for block {i}.")
            part = _lift(lift, query, X, self.offset, tuple(row[i * size : (i + 1) * size] for row in rows))
            if i + 1 < len(self.blocks):
                ahead = jax.device_put(self.blocks[i + 1])
            del X
            yield jax.block_until_ready(part)


@partial(jax.jit, static_argnames="lift")
def _lift(lift: Any, query: Any, X: Array, offset: Array | None, rows: tuple[Array, ...]) -> Any:
    block = Dense(X)
    return lift(query, block if offset is None else block.shifted(offset), *rows)


@partial(jax.jit, static_argnames="merge")
def _merge(merge: Any, parts: tuple[Any, ...]) -> Any:
    return merge(jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts))


def _matvec(b: Array, block: Design) -> Array:
    return block.matvec(b)


def _rmatvec(_: None, block: Design, u: Array) -> Array:
    return block.rmatvec(u)


def _gram(_: None, block: Design, d: Array) -> Array:
    return block.gram(d)


def _squares(_: None, block: Design, d: Array) -> Array:
    return block.squares(d)
