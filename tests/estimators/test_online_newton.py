"""The estimators that learn in one pass."""

import numpy as np
import pytest
import scipy.sparse

from jaxlearn import stream
from jaxlearn.access import write_tiles
from jaxlearn.linear_model import (
    ElasticNet,
    LinearRegression,
    LogisticRegression,
    OnlineNewtonClassifier,
    OnlineNewtonRegressor,
    Ridge,
)


def regression(n=400, p=5, *, dtype=np.float64, targets=()):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p)) + 1
    y = X @ rng.standard_normal((p, *targets)) + 0.5 * rng.standard_normal((n, *targets))
    return X.astype(dtype), y.astype(dtype)


def classes(n=3000, p=4, *, n_classes=2, dtype=np.float64):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p))
    scores = X @ rng.standard_normal((p, n_classes)) + rng.gumbel(size=(n, n_classes))
    return X.astype(dtype), np.array(["a", "b", "c"])[scores.argmax(1)]


@pytest.mark.parametrize("targets", [(), (1,), (3,)])
def test_least_squares(targets, dtype):
    X, y = regression(dtype=dtype, targets=targets)
    found, expected = OnlineNewtonRegressor(alpha=0).fit(X, y), LinearRegression().fit(X, y)
    tol = 1e-9 if dtype == np.float64 else 1e-4
    assert found.coef_.shape == expected.coef_.shape
    assert found.coef_.dtype == dtype
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=tol)
    np.testing.assert_allclose(found.predict(X), expected.predict(X), atol=10 * tol)
    parts = OnlineNewtonRegressor(alpha=0)
    for i in range(0, 400, 37):
        parts.partial_fit(X[i : i + 37], y[i : i + 37])
    np.testing.assert_allclose(parts.coef_, expected.coef_, atol=tol)
    assert parts.n_samples_seen_ == 400
    assert parts.certificate_ < tol


def test_every_source_gives_the_same(tmp_path):
    X, y = regression(dtype=np.float32)
    expected = OnlineNewtonRegressor(alpha=0.1).fit(X, y).coef_
    np.save(tmp_path / "rows.npy", X)
    write_tiles(X, tmp_path / "tiles", dtype="float32", tile_rows=64, seed=0)
    order = [(X[i : i + 60], y[i : i + 60]) for i in range(0, 400, 60)]
    sources = [
        (scipy.sparse.csr_matrix(X), y),
        (stream(tmp_path / "rows.npy", block_size=70), y),
        (stream(lambda: (X[i : i + 50] for i in range(0, 400, 50)), block_size=50), y),
        (iter(order), None),
        ((batch for batch in order), None),
    ]
    for rows, target in sources:
        found = OnlineNewtonRegressor(alpha=0.1).fit(rows, target)
        np.testing.assert_allclose(found.coef_, expected, atol=1e-4)
        assert found.n_samples_seen_ == 400


def test_any_penalty_at_any_time():
    X, y = regression()
    model = OnlineNewtonRegressor(alpha=0.0).fit(X, y)
    for alpha, ratio in ((0.1, 0.0), (0.1, 1.0), (0.3, 0.5)):
        model.set_params(alpha=alpha, l1_ratio=ratio, tol=1e-10).solve()
        expected = ElasticNet(alpha=alpha, l1_ratio=ratio, tol=1e-10) if ratio else Ridge(alpha * len(X))
        np.testing.assert_allclose(model.coef_, expected.fit(X, y).coef_, atol=1e-5)
    model.set_params(positive=True).solve()
    assert (model.coef_ >= 0).all()
    with pytest.raises(ValueError, match="expansions are not exact"):
        OnlineNewtonRegressor(loss="poisson", l1_ratio=0.5).fit(X, abs(y))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classifiers(n_classes, dtype):
    X, y = classes(n_classes=n_classes, dtype=dtype)
    found = OnlineNewtonClassifier(alpha=1e-4, random_state=0, batch_size=200).fit(X, y)
    expected = LogisticRegression(C=1 / (1e-4 * len(X)), tol=1e-8).fit(X, y)
    probabilities, best = found.predict_proba(X), expected.predict_proba(X)
    assert np.abs(probabilities - best).max() < 0.03
    assert found.coef_.shape == expected.coef_.shape
    assert found.coef_.dtype == dtype
    assert (found.predict(X) == expected.predict(X)).mean() > 0.985
    again = OnlineNewtonClassifier(**found.get_params()).fit(X, y)
    assert (again.coef_ == found.coef_).all()


def test_poisson():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4000, 3))
    y = rng.poisson(np.exp(X @ [0.5, -0.3, 0.1] + 0.2))
    model = OnlineNewtonRegressor(loss="poisson", alpha=0, random_state=0).fit(X, y)
    np.testing.assert_allclose(model.coef_, [0.5, -0.3, 0.1], atol=0.06)
    assert (model.predict(X) > 0).all()
    with pytest.raises(ValueError, match="y >= 0"):
        model.partial_fit(X, y - 5)


def test_merge():
    X, y = regression()
    a, b = OnlineNewtonRegressor().fit(X[:150], y[:150]), OnlineNewtonRegressor().fit(X[150:], y[150:])
    np.testing.assert_allclose(a.merge(b).coef_, OnlineNewtonRegressor().fit(X, y).coef_, atol=1e-9)
    assert a.n_samples_seen_ == 400
    with pytest.raises(ValueError, match="features"):
        a.merge(OnlineNewtonRegressor().fit(X[:, :2], y))
    Z, labels = classes()
    model = OnlineNewtonClassifier().fit(Z, labels)
    with pytest.raises(TypeError, match="OnlineNewtonRegressor"):
        model.merge(a)
    with pytest.raises(ValueError, match="classes"):
        model.merge(OnlineNewtonClassifier().fit(*classes(n_classes=3)))


def test_bad_batches():
    X, y = regression()
    Z, labels = classes(100)
    with pytest.raises(ValueError, match="NaN: see batch 1"):
        OnlineNewtonRegressor().fit([(X, y), (np.where(X > 2, np.nan, X), y)].__iter__())
    with pytest.raises(ValueError, match=r"batch 1 has X of shape \(400, 3\); expected \(rows, 5\)"):
        OnlineNewtonRegressor().fit(iter([(X, y), (X[:, :3], y)]))
    with pytest.raises(ValueError, match="batch 1 has dtype float32"):
        OnlineNewtonRegressor().fit(iter([(X, y), (X.astype(np.float32), y)]))
    with pytest.raises(ValueError, match="batch 1 has 400 rows"):
        OnlineNewtonRegressor().fit(iter([(X, y), (X, y[:10])]))
    with pytest.raises(ValueError, match="batch 0 is ndarray"):
        OnlineNewtonRegressor().fit(iter([X]))
    with pytest.raises(ValueError, match="no batch"):
        OnlineNewtonRegressor().fit(iter([]))
    with pytest.raises(ValueError, match=r"batch 1 has the classes \['z'\]"):
        OnlineNewtonClassifier().fit(iter([(Z, labels), (Z, np.full(100, "z"))]))
    with pytest.raises(ValueError, match="only one class"):
        OnlineNewtonClassifier().fit(Z, np.full(100, "a"))
    with pytest.raises(ValueError, match="classes must be passed"):
        OnlineNewtonClassifier().partial_fit(Z, labels)
    model = OnlineNewtonClassifier().partial_fit(Z, labels, classes=["a", "b"])
    with pytest.raises(ValueError, match="expecting 4 features"):
        model.partial_fit(Z[:, :2], labels)
    with pytest.raises(ValueError, match="not the same as on last call"):
        model.partial_fit(Z, labels, classes=["a", "z"])
    with pytest.raises(ValueError, match="second moments"):
        OnlineNewtonRegressor().fit(np.ones((3, 6000)), np.ones(3))


def test_a_stream_of_other_length_than_its_targets(tmp_path):
    X, y = regression(dtype=np.float32)
    np.save(tmp_path / "rows.npy", X)
    with pytest.raises(ValueError, match="400 rows, and y 399"):
        OnlineNewtonRegressor().fit(stream(tmp_path / "rows.npy", block_size=70), y[:-1])
