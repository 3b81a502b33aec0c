"""The curves of the grids of subsampled features, and how much sooner ours is where the published algorithm ends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from .factorization_peers import Judged, time_to

__all__ = ["draw"]

PUBLISHED, OURS = (1, 4, 12, 24), (1, 4, 12)
COLORS = {1: "#c4441c", 4: "#e0a13b", 8: "#8a8a3a", 12: "#2a6fb0", 24: "#7a5ca8"}


def draw(folder: Path) -> Path | None:
    """Write ``factorization_grid.png`` beside the results; None where there are none."""
    import matplotlib.pyplot as plt

    found = [path for path in sorted(folder.glob("factorization_grid_*.json")) if "memory" not in path.name]
    if not found:
        return None
    fig, axes = plt.subplots(2, len(found), figsize=(6 * len(found), 7), layout="constrained", squeeze=False)
    for column, path in zip(axes.T, found, strict=True):
        content = json.loads(path.read_text())
        seeds = [
            {name: [Judged(*p) for p in curve] for name, curve in r["curves"].items()} for r in content["measured"][1]
        ]
        _curves(column[0], seeds[0], content["title"])
        _ratios(column[1], seeds)
    path = folder / "factorization_grid.png"
    fig.savefig(path, dpi=90)
    plt.close(fig)
    return path


def _best(curves: dict[str, list[Judged]], r: int) -> list[Judged]:
    """Of our combinations with this r, the one that ends lowest."""
    mine = [curve for name, curve in curves.items() if name.startswith(f"r={r},")]
    return min(mine, key=lambda curve: min(point.objective for point in curve))


def _curves(axis, curves, title) -> None:
    for r in PUBLISHED:
        points = curves[f"published, r={r}, masked"]
        axis.plot(
            *zip(*[(p.seconds, p.objective) for p in points], strict=True),
            "--",
            color=COLORS[r],
            label=f"published, r = {r}",
        )
    for r in OURS:
        points = _best(curves, r)
        axis.plot(
            *zip(*[(p.seconds, p.objective) for p in points], strict=True),
            color=COLORS[r],
            lw=2,
            label=f"jaxlearn, r = {r}",
        )
    axis.set(xlabel="seconds (published: rows in memory)", ylabel="held-out objective", xscale="log", title=title)
    axis.legend(fontsize=8)


def _ratios(axis, seeds) -> None:
    """From the published algorithm at r = 1 to subsampling, and to ours: seconds to where each peer ends."""
    names = [f"published, r={r}, masked" for r in (1, 4, 8, 12, 24)]
    for i, name in enumerate(names):
        ratios = []
        for curves in seeds:
            end = min(curves[name], key=lambda point: point.objective)
            mine = min(
                time_to(curve, end.objective) for who, curve in curves.items() if not who.startswith("published")
            )
            ratios.append(end.seconds / mine if np.isfinite(mine) else np.nan)
        axis.bar(i, np.nanmedian(ratios), color="#c4441c", alpha=0.75)
        axis.plot([i] * len(ratios), ratios, "k.", ms=5)
    axis.axhline(1, color="0.5", lw=1)
    axis.set_xticks(range(len(names)), [name.removesuffix(", masked") for name in names], fontsize=8)
    axis.set(
        ylabel="times sooner where it ends",
        title="jaxlearn, best r, reading from disk\npoints are seeds, missing where ours ends above",
    )
