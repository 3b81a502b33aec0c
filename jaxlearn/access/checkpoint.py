"""Checkpoints on the host's disk: a fit that is killed at any moment goes on from the last one.

One file of arrays and a header of JSON, in safetensors' format: nothing is unpickled. It is written under a temporary
name, forced to the disk, renamed, and the renaming is forced to the disk: whenever the power fails there is the old file
or the new one, whole. What a disk spoils later, the checksum tells.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import socket
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

__all__ = ["changes", "load", "save", "sync_folder", "write_all", "write_durably"]

FORMAT = 1
DTYPES = (
    "bool",
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    "float16",
    "float32",
    "float64",
)
PACKAGES = "jax", "jaxlib", "numpy", "jaxlearn"


def save(folder: str | Path, step: int, arrays: dict[str, Any], header: dict[str, Any], keep: int = 3) -> Path:
    """Write a checkpoint, and remove those that are older than the last few.

    Parameters
    ----------
    folder : path
        Made where it is missing. One process at a time writes in it.
    step : int
        From 0 on: the greater, the newer.
    arrays : dict of str to array
        Of booleans, integers, float16, float32 or float64; three copies of them are held for a moment.
    header : dict
        What JSON can write. `load` compares parts of it.
    keep : int, default=3
        Checkpoints that are left, this one included.

    Returns
    -------
    Path
        Of the file, ``checkpoint-000000000042.safetensors``.

    Raises
    ------
    OSError
        The disk is full, for example. The older checkpoints are as they were.
    ValueError
        An array has another dtype, or `step` or `keep` is out of range.
    """
    if step < 0 or keep < 1:
        raise ValueError(f"`step` must be at least 0 and `keep` at least 1, got {step} and {keep}.")
    held = {name: _native(name, array) for name, array in arrays.items()}
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    text = _json({"format": FORMAT, "step": int(step), "header": header, "versions": versions})
    metadata = {"checkpoint": text, "sha256": _sha256(text, held)}
    folder = Path(folder)
    if not folder.is_dir():
        folder.mkdir(parents=True)
        sync_folder(folder.parent)
    for leftover in folder.glob(".checkpoint-*.tmp"):
        if _writer_is_dead(leftover):
            leftover.unlink(missing_ok=True)
    path = folder / f"checkpoint-{step:012d}.safetensors"
    write_durably(path, safetensors.numpy.save(held, metadata))
    for old in _checkpoints(folder)[keep:]:
        if old != path:
            old.unlink(missing_ok=True)
    return path


def load(folder: str | Path, expected: dict[str, Any]) -> tuple[int, dict[str, np.ndarray], dict[str, Any]] | None:
    """The newest checkpoint that is whole.

    Parameters
    ----------
    folder : path
    expected : dict
        Entries that the header must have: what the data and the parameters are, for example.

    Returns
    -------
    (step, arrays, header), or None where the folder holds no checkpoint

    Raises
    ------
    ValueError
        The newest whole checkpoint is of something else, named with its old and its new value; or there are checkpoints,
        and none is whole: to begin anew is not decided silently.

    Warns
    -----
    UserWarning
        A checkpoint is torn, and one before it is taken.
    """
    torn = []
    for path in _checkpoints(Path(folder)):
        try:
            written, arrays = _read(path)
        except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            torn.append(path.name)
            warnings.warn(f"The checkpoint '{path}' is torn, and passed over: {error}", stacklevel=2)
            continue
        if written["format"] != FORMAT:
            raise ValueError(
                f"'{path}' has format {written['format']}; this version of jaxlearn reads format {FORMAT}."
            )
        then, now = written["header"], json.loads(_json(expected))
        if differences := changes({key: then.get(key) for key in now}, now):
            raise ValueError(f"'{path}' is a checkpoint of something else: {differences}.")
        return written["step"], arrays, written["header"]
    if torn:
        raise ValueError(
            f"None of the checkpoints in '{folder}' is whole: {', '.join(torn)}. Remove them to begin anew."
        )
    return None


def changes(then: Any, now: Any, name: str = "") -> str:
    """Where two values of JSON differ, with both of them; empty if they do not."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*now, *then])
        parts = [changes(then.get(key), now.get(key), f"{name}.{key}" if name else key) for key in keys]
        return ", ".join(filter(None, parts))
    then, now = _json(then), _json(now)  # as text, NaN is NaN
    return "" if then == now else f"`{name}` was {then} and is {now}"


def write_durably(path: Path, data: bytes) -> None:
    """All of a file, or what was there before, whenever the process or the power fails."""
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            write_all(file, data)
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_all(file: int, data: Any) -> None:
    """Bytes to a descriptor: one call may take a part of them."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def sync_folder(folder: Path) -> None:
    """A name is on the disk when its folder is."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _writer_is_dead(temporary: Path) -> bool:
    """Of another machine nothing is known; and this process, about to write, is not writing."""
    pid = temporary.name.rsplit(".", 2)[1]
    if not pid.isdigit() or not temporary.name.endswith(f".{socket.gethostname()}.{pid}.tmp"):
        return False
    if int(pid) == os.getpid():  # left by one that had the same number
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _checkpoints(folder: Path) -> list[Path]:
    """From the newest on."""
    return sorted(folder.glob("checkpoint-*.safetensors"), reverse=True)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if _sha256(metadata["checkpoint"], arrays) != metadata["sha256"]:
        raise ValueError("its content is not what was written")
    return json.loads(metadata["checkpoint"]), arrays


def _sha256(text: str, arrays: dict[str, np.ndarray]) -> str:
    total = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        total.update(_json([name, array.dtype.name, array.shape]).encode())
        total.update(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
    return total.hexdigest()


def _native(name: str, array: Any) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.name not in DTYPES:
        raise ValueError(f"The array '{name}' has dtype {array.dtype}, which a checkpoint does not hold.")
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    """NumPy's numbers, which JSON does not know."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not what JSON can write: {value!r}")
