"""Nearest neighbours beside scikit-learn and faiss: ``python -m benchmarks.neighbors``.

All rows are searched by everyone, for the k nearest of each query, in single precision. Each answer is judged in double
precision on some of the queries: the share of the true neighbours that it has (those at the k-th distance, up to rounding,
all count), and the largest relative error of its distances. The *product* is that of queries and rows alone, which no search
by products can do without: the share of its speed that is reached is given.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import numpy as np

from . import tables
from .data import fashion, folder, size

JUDGED = 100


def workloads(n_queries: int):
    """(name, rows, queries, k)."""
    images, _, source = fashion(60_000)
    path = (folder() or Path()) / "fashion_mnist.npz"
    if path.exists() and size() != "tiny":
        with np.load(path) as file:
            others = file["X_test"].reshape(-1, images.shape[1])[:n_queries] / np.float32(255)
    else:  # the same images, with noise
        others = images[: len(images) // 6] + 0.1 * np.random.default_rng(1).random((len(images) // 6, images.shape[1]))
    yield source, np.ascontiguousarray(images, np.float32), np.ascontiguousarray(others, np.float32), 5
    rng = np.random.default_rng(0)
    shapes = [(2_000, 32)] if size() == "tiny" else [(50_000, 32), (1_000_000, 32)]
    for n, p in shapes:
        centers = rng.standard_normal((100, p)) * 2
        rows = (centers[rng.integers(0, 100, n + n_queries)] + rng.standard_normal((n + n_queries, p))).astype(
            np.float32
        )
        m = n_queries if n <= 50_000 else n_queries // 10  # scikit-learn takes minutes for all
        yield f"100 Gaussian clusters, {n:,} × {p}", rows[n_queries:], rows[:m], 10


def ours(rows, k):
    from jaxlearn.neighbors import NearestNeighbors

    model = NearestNeighbors(n_neighbors=k).fit(rows)
    return lambda queries: model.kneighbors(queries)


def scikit_learn(rows, k):
    from sklearn.neighbors import NearestNeighbors

    model = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(rows)
    return lambda queries: model.kneighbors(queries)


def faiss_flat(rows, k):
    import faiss

    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(rows)  # pyright: ignore

    def search(queries):
        squares, places = index.search(queries, k)  # pyright: ignore
        return np.sqrt(np.maximum(squares, 0)), places

    return search


def product(rows, _):
    """What the search cannot do without, alone; behind a barrier, so that nothing is left out though one number is looked at."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    @jax.jit
    def run(X, Q):
        def step(total, x):
            products = lax.optimization_barrier(jnp.matmul(x, Q.T, precision=lax.Precision.HIGHEST))
            return total + products[0, 0], None

        tile = max(min(2048, len(X)), 1)
        return lax.scan(step, jnp.zeros((), X.dtype), X[: len(X) // tile * tile].reshape(-1, tile, X.shape[1]))[0]

    def all_of(queries):
        blocks = [queries[i : i + 512] for i in range(0, len(queries), 512)]
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda Q: jax.block_until_ready(run(rows, Q)), blocks))

    return all_of


WAYS = {"jaxlearn": ours, "scikit-learn": scikit_learn, "faiss-flat": faiss_flat, "the product alone": product}


def kth_distances(rows, queries, k):
    """Of the queries that are judged, in double precision: (their numbers, the distance of the k-th nearest row)."""
    judged = np.linspace(0, len(queries) - 1, min(JUDGED, len(queries))).astype(int)
    least = np.full((len(judged), k), np.inf)
    Q = queries[judged].astype(np.float64)
    for i in range(0, len(rows), 10_000):
        X = rows[i : i + 10_000].astype(np.float64)
        squares = np.square(Q).sum(1)[:, None] - 2 * Q @ X.T + np.square(X).sum(1)[None]
        least = np.partition(np.concatenate([least, squares], axis=1), k - 1, axis=1)[:, :k]
    return judged, np.sqrt(np.maximum(least.max(1), 0))


def judge(rows, queries, found, kth) -> tuple[float, float]:
    """Share of the nearest that were found, and the largest relative error of a distance."""
    distances, places = found
    judged, limits = kth
    true = np.sqrt(np.square(rows[places[judged]].astype(np.float64) - queries[judged, None]).sum(-1))
    error = np.abs(distances[judged] - true) / np.maximum(true, 1e-12)
    return float(np.mean(true <= limits[:, None] * (1 + 1e-5))), float(error.max())


def measure(make, rows, queries, k, repeats) -> dict:
    begin = perf_counter()
    search = make(rows, k)
    fitted = perf_counter() - begin
    times = []
    for _ in range(1 + repeats):
        begin = perf_counter()
        found = search(queries)
        times.append(perf_counter() - begin)
    return {"fit": fitted, "first": times[0], "warm": float(np.median(times[1:])), "all": times, "found": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--queries", type=int, default=10_000)
    given = parser.parse_args()
    rows, measured = [], []
    for name, X, Q, k in workloads(given.queries):
        results = {}
        for who, make in WAYS.items():
            try:
                results[who] = measure(make, X, Q, k, given.repeats)
            except ImportError as missing:
                print(f"{who} is left out: {missing}", flush=True)
        kth = kth_distances(X, Q, k)
        peer, alone = results["scikit-learn"]["warm"], results["the product alone"]["warm"]
        for who, result in results.items():
            found, warm = result.pop("found"), result["warm"]
            recall, error = (None, None) if who == "the product alone" else judge(X, Q, found, kth)
            cells = ["–", "–"] if recall is None else [f"{recall:.4f}", f"{error:.1e}"]
            measured.append(
                {"data": name, "who": who, "k": k, "queries": len(Q), "recall": recall, "error": error, **result}
            )
            shape = f"{name}; {len(Q):,} queries, k = {k}"
            times = tables.seconds(result["fit"]), tables.seconds(result["first"]), tables.seconds(warm)
            rows.append([shape, who, *cells, *times, tables.ratio(peer, warm), f"{alone / warm:.0%}"])
            print(rows[-1], flush=True)
    about = (
        "`python -m benchmarks.neighbors`: exact search in single precision; *found* is the share of the true neighbours, "
        "*error* the largest relative one of a distance, both judged in double precision on 100 queries; *first* compiles; "
        "*product* is the time of the matrix product of queries and rows, as a share of the time."
    )
    columns = ["data", "who", "found", "error", "fit", "first", "warm", "faster", "product"]
    tables.keep("neighbors", "Nearest neighbours", about, columns, rows, measured)


if __name__ == "__main__":
    main()
