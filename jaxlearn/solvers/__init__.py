"""Pure solvers, the loop that runs them, and the derivative of what they find."""

from .block_krylov import BlockKrylov
from .conjugate_gradient import ConjugateGradient
from .coordinate_descent import CoordinateDescent
from .feature_sign import FeatureSign
from .implicit import attach_derivative
from .interior_point import InteriorPoint
from .lbfgs import LBFGS
from .newton import NewtonCholesky
from .protocols import Objective, Problem, Solver
from .quadratic import GramQuadratic, Quadratic
from .solution import CONVERGED, MAX_STEPS, NONFINITE, OVERFLOW, SENTENCES, STALLED, Budget, Solution, sentence
from .solve import solve
from .subspace_iteration import SubspaceIteration
from .working_set import Path, WorkingSetPath

__all__ = [
    "CONVERGED",
    "LBFGS",
    "MAX_STEPS",
    "NONFINITE",
    "OVERFLOW",
    "SENTENCES",
    "STALLED",
    "BlockKrylov",
    "Budget",
    "ConjugateGradient",
    "CoordinateDescent",
    "FeatureSign",
    "GramQuadratic",
    "InteriorPoint",
    "NewtonCholesky",
    "Objective",
    "Path",
    "Problem",
    "Quadratic",
    "Solution",
    "Solver",
    "SubspaceIteration",
    "WorkingSetPath",
    "attach_derivative",
    "sentence",
    "solve",
]
