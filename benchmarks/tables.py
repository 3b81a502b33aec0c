"""Tables of benchmarks that are no races: printed, and kept beside what was measured, for `benchmarks.report` to show."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from . import report

__all__ = ["keep", "ratio", "seconds"]


def keep(
    name: str, title: str, about: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], measured: Any
) -> None:
    """Print a table, and write it with what was measured.

    Parameters
    ----------
    name : str
        Of the file, ``results/<name>.json``.
    title, about : str
    columns : sequence of str
    rows : sequence of sequences
        Cells are shown as they are.
    measured : anything that JSON holds
        Curves, gaps, options: all that the table was made from.
    """
    text = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(columns), *text]) for i in range(len(columns))]
    for line in [list(columns), *text]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(), flush=True)
    content = {"title": title, "about": about, "columns": list(columns), "table": text, "measured": measured}
    content["run"] = report.circumstances()
    (report.folder() / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def seconds(value: float) -> str:
    return "never" if value == float("inf") else f"{value:.3g} s"


def ratio(theirs: float, ours: float) -> str:
    """How many times faster ours is, where it gets there."""
    return "–" if ours == float("inf") else f"{theirs / ours:.1f}×"
