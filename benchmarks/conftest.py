"""Benchmarks under pytest: the results are written when the session ends, one file for each race that was run."""

from __future__ import annotations

import pytest

from . import report


@pytest.fixture(scope="session")
def results():
    """Records by workload, of the races of this session."""
    held: dict[str, list[dict]] = {}
    yield held
    for records in held.values():
        report.save(records)
    if held:
        print(f"\n{report.render()}")
