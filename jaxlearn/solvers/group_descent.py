"""Block coordinate descent for groups of features, along a grid of alphas."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from .coordinate_path import CoordinatePath
from .gap import scaled_gap

__all__ = ["GroupDescentPath", "group_sweep"]

# Updates of each group of a block, for one reading of it.
REPEATS = 6
HIGHEST = lax.Precision.HIGHEST


def group_sweep(gram: Array, g: Array, coef: Array, strengths: tuple[Array, Array], width: int) -> Array:
    """Updates of one group after the other, for ``g = q − (G + l2) b``; several problems side by side have leading axes.

    ``B_j ← (1 − l1 / ‖z‖)₊ z / (L_j + l2)`` with ``z = L_j B_j + (q − G b)_j``: the minimum of a bound of the objective, with a
    number L_j that ``G_jj`` is at most.

    Parameters
    ----------
    gram : (..., B, B)
    g, coef : (..., B)
        Groups of `width` features side by side.
    strengths : (l1, l2), each (..., B)
        Those of a group at each of its features.
    """
    l1, l2 = strengths
    n_groups = coef.shape[-1] // width
    places = jnp.arange(n_groups)
    within = gram.reshape(*gram.shape[:-2], n_groups, width, n_groups, width)
    within = jnp.moveaxis(within, -3, -2)[..., places, places, :, :]
    # two bounds of the largest eigenvalue
    bound = jnp.minimum(jnp.abs(within).sum(-1).max(-1), jnp.sqrt(jnp.square(within).sum((-2, -1))))

    def update(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        coef, smooth = carry
        first = (k % n_groups) * width
        part = lambda a, axis=-1: lax.dynamic_slice_in_dim(a, first, width, axis)  # noqa: E731
        steep, old = lax.dynamic_index_in_dim(bound, k % n_groups, -1), part(coef)
        z = steep * old + part(smooth)
        size = jnp.sqrt(jnp.square(z).sum(-1, keepdims=True))
        kept, curved = jnp.maximum(size - part(l1), 0), size * (steep + part(l2))
        new = jnp.where(curved > 0, kept / jnp.where(curved > 0, curved, 1), 0) * z
        back = jnp.einsum("...j,...jb->...b", new - old, part(gram, -2), precision=HIGHEST)
        return lax.dynamic_update_slice_in_dim(coef, new, first, -1), smooth - back

    return lax.fori_loop(0, REPEATS * n_groups, update, (coef, g + l2 * coef))[0]


class GroupDescentPath(CoordinatePath):
    """Block coordinate descent for F weightings of the same rows, each of which follows a decreasing grid of alphas.

    *Minimises*, for each alpha and each f, ``½ Σ ω_f (y_f − X b_f)² + alpha Σ_j (l1_j ‖B_j‖ + ½ l2_j ‖B_j‖²)``, the groups B_j
    side by side in b.

    *Step*, *cost*, *stops when*: as of `CoordinatePath`, with `group_sweep` on its blocks of whole groups: a group is scored as
    one, so that sorting keeps it together.

    Parameters
    ----------
    width : int
        Features of a group; those of a shorter one are filled up with zeros.

    References
    ----------
    Qin, Scheinberg and Goldfarb, "Efficient block-coordinate descent algorithms for the group lasso", Math. Program. Comput.
    2013.
    """

    width: int = eqx.field(static=True, kw_only=True)

    def _rows(self, values: Array) -> Array:
        return values.reshape(*values.shape[:-1], -1, self.width)

    def _gap(self, coef, g, energy, strengths):
        l1, l2 = (of_each[:: self.width] for of_each in strengths)
        return scaled_gap(self._rows(coef), self._rows(g), energy, (l1, l2), False)

    def _size(self, values):
        return jnp.repeat(jnp.sqrt(jnp.square(self._rows(values)).sum(-1)), self.width, -1)

    def _sweep(self, gram, g, coef, strengths):
        return group_sweep(gram, g, coef, strengths, self.width)
