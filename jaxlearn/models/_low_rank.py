"""Covariances of few directions: what one pass keeps of a block of rows, and how two of them become one.

A block is known by its weight, its mean and the rows ``P`` (l, p) of which ``PᵀP`` is nearly ``Σ w (x − mean)(x − mean)ᵀ``:
singular vectors, *weighted by their singular values*. Those of two blocks, and a row for the distance of their means,
stacked, have the same singular vectors as all rows would.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.access.design import Centered, Design
from jaxlearn.linalg import spectral
from jaxlearn.linalg.lanczos import KrylovBasis

__all__ = ["LowRank", "drift", "merge_low_rank", "of_block"]


class LowRank(eqx.Module):
    """What is kept of some rows.

    Attributes
    ----------
    weight : scalar
        Σ w.
    mean : (p,)
    rows : (l, p)
        Singular vectors times singular values.
    energy : scalar
        ``Σ w ‖x − mean‖²``, of which ``‖rows‖²`` is the part that is kept.
    order : (8, t)
        Sums over blocks that `drift` compares them by.
    """

    weight: Array
    mean: Array
    rows: Array
    energy: Array
    order: Array


def of_block(query: tuple[Array, Array], X: Design, w: Array, *, depth: int, center: bool) -> LowRank:
    """Leading directions of the local rows: a lift.

    Parameters
    ----------
    query : (p, l) and (p, t) arrays
        Orthonormal columns to start from, and directions, chosen without a look at the rows, that `drift` compares
        blocks along: those of a start that knows the first block would make that block look different.
    depth : int
        Steps of block Lanczos, products of the local rows with l columns.
    """
    start, directions = query
    size = start.shape[1]
    weight = w.sum()
    scale = jnp.where(weight > 0, weight, 1)
    mean = X.rmatvec(w) / scale if center else jnp.zeros(X.shape[1], X.dtype)
    centred = Centered(X, mean)

    z = centred.matvec(directions)
    second = jnp.matmul(w, jnp.square(z), precision=lax.Precision.HIGHEST) / scale
    fourth = jnp.matmul(w, jnp.square(jnp.square(z)), precision=lax.Precision.HIGHEST)
    first = jnp.matmul(mean, directions, precision=lax.Precision.HIGHEST)
    counts = jnp.stack([weight, w @ w, (weight > 0).astype(w.dtype)])[:, None] * jnp.ones((1, len(second)), w.dtype)
    moments = [first, jnp.square(first), second, jnp.square(second)]
    order = jnp.concatenate([counts, weight * jnp.stack(moments), fourth[None]])

    def product(q: Array) -> Array:
        return centred.rmatvec(w[:, None] * centred.matvec(q))

    room = min(depth, len(start) // size)
    for _ in range(depth - room):  # wide blocks: subspace iteration, where a basis has no room
        start = product(jnp.linalg.qr(start)[0])
    basis = KrylovBasis.start(start, room)
    for _ in range(room):
        basis = basis.extended(product(basis.newest))
    values, vectors = basis.leading(size)
    values = values[:size]
    return LowRank(weight, mean, jnp.sqrt(values)[:, None] * vectors.T, centred.energy(w), order)


def merge_low_rank(parts: LowRank) -> LowRank:
    """One from several, stacked on a first axis, in any order: as many directions as each of them has."""
    size, p = parts.rows.shape[1:]
    weight = parts.weight.sum()
    mean = jnp.matmul(parts.weight, parts.mean, precision=lax.Precision.HIGHEST) / jnp.where(weight > 0, weight, 1)
    between = jnp.sqrt(parts.weight)[:, None] * (parts.mean - mean[None])
    if len(parts.weight) == 1:
        rows = parts.rows[0]
    else:
        stacked = jnp.concatenate([parts.rows.reshape(-1, p), between])
        stacked = stacked if len(stacked) <= p else spectral.triangular_factor(stacked)
        spectrum = spectral.of_short_rows(stacked)
        rows = (jnp.sqrt(spectrum.values)[:, None] * spectrum.vectors.T)[:size]
    return LowRank(weight, mean, rows, parts.energy.sum() + jnp.square(between).sum(), parts.order.sum(0))


def drift(order: Array) -> Array:
    """How much more blocks differ than blocks of shuffled rows would, relative to the most that chance explains.

    An analysis of variance: along each direction, the variance of the means of blocks, and that of their mean squares,
    over what it is expected to be from the variance within them; averaged over directions. One is what shuffled rows show;
    3 and six standard deviations are taken for the most.

    Parameters
    ----------
    order : (8, t)
        ``LowRank.order`` of all rows.

    Returns
    -------
    scalar
        Above one the order of the rows matters. Zero for a single block.
    """
    weight, squares, blocks, first, first_squared, second, second_squared, fourth = order
    blocks = blocks[0]
    freedom = jnp.maximum(blocks - 1, 1)
    # weights that are not counts: as many samples as have that variance of a mean
    per_weight = weight / jnp.where(squares > 0, squares, 1)
    mean, spread = first / weight, second / weight

    def ratio(between: Array, within: Array) -> Array:
        known = within > 0
        return jnp.where(known, jnp.maximum(between, 0) / jnp.where(known, within, 1), 1).mean() / freedom

    of_means = ratio(per_weight * (first_squared - weight * jnp.square(mean)), spread)
    of_squares = ratio(
        per_weight * (second_squared - weight * jnp.square(spread)), fourth / weight - jnp.square(spread)
    )
    most = jnp.maximum(3, 1 + 6 * jnp.sqrt(2 / (freedom * len(weight))))
    return jnp.where(blocks > 1, jnp.maximum(of_means, of_squares) / most, 0)
