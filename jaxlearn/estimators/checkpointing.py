"""Where a fit is written to, and what a checkpoint must agree with: the identity of the data and of the parameters."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from jaxlearn.access import checkpoint as checkpoints
from jaxlearn.access.source import Arrays, digest
from jaxlearn.access.streamed import Streamed

__all__ = ["Checkpointing", "checkpointing_of"]


class Checkpointing(NamedTuple):
    """Where a fit is written to, how often, and what must not have changed.

    Attributes
    ----------
    folder : path
    every : float
        Seconds, or epochs, between two checkpoints.
    resume : bool
        Go on from what is there.
    expected : dict
        What a checkpoint must agree with: the identity of the data and of the fit.
    """

    folder: Path
    every: float
    resume: bool
    expected: dict[str, Any]

    def find(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Arrays and header of the newest checkpoint, if there is one to go on from."""
        found = checkpoints.load(self.folder, self.expected) if self.resume else None
        return None if found is None else found[1:]


def checkpointing_of(estimator: Any, X: Any, beside: Collection[str], **identity: Any) -> Checkpointing:
    """Of the parameters `checkpoint`, `every` and `resume`.

    Parameters
    ----------
    estimator : BaseEstimator
    X : ndarray, jax.Array or Streamed
    beside : collection of str
        Parameters that may change.
    **identity
        What else must not.
    """
    parameters = {name: _named(value) for name, value in estimator.get_params().items() if name not in beside}
    if isinstance(X, Streamed):
        source = X.reader.source.fingerprint()
    elif isinstance(X, np.ndarray) and X.ndim == 2:
        source = Arrays([X]).fingerprint()
    else:
        source = digest(X.shape, str(X.dtype), np.asarray(X[:: max(1, len(X) // 16)]).tobytes())
    expected = {"source": source, "parameters": parameters, **identity}
    return Checkpointing(Path(estimator.checkpoint), estimator.every, estimator.resume, expected)


def _named(value: Any) -> Any:
    """A parameter as JSON can hold it: of a function its name, of a module its arrays."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.integer | np.floating):
        return value.item()
    if isinstance(value, eqx.Module):
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(value, eqx.is_inexact_array))]
        return digest(type(value).__name__, *((leaf.shape, leaf.tobytes()) for leaf in leaves))
    if hasattr(value, "__array__"):
        return digest(np.asarray(value).tobytes())
    return getattr(value, "__qualname__", type(value).__name__)
