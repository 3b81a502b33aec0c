"""Gram matrices that are given: used where they are those of X, refused where they are not."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

from jaxlearn.linear_model import ElasticNet, Lasso, LassoCV, lasso_path
from jaxlearn.models import glm
from jaxlearn.objectives import ElasticNet as Penalty


def data(dtype, p):
    rng = np.random.default_rng(3)
    X = (rng.standard_normal((150, p)) + 2).astype(dtype)
    y = X[:, :5] @ rng.standard_normal(5) + rng.standard_normal(150)
    return X, y.astype(dtype), rng.lognormal(size=150).astype(dtype)


@pytest.mark.parametrize("p", [20, 300])  # all columns, and a working set
@pytest.mark.parametrize("selection", ["cyclic", "random"])
def test_the_solution_is_that_without(data_dtype, p, selection):
    X, y, weight = data(data_dtype, p)
    X = X - np.average(X, axis=0, weights=weight).astype(data_dtype)
    share = weight / weight.mean()
    options = {
        "alpha": 0.1,
        "tol": 1e-9 if data_dtype == np.float64 else 1e-6,
        "selection": selection,
        "random_state": 0,
    }
    given = ElasticNet(precompute=(X.T * share) @ X, **options).fit(X, y, weight)
    made = ElasticNet(**options).fit(X, y, weight)
    np.testing.assert_allclose(given.coef_, made.coef_, atol=1e-5 if data_dtype == np.float64 else 1e-3)
    assert given.converged_


def test_it_is_used():
    """A system of another matrix has another solution: of the model nothing is checked."""
    X, y, _ = data(np.float64, 20)
    with jax.enable_x64(True):
        rows = jnp.asarray(X - X.mean(0)), jnp.asarray(y)
        model = glm.GLM(penalty=Penalty(0.1, 0.5), tol=1e-12, fit_intercept=False)
        right, twice = (
            glm.fit(
                glm.GLM(penalty=model.penalty, tol=1e-12, fit_intercept=False, gram=k * rows[0].T @ rows[0] / 150),
                *rows,
            )
            for k in (1, 2)
        )
        np.testing.assert_allclose(right.coef, glm.fit(model, *rows).coef, atol=1e-9)
        assert jnp.abs(twice.coef - right.coef).max() > 0.1
        with pytest.raises(ValueError, match="`gram` goes with"):
            glm.GLM(gram=jnp.eye(3))


def test_sparse_rows_paths_and_targets():
    X, y, _ = data(np.float64, 20)
    X[X < 2] = 0
    gram = X.T @ X
    found = lasso_path(sparse.csr_array(X), y, precompute=gram, alphas=5, tol=1e-10)[1]
    np.testing.assert_allclose(found, lasso_path(X, y, alphas=5, tol=1e-10)[1], atol=1e-6)
    two = np.column_stack([y, -y])
    model = Lasso(0.1, precompute=gram, fit_intercept=False, tol=1e-10).fit(X, two)
    np.testing.assert_allclose(model.coef_, Lasso(0.1, fit_intercept=False, tol=1e-10).fit(X, two).coef_, atol=1e-6)
    with pytest.raises(ValueError, match="several tasks"):
        lasso_path(X, two, precompute=gram)


def test_another_matrix_is_refused():
    X, y, _ = data(np.float64, 20)
    X = X - X.mean(0)
    wrong = X.T @ X
    wrong[3, 7] *= 1 + 1e-3
    with pytest.raises(ValueError, match="Gram matrix.*did not pass validation.*row 3"):
        Lasso(precompute=wrong).fit(X, y)
    with pytest.raises(ValueError, match="has shape"):
        Lasso(precompute=np.eye(3)).fit(X, y)
    with pytest.raises(ValueError, match="that of no fold"):
        LassoCV(precompute=X.T @ X).fit(X, y)


def test_one_of_rows_that_an_intercept_would_move_is_made_anew():
    X, y, _ = data(np.float64, 20)
    with pytest.warns(UserWarning, match="X was centered"):
        model = Lasso(0.1, precompute=X.T @ X, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(model.coef_, Lasso(0.1, tol=1e-10).fit(X, y).coef_, atol=1e-7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Lasso(0.1, precompute=X.T @ X, fit_intercept=False).fit(X, y)
