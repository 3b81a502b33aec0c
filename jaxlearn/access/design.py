"""A `Design` is the matrix X seen through its data access patterns; `Lazy` designs change it without copying it.

Two levels, never mixed. The products of a design (`matvec`, `rmatvec`, `gram`, `take`) are *local*: they speak of the
rows at hand. `fold` is *global*: it sums what a `lift` computes from the rows at hand over all rows there are, on other
devices or in other blocks. A solver reduces over samples by `fold` alone, and so runs unchanged wherever the rows lie.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from .reduce import combine

__all__ = ["PRESENT", "Centered", "Design", "Lazy", "Scaled", "Taken", "WithIntercept", "filled"]

Lift = Callable[..., Any]
# Columns that are gathered are fewer than one in so many. A product with all took 0.1 to 0.5 of the time of gathering one in
# two to ten, 0.5 to 2.3 of one in 20 to 28, three to four times that of one in 156 (eight shapes, 72 × 7129 to 10000 × 1000).
GATHERED = 16


class _Present:
    def __repr__(self) -> str:
        return "PRESENT"


PRESENT: Any = _Present()
"""Among the rows of a fold: a weight of one for each row that is there, of zero for what fills up a block."""


def filled(rows: tuple[Any, ...], design: Design) -> tuple[Any, ...]:
    """`rows` of a design whose rows are all there."""
    return tuple(jnp.ones(design.shape[0], design.dtype) if row is PRESENT else row for row in rows)


class Design(eqx.Module):
    """X, of shape (n_samples, n_features), local rows.

    Attributes
    ----------
    serves : frozenset of str
        The patterns it realises, out of ``fold``, ``map``, ``columns`` and ``rows``: any of them, in any order.
    on_host : bool
        The rows are on the host and come block by block: the solver's loop runs there too.
    """

    serves: ClassVar[frozenset[str]] = frozenset({"fold", "map", "columns"})
    on_host: ClassVar[bool] = False

    @property
    def axis_name(self) -> str | None:
        """The mapped axis over which the remaining rows lie."""
        return None

    @property
    def shape(self) -> tuple[int, int]:
        """(n_samples, n_features) of the local rows, padding included: count samples by their weights."""
        raise NotImplementedError

    @property
    def dtype(self) -> Any:
        """dtype of X, and of the fit."""
        raise NotImplementedError

    @property
    def rereadable(self) -> bool:
        """Whether the rows can be read more than once."""
        return True

    @property
    def n_features(self) -> int:
        """Columns of X."""
        return self.shape[1]

    @property
    def is_sparse(self) -> bool:
        """Whether a dense copy of X must never be made."""
        return False

    def matvec(self, b: Array) -> Array:
        """``X b`` for b (p,) or (p, k): a map over rows."""
        raise NotImplementedError

    def rmatvec(self, u: Array) -> Array:
        """``Xᵀ u`` for u (n,) or (n, k), summed over the local rows."""
        raise NotImplementedError

    def gram(self, d: Array) -> Array:
        """``Xᵀ diag(d) X``, (p, p), summed over the local rows."""
        raise NotImplementedError

    def squares(self, d: Array) -> Array:
        """Diagonal of ``gram(d)``, (p,)."""
        raise NotImplementedError

    def energy(self, d: Array) -> Array:
        """Trace of ``gram(d)``: ``Σ d_i ‖x_i‖²``."""
        return self.squares(d).sum()

    def moments(self, d: Array, location: Array) -> tuple[Array, Array, Array]:
        """``Σ d_i``, ``Σ d_i z_i`` and ``Σ d_i z_i z_iᵀ`` with ``z = x − location``, over the local rows.

        In double precision where JAX is in double precision, whatever the dtype of X: sums of many products then keep
        the digits of small eigenvalues.
        """
        raise NotImplementedError

    def take(self, columns: Array) -> Array:
        """``X[:, columns]ᵀ`` as dense rows, (len(columns), n)."""
        raise NotImplementedError

    def matvec_at(self, columns: Array, b: Array) -> Array:
        """``X[:, columns] b`` for b (m,) or (m, k)."""
        # of sparse rows 256 columns made dense take 1.2 to 5 times as long as all entries, 64 half as long; and room
        if self.is_sparse or self.n_features <= GATHERED * len(columns):
            return self.matvec(jnp.zeros((self.shape[1], *b.shape[1:]), b.dtype).at[columns].add(b))
        return self.taken(columns).matvec(b)

    def taken(self, columns: Array) -> Design:
        """The design of some columns, which are read once and held dense."""
        return Taken(self.take(columns), self.axis_name)

    def some(self, index: Array) -> Design:
        """The design of the local rows `index`, which knows the axis of the others. Served with ``rows``."""
        raise NotImplementedError

    def rows_at(self, index: Array) -> Array:
        """Local rows `index`, dense, (m, p)."""
        raise NotImplementedError

    def row_squares(self) -> Array:
        """``‖x_i‖²`` of the local rows, (n,)."""
        raise NotImplementedError

    def grouped(self, labels: Array, d: Array | None, n_groups: int) -> tuple[Array, Array]:
        """``Σ d_i x_i`` and ``Σ d_i`` over the local rows of each label, (n_groups, p) and (n_groups,).

        None is a weight of one, without a multiplication; a row whose label is `n_groups` is left out.
        """
        raise NotImplementedError

    @property
    def entries(self) -> Array:
        """The numbers that are stored: all of X, (n, p), or its non-zeros, (n_entries,)."""
        raise NotImplementedError

    def entries_of(self, u: Array, b: Array) -> Array:
        """``u b`` for u (n, k) and b (k, p), where X has `entries`."""
        raise NotImplementedError

    def with_entries(self, entries: Array) -> Design:
        """Other numbers in the same places."""
        raise NotImplementedError

    def location(self) -> Array:
        """A point near the rows, (p,): products of rows shifted by it keep their digits. Zero where a shift would densify."""
        raise NotImplementedError

    def shifted(self, location: Array) -> Design:
        """The design of ``X − location``, a shift applied before any product."""
        raise NotImplementedError

    def fold(
        self, lift: Lift, query: Any, *rows: Array, merge: Callable[[Any], Any] | None = None, whole: bool = False
    ) -> Any:
        """Reduce ``lift(query, local design, *local rows)`` over all rows.

        Parameters
        ----------
        lift : callable
            A module-level function (it is a compilation key) from the query, a design of local rows and the arrays
            that go with them, to a pytree.
        query : pytree
            What the solver asks at; the same for all rows.
        *rows : arrays, first axis n_samples, or PRESENT
            Targets, weights, residuals: whatever is aligned with the rows; `PRESENT` stands for weights of one.
        merge : callable, optional
            Associative combination of partial results stacked on a new first axis; the sum by default.
        whole : bool
            `lift` does more than add rows up: rows that are at hand together are not to be cut further, for speed.

        Returns
        -------
        pytree
            The same on every device.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class _Through:
    """`lift` as seen through a lazy design: the block is wrapped before it is lifted."""

    lift: Lift

    def __call__(self, query: tuple[Lazy, Any], block: Design, *rows: Array) -> Any:
        shell, inner_query = query
        return self.lift(inner_query, dataclasses.replace(shell, inner=block), *rows)


class Lazy(Design):
    """A design that changes `inner` without touching its storage."""

    inner: Any

    @property
    def serves(self):  # type: ignore[override]
        return self.inner.serves

    @property
    def on_host(self):  # type: ignore[override]
        return self.inner.on_host

    @property
    def axis_name(self):  # type: ignore[override]
        return self.inner.axis_name

    @property
    def shape(self):
        return self.inner.shape

    @property
    def dtype(self):
        return self.inner.dtype

    @property
    def rereadable(self):
        return self.inner.rereadable

    @property
    def is_sparse(self):
        return self.inner.is_sparse

    def some(self, index):
        return dataclasses.replace(self, inner=self.inner.some(index))

    def fold(self, lift, query, *rows, merge=None, whole=False):
        shell = dataclasses.replace(self, inner=None)
        return self.inner.fold(_Through(lift), (shell, query), *rows, merge=merge, whole=whole)


class Centered(Lazy):
    """``X − 1 meanᵀ``, by corrections of rank one.

    The corrections cancel digits where the mean is large: give them a design already `shifted` near its mean.
    """

    mean: Array

    def matvec(self, b):
        f, offset = self.inner.matvec(b), jnp.matmul(self.mean, b, precision=lax.Precision.HIGHEST)
        return f - (offset if b.ndim == 1 else offset[None])

    def rmatvec(self, u):
        total = u.sum(0)
        return self.inner.rmatvec(u) - (self.mean * total if u.ndim == 1 else jnp.outer(self.mean, total))

    def gram(self, d):
        cross = jnp.outer(self.inner.rmatvec(d), self.mean)
        return self.inner.gram(d) - cross - cross.T + d.sum() * jnp.outer(self.mean, self.mean)

    def squares(self, d):
        cross = self.inner.rmatvec(d) * self.mean
        return jnp.maximum(self.inner.squares(d) - 2 * cross + d.sum() * jnp.square(self.mean), 0)

    def take(self, columns):
        return self.inner.take(columns) - self.mean[columns][:, None]


class Scaled(Lazy):
    """``X diag(scale)``."""

    scale: Array

    def _times(self, b: Array) -> Array:
        return b * (self.scale if b.ndim == 1 else self.scale[:, None])

    def matvec(self, b):
        return self.inner.matvec(self._times(b))

    def rmatvec(self, u):
        return self._times(self.inner.rmatvec(u))

    def gram(self, d):
        return self.inner.gram(d) * jnp.outer(self.scale, self.scale)

    def squares(self, d):
        return self.inner.squares(d) * jnp.square(self.scale)

    def take(self, columns):
        return self.inner.take(columns) * self.scale[columns][:, None]


class WithIntercept(Lazy):
    """``[X, 1]``: the intercept is the last coefficient, (p + 1,) or (p + 1, k)."""

    @property
    def shape(self):
        n_samples, n_features = self.inner.shape
        return n_samples, n_features + 1

    def matvec(self, b):
        return self.inner.matvec(b[:-1]) + (b[-1] if b.ndim == 1 else b[-1:])

    def rmatvec(self, u):
        return jnp.concatenate([self.inner.rmatvec(u), u.sum(0, keepdims=True)])

    def gram(self, d):
        edge = self.inner.rmatvec(d)[:, None]
        return jnp.block([[self.inner.gram(d), edge], [edge.T, d.sum().reshape(1, 1)]])

    def squares(self, d):
        return jnp.concatenate([self.inner.squares(d), d.sum(keepdims=True)])

    def take(self, columns):
        last = self.inner.shape[1]
        ones = jnp.ones((1, self.inner.shape[0]), self.dtype)
        return jnp.where((columns == last)[:, None], ones, self.inner.take(jnp.minimum(columns, last - 1)))


class Taken(Design):
    """Columns of a design, one after the other: as many columns as it has are all of them, in order."""

    columns: Array  # (K, n)
    axis_name: str | None = eqx.field(static=True, default=None)

    @property
    def shape(self):
        return self.columns.shape[1], self.columns.shape[0]

    @property
    def dtype(self):
        return self.columns.dtype

    def matvec(self, b):
        if b.ndim == 1:
            return jnp.matmul(b, self.columns, precision=lax.Precision.HIGHEST)
        return jnp.einsum("jk,jn->nk", b, self.columns, precision=lax.Precision.HIGHEST)

    def rmatvec(self, u):
        return jnp.matmul(self.columns, u, precision=lax.Precision.HIGHEST)

    def gram(self, d):
        return jnp.matmul(self.columns * d[None], self.columns.T, precision=lax.Precision.HIGHEST)

    def matvec_at(self, columns, b):
        return Taken(self.take(columns)).matvec(b)  # columns of full length may have other numbers here

    def take(self, columns):
        return self.columns if len(columns) == len(self.columns) else self.columns[columns]

    def fold(self, lift, query, *rows, merge=None, whole=False):
        return combine(lift(query, self, *filled(rows, self)), self.axis_name, merge)
