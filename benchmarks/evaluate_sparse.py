"""The judge of sparse models beyond the elastic net: tasks, groups and MCP, in float64 NumPy, whoever computed the answer.

Objectives are means over the n rows, without an intercept. As in `evaluate`, a gap is a sum of Fenchel–Young terms, each ≥ 0:
with residual R, gradient ``G = Xᵀ R / n`` and dual point ``s R``,

    ``½ (1 − s)² |R|² / n + Σ_g (alpha v_g |b_g| − s ⟨b_g, G_g⟩)``,  ``s = min(1, min_g alpha v_g / |G_g|)``
"""

from __future__ import annotations

import numpy as np

__all__ = ["group_gap", "mcp_distance", "mcp_objective", "multi_task_gap"]


def multi_task_gap(X, Y, coef, alpha):
    """Duality gap of ``|Y − X W|² / 2n + alpha Σ_j |W_j|``.

    Parameters
    ----------
    X : (n, p) array
    Y : (n, k) array
    coef : (p, k) array
    alpha : float
    """
    X, Y, coef = (np.asarray(a, np.float64) for a in (X, Y, coef))
    R = Y - X @ coef
    G = X.T @ R / len(Y)
    return _gap(
        np.square(R).sum() / len(Y), np.linalg.norm(coef, axis=1), np.linalg.norm(G, axis=1), (coef * G).sum(), alpha
    )


def group_gap(X, y, coef, alpha, groups, weights=None):
    """Duality gap of ``|y − X b|² / 2n + alpha Σ_g v_g |b_g|``.

    Parameters
    ----------
    X : (n, p) array
    y : (n,) array
    coef : (p,) array
    alpha : float
    groups : (p,) array
        Of each feature, numbered from 0.
    weights : (n_groups,) array, optional
        v > 0; ones by default.
    """
    X, y, coef = (np.asarray(a, np.float64) for a in (X, y, coef))
    r = y - X @ coef
    g = X.T @ r / len(y)
    sizes = [np.sqrt(np.bincount(groups, np.square(v))) for v in (coef, g)]
    strengths = alpha * (np.ones(len(sizes[0])) if weights is None else np.asarray(weights, np.float64))
    return _gap(r @ r / len(y), *sizes, coef @ g, strengths)


def _gap(energy, coef_sizes, gradient_sizes, product, strengths):
    s = min(1, np.min(strengths / np.maximum(gradient_sizes, np.finfo(float).tiny)))
    return 0.5 * (1 - s) ** 2 * energy + (strengths * coef_sizes).sum() - s * product


def mcp_objective(X, y, coef, alpha, gamma):
    """``|y − X b|² / 2n + Σ_j Ω(|b_j|)``, ``Ω(t) = alpha t − t² / 2 gamma`` up to ``gamma alpha``, constant beyond.

    Parameters
    ----------
    X : (n, p) array
    y : (n,) array
    coef : (p, n_alphas) array
    alpha : (n_alphas,) array
    gamma : float

    Returns
    -------
    (n_alphas,) array
    """
    X, y, coef, alpha = (np.asarray(a, np.float64) for a in (X, y, coef, alpha))
    bent = np.minimum(np.abs(coef), gamma * alpha)
    return np.square(y[:, None] - X @ coef).sum(0) / (2 * len(y)) + (alpha * bent - bent**2 / (2 * gamma)).sum(0)


def mcp_distance(X, y, coef, alpha, gamma):
    """Largest distance of a coordinate of minus the gradient to the slopes of the penalty: zero at a stationary point.

    Arguments and result as of `mcp_objective`.
    """
    X, y, coef, alpha = (np.asarray(a, np.float64) for a in (X, y, coef, alpha))
    g = X.T @ (y[:, None] - X @ coef) / len(y)
    slope = np.sign(coef) * np.maximum(alpha - np.abs(coef) / gamma, 0)
    return np.where(coef == 0, np.maximum(np.abs(g) - alpha, 0), np.abs(g - slope)).max(0)
