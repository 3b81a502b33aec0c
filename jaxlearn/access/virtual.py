"""Rows that are made when they are read, on the host or on the device: they stand in for data that no disk holds."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from .reader import Progress, Reader, report
from .source import Source, digest
from .streamed import Streamed, _Opaque

__all__ = ["lowrank", "virtual"]


class Virtual(Source):
    """Blocks that a function makes of their numbers."""

    addressable = True
    n_samples: int

    def __init__(self, generate: Callable[[int], Any], shape: tuple[int, int], block_size: int, dtype: str, name: Any):
        self.generate, (self.n_samples, self.n_features) = generate, shape
        self.block_size, self.dtype, self.name = block_size, np.dtype(dtype), name

    def block(self, i: int) -> Any:
        rows, shape = self.generate(i), (self.block_size, self.n_features)
        if rows.shape != shape or rows.dtype != self.dtype:
            raise ValueError(
                f"Block {i} has shape {rows.shape} and dtype {rows.dtype}; expected {shape} and {self.dtype}."
            )
        return rows

    def head(self, n_rows):
        return self.block(0)[: min(n_rows, self.n_samples)]

    def read(self, first, out):
        while len(out):
            i, at = divmod(first, self.block_size)
            rows = np.asarray(self.block(i))[at : at + len(out)]
            out[: len(rows)] = rows
            first, out = first + len(rows), out[len(rows) :]

    def fingerprint(self):
        named = np.asarray(self.block(0)).tobytes() if self.name is None else self.name
        return digest(self.n_samples, self.n_features, self.block_size, self.dtype.str, named)


class _Made(Reader):
    """Blocks that are made on the device: nothing is read, and the next one is in the making while one is at work."""

    source: Virtual

    def _fetched(self, order: Sequence[int]) -> Generator[tuple[Any, int, int, Any]]:
        following = self._make(order[0])
        for k, i in enumerate(order):
            rows, following = following, self._make(order[k + 1]) if k + 1 < len(order) else None
            yield rows, i, self._n_rows([i]) or 0, None
            del rows  # there are two, never three

    def _make(self, i: int) -> Array:
        rows, n_rows = self.source.block(i), self._n_rows([i]) or 0
        return rows if n_rows == self.block_size else _first(rows, np.int32(n_rows))


def virtual(
    generate: Callable[[Any], Any],
    n_samples: int,
    n_features: int,
    *,
    block_size: int,
    on_device: bool = False,
    dtype: str = "float32",
    name: str | None = None,
    progress: bool | Callable[[Progress], Any] = False,
) -> Streamed:
    """A matrix of which each block of rows is made when it is read.

    Parameters
    ----------
    generate : callable
        From the number of a block to its rows, (block_size, n_features): the same ones each time. What the last block
        has too many is not used.
    n_samples, n_features : int
    block_size : int
        Rows in a block.
    on_device : bool, default=False
        `generate` is a compiled function of an int32, and its rows stay where they are. If not, it returns a NumPy array,
        and is called by the thread that reads.
    dtype : str, default="float32"
        Of the rows.
    name : str, optional
        What the rows are, with the seed that they are made from: what tells them from others in a checkpoint. By default
        the first block does.
    progress : bool or callable, default=False
        As in `stream`.

    Returns
    -------
    Streamed

    Examples
    --------
    >>> X = virtual(lambda i: np.full((4, 3), i, np.float32), 10, 3, block_size=4)
    >>> X.shape, float(X.rmatvec(np.ones(10, np.float32))[0])
    ((10, 3), 8.0)
    """
    made = (lambda i: generate(np.int32(i))) if on_device else generate
    source = Virtual(made, (n_samples, n_features), block_size, dtype, name)
    make = _Made if on_device else Reader
    return Streamed(_Opaque(make(source, block_size, report if progress is True else progress or None)))


def lowrank(
    seed: int,
    n_samples: int,
    n_features: int,
    rank: int,
    noise: float = 1.0,
    *,
    block_size: int,
    on_device: bool = False,
    progress: bool | Callable[[Progress], Any] = False,
) -> Streamed:
    """Factors times loadings, plus noise: ``x = Σ_j s_j u_j v_j + noise · ε``, all of u, v and ε standard normal.

    The strengths s_j fall as ``1 / √(j + 1)``, and their squares sum to one: a feature has about the variance
    ``1 + noise²``.

    Parameters
    ----------
    seed : int
        Below 2**32.
    n_samples, n_features, rank : int
    noise : float, default=1.0
        Standard deviation.
    block_size, on_device, progress
        As in `virtual`. The host and the device make different numbers of one seed, and so do two sizes of blocks.

    Returns
    -------
    Streamed

    Examples
    --------
    >>> X = lowrank(0, 1000, 5, 2, noise=0.0, block_size=256)
    >>> int(np.linalg.matrix_rank(X.gram(np.ones(1000, np.float32)), rtol=1e-4))
    2
    """
    if not 0 <= seed < 1 << 32:
        raise ValueError(f"`seed` must be between 0 and 2**32 - 1, got {seed}.")
    strengths = np.arange(1, rank + 1, dtype=np.float32) ** -0.5
    strengths = strengths / np.sqrt((strengths**2).sum())
    if on_device:
        key = jax.random.key(seed, impl="threefry2x32")
        factors = strengths[:, None] * jax.random.normal(jax.random.fold_in(key, 0), (rank, n_features), jnp.float32)
        generate: Any = partial(_lowrank_on_device, key, factors, np.float32(noise), block_size)
    else:
        loadings = strengths[:, None] * _philox(seed, 0).standard_normal((rank, n_features), np.float32)
        generate = partial(_lowrank_on_host, seed, loadings, np.float32(noise), block_size)
    name = f"lowrank, seed={seed}, rank={rank}, noise={noise}, on_device={on_device}"
    size: Any = {"block_size": block_size, "on_device": on_device, "name": name, "progress": progress}
    return virtual(generate, n_samples, n_features, **size)


def _lowrank_on_host(seed: int, loadings: np.ndarray, noise: Any, block_size: int, i: int) -> np.ndarray:
    random = _philox(seed, i + 1)
    factors = random.standard_normal((block_size, len(loadings)), np.float32)
    rows = random.standard_normal((block_size, loadings.shape[1]), np.float32)
    rows *= noise
    rows += factors @ loadings
    return rows


@partial(jax.jit, static_argnums=3)
def _lowrank_on_device(key: Any, loadings: Array, noise: Any, block_size: int, i: Any) -> Array:
    ours, theirs = jax.random.split(jax.random.fold_in(key, i + 1))
    factors = jax.random.normal(ours, (block_size, loadings.shape[0]), jnp.float32)
    rows = noise * jax.random.normal(theirs, (block_size, loadings.shape[1]), jnp.float32)
    return rows + jnp.matmul(factors, loadings, precision=lax.Precision.HIGHEST)


def _philox(seed: int, which: int) -> np.random.Generator:
    """A stream of its own for each block."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, which], np.uint64)))


@jax.jit
def _first(rows: Array, n_rows: Any) -> Array:
    """Zeros behind the first rows."""
    return jnp.where(jnp.arange(len(rows), dtype=jnp.int32)[:, None] < n_rows, rows, 0)
