"""A stream gives what the whole matrix gives: any source, any block size, two buffers, one compiled program."""

from __future__ import annotations

import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.access.dense import Dense
from jaxlearn.access.design import PRESENT
from jaxlearn.access.streamed import _lift, stream


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


def total(_, block, w):
    return w.sum(), block.rmatvec(w)


def join(parts):
    """Not commutative: later rows count more."""
    total = parts[0]
    for part in parts[1:]:
        total = 10 * total + part
    return total


@pytest.mark.parametrize("block_size", [40, 8, 7, 64])
def test_fold_is_that_of_the_whole(block_size, dtype):
    X = matrix(dtype=dtype)
    y = np.random.default_rng(1).random(len(X)).astype(dtype)
    rows = stream(X, block_size=block_size)
    unit = 2 * len(X) * np.finfo(dtype).eps
    for given in (y, jnp.asarray(y)):
        correlation, gram = rows.fold(moments, jnp.asarray(2, dtype), given)
        assert correlation.dtype == gram.dtype == dtype
        X64 = X.astype(np.float64)
        np.testing.assert_array_less(np.abs(correlation - y @ X64), unit * (y @ np.abs(X64)))
        np.testing.assert_array_less(np.abs(gram - 2 * (X64.T * y) @ X64), 2 * unit * (np.abs(X64.T) * y) @ np.abs(X64))
    weight, sums = rows.fold(total, None, PRESENT)
    assert weight == len(X)
    np.testing.assert_allclose(sums, X.sum(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_blocks", [1, 2, 5])
def test_merge_combines_in_order(n_blocks):
    X = matrix()
    rows = stream(X, block_size=len(X) // n_blocks)
    y = np.ones(len(X), np.float32)
    assert rows.fold(top, None, y, merge=keep_top) == Dense(jnp.asarray(X)).fold(top, None, y, merge=keep_top)
    digits = np.repeat(np.arange(1, n_blocks + 1, dtype=np.float32), len(X) // n_blocks)
    assert rows.fold(order, None, digits, merge=join) == int("12345"[:n_blocks])


def sources(tmp_path, X):
    """The same rows from everything that holds some, and whether they can be read twice."""
    np.save(tmp_path / "X.npy", X)
    (tmp_path / "shards").mkdir()
    for i, part in enumerate(np.split(X, [5, 5, 23])):
        np.save(tmp_path / "shards" / f"{i}.npy", part)
    yield X, True
    yield np.asfortranarray(X), True
    yield np.load(tmp_path / "X.npy", mmap_mode="r"), True
    yield np.load(tmp_path / "X.npy", mmap_mode="r")[::-1][::-1], True
    yield tmp_path / "X.npy", True
    yield str(tmp_path / "shards"), True
    yield np.split(X, [5, 23]), True
    yield (lambda: iter(np.split(X, [5, 23]))), True
    yield iter(np.split(X, [5, 23])), False


def test_all_sources_give_the_same_rows(tmp_path):
    X = matrix()
    for source, again in sources(tmp_path, X):
        rows = stream(source, block_size=8)
        assert rows.rereadable == again
        weight, sums = rows.fold(total, None, PRESENT)
        assert weight == len(X)
        np.testing.assert_allclose(sums, X.sum(0), rtol=1e-5, atol=1e-5)
        assert rows.shape == X.shape
        assert (rows.reader.n_passes, rows.reader.bytes_read) == (1, X.nbytes)
        if again:
            np.testing.assert_allclose(rows.matvec(jnp.ones(3)), X.sum(1), rtol=1e-5, atol=1e-5)
            assert (rows.reader.n_passes, rows.reader.bytes_read) == (2, 2 * X.nbytes)
        else:
            with pytest.raises(ValueError, match="An iterator can be read once"):
                rows.fold(total, None, PRESENT)


@pytest.mark.parametrize("stored", [np.float16, ">f4", np.int8, np.uint8, np.int16, np.int64, np.uint32, bool])
def test_what_is_stored_narrowly_is_computed_in_single_precision(stored):
    X = (10 * matrix()).astype(stored)
    rows = stream(X, block_size=16)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows.matvec(jnp.ones(3)), X.astype(np.float64).sum(1), rtol=1e-5)
    assert rows.reader.bytes_read == X.nbytes


def test_one_block_is_read_ahead_and_no_more():
    """A pass holds two buffers: while a block is at work, the next is read."""
    given = []

    def blocks():
        for i, block in enumerate(np.split(matrix(), 5)):
            given.append(i)
            yield block

    rows = stream(blocks, block_size=8)
    given.clear()
    for i, _ in enumerate(rows._parts(moments, jnp.float32(1), np.ones(40, np.float32))):
        time.sleep(0.05)
        assert max(given) == min(i + 1, 4)


def test_a_pass_that_is_left_stops_its_thread():
    before = threading.active_count()
    rows = stream(matrix(), block_size=4)
    parts = rows._parts(total, None, PRESENT)
    next(parts)
    parts.close()
    assert threading.active_count() == before
    weight, _ = rows.fold(total, None, PRESENT)
    assert weight == 40


def test_blocks_share_one_program():
    rows = stream(matrix(37), block_size=8)
    y = jnp.ones(37)
    before = _lift._cache_size()

    def sums(_, block, y):
        return block.rmatvec(y)

    for _ in range(2):
        rows.fold(sums, None, y)
    assert _lift._cache_size() == before + 1


def test_a_shift_reads_no_row():
    X = matrix() + np.float32(1000)
    rows = stream(X, block_size=8)
    location = rows.location()
    first = rows.shifted(location)
    second = first.shifted(jnp.ones(3))
    assert rows.reader.n_passes == 0
    expected = X.astype(np.float64) - np.asarray(location, np.float64) - 1
    np.testing.assert_allclose(second.matvec(jnp.eye(3)), expected, atol=4 * 1000 * np.finfo(np.float32).eps)
    np.testing.assert_allclose(first.location(), 0, atol=8 * 1000 * np.finfo(np.float32).eps)


def test_sums_over_many_blocks_keep_their_digits():
    """In single precision a sum of a million ones and then a million times 1e-3 would lose the latter."""
    X = np.r_[np.full((1, 1), 2.0**24), np.ones((4096, 1))].astype(np.float32)
    _, sums = stream(X, block_size=1).fold(total, None, PRESENT)
    assert float(sums[0]) == 2**24 + 4096


def test_progress_is_reported(capsys):
    seen = []
    stream(matrix(), block_size=16, progress=seen.append).rmatvec(np.ones(40, np.float32))
    assert [(p.n_passes, p.rows, p.n_samples, p.bytes_read) for p in seen] == [
        (1, 16, 40, 192), (1, 32, 40, 384), (1, 40, 40, 480)
    ]  # fmt: skip
    stream(matrix(), block_size=16, progress=True).rmatvec(np.ones(40, np.float32))
    assert "pass 1: 100%, 40 rows" in capsys.readouterr().err


def bad_blocks(**changes):
    blocks = dict(enumerate(np.split(matrix(), 5)))
    for name, block in changes.items():
        blocks[int(name[1:])] = block
    return lambda: iter(blocks.values())


def test_faults_name_the_block(tmp_path):
    y = np.ones(40, np.float32)
    with pytest.raises(ValueError, match=r"Block 2 has shape \(8, 4\); expected \(rows, 3\)"):
        stream(bad_blocks(b2=np.ones((8, 4), np.float32))).rmatvec(y)
    with pytest.raises(ValueError, match="Block 3 has dtype float64; expected float32"):
        stream(bad_blocks(b3=np.ones((8, 3)))).rmatvec(y)
    spoilt = matrix()
    spoilt[13, 1] = np.nan
    with pytest.raises(ValueError, match=r"NaN or infinity: see block 1 \(rows 8 to 15\)"):
        stream(spoilt, block_size=8).rmatvec(y)
    with pytest.raises(ValueError, match="Block 1 has shape"):
        stream([matrix(), matrix(4, 2)])
    with pytest.raises(ValueError, match="yields none"):
        stream(iter(()))
    with pytest.raises(ValueError, match="2D"):
        stream(np.ones(3))
    with pytest.raises(ValueError, match="not a real number"):
        stream(np.ones((3, 2), complex))
    with pytest.raises(FileNotFoundError, match="neither"):
        stream(tmp_path)
    with pytest.raises(TypeError, match="cannot be read from a int"):
        stream(3)
    with pytest.raises(ValueError, match="`block_size` must be at least 1"):
        stream(matrix(), block_size=0)
    with pytest.raises(ValueError, match="got 12 values"):
        stream(matrix(), block_size=8).rmatvec(np.ones(12, np.float32))


def failing():
    yield matrix(8)
    raise OSError("the disk is gone")


def test_an_error_of_the_source_reaches_the_caller():
    with pytest.raises(OSError, match="the disk is gone"):
        stream(failing, block_size=4).fold(total, None, PRESENT)


def test_a_source_that_changed_is_an_error(tmp_path):
    X = matrix()
    y = np.ones(40, np.float32)
    rows = stream(X, block_size=8)
    rows.rmatvec(y)
    X[[17, 18]] = X[[18, 17]]
    with pytest.raises(ValueError, match=r"has changed since it was first read: block 2 \(rows 16 to 23\) differs"):
        rows.rmatvec(y)
    lengths = iter([40, 40, 32, 32])
    shrinking = stream(lambda: iter([matrix()[: next(lengths)]]), block_size=8)
    shrinking.fold(total, None, PRESENT)
    with pytest.raises(ValueError, match="it had 40 rows, pass 2 met 32"):
        shrinking.fold(total, None, PRESENT)
    np.save(tmp_path / "X.npy", X)
    stored = stream(tmp_path / "X.npy", block_size=8)
    stored.rmatvec(y)
    with open(tmp_path / "X.npy", "r+b") as file:
        file.truncate(200)
    with pytest.raises(ValueError, match="is shorter than it was"):
        stored.rmatvec(y)


@pytest.mark.parametrize("stored", [np.float16, np.float32, np.int8, np.int64, ">f4"])
def test_views_of_a_memory_map_are_read_from_the_file(tmp_path, stored):
    X = np.arange(5000 * 7).reshape(5000, 7).astype(stored)
    np.save(tmp_path / "X.npy", X)
    for mode in ("r", "r+", "c"):
        mapped = np.load(tmp_path / "X.npy", mmap_mode=mode)
        for view in (mapped, mapped[3:4777], mapped[::2], mapped[:, 1:], mapped[4990:], mapped[:0]):
            found = [block.rows[: block.n_rows].copy() for block in stream(view, block_size=64).reader.blocks()]
            np.testing.assert_array_equal(np.concatenate(found) if found else view, view)
    mapped[0, 0] = 99  # of a copy on write: the file knows nothing of it
    assert next(stream(mapped, block_size=64).reader.blocks()).rows[0, 0] == 99


def test_the_number_of_rows_may_be_unknown():
    rows = stream(iter(np.split(matrix(), 5)), block_size=8)
    with pytest.raises(ValueError, match="not known before"):
        rows.shape  # noqa: B018


def test_a_compiled_function_refuses_a_stream():
    with pytest.raises(TypeError, match="_Opaque"):
        jax.jit(lambda rows: rows.gram(jnp.ones(40)))(stream(matrix()))
