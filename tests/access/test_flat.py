"""Rows of an array of the host are read where they lie, wherever that is."""

import jax
import numpy as np
import pytest

from jaxlearn.access.flat import ALIGNMENT, Flat, pieces


def starting_at(n_bytes, rows, dtype):
    """The same rows, that many bytes after a multiple of the alignment."""
    raw = np.zeros(rows.size * np.dtype(dtype).itemsize + 2 * ALIGNMENT, np.uint8)
    first = -raw.ctypes.data % ALIGNMENT + n_bytes
    place = raw[first : first + rows.size * np.dtype(dtype).itemsize].view(dtype).reshape(rows.shape)
    place[:] = rows
    return place


def add(query, X, w):
    return X.rmatvec(w), w.sum()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_bytes", [0, 16, 40])
@pytest.mark.parametrize("n_features", [1, 5, 48])
def test_all_rows_once(n_bytes, n_features, dtype, x64):
    rows = np.random.default_rng(0).standard_normal((1000, n_features)).astype(dtype)
    X, seen, in_place = starting_at(n_bytes, rows, dtype), [], 0
    fold = jax.jit(lambda flat, w: flat.fold(add, None, w))
    for place, flat in pieces(X, 64, 16):
        seen.append(np.arange(1000)[place])
        if flat is None:
            assert len(seen[-1]) <= 64
            continue
        in_place += 1
        assert isinstance(flat, Flat)
        assert X.ctypes.data <= flat.X.unsafe_buffer_pointer() < X.ctypes.data + X.nbytes
        assert flat.shape == (64, n_features)
        assert jax.numpy.array_equal(flat.some(np.array([0, 63])).X, rows[place][[0, 63]])
        assert jax.numpy.array_equal(flat.entries, rows[place])
        w = np.random.default_rng(1).random(64).astype(dtype)
        for shifted, z in ((flat, rows[place]), (flat.shifted(rows[0]), rows[place] - rows[0])):
            sums, weight = fold(shifted, w)
            np.testing.assert_allclose(sums, w @ z, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(weight, w.sum(), rtol=1e-6)
    assert in_place >= 14
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(1000))


@pytest.mark.parametrize("X", [np.ones((100, 4), order="F"), np.ones((100, 4))[::2], np.ones((3, 4))])
def test_what_does_not_lie_in_one_line_is_left_to_be_copied(X):
    parts = list(pieces(X, 16, 16))
    assert all(flat is None for _, flat in parts)
    np.testing.assert_array_equal(np.concatenate([np.arange(len(X))[place] for place, _ in parts]), np.arange(len(X)))
