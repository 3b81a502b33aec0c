"""Ways to the leading eigenvectors of a covariance; each is a function of the data and a configuration."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.access.design import Centered, Design
from jaxlearn.linalg import spectral
from jaxlearn.solvers.block_krylov import BlockKrylov, covariance_product
from jaxlearn.solvers.protocols import Problem, Solver
from jaxlearn.solvers.solution import CONVERGED, UNSHUFFLED, Budget
from jaxlearn.solvers.solve import solve
from jaxlearn.solvers.subspace_iteration import SubspaceIteration

from ._low_rank import drift, merge_low_rank, of_block

__all__ = ["ROUTES", "Found"]

OVERSAMPLES = 10
# Columns of a product: two readings of X for each cost as much as the arithmetic of about 32 columns on a CPU.
BLOCK_SIZE = 32
# Steps of Lanczos inside a block of rows: with the directions of another block to start from, and with none.
WARM, COLD = 2, 3
# Random directions along which blocks of rows are compared.
COMPARED = 16
# Steps in the memory of one block, and steps that read a stream, unless the configuration has its own.
SUBSPACE_STEPS, STREAMED_STEPS = 8, 8


class Moments(NamedTuple):
    """Mean (p,), Σ w, and the variance: the trace of the covariance."""

    mean: Array
    weight: Array
    variance: Array


class Found(NamedTuple):
    """Leading eigenpairs of ``Σ ω (x − mean)(x − mean)ᵀ``, with weights ω that sum to one.

    Attributes
    ----------
    moments : Moments
    values : (m,)
        m ≥ k; the first k go with `vectors`.
    vectors : (p, k)
    status, residual, n_steps : scalars
        Of the iteration; converged, 0 and 1 for a direct solver.
    n_passes : int32 scalar
        Readings of all rows.
    certificate : str
    """

    moments: Moments
    values: Array
    vectors: Array
    status: Array
    residual: Array
    n_steps: Array
    n_passes: Array
    certificate: str


def of_moments(model: Any, design: Design, w: Any, key: Array) -> Found:
    """Eigenvectors of the covariance (p, p), whose sums are made in double precision where JAX is."""
    location = _location(model, design)
    weight, first, second = design.fold(_moments, location, w)
    mean = first / weight if model.center else jnp.zeros_like(first)
    covariance = second / weight - jnp.outer(mean, mean)
    spectrum = spectral.of_gram((covariance + covariance.T) / 2)
    moments = Moments(location + mean.astype(location.dtype), weight, jnp.trace(covariance))
    return _direct(model, design, moments, spectrum.values[::-1], spectrum.vectors[:, ::-1])


def of_rows(model: Any, design: Design, w: Any, key: Array) -> Found:
    """Singular vectors of a triangular factor of the rows: the condition number is not squared."""
    if design.is_sparse:
        raise ValueError("`solver='full'` would make a sparse `X` dense: choose 'krylov' or 'covariance_eigh'.")
    location = _location(model, design)
    # a first column of ones takes the mean out of all others, in the same factorisation: one pass
    lift = _square_triangle if design.on_host else _triangle
    weight, triangle = design.shifted(location).fold(lift, None, w, merge=_merge_triangles)
    mean = jnp.zeros_like(location)
    if model.center:
        mean, triangle = triangle[0, 1:] / triangle[0, 0], jnp.pad(triangle[1:, 1:], ((0, 1), (0, 0)))
    else:
        # without the first column, what it took out comes back
        triangle = spectral.triangular_factor(triangle[:, 1:])
    # directions without variance, where more are wanted than there are rows
    triangle = jnp.pad(triangle, ((0, max(model.n_components - len(triangle), 0)), (0, 0)))
    _, spectrum = spectral.of_rows(triangle)
    moments = Moments(location + mean, weight, spectrum.values.sum() / weight)
    return _direct(model, design, moments, spectrum.values / weight, spectrum.vectors)


def of_krylov(model: Any, design: Design, w: Any, key: Array) -> Found:
    """Block Lanczos; what streams begins with the directions that one pass finds, where passes are what counts."""
    if design.on_host:
        return _continued(model, design, w, _merged(model, design, w, key))
    size, depth = block_size(model, design), max_steps(model, design)
    if model.max_steps is None and (depth + 1) * size > design.n_features:
        return of_moments(model, design, w, key)  # no larger than a basis of all features
    start = jax.random.normal(key, (design.n_features, size), design.dtype)
    shifted, moments, mean = _shifted(model, design, w)
    solver = BlockKrylov(model.n_components, depth, _target(model, moments), mean)
    return _iterated(model, solver, shifted, w, start, moments=moments, n_steps=solver.depth)


def of_subspace(model: Any, design: Design, w: Any, key: Array) -> Found:
    """Subspace iteration: the classical randomized algorithm, in the memory of one block."""
    n_steps = SUBSPACE_STEPS if model.max_steps is None else model.max_steps
    if design.on_host:
        solver = SubspaceIteration(model.n_components)
        return _continued(model, design, w, _merged(model, design, w, key), solver=solver, n_steps=n_steps)
    size = min(model.n_components + OVERSAMPLES, design.n_features) if model.block_size is None else model.block_size
    if not model.n_components <= size <= design.n_features:
        raise ValueError(
            f"`block_size={size}` must lie between `n_components={model.n_components}` and the {design.n_features} features."
        )
    start = jax.random.normal(key, (design.n_features, size), design.dtype)
    shifted, moments, mean = _shifted(model, design, w)
    solver = SubspaceIteration(model.n_components, mean)
    return _iterated(model, solver, shifted, w, start, moments=moments, n_steps=n_steps)


def of_one_pass(model: Any, design: Design, w: Any, key: Array) -> Found:
    """The directions of each block of rows, weighted by their singular values, merged; one pass.

    Blocks of rows that were not shuffled differ in their directions, and each of them keeps too few: where they do, and
    the rows can be read again, block Lanczos continues from what was found.
    """
    found = _merged(model, design, w, key)
    if design.on_host and design.rereadable and bool(found.status == UNSHUFFLED):
        return _continued(model, design, w, found)
    return found._replace(vectors=found.vectors[:, : model.n_components])


ROUTES = {
    "covariance_eigh": of_moments,
    "full": of_rows,
    "krylov": of_krylov,
    "randomized": of_subspace,
    "onepass": of_one_pass,
}


def block_size(model: Any, design: Design) -> int:
    """Columns of a product in memory."""
    if model.block_size is not None:
        return model.block_size
    size = BLOCK_SIZE if model.n_components > BLOCK_SIZE // 2 else BLOCK_SIZE // 2
    return min(size, max(design.n_features // 8, 1))  # of few features, blocks that leave next to none of them out


def max_steps(model: Any, design: Design) -> int:
    """Blocks in the Krylov basis: at most as many as make a basis of everything."""
    size, p = block_size(model, design), design.n_features
    depth = min(p // size, -(-model.n_components // size) + 9) if model.max_steps is None else model.max_steps
    if not model.n_components <= size * depth <= p:
        raise ValueError(
            f"`block_size * max_steps` = {size * depth} must lie between `n_components={model.n_components}` and the {p} "
            "features of `X`."
        )
    return depth


def _merged(model: Any, design: Design, w: Any, key: Array) -> Found:
    """One pass: all directions that its blocks keep."""
    if model.solver != "onepass":
        _several(model, design)
    p, k = design.n_features, model.n_components
    size = min(p, max(2 * k, k + 4 * OVERSAMPLES)) if model.block_size is None else model.block_size
    shifted = design.shifted(_location(model, design))
    random = jax.random.normal(key, (p, size + COMPARED), design.dtype)
    start, directions = random[:, COMPARED:], random[:, :COMPARED]
    if design.on_host:  # the directions of the first block are a better start for all others
        start = _directions(shifted.head(), start, model.center)  # type: ignore[attr-defined]
    lift = _LIFTS[bool(design.on_host), model.center]
    merged = shifted.fold(lift, (jnp.linalg.qr(start)[0], directions), w, merge=merge_low_rank)
    spectrum = spectral.of_short_rows(merged.rows)
    order = drift(merged.order)
    return Found(
        Moments(_location(model, design) + merged.mean, merged.weight, merged.energy / merged.weight),
        spectrum.values / merged.weight,
        spectrum.vectors,
        status=jnp.where(order > 1, jnp.int32(UNSHUFFLED), jnp.int32(CONVERGED)),
        residual=order,
        n_steps=jnp.int32(1),
        n_passes=jnp.int32(1),
        certificate="variance between blocks",
    )


def _continued(
    model: Any, design: Design, w: Any, found: Found, *, solver: Solver | None = None, n_steps: int | None = None
) -> Found:
    """Lanczos, or another iteration, from the directions found by one pass."""
    p, size = found.vectors.shape
    if solver is None:
        depth = min(STREAMED_STEPS if model.max_steps is None else model.max_steps, p // size)
        solver, n_steps = BlockKrylov(model.n_components, depth, _target(model, found.moments)), depth
    shifted = design.shifted(found.moments.mean)
    return _iterated(model, solver, shifted, w, found.vectors, moments=found.moments, n_steps=n_steps, n_passes=1)


def _several(model: Any, design: Design) -> None:
    """Refuse several passes over what can be read once, before the first."""
    if not design.rereadable:
        raise ValueError(
            f"`solver={model.solver!r}` reads the rows several times, and an iterator can be read once: give a function "
            "that returns a new iterator, a sequence of blocks or a file, or choose 'onepass', 'covariance_eigh' or 'full'."
        )


def _iterated(
    model: Any,
    solver: Solver,
    design: Design,
    w: Any,
    start: Array,
    *,
    moments: Moments,
    n_steps: Any,
    n_passes: int = 2,
) -> Found:
    budget = Budget(jnp.asarray(model.tol, design.dtype), n_steps)
    solution = solve(Problem(None, design, None, w), solver, start, budget=budget)
    values, vectors = solution.params
    return Found(
        moments,
        values / moments.weight,
        vectors,
        status=solution.status,
        residual=solution.residual,
        n_steps=solution.n_steps,
        n_passes=solution.n_steps + jnp.int32(n_passes),
        certificate=solver.certificate,
    )


def _direct(model: Any, design: Design, moments: Moments, values: Array, vectors: Array) -> Found:
    dtype = design.dtype
    return Found(
        Moments(*(moment.astype(dtype) for moment in moments)),
        values.astype(dtype),
        vectors[:, : model.n_components].astype(dtype),
        status=jnp.int32(CONVERGED),
        residual=jnp.zeros((), dtype),
        n_steps=jnp.int32(1),
        n_passes=jnp.int32(1 if design.on_host else 2),
        certificate="exact",
    )


def _location(model: Any, design: Design) -> Array:
    return design.location() if model.center else jnp.zeros(design.n_features, design.dtype)


def _shifted(model: Any, design: Design, w: Any) -> tuple[Design, Moments, Array | None]:
    """The design shifted near zero, which costs no digits; its moments; what is left of the mean, as solvers take it."""
    location = _location(model, design)
    design = design.shifted(location)
    weight, first, energy = design.fold(_first_moments, None, w)
    if not model.center:
        return design, Moments(location, weight, energy / weight), None
    mean = first / weight
    variance = jnp.maximum(energy / weight - jnp.square(mean).sum(), 0)
    return design, Moments(location + mean, weight, variance), jnp.sqrt(weight) * mean


def _target(model: Any, moments: Moments) -> Array | None:
    return None if model.explained is None else model.explained * moments.variance * moments.weight


def _moments(location: Array, X: Design, w: Array) -> tuple[Array, Array, Array]:
    return X.moments(w, location)


def _first_moments(_: Any, X: Design, w: Array) -> tuple[Array, Array, Array]:
    return w.sum(), X.rmatvec(w), X.energy(w)


def _triangle(_: Any, X: Design, w: Array) -> tuple[Array, Array]:
    rows = X.take(jnp.arange(X.shape[1], dtype=jnp.int32)).T
    rows = jnp.concatenate([jnp.ones((len(rows), 1), rows.dtype), rows], axis=1)
    return w.sum(), spectral.triangular_factor(jnp.sqrt(w)[:, None] * rows)


def _square_triangle(_: Any, X: Design, w: Array) -> tuple[Array, Array]:
    """Of one shape, however few the rows of a block."""
    weight, triangle = _triangle(_, X, w)
    return weight, jnp.pad(triangle, ((0, triangle.shape[1] - triangle.shape[0]), (0, 0)))


def _merge_triangles(parts: tuple[Array, Array]) -> tuple[Array, Array]:
    weights, triangles = parts
    return weights.sum(), spectral.merge_triangular_factors(triangles)


@partial(jax.jit, static_argnames="center")
def _directions(X: Design, start: Array, center: bool) -> Array:
    w = jnp.ones(X.shape[0], X.dtype)
    centred = Centered(X, X.rmatvec(w) / len(w)) if center else X
    return lax.fori_loop(0, COLD, lambda _, q: covariance_product(jnp.linalg.qr(q)[0], centred, w), start)


# lifts, by whether the start is warm and the rows are centred
_LIFTS = {
    (warm, center): partial(of_block, depth=WARM if warm else COLD, center=center)
    for warm in (False, True)
    for center in (False, True)
}
