"""Generalized linear models: least squares, ridge, Lasso, elastic net and logistic regression, as pure functions.

*Minimises* ``(1 / Σ w) Σ_i w_i loss(y_i, X_i b + b0) + penalty(b)``

over the coefficients b and an intercept b0 that is never penalised. Everything here may be called under ``jit``,
``vmap`` over strengths, targets or weights, and ``grad`` with respect to X, y, weights and strengths.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.columns import column_quadratic, gram_quadratic
from jaxlearn.access.dense import as_design
from jaxlearn.access.design import Centered, Design, WithIntercept
from jaxlearn.objectives import L2, ElasticNet, Loss, Multinomial, NoPenalty, Penalty, Squared
from jaxlearn.solvers import closed_form
from jaxlearn.solvers.conjugate_gradient import ConjugateGradient
from jaxlearn.solvers.coordinate_descent import CoordinateDescent
from jaxlearn.solvers.feature_sign import FeatureSign
from jaxlearn.solvers.implicit import attach_derivative
from jaxlearn.solvers.lbfgs import LBFGS
from jaxlearn.solvers.newton import NewtonCholesky
from jaxlearn.solvers.protocols import Objective, Problem
from jaxlearn.solvers.solution import CONVERGED, NONFINITE, Budget, Solution
from jaxlearn.solvers.solve import solve
from jaxlearn.solvers.working_set import WorkingSetPath

__all__ = [
    "GLM",
    "FittedGLM",
    "FittedPath",
    "alpha_max",
    "fit",
    "leave_one_out",
    "linear_predictor",
    "path",
    "predict",
]

# Up to this many features the Gram matrix is formed and nothing is selected: one program, and no overflow.
SMALL = 256
# Up to this many, factors of p × p matrices are affordable.
MEDIUM = 4096

SOLVERS = {
    "squared": ("spectral", "least_squares", "conjugate_gradient", "newton", "lbfgs"),
    "sparse": ("feature_sign", "coordinate_descent"),
    "smooth": ("lbfgs", "newton"),
}


class GLM(eqx.Module):
    """What to fit and how: an immutable configuration whose numbers are leaves.

    Parameters
    ----------
    loss : Loss
        ``Squared()``, ``Logistic()`` (y in {0, 1}) or ``Multinomial()`` (y one-hot).
    penalty : Penalty
        ``NoPenalty()``, ``L2(alpha)``, ``L1(alpha)`` or ``ElasticNet(alpha, l1_ratio)``; alpha a scalar, one for each
        feature (p,), or, with ``L2``, one for each target (1, k).
    tol : float
        l1 penalties: duality gap in units of the weighted mean of (y − ȳ)². Smooth losses: largest entry of the
        gradient. Conjugate gradients: relative residual. Closed forms do not use it.
    max_steps : int
        Passes over the data; with an l1 penalty, for each alpha.
    fit_intercept : bool
    solver : str
        ``auto`` chooses by loss, penalty and shape. Squared loss: ``spectral`` (one eigendecomposition for all
        strengths), ``least_squares`` (QR), ``conjugate_gradient``. With l1: ``feature_sign``, ``coordinate_descent``.
        Otherwise: ``lbfgs``, ``newton``.
    working_set : int, optional
        With l1: most columns that are solved for together, and a bound on the non-zero coefficients; a fit that needs
        more ends with the status OVERFLOW. By default at most 256.
    precompute : bool, optional
        With l1: hold the Gram matrix. By default when that saves work.
    random : bool
        Coordinate descent visits blocks in a random order, drawn from `key`.
    """

    loss: Loss = Squared()
    penalty: Penalty = NoPenalty()
    tol: ArrayLike = 1e-4
    max_steps: ArrayLike = 1000
    fit_intercept: bool = eqx.field(static=True, default=True)
    solver: str = eqx.field(static=True, default="auto")
    working_set: int | None = eqx.field(static=True, default=None)
    precompute: bool | None = eqx.field(static=True, default=None)
    random: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        kind = self._kind
        if self.solver != "auto" and self.solver not in SOLVERS[kind]:
            raise ValueError(
                f"`solver={self.solver!r}` does not solve {type(self.loss).__name__} with {type(self.penalty).__name__}; "
                f"expected 'auto' or one of {SOLVERS[kind]}."
            )
        if isinstance(self.penalty, ElasticNet) and not isinstance(self.loss, Squared):
            raise ValueError(f"{type(self.loss).__name__} takes the penalties NoPenalty and L2; got ElasticNet.")

    @property
    def _kind(self) -> str:
        if isinstance(self.penalty, ElasticNet):
            return "sparse"
        return "squared" if isinstance(self.loss, Squared) else "smooth"


class FittedGLM(eqx.Module):
    """A fitted model, a pytree.

    Attributes
    ----------
    coef : (p,) or (p, k)
    intercept : scalar or (k,)
        Zero without an intercept.
    status : int32 scalar
        Index into ``jaxlearn.solvers.SENTENCES``; 0 is converged.
    residual : scalar
        The certificate.
    n_steps : int32 scalar
        Passes over the data.
    loss : Loss
        Its inverse link is that of ``predict``.
    certificate : str
        What `residual` is.
    singular_values : (min(n, p),) or None
        Of the weighted, centred X, where the solver has them.
    """

    coef: Array
    intercept: Array
    status: Array
    residual: Array
    n_steps: Array
    loss: Loss
    certificate: str = eqx.field(static=True)
    singular_values: Array | None = None


class FittedPath(eqx.Module):
    """Models along a grid of alphas; as `FittedGLM`, with a leading axis of n_alphas.

    ``status`` is -1 for alphas that were not reached, because the working set overflowed before.
    """

    coef: Array
    intercept: Array
    status: Array
    residual: Array
    n_steps: Array


class _Centred(NamedTuple):
    """Least squares without its intercept: centred design and target, and what undoes it."""

    design: Design
    y: Array
    sample_weight: Array
    x_mean: Array | None
    y_mean: Array | None

    def intercept(self, coef: Array) -> Array:
        if self.x_mean is None or self.y_mean is None:
            return jnp.zeros(coef.shape[1:], coef.dtype)
        return self.y_mean - jnp.matmul(self.x_mean, coef, precision=lax.Precision.HIGHEST)


def fit(
    model: GLM,
    X: ArrayLike | Design,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    init: Array | None = None,
    key: Array | None = None,
    axis_name: str | None = None,
) -> FittedGLM:
    """Fit a generalized linear model.

    Parameters
    ----------
    model : GLM
    X : (n_samples, n_features) array, or Design
    y : (n_samples,) or (n_samples, k)
        Several targets for the squared loss without l1; one-hot rows for ``Multinomial``.
    sample_weight : (n_samples,), optional
        ≥ 0; zero is a row that is not there.
    init : (n_features,) or (n_features, k), optional
        Coefficients to start from.
    key : PRNG key, optional
        For ``random``.
    axis_name : str, optional
        Inside ``shard_map``, ``pmap`` or ``vmap``: the axis over which the rows are split. The result is the same on
        every shard. Such a fit cannot be differentiated; ``jit`` of a fit on a sharded array can.

    Returns
    -------
    FittedGLM

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jaxlearn.models import glm
    >>> from jaxlearn.objectives import L2
    >>> X, y = jnp.array([[0.0], [1.0], [2.0]]), jnp.array([1.0, 3.0, 5.0])
    >>> round(float(glm.fit(glm.GLM(), X, y).coef[0]), 4)
    2.0
    >>> slope = lambda alpha: glm.fit(glm.GLM(penalty=L2(alpha)), X, y).coef[0]
    >>> [round(float(b), 4) for b in jax.vmap(slope)(jnp.array([0.0, 1.0]))]
    [2.0, 0.8]
    >>> round(float(jax.grad(slope)(1.0)), 4)
    -0.48
    """
    design, y, weight = _data(X, y, sample_weight, axis_name)
    if model._kind == "smooth":
        return _fit_smooth(model, design, y, weight, init)
    centred = _centre(design, y, weight, model.fit_intercept)
    if model._kind == "sparse":
        return _fit_sparse(model, centred, init, key)
    return _fit_squared(model, centred, init)


def path(
    model: GLM,
    X: ArrayLike | Design,
    y: ArrayLike,
    alphas: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    init: Array | None = None,
    first: ArrayLike = 0,
    axis_name: str | None = None,
) -> FittedPath:
    """Fit an elastic net for each of a decreasing grid of alphas, each from the solution before it.

    Parameters
    ----------
    model : GLM
        With an ``ElasticNet``, whose own alpha multiplies the grid: leave it at one, or give it one weight for each
        feature.
    X, y, sample_weight, axis_name
        As in `fit`, with y (n_samples,).
    alphas : (n_alphas,)
        Decreasing.
    init : (n_features,), optional
        Where to start.
    first : int
        Index of the alpha to begin with: a path that overflowed is continued by a model with a larger ``working_set``.

    Returns
    -------
    FittedPath
    """
    if model._kind != "sparse":
        raise ValueError(f"`path` follows an `ElasticNet` penalty; got {type(model.penalty).__name__}: use `vmap` of `fit`.")
    design, y, weight = _data(X, y, sample_weight, axis_name)
    centred = _centre(design, y, weight, model.fit_intercept)
    alphas = jnp.asarray(alphas, y.dtype)
    found, size = _follow(model, centred, alphas, init, first)
    coef = jax.vmap(lambda alpha, b: _attach_sparse(model, centred, alpha, b, size))(alphas, found.coef)
    return FittedPath(coef, jax.vmap(centred.intercept)(coef), found.status, found.gap, found.n_steps)


def alpha_max(
    model: GLM,
    X: ArrayLike | Design,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    axis_name: str | None = None,
) -> Array:
    """Smallest alpha of an ``ElasticNet`` (its own alpha taken as a weight) for which every coefficient is zero."""
    design, y, weight = _data(X, y, sample_weight, axis_name)
    centred = _centre(design, y, weight, model.fit_intercept)
    correlation = centred.design.fold(_correlate, None, centred.y, centred.sample_weight)
    l1, _ = model.penalty.strengths(correlation)
    push = jnp.maximum(correlation, 0) if getattr(model.penalty, "positive", False) else jnp.abs(correlation)
    return jnp.max(jnp.where(l1 > 0, push / jnp.where(l1 > 0, l1, 1), 0))


def leave_one_out(
    model: GLM, X: ArrayLike | Design, y: ArrayLike, alphas: ArrayLike, sample_weight: ArrayLike | None = None
) -> Array:
    """Ridge predictions of each row by the fit to all others, for every alpha, from one eigendecomposition.

    With hat matrix H, ``ŷ₋ᵢ = (f_i − H_ii y_i) / (1 − H_ii)``.

    Parameters
    ----------
    model : GLM
        Squared loss; its penalty is replaced by ``L2(alpha)`` for each alpha.
    X, y, sample_weight
        As in `fit`.
    alphas : (n_alphas,)

    Returns
    -------
    (n_alphas, n_samples) or (n_alphas, n_samples, k)

    References
    ----------
    Rifkin and Lippert, "Notes on regularized least squares", 2007.
    """
    design, y, weight = _data(X, y, sample_weight, None)
    centred = _centre(design, y, weight, model.fit_intercept)
    spectrum = _spectrum(centred)
    scores = jnp.square(centred.design.matvec(spectrum.vectors))  # of each row on each direction
    mean_part = jnp.ones_like(weight) if model.fit_intercept else jnp.zeros_like(weight)

    def at(alpha: Array) -> Array:
        coef, _ = closed_form.ridge(spectrum, centred.design, centred.y, centred.sample_weight, alpha)
        scale = spectrum.values + alpha
        inverse = jnp.where(scale > 0, 1 / jnp.where(scale > 0, scale, 1), 0)
        leverage = weight * (mean_part + scores @ inverse)
        f = centred.design.matvec(coef)
        rest = 1 - leverage
        # a row that alone decides a direction cannot be predicted without it: its residual is the target itself
        rest = jnp.where(rest > jnp.finfo(rest.dtype).eps, rest, 1)
        columns = (lambda v: v) if f.ndim == 1 else (lambda v: v[:, None])
        offset = jnp.zeros((), f.dtype) if centred.y_mean is None else centred.y_mean
        return (f - columns(leverage) * centred.y) / columns(rest) + (offset if f.ndim == 1 else jnp.atleast_1d(offset)[None])

    return lax.map(at, jnp.asarray(alphas, y.dtype))


def linear_predictor(fitted: FittedGLM, X: ArrayLike | Design, *, axis_name: str | None = None) -> Array:
    """``X coef + intercept``, (n_samples,) or (n_samples, k): a map over rows."""
    design = as_design(X, axis_name)
    f = design.matvec(fitted.coef)
    return f + (fitted.intercept if f.ndim == 1 else fitted.intercept[None])


def predict(fitted: FittedGLM, X: ArrayLike | Design, *, axis_name: str | None = None) -> Array:
    """Conditional mean of y: the linear predictor through the inverse link (probabilities for a classifier)."""
    return fitted.loss.inverse_link(linear_predictor(fitted, X, axis_name=axis_name))


def _data(X: Any, y: Any, sample_weight: Any, axis_name: str | None) -> tuple[Design, Array, Array]:
    """Design, target and weights that sum to one over all rows."""
    design = as_design(X, axis_name)
    y = jnp.asarray(y, design.dtype)
    n_samples = design.shape[0]
    if y.shape[:1] != (n_samples,):
        raise ValueError(f"`y` has shape {y.shape}; expected {n_samples} rows, as `X`.")
    weight = jnp.ones(n_samples, design.dtype) if sample_weight is None else jnp.asarray(sample_weight, design.dtype)
    if weight.shape != (n_samples,):
        raise ValueError(f"`sample_weight` has shape {weight.shape}; expected ({n_samples},).")
    total = design.fold(_total, None, weight)
    return design, y, weight / total


def _total(_: Any, X: Design, w: Array) -> Array:
    return w.sum()


def _means(_: Any, X: Design, y: Array, w: Array) -> tuple[Array, Array]:
    return X.rmatvec(w), w @ y


def _correlate(_: Any, X: Design, y: Array, w: Array) -> Array:
    return X.rmatvec(w * y if y.ndim == 1 else w[:, None] * y)


def _centre(design: Design, y: Array, weight: Array, fit_intercept: bool) -> _Centred:
    """Centre in two steps: a shift that does not know the weights, so that lanes over weights share one shifted X, then
    the small remainder lazily."""
    if not fit_intercept:
        return _Centred(design, y, weight, None, None)
    location = design.location()
    shifted = design.shifted(location)
    x_mean, y_mean = shifted.fold(_means, None, y, weight)
    return _Centred(
        Centered(shifted, x_mean), y - (y_mean if y.ndim == 1 else y_mean[None]), weight, x_mean + location, y_mean
    )


def _spectrum(centred: _Centred) -> Any:
    n_samples, n_features = centred.design.shape
    short = n_samples < n_features and centred.design.axis_name is None and "columns" in centred.design.serves
    build = closed_form.kernel_spectrum if short else closed_form.gram_spectrum
    return build(centred.design, centred.sample_weight)


def _fit_squared(model: GLM, centred: _Centred, init: Array | None) -> FittedGLM:
    design, y, weight = centred.design, centred.y, centred.sample_weight
    problem = Problem(Objective(model.loss, model.penalty), design, y, weight)
    solver = model.solver if model.solver != "auto" else _squared_solver(model, design)
    singular_values = None
    if solver in ("spectral", "least_squares"):
        certificate = ConjugateGradient.certificate
        held = _held(problem)
        if solver == "spectral":
            spectrum = _spectrum(_Centred(held.design, held.y, held.sample_weight, None, None))
            alpha = jnp.asarray(getattr(held.objective.penalty, "alpha", 0.0), y.dtype)
            alpha = alpha[0] if alpha.ndim == 2 else alpha  # one for each target
            coef, residual = closed_form.ridge(spectrum, held.design, held.y, held.sample_weight, alpha)
        else:
            coef, residual, singular_values = closed_form.least_squares(held.design, held.y, held.sample_weight)
        finite = jnp.isfinite(residual)
        status, n_steps = jnp.where(finite, jnp.int32(CONVERGED), jnp.int32(NONFINITE)), jnp.int32(1)
    else:
        start = jnp.zeros((design.shape[1], *y.shape[1:]), y.dtype) if init is None else jnp.asarray(init, y.dtype)
        chosen = {"conjugate_gradient": ConjugateGradient, "newton": NewtonCholesky}.get(solver)
        solution = _solve(model, problem, LBFGS(precondition=_factorable(design)) if chosen is None else chosen(), start)
        coef, residual, certificate = solution.params, solution.residual, solution.certificate
        status, n_steps = solution.status, solution.n_steps
    coef = attach_derivative(problem, coef)
    return FittedGLM(coef, centred.intercept(coef), status, residual, n_steps, model.loss, certificate, singular_values)


def _squared_solver(model: GLM, design: Design) -> str:
    n_samples, n_features = design.shape
    if isinstance(model.penalty, NoPenalty) and not design.is_sparse:
        return "least_squares"
    if jnp.ndim(getattr(model.penalty, "alpha", 0.0)) == 1:  # one for each feature: no spectrum is shared
        return "newton" if _factorable(design) else "conjugate_gradient"
    return "spectral" if _factorable(design) or (not design.is_sparse and n_samples <= MEDIUM) else "conjugate_gradient"


def _factorable(design: Design) -> bool:
    return design.shape[1] <= (MEDIUM // 4 if design.is_sparse else MEDIUM)


def _solve(model: GLM, problem: Problem, solver: Any, start: Array) -> Solution:
    held = _held(problem)
    budget = lax.stop_gradient(Budget(jnp.asarray(model.tol, start.dtype), jnp.asarray(model.max_steps, jnp.int32)))
    return solve(held, solver, lax.stop_gradient(start), budget=budget)


def _held(tree: Any) -> Any:
    """`tree` as a constant of differentiation: the derivative of a solution is attached to it, not traced through."""
    return jax.tree.map(lambda leaf: lax.stop_gradient(leaf) if eqx.is_array_like(leaf) else leaf, tree)


def _fit_smooth(model: GLM, design: Design, y: Array, weight: Array, init: Array | None) -> FittedGLM:
    penalty, location = model.penalty, None
    n_features, outputs = design.shape[1], y.shape[1:]
    start = jnp.zeros((n_features, *outputs), y.dtype) if init is None else jnp.asarray(init, y.dtype)
    if model.fit_intercept:
        location = design.location()
        design = WithIntercept(design.shifted(location))
        penalty = _with_free_intercept(penalty, n_features, y.dtype)
        start = jnp.concatenate([start, jnp.zeros((1, *outputs), y.dtype)])
    problem = Problem(Objective(model.loss, penalty), design, y, weight)
    solver: Any = NewtonCholesky() if model.solver == "newton" else LBFGS(precondition=_factorable(design))
    solution = _solve(model, problem, solver, start)
    coef = attach_derivative(problem, solution.params)
    intercept = jnp.zeros(outputs, y.dtype)
    if location is not None:
        coef, intercept = coef[:-1], coef[-1]
        intercept = intercept - jnp.matmul(location, coef, precision=lax.Precision.HIGHEST)
    if isinstance(model.loss, Multinomial):
        # a constant added to all classes changes no probability; the free parameters are those that sum to zero
        intercept = intercept - intercept.mean()
        if isinstance(penalty, NoPenalty):
            coef = coef - coef.mean(1, keepdims=True)
    return FittedGLM(
        coef, intercept, solution.status, solution.residual, solution.n_steps, model.loss, solution.certificate
    )


def _with_free_intercept(penalty: Penalty, n_features: int, dtype: Any) -> Penalty:
    if not isinstance(penalty, L2):
        return penalty
    alpha = jnp.broadcast_to(jnp.asarray(penalty.alpha, dtype), (n_features,))
    return L2(jnp.concatenate([alpha, jnp.zeros(1, dtype)]))


def _follow(model: GLM, centred: _Centred, alphas: Array, init: Array | None, first: ArrayLike) -> tuple[Any, int]:
    """The path, and the size of its working set."""
    held = _held(centred)
    n_samples, n_features = held.design.shape
    size = min(n_features, SMALL if model.working_set is None else model.working_set)
    # a Gram matrix costs as much as p / 2 passes, a path about one for each alpha
    worth = n_features <= n_samples and n_features <= min(MEDIUM, 4 * alphas.shape[0])
    gram = (n_features <= SMALL or worth) if model.precompute is None else model.precompute
    build = gram_quadratic if gram else column_quadratic
    quadratic = build(held.design, held.y, held.sample_weight)
    l1, l2 = lax.stop_gradient(model.penalty.strengths(quadratic.correlation))
    solver = WorkingSetPath(
        lax.stop_gradient(alphas),
        l1,
        l2,
        jnp.asarray(model.tol, alphas.dtype),
        jnp.asarray(model.max_steps, jnp.int32),
        jnp.asarray(first, jnp.int32),
        size,
        model.penalty.positive,  # type: ignore[attr-defined]
    )
    start = jnp.zeros(n_features, alphas.dtype) if init is None else lax.stop_gradient(jnp.asarray(init, alphas.dtype))
    unbounded = jnp.iinfo(jnp.int32).max
    problem = Problem(Objective(model.loss, model.penalty), quadratic, None, None)
    return solve(problem, solver, start, budget=Budget(0.0, unbounded)).state.path, size


def _fit_sparse(model: GLM, centred: _Centred, init: Array | None, key: Array | None) -> FittedGLM:
    if centred.y.ndim > 1:
        raise ValueError("an l1 penalty takes one target, `y` of shape (n_samples,): use `vmap` over targets.")
    n_features = size = centred.design.shape[1]
    if model.solver == "coordinate_descent":
        solution = _fit_columns(model, centred, CoordinateDescent, init, key)
        found = solution.params, solution.status, solution.residual, solution.n_steps
    elif n_features <= min(SMALL, model.working_set or SMALL):
        solution = _fit_columns(model, centred, FeatureSign, init, None)
        found = solution.params, solution.status, solution.residual, solution.n_steps
    else:
        followed, size = _follow(model, centred, jnp.ones(1, centred.y.dtype), init, 0)
        found = followed.coef[0], followed.status[0], followed.gap[0], followed.n_steps[0]
    coef = _attach_sparse(model, centred, jnp.ones((), centred.y.dtype), found[0], size)
    return FittedGLM(coef, centred.intercept(coef), *found[1:], model.loss, FeatureSign.certificate)


def _fit_columns(model: GLM, centred: _Centred, solver: Any, init: Array | None, key: Array | None) -> Solution:
    """Solve for all columns together, by coordinate descent or, if they are few, by feature-sign Newton."""
    held = _held(centred)
    build = gram_quadratic if model.precompute or held.design.shape[1] <= SMALL else column_quadratic
    quadratic = build(held.design, held.y, held.sample_weight)
    strengths = lax.stop_gradient(model.penalty.strengths(quadratic.correlation))
    start = jnp.zeros_like(quadratic.correlation) if init is None else lax.stop_gradient(jnp.asarray(init))
    tol = jnp.asarray(model.tol, start.dtype) * quadratic.energy
    problem = Problem(Objective(model.loss, model.penalty), quadratic, None, None)
    options = {"random": model.random} if solver is CoordinateDescent else {}
    positive = model.penalty.positive  # type: ignore[attr-defined]
    return solve(
        problem,
        solver(*strengths, positive, **options),
        start.astype(quadratic.correlation.dtype),
        key=key,
        budget=Budget(tol, jnp.asarray(model.max_steps, jnp.int32)),
    )


def _attach_sparse(model: GLM, centred: _Centred, alpha: Array, coef: Array, size: int) -> Array:
    penalty = eqx.tree_at(lambda p: p.alpha, model.penalty, jnp.asarray(model.penalty.alpha, coef.dtype) * alpha)  # type: ignore[attr-defined]
    problem = Problem(Objective(model.loss, penalty), centred.design, centred.y, centred.sample_weight)
    return attach_derivative(problem, coef, size=size)
