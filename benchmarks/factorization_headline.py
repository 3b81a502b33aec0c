"""200,000 features × 2,000,000 samples and the transpose, k = 70: ``python -m benchmarks.factorization_headline``.

No disk here holds them (1.6 TB in single precision): rows are made as they are read, and a slice is learnt from. What is
measured are samples a second, warm: of making rows alone, of learning from rows that are in memory, and of both together, which
overlap. An epoch is *extrapolated* from the last two: all batches of one size take as long. The published algorithm learns from
a smaller slice of the same rows, in memory.
"""

from __future__ import annotations

import argparse
from functools import partial
from time import perf_counter

import numpy as np
from threadpoolctl import threadpool_limits

from jaxlearn.access.virtual import lowrank, virtual

from . import tables
from .factorization_peers import baseline, start
from .processes import peak

K, RANK = 70, 70
SHAPES = {"talk": (2_000_000, 200_000), "transpose": (200_000, 2_000_000)}


def model(batch, r):
    from jaxlearn.decomposition import StochasticFactorization

    return StochasticFactorization(
        K,
        code_penalty="l2",
        alpha=0.1,
        reduction=r,
        batch_size=batch,
        max_iter=1,
        tol=0,
        n_validation=min(batch, 128),
        random_state=0,
    )


def rows_of(n, p, batch):
    return lowrank(0, n, p, RANK, block_size=batch)


def held(n, p, batch):
    """Blocks that were made before: one, again and again."""
    block = next(iter(rows_of(batch, p, batch).reader.blocks())).rows
    block = np.array(block)
    return virtual(lambda i: block, n, p, block_size=batch, name="held")


def learning(X, batch, r):
    """Samples a second of the second fit: of the whole of it, the choice of a dictionary and its judgement included."""
    n = X.shape[0]
    model(batch, r).fit(X)
    begin = perf_counter()
    model(batch, r).fit(X)
    return n / (perf_counter() - begin)


def making(n, p, batch):
    begin, reader = perf_counter(), rows_of(n, p, batch).reader
    for _block in reader.blocks():
        pass
    return n / (perf_counter() - begin)


def published(n, p, r, batch=100):
    X = np.array(next(iter(rows_of(n, p, n).reader.blocks())).rows)
    D = start(X, K)
    with threadpool_limits(1):
        curve = baseline(X, D, 0.1, at=[n], batch_size=batch, reduction=r)
    return n / curve[-1].seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--talk", type=int, nargs=2, default=(8192, 512), help="samples of the slice, and of a batch")
    parser.add_argument("--transpose", type=int, nargs=2, default=(256, 128))
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    given = parser.parse_args()
    for name in given.shapes:
        rows, measured, (n_all, p) = [], [], SHAPES[name]
        n, batch = getattr(given, name)
        shape = f"{n_all} × {p}"
        few = max(batch // 2, 100) // 100 * 100
        ways = {"making rows alone": partial(making, n, p, batch)}
        for r in (1, 12):
            ways[f"jaxlearn r={r}, rows in memory"] = partial(learning, held(n, p, batch), batch, r)
            ways[f"jaxlearn r={r}, rows made meanwhile"] = partial(learning, rows_of(n, p, batch), batch, r)
            ways[f"published r={r}, rows in memory"] = partial(published, few, p, r)
        rates = {}
        for what, measure in ways.items():
            rate = rates[what] = measure()
            rows.append([shape, what, f"{rate:.1f}" if rate < 100 else f"{rate:.0f}", f"{n_all / rate / 3600:.2f} h"])
            print(*rows[-1], flush=True)
        measured.append({"shape": [n_all, p], "slice": n, "batch": batch, "rates": rates, "peak": peak()})
        about = (
            f"`python -m benchmarks.factorization_headline`: rank {RANK} and noise, made from a seed; k={K}, ridge codes. A slice of "
            f"{n} samples in batches of {batch}; epochs are extrapolated. "
            f"Peak of resident memory {peak() / 1e9:.1f} GB."
        )
        columns = ["samples × features", "what", "samples a second", "an epoch, extrapolated"]
        tables.keep(
            f"factorization_headline_{name}",
            f"The matrix of the talk ({shape}): a slice, and what it says of the whole",
            about,
            columns,
            rows,
            measured,
        )


if __name__ == "__main__":
    main()
