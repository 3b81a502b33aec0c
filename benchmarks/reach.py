"""Tables of races outside of pytest: each row's loosest tolerance that reaches a target, its time, and how far ours are ahead."""

from __future__ import annotations

import argparse
from statistics import median

import numpy as np

from . import data, tables
from .race import Runner
from .workloads import Workload

__all__ = ["command", "reach"]


def reach(workload: Workload, target: float, rows, repeats: int) -> list[dict]:
    """A record for each row. Those that reach the target are timed again in turn, except for fits that take a minute."""
    problem = workload.load()
    runners = [Runner(workload, row, problem) for row in rows]
    found = []
    for runner in runners:
        trial = runner.search(target)
        found.append((runner, trial, [trial.seconds]))
        missed = trial.error or ("" if trial.gap <= target else "missed")
        print(
            f"{workload.name}: {runner.row.name}: tol={trial.tol} {trial.seconds:.3g} s, gap {trial.gap:.1e} {missed}",
            flush=True,
        )
    for _ in range(repeats - 1):
        for runner, trial, seconds in found:
            if trial.gap <= target and trial.seconds < 60:
                again, answer = runner.time(trial.tol)
                seconds.append(again)
                trial.gap = max(trial.gap, problem.gap(answer))  # what was timed is what is judged
    return [_record(problem, target, *each) for each in found]


def _record(problem, target, runner, trial, seconds) -> dict:
    answer, row = trial.answer, runner.row
    return {
        "workload": runner.workload.name,
        "title": runner.workload.title,
        "source": problem.source,
        "library": row.library,
        "dtype": row.dtype,
        "ours": row.ours,
        "target": target,
        "tol": trial.tol,
        "gap": float(trial.gap),
        "seconds": seconds,
        "median": median(seconds) if trial.gap <= target else np.inf,
        "passes": None if answer.passes is None else int(answer.passes),
        "certificate": None if answer.certificate is None else float(answer.certificate),
        "error": trial.error,
        "trials": [[t.tol, float(t.gap), t.seconds] for t in runner.trials],
    }


def _lines(records) -> list[list[str]]:
    """A line of the table for each record of one race."""
    lines = []
    for r in records:
        peers = [q["median"] for q in records if not q["ours"] and q["dtype"] == r["dtype"]]
        spent = (
            "failed"
            if r["error"]
            else f"({min(r['seconds']):.3g} s)"
            if r["median"] == np.inf
            else tables.seconds(r["median"])
        )
        ahead = tables.ratio(min(peers), r["median"]) if r["ours"] and min(peers, default=np.inf) < np.inf else ""
        numbers = (
            "" if r["tol"] is None else f"{r['tol']:.0e}",
            f"{r['gap']:.1e}",
            "" if r["passes"] is None else r["passes"],
        )
        lines.append([r["title"], f"{r['target']:.0e}", r["library"], r["dtype"], *numbers, spent, ahead])
    return lines


def command(name: str, title: str, about: str, workloads: dict[str, Workload], arguments=None) -> list[dict]:
    """The command line of a table of races.

    Parameters
    ----------
    name, title, about : str
        Of the table, as in `tables.keep`; `about` is continued by how it is to be read.
    workloads : dict
    arguments : list of str, optional
        In place of those of the process.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--workloads", nargs="+", choices=workloads, default=None, help="all, or but for large ones")
    parser.add_argument("--libraries", nargs="+", default=None, metavar="NAME", help="only rows that begin so")
    parser.add_argument("--dtypes", nargs="+", choices=("float64", "float32"), default=("float64", "float32"))
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args(arguments)
    chosen = given.workloads or [w.name for w in workloads.values() if data.size() == "full" or not w.full_only]
    records, lines = [], []
    for workload in map(workloads.get, chosen):
        rows = [r for r in workload.rows if r.dtype in given.dtypes]
        rows = [r for r in rows if given.libraries is None or r.library.startswith(tuple(given.libraries))]
        for target in workload.targets:
            found = reach(workload, target, rows, given.repeats)
            lines += _lines(found)
            records += found
    reading = (
        f"`python -m benchmarks.{name}`, {data.size()} size. *gap* is the worst of a grid, by a judge in double precision; *tol* the "
        f"loosest of 1e-3, 1e-4, … that reaches the target. Medians of {given.repeats} fits in turn, without compilation. In brackets is what the "
        "best attempt of a row took that never does. *faster* is beside the fastest other library of the same dtype."
    )
    columns = ["problem", "target", "who", "dtype", "tol", "gap", "passes", "seconds", "faster"]
    tables.keep(name, title, f"{about} {reading}", columns, lines, records)
    return records
