"""Hierarchical alternating least squares: non-negative factors of a matrix, one atom after the other.

Factors are held atoms first: codes (k, n) and components (k, p). A step that moves one atom then reads and writes memory that
is contiguous, whatever the number of rows.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from . import tree
from .protocols import Problem, Solver
from .solution import STALLED

__all__ = ["HALS", "NonNegativeCodes", "Strengths", "n_sweeps", "seen", "sums", "sweeps", "violation"]

HIGHEST = lax.Precision.HIGHEST
# Passes over the atoms for each product with X: one leaves much undone, more than eight no longer lower the objective.
LEAST_SWEEPS, MOST_SWEEPS = 2, 8
# A pass takes four times as long as a product of its flops (CPU, two cores, k = 16 to 64).
SLOWNESS = 4
# Passes over codes between two certificates.
CODE_SWEEPS = 5
# An objective that rises by less than so many ulps of ``½ Σ ω ‖x‖²`` has not been seen to rise.
NOISE = 8


class Strengths(eqx.Module):
    """Of the penalties: ``l1 Σ a + ½ l2 Σ a²``.

    Parameters
    ----------
    l1, l2 : scalar
        ≥ 0.
    """

    l1: Array
    l2: Array

    def value(self, factor: Array) -> Array:
        """Of one factor."""
        return self.l1 * factor.sum() + 0.5 * self.l2 * jnp.square(factor).sum()

    def joined(self, gram: Array, correlations: Array) -> tuple[Array, Array]:
        """The Gram matrix and the correlations of the penalised problem."""
        return gram + self.l2 * jnp.eye(len(gram), dtype=gram.dtype), correlations - self.l1


def n_sweeps(n_components: int, n_features: int) -> int:
    """Passes over all atoms that take as long as one product with X, from two to eight: a static number."""
    return min(max(n_features // (SLOWNESS * n_components), LEAST_SWEEPS), MOST_SWEEPS)


def sweeps(gram: Array, correlations: Array, factor: Array, count: Array | int, order: Array | None = None) -> Array:
    """Exact minimisation over each atom in turn, ``a_j ← max(0, a_j + (b_j − g_j A) / g_jj)``, `count` times.

    Parameters
    ----------
    gram : (k, k)
        G.
    correlations : (k, m)
        B: the objective is ``½ tr(Aᵀ G A) − tr(Aᵀ B)`` over A ≥ 0.
    factor : (k, m)
        Where to start. An atom with ``g_jj = 0`` stays, unless it is penalised.
    count : int
    order : (k,) of int32, optional
        Of the atoms.
    """
    k = len(gram)

    def update(t: Array, factor: Array) -> Array:
        j = t % k if order is None else order[t % k]
        curvature = gram[j, j]
        residual = correlations[j] - jnp.matmul(gram[j], factor, precision=HIGHEST)
        moved = jnp.maximum(factor[j] + residual / jnp.where(curvature > 0, curvature, 1), 0)
        # without curvature the objective does not depend on the atom, but for an l1 norm
        flat = jnp.where(residual < 0, 0, factor[j])
        return factor.at[j].set(jnp.where(curvature > 0, moved, flat))

    return lax.fori_loop(jnp.int32(0), jnp.asarray(count * k, jnp.int32), update, factor)


def violation(gram: Array, correlations: Array, factor: Array) -> Array:
    """The projected gradient, in absolute values, (k, m): what lets the objective fall without leaving ``A ≥ 0``."""
    gradient = jnp.matmul(gram, factor, precision=HIGHEST) - correlations
    return jnp.abs(jnp.where(factor > 0, gradient, jnp.minimum(gradient, 0)))


class _State(eqx.Module):
    codes: Array
    components: Array
    ahead: Array  # extrapolated components
    momentum: Array
    value: Array
    energy: Array
    first: Array
    residual: Array
    stalled: Array
    key: Any


class HALS(Solver):
    """Hierarchical alternating least squares, with momentum that starts anew where the objective rises.

    *Minimises* ``Σ ω_i (½ ‖x_i − w_i H‖² + l1 |w_i| + ½ l2 ‖w_i‖²) + l1' |H| + ½ l2' ‖H‖²`` over codes W ≥ 0 and components
    H ≥ 0.

    *Step* from extrapolated components ``Y = max(0, H + β (H − H_before))``: a few passes over the atoms of W, for
    ``G = Y Yᵀ`` and ``X Yᵀ``; then eight over those of H, for ``Wᵀ ω W`` and ``Wᵀ ω X``. β grows as in Nesterov's method, and
    starts from 0 where the momentum leads uphill. A step that ends with a larger objective is not taken: it never rises by more
    than rounding.

    *Reads the data by* map, ``X Yᵀ``, and fold, ``Wᵀ ω X``.

    *Cost per step* 4 n p k flops, and passes over the atoms that take as long again.

    *Stops when* the sum of the absolute values of the projected gradient, of each factor where its passes begin, is at most
    ``tol`` times what it was in the first step.

    Parameters
    ----------
    of_codes, of_components : Strengths
        Penalties. `params` of ``solve`` are the first codes (k, n) and components (k, p); so is the solution.
    sweeps_of_codes : int
        Passes over the atoms of W in each step. Over those of H there are eight: how many rows there are, some of which may
        have no weight, must not change what is found.
    shuffle : bool
        Draw the order of the atoms anew in each step, from the key given to ``solve``.

    References
    ----------
    Cichocki and Phan, "Fast local algorithms for large scale nonnegative matrix and tensor factorizations", IEICE Trans.
    2009. Gillis and Glineur, "Accelerated multiplicative updates and hierarchical ALS algorithms", Neural Computation 2012.
    Ang and Gillis, "Accelerating nonnegative matrix factorization algorithms using extrapolation", Neural Computation 2019.
    O'Donoghue and Candès, "Adaptive restart for accelerated gradient schemes", Found. Comput. Math. 2015.
    """

    needs: ClassVar = frozenset({"map", "fold"})
    certificate: ClassVar = "relative projected gradient"

    of_codes: Strengths
    of_components: Strengths
    sweeps_of_codes: int = eqx.field(static=True, default=1)
    shuffle: bool = eqx.field(static=True, default=False)

    def init(self, problem, params, key=None):
        codes, components = params
        energy = 0.5 * problem.design.fold(_energy, None, problem.sample_weight)
        infinite = jnp.asarray(jnp.inf, components.dtype)
        return _State(
            codes,
            components,
            ahead=components,
            momentum=jnp.ones_like(infinite),
            value=infinite,
            energy=energy,
            first=infinite,
            residual=infinite,
            stalled=jnp.asarray(False),
            key=key if self.shuffle else None,
        )

    def ask(self, objective, state):
        return state.codes, state.ahead, self._orders(state)[0]

    def _orders(self, state: _State) -> tuple[Array | None, Array | None]:
        if not self.shuffle:
            return None, None
        atoms = jnp.arange(len(state.components), dtype=jnp.int32)
        draw_codes, draw_components = jax.random.split(jax.random.split(state.key)[1])
        return jax.random.permutation(draw_codes, atoms), jax.random.permutation(draw_components, atoms)

    def read(self, problem: Problem, query):
        codes, components, order = query
        design, weight = problem.design, problem.sample_weight
        gram, correlations = self.of_codes.joined(*seen(design, components))
        wrong = violation(gram, correlations, codes).sum(0)
        codes = sweeps(gram, correlations, codes, self.sweeps_of_codes, order)
        penalty = self.of_codes.l1 * codes.sum(0) + 0.5 * self.of_codes.l2 * jnp.square(codes).sum(0)
        return codes, design.fold(_sums, None, weight, codes.T, wrong, penalty)

    def params(self, state):
        return state.codes, state.components

    def residual(self, state):
        return state.residual

    def status(self, state):
        return jnp.where(state.stalled, jnp.int32(STALLED), jnp.int32(0))

    def tell(self, objective, state, answer):
        codes, ((second, first), wrong, penalty) = answer
        gram, correlations = self.of_components.joined(second, first)
        wrong = wrong + violation(gram, correlations, state.ahead).sum()
        order = self._orders(state)[1]
        components = sweeps(gram, correlations, state.ahead, MOST_SWEEPS, order)
        product = jnp.matmul(second, components, precision=HIGHEST)
        value = state.energy + (components * (0.5 * product - first)).sum()
        value = value + penalty + self.of_components.value(components)

        noise = NOISE * jnp.finfo(value.dtype).eps * state.energy
        accept, one = value <= state.value + noise, jnp.ones_like(value)
        moved = components - state.components
        # momentum that leads uphill is forgotten: the slope shows it where the objective is flat to its last digits
        slow = jnp.where(jnp.sum((state.ahead - components) * moved) > 0, one, state.momentum)
        momentum = 0.5 * (1 + jnp.sqrt(1 + 4 * jnp.square(slow)))
        ahead = jnp.maximum(components + (slow - 1) / momentum * moved, 0)
        kept = tree.where(
            accept,
            (codes, components, ahead, momentum, value),
            (state.codes, state.components, state.components, one, state.value),
        )
        first_wrong = jnp.where(jnp.isinf(state.first), wrong, state.first)
        residual = jnp.where(first_wrong > 0, wrong / jnp.where(first_wrong > 0, first_wrong, 1), 0)
        return _State(
            *kept,
            energy=state.energy,
            first=first_wrong,
            residual=jnp.where(jnp.isfinite(value), residual, jnp.nan),
            stalled=~accept & (state.momentum == 1),
            key=jax.random.split(state.key)[0] if self.shuffle else None,
        )


def seen(design: Any, components: Array) -> tuple[Array, Array]:
    """``H Hᵀ`` and, atoms first, ``H Xᵀ`` of the local rows."""
    # without the barrier the transpose becomes part of the product, which takes twice as long on a CPU
    correlations = lax.optimization_barrier(design.matvec(components.T)).T
    return jnp.matmul(components, components.T, precision=HIGHEST), correlations


def sums(block: Any, weight: Array, codes: Array) -> tuple[Array, Array]:
    """``Wᵀ ω W`` and ``Wᵀ ω X`` of the local rows, for codes (n, k)."""
    weighted = weight[:, None] * codes
    return jnp.einsum("nk,nl->kl", weighted, codes, precision=HIGHEST), block.rmatvec(weighted).T


def _sums(_: Any, block: Any, weight: Array, codes: Array, *rest: Array) -> tuple[Any, Array, Array]:
    wrong, penalty = rest
    return sums(block, weight, codes), weight @ wrong, weight @ penalty


def _energy(_: Any, block: Any, weight: Array) -> Array:
    return block.energy(weight)


class _CodeState(eqx.Module):
    codes: Array
    gram: Array
    correlations: Array
    at_zero: Array
    residual: Array


class NonNegativeCodes(Solver):
    """Codes for components that stay as they are: non-negative least squares of every row, all rows at once.

    *Minimises* ``½ ‖x_i − w_i H‖² + l1 |w_i| + ½ l2 ‖w_i‖²`` over ``w_i ≥ 0``, a convex problem for each row.

    *Step* five passes over the atoms.

    *Reads the data by* map, ``X Hᵀ``, once, before the first step.

    *Cost per step* 12 n k² flops.

    *Stops when* the sum of the absolute values of the projected gradient is at most ``tol`` times what it is at zero.

    Parameters
    ----------
    components : (k, p)
    of_codes : Strengths
        `params` of ``solve`` are the first codes (k, n); so is the solution.
    """

    needs: ClassVar = frozenset({"map", "fold"})
    certificate: ClassVar = "relative projected gradient"

    components: Array
    of_codes: Strengths

    def init(self, problem, params, key=None):
        gram, correlations = self.of_codes.joined(*seen(problem.design, self.components))
        at_zero = problem.design.fold(_total, None, problem.sample_weight, jnp.maximum(correlations, 0).sum(0))
        return _CodeState(params, gram, correlations, at_zero, jnp.asarray(jnp.inf, params.dtype))

    def ask(self, objective, state):
        return state

    def read(self, problem, query):
        state = query
        codes = sweeps(state.gram, state.correlations, state.codes, CODE_SWEEPS)
        by_rows = violation(state.gram, state.correlations, codes).sum(0)
        return codes, problem.design.fold(_total, None, problem.sample_weight, by_rows)

    def params(self, state):
        return state.codes

    def residual(self, state):
        return state.residual

    def tell(self, objective, state, answer):
        codes, wrong = answer
        residual = jnp.where(state.at_zero > 0, wrong / jnp.where(state.at_zero > 0, state.at_zero, 1), wrong)
        return eqx.tree_at(lambda s: (s.codes, s.residual), state, (codes, residual))


def _total(_: Any, block: Any, weight: Array, values: Array) -> Array:
    return weight @ values
