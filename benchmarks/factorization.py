"""Dictionaries of image patches, held-out objective against time: ``python -m benchmarks.factorization --k 100 --side 8``.

Everybody starts from the same rows. A target is where a peer ends: scikit-learn's `MiniBatchDictionaryLearning` where it
stops by itself, at its defaults, with coordinate descent (in double precision, four times faster there than in single) and
with LARS; and the published online algorithm, `Baseline`, in NumPy, after the same epochs, at r = 1 and at r = 12, of which
the masked and the averaged form both run. Curves are judged in double precision on patches of other parts of the photographs, by codes solved to a gap of
1e-4. Seconds are those of learning from rows in memory; jaxlearn's are warm, and its first fit, which compiles, is given
apart. A peer that its budget cut short is compared where it was then.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from . import tables
from .data import patches
from .evaluate import dictionary_objective
from .factorization_peers import Clock, Snapshot, baseline, judge, marks, minibatch_dictionary, start, time_to

N_JUDGED = 500
SUBSAMPLED = {
    "masked": {"reduction": 12, "correlation": "masked", "gram": "masked"},
    "averaged": {"reduction": 12, "correlation": "averaged", "gram": "full"},
}


def ours(X, init, *, at, **options) -> list[Snapshot]:
    """The curve of one fit, from the call of `fit` on."""
    from jaxlearn.decomposition import StochasticFactorization

    def look(told):
        clock.look(told.n_samples_seen, lambda: told.components)

    model = StochasticFactorization(len(init), dict_init=init, tol=0.0, random_state=0, callback=look, **options)
    clock = Clock(at, np.inf)
    model.fit(X)
    return clock.curve


def race(X, init, alpha, *, epochs, budget) -> tuple[dict[str, list[Snapshot]], float]:
    """Everybody's curve, and the seconds of our first fit."""
    at = marks(epochs * len(X), ratio=1.5)
    mine = partial(ours, X, init, at=at, alpha=alpha, max_iter=epochs)
    first = mine()[-1].seconds
    curves = {"jaxlearn": mine()}
    for algorithm, dtype, n_jobs in (("cd", "float64", 1), ("cd", "float64", 2), ("lars", "float32", 2)):
        curves[f"scikit-learn {algorithm}, {dtype}, n_jobs={n_jobs}"] = minibatch_dictionary(
            X.astype(dtype), init.astype(dtype), alpha, at=at, budget=budget, n_jobs=n_jobs, fit_algorithm=algorithm
        )
    published = partial(baseline, X, init, alpha, l1_ratio=1.0, at=at, budget=budget, n_epochs=epochs)
    with threadpool_limits(1):  # its small updates are slower on two
        curves["published, r=1"] = published()
        for name, options in SUBSAMPLED.items():
            curves[f"published, r=12, {name}"] = published(**options)
    return curves, first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=50_000)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--side", type=int, default=8)
    parser.add_argument("--alpha", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--budget", type=float, default=60.0)
    given = parser.parse_args()
    records, rows = [], []
    for seed in range(given.seeds):
        X, heldout, source = patches(given.n, given.side, seed=seed)
        curves, first = race(X, start(X, given.k, seed=seed), given.alpha, epochs=given.epochs, budget=given.budget)

        def score(D, X=heldout[:N_JUDGED]):  # an atom that rounding left outside of the ball is brought back
            return dictionary_objective(D / np.maximum(np.linalg.norm(D, axis=1, keepdims=True), 1), X, l1=given.alpha)

        judged = {name: judge(curve, score) for name, curve in curves.items()}
        for name, curve in judged.items():
            end = min(curve, key=lambda point: point.objective)
            mine = time_to(judged["jaxlearn"], end.objective)
            cells = (
                f"{end.objective:.5f}",
                f"{end.n_seen / given.n:.2f}",
                tables.seconds(end.seconds),
                tables.seconds(mine),
            )
            rows.append([seed, name, *cells, tables.ratio(end.seconds, mine)])
            print(*rows[-1], flush=True)
        rows.append([seed, "jaxlearn, first fit, compiling", "", "", tables.seconds(first), "", ""])
        points = {name: [list(map(float, point)) for point in curve] for name, curve in judged.items()}
        records.append({"seed": seed, "first": first, "curves": points})
        about = (
            f"`python -m benchmarks.factorization --k {given.k} --side {given.side}`: {source.rsplit(',', 1)[0]}, "
            f"alpha={given.alpha:g}, at most {given.epochs} epochs for us and for the published algorithm, {given.budget:g} s for each peer. "
            "An objective is the best of the curve, on held-out patches; *jaxlearn* is when ours is there."
        )
        columns = ["seed", "who", "objective", "epochs", "seconds", "jaxlearn", "faster"]
        title = f"Dictionaries of {given.k} atoms of {given.side}×{given.side} patches"
        tables.keep(f"factorization_k{given.k}_side{given.side}", title, about, columns, rows, [vars(given), records])


if __name__ == "__main__":
    main()
