"""Which solver, and how many components."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from scipy.special import gammaln

from jaxlearn.access.streamed import Streamed

__all__ = ["choose_solver", "count_components", "infer_dimension"]

EXACT = ("full", "covariance_eigh")
SMALL = 500
# Multiplications that double precision costs for one in single precision, and those of an eigendecomposition for p³.
DOUBLE, EIGENPAIRS = 2, 20
# Columns of a Krylov basis beyond those wanted, until spectra of any decay that was tried had converged.
EXTRA_COLUMNS = 160
# Features of which a covariance matrix is still formed: half a gigabyte in double precision.
MOST_FEATURES = 8192


def count_components(n_components: Any, solver: str, shape: tuple[int | None, int], is_sparse: bool) -> tuple[Any, str]:
    """Check `n_components` against the shape of the data and the solver; what ``None`` stands for.

    Returns
    -------
    int, float or "mle", and the solver
    """
    n_samples, n_features = shape
    least = n_features if n_samples is None else min(n_samples, n_features)
    if is_sparse and solver == "full":
        raise TypeError(
            'PCA only support sparse inputs with the "auto", "arpack", "krylov", "randomized", "onepass" and '
            f'"covariance_eigh" solvers, while "{solver}" was passed: it would make them dense.'
        )
    if n_components is None:
        n_components = least - 1 if solver == "arpack" else least
    exact = solver in EXACT or solver == "auto"
    if isinstance(n_components, str):
        if not exact:
            raise ValueError(f"n_components={n_components!r} cannot be a string with svd_solver={solver!r}")
        if n_samples is None or n_samples < n_features:
            raise ValueError("n_components='mle' is only supported if n_samples >= n_features")
        return n_components, solver
    if 0 < n_components < 1:
        if not exact and solver != "krylov":
            raise ValueError(
                f"n_components={n_components} must be between 1 and min(n_samples, n_features)={least} with "
                f"svd_solver={solver!r}"
            )
        return float(n_components), solver
    if exact and not 0 <= n_components <= least:
        raise ValueError(
            f"n_components={n_components} must be between 0 and min(n_samples, n_features)={least} with "
            f"svd_solver={('full' if solver == 'auto' else solver)!r}"
        )
    if not exact and not 1 <= n_components <= least:
        raise ValueError(
            f"n_components={n_components} must be between 1 and min(n_samples, n_features)={least} with "
            f"svd_solver={solver!r}"
        )
    if solver == "arpack" and n_components == least:
        raise ValueError(
            f"n_components={n_components} must be strictly less than min(n_samples, n_features)={least} with "
            f"svd_solver={solver!r}"
        )
    return int(n_components), solver


def choose_solver(X: Any, wanted: Any) -> str:
    """The solver that does the least arithmetic, of those that the data allow.

    Parameters
    ----------
    X : array, sparse matrix or Streamed
    wanted : int, float or "mle"
    """
    streamed, sparse = isinstance(X, Streamed), scipy.sparse.issparse(X)
    n, p = (X.reader.n_samples, X.n_features) if streamed else X.shape
    if streamed:
        # of each row p² multiplications, or those of two products with l columns, twice
        few = p <= MOST_FEATURES
        if (
            isinstance(wanted, str)
            or wanted == 0
            or (few and (isinstance(wanted, float) or DOUBLE * p < 8 * max(2 * wanted, wanted + 40)))
        ):
            return "covariance_eigh"
        return "krylov" if isinstance(wanted, float) else "onepass"
    if not sparse and (max(n, p) <= SMALL or (n < p and (isinstance(wanted, str) or wanted == 0 or wanted > n // 3))):
        return "full"
    if isinstance(wanted, str) or wanted == 0:
        return "covariance_eigh"
    columns = (p // 4 if p > 2 * SMALL else p) if isinstance(wanted, float) else wanted + EXTRA_COLUMNS
    per_row = (X.nnz / n) if sparse else p
    covariance = DOUBLE * n * per_row * p / 2 + EIGENPAIRS * p**3 / 2
    krylov = 2 * n * per_row * columns + columns**3 * columns / 32
    if p <= MOST_FEATURES and (covariance <= krylov or columns >= p):
        return "covariance_eigh"
    return "krylov" if columns < p or sparse else "full"


def infer_dimension(spectrum: np.ndarray, n_samples: int) -> int:
    """The rank of greatest evidence, between 1 and p − 1, given all eigenvalues of a covariance.

    References
    ----------
    Minka, "Automatic choice of dimensionality for PCA", NIPS 2000.
    """
    evidence = [-np.inf] + [_evidence(spectrum, rank, n_samples) for rank in range(1, len(spectrum))]
    return int(np.argmax(evidence)) if len(evidence) > 1 else 1


def _evidence(spectrum: np.ndarray, k: int, n: int) -> float:
    """Laplace's approximation of log p(data | rank k)."""
    p = len(spectrum)
    if spectrum[k - 1] < np.finfo(float).eps:  # the prior of an eigenvalue that is zero is not defined
        return -np.inf
    i = np.arange(1, k + 1)
    uniform = -k * np.log(2) + (gammaln((p - i + 1) / 2) - np.log(np.pi) * (p - i + 1) / 2).sum()
    noise = max(np.finfo(float).eps, spectrum[k:].mean())
    m = p * k - k * (k + 1) / 2
    smoothed = np.where(np.arange(p) < k, spectrum, noise)
    upper = np.arange(p)[None] > np.arange(k)[:, None]
    difference = spectrum[:k, None] - spectrum[None]
    inverse = 1 / smoothed[None] - 1 / smoothed[:k, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        curvature = np.where(upper, np.log(difference * inverse) + np.log(n), 0).sum()
    return (
        uniform
        - n / 2 * np.log(spectrum[:k]).sum()
        - n / 2 * np.log(noise) * (p - k)
        + (m + k) / 2 * np.log(2 * np.pi)
        - curvature / 2
        - k / 2 * np.log(n)
    )
