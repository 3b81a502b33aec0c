"""Tiles hold every row and every column once, in a random order, and are refused where they are not whole."""

from __future__ import annotations

import itertools
import json

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.access import Tiles, stream, write_tiles
from jaxlearn.access import tiles as tiling
from jaxlearn.access.source import open_source
from jaxlearn.access.virtual import lowrank
from jaxlearn.decomposition import PCA

N, P, ROWS = 203, 11, 32  # seven tiles, the last one of eleven rows


def matrix(dtype=np.float32):
    return (10 * np.random.default_rng(0).normal(size=(N, P))).astype(dtype)


def stored(tiles):
    """What the stored numbers stand for."""
    out = np.empty((tiles.n_samples, tiles.n_features), tiles.dtype)
    tiles.read(0, out)
    return out.astype(np.float64) * (1 if tiles.scale is None else tiles.scale.astype(np.float64))


def error(tiles, X):
    """The largest one, in units of what rounding may do."""
    X = X.astype(np.float64)[tiles.rows][:, tiles.columns]
    scale = np.ones((1, P)) if tiles.scale is None else tiles.scale[None].astype(np.float64)
    unit = {"float32": 0 * X, "float16": np.maximum(np.abs(X) * 2.0**-11, scale * 2.0**-25), "int8": scale / 2}[
        tiles.dtype.name
    ]
    return (np.abs(stored(tiles) - X) - unit * (1 + 1e-5)).max()


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def sources(tmp_path, X):
    np.save(tmp_path / "X.npy", X)
    yield "memory", X
    yield "memory in parts", np.split(X, [5, 5, 60])
    yield "file", tmp_path / "X.npy"
    yield "iterator", lambda: iter(np.split(X, [5, 60]))
    yield "stream", stream(X, block_size=7)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("permute", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_every_row_once(tmp_path, dtype, shuffle, permute):
    """From whatever source, and by whatever way, the same bytes; what is read is what was stored."""
    X, found = matrix(), []
    for name, source in sources(tmp_path, X):
        tiles = write_tiles(source, tmp_path / name, dtype=dtype, tile_rows=ROWS, shuffle=shuffle, permute=permute)
        tiles.verify()
        assert (tiles.n_samples, tiles.n_features, tiles.dtype) == (N, P, np.dtype(dtype))
        assert sorted(tiles.rows) == list(range(N))
        assert sorted(tiles.columns) == list(range(P))
        assert (list(tiles.rows) != list(range(N))) == shuffle
        assert (list(tiles.columns) != list(range(P))) == permute
        assert error(tiles, X) <= 0
        found.append({name: raw for name, raw in contents(tmp_path / name).items() if name.endswith(".npy")})
    assert all(other == found[0] for other in found)
    assert len(found[0]) == 7 + (dtype == "int8")
    np.testing.assert_array_equal(np.load(tmp_path / "file" / "tile-000006.npy").shape, (N - 6 * ROWS, P))


@pytest.mark.parametrize("given", [np.float64, np.int8, np.int64, np.uint16, bool, ">f4", np.float16])
def test_numbers_of_any_kind(tmp_path, given):
    X = matrix(given)
    for dtype in ("float32", "float16", "int8"):
        assert error(write_tiles(X, tmp_path / dtype, dtype=dtype, tile_rows=ROWS), X) <= 1e-6


def test_the_number_of_passes(tmp_path):
    """One, and another only where the largest number of each column must be known, or the number of rows."""
    X, passes = matrix(), []

    def count(source, **options):
        seen = []
        write_tiles(source, tmp_path / f"{len(passes)}", tile_rows=ROWS, progress=seen.append, **options)
        passes.append(sum(p.rows == N for p in seen))
        return passes[-1]

    np.save(tmp_path / "X.npy", X)
    assert count(X) == 1  # each of them the tiles themselves
    assert count(X, dtype="int8") == 2
    assert count(tmp_path / "X.npy") == 2  # and what is set aside, which is no pass over X
    assert count(tmp_path / "X.npy", dtype="int8") == 3
    assert count(tmp_path / "X.npy", shuffle=False) == 1
    assert count(lambda: iter([X])) == 3
    assert count(iter([X]), shuffle=False) == 1
    for name, options in (("a", {}), ("b", {"dtype": "int8", "shuffle": False})):
        with pytest.raises(ValueError, match="An iterator can be read once"):
            write_tiles(iter([X]), tmp_path / name, **options)


def test_long_rows_of_a_file_are_gathered(tmp_path, monkeypatch):
    """They are read one by one, and nothing is set aside."""
    X = matrix()
    np.save(tmp_path / "X.npy", X)
    short = write_tiles(tmp_path / "X.npy", tmp_path / "short", tile_rows=ROWS)
    monkeypatch.setattr("jaxlearn.access.source.ROW_BYTES", 4 * P)
    monkeypatch.setattr(tiling, "Scratch", None)
    long = write_tiles(tmp_path / "X.npy", tmp_path / "long", tile_rows=ROWS)
    assert short.manifest["sha256"] == long.manifest["sha256"]


def test_orders_are_uniform():
    """Where a row goes says nothing of where it was: correlations have variance 1/n, and all places are as likely."""
    n = 20000
    for seed, which in itertools.product(range(3), range(2)):
        order = tiling.permutation(n, seed, which)
        assert sorted(order) == list(range(n))
        for other in (np.arange(n), tiling.permutation(n, seed + 1, which), tiling.permutation(n, seed, 1 - which)):
            assert abs(np.corrcoef(order, other)[0, 1]) < 6 / np.sqrt(n)
        assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 6 / np.sqrt(n)
    small, times = 6, 4000
    places = np.stack([tiling.permutation(small, seed, 0) for seed in range(times)])
    counts = np.stack([np.bincount(places[:, i], minlength=small) for i in range(small)])
    chi2 = ((counts - times / small) ** 2 / (times / small)).sum()
    assert chi2 < 80  # 25 degrees of freedom: beyond it once in ten million


def test_orders_are_those_of_every_version():
    """The bytes of a finished folder must mean the same to the next version."""
    np.testing.assert_array_equal(tiling.permutation(10, 0, 0), [0, 2, 9, 1, 8, 5, 4, 3, 6, 7])


def test_neighbours_are_a_random_sample(tmp_path):
    """Sorted rows, stored: each tile has the mean of all, as nearly as chance allows."""
    X = np.sort(np.random.default_rng(0).normal(size=(4000, 1)).astype(np.float32), axis=0)
    means = [rows.mean() for rows in np.split(stored(write_tiles(X, tmp_path / "t", tile_rows=400)), 10)]
    assert np.abs(means).max() < 5 / np.sqrt(400)
    assert np.std(means) > 0.2 / np.sqrt(400)


def test_tiles_are_a_source(tmp_path):
    """Read in blocks of any size and order, and opened by the name of the folder."""
    X = matrix()
    tiles = write_tiles(X, tmp_path / "t", dtype="float32", tile_rows=ROWS)
    meant = X[tiles.rows][:, tiles.columns]
    for given in (tiles, tmp_path / "t", str(tmp_path / "t")):
        for size in (ROWS, 7, N, 1000):
            reader = stream(given, block_size=size).reader
            for order in (None, list(range(reader.n_blocks))[::-1]):
                for block in reader.blocks(order):
                    np.testing.assert_array_equal(block.rows[: block.n_rows], meant[block.first :][:size])
    np.testing.assert_array_equal(open_source(tmp_path / "t").head(40), meant[:40])
    assert tiles.addressable
    assert not tiles.by_row
    again = write_tiles(tiles, tmp_path / "again", dtype="float32", tile_rows=50, seed=9)
    np.testing.assert_array_equal(stored(again), meant[again.rows][:, again.columns])


def test_a_scale_travels_with_the_tiles(tmp_path):
    """From int8 to the fit, and from int8 tiles to others."""
    X = matrix() * np.logspace(-3, 3, P, dtype=np.float32)
    tiles = write_tiles(X, tmp_path / "t", dtype="int8", tile_rows=ROWS)
    meant = stored(tiles)
    rows = stream(tiles, block_size=50)
    assert rows.reader.dtype == np.int8
    unit = 4 * np.finfo(np.float32).eps * np.abs(meant).max(0)
    assert (np.abs(rows.matvec(jnp.eye(P)) - meant) <= unit).all()
    again = write_tiles(tiles, tmp_path / "again", dtype="float32", tile_rows=50, shuffle=False, permute=False)
    assert (np.abs(stored(again) - meant) <= unit).all()
    np.testing.assert_array_equal(tiles.unpermute(tiles.columns), np.arange(P))
    components = np.random.default_rng(0).normal(size=(2, 3, P))
    np.testing.assert_array_equal(tiles.unpermute(components)[..., tiles.columns], components)


@pytest.mark.parametrize("dtype", ["int8", "float16"])
def test_components_of_tiles_are_near_those_of_the_floats(tmp_path, dtype):
    """Singular values move by no more than the norm of what rounding did (Weyl), and far less than by all of it."""
    X = (
        np.random.default_rng(1).normal(size=(400, 4))
        @ np.random.default_rng(2).normal(size=(4, 20))
        * 30 ** np.arange(20)
    )
    X = (X / np.abs(X).max(0) + 0.05 * np.random.default_rng(3).normal(size=X.shape)).astype(np.float32)
    tiles = write_tiles(X, tmp_path / "t", dtype=dtype, tile_rows=ROWS)
    whole = PCA(4, svd_solver="covariance_eigh").fit(X)
    ours = PCA(4, svd_solver="covariance_eigh").fit(stream(tiles, block_size=50))
    noise = stored(tiles) - X[tiles.rows][:, tiles.columns]
    moved = np.linalg.norm(noise, 2) + 1e-5 * whole.singular_values_[0]
    assert np.abs(ours.singular_values_ - whole.singular_values_).max() <= moved
    angles = np.linalg.svd(tiles.unpermute(ours.components_) @ whole.components_.T)[1]
    gap = whole.singular_values_[-1] - np.sqrt(399 * whole.noise_variance_) - moved
    assert gap > 0
    assert np.sqrt(1 - min(1, angles.min()) ** 2) <= np.sqrt(2) * moved / gap + 1e-3
    np.testing.assert_allclose(tiles.unpermute(ours.mean_), X.mean(0), atol=np.abs(noise).max() + 1e-5)


def test_float16_has_a_scale_where_it_needs_one(tmp_path):
    """Powers of two for what would overflow or lose bits; none for what fits, zeros and all."""
    X = matrix()
    X[:, 3] = 0
    assert write_tiles(X, tmp_path / "plain", tile_rows=ROWS).scale is None
    wide = X * np.logspace(-30, 30, P, dtype=np.float32)
    tiles = write_tiles(wide, tmp_path / "wide", tile_rows=ROWS)
    assert (np.frexp(tiles.scale)[0] == 0.5).all()
    assert error(tiles, wide) <= 0
    assert 0.5 <= np.abs(wide[:ROWS][:, tiles.columns] / tiles.scale).max(0)[tiles.columns != 3].min() < 1
    huge = np.full((4, 1), np.finfo(np.float32).max)
    np.testing.assert_allclose(stored(write_tiles(huge, tmp_path / "huge")), huge, rtol=2**-11)


def test_numbers_that_turn_out_to_be_too_large_are_read_again(tmp_path):
    """The first rows do not show them: another pass looks at all."""
    X = matrix()
    X[N - 3, 2] = 1e7
    for name, source in sources(tmp_path, X):
        for shuffle in (True, False):
            tiles = write_tiles(source, tmp_path / f"{name} {shuffle}", tile_rows=ROWS, shuffle=shuffle)
            assert error(tiles, X) <= 0
            assert tiles.scale.max() == 2.0 ** (24 - 15)
            assert np.abs(stored(tiles) / tiles.scale).max() < 2**15
    with pytest.raises(ValueError, match="An iterator can be read once"):
        write_tiles(iter([X]), tmp_path / "once", tile_rows=ROWS, shuffle=False)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_numbers_that_are_not_finite_are_named(tmp_path, dtype, value):
    X = matrix(np.float64)
    X[[70, 150]] = value
    for name, source in sources(tmp_path, X):
        folder = tmp_path / name
        with pytest.raises(ValueError, match=r"NaN, infinity or a value too large for float32: see .*rows (70|150)"):
            write_tiles(source, folder, dtype=dtype, tile_rows=ROWS)
        with pytest.raises(ValueError, match="are not finished"):
            Tiles(folder)
    with pytest.raises(ValueError, match=r"see block 2 \(rows 64 to 95\), rows 70\."):
        write_tiles(X, tmp_path / "in turn", dtype=dtype, tile_rows=ROWS, shuffle=False)


def stop_at(monkeypatch, n_tiles):
    """The disk is full when so many tiles are written."""
    real, written = tiling._Writer._store_tile, itertools.count()

    def store(self, block, rows):
        if next(written) == n_tiles:
            raise OSError(28, "No space left on device")
        real(self, block, rows)

    monkeypatch.setattr(tiling._Writer, "_store_tile", store)


@pytest.mark.parametrize("way", ["memory", "file", "iterator"])
def test_a_full_disk_loses_nothing(tmp_path, monkeypatch, way):
    source, folder = dict(sources(tmp_path, matrix()))[way], tmp_path / "t"
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(OSError, match="No space left"):
            write_tiles(source, folder, tile_rows=ROWS)
    with pytest.raises(ValueError, match="are not finished"):
        open_source(folder)
    seen = []
    tiles = write_tiles(source, folder, tile_rows=ROWS, progress=seen.append)
    assert len(seen) == 4  # the tiles that were missing, and nothing was read that was set aside
    assert error(tiles, matrix()) <= 0


def test_what_was_begun_is_not_mixed_with_something_else(tmp_path, monkeypatch):
    X, folder = matrix(), tmp_path / "t"
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(OSError, match="No space left"):
            write_tiles(X, folder, tile_rows=ROWS)
    half = contents(folder)
    changes = {"seed": 1, "dtype": "int8", "tile_rows": ROWS + 1, "shuffle": False, "permute": False}

    def refused():
        for name, value in changes.items():
            with pytest.raises(ValueError, match=f"is another: `{name}` was .* and is {json.dumps(value)}"):
                write_tiles(X, folder, **{"tile_rows": ROWS, name: value})
        with pytest.raises(ValueError, match='`source` was "[0-9a-f]{16}" and is'):
            write_tiles(X + 1, folder, tile_rows=ROWS)

    refused()
    assert contents(folder) == half
    write_tiles(X, folder, tile_rows=ROWS)
    whole = contents(folder)
    refused()
    monkeypatch.setattr(tiling, "Reader", None)
    write_tiles(X, folder, tile_rows=ROWS)  # which reads nothing
    assert contents(folder) == whole
    monkeypatch.undo()
    other = write_tiles(X + 1, folder, tile_rows=2 * ROWS, dtype="float32", resume=False)
    assert error(other, X + 1) <= 0
    assert sorted(contents(folder)) == [*(f"tile-{i:06d}.npy" for i in range(4)), "tiles.json"]


def test_a_source_that_changes_while_it_is_read_is_an_error(tmp_path):
    X = matrix()

    def grow(progress):
        X[:] *= 1000

    for dtype, options in (("float32", {}), ("int8", {}), ("int8", {"shuffle": False})):
        X[:] = matrix()
        with pytest.raises(ValueError, match="The source has changed"):
            write_tiles(X, tmp_path / f"{dtype} {options}", dtype=dtype, tile_rows=ROWS, progress=grow, **options)


def test_folders_that_are_not_whole(tmp_path):
    X, folder = matrix(), tmp_path / "t"
    with pytest.raises(FileNotFoundError, match="holds no tiles"):
        Tiles(folder)
    (tmp_path / "full").mkdir()
    np.save(tmp_path / "full" / "mine.npy", X)
    with pytest.raises(ValueError, match="is not empty, and holds no tiles"):
        write_tiles(X, tmp_path / "full")
    write_tiles(X, folder, dtype="int8", tile_rows=ROWS)
    whole = contents(folder)

    def spoil(name, raw):
        (folder / name).write_bytes(raw)

    def mended():
        for name, raw in whole.items():
            spoil(name, raw)

    for name in ("tile-000000.npy", "tile-000006.npy"):
        for raw in (whole[name][:-1], whole[name] + b"x", b""):
            spoil(name, raw)
            with pytest.raises(ValueError, match=f"{name}' is missing or torn: it has {len(raw)} bytes instead of"):
                open_source(folder)
        (folder / name).unlink()
        with pytest.raises(ValueError, match=f"{name}' is missing or torn"):
            open_source(folder)
        mended()
    for raw in (whole["tiles.json"][:-9], b"", b"[]", b"{}", b"\xff"):
        spoil("tiles.json", raw)
        with pytest.raises(ValueError, match=r"tiles.json' is torn"):
            open_source(folder)
    mended()
    for raw in (whole["scale.npy"][:-1], b""):
        spoil("scale.npy", raw)
        with pytest.raises(ValueError, match=r"scale.npy' is missing or torn"):
            open_source(folder)
    mended()
    spoil("tiles.json", whole["tiles.json"].replace(b'"format": 1', b'"format": 2'))
    with pytest.raises(ValueError, match="has format 2; this version of jaxlearn reads 1"):
        open_source(folder)
    mended()
    tiles = Tiles(folder)
    raw = bytearray(whole["tile-000003.npy"])
    raw[-5] ^= 1
    spoil("tile-000003.npy", bytes(raw))
    with pytest.raises(ValueError, match="tile-000003.npy' is not what was written"):
        tiles.verify()
    (folder / "tile-000003.npy").write_bytes(whole["tile-000003.npy"][:-40])
    with pytest.raises(ValueError, match="a file is shorter than it was"):
        tiles.read(0, np.empty((N, P), np.int8))


def test_parameters_are_checked(tmp_path):
    X = matrix()
    for options, message in (
        ({"dtype": "float64"}, "`dtype` must be one of int8, float16, float32"),
        ({"seed": -1}, "`seed` must be between"),
        ({"tile_rows": 0}, "`tile_rows` must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            write_tiles(X, tmp_path / "t", **options)
    for empty in (X[:0], X[:, :0]):
        with pytest.raises(ValueError, match="there is nothing to store"):
            write_tiles(empty, tmp_path / "t")
    with pytest.raises(ValueError, match="a stream with an offset"):
        write_tiles(stream(X).shifted(jnp.ones(P)), tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_fingerprints_are_those_of_the_manifest(tmp_path):
    X = matrix()
    first = write_tiles(X, tmp_path / "a", tile_rows=ROWS)
    assert write_tiles(X, tmp_path / "b", tile_rows=ROWS).fingerprint() == first.fingerprint()
    assert write_tiles(X, tmp_path / "c", tile_rows=ROWS, seed=1).fingerprint() != first.fingerprint()


def test_progress_is_written(tmp_path, capsys):
    write_tiles(matrix(), tmp_path / "t", tile_rows=ROWS, progress=True)
    assert "pass 1: 100%, 203 rows" in capsys.readouterr().err


def test_virtual_rows_are_stored(tmp_path):
    for device in (False, True):
        X = lowrank(0, 100, 7, 2, block_size=16, on_device=device)
        whole = np.concatenate([np.array(block.rows[: block.n_rows]) for block in X.reader.blocks()])
        tiles = write_tiles(X, tmp_path / f"{device}", dtype="float32", tile_rows=24)
        np.testing.assert_array_equal(stored(tiles), whole[tiles.rows][:, tiles.columns])
