"""Rows that are centred are not copied by programs: NumPy's are shifted in the copy that is made in any case."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.linear_model

from jaxlearn import linear_model
from jaxlearn.estimators import base
from jaxlearn.estimators.inputs import near, place
from jaxlearn.models import glm

TIGHT = {"tol": 1e-9, "max_iter": 100_000}
rng = np.random.default_rng(0)
rows = rng.standard_normal((300, 8))
location = 50 * rng.standard_normal(8)
y = rows[:, :3].sum(1) + 0.3 * rng.standard_normal(300) + 4
Y, two, three = np.stack([y, rows[:, 2] - 0.1 * y], 1), (y > 4).astype(int), np.digitize(y, [3, 5])
weight = rng.uniform(0.1, 2, 300)


@pytest.mark.parametrize(
    ("name", "options", "target", "weighted"),
    [
        ("LinearRegression", {}, y, True),
        ("LinearRegression", {"positive": True}, y, False),
        ("LinearRegression", {}, Y, False),
        ("LinearRegression", {}, y[:, None], False),
        ("Lasso", {"alpha": 0.1, **TIGHT}, y, True),
        ("ElasticNet", {"alpha": 0.1, **TIGHT}, Y, False),
        ("LassoCV", {"alphas": 10, "cv": 3, **TIGHT}, y, False),
        ("MultiTaskLasso", {"alpha": 0.1, **TIGHT}, Y, False),
        ("MultiTaskLassoCV", {"alphas": 10, "cv": 3, **TIGHT}, Y, False),
    ],
)
def test_rows_far_from_zero(name, options, target, weighted):
    far = rows + location
    given = {"sample_weight": weight} if weighted else {}
    ours, theirs = (getattr(m, name)(**options).fit(far, target, **given) for m in (linear_model, sklearn.linear_model))
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-8)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-6)
    assert np.shape(ours.intercept_) == np.shape(theirs.intercept_)


@pytest.mark.parametrize("target", [two, three], ids=["two classes", "three"])
def test_logits_do_not_change_with_a_shift(target):
    at = [linear_model.LogisticRegression(l1_ratio=1, C=0.3, tol=1e-10).fit(X, target) for X in (rows, rows + location)]
    np.testing.assert_allclose(at[1].coef_, at[0].coef_, atol=1e-6)
    np.testing.assert_allclose(at[1].intercept_, at[0].intercept_ - centred(at[0].coef_ @ location), atol=1e-4)
    options = {"l1_ratios": (1.0, 0.0), "Cs": 2, "cv": 2, "tol": 1e-10, "use_legacy_attributes": False}
    at = [linear_model.LogisticRegressionCV(**options).fit(X, target) for X in (rows, rows + location)]
    np.testing.assert_allclose(at[1].scores_, at[0].scores_, atol=1e-6)
    moved = at[0].coefs_paths_[..., -1] - centred(at[0].coefs_paths_[..., :-1] @ location)
    np.testing.assert_allclose(at[1].coefs_paths_[..., -1], moved, atol=1e-4)


def centred(moves):
    """Intercepts of several classes sum to zero."""
    return moves - moves.mean(-1, keepdims=True) if moves.shape[-1] > 1 else moves


@pytest.mark.parametrize("target", [two, three], ids=["two classes", "three"])
def test_a_warm_start_knows_of_the_shift(target):
    model = linear_model.LogisticRegression(l1_ratio=1, C=0.3, tol=1e-8, warm_start=True).fit(rows + location, target)
    assert model.n_iter_ > 1
    assert model.fit(rows + location, target).n_iter_ == 1


def test_rows_on_a_device_are_not_shifted_where_they_are_near_zero(x64):
    constant = np.column_stack([rows, np.ones(300)])
    for X, expected in ((rows, True), (rows + location, False), (constant, False)):
        data = place(jnp.asarray(X), y, weight, centred=True)
        assert data.near_zero is expected
        assert data.location is None
        ours = linear_model.Lasso(alpha=0.1, **TIGHT).fit(jnp.asarray(X), y)
        theirs = sklearn.linear_model.Lasso(alpha=0.1, **TIGHT).fit(X, y)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-8)


def test_padding_is_shifted_alike():
    data = place(rows + location, y, weight, centred=True)
    np.testing.assert_allclose(data.location, near(rows + location))
    np.testing.assert_array_equal(data.X[:300], rows + location - data.location)
    np.testing.assert_array_equal(data.X[300:], data.X[: len(data.X) - 300])


@pytest.mark.parametrize(
    ("name", "options", "target"),
    [
        ("LinearRegression", {}, "one"),
        ("Ridge", {}, "one"),
        ("Lasso", {"alpha": 0.1}, "one"),
        ("MultiTaskLasso", {"alpha": 0.1}, "several"),
        ("MCPRegression", {"alpha": 0.1}, "one"),
        ("LogisticRegression", {}, "classes"),
        ("LogisticRegression", {"l1_ratio": 1}, "classes"),
        ("PoissonRegressor", {}, "counts"),
    ],
)
@pytest.mark.parametrize("where", ["host", "device"])
def test_no_program_copies_the_rows(name, options, target, where, monkeypatch):
    """Programs make numbers for each row, and for each pair of columns."""
    temporary = []

    def compiled(program):
        def run(rows, rest):
            made = jax.jit(program).lower(rows, rest).compile()
            temporary.append(made.memory_analysis().temp_size_in_bytes)
            return made(rows, rest)

        return run

    monkeypatch.setattr(base, "_compiled", compiled)
    monkeypatch.setattr(jax, "device_count", lambda: 1)  # as on a machine with one
    X = rng.standard_normal((65_536, 64), dtype=np.float32)
    f = X[:, :3].sum(1)
    y = {"one": f, "several": np.stack([f, -f], 1), "classes": f > 0, "counts": np.exp(f / 4)}[target]
    X = X + (10 if where == "host" else 0)
    getattr(linear_model, name)(**options).fit(X if where == "host" else jnp.asarray(X), y)
    assert max(temporary) < 0.35 * X.nbytes


@pytest.mark.parametrize("n_samples", [8191, 8192, 20_000])
def test_triangular_factors_of_some_rows_at_a_time(n_samples, dtype):
    """QR of parts, whether or not they divide the rows, and of lanes of weights."""
    X, w = rng.standard_normal((n_samples, 5)).astype(dtype) + 3, rng.uniform(0, 1, (2, n_samples)).astype(dtype)
    target = (X[:, :2] + rng.standard_normal((n_samples, 2))).astype(dtype)
    fit = jax.jit(jax.vmap(lambda w: glm.fit(glm.GLM(solver="least_squares"), X, target, w)))
    found = fit(w)
    for lane, weights in enumerate(w):
        theirs = sklearn.linear_model.LinearRegression().fit(X.astype(float), target, weights)
        atol = 1e-10 if dtype == np.float64 else 2e-5
        np.testing.assert_allclose(found.coef[lane], theirs.coef_.T, atol=atol)
        np.testing.assert_allclose(found.intercept[lane], theirs.intercept_, atol=10 * atol)
