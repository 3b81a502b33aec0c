"""Benchmarks of generalized linear models: what judges them, what is fitted, and that each command runs."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss

from benchmarks import hypergradient, lanes, many_samples, memory, softmax, sparse_logistic
from benchmarks.evaluate import Logistic
from benchmarks.evaluate_logistic import TruncatedNewton, l1_logistic_gap
from benchmarks.workloads import Answer


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXLEARN_BENCH_TINY", "1")
    monkeypatch.delenv("JAXLEARN_BENCH_FULL", raising=False)
    monkeypatch.setenv("JAXLEARN_BENCH_RESULTS", str(tmp_path))
    return lambda name: json.loads((tmp_path / f"{name}.json").read_text())


def classes(rng, n=150, p=8, k=2):
    X = rng.normal(size=(n, p))
    return X, np.argmax(X[:, :k] + rng.gumbel(size=(n, k)), 1)


# The judge -----------------------------------------------------------------------------------------------------------


def primal_minus_dual(X, y, b, alpha):
    """The textbook: the dual of the log loss is the entropy of a share of each row."""
    m, n = y * (X @ b), len(y)
    share = 1 / (1 + np.exp(m))
    share *= min(1, alpha / np.abs(X.T @ (y * share) / n).max())
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    return np.log1p(np.exp(-m)).mean() + alpha * np.abs(b).sum() - entropy.mean()


def test_l1_gap_is_primal_minus_dual(rng):
    X, labels = classes(rng)
    y, coef, alphas = 2.0 * labels - 1, rng.normal(size=(8, 3)), np.array([0.2, 0.02, 1e-3])
    expected = [primal_minus_dual(X, y, b, alpha) for b, alpha in zip(coef.T, alphas, strict=True)]
    for rows in (X, scipy.sparse.csr_array(X)):
        np.testing.assert_allclose(l1_logistic_gap(rows, y, coef, alphas), expected, rtol=1e-11)


def test_l1_gap_vanishes_at_the_optimum_only(rng):
    X, labels = classes(rng)
    y, alpha = 2.0 * labels - 1, 0.02
    options = {"solver": "liblinear", "l1_ratio": 1.0, "fit_intercept": False, "random_state": 0}
    b = LogisticRegression(C=1 / (alpha * len(y)), tol=1e-12, max_iter=100_000, **options).fit(X, y).coef_.T
    gap = lambda b, alpha=alpha: l1_logistic_gap(X, y, b, np.array([alpha]))[0]  # noqa: E731
    assert 0 < np.count_nonzero(b) < 8
    assert abs(gap(b)) < 1e-13
    assert gap(1.01 * b) > 1e-7
    assert gap(b, 2 * alpha) > 1e-5
    assert not gap(np.full_like(b, np.nan)) <= 1e-6


@pytest.mark.parametrize("n_classes", [2, 4])
def test_truncated_newton_finds_the_minimum(rng, n_classes):
    X, y = classes(rng, k=n_classes)
    judge = TruncatedNewton(X, y, 1.0)
    assert judge.minimum[0] < judge.null
    for l2 in (1e-2, 1e-5):
        value, missing = judge.at(l2).minimum
        assert missing <= 1e-13
        assert value == pytest.approx(Logistic(X, y, l2).minimum[0], rel=1e-12)


# What is fitted ------------------------------------------------------------------------------------------------------


def test_texts_are_sparse_rows_of_unit_length_with_both_labels():
    X, y, _ = sparse_logistic.texts_like(2000, 4700)
    assert X.nnz / X.shape[0] == pytest.approx(75, rel=0.15)
    np.testing.assert_allclose(scipy.sparse.linalg.norm(X, axis=1), 1)
    assert set(y) == {-1.0, 1.0}
    assert 0.3 < (y > 0).mean() < 0.7
    frequency = np.diff(X.tocsc().indptr)
    assert frequency[:10].sum() > 20 * frequency[1000:1010].sum()


@pytest.mark.parametrize("kind", ["ridge", "logistic"])
def test_gradients_of_problems_vanish_at_their_minima(kind):
    X, y = lanes.problems(kind, 3, n=200, p=5)
    C = 1 / (lanes.ALPHA * X.shape[1])
    one = Ridge(1 / C) if kind == "ridge" else LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10)
    models = [clone(one).fit(rows.astype(float), target) for rows, target in zip(X, y, strict=True)]
    coef, intercept = [np.ravel(m.coef_) for m in models], [np.ravel(m.intercept_)[0] for m in models]
    assert lanes.gradients(kind, X, y, coef, intercept).max() < 1e-8
    assert (lanes.gradients(kind, X, y, coef, np.add(intercept, 0.1)) > 1e-3).all()


def test_log_losses_of_a_grid_are_those_of_the_minima(tiny):
    problem = lanes.WORKLOADS["grid_4000x30"].load()
    problem.alphas = problem.alphas[::6]

    def answer(tol):
        found = np.empty((lanes.N_FOLDS, len(problem.alphas)))
        for (i, (train, test)), (j, C) in itertools.product(enumerate(problem.folds), enumerate(problem.alphas)):
            model = LogisticRegression(C=C, tol=tol, max_iter=1000).fit(problem.X[train], problem.y[train])
            found[i, j] = log_loss(problem.y[test], model.predict_proba(problem.X[test]))
        return Answer(found)

    assert problem.gap(answer(1e-9)) < 1e-7
    assert problem.gap(answer(1.0)) > 1e-3


def test_columns_of_the_guard_are_independent(rng):
    X, y, alpha = many_samples.well_conditioned(rng, 20_000, 5)
    np.testing.assert_allclose(X.T @ X / len(X), np.eye(5), atol=0.05)
    assert alpha * len(y) == pytest.approx(1)


def test_secant_search_finds_a_minimum_of_each_side():
    curve = lambda x: ((x - 1.3) ** 2 + np.cosh(x), 2 * (x - 1.3) + np.sinh(x))  # noqa: E731
    least = min(curve(x)[0] for x in np.linspace(0, 2, 10_001))
    for start in (-3.0, 0.0, 5.0):
        seen = hypergradient.secant(curve, start)
        assert len(seen) <= 12
        assert min(value for _, value, _ in seen) == pytest.approx(least, rel=1e-3)


# The commands --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_alpha_by_its_derivative_is_as_good_as_a_grid(tiny):
    measured = hypergradient.main([])
    assert measured["one"]["solves"] <= 12
    assert measured["one"]["excess"] <= 1e-3
    assert measured["one"]["least of the grid"] == pytest.approx(measured["scikit-learn"][0], rel=1e-3)
    assert measured["each"]["one for each"] < measured["each"]["one for all"]
    assert len(tiny("hypergradient")["table"]) == 5


@pytest.mark.slow
def test_softmax_reaches_its_target(tiny):
    softmax.main(["--libraries", "jaxlearn lbfgs", "--repeats", "1", "--dtypes", "float64"])
    records = tiny("softmax")["measured"]
    assert len(records) == 2
    assert all(record["gap"] <= 1e-6 for record in records)


@pytest.mark.slow
def test_paths_reach_their_target_and_are_never_dense(tiny):
    sparse_logistic.main(["--libraries", "jaxlearn path", "--repeats", "1", "--dtypes", "float64"])
    assert all(record["gap"] <= 1e-6 for record in tiny("sparse_logistic")["measured"])


@pytest.mark.slow
def test_lanes_end(tiny):
    lanes.main(["--repeats", "1", "--batches", "20", "--libraries", "jaxlearn lanes lbfgs", "--dtypes", "float64"])
    assert all(record["gap"] <= record["target"] for record in tiny("lanes")["measured"])
    assert all(m["gradient"] < 2e-4 and m["failed"] == 0 for m in tiny("lanes_problems")["measured"])


@pytest.mark.slow
def test_memory_is_that_of_a_second_fit(tiny):
    memory.main(["--models", "Lasso"])
    tall, wide = tiny("memory")["measured"]
    assert tall["shape"][0] > wide["shape"][0]
    assert tall["sklearn"]["bytes"] == 4 * np.prod(tall["shape"])
    assert tall["jaxlearn"]["beside"] != tall["sklearn"]["beside"]  # each in a process of its own
