"""QuantileRegressor: scikit-learn's minima, names of solvers, options, places of X."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import sklearn.linear_model as peer
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import mean_pinball_loss

from jaxlearn.access import shard_rows
from jaxlearn.linear_model import QuantileRegressor

RNG = np.random.default_rng(0)
X = RNG.standard_normal((150, 5)) + 2
Y = X @ np.array([1.0, 0, -1, 0, 2]) + RNG.exponential(size=150)
WEIGHT = np.r_[np.zeros(20), RNG.integers(1, 4, 130)].astype(float)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(("q", "alpha"), [(0.5, 0.0), (0.2, 0.05), (0.9, 0.01), (0.5, 1.0)])
def test_minima_are_those_of_scikit_learn(q, alpha, intercept):
    options = {"quantile": q, "alpha": alpha, "fit_intercept": intercept}
    theirs = peer.QuantileRegressor(**options).fit(X, Y, WEIGHT)
    for rows in (X, scipy.sparse.csr_matrix(X), jnp.asarray(X, "float32")):
        ours = QuantileRegressor(**options).fit(rows, Y, WEIGHT)
        rtol = 1e-6 if isinstance(rows, jax.Array) else 1e-9
        values = [
            mean_pinball_loss(Y, X @ m.coef_ + m.intercept_, sample_weight=WEIGHT, alpha=q)
            + alpha * np.abs(m.coef_).sum()
            for m in (ours, theirs)
        ]
        np.testing.assert_allclose(*values, rtol=10 * rtol)
        assert ours.converged_
        assert 0 <= ours.certificate_ <= (2e-12 if rtol == 1e-9 else 7e-6)
        if rtol == 1e-9:
            np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-9)
            np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-8)
            np.testing.assert_array_equal(ours.coef_ == 0, theirs.coef_ == 0)
    assert intercept or ours.intercept_ == 0.0


def test_sharded_rows():
    with jax.enable_x64(True):
        rows, y, weight = shard_rows(X, Y)
        ours = QuantileRegressor(alpha=0.01).fit(rows, y, weight)
    np.testing.assert_allclose(ours.coef_, QuantileRegressor(alpha=0.01).fit(X, Y).coef_, atol=1e-10)


def test_names_of_one_solver():
    expected = QuantileRegressor(alpha=0.01).fit(X, Y).coef_
    for solver in ("auto", "highs", "highs-ds", "highs-ipm", "interior-point"):
        np.testing.assert_array_equal(QuantileRegressor(alpha=0.01, solver=solver).fit(X, Y).coef_, expected)
    with pytest.raises(ValueError, match="'solver' parameter"):
        QuantileRegressor(solver="revised simplex").fit(X, Y)


def test_options(count_compiles):
    loose = QuantileRegressor(alpha=0.01, solver_options={"tol": 1e-3}).fit(X, Y)
    with count_compiles() as compiled:
        tight = QuantileRegressor(quantile=0.4, alpha=0.02).fit(X, Y)
    assert compiled.count == 0, compiled.names
    assert loose.n_iter_ < tight.n_iter_
    with pytest.warns(ConvergenceWarning, match=r"duality gap .* after 2 steps"):
        short = QuantileRegressor(alpha=0.01, solver_options={"maxiter": 2}).fit(X, Y)
    assert not short.converged_
    with pytest.raises(ValueError, match=r"are 'tol' and 'maxiter'; got \['presolve'\]"):
        QuantileRegressor(solver_options={"presolve": True}).fit(X, Y)
    for bad in ({"tol": -1.0}, {"maxiter": 0}, {"maxiter": 1.5}):
        with pytest.raises(ValueError, match="solver_options"):
            QuantileRegressor(solver_options=bad).fit(X, Y)
