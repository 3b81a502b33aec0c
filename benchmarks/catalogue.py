"""All races, by name."""

from __future__ import annotations

from . import decompositions, elastic_net_cv, lassos, structured, workloads

__all__ = ["RACES"]

RACES = {
    **lassos.WORKLOADS,
    **elastic_net_cv.WORKLOADS,
    **structured.WORKLOADS,
    **workloads.WORKLOADS,
    **decompositions.WORKLOADS,
}
