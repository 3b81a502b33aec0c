"""Killed at any moment, or spoilt on the disk, a checkpoint is the old one or the new one, or is not there at all."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

from jaxlearn.access import checkpoint
from jaxlearn.access.checkpoint import load, save

HEADER = {"source": "0123", "parameters": {"alpha": 0.1, "shape": [3, 4], "nothing": None, "nan": float("nan")}}


def arrays(step):
    return {
        "components": np.full((3, 4), step, np.float32),
        "sums": np.arange(5.0) + step,
        "count": np.asarray(step),
        "none": np.empty((0, 2), np.int8),
        "flags": np.array([True, False]),
    }


def same(found, step):
    assert found[0] == step
    assert found[1].keys() == arrays(step).keys()
    for name, array in arrays(step).items():
        assert found[1][name].dtype == array.dtype
        np.testing.assert_array_equal(found[1][name], array, strict=True)
    assert str(found[2]) == str({"parameters": dict(sorted(HEADER["parameters"].items())), "source": "0123"})


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_was_saved_is_loaded(tmp_path):
    assert load(tmp_path / "missing", {}) is None
    assert load(tmp_path, {}) is None
    path = save(tmp_path / "new" / "folder", 7, arrays(7), HEADER)
    assert path.name == "checkpoint-000000000007.safetensors"
    same(load(path.parent, HEADER), 7)
    same(load(str(path.parent), {}), 7)


@pytest.mark.parametrize("dtype", checkpoint.DTYPES)
def test_arrays_of_any_layout(tmp_path, dtype):
    """What lies in another order, or with gaps, is written as it reads."""
    whole = np.arange(24).reshape(4, 6).astype(dtype)
    given = {
        "T": whole.T,
        "gaps": whole[::2, 1::3],
        "swapped": whole.astype(whole.dtype.newbyteorder(">")),
        "0": whole[1, 1],
    }
    save(tmp_path, 0, given, {})
    _, found, _ = load(tmp_path, {})
    for name, array in given.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == np.dtype(dtype)
        assert found[name].shape == np.shape(array)


@pytest.mark.parametrize("wrong", [np.array([1j]), np.array(["a"]), np.array([None]), np.zeros(2, np.longdouble)])
def test_other_arrays_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="'x' has dtype .* does not hold"):
        save(tmp_path, 0, {"x": wrong}, {})
    with pytest.raises(TypeError, match="not what JSON can write"):
        save(tmp_path, 0, {}, {"x": wrong})
    assert files(tmp_path) == []


def test_the_last_few_are_kept(tmp_path):
    for step in (1, 20, 3, 100, 21):
        save(tmp_path, step, arrays(step), HEADER, keep=2)
    assert files(tmp_path) == [f"checkpoint-{step:012d}.safetensors" for step in (21, 100)]
    save(tmp_path, 5, arrays(5), HEADER, keep=1)  # the one just written is never removed
    assert files(tmp_path) == [f"checkpoint-{step:012d}.safetensors" for step in (5, 100)]
    for step, keep in ((-1, 3), (1, 0)):
        with pytest.raises(ValueError, match=f"got {step} and {keep}"):
            save(tmp_path, step, {}, {}, keep)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    save(tmp_path, 1, arrays(1), HEADER)
    same(load(tmp_path, {"parameters": {**HEADER["parameters"], "shape": (3, 4), "alpha": np.float64(0.1)}}), 1)
    changed = {"source": "4567", "parameters": {"alpha": 0.2, "shape": [3, 4], "nan": float("nan"), "new": True}}
    with pytest.raises(ValueError, match="is a checkpoint of something else") as error:
        load(tmp_path, changed)
    for part in (
        '`source` was "0123" and is "4567"',
        "`parameters.alpha` was 0.1 and is 0.2",
        "`parameters.new` was null",
    ):
        assert part in str(error.value)
    assert "shape" not in str(error.value)
    assert "nan" not in str(error.value)
    with pytest.raises(ValueError, match="`parameters.nothing` was 1 and is null"):
        load(save(tmp_path, 2, {}, {"parameters": {"nothing": 1}}).parent, {"parameters": {}})


def test_the_refusal_comes_before_any_older_checkpoint(tmp_path):
    """The one that is judged is the newest that is whole."""
    save(tmp_path, 1, arrays(1), HEADER)
    save(tmp_path, 2, arrays(2), {**HEADER, "source": "else"})
    with pytest.raises(ValueError, match='`source` was "else"'):
        load(tmp_path, HEADER)
    torn = save(tmp_path, 3, arrays(3), HEADER)
    torn.write_bytes(torn.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="checkpoint-000000000003"), pytest.raises(ValueError, match='was "else"'):
        load(tmp_path, HEADER)


def test_a_torn_checkpoint_is_passed_over_with_a_warning(tmp_path):
    first, second = (save(tmp_path, step, arrays(step), HEADER) for step in (1, 2))
    second.write_bytes(b"")
    with pytest.warns(UserWarning, match="checkpoint-000000000002.safetensors' is torn"):
        same(load(tmp_path, HEADER), 1)
    first.write_bytes(first.read_bytes()[:-1] + b"\7")
    with (
        pytest.warns(UserWarning, match="is torn"),
        pytest.raises(
            ValueError, match="None of the checkpoints .* is whole: checkpoint-000000000002.*, checkpoint-000000000001"
        ),
    ):
        load(tmp_path, HEADER)
    save(tmp_path, 2, arrays(2), HEADER)
    same(load(tmp_path, HEADER), 2)


def test_a_later_format_is_refused(tmp_path, monkeypatch):
    save(tmp_path, 1, arrays(1), HEADER)
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    save(tmp_path, 2, arrays(2), HEADER)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has format 2; this version of jaxlearn reads format 1"):
        load(tmp_path, HEADER)


def test_every_bit_that_flips_and_every_byte_that_is_missing(tmp_path):
    """Either nothing that was written has changed, or the one before is taken: never anything else."""
    save(tmp_path, 1, arrays(1), HEADER)
    path = save(tmp_path, 2, arrays(2), HEADER)
    raw = path.read_bytes()
    places = random.Random(0).sample(range(8 * len(raw)), 500)
    flipped = ((raw[: i // 8] + bytes([raw[i // 8] ^ 1 << i % 8]) + raw[i // 8 + 1 :]) for i in places)
    shortened = (raw[:n] for n in range(0, len(raw), 7))
    longer = (raw + raw[:n] for n in (1, 8, len(raw)))
    n_old = 0
    for spoilt in itertools.chain(flipped, shortened, longer):
        path.write_bytes(spoilt)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = load(tmp_path, HEADER)
        same(found, 1 if caught else 2)
        n_old += bool(caught)
    assert n_old >= 500


def test_the_disk_is_asked_in_this_order(tmp_path, monkeypatch):
    """The bytes, then the name, then the folder: a name never stands for bytes that are not there."""
    calls = []

    def watch(name, say):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args: (calls.append((name, say(*args))), real(*args))[1])

    def target(file):
        return os.path.basename(os.readlink(f"/proc/self/fd/{file}"))

    watch("write", lambda file, data: target(file))
    watch("fsync", target)
    watch("replace", lambda old, new: (os.path.basename(old), os.path.basename(new)))
    watch("unlink", lambda path: os.path.basename(path))
    for step in (1, 2):
        path = save(tmp_path, step, arrays(step), HEADER, keep=1)
    temporary = calls[-5][1]
    assert temporary.startswith(f".{path.name}.")
    assert calls[-5:] == [
        ("write", temporary),
        ("fsync", temporary),
        ("replace", (temporary, path.name)),
        ("fsync", tmp_path.name),
        ("unlink", "checkpoint-000000000001.safetensors"),
    ]


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    save(tmp_path, 1, arrays(1), HEADER)
    before = files(tmp_path)
    for name in ("write", "fsync", "replace"):

        def full(*_):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(OSError, match="No space left"):
                save(tmp_path, 2, arrays(2), HEADER)
        assert files(tmp_path) == before
        same(load(tmp_path, HEADER), 1)


def test_what_dead_writers_left_is_cleaned(tmp_path):
    host = os.uname().nodename
    child = subprocess.Popen(["sleep", "60"])
    dead, alive, ours, theirs, other = (
        tmp_path / f".checkpoint-000000000009.safetensors.{end}.tmp"
        for end in (f"{host}.4194305", f"{host}.{child.pid}", f"{host}.{os.getpid()}", f"elsewhere.{os.getpid()}", "x")
    )
    for path in (dead, alive, ours, theirs, other):
        path.write_bytes(b"half")
    save(tmp_path, 10, arrays(10), HEADER)
    assert files(tmp_path) == sorted([alive.name, theirs.name, other.name, "checkpoint-000000000010.safetensors"])
    child.kill()
    child.wait()
    save(tmp_path, 11, arrays(11), HEADER)
    assert not alive.exists()


CRASHES = """
import os, sys, pathlib, shutil
import numpy as np
from jaxlearn.access.checkpoint import load, save

folder = pathlib.Path(sys.argv[1])
arrays = lambda step: {"x": np.full(2000, step), "y": np.arange(3.0)}

def crash_at(k, how):
    "The k-th call of the system from now on is the last, done or half done or not."
    count = iter(range(10**9))
    def shim(name, real):
        def call(*args):
            last = next(count) == k
            if last and how == "before":
                os._exit(9)
            if last and name == "write":
                real(args[0], bytes(args[1])[: len(args[1]) // 2])
                os._exit(9)
            result = real(*args)
            if last:
                os._exit(9)
            return result
        return call
    for name in ("write", "fsync", "replace", "unlink"):
        setattr(os, name, shim(name, getattr(os, name)))
    real_open = os.open
    os.open = lambda *args, **kw: (os._exit(9) if next(count) == k else None, real_open(*args, **kw))[1]

seen = set()
for how in ("before", "after"):
    for k in range(1000):
        shutil.rmtree(folder, ignore_errors=True)
        for step in (1, 2):
            save(folder, step, arrays(step), {"fit": 1}, keep=2)
        child = os.fork()
        if not child:
            crash_at(k, how)
            save(folder, 3, arrays(3), {"fit": 1}, keep=2)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, 9), status
        step, found, header = load(folder, {"fit": 1})
        assert step in (2, 3) and (found["x"] == step).all() and len(found["x"]) == 2000, (how, k, step)
        assert status or step == 3
        seen.add((status, step))
        save(folder, 4, arrays(4), {"fit": 1}, keep=2)
        names = sorted(path.name for path in folder.iterdir())
        assert len(names) == 2 and names[-1].startswith("checkpoint-000000000004"), (how, k, names)
        if not status:
            break
    assert k >= 6, k
assert seen == {(9, 2), (9, 3), (0, 3)}, seen
print("all held")
"""


def test_a_crash_at_any_call_of_the_system(tmp_path):
    """Before it, after it, and in the middle of a write."""
    command = [sys.executable, "-W", "ignore", "-c", CRASHES, str(tmp_path / "fit")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "all held\n", done.stderr


LOOP = """
import itertools, sys
import numpy as np
from jaxlearn.access.checkpoint import load, save

found = load(sys.argv[1], {"fit": 1})
print("from", found[0] if found else 0, flush=True)
for step in itertools.count(found[0] + 1 if found else 1):
    save(sys.argv[1], step, {"x": np.full((400, 400), step)}, {"fit": 1})
    print(step, flush=True)
"""


def killed(folder, moment):
    """Steps that a process said it saved, until it was killed at a random moment, and where it began."""
    command = [sys.executable, "-W", "error", "-c", LOOP, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        begin = int(child.stdout.readline().split()[1])
        for _ in range(1 + moment.randrange(3)):
            child.stdout.readline()
        time.sleep(moment.uniform(0, 0.02))
        child.send_signal(signal.SIGKILL)
        said = child.stdout.read().split()
    return begin, int(said[-1]) if said else 0


def kill(folder, times):
    moment, last = random.Random(0), 0
    for _ in range(times):
        begin, said = killed(folder, moment)
        assert begin >= last
        step, found, _ = load(folder, {"fit": 1})
        assert step >= max(said, begin)
        assert found["x"].shape == (400, 400)
        assert (found["x"] == step).all()
        last = step


def test_a_process_that_is_killed_goes_on(tmp_path):
    kill(tmp_path, 2)


@pytest.mark.slow
def test_a_process_that_is_killed_many_times_goes_on(tmp_path):
    kill(tmp_path, 40)
