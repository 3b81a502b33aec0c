"""Principal components of a file that memory does not hold: ``python -m benchmarks.out_of_core --gigabytes 16``.

The file, of float16 rows, is written once and dropped from the system's cache before each reading. Each fit runs in a
process of its own, which fails if its resident memory passes the limit. Two more processes take the parts of a fit
alone: reading all blocks and computing nothing, and computing as many blocks that are in memory already. Scikit-learn's
``IncrementalPCA`` is given the first sixteenth of the rows, as it takes as long for each batch, and so is jaxlearn for the
comparison of errors: of both, the variance kept along the components, in double precision, as a share of what the best
fit of those rows keeps.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from . import processes, report
from .processes import peak

P, K, BLOCK = 2000, 50, 8192
SPIKES = 100


def write(path: Path, gigabytes: float) -> int:
    """Rows ``z_i · scale · V + mean + noise`` in float16."""
    n_rows = int(gigabytes * 1e9 / (2 * P)) // 16 * 16
    rng = np.random.default_rng(0)
    factors = (
        rng.standard_normal((SPIKES, P), dtype=np.float32) * np.arange(1, SPIKES + 1, dtype=np.float32)[:, None] ** -0.5
    )
    mean = rng.standard_normal(P, dtype=np.float32)
    noise = (0.3 * rng.standard_normal((2 * BLOCK, P), dtype=np.float32) + mean).astype(np.float32)
    np.lib.format.open_memmap(path, "w+", np.float16, (n_rows, P))
    for first in range(0, n_rows, BLOCK):
        n = min(BLOCK, n_rows - first)
        rows = rng.standard_normal((n, SPIKES), dtype=np.float32) @ factors
        start = rng.integers(BLOCK)
        rows += noise[start : start + n]
        np.lib.format.open_memmap(path, "r+")[first : first + n] = rows
    return n_rows


def source(path: Path, share: float):
    rows = np.load(path, mmap_mode="r")
    return rows[: int(len(rows) * share)]


# Each of these runs in a process of its own, and returns what it prints.


def fit(path: Path, share: float, solver: str) -> dict:
    from jaxlearn import stream
    from jaxlearn.decomposition import PCA

    warm = np.random.default_rng(0).standard_normal((2 * BLOCK, P), np.float32).astype(np.float16)
    PCA(K, svd_solver=solver).fit(stream(warm, block_size=BLOCK))  # compiles
    before = peak()
    rows = stream(source(path, share), block_size=BLOCK)
    start = perf_counter()
    model = PCA(K, svd_solver=solver, random_state=0).fit(rows)
    seconds = perf_counter() - start
    np.save(path.with_suffix(f".{solver}.npy"), model.components_)
    return {
        "seconds": seconds,
        "passes": model.n_passes_,
        "bytes_read": model.bytes_read_,
        "certificate": model.certificate_,
        "grown": peak() - before,
    }


def read_only(path: Path, share: float, _: str) -> dict:
    from jaxlearn import stream

    reader = stream(source(path, share), block_size=BLOCK).reader
    start = perf_counter()
    for _block in reader.blocks():
        pass
    return {"seconds": perf_counter() - start}


def compute_only(path: Path, share: float, solver: str) -> dict:
    from jaxlearn import stream
    from jaxlearn.decomposition import PCA

    held = [np.array(source(path, 1)[i * BLOCK : (i + 1) * BLOCK]) for i in range(4)]
    n_blocks = -(-len(source(path, share)) // BLOCK)

    def blocks(n):
        return lambda: (held[i % len(held)] for i in range(n))

    PCA(K, svd_solver=solver).fit(stream(blocks(2), block_size=BLOCK))
    start = perf_counter()
    PCA(K, svd_solver=solver, random_state=0).fit(stream(blocks(n_blocks), block_size=BLOCK))
    return {"seconds": perf_counter() - start}


def incremental(path: Path, share: float, _: str) -> dict:
    from sklearn.decomposition import IncrementalPCA

    rows, size = source(path, share), 5 * P
    model, start = IncrementalPCA(K), perf_counter()
    for first in range(0, len(rows) - len(rows) % size, size):
        model.partial_fit(rows[first : first + size].astype(np.float32))
    seconds = perf_counter() - start
    np.save(path.with_suffix(".incremental.npy"), model.components_)
    return {"seconds": seconds * len(rows) / (len(rows) - len(rows) % size), "batch": size}


def variance_kept(path: Path, share: float, names: str) -> dict:
    """Of all rows along the components of each fit."""
    rows, V = source(path, share), {name: np.load(path.with_suffix(f".{name}.npy")) for name in names.split(",")}
    Q = {name: np.linalg.qr(v.T.astype(np.float64))[0].astype(np.float32) for name, v in V.items()}
    n, first, second = 0, dict.fromkeys(Q, 0), dict.fromkeys(Q, 0)
    for i in range(0, len(rows), BLOCK):
        block = rows[i : i + BLOCK].astype(np.float32)
        n += len(block)
        for name, q in Q.items():
            z = (block @ q).astype(np.float64)
            first[name], second[name] = first[name] + z.sum(0), second[name] + (z * z).sum(0)
    return {name: float((second[name] / n - (first[name] / n) ** 2).sum()) for name in Q}


TASKS = {f.__name__: f for f in (fit, read_only, compute_only, incremental, variance_kept)}


def run(task: str, path: Path, share: float = 1.0, what: str = "onepass", limit: float | None = None) -> dict:
    return processes.run("out_of_core", task, path, share, what, limit=limit)


def main() -> None:
    parser = argparse.ArgumentParser(description="PCA of a file that memory does not hold")
    parser.add_argument("--gigabytes", type=float, default=16.0)
    parser.add_argument("--limit", type=float, default=2.0, help="gigabytes of resident memory that a fit may take")
    parser.add_argument("--folder", type=Path, help="where the file is written, for a while")
    parser.add_argument("--task", nargs=4, help="one part, in this process")
    arguments = parser.parse_args()
    if arguments.task:
        task, path, share, what = arguments.task
        print(json.dumps({**TASKS[task](Path(path), float(share), what), "peak": peak()}))
        return
    limit, part = arguments.limit * 1e9, 1 / 16
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "rows.npy"
        start = perf_counter()
        n_rows = write(path, arguments.gigabytes)
        print(
            f"{n_rows} × {P} in float16, {path.stat().st_size / 1e9:.2f} GB, written in {perf_counter() - start:.0f} s"
        )
        records = {"rows": n_rows, "features": P, "components": K, "bytes": path.stat().st_size, "limit": limit}
        records["reading"] = run("read_only", path, limit=limit)
        records["computing"] = run("compute_only", path, limit=limit)
        records["onepass"] = run("fit", path, limit=limit)
        records["onepass, a sixteenth"] = run("fit", path, part, limit=limit)
        records["krylov, a sixteenth"] = run("fit", path, part, "krylov", limit=limit)
        records["IncrementalPCA, a sixteenth"] = run("incremental", path, part, "scikit-learn")
        records["variance kept"] = kept = run("variance_kept", path, part, "onepass,krylov,incremental")
        best = max(kept["onepass"], kept["krylov"], kept["incremental"])
        for name in ("onepass", "krylov", "incremental"):
            print(f"{name}: {1 - kept[name] / best:.1e} of the variance lost")
        slowest = max(records["reading"]["seconds"], records["computing"]["seconds"])
        print(f"one pass over max(reading, computing): {records['onepass']['seconds'] / slowest:.2f}")
        ratio = records["IncrementalPCA, a sixteenth"]["seconds"] / records["onepass, a sixteenth"]["seconds"]
        print(f"IncrementalPCA over one pass, on a sixteenth: {ratio:.1f}")
        records["run"] = report.circumstances()
        name = f"out_of_core_{arguments.gigabytes:g}GB.json"
        (report.folder() / name).write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
