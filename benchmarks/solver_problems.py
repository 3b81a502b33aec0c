"""Twenty problems of logistic and ridge regression across sizes and conditions, some of them real: what solvers are tried on.

Each is ``(X, y, alpha)``: the mean log loss, or half the mean squared error, plus ``alpha / 2 ‖w‖²``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
from scipy.special import expit

from . import data

__all__ = ["LOGISTIC", "RIDGE"]

Problem = tuple[Any, np.ndarray, float]


def _labels(rng, f):
    return rng.random(len(f)) < expit(f)


def _gaussian(seed, n, p, decay):
    """Rows whose covariance has the eigenvalues ``j^-decay``, in a basis of its own."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.standard_normal((p, p)))[0]
    X = rng.standard_normal((n, p)) * np.arange(1, p + 1) ** (-decay / 2) @ rotation
    return X, 3 * X @ rng.standard_normal(p), rng


def _scaled(seed, n, p):
    rng = np.random.default_rng(seed)
    scale = rng.lognormal(0, 2, p)
    X = rng.standard_normal((n, p)) * scale
    return X, 3 * (X / scale) @ rng.standard_normal(p) / np.sqrt(p), rng


def _fourier(seed, n, p):
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, 28))
    X = np.sqrt(2 / p) * np.cos(Z @ rng.standard_normal((28, p)) / np.sqrt(28) + rng.random(p) * 2 * np.pi)
    return X, 4 * np.sin(3 * Z[:, 0]) + Z[:, 1] * Z[:, 2], rng


def cancer_raw() -> Problem:
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    return X, y == 1, 1 / len(y)


def cancer_free() -> Problem:
    X, y, _ = cancer_raw()
    return (X - X.mean(0)) / X.std(0), y, 1e-3 / len(y)


def digits() -> Problem:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X, y >= 5, 1 / len(y)


def covertype() -> Problem:
    X, y, _ = data.covertype()
    return X, y == 2, 1e-5


def clothes() -> Problem:
    X, Y, _ = data.fashion()
    return X.astype(float), Y[:, [0, 2, 3, 4, 6]].any(1), 1e-4


def particles() -> Problem:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((300_000, 28)) * rng.lognormal(0, 0.5, 28)
    return X, _labels(rng, X @ rng.standard_normal(28) / 2), 1e-6


def easy() -> Problem:
    X, f, rng = _gaussian(2, 50_000, 200, 0)
    return X, _labels(rng, f / 10), 1e-4


def decaying() -> Problem:
    X, f, rng = _gaussian(3, 50_000, 300, 1.5)
    return X, _labels(rng, f), 0.01 / len(f)


def steep() -> Problem:
    X, f, rng = _gaussian(4, 20_000, 200, 3)
    return X, _labels(rng, f), 0.01 / len(f)


def fourier() -> Problem:
    X, f, rng = _fourier(5, 40_000, 500)
    return X, _labels(rng, f), 0.01 / len(f)


def scales() -> Problem:
    X, f, rng = _scaled(6, 50_000, 100)
    return X, _labels(rng, f), 1e-8


def separated() -> Problem:
    X, f, rng = _gaussian(7, 50_000, 100, 1)
    return X, f + 0.1 * rng.standard_normal(len(f)) > 0, 1e-6


def rare() -> Problem:
    X, f, rng = _gaussian(8, 100_000, 50, 0.5)
    return X, _labels(rng, f / 4 - 6), 1e-6


def wide() -> Problem:
    X, f, rng = _gaussian(9, 2000, 5000, 1)
    return X, _labels(rng, f), 1e-3


def words() -> Problem:
    rng = np.random.default_rng(10)
    n, p = 10_000, 20_000
    popularity = np.arange(1, p + 1) ** -1.1
    length = np.minimum(rng.lognormal(4, 0.7, n).astype(int) + 5, 1000)
    X = scipy.sparse.csr_matrix(
        (
            np.repeat(length**-0.5, length),
            rng.choice(p, length.sum(), p=popularity / popularity.sum()),
            np.append(0, np.cumsum(length)),
        ),
        (n, p),
    )
    X.sum_duplicates()
    return X, _labels(rng, X @ (4 * rng.standard_normal(p))), 1e-4


def diabetes() -> Problem:
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True)
    return X, y - y.mean(), 1e-4


def ridge_decaying() -> Problem:
    X, f, rng = _gaussian(11, 50_000, 300, 3)
    return X, f + rng.standard_normal(len(f)), 0.01 / len(f)


def ridge_fourier() -> Problem:
    X, f, rng = _fourier(12, 40_000, 500)
    return X, f + rng.standard_normal(len(f)), 1e-6


def ridge_scales() -> Problem:
    X, f, rng = _scaled(13, 50_000, 100)
    return X, f + rng.standard_normal(len(f)), 1e-6


def ridge_wide() -> Problem:
    X, f, rng = _gaussian(14, 1500, 6000, 1)
    return X, f + rng.standard_normal(len(f)), 1e-3


LOGISTIC: tuple[Callable[[], Problem], ...] = (
    cancer_raw,
    cancer_free,
    digits,
    covertype,
    clothes,
    particles,
    easy,
    decaying,
    steep,
    fourier,
    scales,
    separated,
    rare,
    wide,
    words,
)
RIDGE: tuple[Callable[[], Problem], ...] = (diabetes, ridge_decaying, ridge_fourier, ridge_scales, ridge_wide)
