"""Multi-task regression and the group lasso as a user has them."""

import numpy as np
import pytest
import scipy.sparse
from sklearn import linear_model as peer
from sklearn.model_selection import KFold

from jaxlearn.linear_model import (
    GroupLasso,
    GroupLassoCV,
    Lasso,
    LinearRegression,
    MultiTaskElasticNet,
    MultiTaskElasticNetCV,
    MultiTaskLasso,
    MultiTaskLassoCV,
    Ridge,
    enet_path,
)

rng = np.random.default_rng(0)
N, P, T = 60, 300, 4
X = rng.standard_normal((N, P)).cumsum(1) / 4 + 3
W = np.zeros((P, T))
W[::60] = rng.standard_normal((5, T))
Y = X @ W + rng.standard_normal((N, T)) + 2
y = Y[:, 0]


def objective(model, X=X, Y=Y):
    W = np.atleast_2d(np.asarray(model.coef_, float)).T
    residual = Y - X @ W - model.intercept_
    norms = np.linalg.norm(W, axis=1)
    ratio = getattr(model, "l1_ratio", 1.0)
    return np.sum(residual**2) / (2 * len(X)) + model.alpha * (
        ratio * norms.sum() + 0.5 * (1 - ratio) * (norms**2).sum()
    )


@pytest.mark.parametrize("alpha", [0.3, 3.0])
def test_not_above_scikit_learn_and_certified(alpha, data_dtype):
    theirs = peer.MultiTaskElasticNet(alpha, l1_ratio=0.8, tol=1e-9, max_iter=100_000).fit(X, Y)
    tol = 1e-9 if data_dtype == np.float64 else 1e-5
    ours = MultiTaskElasticNet(alpha, l1_ratio=0.8, tol=tol).fit(X.astype(data_dtype), Y)
    assert ours.coef_.dtype == data_dtype
    assert (ours.coef_.shape, ours.intercept_.shape) == ((T, P), (T,))
    total = np.mean(np.sum((Y - Y.mean(0)) ** 2, 1))
    assert objective(ours) <= objective(theirs) + tol * total
    assert ours.converged_
    assert ours.dual_gap_ <= tol * total


def test_the_gap_bounds_the_excess():
    best = objective(MultiTaskLasso(0.3, tol=1e-13).fit(X, Y))
    for tol in (1e-2, 1e-4):
        rough = MultiTaskLasso(0.3, tol=tol).fit(X, Y)
        assert -1e-9 <= objective(rough) - best <= rough.dual_gap_ + 1e-9


def test_sparse_rows_and_weights():
    S = scipy.sparse.random_array((N, P), density=0.1, rng=np.random.default_rng(1), format="csr")
    dense = MultiTaskLasso(0.01, tol=1e-10).fit(S.toarray(), Y)
    np.testing.assert_allclose(MultiTaskLasso(0.01, tol=1e-10).fit(S, Y).coef_, dense.coef_, atol=1e-5)
    weight = np.random.default_rng(2).integers(0, 3, N)
    weighted = MultiTaskLasso(0.3, tol=1e-10).fit(X, Y, sample_weight=weight)
    repeated = MultiTaskLasso(0.3, tol=1e-10).fit(np.repeat(X, weight, 0), np.repeat(Y, weight, 0))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-5)
    grouped = GroupLasso(10, 0.3, tol=1e-10).fit(X, y, sample_weight=weight)
    again = GroupLasso(10, 0.3, tol=1e-10).fit(np.repeat(X, weight, 0), np.repeat(y, weight))
    np.testing.assert_allclose(grouped.coef_, again.coef_, atol=1e-5)


def test_a_warm_start_costs_one_pass():
    model = MultiTaskLasso(0.3, tol=1e-6, warm_start=True).fit(X, Y)
    assert model.fit(X, Y).n_iter_ == 1
    model = GroupLasso(10, 0.3, tol=1e-6, warm_start=True).fit(X, y)
    assert model.fit(X, y).n_iter_ == 1
    with pytest.raises(ValueError, match="warm_start"):
        model.fit(X[:, :200], y)


def test_without_norms_it_is_ridge():
    np.testing.assert_allclose(
        MultiTaskElasticNet(0.5, l1_ratio=0).fit(X, Y).coef_, Ridge(0.5 * N).fit(X, Y).coef_, atol=1e-8
    )


def test_one_dimension_is_refused_one_task_is_not():
    with pytest.raises(ValueError, match="For mono-task outputs, use Lasso"):
        MultiTaskLasso().fit(X, y)
    one = MultiTaskLasso(0.3, tol=1e-10).fit(X, Y[:, :1])
    assert one.coef_.shape == (1, P)
    np.testing.assert_allclose(one.coef_[0], Lasso(0.3, tol=1e-10).fit(X, y).coef_, atol=1e-6)


@pytest.mark.parametrize("ratios", [[0.5, 1.0], 0.7])
def test_cross_validation_beside_scikit_learn(ratios):
    options = {"l1_ratio": ratios, "alphas": 12, "eps": 0.02, "cv": 3, "tol": 1e-7}
    ours = MultiTaskElasticNetCV(**options).fit(X, Y)
    theirs = peer.MultiTaskElasticNetCV(max_iter=50_000, **options).fit(X, Y)
    np.testing.assert_allclose(ours.alphas_, theirs.alphas_, rtol=1e-10)
    np.testing.assert_allclose(ours.mse_path_, theirs.mse_path_, rtol=1e-3)
    assert ours.alpha_ == pytest.approx(theirs.alpha_)
    assert ours.l1_ratio_ == theirs.l1_ratio_


def test_lasso_cross_validation_and_paths():
    ours = MultiTaskLassoCV(alphas=12, eps=0.02, cv=3, tol=1e-7).fit(X, Y)
    theirs = peer.MultiTaskLassoCV(alphas=12, eps=0.02, cv=3, tol=1e-7, max_iter=50_000).fit(X, Y)
    np.testing.assert_allclose(ours.mse_path_, theirs.mse_path_, rtol=1e-3)
    options = {"alphas": 12, "eps": 0.02, "tol": 1e-8, "max_iter": 50_000}
    found, expected = (f(X, Y, **options) for f in (enet_path, peer.enet_path))
    assert found[1].shape == expected[1].shape == (T, P, 12)
    np.testing.assert_allclose(found[1], expected[1], atol=2e-3)
    with pytest.raises(ValueError, match="several tasks"):
        enet_path(X, Y, positive=True)


@pytest.mark.parametrize(
    "groups",
    [10, np.arange(P) // 10, [list(range(i, i + 10))[::-1] for i in range(0, P, 10)]],
    ids=["size", "labels", "lists"],
)
def test_groups_by_any_name(groups):
    reference = GroupLasso(np.repeat(list("zyxwvutsrqponmlkjihgfedcbaABCD"), 10), 0.4, tol=1e-10).fit(X, y)
    model = GroupLasso(groups, 0.4, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(model.coef_, reference.coef_, atol=1e-8)
    there = (model.coef_.reshape(-1, 10) != 0).sum(1)
    assert set(there) == {0, 10}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 7}, "does not divide"),
        ({"groups": np.arange(P - 1)}, "a label for each"),
        ({"groups": [[0, 1], [1, 2]]}, "once"),
        ({"groups": 10, "group_weights": [1.0]}, "group_weights"),
        ({"groups": 10, "group_weights": -np.ones(30)}, "group_weights"),
        ({"groups": 0}, "groups"),
        ({"alpha": -1.0}, "alpha"),
    ],
)
def test_bad_groups(options, message):
    with pytest.raises(ValueError, match=message):
        GroupLasso(**options).fit(X, y)


def test_without_a_strength_a_group_lasso_is_least_squares():
    with pytest.warns(UserWarning, match="LinearRegression"):
        model = GroupLasso(2, 0).fit(X[:, :10], y)
    np.testing.assert_allclose(model.coef_, LinearRegression().fit(X[:, :10], y).coef_, atol=1e-10)


def test_group_weights():
    weights = np.where(np.arange(30) == 4, 0.0, 1.0)
    model = GroupLasso(10, 50.0, group_weights=weights).fit(X, y)
    np.testing.assert_array_equal(model.coef_ != 0, (np.arange(P) >= 40) & (np.arange(P) < 50))


def test_group_lasso_cross_validation_compares_the_fits_of_its_folds():
    cv = [(np.arange(N) % 3 != k, np.arange(N) % 3 == k) for k in range(3)]
    cv = [tuple(np.flatnonzero(part) for part in fold) for fold in cv]
    model = GroupLassoCV(10, alphas=[0.2, 0.6, 2.0], cv=cv, tol=1e-8).fit(X, y)
    for i, alpha in enumerate(model.alphas_):
        for k, (train, test) in enumerate(cv):
            one = GroupLasso(10, alpha, tol=1e-8).fit(X[train], y[train])
            assert model.mse_path_[i, k] == pytest.approx(np.mean((one.predict(X[test]) - y[test]) ** 2), rel=1e-3)
    assert model.alpha_ == model.alphas_[model.mse_path_.mean(1).argmin()]


def test_a_larger_working_set_is_found(count_compiles):
    model = MultiTaskLasso(0.02, tol=1e-6)
    with count_compiles() as compiled:
        model.fit(X, Y)
    assert (model.coef_ != 0).any(0).sum() > 32
    assert compiled.count <= 4, compiled.names
    with count_compiles() as compiled:
        MultiTaskLasso(0.03, tol=1e-6).fit(X, Y + 0.1)
    assert compiled.count == 0, compiled.names


def test_cross_validation_of_ridge_over_many_features():
    """Without an l1 part nothing is selected, and no working set could hold it: one spectrum serves all strengths."""
    model = MultiTaskElasticNetCV(l1_ratio=0.0, alphas=[10.0, 0.1], cv=3).fit(X, Y)
    for errors, alpha in zip(model.mse_path_, model.alphas_, strict=True):
        for error, (train, test) in zip(errors, KFold(3).split(X), strict=True):
            one = peer.Ridge(len(train) * alpha).fit(X[train], Y[train])
            assert error == pytest.approx(np.mean((one.predict(X[test]) - Y[test]) ** 2), rel=1e-6)
    assert np.isnan(model.dual_gap_)
    np.testing.assert_allclose(model.coef_, peer.Ridge(N * model.alpha_).fit(X, Y).coef_, atol=1e-8)
