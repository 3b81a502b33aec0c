"""What to fit and how, and what comes out: the types of generalized linear models."""

from __future__ import annotations

import equinox as eqx
from jax import Array
from jax.typing import ArrayLike

from jaxlearn.objectives import (
    Concave,
    ElasticNet,
    GroupElasticNet,
    Logistic,
    Loss,
    Multinomial,
    NoPenalty,
    Penalty,
    Poisson,
    Squared,
)
from jaxlearn.solvers.variance_reduced import METHODS, PRECONDITIONERS

__all__ = ["GLM", "MEDIUM", "SMALL", "FittedGLM", "FittedPath"]

# Up to this many features the Gram matrix is formed and nothing is selected: one program, and no overflow.
SMALL = 256
# Up to this many, factors of p × p matrices are affordable.
MEDIUM = 4096

SOLVERS = {
    "squared": (
        "spectral",
        "cholesky",
        "least_squares",
        "conjugate_gradient",
        "newton",
        "sampled_newton",
        "lbfgs",
        *METHODS,
    ),
    "sparse": ("feature_sign", "coordinate_descent"),
    "sparse_smooth": ("prox_newton",),
    "groups": ("group_newton",),
    "concave": ("concave_newton",),
    "smooth": ("lbfgs", "newton", "sampled_newton", *METHODS),
}


class GLM(eqx.Module):
    """What to fit and how: an immutable configuration whose numbers are leaves.

    Parameters
    ----------
    loss : Loss
        ``Squared()``, ``Logistic()`` (y in {0, 1}), ``Multinomial()`` (y one-hot), ``Poisson()`` or ``Tweedie(power)``.
    penalty : Penalty
        ``NoPenalty()``, ``L2(alpha)``, ``L1(alpha)`` or ``ElasticNet(alpha, l1_ratio)``; alpha a scalar, one for each
        feature (p,), or, with ``L2``, one for each target (1, k). With the squared loss also
        ``GroupElasticNet(alpha, l1_ratio, groups)``: of the features, for one target, or, without `groups`, of the
        coefficients that a feature has in k tasks, y being (n, k); or ``MCP(alpha, gamma)`` and ``SCAD(alpha, a)``, of which
        a stationary point is found.
    tol : float
        l1 penalties: duality gap in units of the weighted mean of (y − ȳ)², or of the loss that a constant leaves. Smooth
        losses: largest entry of the gradient. Concave penalties: distance of the gradient to their slopes, in units of the
        largest correlation. Conjugate gradients: relative residual. Closed forms do not iterate
        towards it; one whose relative residual exceeds both it and √eps is reported as stalled.
    max_steps : int
        Passes over the data; with an l1 penalty, for each alpha.
    fit_intercept : bool
    solver : str
        ``auto`` chooses by loss, penalty and shape. Squared loss: ``spectral`` (one eigendecomposition for all
        strengths), ``cholesky`` (one factor, for one strength that is the same for all targets; a system that is nearly
        singular is reported as stalled), ``least_squares`` (QR), ``conjugate_gradient``. With l1: ``feature_sign``,
        ``coordinate_descent``; of logistic, multinomial and Poisson regression ``prox_newton``; of groups ``group_newton``;
        concave ``concave_newton``. Otherwise: ``lbfgs``, ``newton``. Without l1, for dense rows in memory, also
        ``sampled_newton``, and stochastic gradients with reduced variance: ``svrg``, ``saga``, ``katyusha``, whose steps are
        epochs.
    preconditioner : {"newton", "nystrom"}
        Of the stochastic ones: the Hessian of √n rows, or its leading part of rank ten.
    working_set : int, optional
        With l1: most columns (or groups, or pairs of a feature and a class) that are solved for together, and a bound on those
        that are not zero; a fit that needs more ends with the status OVERFLOW. By default at most 256, or as many groups as
        have so many columns.
    precompute : bool, optional
        With l1: hold the Gram matrix. By default when that saves work.
    gram : (p, p), optional
        With l1 and one target: ``Σ ω x xᵀ`` of the centred rows, ω the weights divided by their sum, where it is known. Only
        the caller can know that it is that of X: nothing is checked.
    random : bool
        Coordinate descent visits blocks in a random order, drawn from `key`.
    """

    loss: Loss = Squared()
    penalty: Penalty = NoPenalty()
    tol: ArrayLike = 1e-4
    max_steps: ArrayLike = 1000
    gram: ArrayLike | None = None
    fit_intercept: bool = eqx.field(static=True, default=True)
    solver: str = eqx.field(static=True, default="auto")
    working_set: int | None = eqx.field(static=True, default=None)
    precompute: bool | None = eqx.field(static=True, default=None)
    random: bool = eqx.field(static=True, default=False)
    preconditioner: str = eqx.field(static=True, default="newton")

    def __check_init__(self) -> None:
        kind = self.kind
        if self.solver != "auto" and self.solver not in SOLVERS[kind]:
            raise ValueError(
                f"`solver={self.solver!r}` does not solve {type(self.loss).__name__} with {type(self.penalty).__name__}; "
                f"expected 'auto' or one of {SOLVERS[kind]}."
            )
        if self.preconditioner not in PRECONDITIONERS:
            raise ValueError(f"`preconditioner={self.preconditioner!r}`; expected one of {PRECONDITIONERS}.")
        if kind in ("groups", "concave") and not isinstance(self.loss, Squared):
            raise ValueError(f"{type(self.penalty).__name__} takes the loss Squared; got {type(self.loss).__name__}.")
        if self.gram is not None and kind != "sparse":
            raise ValueError("`gram` goes with squared losses of one target and an l1 penalty.")
        if kind == "sparse_smooth" and not isinstance(self.loss, (Logistic, Multinomial, Poisson)):
            raise ValueError(f"{type(self.loss).__name__} takes the penalties NoPenalty and L2; got ElasticNet.")
        if kind == "sparse_smooth" and self.penalty.positive and self.fit_intercept:  # type: ignore[attr-defined]
            raise ValueError(f"{type(self.loss).__name__} with `positive=True` takes `fit_intercept=False`.")

    @property
    def kind(self) -> str:
        """Which family of solvers applies: ``squared``, ``sparse``, ``groups``, ``concave``, ``smooth``, ``sparse_smooth``."""
        if isinstance(self.penalty, Concave):
            return "concave"
        if isinstance(self.penalty, GroupElasticNet):
            return "groups"
        if isinstance(self.penalty, ElasticNet):
            return "sparse" if isinstance(self.loss, Squared) else "sparse_smooth"
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
