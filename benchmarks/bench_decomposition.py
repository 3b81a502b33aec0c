"""Principal components beside scikit-learn."""

from __future__ import annotations

import pytest

from .bench_linear import rows_of, run_row
from .decompositions import WORKLOADS


@pytest.mark.parametrize(("workload", "target", "row"), list(rows_of(WORKLOADS.values())))
def test_row(workload, target, row, records, benchmark):
    run_row(workload, target, row, records, benchmark)
