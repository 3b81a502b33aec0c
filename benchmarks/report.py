"""Results as a table and a figure: ``python -m benchmarks.report`` renders ``benchmarks/results``."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path

from . import data, grid_figure

__all__ = ["circumstances", "folder", "render", "save"]

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "XLA_FLAGS"]
COLUMNS = ["library", "dtype", "tol", "gap", "own certificate", "passes", "median", "minimum", "vs scikit-learn"]
COLUMNS += ["cold", "programs compiled cold, warm"]
PACKAGES = ["jax", "jaxlib", "numpy", "scipy", "scikit-learn", "celer", "skglm", "adelie"]
COLORS = {"jaxlearn": "#c4441c", "scikit-learn": "#2a6fb0", "celer": "#3a8f5c", "skglm": "#8a5fb0", "adelie": "#8a6d3b"}


def folder() -> Path:
    """Tiny runs prove nothing, and are kept apart."""
    kept, tiny = ROOT / "benchmarks" / "results", Path(tempfile.gettempdir()) / "jaxlearn-bench-tiny"
    path = Path(os.environ.get("JAXLEARN_BENCH_RESULTS", tiny if data.size() == "tiny" else kept))
    path.mkdir(parents=True, exist_ok=True)
    return path


def save(records: list[dict], suffix: str = "") -> None:
    """Write one race, with where and by what it was run."""
    content = {"run": circumstances(), "rows": records}
    (folder() / f"{records[0]['workload']}{suffix}.json").write_text(json.dumps(content, indent=1) + "\n")


def circumstances() -> dict:
    import cpuinfo
    import jax

    import jaxlearn

    status = _git("status", "--porcelain", "--", "jaxlearn", "benchmarks")
    cpu = cpuinfo.get_cpu_info()
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": _git("rev-parse", "--short", "HEAD") + (" with changes" if status else ""),
        "cpu": cpu.get("brand_raw", platform.processor()),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "environment": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "versions": {"jaxlearn": jaxlearn.__version__, **_versions()},
    }


def _versions() -> dict[str, str]:
    """Of the packages that are there: a race is run without a peer that is not."""
    found = {distribution.name.lower(): distribution.version for distribution in distributions()}
    return {name: found[name] for name in PACKAGES if name in found}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "none"


def render() -> Path:
    """Write README.md and results.png beside the results, and say where."""
    from .catalogue import RACES

    here = folder()
    named = [here / f"{name}{suffix}.json" for name in RACES for suffix in ("", "_1thread")]
    races = [json.loads(path.read_text()) for path in named if path.exists()]
    groups = [
        (race["run"], [r for r in race["rows"] if r["target"] == target])
        for race in races
        for target in sorted({r["target"] for r in race["rows"]}, reverse=True)
    ]
    large = [json.loads(path.read_text()) for path in sorted(here.glob("out_of_core_*.json"))]
    tables = {path: found for path in sorted(here.glob("*.json")) if "table" in (found := json.loads(path.read_text()))}
    parts = [_page(groups), *(line for found in large for line in _out_of_core(found))]
    if (grids := grid_figure.draw(here)) is not None:
        parts += [f"![Held-out objectives by time, with subsampled features and without]({grids.name})", ""]
    for path, found in tables.items():
        parts += _plain(found)
        if (picture := path.with_suffix(".png")).exists():
            parts += [f"![{found['title']}]({picture.name})", ""]
    (here / "README.md").write_text("\n".join(parts))
    _figure([rows for _, rows in groups], here / "results.png")
    return here / "README.md"


def _page(groups: list[tuple[dict, list[dict]]]) -> str:
    lines = [
        "# Timings",
        "",
        "Written by `python -m benchmarks.report`. `make bench` runs the races, `JAXLEARN_BENCH_FULL=1 make bench` the large",
        "ones as well, `python -m benchmarks.run NAME` one.",
        "",
        "Each row's answer is judged by one external evaluator in float64 (`benchmarks/evaluate.py`): its *gap* is the",
        "worst of a grid, in units of the empty model's objective. *tol* is the loosest of 1e-3, 1e-4, … at which the row",
        f"reaches the target. Times are the median and the minimum of {_repetitions(groups)} fits in one process, the",
        "rows in turn, NumPy arrays in and out. *Cold* is the first fit of a fresh process, compilation included and",
        "imports not. A row that misses the target has no time; in brackets is how long its best attempt took (*failed*:",
        "it raised an error; *stopped*: some races end a peer's fit that takes many times as long as ours). *vs scikit-learn*",
        "is the median of scikit-learn's fastest row of the same dtype over that of the row: above 1 is faster.",
        "",
        "The judge's dual point for a Lasso is the rescaled residual. A library that certifies itself by a better dual point,",
        "as celer does, may be nearer to the optimum than its gap here; its own certificate shows by how much.",
        "",
        "The gap of principal components is the largest error of an eigenvalue, in units of the first that is left out, or",
        "a hundred times the share of the variance that they fail to keep, whichever is larger.",
        "",
        "![Medians, minima and cold starts](results.png)",
        "",
    ]
    for run, rows in groups:
        lines += _table(run, rows)
    return "\n".join(lines)


def _out_of_core(found: dict) -> list[str]:
    """Of `benchmarks.out_of_core`."""
    run, kept = found["run"], found["variance kept"]
    best = max(kept[name] for name in ("onepass", "krylov", "incremental"))
    lines = [
        f"## PCA, {found['components']} components, of a file of {found['bytes'] / 1e9:.0f} GB",
        "",
        f"Written by `python -m benchmarks.out_of_core`. {found['rows']:,} × {found['features']} in float16, dropped from the",
        f"system's cache before each reading; at most {found['limit'] / 1e9:g} GB of resident memory, asserted, for jaxlearn.",
        f"{run['cpu']}, {run['cores']} cores; commit {run['commit']}, {run['date']}.",
        "",
        "| | seconds | passes | GB read | peak memory | variance lost |",
        "|---|---|---|---|---|---|",
    ]
    rows = [
        ("reading alone", "reading", None),
        ("computing alone, blocks in memory", "computing", None),
        ("jaxlearn onepass", "onepass", None),
        ("a sixteenth of the rows: jaxlearn onepass", "onepass, a sixteenth", "onepass"),
        ("a sixteenth: jaxlearn krylov", "krylov, a sixteenth", "krylov"),
        ("a sixteenth: scikit-learn IncrementalPCA", "IncrementalPCA, a sixteenth", "incremental"),
    ]
    for title, key, name in rows:
        r = found[key]
        size = f"{r['bytes_read'] / 1e9:.1f}" if "bytes_read" in r else "–"
        lost = "–" if name is None else "best" if kept[name] == best else f"{1 - kept[name] / best:.1e}"
        cells = title, f"{r['seconds']:.1f}", str(r.get("passes", "–")), size, f"{r['peak'] / 1e9:.2f} GB", lost
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _plain(found: dict) -> list[str]:
    """Of what `benchmarks.tables` has kept."""
    run, lines = found["run"], [found["columns"], ["---"] * len(found["columns"]), *found["table"]]
    where = f"{run['cpu']}, {run['cores']} cores, load {run['load']}; commit {run['commit']}, {run['date']}."
    text = ["| " + " | ".join(cells) + " |" for cells in lines]
    return [f"## {found['title']}", "", found["about"], where, "", *text, ""]


def _repetitions(groups) -> str:
    counts = {len(r["seconds"]) for _, rows in groups for r in rows if r["reached"]}
    return " to ".join(str(n) for n in sorted({min(counts), max(counts)})) if counts else "no"


def _table(run: dict, rows: list[dict]) -> list[str]:
    versions = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
    settings = "".join(f", {name}={value}" for name, value in run["environment"].items() if name != "XLA_FLAGS")
    lines = [
        f"## {rows[0]['title']}, to {_short(rows[0]['target'])}",
        "",
        f"Data: {rows[0]['source']}. {run['cpu']}, {run['cores']} cores, on {run['device']}; commit {run['commit']}, "
        f"{run['date']}, load {run['load']}{settings}; Python {run['python']}, {versions}.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
    ]
    for r in rows:
        cold = r["cold"] or {}
        compiled = f"{cold['compiles']}, {r['warm_compiles']}" if cold.get("compiles") is not None else "–"
        own = "–" if r["certificate"] is None else f"{_short(r['certificate'])} ({r['certificate_is']})"
        cells = [
            r["library"],
            r["dtype"],
            _short(r["tol"]),
            _short(r["gap"]),
            own,
            "–" if r["passes"] is None else f"{r['passes']:,}",
            _outcome(r),
            _time(r["minimum"]),
            _ratio(r, rows),
            _time(cold.get("seconds")),
            compiled,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _outcome(row: dict) -> str:
    if row["reached"]:
        return _time(row["median"])
    if row.get("stopped") is not None:
        return f"stopped ({_time(row['stopped'])})"
    return f"missed ({_time(row['seconds'][0])})" if row["seconds"] else "failed"


def _short(number: float | None) -> str:
    return "–" if number is None else f"{number:.1e}".replace(".0e", "e")


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def _ratio(row: dict, rows: list[dict]) -> str:
    same = [r for r in rows if r["reached"] and r["dtype"] == row["dtype"]]
    peers = [r["median"] for r in same if r["library"].startswith("scikit-learn")]
    if row not in same or row["library"].startswith("scikit-learn") or not peers:
        return "–"
    return f"{min(peers) / row['median']:.2g} ×"


def _figure(groups: list[list[dict]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    heights = [len(rows) for rows in groups]
    fig, axes = plt.subplots(
        len(groups), 1, sharex=True, squeeze=False, figsize=(8, 0.6 + 0.21 * sum(heights) + 0.36 * len(groups)),
        height_ratios=heights, layout="constrained",
    )  # fmt: skip
    for ax, rows in zip(axes[:, 0], groups, strict=True):
        for y, r in enumerate(rows):
            color = next(c for name, c in COLORS.items() if r["library"].startswith(name))
            face = color if r["dtype"] == "float64" else "white"
            if r["reached"]:
                ax.plot([r["minimum"], r["median"]], [y, y], color=color, lw=1.5, zorder=2)
                ax.plot(r["median"], y, "o", ms=5.5, color=color, mfc=face, zorder=3)
                ax.plot(r["cold"]["seconds"], y, "|", ms=7, color=color, alpha=0.7)
            elif r["seconds"]:
                ax.plot(r["seconds"][0], y, "x", ms=5, color="0.6")
        ax.set_yticks(range(len(rows)), [f"{r['library']}, {r['dtype']}" for r in rows], fontsize=7)
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.set_xscale("log")
        ax.set_title(f"{rows[0]['title']}, to {_short(rows[0]['target'])}", fontsize=8, loc="left", pad=3)
        ax.tick_params(axis="x", labelsize=7)
        ax.grid(axis="x", lw=0.4, color="0.85")
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("seconds", fontsize=8)
    marks = [
        Line2D([], [], marker="o", ls="", color="0.3", ms=5.5, label="median, float64"),
        Line2D([], [], marker="o", ls="", color="0.3", mfc="white", ms=5.5, label="median, float32"),
        Line2D([], [], marker="|", ls="", color="0.3", ms=7, label="cold start"),
        Line2D([], [], marker="x", ls="", color="0.6", ms=5, label="missed the target"),
    ]
    fig.legend(handles=marks, loc="outside upper right", ncols=4, fontsize=7, frameon=False)
    fig.savefig(path, dpi=90)
    plt.close(fig)


if __name__ == "__main__":
    print(render())
