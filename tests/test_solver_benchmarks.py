"""What judges the solvers."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.metrics import log_loss

from benchmarks import many_samples, solver_problems, solver_profile


def test_objectives_are_those_that_are_minimised():
    rng = np.random.default_rng(0)
    X, alpha = rng.standard_normal((200, 5)), 0.05
    f = X @ rng.standard_normal(5)
    y = f + rng.logistic(size=200) > 0
    model = LogisticRegression(C=1 / (alpha * 200), tol=1e-10).fit(X, y)
    by_hand = log_loss(y, model.predict_proba(X)) + alpha / 2 * (model.coef_**2).sum()
    assert solver_profile.objective("logistic", model, X, y, alpha) == pytest.approx(by_hand)
    assert many_samples.objective("particles", model, X, y, alpha) == pytest.approx(by_hand)
    ridge = Ridge(alpha * 200).fit(X, f)
    least = solver_profile.objective("ridge", ridge, X, f, alpha)
    counts = rng.poisson(np.exp(f / 3))
    poisson = PoissonRegressor(alpha=alpha, tol=1e-10).fit(X, counts)
    fewest = many_samples.objective("claims", poisson, X, counts, alpha)
    for i in range(5):  # nothing near is lower
        for move in (-0.01, 0.01):
            for fitted, worse, lowest in (
                (ridge, lambda m: solver_profile.objective("ridge", m, X, f, alpha), least),
                (poisson, lambda m: many_samples.objective("claims", m, X, counts, alpha), fewest),
            ):
                fitted.coef_[i] += move
                assert worse(fitted) > lowest
                fitted.coef_[i] -= move


def test_a_time_is_that_of_the_first_run_near_the_least():
    curves = {
        "jaxlearn a": [[1e-3, 1.0, 1.5], [1e-4, 2.0, 1.0 + 5e-5], [1e-8, 3.0, 1.0]],
        "scikit-learn b": [[1e-3, 9.0, 1.1]],
    }
    assert solver_profile.times(curves, 1.0) == {"jaxlearn a": [2.0, 3.0], "scikit-learn b": [np.inf, np.inf]}


@pytest.mark.parametrize("problem", [solver_problems.cancer_raw, solver_problems.digits, solver_problems.diabetes])
def test_real_problems_need_no_download(problem):
    X, y, alpha = problem()
    assert len(X) == len(y)
    assert alpha > 0
