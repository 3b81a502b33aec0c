"""Which solver an estimator runs, and what it says of it."""

import numpy as np
import pytest
import scipy.sparse

from jaxlearn.estimators import logistic
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
    monkeypatch.setattr(logistic, "CHEAP", 0)  # as if these rows were many
    monkeypatch.setattr(logistic, "NEWTON_STEPS", 2)
    patient = LogisticRegression(tol=1e-8).fit(X, y)
    assert patient.solver_ == "lbfgs, then newton"
    assert 2 < patient.n_iter_[0] < quick.n_iter_[0]  # Newton's method begins where the other got to
    np.testing.assert_allclose(patient.coef_, quick.coef_, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(patient.intercept_, quick.intercept_, rtol=1e-4)


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
