"""Principal components: the leading eigenvectors of a covariance, as a pure function of the data.

*Finds* the orthonormal rows ``v_1 … v_k`` that keep most of ``Σ w_i ‖(x_i − μ) Vᵀ‖²``, with μ the weighted mean, or zero.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.dense import as_design
from jaxlearn.access.design import PRESENT, Centered, Design
from jaxlearn.linalg.eigenspace import attach_derivative, with_derivative_of
from jaxlearn.solvers.block_krylov import covariance_product
from jaxlearn.solvers.solution import NONFINITE

from ._pca_routes import ROUTES

__all__ = ["PCA", "FittedPCA", "fit", "inverse_transform", "transform"]

SOLVERS = tuple(ROUTES)


class PCA(eqx.Module):
    """What to find and how: an immutable configuration.

    Parameters
    ----------
    n_components : int
        k, at most the number of features; beyond the rank of the rows components have no variance.
    solver : str
        ``covariance_eigh``: the eigenvectors of the covariance (p, p), summed in double precision where JAX is; one
        pass. ``full``: a QR factor of the rows and its singular vectors, one pass; the condition number is not squared.
        ``krylov``: block Lanczos until `tol` is reached, a few passes and no (p, p) matrix; of few features, whose
        covariance is no larger than the basis would be, that covariance. ``randomized``: subspace
        iteration, in the memory of one block. ``onepass``: the directions of each block of rows (of a stream, of a
        shard), merged; a stream is read once.
    center : bool
        False leaves the mean in: the truncated singular value decomposition.
    block_size : int, optional
        Columns of a product. Small blocks need fewer flops, large ones fewer passes; by default 16 or 32 in memory, and
        ``max(2 k, k + 40)`` for streams and ``onepass``.
    max_steps : int, optional
        ``krylov`` and ``randomized``: most products with all rows. The basis of ``krylov`` has room for
        ``block_size * max_steps`` columns, between k and the number of features.
    tol : float
        ``krylov`` and ``randomized``: largest estimated error of an eigenvalue, in units of the first that is left out.
    explained : float, optional
        ``krylov``: stop when as many components as explain this share of the variance are accurate; `n_components` is
        the most there may be.
    """

    n_components: int = eqx.field(static=True)
    solver: str = eqx.field(static=True, default="covariance_eigh")
    center: bool = eqx.field(static=True, default=True)
    block_size: int | None = eqx.field(static=True, default=None)
    max_steps: int | None = eqx.field(static=True, default=None)
    tol: ArrayLike = 1e-3
    explained: ArrayLike | None = None

    def __check_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise ValueError(f"`solver={self.solver!r}` is not known; expected one of {SOLVERS}.")
        if self.n_components < 1:
            raise ValueError(f"`n_components` must be at least 1, got {self.n_components}.")
        if self.explained is not None and self.solver != "krylov":
            raise ValueError(f"`explained` is an option of the solver 'krylov', not of {self.solver!r}.")


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
        Products with all rows.
    n_passes : int32 scalar
        Readings of all rows, those for the mean and the variance included.
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
    n_passes: Array
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
    design = as_design(X, axis_name)
    if model.n_components > design.n_features:
        raise ValueError(f"`n_components={model.n_components}` is more than the {design.n_features} features of `X`.")
    weight = _weight(design, sample_weight)
    data = (design, weight)
    fixed, w = data if design.on_host else jax.tree.map(lax.stop_gradient, data)
    found = ROUTES[model.solver](model, fixed, w, jax.random.key(0) if key is None else key)
    (mean, total, variance), values, vectors = found.moments, found.values, found.vectors
    k = model.n_components
    largest = jnp.take_along_axis(vectors, jnp.abs(vectors).argmax(0)[None], axis=0)
    vectors = vectors * jnp.where(largest < 0, -1, 1).astype(vectors.dtype)
    following = values[k] if k < len(values) else jnp.zeros((), values.dtype)
    values = values[:k]
    if not design.on_host:  # what a loop on the host reads is not traced
        data = jax.tree.map(jnp.asarray, data)
        mean, total, variance = with_derivative_of(partial(_moments, model.center), data, (mean, total, variance))
        values, vectors = attach_derivative(partial(_product, model.center), data, values, vectors, following)
    unbiased = total / jnp.maximum(total - 1, 1) if model.center else jnp.ones_like(total)
    finite = jnp.isfinite(variance) & jnp.isfinite(values).all()
    return FittedPCA(
        mean=mean,
        components=vectors.T,
        explained_variance=unbiased * values,
        total_variance=unbiased * variance,
        total_weight=total,
        status=jnp.where(finite, found.status, jnp.int32(NONFINITE)),
        residual=found.residual,
        n_steps=found.n_steps,
        n_passes=found.n_passes,
        certificate=found.certificate,
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


def _weight(design: Design, sample_weight: Any) -> Any:
    if sample_weight is None:  # of a stream the number of rows may not be known yet
        return PRESENT if design.on_host else jnp.ones(design.shape[0], design.dtype)
    weight = jnp.asarray(sample_weight, design.dtype)
    if weight.ndim != 1 or (not design.on_host and weight.shape != design.shape[:1]):
        raise ValueError(f"`sample_weight` has shape {weight.shape}; expected ({design.shape[0]},).")
    return weight


def _moments(center: bool, data: Any) -> tuple[Array, Array, Array]:
    """Mean, Σ w and variance as functions of the data, for their derivatives."""
    design, w = data
    _refuse(design)
    total = w.sum()
    mean = design.rmatvec(w) / total if center else jnp.zeros(design.n_features, design.dtype)
    return mean, total, (Centered(design, mean) if center else design).energy(w / total)


def _product(center: bool, data: Any, block: Array) -> Array:
    """``C block``, for derivatives."""
    design, w = data
    _refuse(design)
    w = w / w.sum()
    if center:
        design = design.shifted(lax.stop_gradient(design.location()))  # as in the fit: it costs no digits
        design = Centered(design, design.rmatvec(w))
    return covariance_product(block, design, w)


def _refuse(design: Design) -> None:
    if design.axis_name is not None:
        raise ValueError(
            "a fit with `axis_name` cannot be differentiated: collectives have no derivative of their own. "
            "Differentiate outside the map: `jit` of the fit on a sharded array needs no axis name."
        )
