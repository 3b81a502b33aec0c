"""Orthogonal matching pursuit: codes with a given number of non-zeros, chosen one after the other."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

__all__ = ["Pursuit", "joined", "matching_pursuit", "solved"]


class Pursuit(eqx.Module):
    """The atoms of one code in the order in which they were chosen, and an orthonormal basis of theirs.

    Attributes
    ----------
    chosen : (m,) of int32
        Atoms; k where none was.
    basis : (m, k)
        Correlations of all atoms with the vectors of the basis.
    factor : (m, m)
        Lower triangular: the chosen atoms in that basis.
    distance : (k,)
        Squared, of each atom to the span of the chosen ones.
    """

    chosen: Array
    basis: Array
    factor: Array
    distance: Array

    @classmethod
    def empty(cls, gram: Array, n_nonzero: int) -> Pursuit:
        """Nothing chosen yet."""
        k, dtype = len(gram), gram.dtype
        none = jnp.full(n_nonzero, k, jnp.int32)
        return cls(none, jnp.zeros((n_nonzero, k), dtype), jnp.eye(n_nonzero, dtype=dtype), jnp.diagonal(gram))

    def candidates(self, gram: Array) -> Array:
        """Atoms that are, in this precision, no combination of the chosen ones: (k,) of bool."""
        return self.distance > 16 * jnp.finfo(gram.dtype).eps * jnp.diagonal(gram)


def joined(pursuit: Pursuit, gram: Array, i: Array, atom: Array, go: Array) -> Pursuit:
    """With `atom` as the i-th one; as it was, unless `go`."""
    m, k = pursuit.basis.shape
    length = jnp.sqrt(jnp.where(go, pursuit.distance[atom], 1))
    old = jnp.where(go, pursuit.basis[:, atom], 0)
    new = jnp.where(go, (gram[atom] - old @ pursuit.basis) / length, 0)
    distance = pursuit.distance - jnp.square(new)
    return Pursuit(
        pursuit.chosen.at[i].set(jnp.where(go, atom, k)),
        pursuit.basis.at[i].set(new),
        pursuit.factor.at[i].set(jnp.where(jnp.arange(m) == i, length, old)),
        distance.at[atom].set(jnp.where(go, 0, distance[atom])),
    )


def solved(pursuit: Pursuit, coordinates: Array) -> Array:
    """The code, (k,), of the vector that has these coordinates, (m,), in the basis."""
    k = len(pursuit.distance)
    values = lax.linalg.triangular_solve(
        pursuit.factor, coordinates[:, None], left_side=True, lower=True, transpose_a=True
    )[:, 0]
    return jnp.zeros(k, values.dtype).at[pursuit.chosen].set(values, mode="drop")


def matching_pursuit(gram: ArrayLike, correlations: ArrayLike, n_nonzero: int) -> Array:
    """Codes with at most `n_nonzero` values, each time of the atom that correlates most with what is left of the sample.

    *Minimises*, greedily, ``½ ‖x − a D‖²`` over codes a with `n_nonzero` non-zeros.

    *Step* the atom with the largest ``|d·(x − a D)|`` joins the support, and a becomes the least-squares fit on it. In an
    orthonormal basis q of the chosen atoms this is ``β ← β − (q·x) (q·D)``: neither x nor a is needed before the end.

    *Reads the data by* nothing: Gram matrix and correlations are in memory.

    *Cost per step* 2 k m flops for each sample.

    *Stops when* `n_nonzero` atoms were chosen, or what is left correlates with no atom beyond rounding errors.

    Parameters
    ----------
    gram : (k, k)
        ``D Dᵀ``.
    correlations : (n, k)
        ``X Dᵀ``.
    n_nonzero : int
        m ≤ k.

    Returns
    -------
    (n, k)

    References
    ----------
    Rubinstein, Zibulevsky, Elad, "Efficient implementation of the K-SVD algorithm using batch orthogonal matching pursuit",
    Technion 2008.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> D = jnp.array([[1.0, 0.0], [0.6, 0.8]])
    >>> matching_pursuit(D @ D.T, jnp.array([[1.0, 2.0]]) @ D.T, 1)
    Array([[0. , 2.2]], dtype=float32)
    """
    gram = jnp.asarray(gram)
    return jax.vmap(lambda beta: _pursue(gram, beta, n_nonzero))(jnp.asarray(correlations))


def _pursue(gram: Array, beta: Array, n_nonzero: int) -> Array:
    negligible = jnp.finfo(beta.dtype).eps ** 0.75 * jnp.abs(beta).max()

    def step(i: Array, carry: tuple[Pursuit, Array, Array]) -> tuple[Pursuit, Array, Array]:
        pursuit, left, coordinates = carry
        size = jnp.where(pursuit.candidates(gram), jnp.abs(left), 0)
        atom = jnp.argmax(size).astype(jnp.int32)
        go = size[atom] > negligible
        pursuit = joined(pursuit, gram, i, atom, go)
        coordinate = jnp.where(go, left[atom] / pursuit.factor[i, i], 0)
        return pursuit, left - coordinate * pursuit.basis[i], coordinates.at[i].set(coordinate)

    start = Pursuit.empty(gram, n_nonzero), beta, jnp.zeros(n_nonzero, beta.dtype)
    pursuit, _, coordinates = lax.fori_loop(0, n_nonzero, step, start)
    return solved(pursuit, coordinates)
