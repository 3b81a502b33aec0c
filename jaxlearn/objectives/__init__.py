"""Losses, penalties and balls: the formulas that solvers minimise, and the sets that they stay in."""

from .balls import Ball, ElasticNetBall, L2Ball
from .concave import MCP, SCAD, Concave
from .concomitant import ConcomitantHuber
from .deviances import Gamma, Tweedie
from .groups import GroupElasticNet, as_groups
from .losses import Logistic, Loss, Multinomial, Poisson, Squared
from .penalties import L1, L2, ElasticNet, NoPenalty, Penalty

__all__ = [
    "L1",
    "L2",
    "MCP",
    "SCAD",
    "Ball",
    "Concave",
    "ConcomitantHuber",
    "ElasticNet",
    "ElasticNetBall",
    "Gamma",
    "GroupElasticNet",
    "L2Ball",
    "Logistic",
    "Loss",
    "Multinomial",
    "NoPenalty",
    "Penalty",
    "Poisson",
    "Squared",
    "Tweedie",
    "as_groups",
]
