"""Which solver an estimator runs, and what it says of it."""

import numpy as np
import pytest
import scipy.sparse
import sklearn.linear_model as peer

from jaxlearn.estimators import smooth
from jaxlearn.linear_model import LogisticRegression, Ridge

SKETCHY = "sketchy-svrg", "sketchy-saga", "sketchy-katyusha"


def problem(n=600, p=8, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * np.geomspace(1, 30, p) + 5
    f = (X - 5) @ (rng.standard_normal(p) / np.geomspace(1, 30, p))
    return X, f, rng


@pytest.mark.parametrize("solver", SKETCHY)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_logistic_regression_by_stochastic_gradients(solver, n_classes):
    X, f, rng = problem()
    y = np.digitize(f + rng.logistic(size=len(f)), [0] if n_classes == 2 else [-1, 1])
    exact = LogisticRegression(solver="newton-cholesky", tol=1e-9).fit(X, y)
    found = LogisticRegression(solver=solver, tol=1e-8, max_iter=300, random_state=0).fit(X, y)
    assert found.solver_ == solver.removeprefix("sketchy-")
    assert found.converged_
    np.testing.assert_allclose(found.predict_proba(X), exact.predict_proba(X), atol=1e-5)
    again = LogisticRegression(solver=solver, tol=1e-8, max_iter=300, random_state=0).fit(X, y)
    np.testing.assert_array_equal(found.coef_, again.coef_)


@pytest.mark.parametrize("solver", SKETCHY)
@pytest.mark.parametrize("n_targets", [1, 2])
def test_ridge_by_stochastic_gradients(solver, n_targets):
    X, f, rng = problem()
    y = np.stack([f, rng.standard_normal(len(f))], axis=1)[:, :n_targets]
    exact, found = Ridge(2.0).fit(X, y), Ridge(2.0, solver=solver, tol=1e-9, random_state=0).fit(X, y)
    assert found.solver_ == solver.removeprefix("sketchy-")
    np.testing.assert_allclose(found.predict(X), exact.predict(X), atol=1e-5)
    assert Ridge(solver="saga", tol=1e-9).fit(X, y).solver_ == "lbfgs"


def test_sparse_rows_are_refused_by_name():
    X, f, _ = problem(60)
    for model in (LogisticRegression(solver="sketchy-svrg"), Ridge(solver="sketchy-svrg")):
        with pytest.raises(ValueError, match="solver='sketchy-svrg' takes dense rows"):
            model.fit(scipy.sparse.csr_matrix(X), f > 0)


def test_auto_says_what_it_ran(monkeypatch):
    X, f, rng = problem()
    y = f + rng.logistic(size=len(f)) > 0
    quick = LogisticRegression(tol=1e-8).fit(X, y)
    assert quick.solver_ == "lbfgs"
    monkeypatch.setattr(smooth, "CHEAP", 0)  # as if these rows were many
    monkeypatch.setattr(smooth, "NEWTON_PASSES", 2)
    patient = LogisticRegression(tol=1e-8).fit(X, y)
    assert patient.solver_ == "lbfgs, then newton"
    assert 2 < patient.n_iter_[0] < quick.n_iter_[0]  # Newton's method begins where the other got to
    np.testing.assert_allclose(patient.coef_, quick.coef_, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(patient.intercept_, quick.intercept_, rtol=1e-4)


def test_sampled_hessians_where_those_of_all_rows_are_dear(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 130))
    two = X[:, 0] + rng.logistic(size=500) > 0
    assert LogisticRegression(solver="newton-cholesky").fit(X, two).solver_ == "sampled_newton"
    assert LogisticRegression(solver="newton-cholesky").fit(X[:, :70], two).solver_ == "newton"
    assert LogisticRegression(solver="newton-cholesky").fit(scipy.sparse.csr_array(X), two).solver_ == "newton"
    three = np.digitize(X[:, 0] + rng.logistic(size=500), [-1, 1])
    direct = LogisticRegression(solver="newton-cholesky", tol=1e-9).fit(X[:, :70], three)
    assert direct.solver_ == "sampled_newton"
    monkeypatch.setattr(smooth, "CHEAP", 0)
    monkeypatch.setattr(smooth, "SAMPLED_PASSES", 2)
    after = LogisticRegression(tol=1e-9).fit(X[:, :70], three)
    assert after.solver_ == "lbfgs, then sampled_newton"
    np.testing.assert_allclose(after.coef_, direct.coef_, atol=1e-5)


def test_a_budget_that_ends_before_patience_does_is_kept():
    X, f, rng = problem()
    y = f + rng.logistic(size=len(f)) > 0
    with pytest.warns(match="did not converge"):
        model = LogisticRegression(tol=1e-12, max_iter=2).fit(X, y)
    assert model.n_iter_[0] == 2
    assert model.solver_ == "lbfgs"


def test_a_warm_start_begins_with_the_intercept_too():
    X, f, rng = problem()
    y = f + rng.logistic(size=len(f)) > 0
    model = LogisticRegression(tol=1e-6, warm_start=True).fit(X, y)
    first = model.n_iter_[0]
    assert model.fit(X, y).n_iter_[0] == 1 < first


def test_ridge_says_what_ran():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 12))
    y = X @ rng.standard_normal(12) + rng.standard_normal(300)
    ridge = Ridge(0.5).fit(X, y)
    assert ridge.solver_ == "cholesky"
    np.testing.assert_allclose(ridge.coef_, peer.Ridge(0.5).fit(X, y).coef_, rtol=1e-10)
    assert Ridge(solver="svd").fit(X, y).solver_ == "spectral"
    assert Ridge([1.0, 2.0]).fit(X, np.column_stack([y, y])).solver_ == "spectral"
    assert (
        Ridge().fit(rng.standard_normal((5000, 5000)).astype(np.float32), rng.random(5000)).solver_
        == "conjugate_gradient"
    )
    several = Ridge(2.0).fit(X[:9], np.column_stack([y, -y])[:9])  # fewer rows than features
    assert several.solver_ == "cholesky"
    expected = peer.Ridge(2.0, solver="svd").fit(X[:9], np.column_stack([y, -y])[:9])
    np.testing.assert_allclose(several.coef_, expected.coef_, rtol=1e-9)


@pytest.mark.parametrize("n", [40, 8])
def test_ridge_of_a_singular_system_has_least_norm(n):
    """A factor tells of columns that depend on each other where no strength keeps them apart, and is not used."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 6)) @ rng.standard_normal((6, 10))
    X[:, 3] = X[:, 2]
    y = rng.standard_normal(n)
    model = Ridge(0, fit_intercept=False).fit(X, y)
    assert model.solver_ == "cholesky, then spectral"
    np.testing.assert_allclose(model.coef_, np.linalg.lstsq(X, y, rcond=1e-10)[0], rtol=1e-7, atol=1e-9)


def test_ridge_in_single_precision_bears_features_of_all_scales():
    rng = np.random.default_rng(0)
    scale = 10.0 ** np.linspace(-4, 4, 20)
    X = rng.standard_normal((400, 20)) * scale
    y = X / scale @ rng.standard_normal(20) + 0.1 * rng.standard_normal(400)
    model, expected = Ridge(1e-6).fit(X.astype(np.float32), y), peer.Ridge(1e-6, solver="svd").fit(X, y)
    assert model.solver_ == "cholesky"
    np.testing.assert_allclose(model.coef_ * scale, expected.coef_ * scale, atol=1e-5)


@pytest.mark.parametrize("sparse", [pytest.param(False, marks=pytest.mark.slow), True])
def test_logistic_regression_that_selects(sparse, data_dtype):
    """The objective of scikit-learn's solver for it; of more features than the working set holds at first."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 400)).astype(data_dtype)
    y = np.where(X[:, :3].sum(1) + rng.logistic(size=120) > 0, "yes", "no")
    rows = scipy.sparse.csr_matrix(X) if sparse else X
    ours = LogisticRegression(C=2.0, l1_ratio=0.7, tol=1e-4).fit(rows, y)

    def objective(model):
        loss = np.logaddexp(0, np.where(y == "yes", -1, 1) * model.decision_function(X).astype(float)).sum()
        b = model.coef_.astype(float)
        return 2 * loss + 0.7 * np.abs(b).sum() + 0.15 * np.square(b).sum()

    theirs = peer.LogisticRegression(C=2.0, l1_ratio=0.7, solver="saga", tol=1e-3, max_iter=2000).fit(
        X.astype(float), y
    )
    assert ours.solver_ == "prox-newton"
    assert ours.converged_
    assert objective(ours) <= objective(theirs) * (1 + 1e-4)
    assert 64 < np.count_nonzero(ours.coef_) < 400
    again = LogisticRegression(C=2.0, l1_ratio=0.7, tol=1e-4, warm_start=True).fit(rows, y)
    first = again.n_iter_[0]
    assert again.fit(rows, y).n_iter_[0] <= first
    lasso = LogisticRegression(l1_ratio=1.0, C=0.5).fit(rows, y)
    np.testing.assert_array_equal(
        lasso.coef_, LogisticRegression(C=0.5, l1_ratio=1.0, solver="liblinear").fit(rows, y).coef_
    )
    with pytest.raises(ValueError, match="Solver lbfgs supports only 'l2' or None penalties"):
        LogisticRegression(l1_ratio=1.0, solver="lbfgs").fit(rows, y)
