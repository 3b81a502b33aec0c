"""Does the automatic choice choose well? ``python -m benchmarks.solver_profile``.

Twenty problems (`benchmarks.solver_problems`), every solver of `LogisticRegression` and `Ridge` with default settings, and
scikit-learn's: each is given tighter tolerances until its objective is within 1e-4, and within 1e-8, of the least that any
reached, in units of what a model without features leaves; judged in double precision. Times are warm: the second fit.
"""

from __future__ import annotations

import argparse
import warnings
from time import perf_counter

import numpy as np

from . import report, tables
from .solver_problems import LOGISTIC, RIDGE

GOALS = 1e-4, 1e-8
# Most features whose matrix is factored: of 20,000 a factor takes minutes.
MOST_FACTORED = 6000
TOLERANCES = 1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10
SKETCHY = "sketchy-svrg", "sketchy-saga", "sketchy-katyusha"
SOLVERS = {
    "logistic": (("auto", "lbfgs", "newton-cholesky", *SKETCHY), ("lbfgs", "newton-cholesky")),
    "ridge": (("auto", "cholesky", "lsqr", "saga", *SKETCHY), ("auto", "sparse_cg")),
}


def objective(kind, model, X, y, alpha) -> float:
    """In double precision."""
    coef = np.ravel(model.coef_).astype(float)
    f = X @ coef + float(np.ravel(model.intercept_)[0])
    loss = np.logaddexp(0, np.where(y, -f, f)) if kind == "logistic" else 0.5 * np.square(y - f)
    return float(loss.mean() + alpha / 2 * coef @ coef)


def makers(kind, alpha, n, p):
    """Names, and what makes a model with a tolerance."""
    import sklearn.linear_model as theirs

    import jaxlearn.linear_model as ours

    name = "LogisticRegression" if kind == "logistic" else "Ridge"
    strength = {"C": 1 / (alpha * n)} if kind == "logistic" else {"alpha": alpha * n}
    mine, peers = SOLVERS[kind]
    for who, module, solvers in (("jaxlearn", ours, mine), ("scikit-learn", theirs, peers)):
        for solver in solvers:
            if p > MOST_FACTORED and solver in ("newton-cholesky", "cholesky"):
                continue
            options = {"solver": solver, "max_iter": 100 if solver in SKETCHY else 1000, "random_state": 0, **strength}
            yield f"{who} {solver}", lambda tol, m=module, o=options: getattr(m, name)(tol=tol, **o)


def race(kind, X, y, alpha, unit, budget):
    """For each solver, (tolerance, seconds, objective, seconds of the first fit, what ran) of ever tighter runs.

    The first solver goes through all tolerances, the others until they are a tenth of the last goal from the least so far.
    """
    curves, least = {}, -np.inf
    for name, make in makers(kind, alpha, *X.shape):
        curve, first = [], None
        curves[name] = curve
        for tol in TOLERANCES:
            model = make(tol)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                begin = perf_counter()
                try:
                    model.fit(X, y)
                except ValueError:  # what does not take this X
                    break
                took = perf_counter() - begin
                if first is None and name.startswith("jaxlearn"):
                    first, took = took, np.inf
                repeats = 5 if took < 0.02 else 0
                for _ in range(max(repeats, took == np.inf)):  # warm, and small problems more than once
                    begin = perf_counter()
                    model.fit(X, y)
                    took = min(took, perf_counter() - begin)
            curve.append([tol, took, objective(kind, model, X, y, alpha), first, getattr(model, "solver_", None)])
            if curve[-1][2] - least <= GOALS[-1] / 10 * unit:
                break
            if took > budget or (kind == "ridge" and len(curve) > 1 and curve[-1][2] == curve[-2][2]):
                break
            if len(curve) > 2 and curve[-1][2] >= curve[-2][2] >= curve[-3][2]:
                break  # no better for two tolerances: it has ended
        least = min(point[2] for curve in curves.values() for point in curve)
    return curves


def times(curves, unit):
    """Seconds to each goal."""
    least = min(point[2] for curve in curves.values() for point in curve)
    reached = lambda curve, goal: next((p[1] for p in curve if p[2] - least <= goal * unit), np.inf)  # noqa: E731
    return {name: [reached(curve, goal) for goal in GOALS] for name, curve in curves.items()}


def draw(found) -> None:
    """The share of problems that a solver ends within τ times of our best one's time."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", sharey=True)
    groups = {"auto": ("auto",), "L-BFGS": ("lbfgs",), "Newton": ("newton-cholesky",)}
    groups |= {solver: (solver,) for solver in SKETCHY}
    tau = np.geomspace(1, 100, 400)
    for i, (goal, ax) in enumerate(zip(GOALS, axes, strict=True)):
        for label, (solver,) in groups.items():
            ratios = []
            for kind, all_times in found:
                mine = {n.split(" ", 1)[1]: t[i] for n, t in all_times.items() if n.startswith("jaxlearn")}
                name = (
                    {"lbfgs": "saga", "newton-cholesky": "cholesky"}.get(solver, solver) if kind == "ridge" else solver
                )
                best = min(mine.values())
                ratios.append(mine.get(name, np.inf) / best if np.isfinite(best) else np.inf)
            share = [(np.array(ratios) <= t).mean() for t in tau]
            ax.step(
                tau,
                share,
                where="post",
                label=label,
                lw=3 if label == "auto" else 1.5,
                zorder=3 if label == "auto" else 2,
            )
        ax.set(xscale="log", xlabel="times the fastest of our solvers", title=f"to a gap of {goal:g}", ylim=(0, 1.02))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel(f"share of {len(found)} problems")
    axes[1].legend(loc="lower right", fontsize="small")
    fig.savefig(report.folder() / "solver_profile.png", dpi=90)
    plt.close(fig)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--budget", type=float, default=5, help="seconds after which a solver is given no tighter tolerance"
    )
    parser.add_argument("--problems", nargs="+", default=[])
    given = parser.parse_args()
    rows, measured, found = [], [], []
    for kind, problems in (("logistic", LOGISTIC), ("ridge", RIDGE)):
        for problem in problems:
            if given.problems and problem.__name__ not in given.problems:
                continue
            X, y, alpha = problem()
            share = y.mean()
            unit = -share * np.log(share) - (1 - share) * np.log(1 - share) if kind == "logistic" else y.var() / 2
            curves = race(kind, X, y, alpha, unit, given.budget)
            all_times = times(curves, unit)
            found.append((kind, all_times))
            name = f"{problem.__name__} {X.shape[0]}×{X.shape[1]}"
            measured.append([kind, name, curves])
            cells = [kind, name, curves["jaxlearn auto"][-1][4]]
            for i in range(len(GOALS)):
                for who in ("jaxlearn", "scikit-learn"):
                    best = min((t[i], n.split(" ", 1)[1]) for n, t in all_times.items() if n.startswith(who))
                    if who == "jaxlearn":
                        cells.append(tables.seconds(all_times["jaxlearn auto"][i]))
                    cells.append(f"{tables.seconds(best[0])} {best[1]}" if np.isfinite(best[0]) else "never")
            rows.append(cells)
            print(*cells, sep=" | ", flush=True)
    about = (
        "`python -m benchmarks.solver_profile`: default settings, double precision, warm. Seconds to within 1e-4 and 1e-8 of the least "
        'objective that any solver reached, in units of what a model without features leaves: `solver="auto"`, the fastest of our '
        "solvers in hindsight (auto among them), and the fastest of scikit-learn's. Each with the loosest tolerance that gets there."
    )
    columns = [
        "kind",
        "problem",
        "auto ran",
        "auto, 1e-4",
        "our best",
        "scikit-learn's best",
        "auto, 1e-8",
        "our best",
        "scikit-learn's best",
    ]
    if not given.problems:
        draw(found)
        tables.keep(
            "solver_profile", "The automatic choice of a solver, on twenty problems", about, columns, rows, measured
        )


if __name__ == "__main__":
    main()
