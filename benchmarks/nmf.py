"""Non-negative factorizations beside scikit-learn: how long each takes to the error that scikit-learn ends with.

``python -m benchmarks.nmf [NAME ...]`` prints a line for each workload, dtype and number of iterations of the peer: its
relative error and seconds, ours with as few iterations as reach that error, and the ratio. Both take turns; a time is the least of
some repetitions, all of them warm, from X to the components.
"""

from __future__ import annotations

import sys
import warnings
from itertools import product
from time import perf_counter

import numpy as np
import sklearn.decomposition

import jaxlearn.decomposition

from . import data, tables

__all__ = ["WORKLOADS", "race"]

# Iterations that are tried, until the error is reached.
BUDGETS = [4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256]
REPETITIONS = 3
# Seconds from which on the peer is not repeated.
ONCE = 3.0


def _fashion(n):
    return lambda: data.fashion(n)[0][:n]


def _spectra():
    n, p, k = {"tiny": (500, 60, 8), "full": (100_000, 10_000, 64)}.get(data.size(), (20_000, 2000, 64))
    return data.spectra(n, p, k)[0]


def _nmf(library, k):
    return lambda budget: library.NMF(k, max_iter=budget, tol=0, random_state=0)


def _minibatch(library, k):
    return lambda budget: library.MiniBatchNMF(k, max_iter=budget, random_state=0)


# name: rows, estimator, components, iterations of the peer
WORKLOADS = {
    "nmf_fashion_16": (_fashion(10_000), _nmf, 16, (50, 200)),
    "nmf_fashion_64": (_fashion(10_000), _nmf, 64, (50, 200)),
    "nmf_spectra_64": (_spectra, _nmf, 64, (20, 100)),
    "minibatch_fashion_16": (_fashion(10_000), _minibatch, 16, (200,)),
    "minibatch_fashion_64": (_fashion(10_000), _minibatch, 64, (200,)),
    "minibatch_spectra_64": (_spectra, _minibatch, 64, (200,)),
}


TITLE = "Non-negative factorizations"
ABOUT = (
    "`python -m benchmarks.nmf`: iterations, relative error and seconds of scikit-learn, and ours with as few iterations as reach "
    "that error (of 4, 6, 8, 12, 16, …). Both start by themselves, from their defaults; times are warm, the least of three; of a peer "
    "that takes more than three seconds, one."
)
COLUMNS = ["workload", "dtype", "scikit-learn", "error", "seconds", "jaxlearn", "error", "seconds", "faster"]


def race(X: np.ndarray, make, k: int, budget: int) -> dict:
    """The peer's error after `budget` iterations, its seconds, and ours to that error."""
    theirs, ours = make(sklearn.decomposition, k), make(jaxlearn.decomposition, k)
    norm = np.linalg.norm(X)
    peer, model = _timed(theirs(budget), X), None
    for tried in BUDGETS:
        model = _timed(ours(tried), X)
        if model[1].reconstruction_err_ <= peer[1].reconstruction_err_:
            break
    reached = model[1].reconstruction_err_ <= peer[1].reconstruction_err_
    seconds = [[peer[0]], []]
    for repetition in range(REPETITIONS):
        seconds[1].append(_timed(ours(tried), X)[0])
        if repetition and peer[0] < ONCE:
            seconds[0].append(_timed(theirs(budget), X)[0])
    least = [min(s) for s in seconds]
    return {
        "peer": {
            "iterations": peer[1].n_iter_,
            "error": float(peer[1].reconstruction_err_ / norm),
            "seconds": least[0],
        },
        "ours": {
            "iterations": model[1].n_iter_,
            "error": float(model[1].reconstruction_err_ / norm),
            "seconds": least[1],
        },
        "ratio": least[0] / least[1] if reached else np.nan,
    }


def _timed(model, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the error says what a convergence warning says
        start = perf_counter()
        model.fit(X)
        return perf_counter() - start, model


def main(names: list[str]) -> None:
    rows, measured = [], []
    for name in names or WORKLOADS:
        load, make, k, budgets = WORKLOADS[name]
        X = load()
        for dtype, budget in product(("float32", "float64"), budgets):
            found = race(X.astype(dtype), make, k, budget)
            each = [
                (w["iterations"], f"{w['error']:.5f}", tables.seconds(w["seconds"]))
                for w in (found["peer"], found["ours"])
            ]
            rows.append([name, dtype, *each[0], *each[1], f"{found['ratio']:.1f}×"])
            measured.append({"name": name, "dtype": dtype, "shape": X.shape, **found})
            tables.keep("nmf" + "".join(f"_{name}" for name in names), TITLE, ABOUT, COLUMNS, rows, measured)


if __name__ == "__main__":
    main(sys.argv[1:])
