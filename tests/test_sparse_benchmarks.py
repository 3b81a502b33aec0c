"""The races of sparse models: their judge, their data, and that every row of them runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.sparse
from sklearn import linear_model

from benchmarks import elastic_net_cv, lassos, race, recipes, report, structured
from benchmarks.bounded import Bounded
from benchmarks.evaluate import elastic_net_gap
from benchmarks.evaluate_sparse import group_gap, mcp_distance, mcp_objective, multi_task_gap
from benchmarks.workloads import Answer, Row, Workload

WORKLOADS = {**lassos.WORKLOADS, **elastic_net_cv.WORKLOADS, **structured.WORKLOADS}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def tasks(rng, n=30, p=12, k=3):
    X = rng.normal(size=(n, p))
    return X, X[:, :3] @ rng.normal(size=(3, k)) + rng.normal(size=(n, k))


# The judge -----------------------------------------------------------------------------------------------------------


def test_gap_of_a_sparse_matrix_is_that_of_its_dense_form(rng):
    X = scipy.sparse.random(30, 12, 0.3, format="csc", random_state=0, dtype=np.float32)
    y, coef, alphas = rng.normal(size=30), rng.normal(size=(12, 2)), np.array([0.1, 0.01])
    gap = elastic_net_gap(X, y, coef, alphas, 0.7)
    np.testing.assert_allclose(gap, elastic_net_gap(X.toarray(), y, coef, alphas, 0.7), rtol=1e-12)


def primal_minus_dual(X, Y, W, rows, strengths):
    """The textbook: ``½|Y − X W|² / n + Σ_g l_g |b_g|`` and ``(|Y|² − |Y − θ|²) / 2n``; `rows` cuts groups from (p, k)."""
    n, R = len(Y), Y - X @ W
    primal = np.square(R).sum() / (2 * n) + strengths @ [np.linalg.norm(b) for b in rows(W)]
    sizes = np.array([np.linalg.norm(g) for g in rows(X.T @ R / n)])
    theta = R * min(1, np.min(strengths / sizes))
    return primal - (np.square(Y).sum() - np.square(Y - theta).sum()) / (2 * n)


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 10.0])
def test_gaps_of_tasks_and_groups_are_primal_minus_dual(rng, alpha):
    X, Y = tasks(rng)
    W, groups, weights = rng.normal(size=(12, 3)), np.repeat(np.arange(4), 3), np.array([1.0, 2.0, 0.5, 3.0])
    expected = primal_minus_dual(X, Y, W, lambda V: V, np.full(12, alpha))
    np.testing.assert_allclose(multi_task_gap(X, Y, W, alpha), expected, rtol=1e-12)
    cut = lambda v: np.split(v, 4)  # noqa: E731
    expected = primal_minus_dual(X, Y[:, :1], W[:, :1], cut, alpha * weights)
    np.testing.assert_allclose(group_gap(X, Y[:, 0], W[:, 0], alpha, groups, weights), expected, rtol=1e-12)


def test_gap_of_tasks_vanishes_at_the_optimum_and_only_there(rng):
    X, Y = tasks(rng)
    W = linear_model.MultiTaskLasso(0.2, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(X, Y).coef_.T
    unit = np.square(Y).sum() / (2 * len(Y))
    assert 0 < np.count_nonzero(W.any(1)) < 12
    assert abs(multi_task_gap(X, Y, W, 0.2)) < 1e-12 * unit
    for wrong in (1.01 * W, np.roll(W, 1, axis=0), np.roll(W, 1, axis=1), 0 * W):
        assert multi_task_gap(X, Y, wrong, 0.2) > 1e-6 * unit
    assert multi_task_gap(X, Y, W, 0.21) > 1e-6 * unit
    # groups of one feature are a Lasso, one group of all features is one row of one task
    lasso = linear_model.Lasso(0.2, fit_intercept=False, tol=1e-14).fit(X, Y[:, 0]).coef_
    assert abs(group_gap(X, Y[:, 0], lasso, 0.2, np.arange(12))) < 1e-12 * unit
    assert group_gap(X, Y[:, 0], lasso, 0.2, np.arange(12) // 2) > 1e-6 * unit
    assert not multi_task_gap(X, Y, np.full_like(W, np.nan), 0.2) <= 1e-6


def test_stationary_points_of_a_concave_penalty(rng):
    """Orthonormal columns: the firm threshold is the answer, coordinate by coordinate."""
    n, alpha, gamma = 50, np.array([0.5, 0.2]), 3.0
    X = np.linalg.qr(rng.normal(size=(n, 10)))[0] * np.sqrt(n)
    y = X @ np.linspace(-2, 2, 10) + rng.normal(size=n)
    z = (X.T @ y / n)[:, None]
    firm = np.sign(z) * np.maximum(np.abs(z) - alpha, 0) / (1 - 1 / gamma)
    coef = np.where(np.abs(z) > gamma * alpha, z, firm)
    assert {0, 10} != set(np.count_nonzero(coef, axis=0))
    assert mcp_distance(X, y, coef, alpha, gamma).max() < 1e-14
    least = mcp_objective(X, y, coef, alpha, gamma)
    assert (mcp_distance(X, y, 1.01 * coef, alpha, gamma) > 1e-3).all()
    assert (mcp_distance(X, y, coef[:, ::-1], alpha, gamma) > 1e-3).all()
    assert (mcp_distance(X, y, 0 * coef, alpha, gamma) > 1e-3).all()
    for _ in range(20):
        assert (mcp_objective(X, y, coef + 0.1 * rng.normal(size=coef.shape), alpha, gamma) > least).all()
    # by hand: one coefficient where the penalty bends, one beyond
    b = np.array([[0.3], [2.0]])
    by_hand = 0.5 * 0.3 - 0.3**2 / 6 + 3 * 0.5**2 / 2
    assert mcp_objective(np.zeros((4, 2)), np.zeros(4), b, np.array([0.5]), 3.0)[0] == pytest.approx(by_hand)


def test_a_wrong_table_of_errors_is_found(rng):
    X, y, source = recipes.toeplitz(40, 20, s=3)
    problem = elastic_net_cv.TinyCrossValidation(X, y, source)
    right = rng.uniform(1, 2, (len(elastic_net_cv.RATIOS), 10, 5))
    right[3, 8] = 0.5  # of a model that is not empty
    problem.errors = right
    ratio, best = np.unravel_index(np.argmin(right.mean(2)), right.shape[:2])
    alpha, ratio = problem.grids[ratio, best], elastic_net_cv.RATIOS[ratio]
    coef = linear_model.ElasticNet(alpha, l1_ratio=ratio, fit_intercept=False, tol=1e-14).fit(X, y).coef_
    answer = lambda **other: Answer(**{"coef": coef, "alpha": alpha, "l1_ratio": ratio, "errors": right} | other)  # noqa: E731
    assert problem.gap(answer()) < 1e-12
    wrong = right.copy()
    wrong[2, 3, 1] *= 1.01
    assert problem.gap(answer(errors=wrong)) == pytest.approx(0.01)
    assert problem.gap(answer(alpha=problem.grids[0, 3], l1_ratio=elastic_net_cv.RATIOS[0])) > 1e-3
    assert problem.gap(answer(coef=1.01 * coef)) > 1e-6


# The data ------------------------------------------------------------------------------------------------------------


def test_recipes_are_what_they_say():
    X, y, _ = recipes.toeplitz(4000, 8, s=3)
    lags = np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    np.testing.assert_allclose(np.corrcoef(X.T), 0.6**lags, atol=0.06)
    X, y, _ = recipes.polynomial(3, 200, degree=4, s=5)
    assert X.shape == (200, 35)  # 7 choose 4
    np.testing.assert_allclose(X.std(0), np.append(0, np.ones(34)), atol=1e-12)
    assert abs(y.mean()) < 1e-12
    X, y, _ = recipes.words(200, 2000, per_row=50, s=10)
    counts = np.diff(X.indptr)
    assert X.has_canonical_format
    assert counts.sum() / 200 == pytest.approx(50, rel=0.1)
    assert counts[:5].min() > 20 * counts[-500:].mean()
    X, Y, _ = recipes.leadfield(305, 7498, 2)
    side_by_side = np.linalg.norm(recipes._spiral(7498, 1.0) - recipes._spiral(7498, 1.0)[1000], axis=1)
    assert abs(np.corrcoef(X[:, 1000], X[:, np.argsort(side_by_side)[1]])[0, 1]) > 0.99
    assert Y.shape == (305, 2)


# The races -----------------------------------------------------------------------------------------------------------


def empty(problem, dtype):
    """The right answer where alpha is large."""
    return lambda tol: Answer(np.zeros((problem.X.shape[1], 1)))


class NeverEnds:
    def ends(self, tol, limit):
        return limit > 1e9

    def close(self):
        pass


def test_a_peer_is_stopped_after_ten_times_ours(monkeypatch):
    rows = [Row("jaxlearn", "float64", empty), Row("peer", "float64", empty)]
    X, y, source = recipes.toeplitz(20, 5, s=2)
    load = lambda: lassos.LassoPath(X, y, source, 2 * lassos.largest(X, y) * np.ones(1))  # noqa: E731
    monkeypatch.setattr(race, "Bounded", lambda *names: NeverEnds())
    monkeypatch.setattr(race.Runner, "cold", lambda self, tol: {"seconds": 1.0, "compiles": 0})
    heard = []
    ours, peer = race.race(Workload("name", "title", load, rows, (1e-6,), cutoff=10.0), heard.append)
    assert ours["reached"]
    assert ours["stopped"] is None
    assert not peer["reached"]
    assert peer["stopped"] == pytest.approx(10 * ours["trials"][0]["seconds"])
    assert len(peer["trials"]) == 1, "no tolerance after the one that was stopped"
    assert report._outcome(peer).startswith("stopped")
    assert len(heard) == 3
    json.dumps([ours, peer], allow_nan=False)


def test_a_fit_in_a_process_of_its_own_is_ended(monkeypatch):
    monkeypatch.setenv("JAXLEARN_BENCH_TINY", "1")
    fit = Bounded("lasso_toep_500x600_0.1", "scikit-learn, float64")
    assert fit.ends(1e-3, 60.0)
    assert fit.ends(1e-6, 60.0)
    process = fit.process
    assert not fit.ends(0.0, 1e-3)  # sweeps until it may not
    assert process.poll() is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKLOADS)
def test_every_row_runs(name, monkeypatch):
    """At a size that takes no time: what is not tiny is compilation."""
    pytest.importorskip("celer")
    pytest.importorskip("skglm")
    monkeypatch.setenv("JAXLEARN_BENCH_TINY", "1")
    workload = WORKLOADS[name]
    problem = workload.load()
    for row in workload.rows:
        if (row.library, row.dtype) == ("skglm", "float32") and name.startswith("multi_task"):
            continue  # numba does not compile it
        runner = race.Runner(workload, row, problem)
        tol, most = (1e-6, 1e-4) if row.dtype == "float64" else (1e-5, 1e-3)
        if name == "elastic_net_cv":
            most = tol**0.5  # what is judged, errors of predictions, goes with the root of a duality gap
        trials = [runner.attempt(1e-3), runner.attempt(tol)]
        assert [t.error for t in trials] == [None, None], row.name
        assert trials[1].gap < (1e-2 if name.startswith("mcp") else 0.1), row.name
        if row.ours:
            assert trials[1].gap <= most, row.name
