"""The certificate: equal to primal minus dual in float64, and still true where that difference has no digits left."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.solvers.gap import duality_gap


def problem(seed=0, n=40, p=70):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((n, p)), rng.standard_normal(n)
    return X, y, rng.standard_normal(p) * (rng.random(p) < 0.2) * 0.3


def certify(X, y, b, l1, l2, dtype, positive=False):
    X, y, b = (np.asarray(v, dtype) for v in (X, y, b))
    n = dtype(len(y))
    r = y - X @ b
    strengths = jnp.full(b.shape, l1, dtype), jnp.full(b.shape, l2, dtype)
    return float(duality_gap(jnp.asarray(b), r @ X / n - dtype(l2) * b, r @ r / n, strengths, positive))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("l2", [0.0, 0.06])
def test_is_primal_minus_dual(seed, l2, x64):
    X, y, b = problem(seed)
    n, p = X.shape
    l1 = 0.14
    # the elastic net is a Lasso with √(n l2) I below X
    A, t = np.vstack([X, np.sqrt(n * l2) * np.eye(p)]), np.r_[y, np.zeros(p)]
    r = t - A @ b
    theta = r * min(1, l1 / np.abs(A.T @ r / n).max())
    primal = r @ r / (2 * n) + l1 * np.abs(b).sum()
    dual = (t @ t - (t - theta) @ (t - theta)) / (2 * n)
    found = certify(X, y, b, l1, l2, np.float64)
    if l2 == 0:
        assert found == pytest.approx(primal - dual, rel=1e-12)
    else:  # the smaller of two bounds
        assert found <= (primal - dual) * (1 + 1e-12)


@pytest.mark.parametrize("positive", [False, True])
def test_bounds_the_distance_to_the_optimum(positive, x64):
    from sklearn.linear_model import Lasso

    X, y, b = problem(1)
    b = np.abs(b) if positive else b
    best = Lasso(0.1, fit_intercept=False, tol=1e-14, max_iter=100_000, positive=positive).fit(X, y).coef_
    value = lambda b: np.sum((y - X @ b) ** 2) / (2 * len(y)) + 0.1 * np.abs(b).sum()  # noqa: E731
    for share in (1.0, 0.1, 1e-3, 1e-6):
        point = best + share * (b - best)
        gap = certify(X, y, point, 0.1, 0.0, np.float64, positive)
        assert gap >= value(point) - value(best)
    assert certify(X, y, best, 0.1, 0.0, np.float64, positive) < 1e-12


def test_float32_keeps_its_digits_where_the_difference_has_none():
    from sklearn.linear_model import Lasso

    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 1000))
    y = X[:, :10].sum(1) + rng.standard_normal(200)
    alpha = 0.1 * np.abs(X.T @ y).max() / 200
    b = Lasso(alpha, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(X, y).coef_
    X, y, b = (v.astype(np.float32) for v in (X, y, b))
    import jax

    with jax.enable_x64(True):
        exact = certify(X, y, b, alpha, 0.0, np.float64)
    assert certify(X, y, b, alpha, 0.0, np.float32) == pytest.approx(exact, rel=0.5, abs=1e-7 * float(y @ y) / 200)


def test_free_coordinates_contribute_to_first_order(x64):
    """Non-negative least squares: no strength, no dual scale; at the optimum nothing is left, before it something is."""
    from scipy.optimize import nnls

    X, y, _ = problem(2, 40, 8)
    best, _ = nnls(X, y)
    assert certify(X, y, best, 0.0, 0.0, np.float64, positive=True) < 1e-12
    assert certify(X, y, best + 0.1, 0.0, 0.0, np.float64, positive=True) > 1e-2
