"""What a solver returns: parameters, a status that is a sentence, and the certificate."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

__all__ = ["CONVERGED", "MAX_STEPS", "NONFINITE", "OVERFLOW", "SENTENCES", "STALLED", "UNSHUFFLED"]
__all__ += ["Budget", "Solution", "sentence"]

CONVERGED, MAX_STEPS, STALLED, OVERFLOW, NONFINITE, UNSHUFFLED = range(6)

SENTENCES = (
    "The certificate fell below the tolerance.",
    "The budget of steps was used up.",
    "No step improves the objective further in this precision.",
    "The solution has more non-zero coefficients than the working set holds.",
    "The objective or its gradient is not finite.",
    "Blocks of rows differ by more than chance, and one pass does not make up for it.",
)


def sentence(status: Array | int) -> str:
    """The sentence of a concrete status."""
    return SENTENCES[int(status)]


class Budget(eqx.Module):
    """When to stop.

    Parameters
    ----------
    tol : float
        Stop as converged when the residual is at most this.
    max_steps : int
        Stop after this many steps, each of which reads the data once.
    trace : int
        Keep the residuals of the first `trace` steps; 0 keeps none and costs nothing.
    """

    tol: ArrayLike = 1e-4
    max_steps: ArrayLike = 1000
    trace: int = eqx.field(static=True, default=0)


class Solution(eqx.Module):
    """The outcome of a solve.

    Attributes
    ----------
    params : pytree
        The last parameters that were certified.
    status : int32 scalar
        Index into ``SENTENCES``; 0 is converged.
    certificate : str
        What `residual` is: ``duality gap``, ``gradient norm`` …
    residual : scalar
        The certificate at `params`, ≥ 0, in the units of the tolerance.
    n_steps : int32 scalar
        Steps taken, each of which reads the data once.
    state : pytree
        The solver's last state.
    trace : (trace,) array or None
        Residual after each step, NaN where none was taken.
    """

    params: Any
    status: Array
    certificate: str = eqx.field(static=True)
    residual: Array
    n_steps: Array
    state: Any = None
    trace: Array | None = None

    @property
    def converged(self) -> Array:
        """Whether the certificate fell below the tolerance."""
        return self.status == jnp.int32(CONVERGED)
