"""Blocks in any order, by number; what a source is, what it is multiplied by, and how many rows it has."""

from __future__ import annotations

import os
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.access.reader import Reader
from jaxlearn.access.source import Arrays, Blocks, Permuted, open_source
from jaxlearn.access.streamed import stream
from jaxlearn.access.tiles import write_tiles

N, P, SIZE = 43, 3, 8  # six blocks, the last one of three rows


def matrix(dtype=np.float32):
    return (100 * np.random.default_rng(0).normal(size=(N, P))).astype(dtype)


def taken(reader, order=None):
    """Number, first row and rows of each block."""
    return [(b.first // reader.block_size, b.first, b.rows[: b.n_rows].copy()) for b in reader.blocks(order)]


def check(blocks, order, X, size=SIZE):
    assert [i for i, *_ in blocks] == list(order)
    for i, first, rows in blocks:
        assert first == i * size
        np.testing.assert_array_equal(rows, X[first : first + size])


def addressable(tmp_path, X):
    np.save(tmp_path / "X.npy", X)
    (tmp_path / "shards").mkdir()
    for i, part in enumerate(np.split(X, [5, 5, 23])):
        np.save(tmp_path / "shards" / f"{i}.npy", part)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    return X, np.asfortranarray(X), np.split(X, [5, 5, 23]), tmp_path / "X.npy", tmp_path / "shards", mapped[::-1][::-1]


ORDERS = [range(6), range(2, 6), range(5, -1, -1), [5, 0, 3], [1], np.array([4, 4, 2]), []]


@pytest.mark.parametrize("dtype", [np.float32, ">f4", np.int8, np.int64])
def test_addressable_sources_are_read_in_any_order(tmp_path, dtype):
    X = matrix(dtype)
    for rows in addressable(tmp_path, X):
        reader = Reader(open_source(rows), SIZE)
        assert reader.source.addressable
        assert reader.n_blocks == 6
        for order in ORDERS:
            check(taken(reader, order), order, X)
        check(taken(reader), range(6), X)


def test_the_last_block_ends_in_zeros_wherever_it_comes():
    reader = Reader(open_source(matrix() + 1000), SIZE)
    seen = [(block.n_rows, (block.rows[block.n_rows :] == 0).all()) for block in reader.blocks([5, 1, 5])]
    assert seen == [(3, True), (8, True), (3, True)]


@pytest.mark.parametrize("order", [[6], [-1], range(3, 7), [0, 1, 9]])
def test_a_block_that_is_not_there_is_refused(order):
    for rows in (matrix(), lambda: iter([matrix()])):
        reader = Reader(open_source(rows), SIZE)
        reader.n_samples = N
        with pytest.raises(ValueError, match="numbered 0 to 5"):
            taken(reader, order)
        assert reader.n_passes == 0
    with pytest.raises(TypeError):
        taken(reader, [0.5])


@pytest.mark.parametrize("cuts", [[], [5, 5, 23], [8, 16, 24, 32, 40], [40]])
def test_an_iterator_skips_what_is_before(cuts):
    X = matrix()
    reader = Reader(Blocks(lambda: iter(np.split(X, cuts))), SIZE)
    assert reader.n_blocks is None
    for start in (3, 0, 5, 6):
        check(taken(reader, range(start, sys.maxsize)), range(start, 6), X)
        assert reader.n_samples == N
        reader.n_samples = None
    reader.n_samples = N
    check(taken(reader, [2, 3, 4, 5]), range(2, 6), X)
    assert taken(reader, range(6, 6)) == []


@pytest.mark.parametrize("order", [[0, 2, 3, 4, 5], range(5, -1, -1), [5, 4], [1, 1], range(3), range(0, 6, 5)])
def test_an_iterator_refuses_another_order(order):
    reader = Reader(Blocks(lambda: iter([matrix()])), SIZE)
    taken(reader)
    with pytest.raises(ValueError, match="An iterator gives its blocks in turn"):
        taken(reader, order)


def test_a_run_of_unknown_length_goes_to_the_end():
    once = Reader(Blocks(iter([matrix()])), SIZE)
    with pytest.raises(ValueError, match="goes on behind block 3"):
        taken(once, range(4))
    with pytest.raises(ValueError, match="can be read once"):
        taken(once)
    with pytest.raises(ValueError, match="begins at block 7, and the source ends after 43 rows"):
        taken(Reader(Blocks(lambda: iter([matrix()])), SIZE), [7])


def test_rows_are_counted_of_a_pass_in_part():
    """What is skipped is not dealt with, and the number of all rows is right all the same."""
    seen = []
    for rows in (matrix(), lambda: iter(np.split(matrix(), [5, 23]))):
        reader = Reader(open_source(rows), SIZE, seen.append)
        taken(reader, range(4, 6) if reader.source.addressable else range(4, sys.maxsize))
        assert reader.n_samples == N
        assert reader.bytes_read == (N - 32) * P * 4
        assert (seen[-2].rows, seen[-1].rows) == (8, 11)
        assert seen[-1].n_samples == (11 if reader.source.addressable else None)
        taken(reader)
        assert (seen[-1].rows, seen[-1].n_samples, seen[-1].n_passes) == (N, N, 2)
    taken(Reader(open_source(matrix()), SIZE, seen.append), [5, 2, 5])
    assert (seen[-1].rows, seen[-1].n_samples) == (14, 14)


def test_a_change_is_seen_in_whatever_order_blocks_come():
    X = matrix()
    reader = Reader(open_source(X), SIZE)
    taken(reader, [4, 1])
    taken(reader, [1, 2, 4])
    X[17] += 1
    taken(reader, [1, 4, 3])
    with pytest.raises(ValueError, match=r"block 2 \(rows 16 to 23\) differs"):
        taken(reader, [4, 2])


def test_a_pass_that_is_left_leaves_no_thread():
    before = threading.active_count()
    for rows in (matrix(), lambda: iter(np.split(matrix(), 1))):
        blocks = Reader(open_source(rows), SIZE).blocks()
        next(blocks)
        blocks.close()
    assert threading.active_count() == before


def test_a_file_is_read_into_the_buffer_itself(tmp_path, monkeypatch):
    """One system call for a block of a file, whatever the order, and for each file that a block is a part of."""
    reads, preadv = [], os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, views, at: reads.append(len(views[0])) or preadv(file, views, at))
    *_, one, many, _ = addressable(tmp_path, matrix())
    taken(Reader(open_source(one), SIZE), [5, 0, 2])
    assert reads == [3 * P * 4, 8 * P * 4, 8 * P * 4]
    reads.clear()
    taken(Reader(open_source(many), SIZE), [2, 0])
    assert reads == [7 * P * 4, P * 4, 5 * P * 4, 3 * P * 4]


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system drops nothing on demand")
@pytest.mark.parametrize("fits", [True, False])
def test_what_the_cache_cannot_hold_is_dropped_as_it_is_read(tmp_path, monkeypatch, fits):
    X = np.random.default_rng(0).standard_normal((1000, 24)).astype(np.float32)
    np.save(tmp_path / "rows.npy", X)
    write_tiles(X, tmp_path / "tiles", dtype="float32", tile_rows=256)
    memory = 4096 * (2 * X.nbytes // 4096 + 1)
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": memory // 4096 if fits else 1}
    dropped = []
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    monkeypatch.setattr(os, "posix_fadvise", lambda file, at, n_bytes, advice: dropped.append((n_bytes, advice)))
    for name in ("rows.npy", "tiles"):
        dropped.clear()
        rows = sum(block.n_rows for block in Reader(open_source(tmp_path / name), 100).blocks())
        assert rows == len(X)
        assert sum(n_bytes for n_bytes, _ in dropped) == (0 if fits else X.nbytes)
        assert all(advice == os.POSIX_FADV_DONTNEED for _, advice in dropped)


def test_what_was_changed_in_a_copy_on_write_stays(tmp_path):
    """The pages of a map are given back after reading, but those that a user has written are not on the disk."""
    np.save(tmp_path / "X.npy", np.zeros((20000, 7), np.float32))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="c")
    mapped[:] = 5
    for view in (mapped, np.asarray(mapped)[1:], mapped[::2]):
        assert all((block.rows[: block.n_rows] == 5).all() for block in Reader(open_source(view), 64).blocks())
    assert (mapped == 5).all()


@pytest.mark.parametrize("dtype", [np.float32, ">f4", np.float16, np.int64, bool])
def test_permuted_rows(tmp_path, dtype):
    X = matrix(dtype)
    order = np.random.default_rng(1).permutation(N)
    for rows in addressable(tmp_path, X):
        for permutation in (order, order[:5], np.repeat(order, 2)):
            source = Permuted(rows, permutation)
            assert source.n_samples == len(permutation)
            np.testing.assert_array_equal(source.head(4), X[permutation[:4]])
            reader = Reader(source, SIZE)
            check(taken(reader), range(reader.n_blocks), X[permutation])
            check(taken(reader, [reader.n_blocks - 1, 0]), [reader.n_blocks - 1, 0], X[permutation])
    twice = Permuted(Permuted(X, order), order)
    check(taken(Reader(twice, SIZE)), range(6), X[order[order]])
    meant = X[order].astype(np.float64)
    sums = stream(Permuted(X, order), block_size=SIZE).matvec(jnp.ones(P))
    np.testing.assert_array_less(np.abs(sums - meant.sum(1)), P * np.finfo(np.float32).eps * (np.abs(meant).sum(1) + 1))


def test_permutations_are_checked():
    with pytest.raises(ValueError, match="in its own order"):
        Permuted(iter([matrix()]), np.arange(3))
    for wrong in (np.array([0, N]), np.array([-1, 0])):
        with pytest.raises(ValueError, match=f"numbers of {N} rows"):
            Permuted(matrix(), wrong)
    for wrong in (np.ones(3), np.ones((2, 2), int)):
        with pytest.raises(ValueError, match="1D array of row numbers"):
            Permuted(matrix(), wrong)


class Multiplied(Arrays):
    """Stored numbers, and what they are multiplied by."""

    def __init__(self, X, scale):
        super().__init__([X])
        self.scale = scale


@pytest.mark.parametrize("stored", [np.int8, np.float16, np.float32, np.float64])
def test_a_scale_is_applied_on_the_device(stored):
    """In folds, maps, heads and shifts; what travels is as stored."""
    X, scale = matrix(stored), np.array([0.5, 3.0, 1e-3], np.float32)
    with jax.enable_x64(stored == np.float64):
        rows = stream(Multiplied(X, scale), block_size=SIZE)
        assert rows.reader.dtype == stored
        assert rows.dtype == (np.float64 if stored == np.float64 else np.float32)
        meant = X.astype(np.float64) * scale
        unit = 8 * np.finfo(rows.dtype).eps
        np.testing.assert_allclose(rows.head().X, meant[:SIZE], rtol=unit)
        np.testing.assert_allclose(rows.matvec(jnp.eye(P)), meant, rtol=unit)
        location = rows.location()
        np.testing.assert_allclose(location, meant[:SIZE].mean(0), rtol=0, atol=unit * np.abs(meant).max())
        shifted = rows.shifted(location)
        for found in (shifted.matvec(jnp.eye(P))[:SIZE], shifted.head().X):
            expected = meant[:SIZE] - np.asarray(location)
            np.testing.assert_allclose(found, expected, rtol=0, atol=unit * np.abs(meant).max())
        gram = shifted.gram(np.ones(N, rows.dtype))
        centred = meant - np.asarray(location)
        np.testing.assert_allclose(gram, centred.T @ centred, rtol=0, atol=N * unit * np.abs(centred).max() ** 2)
        assert rows.reader.bytes_read == 3 * X.nbytes


def test_a_fingerprint_is_that_of_the_content(tmp_path):
    X = matrix()
    prints = {}
    for i, rows in enumerate(addressable(tmp_path, X)):
        prints[i] = open_source(rows).fingerprint()
        assert prints[i] == open_source(rows).fingerprint()
    assert prints[0] == prints[1] == open_source(X.copy()).fingerprint()  # in memory, wherever
    assert len({prints[0], prints[2], prints[3], prints[4]}) == 4
    changed = X.copy()
    changed[N // 2, 1] += 1
    for other in (changed, X[:-1], X[:, :-1], X.astype(np.float64), X.view(np.int32)):
        assert open_source(other).fingerprint() != prints[0]
    order = np.arange(N)
    assert (
        Permuted(X, order).fingerprint() == Permuted(X, order).fingerprint() != Permuted(X, order[::-1]).fingerprint()
    )


def test_a_fingerprint_of_a_file_tells_when_it_was_written(tmp_path):
    path = tmp_path / "X.npy"
    np.save(path, matrix())
    os.utime(path, ns=(10**18, 10**18))
    first = open_source(path).fingerprint()
    mapped = np.load(path, mmap_mode="r")
    assert open_source(mapped).fingerprint() == first
    assert len({open_source(view).fingerprint() for view in (mapped, mapped[1:], mapped[:-1], mapped[::2])}) == 4
    np.save(path, matrix() + 1)
    os.utime(path, ns=(10**18, 10**18 + 1))
    assert open_source(path).fingerprint() != first
    os.utime(path, ns=(10**18, 10**18))
    assert open_source(path).fingerprint() == first


def test_a_fingerprint_of_an_iterator_is_that_of_its_first_block():
    parts = np.split(matrix(), [5, 23])
    first = open_source(iter(parts)).fingerprint()
    assert open_source(lambda: iter(parts)).fingerprint() == first
    assert open_source(iter(parts[1:])).fingerprint() != first
    reader = Reader(open_source(iter(parts)), SIZE)
    taken(reader)
    assert reader.source.fingerprint() == first


@pytest.mark.parametrize("n_files", [1, 300])
def test_a_large_array_has_a_fingerprint_at_once(n_files):
    """Of what is in memory a sample is looked at."""
    source = Arrays([np.broadcast_to(np.float32(1), (10**6, 10**4))] * n_files)
    assert len(source.fingerprint()) == 16
