"""A race: find the tolerance at which each row is accurate enough, then time the rows in turn.

``python -m benchmarks.race WORKLOAD ROW TOL`` is one cold start: a fresh process, nothing compiled, one fit.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from time import perf_counter

import jax
import numpy as np

from . import data
from .bounded import Bounded
from .catalogue import RACES
from .workloads import Answer, Row, Workload

__all__ = ["Runner", "race"]

REPETITIONS = 5
PATIENCE = 300.0 if data.size() == "full" else 30.0  # seconds: after a longer fit no smaller tolerance is tried


class CountCompiles:
    """How many programs JAX compiled inside the ``with``."""

    count = 0

    def __enter__(self):
        jax.monitoring.register_event_duration_secs_listener(self._compiled)
        return self

    def __exit__(self, *exception):
        jax.monitoring.unregister_event_duration_listener(self._compiled)

    def _compiled(self, event, duration, **metadata):
        self.count += event == "/jax/core/compile/backend_compile_duration"


@dataclass
class Trial:
    tol: float | None
    gap: float
    seconds: float
    answer: Answer
    error: str | None = None
    stopped: bool = False  # after so many seconds, without an answer


@dataclass
class Runner:
    """A row on a problem, with the trials it has made."""

    workload: Workload
    row: Row
    problem: object
    trials: list[Trial] = field(default_factory=list)
    limit: float | None = None  # seconds after which a fit is stopped

    @cached_property
    def solve(self):
        return self.row.prepare(self.problem, self.row.dtype)

    def time(self, tol: float | None) -> tuple[float, Answer]:
        solve = self.solve
        gc.collect()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the judge says what a convergence warning says
            start = perf_counter()
            answer = solve(tol)
            return perf_counter() - start, answer

    @cached_property
    def bounded(self):
        return Bounded(self.workload.name, self.row.name)

    def attempt(self, tol: float | None) -> Trial:
        if self.limit is not None and not self.bounded.ends(tol, self.limit):
            return Trial(tol, np.inf, self.limit, Answer(None), stopped=True)
        try:
            if not self.trials:
                self.time(tol)  # compiles, imports
            seconds, answer = self.time(tol)
        except Exception as error:  # a library that cannot do it loses its row, not everybody's race
            return Trial(tol, np.inf, np.nan, Answer(None), f"{type(error).__name__}: {error}".splitlines()[0])
        gap = self.problem.gap(answer)
        return Trial(tol, gap if np.isfinite(gap) else np.inf, seconds, answer)

    def search(self, target: float) -> Trial:
        """The loosest tolerance of 1e-3, 1e-4, … whose answer reaches `target`.

        Where none does, the best answer: its gap is larger than `target`. None is asked of anybody that is near the
        rounding of the dtype (1e-6 in single precision is the last): some libraries then run for hours.
        """
        reached = next((t for t in self.trials if t.gap <= target), None)
        for tol in self._untried():
            if reached is not None or any(t.seconds > PATIENCE or t.stopped for t in self.trials):
                break
            self.trials.append(self.attempt(tol))
            reached = self.trials[-1] if self.trials[-1].gap <= target else None
        return reached or min(self.trials, key=lambda t: t.gap)

    def _untried(self):
        grid = [float(f"1e-{k}") for k in range(3, 16)] if self.row.iterative else [None]
        tried = {t.tol for t in self.trials}
        floor = 8 * np.finfo(self.row.dtype).eps
        return [tol for tol in grid if tol not in tried and (tol is None or tol >= floor)]

    def cold(self, tol: float | None) -> dict:
        """Seconds of the first fit in a fresh process, imports and data apart, and the programs it compiled."""
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "benchmarks.race",
            self.workload.name,
            self.row.name,
            repr(tol),
        ]
        environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
        root = Path(__file__).resolve().parents[1]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"cold start of {self.row.name} failed:\n{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])


def race(
    workload: Workload, tell: Callable[[str], None] = lambda line: None, repetitions: int = REPETITIONS
) -> list[dict]:
    """One record for each target and row; `tell` hears of each as it is found and as it is timed."""
    problem = workload.load()
    runners = [Runner(workload, row, problem) for row in workload.rows]
    records = []
    for target in workload.targets:
        found = []
        for runner in runners:
            runner.limit = _limit(runner, found, target)
            found.append((runner, trial := runner.search(target)))
            what = trial.error or ("stopped" if trial.stopped else f"gap {trial.gap:.1e} at tol={trial.tol}")
            tell(f"{workload.name} to {target:.0e}: {runner.row.name}: {what}, {trial.seconds:.3g} s")
        for runner in runners:
            runner.bounded.close()
        timed = {runner.row: [] for runner, trial in found if trial.gap <= target}
        compiles = dict.fromkeys(timed, 0)
        for repetition in range(repetitions):
            shift = repetition % len(found)  # each row starts a round once
            for runner, trial in found[shift:] + found[:shift]:
                if runner.row not in timed:
                    continue
                with CountCompiles() as compiled:
                    seconds, answer = runner.time(trial.tol)
                timed[runner.row].append(seconds)
                compiles[runner.row] += compiled.count
                trial.gap = max(trial.gap, problem.gap(answer))  # what was timed is what is judged
        for runner, trial in found:
            record = _record(runner, trial, target, timed.get(runner.row, []), compiles.get(runner.row))
            records.append(record)
            if record["reached"]:
                first = f"first {record['cold']['seconds']:.3g} s"
                tell(f"{workload.name} to {target:.0e}: {runner.row.name}: median {record['median']:.3g} s, {first}")
    return records


def _limit(runner: Runner, found: list, target: float) -> float | None:
    """Seconds that a peer may take: so many times ours of the same dtype, where ours arrived."""
    if runner.workload.cutoff is None or runner.row.ours:
        return None
    ours = [trial for other, trial in found if other.row.ours and other.row.dtype == runner.row.dtype]
    reached = [trial.seconds for trial in ours if trial.gap <= target]
    return runner.workload.cutoff * min(reached) if reached else PATIENCE


def _record(runner: Runner, trial: Trial, target: float, seconds: list[float], compiles: int | None) -> dict:
    answer, reached = trial.answer, trial.gap <= target
    return {
        "workload": runner.workload.name,
        "title": runner.workload.title,
        "source": runner.problem.source,
        "size": data.size(),
        "target": target,
        "library": runner.row.library,
        "dtype": runner.row.dtype,
        "tol": trial.tol,
        "gap": float(trial.gap) if np.isfinite(trial.gap) else None,
        "reached": bool(reached),
        "error": trial.error,
        "stopped": next((t.seconds for t in runner.trials if t.stopped), None) if not reached else None,
        "seconds": seconds if reached else [trial.seconds] if trial.error is None else [],
        "median": median(seconds) if reached else None,
        "minimum": min(seconds) if reached else None,
        "cold": runner.cold(trial.tol) if reached else None,
        "warm_compiles": compiles if runner.row.ours else None,
        "passes": None if answer.passes is None else int(answer.passes),
        "certificate": None if answer.certificate is None else float(answer.certificate),
        "certificate_is": answer.meaning if answer.certificate is not None else None,
        "trials": [
            {"tol": t.tol, "gap": None if t.stopped else float(t.gap), "seconds": t.seconds}
            for t in runner.trials
            if t.error is None
        ],
    }


def _cold_start(name: str, row_name: str, tol: str) -> None:
    workload = RACES[name]
    row = next(r for r in workload.rows if r.name == row_name)
    runner = Runner(workload, row, workload.load())
    _ = runner.solve  # imports and arrays
    with CountCompiles() as compiled:
        seconds, _ = runner.time(None if tol == "None" else float(tol))
    print(json.dumps({"seconds": seconds, "compiles": compiled.count if row.ours else None}))


if __name__ == "__main__":
    _cold_start(*sys.argv[1:])
