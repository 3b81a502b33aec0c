"""The benchmarks' judge: right on problems whose answer is known otherwise, and not to be fooled."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import linear_model

from benchmarks.evaluate import Logistic, Ridge, elastic_net_gap, elastic_net_null


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def regression(rng, n=30, p=12):
    X = rng.normal(size=(n, p)) + rng.normal(size=p)
    return X, X[:, :3].sum(1) + rng.normal(size=n) + 2


def primal_minus_dual(X, y, b, alpha, l1_ratio, intercept):
    """The textbook: an elastic net is a Lasso on [X; √(n l2) I], whose dual is ``(|y|² − |y − θ|²) / 2n``."""
    n, p = X.shape
    l1, l2 = alpha * l1_ratio, alpha * (1 - l1_ratio)
    fit = X @ b + (0 if intercept is None else intercept)
    primal = np.sum((y - fit) ** 2) / (2 * n) + l1 * np.abs(b).sum() + l2 / 2 * b @ b
    if intercept is not None:
        X, y = X - X.mean(0), y - y.mean()
    X, y = np.vstack([X, np.sqrt(n * l2) * np.eye(p)]), np.append(y, np.zeros(p))
    theta = y - X @ b
    theta = theta * min(1, l1 * n / np.abs(X.T @ theta).max())
    return primal - (y @ y - (y - theta) @ (y - theta)) / (2 * n)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.3])
@pytest.mark.parametrize("intercept", [None, 1.7])
def test_gap_is_primal_minus_dual(rng, l1_ratio, intercept):
    X, y = regression(rng)
    for alpha in (1e-3, 0.1, 10.0):
        for coef in (np.zeros(12), rng.normal(size=12), np.where(rng.random(12) < 0.5, 0, rng.normal(size=12))):
            expected = primal_minus_dual(X, y, coef, alpha, l1_ratio, intercept)
            gap = elastic_net_gap(X, y, coef, alpha, l1_ratio, intercept)
            np.testing.assert_allclose(gap, expected, rtol=1e-12, atol=1e-12 * (expected + y @ y / len(y)))


def test_gap_of_a_path_is_that_of_each_alpha(rng):
    X, y = regression(rng)
    coefs, alphas = rng.normal(size=(12, 3)), np.array([1.0, 0.5, 0.1])
    one_by_one = [elastic_net_gap(X, y, b, a, intercept=0.5) for b, a in zip(coefs.T, alphas, strict=True)]
    np.testing.assert_allclose(elastic_net_gap(X, y, coefs, alphas, intercept=np.full(3, 0.5)), one_by_one, rtol=1e-13)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.3])
def test_gap_vanishes_at_the_optimum_and_only_there(rng, l1_ratio):
    X, y = regression(rng)
    model = linear_model.ElasticNet(0.1, l1_ratio=l1_ratio, tol=1e-14, max_iter=100_000).fit(X, y)
    unit = elastic_net_null(y)
    gap = lambda coef, intercept: elastic_net_gap(X, y, coef, 0.1, l1_ratio, intercept) / unit  # noqa: E731
    assert 0 <= gap(model.coef_, model.intercept_) < 1e-13
    assert gap(model.coef_, model.intercept_ + 0.01) > 1e-6
    assert gap(model.coef_ * 1.01, model.intercept_) > 1e-6
    assert gap(np.roll(model.coef_, 1), model.intercept_) > 1e-2
    # a gap bounds the excess from above
    worse = model.coef_ + 1e-2 * rng.normal(size=12)
    objective = lambda b, c: primal(X, y, b, c, 0.1, l1_ratio)  # noqa: E731
    excess = objective(worse, model.intercept_) - objective(model.coef_, model.intercept_)
    assert gap(worse, model.intercept_) * unit >= excess


def primal(X, y, b, c, alpha, l1_ratio):
    penalty = alpha * (l1_ratio * np.abs(b).sum() + (1 - l1_ratio) / 2 * b @ b)
    return np.mean((y - X @ b - c) ** 2) / 2 + penalty


def test_gap_of_nan_is_not_a_pass(rng):
    X, y = regression(rng)
    assert not elastic_net_gap(X, y, np.full(12, np.nan), 0.1) <= 1e-6


def test_ridge_gap_is_a_difference_of_objectives(rng):
    X, y = regression(rng)
    y = np.column_stack([y, rng.normal(size=len(y))])
    judge, l2 = Ridge(X, y), 0.2
    best = linear_model.Ridge(l2 * len(y), tol=1e-14).fit(X, y)
    assert judge.gap(best.coef_.T, best.intercept_, l2) < 1e-14 * judge.null
    np.testing.assert_allclose(judge.coef(l2), best.coef_.T, rtol=1e-10)

    def objective(B, c):
        return 0.5 * np.square(y - X @ B - c).mean(0).sum() + l2 / 2 * np.square(B).sum()

    other, c = rng.normal(size=best.coef_.T.shape), rng.normal(size=2)
    expected = objective(other, c) - objective(best.coef_.T, best.intercept_)
    np.testing.assert_allclose(judge.gap(other, c, l2), expected, rtol=1e-12)
    assert judge.gap(best.coef_.T, best.intercept_, 2 * l2) > 1e-4 * judge.null


def test_leave_one_out_is_refitting_without_each_row(rng):
    X, y = regression(rng)
    errors = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        # the hat matrix of n rows has n in its scale, also for the n − 1 rows of a refit
        errors.append(y[i] - linear_model.Ridge(0.2 * len(y)).fit(X[rest], y[rest]).predict(X[i : i + 1])[0])
    np.testing.assert_allclose(Ridge(X, y).leave_one_out(0.2), np.mean(np.square(errors)), rtol=1e-10)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_logistic_gap(rng, n_classes):
    X, _ = regression(rng, n=80)
    y = np.argmax(X[:, :n_classes] + rng.gumbel(size=(80, n_classes)), 1)
    judge = Logistic(X, y, l2=0.05)
    value, missing = judge.minimum
    assert missing < 1e-15
    best = linear_model.LogisticRegression(C=1 / (0.05 * 80), tol=1e-12, max_iter=10_000).fit(X, y)
    assert abs(judge.gap(best.coef_, best.intercept_)) < 1e-12
    assert value < judge.null
    assert judge.gap(0 * best.coef_, np.log(np.bincount(y)[-judge.n_columns :])) > 1e-3
    assert judge.gap(best.coef_ * 1.01, best.intercept_) > 1e-7
    assert judge.gap(best.coef_, best.intercept_ + 0.01 * np.arange(1, judge.n_columns + 1)) > 1e-7
    if n_classes > 2:  # a constant in all intercepts changes no prediction
        assert abs(judge.gap(best.coef_, best.intercept_ + 3)) < 1e-12


def test_null_of_a_classifier_is_its_empty_model(rng):
    y = np.repeat([0, 1], [30, 10])
    judge = Logistic(np.zeros((40, 2)), y, l2=1.0)
    assert judge.null == pytest.approx(judge.value(np.zeros((1, 2)), [np.log(10 / 30)]), rel=1e-14)
    assert judge.minimum[0] == pytest.approx(judge.null, rel=1e-14)
