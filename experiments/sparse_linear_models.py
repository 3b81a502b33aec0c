"""
Linear models against time
==========================

How far an answer is from the optimum, by a judge in double precision that belongs to no library, against the seconds that it
took. Each point is a fit from the beginning at a tolerance of 1e-1, 1e-2, …, timed the second time, so that nothing is compiled.
A line ends where no smaller gap is worth having, or after a fit that took longer than the limit; other libraries' fits are ended
at it, where the race can do that.

``python experiments/sparse_linear_models.py`` draws six small problems in some minutes. Names draw others, `--names` lists them,
and `JAXLEARN_BENCH_FULL=1` takes the sizes of their titles: all of them are a matter of hours.
"""

import argparse
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

from benchmarks import catalogue, lassos, softmax, sparse_logistic, structured
from benchmarks.race import Runner
from benchmarks.report import COLORS

mpl.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import NullFormatter  # noqa: E402

RACES = {**lassos.WORKLOADS, **structured.WORKLOADS, **sparse_logistic.WORKLOADS, **softmax.WORKLOADS}
SMALL = [
    "lasso_leukemia",
    "lasso_equi_200x5000_rho0.4",
    "lasso_toep_500x600_0.05",
    "tall_rho0.4",
    "wide_rho0.4",
    "texts",
]
TOLERANCES = [10.0**-k for k in range(1, 13)]
BEST = 1e-9  # a gap that is not worth improving

parser = argparse.ArgumentParser(description=__doc__.splitlines()[2])
parser.add_argument("names", nargs="*", default=SMALL, metavar="NAME")
parser.add_argument("--names", action="store_true", dest="listed", help="list them")
parser.add_argument("--limit", type=float, default=10.0, help="seconds of a fit")
given = parser.parse_args()
if given.listed:
    sys.exit("\n".join(RACES))
if unknown := [name for name in given.names if name not in RACES]:
    parser.error(f"no races of these names: {unknown}; --names lists those that there are")


def curve(runner):
    """Seconds and gaps of a row, from the loosest tolerance to the first that is as good as can be."""
    if runner.workload.name in catalogue.RACES and not runner.row.ours:
        runner.limit = given.limit  # compiled code is ended from outside of its process
    points = []
    for tol in TOLERANCES:
        if tol < 8 * np.finfo(runner.row.dtype).eps:
            break
        if runner.row.ours and runner.trials:  # `attempt` sees to the first; a larger working set is another program
            runner.time(tol)
        trial = runner.attempt(tol)
        runner.trials.append(trial)
        if trial.error or trial.stopped:
            break
        points.append((trial.seconds, max(trial.gap, 1e-16)))
        if trial.gap < BEST or trial.seconds > given.limit:
            break
    if runner.limit is not None:
        runner.bounded.close()
    return points


# %%
# One panel for each problem
# --------------------------
# Solid lines are double precision, dashed ones single precision.

columns = min(3, len(given.names))
rows = -(-len(given.names) // columns)
figure, panels = plt.subplots(rows, columns, figsize=(5.2 * columns, 4.4 * rows), squeeze=False, layout="constrained")
for name, panel in zip(given.names, panels.flat, strict=False):
    workload = RACES[name]
    problem = workload.load()
    libraries = list(dict.fromkeys(row.library for row in workload.rows))
    for row in workload.rows:
        points = curve(Runner(workload, row, problem))
        print(
            f"{name}: {row.name}: " + ", ".join(f"{gap:.0e} at {seconds:.3g} s" for seconds, gap in points), flush=True
        )
        if not points:
            continue
        color = next(c for library, c in COLORS.items() if row.library.startswith(library))
        double, marker = row.dtype == "float64", "osv^D*XP"[libraries.index(row.library)]
        label = row.library if double else None
        panel.loglog(
            *zip(*points, strict=True), "-" if double else "--", c=color, marker=marker, ms=4, lw=1.3, label=label
        )
    panel.set(title=f"{problem.source.split(',')[0].removeprefix('recipe: ')}\n{name}", xlabel="seconds", ylabel="gap")
    panel.set_ylim(1e-12, 2)
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
for panel in panels.flat[len(given.names) :]:
    panel.axis("off")

# not __file__, which the gallery of the documentation does not define
picture = Path(sys.argv[0]).resolve().with_suffix(".png")
figure.savefig(picture, dpi=100)
print(f"The picture: {picture}")
