"""k-means beside scikit-learn's and faiss's: ``python -m benchmarks.kmeans``.

From the same start: seconds of an iteration, from fits of 5 and of 25 passes; labels and inertia are compared in double precision.
Drawn starts: seconds of greedy k-means++, and what it leaves; a hundred runs from different starts.
"""

from __future__ import annotations

import argparse
import importlib.util
import warnings
from time import perf_counter

import numpy as np

from . import tables
from .data import fashion

SHORT, LONG = 5, 25


def inertia(X, centers) -> float:
    """Sum of squared distances to the nearest center, in double precision, some rows at a time."""
    total = 0.0
    centers = np.asarray(centers, float)
    for first in range(0, len(X), 4096):
        rows = X[first : first + 4096].astype(float)
        squares = np.square(rows).sum(1)[:, None] - 2 * rows @ centers.T + np.square(centers).sum(1)[None]
        total += np.maximum(squares.min(1), 0).sum()
    return total


def normals(n=100_000, p=32, seed=0):
    """Rows of one normal distribution: clusters without gaps, which take long."""
    return np.random.default_rng(seed).standard_normal((n, p)), f"recipe: normal rows, {n}×{p}, seed {seed}"


def fits(kind, n_clusters, start, max_iter):
    import sklearn.cluster

    import jaxlearn.cluster

    who, algorithm = kind.split()
    package = sklearn.cluster if who == "scikit-learn" else jaxlearn.cluster
    return package.KMeans(n_clusters, init=start, n_init=1, max_iter=max_iter, tol=0, algorithm=algorithm)


def best_time(run, repeats):
    """Seconds of the first run and of the best of some more, and what the last one made."""
    times = []
    for _ in range(1 + repeats):
        begin = perf_counter()
        made = run()
        times.append(perf_counter() - begin)
    return times[0], min(times[1:]), made


def by_iterations(source, X, n_clusters, repeats):
    start = X[:n_clusters].copy()
    rows = []
    for kind in ("scikit-learn lloyd", "scikit-learn elkan", "jaxlearn auto", "jaxlearn lloyd"):
        times = []
        for passes in (SHORT, LONG):
            first, warm, model = best_time(lambda n=passes, k=kind: fits(k, n_clusters, start, n).fit(X), repeats)
            times.append((first, warm, model.n_iter_))
        step = (times[1][1] - times[0][1]) / max(times[1][2] - times[0][2], 1)
        rows.append([source, n_clusters, str(X.dtype), kind, times[0][0], times[1][1], step, model])
    if importlib.util.find_spec("faiss") and X.dtype == np.float32:
        import faiss

        def run(passes):
            engine = faiss.Kmeans(
                X.shape[1], n_clusters, niter=passes, max_points_per_centroid=10**9, nredo=1, verbose=False
            )
            engine.train(X, init_centroids=start)
            return engine

        times = [best_time(lambda n=passes: run(n), repeats) for passes in (SHORT, LONG)]
        rows.append(
            [
                source,
                n_clusters,
                "float32",
                "faiss",
                times[0][0],
                times[1][1],
                (times[1][1] - times[0][1]) / (LONG - SHORT),
                None,
            ]
        )
    theirs, exact = rows[0][-1], inertia(X, rows[0][-1].cluster_centers_)

    def beside(model):
        if model is None or model is theirs:
            return None, None
        return float(np.mean(theirs.labels_ == model.labels_)), inertia(X, model.cluster_centers_) / exact - 1

    return [[*row[:-1], rows[0][6] / row[6], *beside(row[-1])] for row in rows]


def by_starts(source, X, n_clusters, repeats):
    import sklearn.cluster

    import jaxlearn.cluster

    rows = []
    for name, package in (("scikit-learn", sklearn.cluster), ("jaxlearn", jaxlearn.cluster)):
        first, warm, _ = best_time(lambda p=package: p.kmeans_plusplus(X, n_clusters, random_state=0), repeats)
        left = np.mean([inertia(X, package.kmeans_plusplus(X, n_clusters, random_state=i)[0]) for i in range(3)])
        rows.append([source, n_clusters, str(X.dtype), f"{name} k-means++", first, warm, left])
    return [[*row, rows[0][5] / row[5]] for row in rows]


def by_restarts(source, X, n_clusters, repeats):
    import sklearn.cluster

    import jaxlearn.cluster

    rows = []
    for name, package in (("scikit-learn", sklearn.cluster), ("jaxlearn", jaxlearn.cluster)):
        make = lambda p=package: p.KMeans(n_clusters, init="random", n_init=100, random_state=0).fit(X)  # noqa: E731
        first, warm, model = best_time(make, repeats)
        rows.append(
            [source, n_clusters, str(X.dtype), f"{name} 100 starts", first, warm, inertia(X, model.cluster_centers_)]
        )
    return [[*row, rows[0][5] / row[5]] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--n", type=int, default=60_000, help="images")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    images, _, source = fashion(given.n)
    X, recipe = normals()
    steps, starts = [], []
    for dtype in ("float32", "float64"):
        for data, name, n_clusters in ((X, recipe, 64), (images, source, 100)):
            for row in by_iterations(name, data.astype(dtype), n_clusters, given.repeats):
                steps.append(row)
                print(row, flush=True)
        small = X[:10_000].astype(dtype)
        for row in (
            *by_starts(recipe, X.astype(dtype), 64, given.repeats),
            *by_starts(source, images.astype(dtype), 100, 1),
            *by_restarts("recipe: normal rows, 10000×32, seed 0", small, 10, 1),
        ):
            starts.append(row)
            print(row, flush=True)
    ours = "labels as scikit-learn's", "inertia beside it"
    tables.keep(
        "kmeans",
        "k-means from the same start",
        "`python -m benchmarks.kmeans`: Lloyd's iterations, all from the first rows. *step* is the difference of fits of 25 and of 5 passes, over "
        "the difference of their passes; *first* compiles.",
        ["data", "k", "dtype", "who", "first fit, 5 passes", "25 passes", "step", "faster", *ours],
        [
            [
                *row[:4],
                *(tables.seconds(t) for t in row[4:7]),
                f"{row[7]:.1f}×",
                *("" if v is None else f"{v:.6g}" for v in row[8:]),
            ]
            for row in steps
        ],
        steps,
    )
    tables.keep(
        "kmeans_starts",
        "Starts of k-means",
        "`python -m benchmarks.kmeans`: greedy k-means++ (mean of what three seeds leave), and 100 runs from random rows.",
        ["data", "k", "dtype", "who", "first", "warm", "inertia", "faster"],
        [[*row[:4], *(tables.seconds(t) for t in row[4:6]), f"{row[6]:.6g}", f"{row[7]:.1f}×"] for row in starts],
        starts,
    )


if __name__ == "__main__":
    main()
