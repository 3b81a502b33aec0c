"""What is fitted: real data from the folder `JAXLEARN_DATA`, or else a seeded recipe. Each says which it is."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

__all__ = ["covertype", "equicorrelated", "fashion", "folder", "leukemia", "size"]


def folder() -> Path | None:
    """Where the real data lies, if anywhere."""
    path = Path(os.environ.get("JAXLEARN_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    return path if path.is_dir() else None


def size() -> str:
    """``tiny`` (does it run at all), ``quick`` (what `make bench` does) or ``full``."""
    return next((s for s in ("tiny", "full") if os.environ.get(f"JAXLEARN_BENCH_{s.upper()}") == "1"), "quick")


def _load(name, *arrays):
    with np.load(folder() / f"{name}.npz", allow_pickle=False) as f:
        return [f[a] for a in arrays]


def _has(name):
    return folder() is not None and (folder() / f"{name}.npz").exists()


def _spread(n, total):
    """n row numbers, evenly over all: files may be sorted by class."""
    return np.linspace(0, total - 1, min(n, total)).astype(int)


def _standardise(X):
    X = np.asarray(X, np.float64)
    scale = X.std(0)
    return (X - X.mean(0)) / np.where(scale > 0, scale, 1)


def leukemia():
    """Gene expressions and two kinds of leukemia, y in {−1, 1}: (X, y, source)."""
    n, p = {"tiny": (40, 300)}.get(size(), (72, 7129))
    if _has("leukemia_golub"):
        X, y = _load("leukemia_golub", "X", "y")
        rows = _spread(n, len(X))
        X, y, source = X[rows, :p], np.where(y[rows] == y[0], 1.0, -1.0), "leukemia_golub"
    else:
        rng = np.random.default_rng(0)
        factors, load = rng.normal(size=(n, 20)), rng.normal(size=(20, p))
        X = np.exp(0.5 * (factors @ load / 20**0.5 + rng.normal(size=(n, p))) + rng.normal(size=p))
        y, source = np.where(factors[:, 0] > 0.4, 1.0, -1.0), "recipe: 20 factors and noise, log-normal, seed 0"
    return _standardise(X), y - y.mean(), f"{source}, {n}×{p}, standardised"


def equicorrelated(n, p, rho, s=20, snr=2.0):
    """Columns that all correlate by rho, s coefficients of one (as in the paper of the Hessian screening rule)."""
    rng = np.random.default_rng(0)
    X = np.sqrt(1 - rho) * rng.normal(size=(n, p)) + np.sqrt(rho) * rng.normal(size=(n, 1))
    signal = X[:, np.linspace(0, p - 1, s).astype(int)].sum(1)
    y = signal + rng.normal(size=n) * np.sqrt(np.var(signal) / snr)
    return _standardise(X), y - y.mean(), f"recipe: equicorrelated {n}×{p}, rho={rho}, s={s}, snr={snr:g}, seed 0"


def fashion(quick=10_000):
    """Images of ten kinds of clothes, targets one-hot: (X float32 in [0, 1], Y, source)."""
    n, p = {"tiny": (500, 60), "quick": (quick, 784)}.get(size(), (60_000, 784))
    if _has("fashion_mnist"):
        X, y = _load("fashion_mnist", "X_train", "y_train")
        rows = _spread(n, len(X))
        X, y, source = X[rows, :p] / np.float32(255), y[rows], "fashion_mnist"
    else:
        rng = np.random.default_rng(0)
        y = rng.integers(10, size=n)
        X = rng.normal(size=(n, 40)) @ rng.normal(size=(40, p)) + rng.normal(size=(10, p))[y]
        X = np.clip(X / 12 + 0.1 * rng.normal(size=(n, p)) + 0.2, 0, 1).astype(np.float32)
        source = "recipe: 10 classes in 40 factors and noise, seed 0"
    return X, np.eye(10)[y], f"{source}, {n}×{p}"


def covertype(quick=92_962):
    """Seven kinds of forest cover, ten measurements and 44 indicators: (X, y in 1 … 7, source)."""
    n = {"tiny": 1500, "quick": quick}.get(size(), 92_962)
    if _has("covertype_93k"):
        X, y = _load("covertype_93k", "X", "y")
        rows = _spread(n, len(X))
        X, y, source = X[rows], y[rows], "covertype_93k"
    else:
        rng = np.random.default_rng(0)
        measured = rng.normal(size=(n, 10)) @ (np.eye(10) + 0.3 * rng.normal(size=(10, 10)))
        soil = np.argmax(measured @ rng.normal(size=(10, 40)) + 3 * rng.gumbel(size=(n, 40)), 1)
        area = np.argmax(measured @ rng.normal(size=(10, 4)) + rng.gumbel(size=(n, 4)), 1)
        X = np.column_stack([measured, np.eye(4)[area], np.eye(40)[soil]])
        y = 1 + np.argmax(X @ rng.normal(size=(54, 7)) + rng.gumbel(size=(n, 7)), 1)
        source = "recipe: 10 measurements, 4 areas, 40 soils, seed 0"
    return _standardise(X), y, f"{source}, {n}×{X.shape[1]}, standardised"
