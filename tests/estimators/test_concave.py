"""MCP and SCAD as a user has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from jaxlearn.estimators import programs
from jaxlearn.linear_model import Lasso, LinearRegression, MCPRegression, SCADRegression
from jaxlearn.models import glm
from jaxlearn.models.glm import GLM
from jaxlearn.objectives import MCP, SCAD

rng = np.random.default_rng(0)
N, P, SPARSE = 100, 300, 6
X = rng.standard_normal((N, P))
W = np.zeros(P)
W[:: P // SPARSE] = 2
y = X @ W + 0.5 * rng.standard_normal(N) + 3
ALPHA = 0.4
KINDS = [(MCPRegression, MCP), (SCADRegression, SCAD)]


def distance(model, penalty, X=X, y=y):
    """Of the gradient to the slopes of the penalty, in units of the largest correlation."""
    centred, y = X - X.mean(0), y - y.mean()
    g = centred.T @ (y - centred @ model.coef_.astype(float)) / len(y)
    with jax.enable_x64(True):
        apart = np.asarray(penalty.subdifferential_distance(jnp.asarray(model.coef_, float), -jnp.asarray(g)))
    return float(apart.max() / np.abs(centred.T @ y / len(y)).max())


@pytest.mark.parametrize(("kind", "penalty"), KINDS)
def test_stationary_and_certified(kind, penalty, data_dtype):
    tol = 1e-9 if data_dtype == np.float64 else 1e-5
    model = kind(ALPHA, tol=tol).fit(X.astype(data_dtype), y)
    assert model.coef_.dtype == data_dtype
    assert model.converged_
    assert model.certificate_ <= tol
    assert distance(model, penalty(ALPHA)) <= 3 * tol
    assert not hasattr(model, "dual_gap_")
    assert model.n_iter_ >= 2


@pytest.mark.parametrize(("kind", "penalty"), KINDS)
def test_beside_the_core(kind, penalty, x64):
    model = kind(ALPHA, tol=1e-10).fit(X, y)
    fitted = glm.fit(GLM(penalty=penalty(ALPHA), tol=1e-10), X, y)
    np.testing.assert_allclose(model.coef_, fitted.coef, atol=1e-9)
    np.testing.assert_allclose(model.intercept_, fitted.intercept, atol=1e-9)


@pytest.mark.parametrize(("kind", "penalty"), KINDS)
def test_less_biased_than_the_lasso(kind, penalty):
    lasso, model = Lasso(ALPHA, tol=1e-8).fit(X, y), kind(ALPHA).fit(X, y)
    np.testing.assert_array_equal(np.flatnonzero(model.coef_), np.flatnonzero(W))
    there = W != 0
    bias, of_lasso = (np.abs(np.mean((m.coef_ - W)[there])) for m in (model, lasso))
    assert bias < 0.1 * of_lasso
    oracle = LinearRegression().fit(X[:, there], y)
    np.testing.assert_allclose(model.coef_[there], oracle.coef_, atol=1e-3)


@pytest.mark.parametrize("kind", [MCPRegression, SCADRegression])
def test_far_from_flat_it_is_the_lasso(kind):
    model, lasso = kind(ALPHA, 1e7, tol=1e-9).fit(X, y), Lasso(ALPHA, tol=1e-14).fit(X, y)
    np.testing.assert_allclose(model.coef_, lasso.coef_, atol=1e-5)


def test_a_larger_working_set_finds_the_same(monkeypatch):
    """Where the first one is full, the fit begins again: what it finds does not depend on the size of the set."""
    usual = MCPRegression(ALPHA, tol=1e-8).fit(X, y)
    sizes, larger = [], programs.larger
    monkeypatch.setattr(programs, "WORKING_SET", 4)
    monkeypatch.setattr(programs, "larger", lambda model: sizes.append(model.working_set) or larger(model))
    model = MCPRegression(ALPHA, tol=1e-8).fit(X, y)
    assert sizes[0] == 4
    np.testing.assert_allclose(model.coef_, usual.coef_, atol=1e-6)


def test_weights_of_features():
    weights = np.ones(P)
    weights[[3, 5]] = 0
    weights[0] = 100
    model = MCPRegression(ALPHA, feature_weights=weights, tol=1e-9).fit(X, y)
    assert (model.coef_[[3, 5]] != 0).all()
    assert model.coef_[0] == 0
    assert distance(model, MCP(jnp.asarray(ALPHA * weights))) <= 3e-9


def test_weights_of_rows_and_sparse_rows():
    weight = np.random.default_rng(1).integers(0, 3, N)
    weighted = SCADRegression(ALPHA, tol=1e-10).fit(X, y, sample_weight=weight)
    repeated = SCADRegression(ALPHA, tol=1e-10).fit(np.repeat(X, weight, 0), np.repeat(y, weight))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-8)
    S = np.where(np.abs(X) > 1, X, 0)
    dense, sparse = (MCPRegression(ALPHA, tol=1e-10).fit(rows, y) for rows in (S, scipy.sparse.csr_array(S)))
    np.testing.assert_allclose(sparse.coef_, dense.coef_, atol=1e-8)
    np.testing.assert_array_equal(sparse.sparse_coef_.toarray()[0], sparse.coef_)


def test_a_warm_start_costs_a_step():
    model = MCPRegression(ALPHA, tol=1e-6, warm_start=True).fit(X, y)
    first = model.coef_
    assert model.fit(X, y).n_iter_ <= 2
    np.testing.assert_allclose(model.coef_, first, atol=1e-6)
    with pytest.raises(ValueError, match="warm_start"):
        model.fit(X[:, :200], y)


@pytest.mark.parametrize("kind", [MCPRegression, SCADRegression])
def test_without_a_strength_it_is_least_squares(kind):
    with pytest.warns(UserWarning, match="LinearRegression"):
        model = kind(0).fit(X[:, :10], y)
    np.testing.assert_allclose(model.coef_, LinearRegression().fit(X[:, :10], y).coef_, atol=1e-10)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (MCPRegression(gamma=1), r"'gamma' parameter .* \(1.0, inf\)"),
        (SCADRegression(a=2.0), r"'a' parameter .* \(2.0, inf\)"),
        (MCPRegression(alpha=-1.0), "'alpha' parameter"),
        (MCPRegression(feature_weights=[1.0]), "one finite number ≥ 0 for each of the 300 features"),
        (SCADRegression(feature_weights=-np.ones(P)), "one finite number ≥ 0"),
    ],
)
def test_what_is_refused(model, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
