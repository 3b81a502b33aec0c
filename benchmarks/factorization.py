"""Dictionaries of image patches, held-out objective against time: ``python -m benchmarks.factorization --k 100 --side 8``.

Everybody starts from the same rows. The target is where scikit-learn's `MiniBatchDictionaryLearning` stops by itself, at its
defaults: with coordinate descent in both precisions, and with LARS. Beside it the published online algorithm, `Baseline`,
in NumPy. Curves are judged in double precision on patches of other parts of the photographs, by codes solved to a gap of 1e-4.
Seconds are those of learning from rows in memory; jaxlearn's are warm, and its first fit, which compiles, is given apart.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from time import perf_counter

import numpy as np
from threadpoolctl import threadpool_limits

from . import report
from .data import patches
from .evaluate import dictionary_objective
from .factorization_peers import Snapshot, baseline, judge, marks, minibatch_dictionary, start, time_to


def ours(X, init, alpha, *, n_epochs, **options) -> tuple[list[Snapshot], float]:
    """The curve of the second fit, and seconds of the first."""
    from jaxlearn.decomposition import StochasticFactorization

    def fit(callback=None):
        model = StochasticFactorization(
            len(init),
            alpha=alpha,
            dict_init=init,
            max_iter=n_epochs,
            tol=0.0,
            random_state=0,
            callback=callback,
            **options,
        )
        begin = perf_counter()
        model.fit(X)
        return perf_counter() - begin

    curve, at, paused = [], marks(n_epochs * len(X)), 0.0

    def look(told):
        nonlocal at, paused
        if at and told.n_samples_seen >= at[0]:
            begin = perf_counter()
            curve.append(Snapshot(told.seconds - paused, told.n_samples_seen, np.array(told.state.dictionary)))
            at = [mark for mark in at if mark > told.n_samples_seen]
            paused += perf_counter() - begin

    first = fit(look)
    curve.clear()
    at, paused = marks(n_epochs * len(X)), 0.0
    fit(look)
    return curve, first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=50_000)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--side", type=int, default=8)
    parser.add_argument("--alpha", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--budget", type=float, default=60.0)
    given = parser.parse_args()
    records = []
    for seed in range(given.seeds):
        X, heldout, source = patches(given.n, given.side, seed=seed)
        init = start(X, given.k, seed=seed)

        def score(D, heldout=heldout[:1000]):
            return dictionary_objective(
                D / np.maximum(np.linalg.norm(D, axis=1, keepdims=True), 1), heldout, l1=given.alpha
            )

        at, curves = marks(given.epochs * len(X)), {}
        curves["jaxlearn"], first = ours(X, init, given.alpha, n_epochs=given.epochs)
        for algorithm, dtype in (("cd", "float64"), ("cd", "float32"), ("lars", "float32")):
            for n_jobs in (1, 2):
                curves[f"scikit-learn {algorithm}, {dtype}, n_jobs={n_jobs}"] = minibatch_dictionary(
                    X.astype(dtype),
                    init.astype(dtype),
                    given.alpha,
                    at=at,
                    budget=given.budget,
                    n_jobs=n_jobs,
                    fit_algorithm=algorithm,
                )
        with threadpool_limits(1):  # its small updates are slower on two
            curves["published online algorithm"] = baseline(
                X, init, given.alpha, at=at, budget=given.budget, n_epochs=given.epochs
            )
        judged = {name: judge(curve, score) for name, curve in curves.items()}
        for name, curve in judged.items():
            target = curve[-1].objective
            mine = time_to(judged["jaxlearn"], target)
            print(
                f"seed {seed}  {name:44} ends at {target:.5f} after {curve[-1].seconds:7.2f} s; jaxlearn is there after {mine:6.2f} s: {curve[-1].seconds / mine:5.1f}x",
                flush=True,
            )
        print(f"seed {seed}  jaxlearn: first fit, compiling, {first:.1f} s")
        records.append(
            {
                "seed": seed,
                "source": source,
                "first": first,
                "curves": {name: [list(map(float, point)) for point in curve] for name, curve in judged.items()},
            }
        )
    where = Path(__file__).parent / "results" / f"factorization_k{given.k}_side{given.side}.json"
    where.write_text(
        json.dumps({"options": vars(given), "circumstances": report.circumstances(), "records": records}, indent=1)
        + "\n"
    )


if __name__ == "__main__":
    main()
