"""Problems that several files of tests share."""

import numpy as np

from jaxlearn.estimators.encoding import encode_rows
from jaxlearn.objectives import L1


def sparse_rows(n=60, p=10, k=12, *, dtype=np.float64, seed=0):
    """Few atoms and some noise: (X, atoms)."""
    rng = np.random.default_rng(seed)
    D = rng.standard_normal((k, p))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    X = rng.standard_normal((n, k)) * (rng.random((n, k)) < 0.3) @ D + 0.05 * rng.standard_normal((n, p))
    return X.astype(dtype), D.astype(dtype)


def cost(X, codes, D, alpha):
    X, codes, D = (np.asarray(a, float) for a in (X, codes, D))
    return 0.5 * np.square(X - codes @ D).sum(1) + alpha * np.abs(codes).sum(1)


def best_cost(X, D, alpha, positive=False):
    """Of every row, at its best codes in double precision."""
    X, D = np.asarray(X, float), np.asarray(D, float)
    found = encode_rows(X, D, L1(alpha, positive=positive), tol=1e-12, max_steps=1000)
    assert found.converged
    return cost(X, found.codes, D, alpha)
