"""Rows set aside on the host's disk until the turn of their tile: a shuffle of what no memory holds, read once in order."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .source import Source, read_exactly

__all__ = ["Scratch"]


class Scratch(Source):
    """A scratch file with a region for each tile, in which its rows lie as they came; read, they are in order.

    Where each row goes is known beforehand. So the file is as large as all rows from the start, a full disk shows at once,
    and nothing but the number of rows put aside must be known to go on.

    Parameters
    ----------
    path : path
    permutation : ndarray of int, (n_samples,)
        Row i of this source is row ``permutation[i]`` of those put aside.
    shape : (int, int)
        Of a tile: its rows, which are read at once, and n_features.
    dtype : str
        Of the rows.
    """

    addressable = True
    n_samples: int

    def __init__(self, path: Path, permutation: np.ndarray, shape: tuple[int, int], dtype: str):
        self.permutation, (self.tile_rows, self.n_features) = permutation, shape
        self.n_samples, self.dtype = len(permutation), np.dtype(dtype)
        self.row_bytes = self.n_features * self.dtype.itemsize
        self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.file)

    def reserve(self, done: int) -> None:
        """Make room, the first `done` rows being there."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self.file, 0, self.n_samples * self.row_bytes)
        self.tiles = np.empty(self.n_samples, np.int32)  # where each row goes
        self.tiles[self.permutation] = np.arange(self.n_samples) // self.tile_rows
        n_tiles = -(-self.n_samples // self.tile_rows)
        self.ends = np.arange(n_tiles) * self.tile_rows + np.bincount(self.tiles[:done], minlength=n_tiles)

    def put(self, first: int, rows: np.ndarray) -> None:
        """Set aside rows from `first` on, which follow those before."""
        tiles = self.tiles[first : first + len(rows)]
        order = np.argsort(tiles, kind="stable")
        present, begins = np.unique(tiles[order], return_index=True)
        for tile, run in zip(present, np.split(rows[order], begins[1:]), strict=True):
            view, at = run.reshape(-1).view(np.uint8).data, int(self.ends[tile]) * self.row_bytes
            while view:
                done = os.pwrite(self.file, view, at)
                view, at = view[done:], at + done
            self.ends[tile] += len(run)

    def sync(self) -> None:
        """Force to the disk what was put aside."""
        os.fsync(self.file)

    def read(self, first, out):
        """Of one tile."""
        came = np.empty_like(out)
        read_exactly(self.file, came, first * self.row_bytes, stay=False)
        places = np.empty(len(out), np.intp)
        places[np.argsort(self.permutation[first : first + len(out)])] = np.arange(len(out))
        np.take(came, places, axis=0, out=out, mode="clip")

    def truncate(self, n_samples: int) -> None:
        """Give back the room of the rows behind the first ones."""
        os.ftruncate(self.file, n_samples * self.row_bytes)
