"""Elastic nets end by the gap of the scaled residual, which others mean by it; where rounding forbids, by the smaller bound."""

import numpy as np
import pytest

from jaxlearn.linear_model import enet_path


def problem(n, p, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) + rng.standard_normal((n, 1))
    y = X[:, :9] @ rng.standard_normal(9) + rng.standard_normal(n)
    return X - X.mean(0), y - y.mean()


def textbook(X, y, b, alpha, l1_ratio):
    """The gap as primal minus dual of the Lasso with √l2 I below X, as a share of ``‖y‖²``."""
    l1, l2 = len(y) * alpha * l1_ratio, len(y) * alpha * (1 - l1_ratio)
    r = y - X @ b
    g = X.T @ r - l2 * b
    s = min(1, l1 / np.abs(g).max())
    energy = r @ r + l2 * b @ b
    primal = energy / 2 + l1 * np.abs(b).sum()
    dual = s * (r @ y) - s**2 * energy / 2
    return (primal - dual) / (y @ y)


@pytest.mark.parametrize("l1_ratio", [0.02, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(150, 40), (60, 300)])
def test_gap_of_others(shape, l1_ratio, dtype):
    X, y = (a.astype(dtype) for a in problem(*shape))
    alphas, coef, gaps = enet_path(X, y, l1_ratio=l1_ratio, eps=1e-2, alphas=10, tol=1e-4)
    X, y, coef = (np.asarray(a, np.float64) for a in (X, y, coef))
    found = [textbook(X, y, b, alpha, l1_ratio) for alpha, b in zip(alphas, coef.T, strict=True)]
    assert max(found) <= 1.05e-4
    np.testing.assert_allclose(gaps / (y @ y / len(y)), found, atol=3e-6)


def test_smaller_bound_at_the_floor():
    """Of l1 strengths that are as good as none no correlation in single precision keeps within them."""
    X, y = (a.astype(np.float32) for a in problem(150, 40))
    alpha, l1_ratio = 0.1, 1e-7
    _, coef, gaps = enet_path(X, y, l1_ratio=l1_ratio, alphas=[alpha], tol=1e-4, max_iter=50)  # and does not warn
    X, y, b = (np.asarray(a, np.float64) for a in (X, y, coef[:, 0]))
    assert textbook(X, y, b, alpha, l1_ratio) > 1e-3
    exact = np.linalg.solve(X.T @ X + len(y) * alpha * np.eye(40), X.T @ y)

    def value(b):
        return np.sum((y - X @ b) ** 2) / 2 + len(y) * alpha * ((1 - l1_ratio) * b @ b / 2 + l1_ratio * np.abs(b).sum())

    assert value(b) - value(exact) <= 1e-6 * (y @ y)
    assert gaps[0] <= 1e-4 * (y @ y) / len(y)
