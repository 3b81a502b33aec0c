"""Parts of a benchmark in processes of their own, so that the memory of each is known, and a file that is read from disk."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import report

__all__ = ["drop", "peak", "run"]


def drop(path: Path) -> None:
    """Leave nothing of the file in the system's cache, so that the disk is read."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def peak() -> int:
    """Largest resident memory of this process so far, in bytes; that of the parent, when it was started, counts too."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(module: str, task: str, path: Path, *arguments: Any, limit: float | None = None) -> dict:
    """What ``python -m benchmarks.<module> --task <task> <path> …`` prints in its last line, with its ``peak`` below a limit."""
    if path.exists():
        drop(path)
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{module}", "--task", task, str(path)]
    command += [str(argument) for argument in arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=report.ROOT)
    if done.returncode:
        raise RuntimeError(f"{task} failed:\n{done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    assert limit is None or found["peak"] < limit, f"{task}: {found['peak'] / 1e9:.2f} GB of memory"
    shown = ", ".join(f"{name} {value:.4g}" for name, value in found.items() if isinstance(value, int | float))
    print(f"{' '.join([task, *command[8:]]):<40}{shown}", flush=True)
    return found
