"""The contract between solvers and data: a problem, and a solver as *ask*, *read*, *tell* and *residual*."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
from jax import Array

from jaxlearn.objectives import Loss, Penalty

__all__ = ["Objective", "Problem", "Solver"]


class Objective(eqx.Module):
    """The formulas of a problem: a loss and a penalty, without data."""

    loss: Loss
    penalty: Penalty


class Problem(eqx.Module):
    """Minimise ``Σ_i ω_i loss(y_i, X_i b) + penalty(b)`` with ``ω = sample_weight / Σ sample_weight``.

    Parameters
    ----------
    objective : Objective or None
        Loss and penalty; None where the solver states its own problem.
    design : Design
        X, through its access patterns.
    y : Array, (n_samples,) or (n_samples, k)
        Targets, in the form that the loss wants.
    sample_weight : Array, (n_samples,)
        Weights ≥ 0 that sum to one over *all* rows; zero is a row that is not there.
    """

    objective: Any
    design: Any
    y: Any
    sample_weight: Any


class Solver(eqx.Module):
    """A solver is a configuration whose hyper-parameters are leaves; it holds no data and no loop.

    One step is ``tell(objective, state, read(problem, ask(objective, state)))``: `ask` says what must be known of the
    data, `read` is the one access to it, `tell` is arithmetic on the answer. `read` runs where the data is, so the same
    solver works inside a compiled loop and block by block from the host.
    """

    needs: ClassVar[frozenset[str]]
    """Access patterns that `read` uses."""
    certificate: ClassVar[str]
    """What `residual` measures."""

    def init(self, problem: Problem, params: Array, key: Array | None = None) -> Any:
        """First state, at `params`."""
        raise NotImplementedError

    def ask(self, objective: Objective, state: Any) -> Any:
        """The query: a point, a basis, a set of columns."""
        raise NotImplementedError

    def read(self, problem: Problem, query: Any) -> Any:
        """The answer of the data to the query."""
        raise NotImplementedError

    def tell(self, objective: Objective, state: Any, answer: Any) -> Any:
        """The next state."""
        raise NotImplementedError

    def params(self, state: Any) -> Array:
        """The certified parameters in a state."""
        raise NotImplementedError

    def residual(self, state: Any) -> Array:
        """The certificate at `params(state)`, ≥ 0, +inf while nothing is known."""
        raise NotImplementedError

    def status(self, state: Any) -> Array | int:
        """A status that ends the solve early (stalled, overflow, not finite), or 0 to go on."""
        return 0
