"""Coordinate descent along a grid of alphas, for several weightings of the rows, which share each reading of X."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from .column_blocks import ColumnBlocks
from .coordinate_descent import sweep
from .gap import scaled_gap
from .protocols import Solver
from .solution import CONVERGED, MAX_STEPS, NONFINITE
from .working_set import Path

__all__ = ["CoordinatePath", "Reading"]

# Of the sweeps that the alpha before took, so many are made before the first look; then as many more of the steps made so far.
EXPECTED, MORE = 3 / 4, 1 / 4
# A problem is given up at an alpha that takes this many steps, and one for every eight active columns. Paths of 1000 × 5000 to
# 1e-6, ratios of 1 and .5, took 4.2 and 2.6 s with that; with one for every 16, 4.6 and 4.1.
LEAST_PATIENCE, PATIENCE = 32, 1 / 8
# Columns are sorted anew when active ones lie in so many times the blocks that would hold them.
SCATTERED = 1.5


class Reading(NamedTuple):
    """What one reading of X tells of F coefficient vectors."""

    residual: Array  # (F, n)
    correlation: Array  # (F, p): Xᵀ ω r
    energy: Array  # (F,): Σ ω r²
    null: Array  # (F,): Σ ω y²


class _State(eqx.Module):
    blocks: ColumnBlocks
    coef: Array
    before: Array  # at the previous alpha
    index: Array
    n_steps: Array
    expected: Array  # steps
    given_up: Array
    path: Path


class CoordinatePath(Solver):
    """Coordinate descent for F weightings of the same rows, each of which follows a decreasing grid of alphas.

    *Minimises*, for each alpha and each f, ``½ Σ ω_f (y_f − X b_f)² + alpha (Σ l1 |b_f| + ½ Σ l2 b_f²)``, or the same over
    b ≥ 0.

    *Step* one look at all columns, ``g = Xᵀ ω r − alpha l2 b``, with the certificates. A problem that meets its tolerance goes
    on to its next alpha, from where the line through its last two solutions leads; all others stay. Then sweeps, in single
    precision, over the blocks of columns in which any coefficient is not zero or about to be: exact cyclic updates, with Gram
    matrices of blocks, of the F problems side by side. The next look tells what rounding left. Columns are sorted when active
    ones lie scattered.

    *Reads the data by* columns.

    *Cost per step* 4 n p F flops for the look, 4 n K F for each sweep over K columns; a block of X is read once for all F.

    *Stops when* every alpha has a duality gap, of the scaled residual as dual point, of at most ``tol · Σ ω y²``, or has used
    `max_steps` looks and sweeps; or was given up, and with it what follows, since Newton's method would take no longer.

    Parameters
    ----------
    alphas : (n_alphas,)
        Decreasing.
    l1, l2 : (p,)
        Strengths per coordinate at alpha = 1.
    tol : float
        Share of ``Σ ω y²``.
    max_steps : int
        For each alpha.
    positive : bool

    References
    ----------
    Friedman, Hastie, Tibshirani, "Regularization paths for generalized linear models via coordinate descent", JSS 2010.
    """

    needs: ClassVar = frozenset({"columns"})
    certificate: ClassVar = "duality gap"

    alphas: Array
    l1: Array
    l2: Array
    tol: Array
    max_steps: Array
    positive: bool = eqx.field(static=True, default=False)

    def init(self, problem, params, key=None):
        zero = jnp.zeros(len(params), jnp.int32)
        path = Path.empty((len(params), len(self.alphas)), params[0])
        return _State(problem.design.blocks(), params, params, zero, zero, zero, zero > 0, path)

    def ask(self, objective, state):
        return state.coef

    def read(self, problem, query):
        return problem.design.reading(query)

    def params(self, state):
        return state.path.coef

    def residual(self, state):
        """Zero where each path has ended; infinite before."""
        return jnp.where(self._live(state).any(), jnp.inf, jnp.zeros((), state.coef.dtype))

    def tell(self, objective, state, answer):
        reading: Reading = answer
        read, state = state.coef, self._record(state, reading)
        state, active = self._arranged(state, reading)
        n_active = active[1] * state.blocks.columns.shape[1]
        patience = jnp.maximum(LEAST_PATIENCE, (PATIENCE * n_active).astype(jnp.int32))
        state = eqx.tree_at(lambda s: s.given_up, state, state.given_up | (state.n_steps >= patience))
        # one of the steps that the alpha before took was its last look
        wanted = jnp.where(state.n_steps == 0, EXPECTED * (state.expected - 1), MORE * state.n_steps).astype(jnp.int32)
        n_sweeps = jnp.where(self._live(state), jnp.maximum(wanted, 1), 0)
        coef = self._swept(state, (read, reading.residual), active, n_sweeps.max())
        n_steps = jnp.where(self._live(state), state.n_steps + n_sweeps.max(), 0)
        return eqx.tree_at(lambda s: (s.coef, s.n_steps), state, (coef, n_steps))

    def _live(self, state: _State) -> Array:
        return (state.index < len(self.alphas)) & ~state.given_up

    def _strengths(self, state: _State) -> tuple[Array, Array]:
        """l1 and l2 of each problem at its alpha, (F, p)."""
        alpha = self.alphas[jnp.minimum(state.index, len(self.alphas) - 1)]
        return alpha[:, None] * self.l1[None], alpha[:, None] * self.l2[None]

    def _gap(self, coef: Array, g: Array, energy: Array, strengths: tuple[Array, Array]) -> Array:
        return scaled_gap(coef, g, energy, strengths, self.positive)

    def _size(self, values: Array) -> Array:
        """Of each coefficient, what the penalty holds."""
        return jnp.abs(values)

    def _sweep(self, gram: Array, g: Array, coef: Array, strengths: tuple[Array, Array]) -> Array:
        return sweep(gram, g, coef, strengths, self.positive)

    def _record(self, state: _State, reading: Reading) -> _State:
        """Count the look and write it down; where an alpha is done go to the next."""
        coef, n_steps = state.coef, state.n_steps + jnp.int32(1)
        l1, l2 = self._strengths(state)
        gap = jax.vmap(self._gap)(coef, reading.correlation - l2 * coef, reading.energy, (l1, l2))
        reached = gap <= self.tol * reading.null
        live = self._live(state)
        done = live & (reached | jnp.isnan(gap) | (n_steps >= self.max_steps))
        status = jnp.where(reached, jnp.int32(CONVERGED), jnp.int32(MAX_STEPS))
        status = jnp.where(done, jnp.where(jnp.isnan(gap), jnp.int32(NONFINITE), status), jnp.int32(-1))
        at = jnp.arange(len(coef), dtype=jnp.int32), jnp.minimum(state.index, len(self.alphas) - 1)

        def written(all_: Array, new: Array) -> Array:
            return all_.at[at].set(jnp.where(live.reshape(-1, *[1] * (new.ndim - 1)), new, all_[at]))

        return _State(
            state.blocks,
            jnp.where(done[:, None], self._predicted(state), coef),
            jnp.where(done[:, None], coef, state.before),
            state.index + done.astype(jnp.int32),
            jnp.where(done, jnp.int32(0), n_steps),
            jnp.where(done, n_steps, state.expected),
            state.given_up,
            jax.tree.map(written, state.path, Path(coef, gap, n_steps, status)),
        )

    def _predicted(self, state: _State) -> Array:
        """Coefficients at the next alpha, on the line through the last two; where a sign would change, the last ones."""
        a, b, c = (self.alphas[jnp.clip(state.index + k, 0, len(self.alphas) - 1)] for k in (-1, 0, 1))
        share = jnp.where(a > b, (b - c) / jnp.where(a > b, a - b, 1), 0)
        there = state.coef + share[:, None] * (state.coef - state.before)
        return jnp.where((state.coef * state.before > 0) & (state.coef * there > 0), there, state.coef)

    def _arranged(self, state: _State, reading: Reading) -> tuple[_State, tuple[Array, Array]]:
        """With active columns in few blocks; a list of these, and their number."""
        # of coefficients that are zero
        push = reading.correlation if self.positive else self._size(reading.correlation)
        score = jnp.where(self._size(state.coef) > 0, jnp.inf, push - self._strengths(state)[0])
        score = jnp.where(self._live(state)[:, None], score, -jnp.inf).max(0).astype(jnp.float32)

        def in_block(blocks: ColumnBlocks) -> Array:
            return (blocks.spread(score) > 0).any(1)

        size = state.blocks.columns.shape[1]
        scattered = in_block(state.blocks).sum() > SCATTERED * -(-(score > 0).sum() // size) + 1
        filled = jnp.pad(score, (0, len(state.blocks.order) - len(score)), constant_values=-jnp.inf)
        sort = lambda _, blocks: blocks.sorted(filled[blocks.order].reshape(-1, size))  # noqa: E731
        # a loop of no or one step: a branch that may leave X alone copies it
        blocks = lax.fori_loop(0, jnp.where(scattered, 1, 0), sort, state.blocks)
        listed = jnp.nonzero(in_block(blocks), size=len(blocks.columns))[0].astype(jnp.int32)
        return eqx.tree_at(lambda s: s.blocks, state, blocks), (listed, in_block(blocks).sum(dtype=jnp.int32))

    def _swept(self, state: _State, at: tuple[Array, Array], active: tuple[Array, Array], n_sweeps: Array) -> Array:
        """Coefficients after sweeps from `state.coef`, where the residuals of other coefficients are known."""
        blocks, (listed, n_active) = state.blocks, active
        single = lambda values: blocks.spread(values.astype(jnp.float32))  # noqa: E731
        l1, l2 = (single(strengths) for strengths in self._strengths(state))
        start, way, residual = single(state.coef), single(state.coef - at[0]), at[1].astype(jnp.float32)

        def over_active(visit: Callable[[Array, Any], Any], carry: Any) -> Any:
            return lax.fori_loop(0, n_active, lambda i, carry: visit(listed[i], carry), carry)

        def update(j: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            coef, residual = carry
            g = blocks.correlations(residual, j) - l2[j] * coef[j]
            new = self._sweep(blocks.grams[j], g, coef[j], (l1[j], l2[j]))
            return coef.at[j].set(new), blocks.moved(residual, j, new - coef[j])

        residual = over_active(lambda j, residual: blocks.moved(residual, j, way[j]), residual)
        swept, _ = lax.fori_loop(0, n_sweeps, lambda _, at: over_active(update, at), (start, residual))
        step, zero = (blocks.gathered(values, state.coef.shape[1]) for values in (swept - start, swept == 0))
        # numbers that single precision cannot hold move nothing
        return jnp.where(zero, 0, state.coef + jnp.where(jnp.isfinite(step), step, 0).astype(state.coef.dtype))
