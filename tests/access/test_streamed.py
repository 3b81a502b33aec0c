"""A stream gives what the whole matrix gives, one pass and two blocks at a time, in one compiled program."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.access.dense import Dense
from jaxlearn.access.streamed import Streamed, _lift


class Blocks:
    """Blocks that count how often each was read."""

    def __init__(self, blocks):
        self.blocks, self.reads = blocks, []

    def __len__(self):
        return len(self.blocks)

    def __getitem__(self, i):
        self.reads.append(i)
        return self.blocks[i]


def matrix(n_samples=40, n_features=3, dtype=np.float32):
    return np.random.default_rng(0).normal(size=(n_samples, n_features)).astype(dtype)


def moments(query, block, y):
    return block.rmatvec(y), query * block.gram(y)


def top(_, block, y):
    return (y * block.matvec(jnp.ones(block.shape[1], block.dtype))).max(keepdims=True)


def keep_top(parts):
    return parts.max(0)


def order(_, block, y):
    return y[:1]


def join(parts):
    """Not commutative: later rows count more."""
    total = parts[0]
    for part in parts[1:]:
        total = 10 * total + part
    return total


@pytest.mark.parametrize("n_blocks", [1, 2, 5])
def test_fold_is_that_of_the_whole(n_blocks, dtype):
    X = matrix(dtype=dtype)
    y = np.random.default_rng(1).random(len(X)).astype(dtype)
    stream = Streamed(np.split(X, n_blocks))
    unit = 2 * len(X) * np.finfo(dtype).eps
    for rows in (y, jnp.asarray(y)):
        correlation, gram = stream.fold(moments, jnp.asarray(2, dtype), rows)
        assert correlation.dtype == gram.dtype == dtype
        X64 = X.astype(np.float64)
        np.testing.assert_array_less(np.abs(correlation - y @ X64), unit * (y @ np.abs(X64)))
        np.testing.assert_array_less(np.abs(gram - 2 * (X64.T * y) @ X64), 2 * unit * (np.abs(X64.T) * y) @ np.abs(X64))


@pytest.mark.parametrize("n_blocks", [1, 2, 5])
def test_merge_combines_in_order(n_blocks):
    X = matrix()
    stream = Streamed(np.split(X, n_blocks))
    y = np.ones(len(X), np.float32)
    assert stream.fold(top, None, y, merge=keep_top) == Dense(jnp.asarray(X)).fold(top, None, y, merge=keep_top)
    digits = np.repeat(np.arange(1, n_blocks + 1, dtype=np.float32), len(X) // n_blocks)
    assert stream.fold(order, None, digits, merge=join) == int("12345"[:n_blocks])


def test_each_pass_reads_each_block_once_and_one_ahead():
    source = Blocks(np.split(matrix(), 4))
    stream = Streamed(source)
    stream.dtype, stream.shape  # noqa: B018
    source.reads.clear()
    parts = stream._partials(moments, jnp.float32(1), np.ones(40, np.float32))
    source.reads.clear()
    for i, _ in enumerate(parts):
        assert max(source.reads) == min(i + 1, 3)
    assert sorted(set(source.reads)) == [0, 1, 2, 3]
    assert source.reads[2:] == [1, 2, 3]  # the first is asked for its shape, and then read


def test_blocks_share_one_program():
    stream = Streamed(np.split(matrix(), 4))
    y = jnp.ones(40)
    before = _lift._cache_size()
    for _ in range(2):
        stream.fold(moments, jnp.float32(1), y)
    assert _lift._cache_size() == before + 1


def test_a_shift_copies_no_block():
    source = Blocks(np.split(matrix() + np.float32(1000), 4))
    stream = Streamed(source)
    first = stream.shifted(stream.location())
    source.reads.clear()
    second = first.shifted(jnp.ones(3))
    assert not source.reads
    expected = matrix().astype(np.float64) + 1000 - np.asarray(stream.location(), np.float64) - 1
    np.testing.assert_allclose(second.matvec(jnp.eye(3)), expected, atol=4 * 1000 * np.finfo(np.float32).eps)
    np.testing.assert_allclose(first.location(), 0, atol=8 * 1000 * np.finfo(np.float32).eps)


def test_rows_of_weight_zero_are_not_there():
    X = matrix(37)
    w = np.random.default_rng(1).random(40).astype(np.float32)
    w[37:] = 0
    padded = np.vstack([X, np.full((3, 3), 7, np.float32)])
    found = Streamed(np.split(padded, 4)).gram(w)
    np.testing.assert_allclose(found, Dense(jnp.asarray(X)).gram(w[:37]), rtol=40 * np.finfo(np.float32).eps, atol=1e-5)


def test_memory_maps_are_read_in_place(tmp_path):
    X = matrix()
    np.save(tmp_path / "X.npy", X)
    stream = Streamed(np.split(np.load(tmp_path / "X.npy", mmap_mode="r"), 4))
    np.testing.assert_allclose(stream.matvec(jnp.ones(3)), X.sum(1), rtol=1e-5, atol=1e-5)


def test_blocks_of_two_shapes_are_refused():
    X = matrix()
    with pytest.raises(ValueError, match=r"expected \(30, 3\), got \(10, 3\) for block 1"):
        Streamed([X[:30], X[30:]]).rmatvec(jnp.ones(40))


def test_a_compiled_function_refuses_a_stream():
    stream = Streamed(np.split(matrix(), 4))
    with pytest.raises(TypeError, match="_Blocks"):
        jax.jit(lambda stream: stream.gram(jnp.ones(40)))(stream)
