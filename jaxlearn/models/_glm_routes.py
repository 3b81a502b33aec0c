"""From a model and its data to a solver: centring, the choice of an algorithm, and the derivative of what it finds."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.columns import column_quadratic, gram_quadratic
from jaxlearn.access.design import Centered, Design, WithIntercept
from jaxlearn.objectives import L2, Multinomial, NoPenalty
from jaxlearn.solvers import closed_form
from jaxlearn.solvers.conjugate_gradient import ConjugateGradient
from jaxlearn.solvers.coordinate_descent import CoordinateDescent
from jaxlearn.solvers.feature_sign import FeatureSign
from jaxlearn.solvers.implicit import attach_derivative
from jaxlearn.solvers.lbfgs import LBFGS
from jaxlearn.solvers.newton import NewtonCholesky
from jaxlearn.solvers.protocols import Objective, Problem, Solver
from jaxlearn.solvers.quadratic import Quadratic
from jaxlearn.solvers.sampled_newton import SampledNewton
from jaxlearn.solvers.solution import CONVERGED, NONFINITE, OVERFLOW, STALLED, Budget, Solution
from jaxlearn.solvers.solve import solve
from jaxlearn.solvers.variance_reduced import METHODS, VarianceReduced
from jaxlearn.solvers.working_set import WorkingSetPath

from ._glm_types import GLM, MEDIUM, SMALL, FittedGLM, FittedPath
from ._weights import weighted

__all__ = [
    "Centred",
    "Offset",
    "along",
    "attach_sparse",
    "by_columns",
    "centre",
    "constant",
    "ended",
    "factorable",
    "fit_smooth",
    "fit_sparse",
    "fit_squared",
    "follow",
    "limits",
    "offset",
    "follow_descent",
    "prepare",
    "spectrum_of",
    "squared_solver",
]


class Centred(NamedTuple):
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


class Offset(NamedTuple):
    """Rows with a column of ones, if there is an intercept, and what undoes their shift."""

    design: Design
    y: Array
    sample_weight: Array
    location: Array | None

    def split(self, coef: Array) -> tuple[Array, Array]:
        """Coefficients, (p,) or (p, k), and intercepts, in the units of X."""
        if self.location is None:
            return coef, jnp.zeros(coef.shape[1:], coef.dtype)
        b = coef[:-1]
        return b, coef[-1] - jnp.matmul(self.location, b, precision=lax.Precision.HIGHEST)

    def joined(self, b: Array, intercept: Array) -> Array:
        """The inverse of `split`."""
        if self.location is None:
            return b
        return jnp.concatenate([b, (intercept + jnp.matmul(self.location, b, precision=lax.Precision.HIGHEST))[None]])

    def padded(self, strengths: Array) -> Array:
        """One for each column; none for that of ones."""
        return strengths if self.location is None else jnp.concatenate([strengths, jnp.zeros(1, strengths.dtype)])


def offset(design: Design, y: Array, weight: Array, fit_intercept: bool) -> Offset:
    """Rows near zero, and a column of ones."""
    if not fit_intercept:
        return Offset(design, y, weight, None)
    location = design.location()
    return Offset(WithIntercept(design.shifted(location)), y, weight, location)


def prepare(X: Any, y: Any, sample_weight: Any, axis_name: str | None) -> tuple[Design, Array, Array]:
    """Design, target and weights that sum to one over all rows."""
    design, weight, _ = weighted(X, sample_weight, axis_name)
    y = jnp.asarray(y, design.dtype)
    n_samples = design.shape[0]
    if y.shape[:1] != (n_samples,):
        raise ValueError(f"`y` has shape {y.shape}; expected {n_samples} rows, as `X`.")
    return design, y, weight


def _means(_: Any, X: Design, y: Array, w: Array) -> tuple[Array, Array]:
    return X.rmatvec(w), w @ y


def centre(design: Design, y: Array, weight: Array, fit_intercept: bool) -> Centred:
    """Centre in two steps: by a shift that does not know the weights, then by the small remainder, lazily.

    So lanes over weights (folds, bootstraps) share one shifted X.
    """
    if not fit_intercept:
        return Centred(design, y, weight, None, None)
    location = design.location()
    shifted = design.shifted(location)
    x_mean, y_mean = shifted.fold(_means, None, y, weight)
    return Centred(
        Centered(shifted, x_mean), y - (y_mean if y.ndim == 1 else y_mean[None]), weight, x_mean + location, y_mean
    )


def spectrum_of(centred: Centred) -> Any:
    """Spectrum of the centred X: of its Gram matrix, or of its kernel where the rows are few and together."""
    n_samples, n_features = centred.design.shape
    short = n_samples < n_features and centred.design.axis_name is None and "columns" in centred.design.serves
    build = closed_form.kernel_spectrum if short else closed_form.gram_spectrum
    return build(centred.design, centred.sample_weight)


def fit_squared(model: GLM, centred: Centred, init: Array | None, key: Array | None) -> FittedGLM:
    """Least squares without an l1 part: in closed form where p × p or n × n can be factored, else by iteration."""
    design, y, weight = centred.design, centred.y, centred.sample_weight
    problem = Problem(Objective(model.loss, model.penalty), design, y, weight)
    solver = model.solver if model.solver != "auto" else squared_solver(model, design.shape, design.is_sparse)
    singular_values = None
    if solver in ("spectral", "cholesky", "least_squares"):
        certificate = ConjugateGradient.certificate
        held = constant(problem)
        alpha = jnp.asarray(getattr(held.objective.penalty, "alpha", 0.0), y.dtype)
        alpha = alpha[0] if alpha.ndim == 2 else alpha  # one for each target
        if solver == "spectral":
            spectrum = spectrum_of(Centred(held.design, held.y, held.sample_weight, None, None))
            coef, residual = closed_form.ridge(spectrum, held.design, held.y, held.sample_weight, alpha)
        elif solver == "cholesky":
            coef, residual = closed_form.factored_ridge(held.design, held.y, held.sample_weight, alpha)
        else:
            coef, residual, singular_values = closed_form.least_squares(held.design, held.y, held.sample_weight)
        # half of the digits at least: rounding alone costs an ill-conditioned X some, whatever `tol` asks for
        within = residual <= jnp.maximum(jnp.asarray(model.tol, y.dtype), jnp.sqrt(jnp.finfo(y.dtype).eps))
        status = jnp.where(within, jnp.int32(CONVERGED), jnp.int32(STALLED))
        status, n_steps = jnp.where(jnp.isnan(residual), jnp.int32(NONFINITE), status), jnp.int32(1)
    else:
        start = jnp.zeros((design.shape[1], *y.shape[1:]), y.dtype) if init is None else jnp.asarray(init, y.dtype)
        solution = _solve(model, problem, _iterative(model, solver, design), start, key)
        coef, residual, certificate = solution.params, solution.residual, solution.certificate
        status, n_steps = solution.status, solution.n_steps
    coef = attach_derivative(problem, coef)
    return FittedGLM(coef, centred.intercept(coef), status, residual, n_steps, model.loss, certificate, singular_values)


def squared_solver(model: GLM, shape: tuple[int, int], is_sparse: bool) -> str:
    """The solver that ``auto`` stands for with a squared loss and no l1 part: it serves all strengths."""
    n_samples, n_features = shape
    if isinstance(model.penalty, NoPenalty) and not is_sparse:
        return "least_squares"
    by_factor = factorable(n_features, is_sparse)
    if jnp.ndim(getattr(model.penalty, "alpha", 0.0)) == 1:  # one for each feature: no spectrum is shared
        return "newton" if by_factor else "conjugate_gradient"
    return "spectral" if by_factor or (not is_sparse and n_samples <= MEDIUM) else "conjugate_gradient"


def factorable(n_features: int, is_sparse: bool) -> bool:
    """Whether a Hessian of so many features is affordable."""
    return n_features <= (MEDIUM // 4 if is_sparse else MEDIUM)


def _iterative(model: GLM, name: str, design: Design) -> Solver:
    if name in METHODS:
        return VarianceReduced(name, model.preconditioner)
    solvers = {"conjugate_gradient": ConjugateGradient, "newton": NewtonCholesky, "sampled_newton": SampledNewton}
    return solvers[name]() if name in solvers else LBFGS(precondition=factorable(design.shape[1], design.is_sparse))


def _solve(model: GLM, problem: Problem, solver: Solver, start: Array, key: Array | None) -> Solution:
    held = constant(problem)
    budget = lax.stop_gradient(Budget(jnp.asarray(model.tol, start.dtype), jnp.asarray(model.max_steps, jnp.int32)))
    return solve(held, solver, lax.stop_gradient(start), key=key, budget=budget)


def constant(tree: Any) -> Any:
    """`tree` as a constant of differentiation: the derivative of a solution is attached to it, not traced through."""
    return jax.tree.map(lambda leaf: lax.stop_gradient(leaf) if eqx.is_array_like(leaf) else leaf, tree)


def fit_smooth(
    model: GLM,
    design: Design,
    y: Array,
    weight: Array,
    *,
    init: Array | None,
    free: Array | None,
    key: Array | None,
) -> FittedGLM:
    """A smooth loss: the intercept is one more coefficient, without a penalty, which starts at `free`."""
    n_features, outputs = design.shape[1], y.shape[1:]
    rows, penalty = offset(design, y, weight, model.fit_intercept), model.penalty
    if isinstance(penalty, L2) and rows.location is not None:
        penalty = L2(rows.padded(jnp.broadcast_to(jnp.asarray(penalty.alpha, y.dtype), (n_features,))))
    start = jnp.zeros((n_features, *outputs), y.dtype) if init is None else jnp.asarray(init, y.dtype)
    if free is not None:
        start = rows.joined(start, jnp.asarray(free, y.dtype))
    elif rows.location is not None:  # zero in the units of the shifted rows
        start = jnp.concatenate([start, jnp.zeros((1, *outputs), y.dtype)])
    problem = Problem(Objective(model.loss, penalty), rows.design, y, weight)
    solution = _solve(model, problem, _iterative(model, model.solver, rows.design), start, key)
    coef, intercept = rows.split(attach_derivative(problem, solution.params))
    if isinstance(model.loss, Multinomial):
        # a constant added to all classes changes no probability; the free parameters are those that sum to zero
        intercept = intercept - intercept.mean()
        if isinstance(penalty, NoPenalty):
            coef = coef - coef.mean(1, keepdims=True)
    return FittedGLM(
        coef, intercept, solution.status, solution.residual, solution.n_steps, model.loss, solution.certificate
    )


def follow_descent(
    model: GLM, design: Design, y: Array, weight: Array, *, alphas: Array, init: Array | None
) -> FittedPath:
    """A smooth loss at each alpha, from the solution before it, intercept included."""
    start = jnp.zeros((design.shape[1], *y.shape[1:]), y.dtype) if init is None else jnp.asarray(init, y.dtype)

    def step(start: tuple[Array, Array], alpha: Array) -> tuple[tuple[Array, Array], FittedPath]:
        at = eqx.tree_at(lambda m: m.penalty, model, model.penalty.scaled(alpha))
        found = fit_smooth(at, design, y, weight, init=start[0], free=start[1], key=None)
        fitted = found.coef, found.intercept
        return lax.stop_gradient(fitted), FittedPath(*fitted, found.status, found.residual, found.n_steps)

    return lax.scan(step, lax.stop_gradient((start, jnp.zeros(y.shape[1:], y.dtype))), alphas)[1]


def follow(model: GLM, centred: Centred, alphas: Array, init: Array | None, first: ArrayLike) -> tuple[Any, int]:
    """The path, and the size of its working set."""
    held = constant(centred)
    quadratic = by_columns(model, held, alphas.shape[0])
    l1, l2 = lax.stop_gradient(model.penalty.strengths(quadratic.correlation))
    size = min(held.design.shape[1], SMALL if model.working_set is None else model.working_set)
    positive = model.penalty.positive  # type: ignore[attr-defined]
    solver = WorkingSetPath(lax.stop_gradient(alphas), l1, l2, *limits(model, alphas.dtype, first), size, positive)
    return along(model, quadratic, solver, init), size


def by_columns(model: GLM, centred: Centred, n_alphas: int) -> Quadratic:
    """Least squares as it is read for paths."""
    n_samples, n_features = centred.design.shape
    # a Gram matrix costs as much as p / 2 passes, a path about one for each alpha
    worth = n_features <= n_samples and n_features <= min(MEDIUM, 4 * n_alphas)
    gram = (n_features <= SMALL or worth) if model.precompute is None else model.precompute
    return _quadratic(model, centred, gram)


def _quadratic(model: GLM, centred: Centred, gram: bool) -> Quadratic:
    rows = centred.design, centred.y, centred.sample_weight
    if model.gram is not None:
        return gram_quadratic(*rows, lax.stop_gradient(jnp.asarray(model.gram, centred.y.dtype)))
    return gram_quadratic(*rows) if gram else column_quadratic(*rows)


def limits(model: GLM, dtype: Any, first: ArrayLike) -> tuple[Array, Array, Array]:
    """Where a path ends, and begins."""
    return jnp.asarray(model.tol, dtype), jnp.asarray(model.max_steps, jnp.int32), jnp.asarray(first, jnp.int32)


def along(model: GLM, quadratic: Quadratic, solver: WorkingSetPath, init: Array | None) -> Any:
    """The path that a solver finds."""
    start = jnp.zeros_like(quadratic.correlation)
    start = start if init is None else lax.stop_gradient(jnp.asarray(init, start.dtype))
    problem = Problem(Objective(model.loss, model.penalty), quadratic, None, None)
    return solve(problem, solver, start, budget=Budget(0.0, jnp.iinfo(jnp.int32).max)).state.path


def fit_sparse(model: GLM, centred: Centred, init: Array | None, key: Array | None) -> FittedGLM:
    """Least squares with an l1 part, for one target."""
    if centred.y.ndim > 1:
        raise ValueError(
            "an l1 penalty takes one target, `y` of shape (n_samples,): use `vmap` over targets, or `GroupElasticNet`."
        )
    n_features = size = centred.design.shape[1]
    if model.solver == "coordinate_descent":
        solution = _fit_columns(model, centred, CoordinateDescent, init, key)
        found = solution.params, solution.status, solution.residual, solution.n_steps
    elif n_features <= min(SMALL, model.working_set or SMALL):
        solution = _fit_columns(model, centred, FeatureSign, init, None)
        found = solution.params, solution.status, solution.residual, solution.n_steps
    else:
        followed, size = follow(model, centred, jnp.ones(1, centred.y.dtype), init, 0)
        found = followed.coef[0], followed.status[0], followed.gap[0], followed.n_steps[0]
    coef = attach_sparse(model, centred, jnp.ones((), centred.y.dtype), found[:2], size)
    return FittedGLM(coef, centred.intercept(coef), *found[1:], model.loss, FeatureSign.certificate)


def _fit_columns(model: GLM, centred: Centred, solver: Any, init: Array | None, key: Array | None) -> Solution:
    """Solve for all columns together, by coordinate descent or, if they are few, by feature-sign Newton."""
    held = constant(centred)
    quadratic = _quadratic(model, held, model.precompute or held.design.shape[1] <= SMALL)
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


def attach_sparse(model: GLM, centred: Centred, alpha: Array, found: tuple[Array, Array], size: int) -> Array:
    """Coefficients, found with a status, with their derivative as the solution at `alpha` times the model's penalty."""
    coef, status = found
    problem = Problem(
        Objective(model.loss, model.penalty.scaled(alpha)), centred.design, centred.y, centred.sample_weight
    )
    return attach_derivative(problem, coef, size=size, solved=ended(status))


def ended(status: Array) -> Array:
    """Whether a path came to an end at this alpha, for better or worse, and did not run out of room at it or before."""
    return (status >= 0) & (status != OVERFLOW)
