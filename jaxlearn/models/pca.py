"""Principal components: the leading eigenvectors of a covariance, as a pure function of the data.

*Finds* the orthonormal rows ``v_1 … v_k`` that keep most of ``Σ w_i ‖(x_i − μ) Vᵀ‖²``, with μ the weighted mean, or zero.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.dense import as_design
from jaxlearn.access.design import Centered, Design
from jaxlearn.linalg import spectral
from jaxlearn.solvers import closed_form
from jaxlearn.solvers.block_krylov import BlockKrylov
from jaxlearn.solvers.protocols import Problem
from jaxlearn.solvers.solution import CONVERGED, NONFINITE, Budget
from jaxlearn.solvers.solve import solve

from ._weights import weighted

__all__ = ["PCA", "FittedPCA", "fit", "inverse_transform", "transform"]

SOLVERS = ("covariance_eigh", "full", "krylov")


class PCA(eqx.Module):
    """What to find and how: an immutable configuration.

    Parameters
    ----------
    n_components : int
        k, at most the number of features, and of samples with the solver ``full``.
    solver : str
        ``covariance_eigh``: the eigenvectors of the covariance (p, p), one pass. ``full``: a QR factor of the rows and
        its singular vectors, one pass; the condition number is not squared. ``krylov``: block Lanczos, a few passes and
        no (p, p) matrix.
    center : bool
        False leaves the mean in: the truncated singular value decomposition.
    block_size : int
        ``krylov``: columns of a product. Small blocks need fewer flops, large ones fewer passes.
    max_steps : int
        ``krylov``: most passes; ``n_components < block_size * max_steps <= n_features``.
    tol : float
        ``krylov``: largest change of an eigenvalue in the last step, in units of the first that is left out.
    """

    n_components: int = eqx.field(static=True)
    solver: str = eqx.field(static=True, default="covariance_eigh")
    center: bool = eqx.field(static=True, default=True)
    block_size: int = eqx.field(static=True, default=16)
    max_steps: int = eqx.field(static=True, default=20)
    tol: ArrayLike = 1e-3

    def __check_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise ValueError(f"`solver={self.solver!r}` is not known; expected one of {SOLVERS}.")
        if self.n_components < 1:
            raise ValueError(f"`n_components` must be at least 1, got {self.n_components}.")


class FittedPCA(eqx.Module):
    """Principal components, a pytree.

    Attributes
    ----------
    mean : (p,)
        Zero without centring.
    components : (k, p)
        Orthonormal rows, by falling variance; the largest entry of each is positive.
    explained_variance : (k,)
        Of the data along them: with centring the unbiased estimate, for weights that count.
    total_variance : scalar
        Of all features, in the same scale.
    total_weight : scalar
        Σ w; without weights, the number of samples.
    status : int32 scalar
        Index into ``jaxlearn.solvers.SENTENCES``; 0 is converged.
    residual : scalar
        The certificate; zero for a direct solver.
    n_steps : int32 scalar
        Passes over the data beside those for weights, mean and, with ``krylov``, variance.
    certificate : str
        What `residual` is.
    """

    mean: Array
    components: Array
    explained_variance: Array
    total_variance: Array
    total_weight: Array
    status: Array
    residual: Array
    n_steps: Array
    certificate: str = eqx.field(static=True)


def fit(
    model: PCA,
    X: ArrayLike | Design,
    sample_weight: ArrayLike | None = None,
    *,
    key: Array | None = None,
    axis_name: str | None = None,
) -> FittedPCA:
    """Find principal components.

    Parameters
    ----------
    model : PCA
    X : (n_samples, n_features) array, or Design
    sample_weight : (n_samples,), optional
        ≥ 0; zero is a row that is not there.
    key : PRNG key, optional
        Of the random start of ``krylov``; a fixed one by default.
    axis_name : str, optional
        Inside ``shard_map``, ``pmap`` or ``vmap``: the axis over which the rows are split.

    Returns
    -------
    FittedPCA

    Raises
    ------
    ValueError
        `n_components` or the Krylov basis is larger than the data allow.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> X = jnp.array([[0.0, 0.0], [1.0, 1.1], [2.0, 1.9], [3.0, 3.0]])
    >>> fitted = fit(PCA(n_components=1), X)
    >>> bool(fitted.explained_variance[0] / fitted.total_variance > 0.99), transform(fitted, X).shape
    (True, (4, 1))
    """
    design, weight, total = weighted(X, sample_weight, axis_name)
    n_features = design.shape[1]
    if model.n_components > n_features:
        raise ValueError(f"`n_components={model.n_components}` is more than the {n_features} features of `X`.")
    mean = jnp.zeros(n_features, design.dtype)
    if model.center:
        # first by a shift that costs no digits, then lazily by what is left
        location = design.location()
        design = design.shifted(location)
        remainder = design.fold(_mean, None, weight)
        design, mean = Centered(design, remainder), location + remainder
    find = {"covariance_eigh": _of_gram, "full": _of_rows, "krylov": _of_krylov}[model.solver]
    values, vectors, variance, status, residual, n_steps = find(model, design, weight, key)
    unbiased = total / jnp.maximum(total - 1, 1) if model.center else jnp.ones_like(total)
    status = jnp.where(jnp.isfinite(variance) & jnp.isfinite(values).all(), status, jnp.int32(NONFINITE))
    largest = jnp.take_along_axis(vectors, jnp.abs(vectors).argmax(0)[None], axis=0)
    return FittedPCA(
        mean=mean,
        components=(vectors * jnp.where(largest < 0, -1, 1).astype(vectors.dtype)).T,
        explained_variance=unbiased * values,
        total_variance=unbiased * variance,
        total_weight=total,
        status=status,
        residual=residual,
        n_steps=n_steps,
        certificate=BlockKrylov.certificate,
    )


def transform(fitted: FittedPCA, X: ArrayLike | Design) -> Array:
    """Coordinates ``(X − μ) Vᵀ`` of each row, (n_samples, k)."""
    design = as_design(X)
    if design.is_sparse:
        return Centered(design, fitted.mean).matvec(fitted.components.T)
    return design.shifted(fitted.mean).matvec(fitted.components.T)


def inverse_transform(fitted: FittedPCA, Z: Array) -> Array:
    """Rows with the coordinates `Z` (n_samples, k): ``Z V + μ``."""
    return jnp.matmul(Z, fitted.components, precision=lax.Precision.HIGHEST) + fitted.mean[None]


def _of_gram(model: PCA, design: Design, weight: Array, key: Any) -> tuple[Array, ...]:
    spectrum = closed_form.gram_spectrum(design, weight)
    return _leading(model, spectrum.values[::-1], spectrum.vectors[:, ::-1])


def _of_rows(model: PCA, design: Design, weight: Array, key: Any) -> tuple[Array, ...]:
    triangle = design.fold(_triangle, None, weight, merge=spectral.merge_triangular_factors)
    if model.n_components > len(triangle):
        raise ValueError(f"`n_components={model.n_components}` is more than the {len(triangle)} rows of `X`.")
    _, spectrum = spectral.of_rows(triangle)
    return _leading(model, spectrum.values, spectrum.vectors)


def _leading(model: PCA, values: Array, vectors: Array) -> tuple[Array, ...]:
    k, exact = model.n_components, jnp.zeros((), values.dtype)
    return values[:k], vectors[:, :k], values.sum(), jnp.int32(CONVERGED), exact, jnp.int32(1)


def _of_krylov(model: PCA, design: Design, weight: Array, key: Any) -> tuple[Array, ...]:
    n_features, held = design.shape[1], model.block_size * model.max_steps
    if not model.n_components < held <= n_features:
        raise ValueError(
            f"`block_size * max_steps` = {held} must lie above `n_components={model.n_components}` and not above the "
            f"{n_features} features of `X`."
        )
    key = jax.random.key(0) if key is None else key
    start = jax.random.normal(key, (n_features, model.block_size), design.dtype)
    solution = solve(
        Problem(None, design, None, weight),
        BlockKrylov(model.n_components, model.max_steps),
        start,
        budget=Budget(jnp.asarray(model.tol, design.dtype), model.max_steps),
    )
    variance = design.fold(_variance, None, weight)
    return *solution.params, variance, solution.status, solution.residual, solution.n_steps


def _mean(_: Any, X: Design, w: Array) -> Array:
    return X.rmatvec(w)


def _variance(_: Any, X: Design, w: Array) -> Array:
    return X.squares(w).sum()


def _triangle(_: Any, X: Design, w: Array) -> Array:
    rows = X.take(jnp.arange(X.shape[1], dtype=jnp.int32)).T
    return spectral.triangular_factor(jnp.sqrt(w)[:, None] * rows)
