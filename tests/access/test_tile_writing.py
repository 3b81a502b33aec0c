"""Tiles are written in little memory, and a write that is cut short at any call of the system ends in the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tracemalloc

import numpy as np
import pytest

from jaxlearn.access import quantize as quantizing
from jaxlearn.access import write_tiles

CRASHES = """
import os, sys, pathlib, shutil
import numpy as np
from jaxlearn.access import tiles, write_tiles

tiles.SYNC_BYTES = 700  # what is set aside is sure after every other block
root, dtype = pathlib.Path(sys.argv[1]), sys.argv[2]
X = np.random.default_rng(0).normal(size=(61, 5)).astype(np.float32)
if dtype == "float16":
    X[57, 1] = 1e6  # too large for the scale that the first rows suggest
np.save(root / "X.npy", X)

ways = {
    "set aside": (root / "X.npy", True),
    "gathered": (X, True),
    "in turn": (root / "X.npy", False),
    "iterator": (lambda: iter(np.split(X, [7, 30])), True),
    "iterator in turn": (lambda: iter(np.split(X, [7, 30])), False),
}

def write(folder, way, k=None, half=False):
    source, shuffle = ways[way]
    child = os.fork()
    if not child:
        if k is not None:
            count = iter(range(10**9))
            def shim(name, real):
                def call(*args, **options):
                    if next(count) == k:
                        if half and name in ("write", "pwrite"):
                            real(args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
                        os._exit(9)
                    return real(*args, **options)
                return call
            for name in ("open", "write", "pwrite", "fsync", "replace", "unlink", "ftruncate", "posix_fallocate"):
                setattr(os, name, shim(name, getattr(os, name)))
        write_tiles(source, folder, dtype=dtype, tile_rows=16, shuffle=shuffle)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}

for way in ways:
    whole = root / way
    assert write(whole, way) == 0
    expected = contents(whole)
    assert set(expected) >= {"tiles.json", *(f"tile-{i:06d}.npy" for i in range(4))}, list(expected)
    for k in range(int(sys.argv[3]), 1000, int(sys.argv[4])):
        folder = root / "cut"
        shutil.rmtree(folder, ignore_errors=True)
        status = write(folder, way, k, half=k % 2 == 0)
        assert status in (0, 9), (way, k, status)
        # cut again a little later, then to the end
        assert write(folder, way, 9) in (0, 9)
        assert write(folder, way) == 0, (way, k)
        assert contents(folder) == expected, (way, k)
        if status == 0:
            break
print("all held")
"""


def crash(dtype, first, step):
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # a folder that is forced to the disk at once
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        command = [sys.executable, "-W", "ignore", "-c", CRASHES, folder, dtype, str(first), str(step)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "all held\n", done.stderr


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_a_write_that_is_cut_short_ends_in_the_same_bytes(dtype):
    """Killed at a call of the system, in whatever way the tiles are written, and once more on the way to the end."""
    crash(dtype, 1, 29)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_a_write_that_is_cut_short_anywhere_ends_in_the_same_bytes(dtype):
    crash(dtype, 0, 1)


@pytest.mark.parametrize("way", ["set aside", "gathered"])
def test_a_step_is_written_down_when_the_disk_has_it(tmp_path, monkeypatch, way):
    """Of a tile: its bytes, its name, and then the line that says so; the scratch file shrinks after that, never before."""
    calls, folder = [], tmp_path / "t"

    def watch(name):
        real = getattr(os, name)

        def call(file, *args):
            calls.append((name, os.path.basename(os.readlink(f"/proc/self/fd/{file}"))))
            return real(file, *args)

        monkeypatch.setattr(os, name, call)

    X = np.random.default_rng(0).normal(size=(203, 11)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    for name in ("write", "pwrite", "fsync", "ftruncate"):
        watch(name)
    write_tiles(X if way == "gathered" else tmp_path / "X.npy", folder, tile_rows=32)
    line = [("write", "progress.jsonl"), ("fsync", "progress.jsonl")]
    for i in range(7):
        name = f"tile-{i:06d}.npy"
        at = calls.index(("write", name))
        expected = [("write", name), ("write", name), ("fsync", name), ("fsync", "t"), *line]
        if way == "set aside":
            expected += [("ftruncate", "scratch")]
        assert calls[at : at + len(expected)] == expected
    if way == "set aside":
        last = max(i for i, call in enumerate(calls) if call == ("pwrite", "scratch"))
        assert calls[last + 1 : last + 4] == [("fsync", "scratch"), *line]
    manifest = [call for call in calls if call[1].startswith(".tiles.json")]
    assert [name for name, _ in calls[-3:]] == ["write", "fsync", "fsync"]
    assert calls[-3:-1] == manifest
    assert calls[-1] == ("fsync", "t")


@pytest.mark.parametrize("way", ["set aside", "gathered", "in turn", "iterator"])
def test_a_few_tiles_are_held(tmp_path, way, monkeypatch):
    """However large X is: two buffers of the numbers as read, one or two tiles, and the permutation while it is sorted."""
    n, p, rows = (2000, 2000, 32) if way == "gathered" else (40000, 100, 640)
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float32, (n, p))
    for first in range(0, n, rows):
        X[first : first + rows] = 1
    del X
    monkeypatch.setattr(quantizing, "CHUNK_BYTES", 1 << 14)
    monkeypatch.setattr("jaxlearn.access.source.ROW_BYTES", 8000)
    source = tmp_path / "X.npy"
    if way == "iterator":
        source = lambda: np.array_split(np.load(tmp_path / "X.npy", mmap_mode="r"), 60)  # noqa: E731
    tracemalloc.start()
    try:
        write_tiles(source, tmp_path / "t", tile_rows=rows, shuffle=way != "in turn")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    tile = rows * p * 2
    assert peak < 7 * tile + (0 if way == "in turn" else 24 * n)
