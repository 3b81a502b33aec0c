"""Seeded recipes of least squares with few features that matter: correlated, polynomial, sparse, of groups, of many tasks.

Each returns (X, y, source) in float64. Columns are standardised where nothing else is said, and y is centred.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import scipy.sparse

__all__ = ["leadfield", "polynomial", "toeplitz", "words"]


def _standardised(X):
    """In place: the largest of these have a hundred million numbers."""
    X -= X.mean(0)
    scale = X.std(0)
    X /= np.where(scale > 1e-10, scale, 1)  # a constant column is zero
    return X


def _noisy(rng, signal, snr):
    y = signal + rng.normal(size=signal.shape) * np.sqrt(np.var(signal) / snr)
    return y - y.mean(0)


def toeplitz(n, p, *, s, rho=0.6, snr=3.0, block=1):
    """Columns j and k correlate by ``rho^|j − k|``; s blocks of normal coefficients, evenly spaced.

    As of celer's `make_correlated_data`, which benchopt's races of the Lasso take.
    """
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(p, n))
    for j in range(1, p):
        columns[j] = rho * columns[j - 1] + np.sqrt(1 - rho**2) * columns[j]
    X = _standardised(columns.T)
    first = block * np.linspace(0, p // block - 1, s).astype(int)
    support = np.ravel(first[:, None] + np.arange(block))
    y = _noisy(rng, X[:, support] @ rng.normal(size=len(support)), snr)
    what = f"{s} blocks of {block}" if block > 1 else f"s={s}"
    return X, y, f"recipe: AR(1) columns {n}×{p}, rho={rho:g}, {what}, snr={snr:g}, seed 0"


def polynomial(d, n, *, degree=7, s=10, snr=10.0):
    """All monomials up to a degree in d uniform variables: the constant, which standardising makes zero, counts.

    As the expanded UCI sets in the papers on semismooth Newton methods for the Lasso (Li, Sun and Toh, SIOPT 2018), whose
    columns are nearly collinear.
    """
    rng = np.random.default_rng(0)
    variables = rng.uniform(size=(d, n))
    powers = [()] + [c for k in range(1, degree + 1) for c in combinations_with_replacement(range(d), k)]
    place = {power: j for j, power in enumerate(powers)}
    monomials = np.ones((len(powers), n))
    for j, power in enumerate(powers[1:], 1):
        monomials[j] = monomials[place[power[:-1]]] * variables[power[-1]]
    X = _standardised(monomials.T)
    support = rng.choice(np.arange(1, len(powers)), s, replace=False)
    y = _noisy(rng, X[:, support] @ rng.normal(size=s), snr)
    return X, y, f"recipe: {len(powers)} monomials of degree ≤ {degree} in {d} uniforms, {n} rows, s={s}, seed 0"


def words(n, p, *, per_row=330, s=50, snr=3.0):
    """Sparse and unscaled (CSC): a column's share of the rows falls as ``rank^-1.1``, its values are log-normal.

    As texts are (E2006-tfidf has 330 of some words in each of its reports). s popular columns matter.
    """
    rng = np.random.default_rng(0)
    per_row = min(per_row, p // 4)
    popularity = np.arange(1, p + 1) ** -1.1
    low, high = 0.0, float(p)
    for _ in range(60):  # the scale at which a row has so many entries, none of them twice
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(1, middle * popularity).sum() < per_row else (low, middle)
    counts = rng.binomial(n, np.minimum(1, high * popularity))
    indices = np.concatenate([np.sort(rng.choice(n, k, replace=False)) for k in counts]).astype(np.int32)
    starts = np.append(0, np.cumsum(counts)).astype(np.int32)
    X = scipy.sparse.csc_matrix((rng.lognormal(sigma=0.5, size=len(indices)), indices, starts), shape=(n, p))
    support = rng.choice(p, min(s, p // 4), replace=False, p=popularity / popularity.sum())
    y = _noisy(rng, X[:, support] @ rng.normal(size=len(support)), snr)
    return X, y, f"recipe: sparse {n}×{p}, {len(indices) / n:.0f} entries in a row, ranks^-1.1, log-normal, seed 0"


def leadfield(n_sensors, n_sources, n_times, *, s=5, snr=3.0):
    """What magnetometers on a helmet see of tangential dipoles on a sphere, columns of unit mean square, not centred.

    The field ``(q × d) · e / |d|³`` of a dipole q at distance d along the axis e of a sensor; neighbours are nearly
    collinear. s sources have waveforms of their own.
    """
    rng = np.random.default_rng(0)
    sources, axes = 0.08 * _spiral(n_sources, 1.0), _spiral(n_sensors, 0.5)
    dipoles = np.cross([0.3, 0.5, 1.0], sources)
    dipoles /= np.linalg.norm(dipoles, axis=1, keepdims=True)
    apart = 0.115 * axes[:, None] - sources
    field = np.einsum("ijk,ik->ij", np.cross(dipoles[None], apart), axes) / np.linalg.norm(apart, axis=2) ** 3
    X = field / np.sqrt(np.square(field).mean(0))
    active = np.linspace(0, n_sources // 2, s).astype(int)  # in the upper half, below the helmet
    t, start = np.linspace(0, 1, n_times), np.linspace(0.1, 0.8, s)[:, None]
    waves = np.exp(-np.square((t - start) / 0.1)) * np.sin(2 * np.pi * rng.uniform(4, 10, (s, 1)) * t)
    signal = X[:, active] @ waves
    Y = signal + rng.normal(size=signal.shape) * np.sqrt(np.var(signal) / snr)
    return X, Y, f"recipe: field of {n_sources} dipoles at {n_sensors} sensors, {n_times} times, s={s}, seed 0"


def _spiral(n, share):
    """n points on that share of the unit sphere, from the top, evenly: a Fibonacci lattice."""
    z = 1 - 2 * share * (np.arange(n) + 0.5) / n
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(n)
    return np.column_stack([np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z])
