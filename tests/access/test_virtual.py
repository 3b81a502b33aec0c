"""Rows that no disk holds: made block by block, the same ones each time, on the host or on the device."""

from __future__ import annotations

import threading
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.access.virtual import lowrank, virtual
from jaxlearn.decomposition import PCA

SHAPE, SIZE = (70, 5), 16  # five blocks, the last one of six rows


def on_host(i):
    return np.random.Generator(np.random.Philox(key=[7, i])).standard_normal((SIZE, SHAPE[1]), np.float32)


@jax.jit
def on_device(i):
    return jax.random.normal(jax.random.fold_in(jax.random.key(7), i), (SIZE, SHAPE[1]), jnp.float32)


MATRICES = {
    "host": lambda **kw: virtual(on_host, *SHAPE, block_size=SIZE, **kw),
    "device": lambda **kw: virtual(on_device, *SHAPE, block_size=SIZE, on_device=True, **kw),
    "lowrank on the host": lambda **kw: lowrank(3, *SHAPE, 2, 0.1, block_size=SIZE, **kw),
    "lowrank on the device": lambda **kw: lowrank(3, *SHAPE, 2, 0.1, block_size=SIZE, on_device=True, **kw),
}


@pytest.fixture(params=MATRICES)
def made(request):
    return MATRICES[request.param]


def rows_of(X, order=None):
    return {block.first: np.array(block.rows) for block in X.reader.blocks(order)}


def test_the_same_rows_in_each_pass_and_in_any_order(made):
    X, again = made(), made()
    first = rows_of(X)
    assert list(first) == [0, 16, 32, 48, 64]
    assert (first[64][6:] == 0).all()
    for other in (rows_of(X), rows_of(X, [3, 0, 4, 1, 2]), rows_of(again)):
        for at, rows in first.items():
            np.testing.assert_array_equal(other[at], rows)
    with jax.enable_x64(True):
        for at, rows in rows_of(X).items():
            np.testing.assert_array_equal(first[at], rows)
    assert len({rows.tobytes() for rows in first.values()}) == 5


def test_a_fold_is_that_of_the_rows(made):
    X = made()
    whole = np.concatenate(list(rows_of(X).values()))[: SHAPE[0]].astype(np.float64)
    assert X.shape == SHAPE
    unit = 4 * SHAPE[0] * np.finfo(np.float32).eps
    np.testing.assert_allclose(X.gram(np.ones(70, np.float32)), whole.T @ whole, atol=unit * (whole**2).sum(0).max())
    np.testing.assert_allclose(X.matvec(jnp.eye(5)), whole, rtol=0, atol=8 * np.finfo(np.float32).eps)
    location = X.location()
    np.testing.assert_allclose(location, whole[:SIZE].mean(0), atol=unit * np.abs(whole).max())
    np.testing.assert_allclose(
        X.shifted(location).head().X, whole[:SIZE] - np.asarray(location), atol=unit * np.abs(whole).max()
    )


def test_rows_are_read_wherever_they_begin(made):
    """As a source is, by what knows nothing of its blocks."""
    X = made()
    whole = np.concatenate(list(rows_of(X).values()))[: SHAPE[0]]
    out = np.empty((37, 5), np.float32)
    X.reader.source.read(11, out)
    np.testing.assert_array_equal(out, whole[11:48])
    np.testing.assert_array_equal(X.reader.source.head(100), whole[:SIZE])


def test_rows_of_a_device_stay_there():
    """No thread reads, no host memory is filled; the next block is in the making, and there is no third."""
    alive, asked = [], []

    def watched(i):
        asked.append(int(i))
        rows = on_device(i)
        alive.append(sum(a.shape == (SIZE, SHAPE[1]) and not a.is_deleted() for a in jax.live_arrays()))
        return rows

    X = virtual(watched, *SHAPE, block_size=SIZE, on_device=True)
    before = threading.active_count()
    for k, block in enumerate(X.reader.blocks()):
        assert isinstance(block.rows, jax.Array)
        assert threading.active_count() == before
        assert asked == list(range(min(k + 2, 5)))
        del block
    asked.clear()
    alive.clear()
    X.rmatvec(np.ones(70, np.float32))
    assert asked == [0, 1, 2, 3, 4]
    assert max(alive) == 2


def test_a_block_of_another_shape_is_an_error():
    for generate, device in ((lambda i: np.zeros((SIZE, 4), np.float32), False), (lambda i: jnp.zeros((3, 5)), True)):
        X = virtual(generate, *SHAPE, block_size=SIZE, on_device=device)
        with pytest.raises(ValueError, match=r"Block 0 has shape \(\d+, \d\) and dtype float32; expected \(16, 5\)"):
            rows_of(X)
    with pytest.raises(ValueError, match="dtype float64; expected"):
        rows_of(virtual(lambda i: np.zeros((SIZE, 5)), *SHAPE, block_size=SIZE))
    with pytest.raises(ValueError, match="`seed` must be between"):
        lowrank(-1, *SHAPE, 2, block_size=SIZE)


def test_progress_is_reported(made):
    seen = []
    rows_of(made(progress=seen.append))
    assert [p.rows for p in seen] == [16, 32, 48, 64, 70]


def test_fingerprints_tell_the_seed():
    prints = [X().reader.source.fingerprint() for X in MATRICES.values()]
    assert prints == [X().reader.source.fingerprint() for X in MATRICES.values()]
    for seed, shape, size in ((4, SHAPE, SIZE), (3, (71, 5), SIZE), (3, SHAPE, SIZE + 1)):
        prints.append(lowrank(seed, *shape, 2, 0.1, block_size=size).reader.source.fingerprint())
    for name in ("a", "b"):
        prints.append(virtual(on_host, *SHAPE, block_size=SIZE, name=name).reader.source.fingerprint())
    assert len(set(prints)) == 9


@pytest.mark.parametrize("device", [False, True])
def test_low_rank_rows_have_the_variance_that_is_said(device):
    """Of n rows a variance is known to √(2/n); eight times that is out of reach of chance."""
    n, p, rank, noise = 20000, 40, 3, 0.5
    X = lowrank(0, n, p, rank, noise, block_size=2048, on_device=device)
    values = np.linalg.eigvalsh(np.asarray(X.gram(np.ones(n, np.float32)), np.float64) / n)[::-1]
    assert abs(values[rank:].mean() / noise**2 - 1) < 8 * np.sqrt(2 / (n * (p - rank))) + 2 * rank / n
    assert values[rank] < 1.1 * noise**2 < values[rank - 1] / 4
    assert values[0] > values[1] > values[2]


@pytest.mark.parametrize("device", [False, True])
def test_components_of_a_virtual_matrix(device):
    X = lowrank(1, 3000, 30, 3, 0.1, block_size=512, on_device=device)
    whole = np.concatenate(list(rows_of(X).values()))[:3000]
    ours, exact = PCA(3, svd_solver="covariance_eigh").fit(X), PCA(3, svd_solver="full").fit(whole)
    tolerance = 8 * np.sqrt(3000) * np.finfo(np.float32).eps
    np.testing.assert_allclose(ours.explained_variance_, exact.explained_variance_, rtol=tolerance)


def test_one_program_serves_all_blocks(count_compiles):
    X = virtual(jax.jit(partial(jnp.full, (SIZE, 5), dtype=jnp.float32)), *SHAPE, block_size=SIZE, on_device=True)
    X.rmatvec(np.ones(70, np.float32))
    with count_compiles() as compiled:
        X.rmatvec(np.ones(70, np.float32))
    assert compiled.count == 0, compiled.names
