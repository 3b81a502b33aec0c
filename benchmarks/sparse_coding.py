"""Sparse codes of image patches at one dictionary: ``python -m benchmarks.sparse_coding --n 50000 --k 256``.

Scikit-learn's `sparse_encode` solves row by row, by coordinate descent or by LARS. Ours is given the loosest tolerance at
which the mean and the largest duality gap of its codes, in units of ``½ ‖x‖²`` and in double precision, are both at most
scikit-learn's. Times are warm, the least of some repetitions in turn; the first call, which compiles, is apart.
"""

from __future__ import annotations

import argparse
from time import perf_counter

import numpy as np

from . import tables
from .data import patches
from .evaluate import codes_gap
from .factorization_peers import sparse_codes, start

TOLERANCES = [10.0**-e for e in range(3, 9)]


def learnt(X, k, alpha):
    """A dictionary that one epoch has made of random rows."""
    from jaxlearn.decomposition import StochasticFactorization

    model = StochasticFactorization(k, alpha=alpha, dict_init=start(X, k), max_iter=1, tol=0, random_state=0)
    return model.fit(X).components_


def ours(X, D, alpha, tol):
    """(seconds, codes)."""
    from jaxlearn.estimators.encoding import encode_rows
    from jaxlearn.objectives.penalties import ElasticNet

    begin = perf_counter()
    codes = encode_rows(X, D, ElasticNet(alpha, 1.0), tol=tol, max_steps=100).codes
    return perf_counter() - begin, codes


def judged(codes, D, X, alpha):
    """Mean and largest gap, in units of half the squared norm of a row."""
    units = 0.5 * np.square(X.astype(np.float64)).sum(1)
    gaps = codes_gap(codes, D, X, l1=alpha) / np.where(units > 0, units, 1)
    return float(gaps.mean()), float(gaps.max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=50_000)
    parser.add_argument("--k", type=int, default=256)
    parser.add_argument("--side", type=int, default=8)
    parser.add_argument("--alpha", type=float, default=0.1)
    parser.add_argument(
        "--peer-rows", type=int, default=10_000, help="LARS is given so many: its time is linear in them"
    )
    given = parser.parse_args()
    X, _, source = patches(given.n, given.side)
    D = learnt(X, given.k, given.alpha)
    rows, measured = [], []
    for algorithm, dtype in (("lasso_cd", "float64"), ("lasso_cd", "float32"), ("lasso_lars", "float32")):
        there = (
            X[: given.peer_rows].astype(dtype) if algorithm == "lasso_lars" or dtype == "float32" else X.astype(dtype)
        )
        share, d = len(there) / len(X), D.astype(dtype)
        times = {}
        for n_jobs in (1, 2):
            times[n_jobs], codes = sparse_codes(d, there, given.alpha, algorithm, n_jobs=n_jobs)
        theirs, mine = min(times.values()) / share, np.inf
        gap, found = judged(codes, d, there, given.alpha), (np.inf, np.inf)
        full = X.astype(dtype)
        for tol in TOLERANCES:
            first, codes = ours(full, d, given.alpha, tol)
            found = judged(codes[: len(there)], d, there, given.alpha)
            if found[0] <= gap[0] and found[1] <= gap[1]:
                mine = min(ours(full, d, given.alpha, tol)[0] for _ in range(3))
                break
        shown = [f"{value:.1e}" for value in (*gap, *found)]
        rows.append(
            [
                f"{algorithm}, {dtype}",
                tables.seconds(theirs),
                *shown[:2],
                tables.seconds(mine),
                *shown[2:],
                tables.ratio(theirs, mine),
            ]
        )
        measured.append(
            {
                "peer": algorithm,
                "dtype": dtype,
                "seconds": times,
                "rows": len(there),
                "gap": gap,
                "tol": tol,
                "ours": mine,
                "first": first,
                "our_gap": found,
            }
        )
        print(rows[-1], times, f"tol {tol:g}, first call {first:.1f} s, non-zero {np.mean(codes != 0):.1%}", flush=True)
        columns = ["scikit-learn", "seconds", "mean gap", "largest", "jaxlearn", "mean gap", "largest", "faster"]
        about = (
            f"`python -m benchmarks.sparse_coding`: {source}, k={given.k}, alpha={given.alpha:g}. Peers as the better of one and two "
            f"jobs; LARS, and single precision, on {given.peer_rows} rows, the time of all {given.n} in proportion."
        )
        tables.keep(f"sparse_coding_k{given.k}", "Sparse codes at equal gap", about, columns, rows, measured)


if __name__ == "__main__":
    main()
