"""Curves of other libraries: how good a factorization was after how many seconds.

A curve is a list of `Snapshot`, taken while the library runs. Taking one does not count, nor does what a user has at
hand already: imported code, worker processes. In scikit-learn, dictionary learning minimises the sum over rows of
``½|x − a D|² + alpha |a|₁`` with atoms in the unit ball: its alpha is the `l1` of `evaluate.dictionary_objective`, and it
is divided neither by the number of rows nor of features. `alpha` of the baseline has the same meaning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from .evaluate import Score
from .online_factorization_baseline import Baseline, ball_norm, shuffled

__all__ = ["Clock", "Judged", "Snapshot", "baseline", "judge", "marks", "minibatch_dictionary", "nonnegative"]
__all__ += ["nonnegative_start", "sparse_codes", "start", "time_to"]


class Snapshot(NamedTuple):
    """What there was after `seconds`, `n_seen` rows having been read, some of them several times."""

    seconds: float
    n_seen: int
    components: Any


class Judged(NamedTuple):
    seconds: float
    n_seen: int
    objective: float
    gap: float


class Clock:
    """Copies of an array that changes, made when given numbers of rows have been seen. It stands still meanwhile.

    Parameters
    ----------
    at : iterable of int
        A copy is made at the first look past each.
    budget : float
        Seconds. The first look past them makes a last copy and raises `TimeoutError`.
    """

    def __init__(self, at: Iterable[int], budget: float = np.inf):
        self.at, self.budget, self.curve = sorted(at), budget, []
        self.begin = perf_counter()

    def look(self, n_seen: int, array) -> None:
        """Copy the array if it is time to; or what it returns, where it is a function."""
        seconds = perf_counter() - self.begin
        late = seconds > self.budget
        if late or (self.at and self.at[0] <= n_seen):
            self.curve.append(Snapshot(seconds, n_seen, np.array(array() if callable(array) else array, order="C")))
            self.at = [mark for mark in self.at if mark > n_seen]
            self.begin = perf_counter() - seconds
        if late:
            raise TimeoutError


def marks(n_rows: int, first: int = 256, ratio: float = 1.3) -> list[int]:
    """Numbers of rows from the first batch to all that will be seen, each `ratio` times the one before."""
    steps = int(np.log(n_rows / first) / np.log(ratio))
    return sorted({*np.rint(first * ratio ** np.arange(steps + 1)).astype(int).tolist(), n_rows})


# Where everybody starts --------------------------------------------------------------------------------------------


def start(X, k, *, ball_l1_ratio=0.0, positive=False, seed=0):
    """A first dictionary: k rows drawn at random among those that are not zero, brought to the sphere."""
    rows = np.flatnonzero(np.abs(X).max(1) > 0)
    D = X[np.random.default_rng(seed).choice(rows, k, replace=False)]
    D = np.abs(D) if positive else D
    for d in D:
        l1, l2 = ball_l1_ratio * ball_norm(d, 1), (1 - ball_l1_ratio) * ball_norm(d, 0)
        d *= 2 / (l1 + np.sqrt(l1 * l1 + 4 * l2))  # the root of l1 s + l2 s² = 1
    return D


def nonnegative_start(X, k, *, seed=0):
    """Random W and H such that W H has the mean of X."""
    rng, scale = np.random.default_rng(seed), np.sqrt(X.mean(dtype=float) / k)
    W, H = (np.abs(rng.normal(scale=scale, size=shape)).astype(X.dtype) for shape in ((len(X), k), (k, X.shape[1])))
    return W, H


# Curves ------------------------------------------------------------------------------------------------------------


def minibatch_dictionary(X, init, alpha, *, at, budget=np.inf, n_jobs=2, **options) -> list[Snapshot]:
    """Scikit-learn's `MiniBatchDictionaryLearning` until it stops, or the budget ends.

    Its coordinate descent asks of each code a gap of 1e-8, which single precision rarely shows: most codes then take all
    1000 iterations. A fair race gives it X in double precision too, where ``fit_algorithm="cd"`` is several times faster.

    Parameters
    ----------
    X : (n, p) array
    init : (k, p) array, or int
        A first dictionary; from a number of components it makes its own, by a truncated SVD.
    alpha : float
    at, budget
        Of the `Clock`.
    n_jobs : int or None
    **options
        ``fit_algorithm``, ``batch_size``, ``max_iter`` …
    """
    from sklearn.decomposition import MiniBatchDictionaryLearning

    def model(**more):
        own = isinstance(init, int)
        first = None if own else init.copy()  # it may be written to
        k = init if own else len(init)
        return MiniBatchDictionaryLearning(
            k, alpha=alpha, dict_init=first, n_jobs=n_jobs, random_state=0, **options | more
        )

    batch = min(model().batch_size, len(X))
    per_epoch = -(-len(X) // batch)

    def rows(steps):
        return steps // per_epoch * len(X) + steps % per_epoch * batch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of codes that did not converge: the judge sees what they led to
        model(max_iter=1).fit(X[:batch])
        clock = Clock(at, budget)
        fitted = model(callback=lambda state: clock.look(rows(state["i"] + 1), state["dictionary"]))
        try:
            fitted.fit(X)
            end = rows(fitted.n_steps_)
            if not clock.curve or clock.curve[-1].n_seen < end:  # it stops before the callback of its last step
                clock.at = [end]
                clock.look(end, fitted.components_)
        except TimeoutError:
            pass
    return clock.curve


def baseline(X, init, alpha, *, at, budget=np.inf, batch_size=100, n_epochs=1, **options) -> list[Snapshot]:
    """The published algorithm, `Baseline`, on batches that are in memory; `options` are its own."""
    fit = Baseline(init, len(X), alpha=alpha, **options)
    curve, at, n_total = [], sorted(at), n_epochs * len(X)
    for seconds, n_seen, D in fit.fit(shuffled(X, batch_size, n_epochs, seed=options.get("seed", 0))):
        ends = seconds > budget or n_seen == n_total
        if ends or (at and at[0] <= n_seen):
            curve.append(Snapshot(seconds, n_seen, D.copy()))
            at = [mark for mark in at if mark > n_seen]
        if ends:
            break
    return curve


def nonnegative(make: Callable, X, W, H, *, passes=(1, 2, 4, 8, 16, 32, 64, 128), budget=np.inf) -> list[Snapshot]:
    """Scikit-learn's `NMF` or `MiniBatchNMF` after more and more passes, each time from W and H.

    Neither can be looked at while it runs, so each point is a fit of its own. The components of a snapshot are (W, H). The
    curve ends where the library stops by itself, or where one fit took longer than the budget.

    Parameters
    ----------
    make : callable
        ``make(max_iter=…, init="custom")`` is the model: ``partial(NMF, k, solver="cd")``.
    """
    curve = []
    for n in passes:
        model = make(max_iter=n, init="custom")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of passes that were too few
            begin = perf_counter()
            codes = model.fit_transform(X, W=W.copy(), H=H.copy())
            seconds = perf_counter() - begin
        curve.append(Snapshot(seconds, int(model.n_iter_) * len(X), (codes, model.components_)))
        if model.n_iter_ < n or seconds > budget:
            break
    return curve


def sparse_codes(D, X, alpha, algorithm, *, n_jobs=2):
    """Scikit-learn's `sparse_encode`: (seconds, codes), for `evaluate.codes_gap` with ``l1 = alpha`` to judge."""
    from sklearn.decomposition import sparse_encode

    D = np.asarray(D, X.dtype)  # its coordinate descent fails on two dtypes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sparse_encode(X[:10], D, algorithm=algorithm, alpha=alpha, n_jobs=n_jobs)
        begin = perf_counter()
        codes = sparse_encode(X, D, algorithm=algorithm, alpha=alpha, n_jobs=n_jobs)
        return perf_counter() - begin, codes


# What they are worth -----------------------------------------------------------------------------------------------


def judge(curve: Iterable[Snapshot], score: Callable[[Any], Score]) -> list[Judged]:
    """The curve with components replaced by their score, such as ``lambda D: dictionary_objective(D, heldout, l1=alpha)``."""
    return [Judged(seconds, n_seen, *score(components)) for seconds, n_seen, components in curve]


def time_to(curve: Iterable[Judged], target: float) -> float:
    """Seconds of the first snapshot at or below the target, infinite if there is none; nothing is interpolated."""
    return min((point.seconds for point in curve if point.objective <= target), default=np.inf)
