"""Benchmarks under pytest: a race is run when its first row is asked for, and its results are written at once."""

from __future__ import annotations

from functools import cache

import pytest

from . import report
from .catalogue import RACES
from .race import race


@pytest.fixture(scope="session")
def records():
    """The records of a workload, by its name."""

    @cache
    def run(name):
        found = race(RACES[name])
        report.save(found)
        return found

    yield run
    if run.cache_info().currsize:
        report.render()


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"results: {report.folder()}")
