"""k-means: centers that leave as little of the rows' squares as can be, as pure functions.

*Minimises* ``Σ ω_i min_j ‖x_i − c_j‖²`` with weights that sum to one, to a local minimum.

*Reads the data by* fold; the start by random rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.dense import as_design
from jaxlearn.access.design import Design
from jaxlearn.solvers.elkan import Elkan
from jaxlearn.solvers.lloyd import Lloyd, at_fixed_labels, nearest, scores
from jaxlearn.solvers.protocols import Problem
from jaxlearn.solvers.solution import Budget
from jaxlearn.solvers.solve import solve

from ._kmeans_init import STARTS, start
from ._weights import weighted
from .minibatch_kmeans import State

__all__ = ["FittedKMeans", "KMeans", "distances", "fit", "predict", "quantize", "starts"]


# Centers that are compared with at once, of several starts: more gain nothing on a CPU, and each start ends when it likes.
BUSY = 128
# On an accelerator scores of rows and centers do.
BUSY_SCORES, BUSY_ROWS = 1 << 26, 1 << 14
MOST_STEPS = 2**31 - 1


class KMeans(eqx.Module):
    """What to fit: an immutable configuration whose numbers are leaves.

    Parameters
    ----------
    n_clusters : int
        k.
    tol : float
        A fit ends when ``Σ_j ‖Δc_j‖²`` is at most this times the mean variance of the features.
    max_steps : int
        Passes over the data.
    n_starts : int
        Runs side by side, from different starts; the best is kept.
    init : {"k-means++", "k-means||", "random"}
        k-means++ draws one center after the other, each in proportion to the squared distances that are left, and keeps the
        best of ``2 + log k``; k-means|| draws 2 k in each of five rounds and clusters those, for many clusters; random
        draws rows.
    algorithm : {"lloyd", "elkan"}
        How the minimum is found. ``elkan`` finds what ``lloyd`` does, and compares only rows with all centers whose label may
        change: faster where k and p are a hundred or so, in more memory, n k numbers, one start after the other. Of dense
        rows that lie on one device; not under ``vmap``.

    References
    ----------
    Arthur and Vassilvitskii, "k-means++", SODA 2007. Bahmani et al., "Scalable k-means++", VLDB 2012.
    """

    n_clusters: int = eqx.field(static=True)
    tol: ArrayLike = 1e-4
    max_steps: ArrayLike = 300
    n_starts: int = eqx.field(static=True, default=1)
    init: str = eqx.field(static=True, default="k-means++")
    algorithm: str = eqx.field(static=True, default="lloyd")

    def __check_init__(self) -> None:
        if self.algorithm not in ("lloyd", "elkan"):
            raise ValueError(f"`algorithm={self.algorithm!r}`; expected 'lloyd' or 'elkan'.")
        if self.init not in STARTS:
            raise ValueError(f"`init={self.init!r}`; expected one of {STARTS}.")


class FittedKMeans(eqx.Module):
    """A fitted model, a pytree.

    Attributes
    ----------
    centers : (k, p)
    inertia : scalar
        ``Σ ω_i min_j ‖x_i − c_j‖²`` at the centers before the last step.
    status : int32 scalar
        Index into ``jaxlearn.solvers.SENTENCES``; 0 is converged.
    residual : scalar
        The certificate: ``Σ_j ‖Δc_j‖²`` of the last step.
    n_steps : int32 scalar
        Passes over the data.
    """

    centers: Array
    inertia: Array
    status: Array
    residual: Array
    n_steps: Array


def fit(
    model: KMeans,
    X: ArrayLike | Design,
    sample_weight: ArrayLike | None = None,
    *,
    init: ArrayLike | None = None,
    key: Array | None = None,
    axis_name: str | None = None,
) -> FittedKMeans:
    """Fit.

    Parameters
    ----------
    model : KMeans
    X : Array (n_samples, n_features) or Design
    sample_weight : (n_samples,), optional
        Zero is a row that is not there.
    init : (k, p) or (n_starts, k, p), optional
        Centers to start at.
    key : PRNG key, optional
        Draws the start where none is given.
    axis_name : str, optional
        As in `jaxlearn.models.glm.fit`; a start must be given.

    Returns
    -------
    FittedKMeans
        Its centers have the derivative of the mean of their rows, as long as no row changes its center.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> X = jnp.array([[0.0, 0.0], [0.0, 1.0], [9.0, 9.0], [9.0, 8.0]])
    >>> fitted = fit(KMeans(2), X, init=X[:2] * jnp.array([[1.0], [9.0]]))
    >>> predict(fitted, X).tolist()
    [0, 0, 1, 1]
    """
    design, weight, _ = weighted(X, sample_weight, axis_name)
    location = _held(design).location()
    live = design.shifted(location)
    shifted, held_weight = _held(live), _held(weight)
    begin = _start(model, shifted, held_weight, init, key)
    begin = begin if init is None else begin - location[None, None]
    energy, mean = shifted.fold(_energy, None, held_weight)
    variance = jnp.maximum(energy - jnp.square(mean).sum(), 0) / design.shape[1]
    tol = jnp.asarray(model.tol, energy.dtype) * variance
    max_steps = jnp.asarray(model.max_steps, jnp.int32)
    run = _by_bounds if model.algorithm == "elkan" else _side_by_side
    found = run(Problem(None, shifted, None, held_weight), begin, tol, max_steps)
    best = jnp.argmin(found.inertia)
    centers = found.centers[best]
    centers = centers if design.on_host else _attach((live, weight), centers)
    inertia = jnp.maximum(2 * found.inertia[best] + energy, 0)
    return FittedKMeans(centers + location[None], inertia, found.status, found.moved[best], found.n_steps[best])


class _Found(NamedTuple):
    """Of each start, but for the status."""

    centers: Array
    inertia: Array
    moved: Array
    n_steps: Array
    status: Array


def _side_by_side(problem: Problem, begin: Array, tol: Array, max_steps: Array) -> _Found:
    lloyd = Lloyd(tol, max_steps, at_once(problem.design, *begin.shape[:2]))
    budget = Budget(tol, jnp.minimum(max_steps, MOST_STEPS // len(begin)) * len(begin))
    solution = solve(problem, lloyd, begin, budget=budget)
    state = solution.state
    return _Found(solution.params, state.inertia, state.moved, state.n_steps, solution.status)


def _by_bounds(problem: Problem, begin: Array, tol: Array, max_steps: Array) -> _Found:
    design = problem.design
    if design.is_sparse or design.on_host or design.axis_name is not None:
        raise ValueError("`algorithm='elkan'` takes dense rows of one device; 'lloyd' takes all.")

    def one(begin: Array) -> _Found:
        solution = solve(problem, Elkan(), begin, budget=Budget(tol, max_steps))
        state = solution.state
        return _Found(solution.params, state.inertia, state.moved, solution.n_steps, solution.status)

    found = lax.map(one, begin)
    return found._replace(status=found.status.max())


def at_once(design: Design, n_starts: int, n_clusters: int) -> int:
    """Starts that share a pass: all where reading is dear, else as many as keep a product busy."""
    n_rows, most = (1, BUSY) if jax.default_backend() == "cpu" else (min(BUSY_ROWS, design.shape[0]), BUSY_SCORES)
    return n_starts if design.on_host else min(max(most // (n_clusters * n_rows), 1), n_starts)


def _held(tree: Any) -> Any:
    """`tree` as a constant of differentiation."""
    return jax.tree.map(lambda leaf: lax.stop_gradient(leaf) if eqx.is_array_like(leaf) else leaf, tree)


def starts(model: KMeans, X: ArrayLike | Design, sample_weight: ArrayLike | None, keys: Array) -> tuple[Array, Array]:
    """Centers that `fit` may start at, one set for each key, and the rows that they are.

    Returns
    -------
    centers : (n_keys, k, p)
    index : (n_keys, k) of int32
        −1 where a center is no row that is known.
    """
    design, weight, _ = weighted(X, sample_weight, None)
    location = design.location()
    shifted = design.shifted(location)
    centers, index = lax.map(lambda key: start(model.init, model.n_clusters, shifted, weight, key), keys)
    return centers + location[None, None], index


def _start(model: KMeans, design: Design, weight: Array, init: ArrayLike | None, key: Array | None) -> Array:
    """Centers of all starts, (n_starts, k, p): those that are given, or drawn from rows of the design."""
    shape = model.n_clusters, design.shape[1]
    if init is not None:
        init = jnp.asarray(init, design.dtype)
        if init.shape[-2:] != shape or init.ndim not in (2, 3):
            raise ValueError(
                f"`init` has shape {init.shape}; expected {shape}, with the number of starts before it or not."
            )
        return lax.stop_gradient(init.reshape(-1, *shape))
    if key is None:
        raise ValueError("`fit` draws its start with a `key`, or is given one: `init`.")
    if design.on_host or design.axis_name is not None:
        raise ValueError("rows of a stream, or of a mapped axis, are not drawn from: `fit` takes a start, `init`.")
    one = lambda key: start(model.init, model.n_clusters, design, weight, key)[0]  # noqa: E731
    return lax.map(one, jax.random.split(key, model.n_starts))


def _energy(_: Any, X: Design, w: Array) -> tuple[Array, Array]:
    return X.energy(w), X.rmatvec(w)


@jax.custom_jvp
def _attach(data: tuple[Design, Array], centers: Array) -> Array:
    """The identity, with the derivative of one more step in which no row changes its center."""
    return centers


@_attach.defjvp
def _attach_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    data, centers = primals
    if data[0].axis_name is not None:
        raise ValueError(
            "a fit with `axis_name` cannot be differentiated: collectives have no derivative of their own. "
            "Differentiate outside the map: `jit` of the fit on a sharded array needs no axis name."
        )

    def step(data: tuple[Design, Array]) -> Array:
        sums, weight = data[0].fold(at_fixed_labels, centers, data[1])
        return sums / jnp.where(weight > 0, weight, 1)[:, None]

    return _attach(data, centers), jax.jvp(step, (data,), (tangents[0],))[1]


def predict(fitted: FittedKMeans | State, X: ArrayLike | Design) -> Array:
    """The nearest center of each row, of equally near ones the first: (n_samples,) of int32, without a derivative.

    Parameters
    ----------
    fitted : FittedKMeans, or State of `jaxlearn.models.minibatch_kmeans`
    X : (n_samples, p) array, or Design
    """
    return nearest(scores(as_design(_held(X)), lax.stop_gradient(fitted.centers)))[1]


def distances(centers: Array, X: ArrayLike | Design) -> Array:
    """Euclidean distances to `centers` (k, p), (n_samples, k): a map over rows."""
    design = as_design(X)
    squares = design.row_squares()[:, None] + 2 * scores(design, centers).T
    return jnp.sqrt(jnp.maximum(squares, 0))


def quantize(fitted: FittedKMeans | State, X: ArrayLike) -> Array:
    """Rows replaced by their nearest centers, with the derivative of the identity: a layer of vector quantization.

    The centers learn by `jaxlearn.models.minibatch_kmeans.step` on each batch, from the state that the last one made; by a
    loss on ``fitted.centers[predict(fitted, X)]``; or by fits.

    Parameters
    ----------
    fitted : FittedKMeans, or State of `jaxlearn.models.minibatch_kmeans`
    X : (n_samples, p) array

    References
    ----------
    van den Oord, Vinyals and Kavukcuoglu, "Neural discrete representation learning", NeurIPS 2017.
    """
    X = jnp.asarray(X)
    return X + lax.stop_gradient(fitted.centers[predict(fitted, X)] - X)
