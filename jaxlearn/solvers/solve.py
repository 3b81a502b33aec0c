"""The outer loop, written once: compiled where the data is on devices, driven from the host where it streams."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from .protocols import Objective, Problem, Solver
from .solution import CONVERGED, MAX_STEPS, NONFINITE, Budget, Solution

__all__ = ["solve"]


class _Loop(eqx.Module):
    state: Any
    n_steps: Array
    residual: Array
    status: Array
    trace: Array | None


def solve(
    problem: Problem, solver: Solver, params: Array, *, key: Array | None = None, budget: Budget | None = None
) -> Solution:
    """Step until the certificate is at most ``budget.tol``.

    Parameters
    ----------
    problem : Problem
        Objective and data.
    solver : Solver
        Its ``needs`` must be served by ``problem.design``.
    params : Array
        Where to start.
    key : PRNG key, optional
        For solvers that draw.
    budget : Budget, optional
        Tolerance, steps, trace.

    Returns
    -------
    Solution

    Raises
    ------
    ValueError
        The design does not serve a pattern that the solver needs.
    """
    budget = Budget() if budget is None else budget
    missing = solver.needs - problem.design.serves
    if missing:
        raise ValueError(
            f"`{type(solver).__name__}` reads the data by {sorted(solver.needs)}, and `{type(problem.design).__name__}` "
            f"serves only {sorted(problem.design.serves)}: {sorted(missing)} is missing."
        )
    state = solver.init(problem, params, key)
    dtype = solver.residual(state).dtype
    loop = _Loop(
        state,
        jnp.int32(0),
        jnp.asarray(jnp.inf, dtype),
        jnp.int32(-1),
        jnp.full(budget.trace, jnp.nan, dtype) if budget.trace else None,
    )
    loop = (_host_loop if problem.design.on_host else _device_loop)(problem, solver, loop, budget)
    return Solution(
        params=solver.params(loop.state),
        status=jnp.where(loop.status < 0, jnp.int32(MAX_STEPS), loop.status),
        certificate=solver.certificate,
        residual=loop.residual,
        n_steps=loop.n_steps,
        state=loop.state,
        trace=loop.trace,
    )


def _going(loop: _Loop, budget: Budget) -> Array:
    return (loop.status < 0) & (loop.n_steps < jnp.asarray(budget.max_steps, jnp.int32))


def _advance(solver: Solver, objective: Objective, budget: Budget, loop: _Loop, answer: Any) -> _Loop:
    state = solver.tell(objective, loop.state, answer)
    residual = solver.residual(state)
    early = jnp.asarray(solver.status(state), jnp.int32)
    unfinished = jnp.where(jnp.isnan(residual), jnp.int32(NONFINITE), jnp.where(early > 0, early, jnp.int32(-1)))
    status = jnp.where(residual <= jnp.asarray(budget.tol, residual.dtype), jnp.int32(CONVERGED), unfinished)
    trace = loop.trace if loop.trace is None else loop.trace.at[loop.n_steps].set(residual, mode="drop")
    return _Loop(state, loop.n_steps + jnp.int32(1), residual, status, trace)


def _device_loop(problem: Problem, solver: Solver, loop: _Loop, budget: Budget) -> _Loop:
    def step(loop: _Loop) -> _Loop:
        answer = solver.read(problem, solver.ask(problem.objective, loop.state))
        return _advance(solver, problem.objective, budget, loop, answer)

    return lax.while_loop(partial(_going, budget=budget), step, loop)


@jax.jit
def _ask(solver: Solver, objective: Objective, state: Any) -> Any:
    return solver.ask(objective, state)


_tell = jax.jit(_advance)


def _host_loop(problem: Problem, solver: Solver, loop: _Loop, budget: Budget) -> _Loop:
    while _going(loop, budget):
        answer = solver.read(problem, _ask(solver, problem.objective, loop.state))
        loop = _tell(solver, problem.objective, budget, loop, answer)
    return loop
