"""Multiplicative updates: non-negative factors that minimise a beta divergence, all numbers of a factor at once."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from jaxlearn.objectives.divergence import FLOOR, BetaDivergence

from .hals import Strengths
from .protocols import Solver

__all__ = ["Multiplicative", "MultiplicativeCodes", "cleared", "components_terms", "divergence", "updated_codes"]

HIGHEST = lax.Precision.HIGHEST
# Steps between two looks at the objective.
INTERVAL = 10
# A number below this is zero, for divergences that would divide by it.
TINY = 2.0**-52
# Numbers of ``W H`` formed at once where X is sparse.
BLOCK = 1 << 20


def divergence(loss: BetaDivergence, design: Any, weight: Array, codes: Array, components: Array) -> Array:
    """``Σ ω_i d(x_i | w_i H)`` of the local rows: a lift, but for the order of its arguments."""
    model = design.entries_of(codes, components)
    if not design.is_sparse:
        return weight @ loss.value(design.entries, model).sum(1)
    known = design.with_entries(loss.known(design.entries, model))
    value = weight @ known.matvec(jnp.ones(components.shape[1], components.dtype))
    if loss.beta == 0:
        return value
    if loss.beta == 1:
        return value + jnp.matmul(weight, codes, precision=HIGHEST) @ components.sum(1)
    if loss.beta == 2:
        gram = jnp.matmul(components, components.T, precision=HIGHEST)
        return value + 0.5 * weight @ (jnp.matmul(codes, gram, precision=HIGHEST) * codes).sum(1)
    return value + _by_rows(lambda w, rows, y: w @ loss.anywhere(y).sum(1), weight, codes, components).sum()


def updated_codes(loss: BetaDivergence, design: Any, codes: Array, components: Array, penalty: Strengths) -> Array:
    """``W ← W ∘ (((X ∘ Y^(β−2)) Hᵀ) / (Y^(β−1) Hᵀ + l1 + l2 W))^γ`` with ``Y = W H``, for codes (n, k)."""
    transposed = components.T
    if loss.beta == 2:
        attracted = design.matvec(transposed)
        repelled = jnp.matmul(codes, jnp.matmul(components, transposed, precision=HIGHEST), precision=HIGHEST)
    else:
        model = design.entries_of(codes, components)
        attracted = design.with_entries(loss.attraction(design.entries, model)).matvec(transposed)
        if loss.beta == 1:
            repelled = components.sum(1)[None]
        elif design.is_sparse:

            def of_block(_: Array, rows: Array, model: Array) -> Array:
                return jnp.matmul(loss.repulsion(model), transposed, precision=HIGHEST)

            parts = _by_rows(of_block, codes[:, 0], codes, components)
            repelled = parts.reshape(-1, codes.shape[1])[: len(codes)]
        else:
            repelled = design.with_entries(loss.repulsion(model)).matvec(transposed)
    moved = codes * _ratio(attracted, repelled + penalty.l1 + penalty.l2 * codes) ** loss.exponent
    return cleared(moved) if loss.beta < 1 else moved


def components_terms(
    loss: BetaDivergence, design: Any, weight: Array, codes: Array, components: Array
) -> tuple[Array, Array]:
    """``Wᵀ ω (X ∘ Y^(β−2))`` and ``Wᵀ ω Y^(β−1)`` of the local rows, both (k, p)."""
    weighted = weight[:, None] * codes
    if loss.beta == 2:
        second = jnp.einsum("nk,nl->kl", weighted, codes, precision=HIGHEST)
        return design.rmatvec(weighted).T, jnp.matmul(second, components, precision=HIGHEST)
    model = design.entries_of(codes, components)
    attracted = design.with_entries(loss.attraction(design.entries, model)).rmatvec(weighted).T
    if loss.beta == 1:
        repelled = weighted.sum(0)[:, None] * jnp.ones_like(components)
    elif design.is_sparse:

        def of_block(w: Array, rows: Array, model: Array) -> Array:
            return jnp.einsum("nk,np->kp", w[:, None] * rows, loss.repulsion(model), precision=HIGHEST)

        repelled = _by_rows(of_block, weight, codes, components).sum(0)
    else:
        repelled = design.with_entries(loss.repulsion(model)).rmatvec(weighted).T
    return attracted, repelled


def cleared(factor: Array) -> Array:
    """Without numbers that are as good as zero."""
    return jnp.where(factor < TINY, 0, factor)


def _ratio(attracted: Array, repelled: Array) -> Array:
    return attracted / jnp.where(repelled == 0, FLOOR, repelled)


def _by_rows(part: Any, weight: Array, codes: Array, components: Array) -> Array:
    """``part(ω, W, W H)`` of blocks of rows, stacked: all of ``W H`` is never formed."""
    n, (k, p) = len(codes), components.shape
    size = max(1, min(BLOCK // p, n))
    n_blocks = -(-n // size)
    padding = 0, n_blocks * size - n
    weights = jnp.pad(weight, padding).reshape(n_blocks, size)
    rows = jnp.pad(codes, (padding, (0, 0))).reshape(n_blocks, size, k)
    return lax.map(lambda block: part(*block, jnp.matmul(block[1], components, precision=HIGHEST)), (weights, rows))


class _State(eqx.Module):
    codes: Array
    components: Array
    count: Array
    first: Array
    last: Array
    residual: Array


class Multiplicative(Solver):
    """Multiplicative updates of codes and components in turn.

    *Minimises* ``Σ ω_i (d(x_i | w_i H) + l1 |w_i| + ½ l2 ‖w_i‖²) + l1' |H| + ½ l2' ‖H‖²`` over codes W ≥ 0 and components
    H ≥ 0.

    *Step* each number of W, then of H, times a power of the ratio of what draws it up to what draws it down: the minimum of a
    majorant. The objective never rises, and what is zero stays zero.

    *Reads the data by* map and fold, twice; Y = W H is formed where X has entries.

    *Cost per step* 8 n p k flops (β = 2: 4), and two to four powers for each entry.

    *Stops when* ``√(2 F)`` of the objective F fell, in ten steps, by at most ``tol`` times its first value.

    Parameters
    ----------
    loss : BetaDivergence
    of_codes, of_components : Strengths
        Penalties. `params` of ``solve`` are the first codes (n, k) and components (k, p); so is the solution.

    References
    ----------
    Lee and Seung, "Algorithms for non-negative matrix factorization", NeurIPS 2000. Févotte and Idier, "Algorithms for
    nonnegative matrix factorization with the β-divergence", Neural Computation 2011.
    """

    needs: ClassVar = frozenset({"map", "fold"})
    certificate: ClassVar = "decrease in ten steps"

    loss: BetaDivergence
    of_codes: Strengths
    of_components: Strengths

    def init(self, problem, params, key=None):
        codes, components = params
        infinite = jnp.asarray(jnp.inf, components.dtype)
        return _State(codes, components, jnp.int32(0), infinite, infinite, infinite)

    def ask(self, objective, state):
        return state.codes, state.components, state.count % INTERVAL == 0

    def read(self, problem, query):
        codes, components, look = query
        design, weight = problem.design, problem.sample_weight

        def objective() -> Array:
            by_rows = self.of_codes.l1 * codes.sum(1) + 0.5 * self.of_codes.l2 * jnp.square(codes).sum(1)
            return design.fold(_Divergence(self.loss), components, weight, codes, by_rows)

        value = lax.cond(look, objective, lambda: jnp.zeros((), components.dtype))
        codes = updated_codes(self.loss, design, codes, components, self.of_codes)
        return value, codes, design.fold(_Terms(self.loss), components, weight, codes)

    def params(self, state):
        return state.codes, state.components

    def residual(self, state):
        return state.residual

    def tell(self, objective, state, answer):
        value, codes, (attracted, repelled) = answer
        old = state.components
        repelled = repelled + self.of_components.l1 + self.of_components.l2 * old
        components = old * _ratio(attracted, repelled) ** self.loss.exponent
        components = cleared(components) if self.loss.beta <= 1 else components

        look = state.count % INTERVAL == 0
        error = jnp.sqrt(2 * jnp.maximum(value + self.of_components.value(old), 0))
        first = jnp.where(state.count == 0, error, state.first)
        fell = jnp.maximum(state.last - error, 0) / jnp.where(first > 0, first, 1)
        residual = jnp.where(first > 0, fell, error)  # of nothing to lower there is nothing, unless it is not a number
        return _State(
            codes,
            components,
            state.count + jnp.int32(1),
            first,
            jnp.where(look, error, state.last),
            jnp.where(look, residual, state.residual),
        )


class _Divergence(eqx.Module):
    loss: BetaDivergence

    def __call__(self, components: Array, block: Any, weight: Array, codes: Array, penalty: Array) -> Array:
        return divergence(self.loss, block, weight, codes, components) + weight @ penalty


class _Terms(eqx.Module):
    loss: BetaDivergence

    def __call__(self, components: Array, block: Any, weight: Array, codes: Array) -> tuple[Array, Array]:
        return components_terms(self.loss, block, weight, codes, components)


class _CodeState(eqx.Module):
    codes: Array
    residual: Array


class MultiplicativeCodes(Solver):
    """Codes for components that stay as they are, by multiplicative updates.

    *Minimises* ``d(x_i | w_i H) + l1 |w_i| + ½ l2 ‖w_i‖²`` over ``w_i ≥ 0``.

    *Step* as `Multiplicative`, of the codes alone.

    *Reads the data by* map.

    *Cost per step* 4 n p k flops, and two powers for each entry.

    *Stops when* a step changes the codes by at most ``tol`` times their norm.

    Parameters
    ----------
    loss : BetaDivergence
    components : (k, p)
    of_codes : Strengths
        `params` of ``solve`` are the first codes (n, k); so is the solution.
    """

    needs: ClassVar = frozenset({"map", "fold"})
    certificate: ClassVar = "relative change of the codes"

    loss: BetaDivergence
    components: Array
    of_codes: Strengths

    def init(self, problem, params, key=None):
        return _CodeState(params, jnp.asarray(jnp.inf, params.dtype))

    def ask(self, objective, state):
        return state.codes

    def read(self, problem, query):
        codes = updated_codes(self.loss, problem.design, query, self.components, self.of_codes)
        by_rows = jnp.square(codes - query).sum(1), jnp.square(codes).sum(1)
        return codes, problem.design.fold(_totals, None, problem.sample_weight, *by_rows)

    def params(self, state):
        return state.codes

    def residual(self, state):
        return state.residual

    def tell(self, objective, state, answer):
        codes, (change, norm) = answer
        return _CodeState(codes, jnp.where(norm > 0, jnp.sqrt(change / jnp.where(norm > 0, norm, 1)), change))


def _totals(_: Any, block: Any, weight: Array, change: Array, norm: Array) -> tuple[Array, Array]:
    return weight @ change, weight @ norm
