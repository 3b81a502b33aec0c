"""Linear models beside scikit-learn: a group is a workload and a target, a row a library and a dtype."""

from __future__ import annotations

import itertools

import pytest

from .data import size
from .workloads import WORKLOADS


class Replay:
    """A clock that replays durations: pytest-benchmark times each row by itself, but rows have to take turns."""

    def __init__(self):
        self.load([])

    def load(self, durations):
        self.ticks = iter(itertools.accumulate(itertools.chain.from_iterable((0.0, d) for d in durations)))

    def __call__(self):
        return next(self.ticks)


clock = Replay()


def rows_of(workloads):
    for workload in workloads:
        if workload.full_only and size() != "full":
            continue
        for target, row in itertools.product(workload.targets, workload.rows):
            group = f"{workload.name} to {target:.0e}"
            mark = pytest.mark.benchmark(group=group, timer=clock)
            yield pytest.param(
                workload, target, row, marks=mark, id=f"{group} {row.library} {row.dtype}".replace(" ", "-")
            )


@pytest.mark.parametrize(("workload", "target", "row"), list(rows_of(WORKLOADS.values())))
def test_row(workload, target, row, records, benchmark):
    run_row(workload, target, row, records, benchmark)


def run_row(workload, target, row, records, benchmark):
    """Time a row of a race, which the first of its rows runs."""
    key = target, row.library, row.dtype
    record = next(r for r in records(workload.name) if (r["target"], r["library"], r["dtype"]) == key)
    if not record["reached"]:
        missed = record["error"] or f"missed: gap {record['gap']} at tol={record['tol']}, target {target:.0e}"
        # a peer's miss is a line in the table, ours in double precision is a fault
        (pytest.fail if row.ours and row.dtype == "float64" else pytest.skip)(missed)
    if row.ours:
        assert record["warm_compiles"] == 0, "a repeated fit compiled again"
    clock.load(record["seconds"])
    benchmark.extra_info.update({k: record[k] for k in ("tol", "gap", "cold", "passes", "certificate", "source")})
    benchmark.pedantic(lambda: None, rounds=len(record["seconds"]))
