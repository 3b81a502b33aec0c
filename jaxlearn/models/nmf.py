"""Non-negative matrix factorization: codes and components without signs, as a pure function of the data.

*Minimises* ``Σ_i ω_i (d(x_i | w_i H) + alpha_W Ω(w_i)) + alpha_H Ω(H)`` over W ≥ 0 and H ≥ 0, with a beta divergence d,
``Ω(a) = l1_ratio |a| + ½ (1 − l1_ratio) ‖a‖²``, and weights ω that sum to one.

The problem is not convex: what is found is a stationary point that depends on the start.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.dense import as_design
from jaxlearn.access.design import Design
from jaxlearn.objectives.divergence import BetaDivergence
from jaxlearn.solvers.hals import CODE_SWEEPS, HALS, NonNegativeCodes, Strengths, n_sweeps
from jaxlearn.solvers.multiplicative import Multiplicative, MultiplicativeCodes, divergence
from jaxlearn.solvers.protocols import Problem
from jaxlearn.solvers.solution import Budget, Solution
from jaxlearn.solvers.solve import solve

from ._nmf_init import INITS, first_factors, mean_entry

__all__ = ["NMF", "FittedNMF", "encode", "fit", "inverse_transform", "loss", "transform"]

SOLVERS = ("hals", "multiplicative")


class NMF(eqx.Module):
    """What to find and how: an immutable configuration, whose numbers are array leaves.

    Parameters
    ----------
    n_components : int
        k.
    beta : float
        Of the divergence: 2 is half the squared error, 1 Kullback and Leibler's, 0 Itakura and Saito's.
    solver : str
        ``hals``: hierarchical alternating least squares with momentum, for ``beta = 2``. ``multiplicative``: for any.
    shuffle : bool
        ``hals``: draw the order of the atoms anew in each step.
    alpha_W, alpha_H : float
        Strength of the penalties of a row's codes and of the components.
    l1_ratio : float
        Share of the l1 norm in them.
    tol : float
        ``hals``: projected gradient, relative to that of the first step. ``multiplicative``: decrease of ``√(2 F)`` in ten
        steps, relative to its first value.
    max_steps : int
        Each reads X twice.
    """

    n_components: int = eqx.field(static=True)
    beta: float = eqx.field(static=True, default=2.0)
    solver: str = eqx.field(static=True, default="hals")
    shuffle: bool = eqx.field(static=True, default=False)
    alpha_W: ArrayLike = 0.0
    alpha_H: ArrayLike = 0.0
    l1_ratio: ArrayLike = 0.0
    tol: ArrayLike = 1e-4
    max_steps: ArrayLike = 200

    def __check_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise ValueError(f"`solver={self.solver!r}` is not known; expected one of {SOLVERS}.")
        if self.solver == "hals" and self.beta != 2:
            raise ValueError(f"`solver='hals'` is for `beta=2`, got {self.beta}: choose 'multiplicative'.")
        if self.n_components < 1:
            raise ValueError(f"`n_components` must be at least 1, got {self.n_components}.")

    @property
    def divergence(self) -> BetaDivergence:
        """d."""
        return BetaDivergence(float(self.beta))

    def penalties(self, dtype: Any) -> tuple[Strengths, Strengths]:
        """Of the codes and of the components."""
        ratio = jnp.asarray(self.l1_ratio, dtype)
        alphas = (jnp.asarray(alpha, dtype) for alpha in (self.alpha_W, self.alpha_H))
        of_codes, of_components = (Strengths(alpha * ratio, alpha * (1 - ratio)) for alpha in alphas)
        return of_codes, of_components


class FittedNMF(eqx.Module):
    """Non-negative factors, a pytree.

    Attributes
    ----------
    components : (k, p)
        H.
    codes : (n_samples, k)
        W.
    loss : scalar
        ``Σ ω_i d(x_i | w_i H)``.
    total_weight : scalar
        Σ w; without weights, the number of samples.
    status : int32 scalar
        Index into ``jaxlearn.solvers.SENTENCES``; 0 is converged.
    residual : scalar
        The certificate.
    n_steps : int32 scalar
    certificate : str
        What `residual` is.
    model : NMF
        What was asked for.
    """

    components: Array
    codes: Array
    loss: Array
    total_weight: Array
    status: Array
    residual: Array
    n_steps: Array
    certificate: str = eqx.field(static=True)
    model: NMF


def fit(
    model: NMF,
    X: ArrayLike | Design,
    sample_weight: ArrayLike | None = None,
    *,
    init: str | tuple[ArrayLike, ArrayLike] = "nndsvda",
    key: Array | None = None,
    axis_name: str | None = None,
) -> FittedNMF:
    """Factorize.

    Parameters
    ----------
    model : NMF
    X : (n_samples, n_features) array, or Design
        ≥ 0, in memory.
    sample_weight : (n_samples,), optional
        ≥ 0; zero is a row that is not there.
    init : str or pair of arrays
        ``nndsvda``, ``nndsvd`` or ``nndsvdar``, from singular vectors, of which there are ``min(n_samples, n_features)``;
        ``random``; or codes (n_samples, k) and components (k, p) to start from.
    key : PRNG key, optional
        A fixed one by default.
    axis_name : str, optional
        Inside ``shard_map``, ``pmap`` or ``vmap``: the axis over which the rows, and with them the codes, are split.

    Returns
    -------
    FittedNMF
        It has no derivatives, and says so when asked.

    Raises
    ------
    ValueError
        `init` asks for more singular vectors than there are, or has other shapes; X is a stream.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> X = jnp.array([[1.0, 1.0], [2.0, 1.0], [3.0, 1.2], [4.0, 1.0], [5.0, 0.8], [6.0, 1.0]])
    >>> fitted = fit(NMF(n_components=2), X)
    >>> bool(jnp.abs(inverse_transform(fitted, fitted.codes) - X).max() < 0.01), int(fitted.status)
    (True, 0)
    """
    design = as_design(X, axis_name)
    if design.on_host:
        raise ValueError("`X` is a stream, and every step needs all of its rows and their codes in memory.")
    weight = _weight(design, sample_weight)
    given = design, weight, _numbers(model)
    fixed, w, numbers = jax.tree.map(lax.stop_gradient, given)
    model = eqx.combine(numbers, model)
    total = fixed.fold(_total, None, w)
    w = w / total
    key = jax.random.key(0) if key is None else key
    codes, components = _start(model, fixed, w * total, init, key)
    of_codes, of_components = model.penalties(fixed.dtype)
    budget = Budget(model.tol, model.max_steps)
    if model.solver == "hals":
        solver = HALS(of_codes, of_components, n_sweeps(model.n_components, fixed.n_features), model.shuffle)
        found = solve(Problem(None, fixed, None, w), solver, (codes.T, components), key=key, budget=budget)  # type: ignore[arg-type]
        codes, components = found.params
        # the last step moved the components: these are their codes, those that `transform` finds
        codes = _least_squares_codes(model, components, fixed, w, codes).params.T
    else:
        solver = Multiplicative(model.divergence, of_codes, of_components)
        found = solve(Problem(None, fixed, None, w), solver, (codes, components), budget=budget)  # type: ignore[arg-type]
        codes, components = found.params
    fitted = FittedNMF(
        components=components,
        codes=codes,
        loss=loss(model, components, fixed, codes, w),
        total_weight=total,
        status=found.status,
        residual=found.residual,
        n_steps=found.n_steps,
        certificate=found.certificate,
        model=model,
    )
    return _underived(fitted, given)


def encode(
    model: NMF,
    components: ArrayLike,
    X: ArrayLike | Design,
    sample_weight: ArrayLike | None = None,
    *,
    axis_name: str | None = None,
) -> Solution:
    """Codes of rows for components that stay as they are.

    Parameters
    ----------
    model : NMF
        Its `tol` is that of the projected gradient, relative to that at zero, or of the change of the codes in one
        multiplicative update. Its `max_steps` counts passes over the atoms, or updates.
    components : (k, p)
    X : (n_samples, n_features) array, or Design
    sample_weight : (n_samples,), optional
        What a row counts in the certificate.
    axis_name : str, optional
        As in `fit`.

    Returns
    -------
    Solution
        Its `params` are the codes, (n_samples, k).
    """
    design = as_design(X, axis_name)
    weight = _weight(design, sample_weight)
    atoms = jnp.asarray(components, design.dtype)
    fixed, w, H = jax.tree.map(lax.stop_gradient, (design, weight, atoms))
    w = w / fixed.fold(_total, None, w)
    of_codes, _ = model.penalties(design.dtype)
    shape = design.shape[0], model.n_components
    if model.solver == "hals":
        found = _least_squares_codes(model, H, fixed, w, jnp.zeros(shape[::-1], design.dtype))
        codes = found.params.T
    else:
        start = jnp.full(shape, jnp.sqrt(mean_entry(fixed, w) / model.n_components))
        solver, budget = MultiplicativeCodes(model.divergence, H, of_codes), Budget(model.tol, model.max_steps)
        found = solve(Problem(None, fixed, None, w), solver, start, budget=budget)
        codes = found.params
    found = eqx.tree_at(lambda s: (s.params, s.state), found, (codes, None), is_leaf=lambda leaf: leaf is None)
    return _underived(found, (design, weight, atoms, _numbers(model)))


def transform(fitted: FittedNMF, X: ArrayLike | Design) -> Array:
    """Codes of rows, (n_samples, k): `encode` with what was asked for in `fit`."""
    return encode(fitted.model, fitted.components, X).params


def inverse_transform(fitted: FittedNMF, W: ArrayLike) -> Array:
    """Rows that have the codes `W` (n_samples, k): ``W H``."""
    return jnp.matmul(jnp.asarray(W), fitted.components, precision=lax.Precision.HIGHEST)


def loss(
    model: NMF, components: Array, X: ArrayLike | Design, codes: Array, sample_weight: ArrayLike | None = None
) -> Array:
    """``Σ ω_i d(x_i | w_i H)`` of factors, a scalar."""
    design = as_design(X)
    weight = _weight(design, sample_weight)
    total, value = design.fold(_Loss(model.divergence), components, weight, codes)
    return value / total


def _least_squares_codes(model: NMF, components: Array, design: Design, w: Array, codes: Array) -> Solution:
    """From codes (k, n), as which they are returned."""
    solver = NonNegativeCodes(components, model.penalties(design.dtype)[0])
    budget = Budget(model.tol, -(-jnp.asarray(model.max_steps, jnp.int32) // CODE_SWEEPS))
    return solve(Problem(None, design, None, w), solver, codes, budget=budget)  # type: ignore[arg-type]


class _Loss(eqx.Module):
    divergence: BetaDivergence

    def __call__(self, components: Array, block: Design, w: Array, codes: Array) -> tuple[Array, Array]:
        return w.sum(), divergence(self.divergence, block, w, codes, components)


def _start(model: NMF, design: Design, weight: Array, init: Any, key: Array) -> tuple[Array, Array]:
    k, (n, p) = model.n_components, design.shape
    if isinstance(init, str):
        if init not in INITS:
            raise ValueError(f"`init={init!r}` is not known; expected one of {INITS}, or codes and components.")
        least = p if design.axis_name is not None else min(n, p)
        if init != "random" and k > least:
            raise ValueError(f"`init={init!r}` needs `n_components` of at most {least}, got {k}: choose 'random'.")
        return first_factors(design, weight, k, init, key)
    codes, components = (jnp.asarray(factor, design.dtype) for factor in init)
    if codes.shape != (n, k) or components.shape != (k, p):
        raise ValueError(f"`init` has shapes {codes.shape} and {components.shape}; expected {(n, k)} and {(k, p)}.")
    return codes, components


def _weight(design: Design, sample_weight: Any) -> Array:
    if sample_weight is None:
        return jnp.ones(design.shape[0], design.dtype)
    weight = jnp.asarray(sample_weight, design.dtype)
    if weight.shape != design.shape[:1]:
        raise ValueError(f"`sample_weight` has shape {weight.shape}; expected ({design.shape[0]},).")
    return weight


def _numbers(model: NMF) -> NMF:
    """The hyper-parameters of a model that have derivatives."""
    return eqx.filter(jax.tree.map(jnp.asarray, model), eqx.is_inexact_array)


def _total(_: Any, block: Design, w: Array) -> Array:
    return w.sum()


@jax.custom_jvp
def _underived(found: Any, data: Any) -> Any:
    return found


@_underived.defjvp
def _underived_jvp(primals: Any, tangents: Any) -> Any:
    raise TypeError(
        "A non-negative factorization has no derivatives here: it is one stationary point of many, and may have none. "
        "Use `jax.lax.stop_gradient` on its arguments."
    )
