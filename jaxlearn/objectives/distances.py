"""Distances between rows: formulas. What is compared is a *rank*, which grows with the distance and costs less."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

__all__ = [
    "Chebyshev",
    "Cosine",
    "Distance",
    "Euclidean",
    "Function",
    "Haversine",
    "Manhattan",
    "Minkowski",
    "SquaredEuclidean",
]

# Features that a tile of pairs is read and written for at once.
GROUP = 8


class Distance(eqx.Module):
    """How far rows x and y are from each other.

    Attributes
    ----------
    by_product : bool
        There are `scores`, made by a matrix product.
    shift_invariant : bool
        The same point may be subtracted from x and y.
    """

    by_product: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = False

    def rank(self, x: Array, y: Array) -> Array:
        """Of rows along the last axis; the other axes are broadcast."""
        raise NotImplementedError

    def distance(self, rank: Array) -> Array:
        """The distance that has this rank."""
        return rank

    def rank_of(self, distance: Array) -> Array:
        """The rank that this distance has."""
        return distance

    def ranks(self, X: Array, Y: Array) -> Array:
        """Ranks of all pairs, (n, m) for X (n, p) and Y (m, p), each as exact as `rank`."""
        return self.rank(X[:, None], Y[None])

    def scores(self, block: Any, Y: Array, squares: Array) -> Array:
        """Ranks of all pairs up to a term of y, (n, m), by the product of `block` (a design) and Y.

        Parameters
        ----------
        block : Design
            Rows x.
        Y : (m, p)
        squares : (n,)
            ``‖x‖²``.
        """
        raise NotImplementedError

    def rest(self, squares: Array) -> Array:
        """The term of y that `scores` leave out, (m,) for ``‖y‖²`` (m,)."""
        raise NotImplementedError

    def magnitude(self, squares: Array) -> Array:
        """What rounding errors of a score are relative to: the sum of this for ``‖x‖²`` and for ``‖y‖²``."""
        raise NotImplementedError


def _by_features(X: Array, Y: Array, add: Callable[[Array, Array, Array], Array]) -> Array:
    """``add(sum, x_j − y_j, j)`` over the features j, for a tile of pairs that stays in the cache: (n, m)."""
    n_features = X.shape[1]

    def some(columns: tuple[Array, Array], total: Array, first: Any, size: int) -> Array:
        for i in range(size):
            total = add(total, columns[0][:, i, None] - columns[1][None, :, i], first + i)
        return total

    def group(g: Array, total: Array) -> Array:
        columns = [lax.dynamic_slice_in_dim(a, g * GROUP, GROUP, 1) for a in (X, Y)]
        return some((columns[0], columns[1]), total, g * GROUP, GROUP)

    whole = n_features // GROUP
    total = jnp.zeros((len(X), len(Y)), jnp.result_type(X, Y))
    total = lax.fori_loop(0, whole, group, total) if whole else total
    return some((X[:, whole * GROUP :], Y[:, whole * GROUP :]), total, whole * GROUP, n_features - whole * GROUP)


class SquaredEuclidean(Distance):
    """``‖x − y‖²``; scores are ``‖x‖² − 2 xᵀ y``."""

    by_product: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True

    def rank(self, x, y):
        return jnp.square(x - y).sum(-1)

    def ranks(self, X, Y):
        return _by_features(X, Y, lambda total, z, _: total + z * z)

    def scores(self, block, Y, squares):
        return squares[:, None] - block.matvec(2 * Y.T)

    def rest(self, squares):
        return squares

    def magnitude(self, squares):
        return squares

    def ranks_by_product(self, X: Array, Y: Array) -> Array:
        """`ranks` by a matrix product of rows shifted by the mean of Y: quick with many features, not exact near zero."""
        location = Y.mean(0)[None]
        X, Y = X - location, Y - location
        squares = [jnp.square(a).sum(1) for a in (X, Y)]
        product = jnp.matmul(X, 2 * Y.T, precision=lax.Precision.HIGHEST)
        return jnp.maximum(squares[0][:, None] - product + squares[1][None], 0)


class Euclidean(SquaredEuclidean):
    """``‖x − y‖``, ranked by its square."""

    def distance(self, rank):
        positive = rank > 0  # so that a gradient at zero is zero
        return jnp.where(positive, jnp.sqrt(jnp.where(positive, rank, 1)), 0)

    def rank_of(self, distance):
        return jnp.square(distance)


class Cosine(Distance):
    """``1 − xᵀ y / (‖x‖ ‖y‖)``; one where x or y is zero."""

    by_product: ClassVar[bool] = True

    def rank(self, x, y):
        # half the squared distance of points on the sphere: small distances keep their digits
        norms = [jnp.sqrt(jnp.square(a).sum(-1, keepdims=True)) for a in (x, y)]
        x, y = (a / jnp.where(norm > 0, norm, 1) for a, norm in zip((x, y), norms, strict=True))
        known = (norms[0] > 0) & (norms[1] > 0)
        return jnp.where(known[..., 0], jnp.minimum(0.5 * jnp.square(x - y).sum(-1), 2), 1)

    def ranks(self, X, Y):
        norms = [jnp.sqrt(jnp.square(a).sum(-1)) for a in (X, Y)]
        X, Y = (a / jnp.where(norm > 0, norm, 1)[:, None] for a, norm in zip((X, Y), norms, strict=True))
        known = (norms[0] > 0)[:, None] & (norms[1] > 0)[None]
        return jnp.where(known, jnp.minimum(0.5 * SquaredEuclidean().ranks(X, Y), 2), 1)

    def scores(self, block, Y, squares):
        return _inverse_norm(squares)[:, None] * block.matvec(-Y.T * _inverse_norm(jnp.square(Y).sum(1))[None])

    def rest(self, squares):
        return jnp.ones_like(squares)

    def magnitude(self, squares):
        return jnp.ones_like(squares)


def _inverse_norm(squares: Array) -> Array:
    return jnp.where(squares > 0, lax.rsqrt(jnp.where(squares > 0, squares, 1)), 0)


class Manhattan(Distance):
    """``Σ |x_j − y_j|``."""

    shift_invariant: ClassVar[bool] = True

    def rank(self, x, y):
        return jnp.abs(x - y).sum(-1)

    def ranks(self, X, Y):
        return _by_features(X, Y, lambda total, z, _: total + jnp.abs(z))


class Chebyshev(Distance):
    """``max_j |x_j − y_j|``."""

    shift_invariant: ClassVar[bool] = True

    def rank(self, x, y):
        return jnp.abs(x - y).max(-1)

    def ranks(self, X, Y):
        return _by_features(X, Y, lambda total, z, _: jnp.maximum(total, jnp.abs(z)))


class Minkowski(Distance):
    """``(Σ w_j |x_j − y_j|^p)^(1/p)``, ranked by the sum.

    Parameters
    ----------
    p : float
        Positive; below one this is no metric. `Chebyshev` is the limit.
    w : Array, (n_features,), optional
        Non-negative weights.
    """

    p: ArrayLike
    w: Array | None = None

    shift_invariant: ClassVar[bool] = True

    def rank(self, x, y):
        terms = self._power(x - y)
        return (terms if self.w is None else terms * self.w.reshape(*[1] * (terms.ndim - 1), -1)).sum(-1)

    def ranks(self, X, Y):
        def add(total: Array, z: Array, j: Array) -> Array:
            terms = self._power(z)
            return total + (terms if self.w is None else terms * jnp.asarray(self.w)[j])

        return _by_features(X, Y, add)

    def _power(self, z: Array) -> Array:
        return jnp.abs(z) ** jnp.asarray(self.p, z.dtype)

    def distance(self, rank):
        return rank ** (1 / jnp.asarray(self.p, rank.dtype))

    def rank_of(self, distance):
        return distance ** jnp.asarray(self.p, distance.dtype)


class Haversine(Distance):
    """The angle between two points of a sphere, given as latitude and longitude in radians; ranked by ``sin²`` of half."""

    def rank(self, x, y):
        half = jnp.square(jnp.sin(0.5 * (x - y)))
        return half[..., 0] + jnp.cos(x[..., 0]) * jnp.cos(y[..., 0]) * half[..., 1]

    def distance(self, rank):
        return 2 * jnp.arcsin(jnp.sqrt(jnp.clip(rank, 0, 1)))

    def rank_of(self, distance):
        return jnp.square(jnp.sin(0.5 * jnp.minimum(distance, jnp.pi)))


class Function(Distance):
    """A function of two vectors (p,) that JAX can trace, to a number.

    Parameters
    ----------
    function : callable
        Static: a program is compiled for each function.
    keywords : dict
        Further arguments of it, arrays or numbers.
    """

    function: Callable[..., Any] = eqx.field(static=True)
    keywords: dict[str, Any] = eqx.field(default_factory=dict)

    def rank(self, x, y):
        return jnp.vectorize(lambda a, b: self.function(a, b, **self.keywords), signature="(p),(p)->()")(x, y)

    def ranks(self, X, Y):
        one = lambda x, y: jnp.asarray(self.function(x, y, **self.keywords), X.dtype)  # noqa: E731
        return jax.vmap(lambda x: jax.vmap(lambda y: one(x, y))(Y))(X)
