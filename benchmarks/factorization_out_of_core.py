"""A dictionary of a file that memory does not hold: ``python -m benchmarks.factorization_out_of_core --gigabytes 16``.

The file is written once and dropped from the system's cache before each reading. Each part runs in a process of its own, and
jaxlearn's fail if their resident memory passes the limit: one epoch of `StochasticFactorization`, reading all of its blocks
and computing nothing, and computing as many blocks that are in memory already. The disk's own rate is that of plain reads of
16 MB into one buffer.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from . import processes, tables
from .processes import peak

P, K, BLOCK, RANK = 50_000, 70, 512, 70
ALPHA = 0.01


# Each of these runs in a process of its own, and returns what it prints. The parent stays small: its memory counts as theirs.


def write(path: Path, gigabytes: float) -> dict:
    """Rows of unit norm about: factors, as strong as ``1, 1/√2, 1/√3, …``, and noise of the same energy."""
    n_rows = int(gigabytes * 1e9 / (4 * P)) // BLOCK * BLOCK
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((RANK, P), np.float32) * np.arange(1, RANK + 1, dtype=np.float32)[:, None] ** -0.5
    factors *= np.float32(np.sqrt(0.5 / np.square(factors).sum()))
    noise = np.float32(np.sqrt(0.5 / P)) * rng.standard_normal((2 * BLOCK, P), np.float32)
    file = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, P))
    for first in range(0, n_rows, BLOCK):
        rows = rng.standard_normal((BLOCK, RANK), np.float32) @ factors
        start = rng.integers(BLOCK)
        rows += noise[start : start + BLOCK]
        file[first : first + BLOCK] = rows
        if first // BLOCK % 16 == 15:  # pages that were written are not held
            file.flush()
            del file
            file = np.lib.format.open_memmap(path, "r+")
    return {"rows": n_rows}


def model(**options):
    from jaxlearn.decomposition import StochasticFactorization

    return StochasticFactorization(
        K,
        code_penalty="l2",
        alpha=ALPHA,
        max_iter=1,
        tol=0,
        batch_size=BLOCK,
        n_validation=BLOCK,
        random_state=0,
        **options,
    )


def disk(path: Path, _: float) -> dict:
    """Plain reads."""
    buffer, n_bytes, start = memoryview(bytearray(1 << 24)), 0, perf_counter()
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while got := file.readinto(buffer):
            n_bytes += got
    seconds = perf_counter() - start
    return {"seconds": seconds, "rate": n_bytes / seconds}


def reading(path: Path, _: float) -> dict:
    from jaxlearn import stream

    reader = stream(np.load(path, mmap_mode="r"), block_size=BLOCK).reader
    start = perf_counter()
    for _block in reader.blocks():
        pass
    seconds = perf_counter() - start
    return {"seconds": seconds, "rate": path.stat().st_size / seconds}


def computing(path: Path, _: float) -> dict:
    """As many batches, of four blocks that are in memory: none of the scan's work is left out but the reading."""
    from jaxlearn import stream

    n_blocks = len(np.load(path, mmap_mode="r")) // BLOCK
    rng = np.random.default_rng(0)
    held = [rng.standard_normal((BLOCK, P), np.float32) * np.float32(P**-0.5) for _ in range(4)]

    def blocks(n):
        return stream(lambda: (held[i % len(held)] for i in range(n)), block_size=BLOCK)

    model().fit(blocks(4))  # compiles
    start = perf_counter()
    model().fit(blocks(n_blocks))
    return {"seconds": perf_counter() - start}


def fit(path: Path, _: float) -> dict:
    from jaxlearn import stream

    rng, rows = np.random.default_rng(0), np.load(path, mmap_mode="r")
    model().fit(
        stream(lambda: (rng.standard_normal((BLOCK, P), np.float32) for _ in range(3)), block_size=BLOCK)
    )  # compiles
    start = perf_counter()
    fitted = model().fit(stream(rows, block_size=BLOCK))
    seconds = perf_counter() - start
    objective = [point["objective"] for point in fitted.history_]
    return {"seconds": seconds, "bytes_read": fitted.bytes_read_, "passes": fitted.n_passes_, "objective": objective}


TASKS = {f.__name__: f for f in (write, disk, reading, computing, fit)}
LIMITED = "reading", "fit"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=16.0)
    parser.add_argument("--limit", type=float, default=2.0, help="gigabytes of resident memory")
    parser.add_argument("--folder", type=Path, help="where the file is written, for a while")
    parser.add_argument("--task", nargs=3, help="one part, in this process")
    given = parser.parse_args()
    if given.task:
        task, path, gigabytes = given.task
        print(json.dumps({**TASKS[task](Path(path), float(gigabytes)), "peak": peak()}))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "rows.npy"
        limits = {task: given.limit * 1e9 if task in LIMITED else None for task in TASKS}
        found = {
            task: processes.run("factorization_out_of_core", task, path, given.gigabytes, limit=limit)
            for task, limit in limits.items()
        }
        n_bytes = path.stat().st_size
    n_rows = found.pop("write")["rows"]
    slowest = max(found["reading"]["seconds"], found["computing"]["seconds"])
    rows = [[task, tables.seconds(part["seconds"]), f"{part['peak'] / 1e9:.2f} GB"] for task, part in found.items()]
    rows.append(["fit over the larger of reading and computing", f"{found['fit']['seconds'] / slowest:.2f}", ""])
    rows.append(["reading over the disk's own rate", f"{found['reading']['rate'] / found['disk']['rate']:.2f}", ""])
    about = (
        f"`python -m benchmarks.factorization_out_of_core --gigabytes {given.gigabytes:g}`: {n_rows} × {P} in float32, "
        f"{n_bytes / 1e9:.1f} GB, dropped from the system's cache before each reading; k={K}, ridge codes, batches of {BLOCK}, one epoch. "
        f"Resident memory of each process, asserted to be below {given.limit:g} GB where the file is read."
    )
    columns = ["part", "seconds", "peak memory"]
    name = f"factorization_out_of_core_{given.gigabytes:g}GB"
    tables.keep(name, "A dictionary of a file that memory does not hold", about, columns, rows, [n_rows, found])


if __name__ == "__main__":
    main()
