"""Whether it pays to subsample features, out of core: ``python -m benchmarks.factorization_grid fmri``, or ``hyperspectral``.

All reductions r, batches that grow or not, two weights u, rows and columns in tiles of a random order or as they were
recorded: each combination learns from a file that was dropped from the system's cache, reading inside of its seconds. Held-out
objectives are judged in double precision. The question is how soon a fit comes within some percent of the best objective
that any reached, by r; beside them the published algorithm, whose rows are in memory. ``--seeds 3`` repeats, for each r, the
combination that was best with the first seed. ``--in-memory`` gives ours its rows there too.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from jaxlearn import stream
from jaxlearn.access import write_tiles

from . import tables
from .data import fmri, hyperspectral
from .evaluate import dictionary_objective
from .factorization import ours
from .factorization_peers import Judged, baseline, judge, start, time_to
from .processes import drop

REDUCTIONS = 1, 4, 8, 12, 24
WITHIN = 0.05, 0.01
# Atoms of the scans lie in a ball of the l1 norm: their numbers are small, those of codes large, and the ridge acts on those.
PROBLEMS = {
    "fmri": {"k": 70, "alpha": 1e-5, "code_penalty": "l2", "atom_ball": "l1"},
    "hyperspectral": {"k": 100, "alpha": 0.1, "code_penalty": "l1", "atom_ball": "l2"},
}


def rows_of(problem: str, n: int, seed: int) -> tuple[np.ndarray, np.ndarray, str]:
    if problem == "fmri":
        return fmri(n, 50_000, 70, n_heldout=500, seed=seed)
    return hyperspectral(n, n_heldout=500, seed=seed)


class Files:
    """One matrix twice: as it was recorded, and in tiles of a random order."""

    def __init__(self, X: np.ndarray, folder: Path, block: int, seed: int):
        self.X, self.recorded, self.tiles, self.block = X, folder / "rows.npy", folder / "tiles", block
        np.save(self.recorded, X)
        write_tiles(X, self.tiles, dtype="float32", tile_rows=block, seed=seed)

    def open(self, order: str):
        """Nothing of it is in the system's cache; "memory" is the array itself."""
        if order == "memory":
            return self.X
        for path in [self.recorded, *self.tiles.iterdir()]:
            drop(path)
        if order == "random":
            return stream(self.tiles)
        return stream(np.load(self.recorded, mmap_mode="r"), block_size=self.block)


def marks(n: int, epochs: int) -> list[int]:
    return sorted({int(n * share) for share in (0.1, 0.2, 0.35, 0.5, 0.75, *(1 + np.arange(2 * epochs - 1) / 2))})


def measure(
    problem: str, X, heldout, combinations, *, epochs: int, seed: int, budget: float
) -> dict[str, list[Judged]]:
    options = dict(PROBLEMS[problem])
    k, alpha, ball = options.pop("k"), options["alpha"], options["atom_ball"]
    ratio, n = float(ball == "l1"), len(X)
    strengths = {"l1": alpha} if options["code_penalty"] == "l1" else {"l1": 0.0, "l2": alpha}

    def score(D):
        norms = ratio * np.abs(D).sum(1, dtype=float) + (1 - ratio) * np.square(D, dtype=float).sum(1)
        shrunk = D / np.maximum(norms if ratio else np.sqrt(norms), 1)[:, None]  # what rounding left outside
        return dictionary_objective(shrunk, heldout, ball_l1_ratio=ratio, **strengths)

    D, at, curves = start(X, k, ball_l1_ratio=ratio, seed=seed), marks(n, epochs), {}
    with tempfile.TemporaryDirectory() as folder:
        files, compiled = Files(X, Path(folder), 1024, seed), set()
        for r, grows, decay, order in combinations:
            fit = partial(
                ours, init=D, at=at, reduction=r, batch_size="auto" if grows else 256, learning_decay=decay, **options
            )
            if (r, grows, order) not in compiled:
                fit(files.open(order), max_iter=1)
                compiled.add((r, grows, order))
            curve = fit(files.open(order), max_iter=epochs)
            name = f"r={r}, {'growing' if grows else 'fixed'}, u={decay}, {order}"
            try:
                curves[name] = judge(curve, score)
            except ValueError as error:  # it diverged
                print(name, error)
                continue
            print(f"{name:36}", " ".join(f"{p.seconds:.2f}s:{p.objective:.4f}" for p in curves[name]), flush=True)
    with threadpool_limits(1):
        for r, (correlation, gram) in product(REDUCTIONS, (("masked", "masked"), ("averaged", "full"))):
            if r == 1 and correlation == "averaged":
                continue
            name = f"published, r={r}, {correlation}"
            l1_ratio = float(options["code_penalty"] == "l1")
            settings = {
                "reduction": r,
                "correlation": correlation,
                "gram": gram,
                "ball_l1_ratio": ratio,
                "l1_ratio": l1_ratio,
            }
            curve = baseline(X, D, alpha, at=at, budget=budget, n_epochs=epochs, **settings)
            curves[name] = judge(curve, score)
            print(f"{name:36}", " ".join(f"{p.seconds:.2f}s:{p.objective:.4f}" for p in curves[name]), flush=True)
    return curves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problem", choices=PROBLEMS)
    parser.add_argument("--n", type=int, default=8000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds for each fit of the published algorithm")
    parser.add_argument("--in-memory", action="store_true")
    given = parser.parse_args()
    orders = ("memory",) if given.in_memory else ("random", "recorded")
    combinations = list(product((1, 12) if given.in_memory else REDUCTIONS, (True, False), (0.76, 0.92), orders))
    rows, records = [], []
    for seed in range(given.seeds):
        X, heldout, source = rows_of(given.problem, given.n, seed)
        curves = measure(given.problem, X, heldout, combinations, epochs=given.epochs, seed=seed, budget=given.budget)
        best = min(point.objective for curve in curves.values() for point in curve)
        for name, curve in curves.items():
            end = min(point.objective for point in curve)
            times = [tables.seconds(time_to(curve, best * (1 + share))) for share in WITHIN]
            rows.append([seed, name, f"{end:.5f}", *times, tables.seconds(curve[-1].seconds)])
        records.append(
            {
                "seed": seed,
                "best": best,
                "curves": {name: [list(map(float, p)) for p in c] for name, c in curves.items()},
            }
        )
        about = (
            f"`python -m benchmarks.factorization_grid {given.problem}`: {source.rsplit(',', 1)[0]}, {PROBLEMS[given.problem]}, "
            f"{given.epochs} epochs. Seconds to within 5 % and 1 % of the best objective of a seed, "
            + ("all rows in memory; " if given.in_memory else "reading from disk inside; ")
            + "the published algorithm has its rows in memory and one thread, which suits it best."
        )
        columns = ["seed", "who", "best objective", "to 5 %", "to 1 %", "all epochs"]
        tables.keep(
            f"factorization_grid_{given.problem}" + "_memory" * given.in_memory,
            f"Subsampled features: {given.problem}",
            about,
            columns,
            rows,
            [vars(given), records],
        )
        if seed == 0:  # of each r the combination that is first within the last bound, or else comes nearest
            combinations = [
                min((c for c in combinations if c[0] == r), key=partial(_rank, curves, best))
                for r in sorted({c[0] for c in combinations})
            ]


def _rank(curves, best, combination):
    r, grows, decay, order = combination
    curve = curves.get(f"r={r}, {'growing' if grows else 'fixed'}, u={decay}, {order}", [])
    end = min((point.objective for point in curve), default=np.inf)
    return time_to(curve, best * 1.01), time_to(curve, best * 1.05), end


if __name__ == "__main__":
    main()
