"""Losses and penalties: the formulas that solvers minimise."""

from .losses import Logistic, Loss, Multinomial, Squared
from .penalties import L1, L2, ElasticNet, NoPenalty, Penalty

__all__ = ["L1", "L2", "ElasticNet", "Logistic", "Loss", "Multinomial", "NoPenalty", "Penalty", "Squared"]
