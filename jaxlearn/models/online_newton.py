"""Generalized linear models that learn from batches by second-order moments: one pass over the rows, and no step size.

*Minimises* ``(1 / Σ w) Σ_i w_i loss(y_i, x_i b + b0) + ½ alpha ‖b‖²`` over all rows that were seen.

*Step* The loss of a batch is replaced by its expansion to second order at the current coefficients, and added to those of
all batches before: ``H += Xᵀ diag(w loss″) X`` and ``h += H_batch b − Xᵀ (w loss′)``. Then ``b = (H + Σ w alpha)⁻¹ h``.

For the squared loss the expansion is exact, and so is the result: that of all rows at once, in any order. For other losses
the errors of the expansions vanish with the distance of b from the minimum, and one pass is asymptotically as good as the
minimum itself, whose excess risk is p / (2 n). The states of different machines add up.
"""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.dense import as_design
from jaxlearn.access.design import Design, WithIntercept
from jaxlearn.linalg import cholesky
from jaxlearn.objectives import ElasticNet, Logistic, Loss, Multinomial, Penalty, Squared
from jaxlearn.solvers.feature_sign import FeatureSign
from jaxlearn.solvers.newton import NewtonCholesky, second_order
from jaxlearn.solvers.protocols import Objective, Problem
from jaxlearn.solvers.quadratic import GramQuadratic
from jaxlearn.solvers.solution import CONVERGED, NONFINITE, Budget
from jaxlearn.solvers.solve import solve

from ._glm_types import FittedGLM
from ._weights import weighted

__all__ = ["OnlineNewton", "State", "fitted", "fitted_sparse", "init", "merge", "step"]

HIGHEST = lax.Precision.HIGHEST
# Until so many rows were seen for each coefficient, a batch is solved for and not only expanded once.
EARLY = 10
# Evaluations of such a batch.
MOST = 30
# What the first coefficients, zero, count for: the curvature of so many rows. It keeps separable first batches in bounds, and
# fades as rows are seen.
PRIOR = 1.0


class OnlineNewton(eqx.Module):
    """What to learn: an immutable configuration whose numbers are leaves.

    Parameters
    ----------
    loss : Loss
        ``Squared()``, ``Logistic()`` (y in {0, 1}), ``Multinomial()`` (y one-hot) or ``Poisson()``.
    alpha : float
        Strength of ``½ alpha ‖b‖²``, in units of the mean loss.
    fit_intercept : bool
        It is not penalised.
    """

    loss: Loss = Logistic()
    alpha: ArrayLike = 0.0
    fit_intercept: bool = eqx.field(static=True, default=True)


class State(eqx.Module):
    """Moments of the rows that were seen, a pytree; q is p, and one more with an intercept.

    Attributes
    ----------
    location : (p,)
        Subtracted from rows, lest products of large means cost digits.
    hessian : (q, q), or (q k, q k) for a multinomial loss, class by class
        H.
    linear : (q,) or (q, k)
        h.
    prior : (q,)
        Diagonal of what H began with; zero for the squared loss.
    energy : () or (k,)
        ``Σ w y²`` of the squared loss.
    weight : scalar
        ``Σ w``.
    coef : (q,) or (q, k)
        Where the next batch is expanded; not kept up to date for the squared loss.
    """

    location: Array
    hessian: Array
    linear: Array
    prior: Array
    energy: Array
    weight: Array
    coef: Array


class _Surrogate(Penalty):
    """``½ bᵀ H b − h b`` in the place of a penalty: all batches that came before."""

    hessian: Array
    linear: Array

    def value(self, coef):
        return jnp.sum(coef * (0.5 * self._product(coef) - self.linear))

    def smooth_gradient(self, coef):
        return self._product(coef) - self.linear

    def _product(self, coef: Array) -> Array:
        shared = len(self.hessian) == len(coef)  # by targets of the squared loss
        return _times(self.hessian, coef) if shared else _unflat(_times(self.hessian, _flat(coef)), coef)

    def smooth_hessian(self, coef):
        return self.hessian


def init(
    model: OnlineNewton,
    X: ArrayLike | Design,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    axis_name: str | None = None,
) -> State:
    """A state that has seen nothing; of the first batch, its shapes and the scale of its columns are taken.

    Parameters
    ----------
    model : OnlineNewton
    X : (n, p)
    y : (n,) or (n, k)
        Several targets for the squared loss; one-hot rows for ``Multinomial``.
    sample_weight : (n,), optional
    axis_name : str, optional
        As in `step`.
    """
    design, w, _ = weighted(X, sample_weight, axis_name)
    y = jnp.asarray(y)
    p, outputs = design.n_features, y.shape[1:]
    dtype = jnp.result_type(design.dtype, jnp.asarray(model.alpha).dtype)
    location = (
        design.fold(_mean, None, w) if model.fit_intercept and not design.is_sparse else jnp.zeros(p, design.dtype)
    )
    q = p + model.fit_intercept
    size = q * math.prod(outputs) if isinstance(model.loss, Multinomial) else q
    squares = _shifted(model, design, location).fold(_squares, None, w)
    bound = 0.0 if isinstance(model.loss, Squared) else PRIOR * min(model.loss.curvature_bound, 1.0)
    prior = (bound * squares).astype(dtype)
    zeros = jnp.zeros((q, *outputs), dtype)
    return State(
        location=location,
        hessian=jnp.zeros((size, size), dtype),
        linear=zeros,
        prior=prior.at[p:].set(0),
        energy=jnp.zeros(outputs, dtype),
        weight=jnp.zeros((), dtype),
        coef=zeros,
    )


def step(
    model: OnlineNewton,
    state: State,
    X: ArrayLike | Design,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    axis_name: str | None = None,
) -> State:
    """Learn from one batch.

    Parameters
    ----------
    model : OnlineNewton
    state : State
    X : (b, p) array or design
    y : (b,) or (b, k)
    sample_weight : (b,), optional
        ≥ 0; zero is a row that is not there.
    axis_name : str, optional
        Inside ``shard_map``, ``pmap`` or ``vmap``: the axis over which the batch is split.

    Returns
    -------
    State

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jaxlearn.objectives import Squared
    >>> model = OnlineNewton(loss=Squared())
    >>> X, y = jnp.array([[0.0], [1.0], [2.0]]), jnp.array([1.0, 3.0, 5.0])
    >>> state = init(model, X, y)
    >>> for rows in (slice(0, 2), slice(2, 3)):
    ...     state = step(model, state, X[rows], y[rows])
    >>> round(float(fitted(model, state).coef[0]), 3)
    2.0
    """
    design = as_design(X, axis_name)
    y = jnp.asarray(y, design.dtype)
    w = jnp.ones(design.shape[0], design.dtype) if sample_weight is None else jnp.asarray(sample_weight, design.dtype)
    design = _shifted(model, design, state.location)
    if isinstance(model.loss, Squared):
        weight, hessian, linear, energy = design.fold(_moments, None, y, w)
        return _plus(state, weight, hessian, linear, energy)
    total = design.fold(_total, None, w)
    early = state.weight < EARLY * len(state.hessian)
    coef = lax.cond(early, lambda: _settled(model, state, design, (y, w), total), lambda: state.coef)
    near = coef.astype(design.dtype)
    _, gradient, hessian = design.fold(second_order, (model.loss, near), y, w)
    linear = _unflat(_times(hessian, _flat(near)), near) - gradient
    state = _plus(state, total, hessian, linear, jnp.zeros_like(state.energy))
    return eqx.tree_at(lambda s: s.coef, state, _minimum(model, state))


def merge(model: OnlineNewton, a: State, b: State) -> State:
    """What both have seen, as one state; coefficients are exact for the squared loss, else those of the joint expansions."""
    moved = b
    if model.fit_intercept:  # rows (x − l_b, 1) as (x − l_a, 1): a change of basis of the moments
        p, q = len(a.location), len(a.linear)
        change = jnp.eye(q, dtype=a.hessian.dtype).at[:p, p].set((b.location - a.location).astype(a.hessian.dtype))
        n_blocks = len(b.hessian) // q
        blocks = b.hessian.reshape(n_blocks, q, n_blocks, q)
        turned = jnp.einsum("ij,ajbk,lk->aibl", change, blocks, change, precision=HIGHEST)
        moved = eqx.tree_at(
            lambda s: (s.hessian, s.linear), b, (turned.reshape(b.hessian.shape), _times(change, b.linear))
        )
    state = _plus(a, moved.weight, moved.hessian, moved.linear, moved.energy)
    return eqx.tree_at(lambda s: s.coef, state, _minimum(model, state))


def fitted(model: OnlineNewton, state: State) -> FittedGLM:
    """The coefficients that all rows so far ask for.

    The certificate is the largest entry of the gradient of the sum of the expansions, divided by the weight of the rows:
    for the squared loss that of the objective itself.
    """
    coef = _minimum(model, state)
    gradient = _surrogate(model, state, state.weight).smooth_gradient(coef) / _positive(state.weight)
    slope, intercept = coef, jnp.zeros(coef.shape[1:], coef.dtype)
    if model.fit_intercept:
        slope, intercept = coef[:-1], coef[-1]
        intercept = intercept - _times(state.location.astype(coef.dtype), slope)
    if isinstance(model.loss, Multinomial):
        intercept = intercept - intercept.mean()
    residual = jnp.abs(gradient).max()
    status = jnp.where(jnp.isfinite(residual), jnp.int32(CONVERGED), jnp.int32(NONFINITE))
    return FittedGLM(slope, intercept, status, residual, jnp.int32(1), model.loss, "gradient norm of the expansions")


def fitted_sparse(
    model: OnlineNewton, state: State, penalty: ElasticNet, *, tol: ArrayLike = 1e-4, max_steps: ArrayLike = 1000
) -> FittedGLM:
    """Least squares with another penalty, of one target, from the same moments: no row is read again.

    Parameters
    ----------
    model : OnlineNewton
        Its alpha is not used.
    state : State
    penalty : ElasticNet
        In units of the mean loss.
    tol : float
        Duality gap, in units of the weighted mean of (y − ȳ)².
    max_steps : int

    Returns
    -------
    FittedGLM
    """
    if not isinstance(model.loss, Squared) or state.linear.ndim > 1:
        raise ValueError("An l1 penalty takes the squared loss and one target, `y` of shape (n_samples,).")
    weight, p = _positive(state.weight), len(state.location)
    gram, correlation = state.hessian[:p, :p] / weight, state.linear[:p] / weight
    energy, mean, y_mean = state.energy / weight, jnp.zeros_like(correlation), jnp.zeros_like(weight)
    if model.fit_intercept:
        mean, y_mean = state.hessian[:p, p] / weight, state.linear[p] / weight
        gram, correlation = gram - jnp.outer(mean, mean), correlation - y_mean * mean
        energy = energy - jnp.square(y_mean)
    quadratic = GramQuadratic(correlation, energy, jnp.diagonal(gram), gram)
    solver = FeatureSign(*penalty.strengths(correlation), penalty.positive)
    found = solve(
        Problem(None, quadratic, None, None),
        solver,
        jnp.zeros_like(correlation),
        budget=Budget(jnp.asarray(tol, energy.dtype) * energy, max_steps),
    )
    intercept = y_mean - _times(mean + state.location.astype(mean.dtype), found.params)
    intercept = intercept if model.fit_intercept else jnp.zeros_like(weight)
    return FittedGLM(
        found.params, intercept, found.status, found.residual, found.n_steps, model.loss, found.certificate
    )


def _settled(model: OnlineNewton, state: State, design: Any, rows: tuple[Array, Array], total: Array) -> Array:
    """The minimum of this batch and of the expansions of those before."""
    y, w = rows
    weight = _positive(state.weight + total)
    surrogate = _surrogate(model, state, state.weight + total)
    scaled = _Surrogate(
        (surrogate.hessian / weight).astype(design.dtype), (surrogate.linear / weight).astype(design.dtype)
    )
    problem = Problem(Objective(model.loss, scaled), design, y, w / weight.astype(design.dtype))
    tol = jnp.sqrt(jnp.finfo(design.dtype).eps)
    found = solve(problem, NewtonCholesky(), state.coef.astype(design.dtype), budget=Budget(tol, MOST))
    return found.params.astype(state.coef.dtype)


def _surrogate(model: OnlineNewton, state: State, weight: Array) -> _Surrogate:
    """All expansions, the prior, and the penalty on rows of that weight."""
    q, dtype = len(state.linear), state.hessian.dtype
    free = jnp.arange(q) >= len(state.location)
    fading = len(state.hessian) / (len(state.hessian) + weight)
    ridge = fading * state.prior + jnp.where(free, 0, weight * jnp.asarray(model.alpha, dtype))
    hessian = state.hessian + jnp.diag(jnp.tile(ridge, len(state.hessian) // q))
    if isinstance(model.loss, Multinomial):  # what is added to all classes alike changes nothing: it is held at zero
        k = len(hessian) // q
        scale = jnp.trace(hessian) / len(hessian)
        hessian = hessian + scale * jnp.kron(jnp.ones((k, k), dtype) / k, jnp.eye(q, dtype=dtype))
    return _Surrogate(hessian, state.linear)


def _minimum(model: OnlineNewton, state: State) -> Array:
    surrogate = _surrogate(model, state, state.weight)
    lower = cholesky.factor(surrogate.hessian)
    if len(state.hessian) == len(state.linear):  # targets share the moments of the rows
        return cholesky.solve(lower, state.linear)
    return _unflat(cholesky.solve(lower, _flat(state.linear)), state.linear)


def _plus(state: State, weight: Array, hessian: Array, linear: Array, energy: Array) -> State:
    kind = state.hessian.dtype
    return eqx.tree_at(
        lambda s: (s.hessian, s.linear, s.energy, s.weight),
        state,
        (
            state.hessian + hessian.astype(kind),
            state.linear + linear.astype(kind),
            state.energy + energy.astype(kind),
            state.weight + weight.astype(kind),
        ),
    )


def _shifted(model: OnlineNewton, design: Design, location: Array) -> Design:
    return WithIntercept(design.shifted(location.astype(design.dtype))) if model.fit_intercept else design


def _mean(_: None, X: Design, w: Array) -> Array:
    return X.rmatvec(w)


def _squares(_: None, X: Design, w: Array) -> Array:
    return X.squares(w)


def _total(_: None, X: Design, w: Array) -> Array:
    return w.sum()


def _moments(_: None, X: Design, y: Array, w: Array) -> tuple[Array, Array, Array, Array]:
    weighted = w * y if y.ndim == 1 else w[:, None] * y
    return w.sum(), X.gram(w), X.rmatvec(weighted), (weighted * y).sum(0)


def _flat(coef: Array) -> Array:
    """Class by class."""
    return coef.T.ravel()


def _unflat(flat: Array, like: Array) -> Array:
    return flat.reshape(like.T.shape).T


def _positive(weight: Array) -> Array:
    return jnp.where(weight > 0, weight, 1)


def _times(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=HIGHEST)
