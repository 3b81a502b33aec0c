"""All races, by name."""

from __future__ import annotations

from . import decompositions, workloads

__all__ = ["RACES"]

RACES = {**workloads.WORKLOADS, **decompositions.WORKLOADS}
