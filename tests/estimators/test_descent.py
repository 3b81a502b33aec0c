"""Wide rows, whose paths and fits begin with coordinate descent: the answers of scikit-learn, and of Newton's method alone."""

import jax
import numpy as np
import pytest
import sklearn.linear_model as sk
from numpy.testing import assert_allclose

from jaxlearn.estimators import paths, programs
from jaxlearn.linear_model import ElasticNet, ElasticNetCV, GroupLasso, GroupLassoCV, LassoCV, enet_path

N, P = 90, 280


@pytest.fixture
def rows(dtype, monkeypatch):
    monkeypatch.setattr(programs, "MANY_ROWS", 50)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, P)) + rng.standard_normal((N, 1)) + 2
    y = X[:, :9] @ rng.standard_normal(9) + rng.standard_normal(N)
    return X.astype(dtype), y.astype(dtype)


@pytest.fixture
def compiled(monkeypatch):
    """Names of the programs that ran."""
    names, compute = [], programs.compute

    def named(program, *args, **kwargs):
        names.append(program.__name__)
        return compute(program, *args, **kwargs)

    for module in (paths, programs):
        monkeypatch.setattr(module, "compute", named)
    return names


@pytest.mark.parametrize("l1_ratio", [0.2, 0.9])
@pytest.mark.parametrize("weighted", [False, True])
def test_errors_of_folds(l1_ratio, weighted, rows, compiled):
    X, y = rows
    tol = 1e-6 if X.dtype == np.float64 else 1e-5
    options = {"l1_ratio": l1_ratio, "alphas": 8, "eps": 0.1, "cv": 3}
    weight = np.random.default_rng(1).uniform(0.5, 2, N) if weighted else None
    ours = ElasticNetCV(**options, tol=tol, max_iter=5000).fit(X, y, sample_weight=weight)
    assert compiled[0] == "_fold_descent"
    theirs = sk.ElasticNetCV(**options, tol=1e-9, max_iter=100_000).fit(X.astype(float), y.astype(float), weight)
    # an error in the objective of tol moves predictions by its root
    assert_allclose(ours.mse_path_, theirs.mse_path_, rtol=4 * tol**0.5)
    assert_allclose(ours.alpha_, theirs.alpha_, rtol=1e-5)
    assert_allclose(ours.predict(X), theirs.predict(X.astype(float)), atol=4 * tol**0.5 * y.std())


def test_newton_goes_on_where_descent_is_slow(rows, compiled):
    X, y = rows
    tol = 1e-11 if X.dtype == np.float64 else 3e-6
    alphas, coef, gaps = enet_path(X, y, l1_ratio=1.0, eps=1e-2, alphas=20, tol=tol, max_iter=1000)
    assert compiled[:2] == ["_path_descent", "_path"]
    assert (gaps <= tol * (y @ y) / N * 1.01).all()
    expected = sk.enet_path(X.astype(float), y.astype(float), l1_ratio=1.0, alphas=alphas, tol=1e-12, max_iter=10**6)[1]
    assert_allclose(X @ coef, X.astype(float) @ expected, atol=4 * tol**0.5 * y.std())


def test_folds_that_newton_goes_on_with(rows, compiled):
    X, y = rows
    tol = 1e-10 if X.dtype == np.float64 else 3e-6
    options = {"alphas": 12, "eps": 1e-2, "cv": 3}
    ours = LassoCV(**options, tol=tol).fit(X, y)
    assert compiled[:2] == ["_fold_descent", "_fold_paths"]
    theirs = sk.LassoCV(**options, tol=1e-10, max_iter=10**6).fit(X.astype(float), y.astype(float))
    assert_allclose(ours.mse_path_, theirs.mse_path_, rtol=4 * tol**0.5)


@pytest.mark.parametrize(("l1_ratio", "positive"), [(0.3, False), (0.3, True), (1.0, False)])
def test_one_fit(l1_ratio, positive, rows, compiled):
    X, y = rows
    tol = 1e-9 if X.dtype == np.float64 else 1e-5
    options = {"alpha": 0.2, "l1_ratio": l1_ratio, "positive": positive}
    ours = ElasticNet(**options, tol=tol).fit(X, y)
    assert compiled[0] == "_descent"
    theirs = sk.ElasticNet(**options, tol=1e-10, max_iter=10**6).fit(X.astype(float), y.astype(float))
    assert_allclose(ours.predict(X), theirs.predict(X.astype(float)), atol=4 * tol**0.5 * y.std())
    assert ours.dual_gap_ <= tol * (y.astype(float) @ y) / N
    assert ours.n_iter_ >= 1


def test_what_newton_is_better_at_is_not_begun(rows, compiled, monkeypatch):
    X, y = rows
    ElasticNet(alpha=0.2, precompute=True).fit(X, y)
    ElasticNet(alpha=0.2, selection="random", random_state=0).fit(X, y)
    monkeypatch.setattr(programs, "MANY_ROWS", 2 * N)
    enet_path(X, y, alphas=3)
    assert not {"_descent", "_path_descent", "_fold_descent"} & set(compiled)


def test_a_second_fit_compiles_nothing(rows, count_compiles):
    X, y = rows
    fit = lambda: ElasticNetCV(l1_ratio=0.5, alphas=5, eps=0.3, cv=3).fit(X, y)  # noqa: E731
    fit()
    with count_compiles() as compiles:
        fit()
    assert compiles.count == 0


def test_groups(rows, compiled, monkeypatch):
    X, y = rows
    tol = 1e-7 if X.dtype == np.float64 else 1e-5
    fit = lambda: GroupLasso(groups=4, alpha=0.5, tol=tol, max_iter=5000).fit(X, y)  # noqa: E731
    ours = fit()
    assert compiled == ["_descent"]
    monkeypatch.setattr(programs, "MANY_ROWS_OF_GROUPS", 2 * N)
    newton = fit()
    assert "_one_by_one" in compiled
    assert_allclose(ours.predict(X), newton.predict(X), atol=4 * tol**0.5 * y.std())
    assert ours.dual_gap_ <= 1.001 * tol * y.var()


def test_groups_of_folds_that_newton_goes_on_with(rows, compiled, monkeypatch):
    X, y = rows
    tol = 1e-8 if X.dtype == np.float64 else 1e-5
    fit = lambda: GroupLassoCV(groups=4, alphas=8, eps=0.03, cv=3, tol=tol, max_iter=5000).fit(X, y)  # noqa: E731
    monkeypatch.setattr("jaxlearn.solvers.coordinate_path.LEAST_PATIENCE", 4)
    monkeypatch.setattr("jaxlearn.solvers.coordinate_path.PATIENCE", 0)
    jax.clear_caches()  # of programs that are more patient
    ours = fit()
    assert compiled[:2] == ["_fold_descent", "_fold_paths"]
    monkeypatch.setattr(programs, "MANY_ROWS_OF_GROUPS", 2 * N)
    newton = fit()
    assert_allclose(ours.mse_path_, newton.mse_path_, rtol=4 * tol**0.5)
    jax.clear_caches()


def test_groups_of_very_different_sizes_are_not_filled_up(rows, compiled):
    X, y = rows
    GroupLasso(groups=[list(range(40)), *([j] for j in range(40, P))], alpha=0.5).fit(X, y)
    assert "_descent" not in compiled
