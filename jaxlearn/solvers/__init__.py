"""Pure solvers, the loop that runs them, and the derivative of what they find.

>>> import jax, jax.numpy as jnp
>>> from jaxlearn.access import Dense
>>> from jaxlearn.objectives import L2, Logistic
>>> from jaxlearn.solvers import LBFGS, Budget, Objective, Problem, attach_derivative, solve
>>> X, y = jnp.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]]), jnp.array([0.0, 1.0, 0.0, 1.0])
>>> def fit(alpha):
...     problem = Problem(Objective(Logistic(), L2(alpha)), Dense(X), y, jnp.full(4, 0.25))
...     found = solve(jax.lax.stop_gradient(problem), LBFGS(), jnp.zeros(2), budget=Budget(1e-5, 100))
...     return attach_derivative(problem, found.params)
>>> fit(0.1).shape, round(float(jax.grad(lambda alpha: fit(alpha)[0])(0.1)), 2)
((2,), -1.76)
"""

from .accelerated import ProximalGradient
from .anderson import Anderson
from .block_krylov import BlockKrylov
from .concave_newton import ConcaveNewton, ConcavePath
from .conjugate_gradient import ConjugateGradient
from .coordinate_descent import CoordinateDescent
from .coordinate_path import CoordinatePath
from .feature_sign import FeatureSign
from .group_descent import GroupDescentPath
from .group_newton import GroupNewton, GroupPath
from .implicit import attach_derivative
from .interior_point import InteriorPoint
from .lbfgs import LBFGS
from .lbfgsb import LBFGSB
from .multinomial_newton import MultinomialNewton, MultinomialNewtonPath
from .newton import NewtonCholesky
from .newton_cg import NewtonCG
from .protocols import Objective, Problem, Solver
from .prox_newton import ProxNewton, ProxNewtonPath
from .quadratic import GramQuadratic, Quadratic
from .robust import RobustLBFGS, RobustNewton
from .sampled_newton import SampledNewton
from .solution import CONVERGED, MAX_STEPS, NONFINITE, OVERFLOW, SENTENCES, STALLED, Budget, Solution, sentence
from .solve import solve
from .subspace_iteration import SubspaceIteration
from .variance_reduced import VarianceReduced
from .working_set import Path, WorkingSetPath

__all__ = [
    "CONVERGED",
    "LBFGS",
    "LBFGSB",
    "MAX_STEPS",
    "NONFINITE",
    "OVERFLOW",
    "SENTENCES",
    "STALLED",
    "Anderson",
    "BlockKrylov",
    "Budget",
    "ConjugateGradient",
    "CoordinateDescent",
    "CoordinatePath",
    "FeatureSign",
    "GramQuadratic",
    "GroupNewton",
    "GroupDescentPath",
    "GroupPath",
    "InteriorPoint",
    "ConcaveNewton",
    "ConcavePath",
    "MultinomialNewton",
    "MultinomialNewtonPath",
    "NewtonCG",
    "NewtonCholesky",
    "Objective",
    "Path",
    "Problem",
    "ProxNewton",
    "ProxNewtonPath",
    "ProximalGradient",
    "Quadratic",
    "RobustLBFGS",
    "RobustNewton",
    "SampledNewton",
    "Solution",
    "Solver",
    "SubspaceIteration",
    "VarianceReduced",
    "WorkingSetPath",
    "attach_derivative",
    "sentence",
    "solve",
]
