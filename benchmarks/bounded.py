"""Fits that may take hours, in a process of their own that is ended after a limit: compiled code cannot be interrupted."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import warnings
from dataclasses import replace

from . import report
from .catalogue import RACES

__all__ = ["Bounded"]


class Bounded:
    """A row of a race in a process of its own, which is told tolerances, and says when it begins and ends a fit.

    Parameters
    ----------
    workload, row : str
        Their names.
    """

    process: subprocess.Popen | None = None

    def __init__(self, workload: str, row: str):
        self.command = [sys.executable, "-W", "ignore", "-m", "benchmarks.bounded", workload, row]

    def ends(self, tol: float | None, limit: float) -> bool:
        """Whether a fit ends, or fails, within `limit` seconds; imports, data and compilation do not count."""
        if self.process is None:
            self.process = subprocess.Popen(
                self.command,
                bufsize=0,  # `select` would not see what a buffer holds
                cwd=report.ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{json.dumps(tol)}\n".encode())
        self.process.stdin.flush()
        self.process.stdout.readline()  # it begins
        if select.select([self.process.stdout], [], [], limit)[0]:
            self.process.stdout.readline()
            return True
        self.close()
        return False

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def main(name: str, row_name: str) -> None:
    workload = RACES[name]
    row = next(r for r in workload.rows if r.name == row_name)
    problem = workload.load()
    with os.fdopen(os.dup(1), "w", buffering=1) as out, warnings.catch_warnings():
        os.dup2(2, 1)  # what a library prints is no answer
        warnings.simplefilter("ignore")
        try:
            corner = replace(problem, X=problem.X[:20, :30], y=problem.y[:20])
            row.prepare(corner, row.dtype)(1e-3)  # compiles what numba compiles, whatever the shape
            solve = row.prepare(problem, row.dtype)
        except Exception:  # it will fail again where the error is recorded
            solve = None
        for line in sys.stdin:
            out.write("begins\n")
            try:
                if solve is not None:
                    solve(json.loads(line))
            except Exception:  # as above
                solve = None
            out.write("ended\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
