"""Ridge regression of more rows than one would hold: ``python -m benchmarks.streamed_ridge``.

Random Fourier features in a file, float32, read once by `OnlineNewtonRegressor`, which sums normal equations in double
precision; beside it scikit-learn's `Ridge(solver="cholesky")` on the same rows in memory, and the product ``XᵀX`` alone. Both
answers are judged in double precision by the relative residual of the normal equations of all rows.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from . import tables

ALPHA, BLOCK = 1.0, 20_000


def write(path, n, p):
    """Rows in a file, and targets."""
    rng = np.random.default_rng(0)
    W, b = rng.standard_normal((28, p)).astype(np.float32) / 28**0.5, rng.random(p).astype(np.float32) * 2 * np.pi
    X = np.lib.format.open_memmap(path, "w+", np.float32, (n, p))
    y = np.empty(n, np.float32)
    for first in range(0, n, BLOCK):
        rows = slice(first, min(first + BLOCK, n))
        Z = rng.standard_normal((rows.stop - first, 28)).astype(np.float32)
        X[rows] = np.sqrt(np.float32(2 / p)) * np.cos(Z @ W + b)
        y[rows] = np.sin(3 * Z[:, 0]) + Z[:, 1] * Z[:, 2] + 0.3 * rng.standard_normal(len(Z))
    X.flush()
    return y


def residual(model, path, y) -> float:
    """``‖Xᵀ(y − f) − alpha w‖ / ‖Xᵀ(y − ȳ)‖``."""
    X = np.load(path, mmap_mode="r")
    coef, left, right = np.ravel(model.coef_).astype(float), 0.0, 0.0
    mean = y.mean(dtype=float)
    for first in range(0, len(y), BLOCK):
        block = X[first : first + BLOCK].astype(float)
        target = y[first : first + BLOCK].astype(float)
        left = left + block.T @ (target - block @ coef - float(np.ravel(model.intercept_)[0]))
        right = right + block.T @ (target - mean)
    return float(np.linalg.norm(left - ALPHA * coef) / np.linalg.norm(right))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=400_000)
    parser.add_argument("--p", type=int, default=1000)
    parser.add_argument("--folder", default=None, help="where the file is written, and removed")
    given = parser.parse_args()
    from sklearn.linear_model import Ridge

    from jaxlearn.access import stream
    from jaxlearn.linear_model import OnlineNewtonRegressor

    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "rows.npy"
        y = write(path, given.n, given.p)
        rows, measured = [], {}

        def keep(who, seconds, model):
            rate = 2 * given.n * given.p**2 / seconds / 1e9
            gap = "" if model is None else f"{residual(model, path, y):.1e}"
            measured[who] = [seconds, rate, gap]
            rows.append([who, tables.seconds(seconds), f"{rate:.0f}", gap])
            print(*rows[-1], flush=True)

        for name in ("jaxlearn, first", "jaxlearn, again"):
            begin = perf_counter()
            # alpha is that of the mean loss
            model = OnlineNewtonRegressor(alpha=ALPHA / given.n).fit(stream(str(path)), y)
            keep(f"{name}: one pass over the file", perf_counter() - begin, model)
        X = np.load(path)
        for dtype in ("float32", "float64"):
            begin = perf_counter()
            for first in range(0, given.n, BLOCK):
                block = X[first : first + BLOCK].astype(dtype)
                block.T @ block  # noqa: B018
            keep(f"XᵀX alone, {dtype}, rows in memory (NumPy)", perf_counter() - begin, None)
        begin = perf_counter()
        peer = Ridge(alpha=ALPHA, solver="cholesky").fit(X, y)
        keep("scikit-learn Ridge(cholesky), rows in memory", perf_counter() - begin, peer)
    about = (
        f"`python -m benchmarks.streamed_ridge`: random Fourier features, {given.n:,} × {given.p}, float32. GF/s counts 2 n p² flops. "
        "The residual is that of the normal equations of all rows, in double precision."
    )
    tables.keep(
        "streamed_ridge", "Ridge in one pass over a file", about, ["who", "seconds", "GF/s", "residual"], rows, measured
    )


if __name__ == "__main__":
    main()
