"""A factorization that is learnt from rows in memory or on disk: the loop over segments, its checkpoints and its judge."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlearn.access import checkpoint as checkpoints
from jaxlearn.access.scan import Place, Scan, in_order
from jaxlearn.models import matrix_factorization as mf

from .checkpointing import Checkpointing

__all__ = ["Learner", "LearningProgress"]

REDUCTIONS = 1, 2, 4, 8, 12
# Of the certificate while the fit goes on; the last one is ten times as accurate.
JUDGED_TO = 1e-3
# Bits of a file's name that tell checkpoints of one epoch apart.
WITHIN_EPOCH = 10**9

_run = jax.jit(mf.run, static_argnames="batch_size", donate_argnums=1)
_probe = jax.jit(mf.run, static_argnames="batch_size")
_objective = jax.jit(mf.objective)


class LearningProgress(NamedTuple):
    """What a callback is told after each batch.

    Attributes
    ----------
    n_samples_seen : int
    n_steps : int
        Batches.
    epoch : int
    seconds : float
        Since this fit began, or was resumed.
    state : jaxlearn.models.matrix_factorization.State
        To be read before the callback returns. Its dictionary has the columns in the order that the fit works in.
    columns : ndarray of int, (n_features,), or None
        The feature that each of these columns is; None where they are in order.
    """

    n_samples_seen: int
    n_steps: int
    epoch: int
    seconds: float
    state: Any
    columns: np.ndarray | None

    @property
    def components(self) -> np.ndarray:
        """A copy of the atoms, (n_components, n_features), in the order of the features."""
        return in_order(self.state.dictionary, self.columns)


@dataclasses.dataclass
class Learner:
    """One fit.

    Parameters
    ----------
    model : MatrixFactorization
    scan : Scan
    state : State or None
        The first one, unless a checkpoint was found.
    max_iter : int
        Epochs.
    tol : float
        Stop when the held-out objective fell by less than this share of itself in an epoch.
    seed : int
    choose : bool
        Probe which reduction lowers the objective fastest.
    checkpointing : Checkpointing or None
    found : (arrays, header) or None
        What it has found.
    callback : callable or None
    columns : ndarray of int or None
        The feature that each column of the rows is, where they are not in order.

    Attributes
    ----------
    place : Place
        Where the fit stands.
    history : list of dict
        Held-out objective, by samples and seconds.
    """

    model: mf.MatrixFactorization
    scan: Scan
    state: Any
    max_iter: int
    tol: float
    seed: int
    choose: bool = False
    checkpointing: Checkpointing | None = None
    found: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None
    callback: Callable[[LearningProgress], Any] | None = None
    columns: np.ndarray | None = None

    place: Place = Place()  # noqa: RUF009
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)

    def run(self) -> None:
        """Learn until the objective no longer falls, or the epochs are used up."""
        self.began = self.saved = time.perf_counter()
        if self.found is not None:
            self._take_up(*self.found)
        else:
            self._judge()
            if self.choose:
                self._choose_reduction()
        while self.place.epoch < self.max_iter and not self.converged:
            self._epoch()
            self.place = self.scan.next_epoch(self.place)
            self._judge()
            self._save()
            if self.scan.reader is not None and self.scan.reader.exhausted:
                break

    @property
    def improvement(self) -> float:
        """Share of itself by which the objective fell in the last epoch; infinite before there was one."""
        if len(self.history) < 2:
            return np.inf
        before, now = (self.history[i]["objective"] for i in (-2, -1))
        return (before - now) / abs(before) if before else 0.0

    @property
    def converged(self) -> bool:
        """Whether the last epoch was not worth another one."""
        return self.tol > 0 and self.improvement <= self.tol

    @cached_property
    def _held_out(self) -> jax.Array:
        return jnp.asarray(self.scan.held_out, self.state.dictionary.dtype)

    def judged(self, tol: float = JUDGED_TO) -> float:
        """The objective of the rows that were held out."""
        return float(_objective(self.model, self.state.dictionary, self._held_out, tol=tol))

    def _judge(self) -> None:
        seconds = time.perf_counter() - self.began
        self.history.append({"n_samples_seen": self.place.seen, "seconds": seconds, "objective": self.judged()})
        if not np.isfinite(self.history[-1]["objective"]):
            raise ValueError(
                "The fit resulted in non-finite values. The input data may contain large values and need to be preprocessed."
            )

    def _epoch(self) -> None:
        scale = None if self.scan.scale is None else jnp.asarray(self.scan.scale, self.state.dictionary.dtype)
        for segment in self.scan.segments(self.place, **({"dispatch": 1} if self.callback else {})):
            batches = segment.first, segment.count, segment.offset
            self.state = _run(
                self.model, self.state, segment.X, segment.order, batches, batch_size=segment.size, scale=scale
            )
            jax.block_until_ready(self.state)  # the rows may be overwritten now
            self.place = segment.place
            if self.callback is not None:
                seconds, n_steps = time.perf_counter() - self.began, int(self.state.n_steps)
                told = self.place.seen, n_steps, self.place.epoch, seconds, self.state, self.columns
                self.callback(LearningProgress(*told))
            if self.checkpointing is not None and time.perf_counter() - self.saved >= self.checkpointing.every:
                self._save()

    def _choose_reduction(self) -> None:
        """Take the reduction with which the objective falls most in a second of computing, from the same state."""
        best, found = -np.inf, 1
        segments = self.scan.segments(self.place)
        segment = next(segments)
        X, order, size = segment.X, segment.order, segment.size
        warm = _probe(
            self.model, self.state, X, order, (0, max(segment.count // 4, 1), segment.offset), batch_size=size
        )
        before = float(_objective(self.model, warm.dictionary, self._held_out, tol=JUDGED_TO))
        for reduction in REDUCTIONS:
            if reduction > warm.dictionary.shape[1]:
                break
            model, state = mf.with_reduction(self.model, warm, reduction)
            jax.block_until_ready(_probe(model, state, X, order, (0, 0, segment.offset), batch_size=size))  # compiles
            began = time.perf_counter()
            batches = segment.count // 4, max(segment.count - segment.count // 4, 1), segment.offset
            state = jax.block_until_ready(_probe(model, state, X, order, batches, batch_size=size))
            seconds = time.perf_counter() - began
            rate = (before - float(_objective(self.model, state.dictionary, self._held_out, tol=JUDGED_TO))) / seconds
            best, found = (rate, reduction) if rate > best else (best, found)
        segments.close()
        self.model, self.state = mf.with_reduction(self.model, self.state, found)

    def _save(self) -> None:
        if self.checkpointing is None:
            return
        arrays = {name: np.asarray(leaf) for name, leaf in vars(self.state).items() if leaf is not None}
        header = {
            **self.checkpointing.expected,
            "seed": self.seed,
            "place": list(self.place),
            "history": self.history,
            "reduction": self.model.reduction,
            "n_samples": self.scan.n_samples,
        }
        number = self.place.epoch * WITHIN_EPOCH + int(self.state.n_steps) % WITHIN_EPOCH
        checkpoints.save(self.checkpointing.folder, number, arrays, header)
        self.saved = time.perf_counter()

    def _take_up(self, arrays: dict[str, np.ndarray], header: dict[str, Any]) -> None:
        self.place, self.history = Place(*header["place"]), header["history"]
        if self.scan.reader is not None and self.scan.reader.n_samples is None:
            self.scan.reader.n_samples = header["n_samples"]
        self.model = dataclasses.replace(self.model, reduction=header["reduction"])
        names = [field.name for field in dataclasses.fields(mf.State)]
        leaves: dict[str, Any] = {name: jnp.asarray(arrays[name]) if name in arrays else None for name in names}
        self.state = mf.State(**leaves)
