"""A matrix stored in tiles by the host, its rows and columns in a random order: what lies side by side is a random sample.

A folder holds `tile-000000.npy`, …, and `tiles.json`, written last. Rows that are long, or in memory, are gathered tile
by tile. Short rows of a file would cost a seek each: they are read once in order and set aside, those of each tile in a
region of one scratch file, and each region is put in order when its tile is written.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from .checkpoint import sync_folder, write_all, write_durably
from .journal import Journal, refuse_changes
from .quantize import LARGEST, Quantizer, TooLarge, column_scale
from .reader import Block, Progress, Reader, report
from .scan import in_order
from .scratch import Scratch
from .source import ONCE, ROW_BYTES, Permuted, Source, digest, may_stay, open_source, read_exactly
from .streamed import Streamed

__all__ = ["Tiles", "holds_tiles", "write_tiles"]

FORMAT = 1
MANIFEST, JOURNAL, SCALE, SCRATCH = "tiles.json", "progress.jsonl", "scale.npy", "scratch"
PASSING = SCRATCH, ".*.tmp", JOURNAL  # what a folder that is finished does not hold
TILE_BYTES = 1 << 26
# Bytes that may be set aside before the disk has them for certain.
SYNC_BYTES = 1 << 30


class Tiles(Source):
    """A folder that `write_tiles` has written.

    Parameters
    ----------
    path : path

    Attributes
    ----------
    columns : ndarray of int, (n_features,)
        Stored column j is feature ``columns[j]``.
    rows : ndarray of int, (n_samples,)
        Stored row i is row ``rows[i]`` of what was stored.

    Raises
    ------
    FileNotFoundError
        There are no tiles.
    ValueError
        They are not finished, or a file is torn.
    """

    addressable = True
    n_samples: int

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            self._text = (self.path / MANIFEST).read_bytes()
        except FileNotFoundError:
            if (self.path / JOURNAL).exists():
                raise ValueError(f"The tiles in '{path}' are not finished: call `write_tiles` again.") from None
            raise FileNotFoundError(f"'{path}' holds no tiles.") from None
        try:
            self.manifest = json.loads(self._text)
            self.n_samples, self.n_features = self.manifest["n_samples"], self.manifest["n_features"]
            self.tile_rows, self.dtype = self.manifest["tile_rows"], np.dtype(self.manifest["dtype"])
            self._offset, self._seed = self.manifest["offset"], self.manifest["seed"]
            hashes = self.manifest["sha256"], self.manifest["scale"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"'{self.path / MANIFEST}' is torn: {error!r}") from None
        if self.manifest["format"] != FORMAT:
            raise ValueError(f"'{path}' has format {self.manifest['format']}; this version of jaxlearn reads {FORMAT}.")
        self._row_bytes = self.n_features * self.dtype.itemsize
        self.by_row = self._row_bytes >= ROW_BYTES
        self._stay = may_stay(self.n_samples * self._row_bytes)
        for i in range(len(hashes[0])):
            self._check_size(i)
        if hashes[1] is not None:
            raw = (self.path / SCALE).read_bytes() if (self.path / SCALE).exists() else b""
            if hashlib.sha256(raw).hexdigest() != hashes[1]:
                raise ValueError(f"'{self.path / SCALE}' is missing or torn.")
            self.scale = np.load(io.BytesIO(raw), allow_pickle=False)

    @cached_property
    def columns(self) -> np.ndarray:
        return permutation(self.n_features, self._seed, 1, self.manifest["permute"])

    @cached_property
    def rows(self) -> np.ndarray:
        return permutation(self.n_samples, self._seed, 0, self.manifest["shuffle"])

    def unpermute(self, components: Any) -> np.ndarray:
        """An array (…, n_features) that goes with the stored columns, in the order of the features."""
        return in_order(components, self.columns)

    def head(self, n_rows):
        out = np.empty((min(n_rows, self.n_samples), self.n_features), self.dtype)
        self.read(0, out)
        return out

    def read(self, first, out):
        while len(out):
            tile, at = divmod(first, self.tile_rows)
            n_rows = min(len(out), self.tile_rows - at)
            with open(_tile(self.path, tile), "rb", buffering=0) as file:
                read_exactly(file.fileno(), out[:n_rows], self._offset + at * self._row_bytes, stay=self._stay)
            first, out = first + n_rows, out[n_rows:]

    def fingerprint(self):
        return digest(self._text)

    def verify(self) -> None:
        """Read every tile, and compare its checksum with that in the manifest."""
        for i, expected in enumerate(self.manifest["sha256"]):
            self._check_size(i)
            with open(_tile(self.path, i), "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != expected:
                raise ValueError(f"'{_tile(self.path, i)}' is not what was written: its sha256 differs.")

    def _check_size(self, i: int) -> None:
        path = _tile(self.path, i)
        expected = self._offset + self._row_bytes * min(self.tile_rows, self.n_samples - i * self.tile_rows)
        found = path.stat().st_size if path.exists() else 0
        if found != expected:
            raise ValueError(f"'{path}' is missing or torn: it has {found} bytes instead of {expected}.")


def holds_tiles(path: Path) -> bool:
    """Whether a folder holds tiles, or such as are not finished."""
    return (path / MANIFEST).exists() or (path / JOURNAL).exists()


def permutation(n: int, seed: int, which: int, shuffled: bool = True) -> np.ndarray:
    """Of n things, made of raw bits: NumPy promises these, and not its own permutations, for all its versions."""
    if not shuffled:
        return np.arange(n)
    return np.argsort(np.random.Philox(key=np.array([seed, which], np.uint64)).random_raw(n), kind="stable")


def write_tiles(
    X: Any,
    path: str | Path,
    *,
    dtype: str = "float16",
    tile_rows: int | None = None,
    shuffle: bool = True,
    permute: bool = True,
    seed: int = 0,
    progress: bool | Callable[[Progress], Any] = False,
    resume: bool = True,
) -> Tiles:
    """Store a matrix in tiles, once, for scans in a random order.

    X is read once, or twice for int8, and where the number of rows must be counted first. A few tiles are held in memory,
    and the permutation of the rows; the disk holds the tiles, and in between as much again where X has short rows.

    Parameters
    ----------
    X : array, path, list of arrays, iterable, callable or Streamed
        As in `stream`.
    path : path
        A folder, new or empty, or one that an earlier call began.
    dtype : {"float16", "float32", "int8"}, default="float16"
        int8 has a scale for each column. So has float16, powers of two, where numbers in the first rows are much larger
        or smaller than one, or where some turn out to be too large: X is then read again.
    tile_rows : int, optional
        By default as many as take 64 MB as stored.
    shuffle, permute : bool, default=True
        Put the rows, and the columns, in a random order.
    seed : int, default=0
        Of both orders.
    progress : bool or callable, default=False
        As in `stream`, for each pass over X, and for the tiles.
    resume : bool, default=True
        Go on where an earlier call with the same arguments was interrupted; one that had finished is left alone. False
        begins anew.

    Returns
    -------
    Tiles
        Which `stream` takes.

    Raises
    ------
    ValueError
        X holds NaN or infinity; the folder holds something else, or tiles of another X or of other parameters.
    OSError
        The disk is full, for example. What is written is kept, and another call goes on.

    Examples
    --------
    >>> import tempfile
    >>> from jaxlearn import stream
    >>> X = np.arange(12.0).reshape(4, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tiles = write_tiles(X, folder, dtype="float32")
    ...     total = stream(tiles).rmatvec(np.ones(4))
    >>> tiles.unpermute(total)
    array([18., 22., 26.], dtype=float32)
    """
    if dtype not in LARGEST:
        raise ValueError(f"`dtype` must be one of {', '.join(LARGEST)}, got {dtype!r}.")
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"`seed` must be between 0 and 2**64 - 1, got {seed}.")
    if isinstance(X, Streamed) and X.offset is not None:
        raise ValueError("`X` is a stream with an offset, which tiles do not have.")
    source = X.reader.source if isinstance(X, Streamed) else open_source(X)
    if source.n_features == 0 or source.n_samples == 0:
        raise ValueError(f"`X` has shape ({source.n_samples}, {source.n_features}): there is nothing to store.")
    if tile_rows is None:
        tile_rows = max(1, TILE_BYTES // (source.n_features * np.dtype(dtype).itemsize))
        tile_rows = min(tile_rows, source.n_samples or tile_rows)
    if tile_rows < 1:
        raise ValueError(f"`tile_rows` must be at least 1, got {tile_rows}.")
    plan = {
        "format": FORMAT,
        "dtype": dtype,
        "tile_rows": int(tile_rows),
        "shuffle": bool(shuffle),
        "permute": bool(permute),
        "seed": int(seed),
        "n_features": source.n_features,
        "source": source.fingerprint(),
    }
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    if not holds_tiles(folder) and any(folder.iterdir()):
        raise ValueError(f"'{folder}' is not empty, and holds no tiles.")
    if not (resume and _finished(folder, plan)):
        with Journal(
            folder / JOURNAL, plan, resume, partial(_clear, folder, MANIFEST, SCALE, *PASSING[:-1], "tile-*.npy")
        ) as journal:
            _Writer(source, folder, journal, report if progress is True else progress or None).write()
    return Tiles(folder)


class _Writer:
    def __init__(self, source: Source, folder: Path, journal: Journal, progress: Callable[[Progress], Any] | None):
        self.source, self.folder, self.journal, self.progress = source, folder, journal, progress
        self.plan = journal.plan
        self.columns = permutation(source.n_features, self.plan["seed"], 1) if self.plan["permute"] else None
        self.reader = Reader(source, self.plan["tile_rows"], progress)

    def write(self) -> None:
        if self.journal.last("survey") is None:
            self._survey(self.plan["dtype"] == "int8" or (self.plan["shuffle"] and self.source.n_samples is None))
        if too_large := self._store():
            if self.journal.last("survey")["exact"]:
                raise ValueError(f"The source has changed since it was first read: {too_large}")
            self.journal.begin()
            self._survey(exact=True)
            self._store()
        if self.source.fingerprint() != self.plan["source"]:
            raise ValueError("The source has changed while it was read: begin anew with `resume=False`.")
        checksums = self._checksums()
        scale = (self.folder / SCALE).read_bytes() if self.journal.last("survey")["scaled"] else None
        manifest = {
            **self.plan,
            "n_samples": self.reader.n_samples,
            "offset": len(_header(np.empty((1, self.source.n_features), self.plan["dtype"]))),
            "scale": None if scale is None else hashlib.sha256(scale).hexdigest(),
            "sha256": [checksums[i] for i in range(len(checksums))],
        }
        write_durably(self.folder / MANIFEST, json.dumps(manifest, indent=1).encode())
        _clear(self.folder, *PASSING)

    def _survey(self, exact: bool) -> None:
        """Choose the scale: from all rows, or from the first ones if that will do."""
        quantizer = Quantizer(self.plan["dtype"], self.source.scale, self.columns)
        largest = np.zeros(self.source.n_features)
        if exact:
            if not self.source.rereadable:
                raise ValueError(ONCE)
            for block in self.reader.blocks():
                here = quantizer.largest(block.rows[: block.n_rows], _numbers(block), self.reader.name(block))
                largest = np.maximum(largest, here)
        elif self.plan["dtype"] == "float16":
            head = np.asarray(self.source.head(self.plan["tile_rows"]))
            largest = quantizer.largest(head, np.arange(len(head)), "block 0")
        scale = column_scale(self.plan["dtype"], largest, exact)
        if scale is not None:
            write_durably(self.folder / SCALE, _npy(scale))
        self.journal.add(survey={"exact": exact, "scaled": scale is not None, "n_samples": self.reader.n_samples})

    def _checksums(self) -> dict[int, str]:
        """Of the tiles that are there."""
        return {entry["tile"]: entry["sha256"] for entry in self.journal.entries if "tile" in entry}

    def _store(self) -> str:
        """Write the tiles that are not there; if numbers are too large for the scale, which ones."""
        survey = self.journal.last("survey")
        scale = np.load(self.folder / SCALE, allow_pickle=False) if survey["scaled"] else None
        quantizer = Quantizer(self.plan["dtype"], self.source.scale, self.columns, scale)
        self.reader.n_samples = survey["n_samples"]
        try:
            if not self.plan["shuffle"]:
                self._store_in_turn(quantizer)
            elif self.source.by_row:
                self._store_gathered(quantizer, permutation(survey["n_samples"], self.plan["seed"], 0))
            else:
                self._store_set_aside(quantizer, permutation(survey["n_samples"], self.plan["seed"], 0))
        except TooLarge as error:
            return str(error)
        return ""

    def _store_in_turn(self, quantizer: Quantizer) -> None:
        end = sys.maxsize if self.reader.n_blocks is None else self.reader.n_blocks
        for block in self.reader.blocks(range(len(self._checksums()), end)):
            self._store_tile(block, quantizer(block.rows[: block.n_rows], _numbers(block), self.reader.name(block)))

    def _store_gathered(self, quantizer: Quantizer, rows: np.ndarray) -> None:
        reader = Reader(Permuted(self.source, rows), self.plan["tile_rows"], self.progress)
        for block in reader.blocks(range(len(self._checksums()), reader.n_blocks or 0)):
            numbers = rows[block.first : block.first + block.n_rows]
            self._store_tile(block, quantizer(block.rows[: block.n_rows], numbers, "the source"))

    def _store_set_aside(self, quantizer: Quantizer, rows: np.ndarray) -> None:
        shape = self.plan["tile_rows"], self.source.n_features
        with Scratch(self.folder / SCRATCH, rows, shape, self.plan["dtype"]) as scratch:
            self._set_aside(quantizer, scratch)
            reader = Reader(scratch, scratch.tile_rows, self.progress)
            left = (reader.n_blocks or 0) - len(self._checksums())
            for block in reader.blocks(range(left - 1, -1, -1)):  # the scratch file shrinks while the tiles grow
                self._store_tile(block, block.rows[: block.n_rows])
                scratch.truncate(block.first)

    def _set_aside(self, quantizer: Quantizer, scratch: Scratch) -> None:
        begin, end, unsure = self.journal.last("set_aside", 0), self.reader.n_blocks or 0, 0
        if begin < end:
            scratch.reserve(begin * self.reader.block_size)
        for i, block in enumerate(self.reader.blocks(range(begin, end)), begin + 1):
            rows = quantizer(block.rows[: block.n_rows], _numbers(block), self.reader.name(block))
            scratch.put(block.first, rows)
            unsure += rows.nbytes
            if unsure >= SYNC_BYTES or i == end:
                scratch.sync()
                self.journal.add(set_aside=i)
                unsure = 0

    def _store_tile(self, block: Block, rows: np.ndarray) -> None:
        i, checksum = block.first // self.plan["tile_rows"], hashlib.sha256()
        file = os.open(_tile(self.folder, i), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            for part in (_header(rows), rows.reshape(-1).view(np.uint8).data):
                write_all(file, part)
                checksum.update(part)
            os.fsync(file)
        finally:
            os.close(file)
        sync_folder(self.folder)
        self.journal.add(tile=i, sha256=checksum.hexdigest())


def _finished(folder: Path, plan: dict[str, Any]) -> bool:
    if not (folder / MANIFEST).exists():
        return False
    refuse_changes(folder, Tiles(folder).manifest, plan)
    _clear(folder, *PASSING)
    return True


def _clear(folder: Path, *names: str) -> None:
    for name in names:
        for path in folder.glob(name):
            path.unlink()


def _tile(folder: Path, i: int) -> Path:
    return folder / f"tile-{i:06d}.npy"


def _numbers(block: Block) -> np.ndarray:
    return block.first + np.arange(block.n_rows)


def _header(rows: np.ndarray) -> bytes:
    """That of an `.npy` file: of one length, however many rows there are."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(rows))
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    return _header(array) + array.tobytes()
