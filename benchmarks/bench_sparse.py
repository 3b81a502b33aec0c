"""Sparse least squares beside scikit-learn, celer, skglm and adelie."""

from __future__ import annotations

import pytest

from . import elastic_net_cv, lassos, structured
from .bench_linear import rows_of, run_row

WORKLOADS = {**lassos.WORKLOADS, **elastic_net_cv.WORKLOADS, **structured.WORKLOADS}


@pytest.mark.parametrize(("workload", "target", "row"), list(rows_of(WORKLOADS.values())))
def test_row(workload, target, row, records, benchmark):
    run_row(workload, target, row, records, benchmark)
