"""What fits of dense rows take beside them: ``python -m benchmarks.memory``.

Each fit in a process of its own: twice, so that the second compiles nothing; the largest resident memory during the second, less
what was resident before it, in units of X. NumPy's X is copied once by ours, near zero, for programs to read it where it lies; on an
accelerator that copy is all there is of X. Rows with an intercept and means of one, single precision.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from . import data, report, tables
from .workloads import linear_model

__all__ = ["SHAPES", "main"]

SHAPES = {
    "tiny": [(4_000, 25), (300, 300)],
    "quick": [(40_000, 250), (3_000, 3_000)],
    "full": [(400_000, 250), (10_000, 10_000)],
}
MODELS = {
    "LinearRegression": {},
    "Ridge": {},
    "Lasso": {"alpha": 0.3},
    "LassoCV": {"alphas": 10, "cv": 3, "eps": 0.1},
    "LogisticRegression": {"max_iter": 20, "tol": 1e-2},
    "LogisticRegression, l1": {"l1_ratio": 1.0, "C": 1e-4},
    "PoissonRegressor": {"max_iter": 20, "tol": 1e-2},
}
# A model of all columns of the second shape has a matrix of them that is as large as X.
TALL_ONLY = "LinearRegression", "Ridge", "LogisticRegression", "PoissonRegressor"


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def _beside(library: str, name: str, n: int, p: int) -> dict:
    kind = name.split(",")[0]
    options = dict(MODELS[name])
    if library == "sklearn" and "l1" in name:
        options["solver"] = "saga"
    rng = np.random.default_rng(0)
    X = np.empty((n, p), np.float32)
    for rows in np.array_split(X, max(n // 1000, 1)):
        rows[:] = rng.standard_normal(rows.shape, dtype=np.float32) + 1
    y = X[:, :5].sum(1) + rng.standard_normal(n, dtype=np.float32) - 5
    y = {"LogisticRegression": y > 0, "PoissonRegressor": rng.poisson(1, n)}.get(kind, y)
    model = getattr(linear_model(library), kind)(**options).fit(X, y)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the largest begins anew
    model.fit(X, y)
    return {"bytes": X.nbytes, "beside": (_resident("VmHWM") - before) / X.nbytes}


def _measured(library: str, name: str, n: int, p: int) -> dict:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.memory", "--one", library, name, str(n), str(p)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=report.ROOT)
    if done.returncode:
        raise RuntimeError(f"{name} of {library} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=4, help="library, model, n_samples, n_features: print what that takes")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--libraries", nargs="+", default=["jaxlearn", "sklearn"])
    given = parser.parse_args(arguments)
    if given.one:
        library, name, n, p = given.one
        print(json.dumps(_beside(library, name, int(n), int(p))))
        return
    rows, measured = [], []
    for (n, p), name in ((shape, name) for shape in SHAPES[data.size()] for name in given.models):
        if n <= p and name in TALL_ONLY:
            continue
        found = {library: _measured(library, name, n, p) for library in given.libraries}
        measured.append({"model": name, "shape": [n, p], **found})
        rows.append([name, f"{n}×{p}", *(f"{found[library]['beside']:.2f}" for library in given.libraries)])
        print(*rows[-1], flush=True)
    about = (
        "`python -m benchmarks.memory`: largest resident memory during a second fit, less that before it, in units of X, single "
        "precision. One of ours is the copy that programs read."
    )
    tables.keep("memory", "Memory beside dense rows", about, ["model", "shape", *given.libraries], rows, measured)


if __name__ == "__main__":
    main()
