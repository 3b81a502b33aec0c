"""What is done of a long piece of work, on the host's disk: another process goes on where one was killed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .checkpoint import changes, sync_folder, write_all

__all__ = ["Journal", "refuse_changes"]


class Journal:
    """A line of JSON for each step, written when the disk has the rest; a last line that is torn is not there.

    Parameters
    ----------
    path : path
    plan : dict
        What the work depends on: the first line.
    resume : bool
        Whether to go on with the work of a journal that is there; its plan must be the same.
    clear : callable without arguments
        Removes what earlier work has left; called before any other begins.

    Attributes
    ----------
    entries : list of dict
        Of all steps.
    """

    def __init__(self, path: Path, plan: dict[str, Any], resume: bool, clear: Callable[[], Any]):
        self.path, self.plan, self.clear = path, plan, clear
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        raw = path.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        lines = [json.loads(line) for line in whole.splitlines()]
        if resume and lines:
            refuse_changes(path.parent, lines[0], plan)
            os.ftruncate(self.file, len(whole))
            self.entries = lines[1:]
        else:
            self.begin()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.file)

    def begin(self) -> None:
        """Nothing is done, and nothing is left of earlier work."""
        os.ftruncate(self.file, 0)
        self.clear()
        sync_folder(self.path.parent)
        self.entries = []
        self._write(self.plan)

    def add(self, **entry: Any) -> None:
        """Something is done."""
        self._write(entry)
        self.entries.append(entry)

    def last(self, name: str, otherwise: Any = None) -> Any:
        """What the last step of this name said."""
        return next((entry[name] for entry in reversed(self.entries) if name in entry), otherwise)

    def _write(self, entry: dict[str, Any]) -> None:
        write_all(self.file, json.dumps(entry).encode() + b"\n")
        os.fsync(self.file)


def refuse_changes(folder: Path, then: dict[str, Any], plan: dict[str, Any]) -> None:
    """Name what is not what it was when the work in `folder` was begun."""
    if differences := changes({key: then.get(key) for key in plan}, plan):
        raise ValueError(f"The work in '{folder}' is another: {differences}. `resume=False` begins anew.")
