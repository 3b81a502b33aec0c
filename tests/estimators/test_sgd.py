"""Stochastic gradient descent: the iterates of scikit-learn, and what is ours."""

import numpy as np
import pytest
import scipy.sparse
import sklearn.linear_model as peer
from sklearn.exceptions import ConvergenceWarning

from jaxlearn.linear_model import (
    PassiveAggressiveClassifier,
    PassiveAggressiveRegressor,
    Perceptron,
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
)

CLASSIFICATION = "hinge", "squared_hinge", "perceptron", "log_loss", "modified_huber"
REGRESSION = "squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive"
IN_ORDER = {"shuffle": False, "tol": None, "max_iter": 3}


def rows(n=120, p=7, n_classes=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * (rng.random((n, p)) < 0.6)
    scores = X @ rng.standard_normal((p, n_classes)) + rng.standard_normal((n, n_classes))
    return X, scores.argmax(1) if n_classes > 1 else scores[:, 0]


def same(ours, theirs, X, y, atol=1e-9, **fit):
    ours.fit(X, y, **fit)
    theirs.fit(X, y, **fit)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=atol)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=atol)
    assert ours.coef_.shape == theirs.coef_.shape
    assert (ours.n_iter_, ours.t_) == (theirs.n_iter_, theirs.t_)


@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet", None])
@pytest.mark.parametrize("loss", CLASSIFICATION)
def test_iterates_of_classifiers(loss, penalty):
    X, y = rows()
    options = {"loss": loss, "penalty": penalty, "alpha": 0.01, **IN_ORDER}
    if (
        loss == "squared_hinge"
    ):  # whose default steps are so long that scikit-learn ends beyond 1e9, and this fit begins anew
        options["learning_rate"] = "invscaling"
    same(SGDClassifier(**options), peer.SGDClassifier(**options), X, y)


@pytest.mark.parametrize("loss", REGRESSION)
@pytest.mark.parametrize("schedule", ["invscaling", "constant", "optimal", "adaptive"])
def test_iterates_of_regressors(loss, schedule):
    X, y = rows(n_classes=1)
    options = {"loss": loss, "learning_rate": schedule, "alpha": 1.0 if schedule == "optimal" else 0.01, **IN_ORDER}
    same(SGDRegressor(**options), peer.SGDRegressor(**options), X, y)


@pytest.mark.parametrize("average", [True, 50, 1000])
@pytest.mark.parametrize("penalty", ["l2", None])
@pytest.mark.parametrize("sparse", [False, True])
def test_averages(average, penalty, sparse):
    X, y = rows()
    X = scipy.sparse.csr_matrix(X) if sparse else X
    options = {"penalty": penalty, "average": average, "learning_rate": "constant", **IN_ORDER}
    same(SGDClassifier(**options), peer.SGDClassifier(**options), X, y)


def test_an_average_of_truncated_iterates():
    """It is the mean of the iterates; scikit-learn's is another where an l1 penalty truncates."""
    X, y = rows(40)
    options = {
        "penalty": "l1",
        "alpha": 0.01,
        "learning_rate": "constant",
        "shuffle": False,
        "tol": None,
        "max_iter": 1,
    }
    iterates = [SGDClassifier(**options).fit(X[:i], y[:i]).coef_ for i in range(8, 41)]
    found = SGDClassifier(average=8, **options).fit(X, y)
    np.testing.assert_allclose(found.coef_, np.mean(iterates, axis=0), atol=1e-9)


@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet"])
def test_sparse_rows(penalty):
    X, y = rows(p=150, n=60)
    options = {"penalty": penalty, "alpha": 0.01, **IN_ORDER}
    same(SGDClassifier(**options), peer.SGDClassifier(**options), scipy.sparse.csr_matrix(X), y)


def test_classes_and_weights():
    X, y = rows(n_classes=4)
    weight = np.random.default_rng(0).random(len(y))
    options = {"class_weight": {1: 3.0}, "alpha": 0.01, **IN_ORDER}
    same(SGDClassifier(**options), peer.SGDClassifier(**options), X, y, sample_weight=weight)
    options = {"loss": "log_loss", "class_weight": "balanced", **IN_ORDER}
    ours, theirs = SGDClassifier(**options), peer.SGDClassifier(**options)
    same(ours, theirs, X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-7)
    ours, theirs = (model.set_params(loss="modified_huber").fit(X, y) for model in (ours, theirs))
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-7)


@pytest.mark.filterwarnings("ignore:.*deprecated.*:FutureWarning")
@pytest.mark.parametrize("squared", ["", "squared_"])
def test_others(squared):
    X, y = rows()
    same(Perceptron(**IN_ORDER), peer.Perceptron(**IN_ORDER), X, y)
    options = {"C": 0.1, "loss": f"{squared}hinge", **IN_ORDER}
    same(PassiveAggressiveClassifier(**options), peer.PassiveAggressiveClassifier(**options), X, y)
    X, y = rows(n_classes=1)
    options = {"C": 0.1, "loss": f"{squared}epsilon_insensitive", **IN_ORDER}
    same(PassiveAggressiveRegressor(**options), peer.PassiveAggressiveRegressor(**options), X, y)
    ours, theirs = (kind(nu=0.3, **IN_ORDER).fit(X) for kind in (SGDOneClassSVM, peer.SGDOneClassSVM))
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-9)
    np.testing.assert_allclose(ours.offset_, theirs.offset_, atol=1e-9)
    assert (ours.predict(X) == theirs.predict(X)).all()


def test_partial_fit_goes_on():
    X, y = rows()
    # scikit-learn goes on from an average with an intercept that it has forgotten
    for options in ({"average": True, "learning_rate": "constant", "fit_intercept": False}, {"alpha": 0.01}):
        ours, theirs = (kind(shuffle=False, **options) for kind in (SGDClassifier, peer.SGDClassifier))
        for part in (slice(0, 50), slice(50, 120), slice(0, 30)):
            ours.partial_fit(X[part], y[part], classes=[0, 1])
            theirs.partial_fit(X[part], y[part], classes=[0, 1])
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-9)
        assert ours.t_ == theirs.t_


@pytest.mark.parametrize("schedule", ["optimal", "adaptive"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_stops(schedule, early_stopping):
    X, y = rows(300, n_classes=3)
    model = SGDClassifier(learning_rate=schedule, eta0=0.1, early_stopping=early_stopping, random_state=0, max_iter=500)
    model.fit(X, y)
    assert 5 < model.n_iter_ < 500
    assert model.score(X, y) > 0.6
    again = SGDClassifier(**model.get_params()).fit(X, y)
    assert (again.coef_ == model.coef_).all()


def test_batches():
    X, y = rows(600, n_classes=3)
    large = 100 * X  # steps of one sample would be far too long
    options = {"loss": "log_loss", "alpha": 1e-3, "random_state": 0, "average": True, "batch_size": 16, "tol": None}
    model = SGDClassifier(max_iter=30, **options).fit(large, y)
    best = peer.LogisticRegression(C=1 / (1e-3 * 600)).fit(X, y)
    assert model.score(large, y) > best.score(X, y) - 0.03
    uneven = SGDClassifier(max_iter=2, **{**options, "batch_size": 250}).fit(X, y)
    assert np.isfinite(uneven.coef_).all()
    with pytest.raises(ValueError, match="batch_size=1"):
        SGDClassifier(learning_rate="pa1", batch_size=4).fit(X, y)


@pytest.mark.parametrize("average", [False, 40])
@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet", None])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_batches_by_the_formula(penalty, average, fit_intercept):
    """Sparse and dense rows, beside a loop in NumPy with the step sizes of the schedule."""
    X, y = rows(90, n_classes=1)
    X[7] = 0  # a sparse row without entries
    alpha, ratio = 0.05, {"l1": 1.0, "elasticnet": 0.3, "l2": 0.0, None: 0.0}[penalty]
    options = {"penalty": penalty, "alpha": alpha, "l1_ratio": 0.3, "average": average, "fit_intercept": fit_intercept}
    options |= {"learning_rate": "constant", "eta0": 0.02, "batch_size": 20, **IN_ORDER, "max_iter": 12}
    w, b, iterates = np.zeros(7), 0.0, []
    for _ in range(12):
        for first in range(0, 90, 20):
            batch, target = X[first : first + 20], y[first : first + 20]
            residual = batch @ w + b - target
            w = (1 - 0.02 * alpha * (1 - ratio) * (penalty is not None)) * w - 0.02 * batch.T @ residual / len(batch)
            w = np.sign(w) * np.maximum(abs(w) - 0.02 * alpha * ratio, 0)
            b -= fit_intercept * 0.02 * residual.mean()
            iterates.append([*w, b])
    expected = np.mean(iterates[39:], 0) if average else iterates[-1]
    for data in (X, scipy.sparse.csr_matrix(X)):
        model = SGDRegressor(**options).fit(data, y)
        np.testing.assert_allclose([*model.coef_, *model.intercept_], expected, rtol=1e-9, atol=1e-12)


def test_sparse_batches_larger_than_a_piece():
    rng = np.random.default_rng(0)
    X = scipy.sparse.random(400, 3000, 0.02, "csr", random_state=0, data_rvs=rng.standard_normal)
    y = rng.integers(3, size=400)
    options = {"loss": "log_loss", "random_state": 0, "max_iter": 20, "tol": None, "batch_size": 64}
    dense, sparse = (SGDClassifier(**options).fit(data, y) for data in (X.toarray(), X))
    np.testing.assert_allclose(sparse.coef_, dense.coef_, rtol=1e-8, atol=1e-10)
    assert sparse.score(X, y) > 0.99


def test_divergence_is_met_once_and_then_told():
    X, y = np.ones((100, 1)), np.full(100, 0.5)
    options = {"learning_rate": "constant", "tol": None, "alpha": 0, "fit_intercept": False, "max_iter": 60}
    with pytest.warns(ConvergenceWarning, match="diverged"):  # the error doubles with every sample
        model = SGDRegressor(eta0=3, **options).fit(X, y)
    np.testing.assert_allclose(model.coef_, 0.5)
    with pytest.warns(ConvergenceWarning, match="in vain"):
        SGDRegressor(eta0=1e5, **options).fit(X, y)
    with pytest.raises(ValueError, match="Floating-point under-/overflow occurred at epoch #1"):
        SGDRegressor(eta0=1e5, **options).fit(1e300 * X, y)


def test_bad_input():
    X, y = rows()
    with pytest.raises(ValueError, match="classes must be passed"):
        SGDClassifier().partial_fit(X, y)
    model = SGDClassifier().partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match=r"has the classes \[7\]"):
        model.partial_fit(X, y * 7)
    with pytest.raises(ValueError, match="expecting 7 features"):
        model.partial_fit(X[:, :3], y)
    with pytest.raises(ValueError, match="alpha must be > 0"):
        SGDClassifier(alpha=0).fit(X, y)
    with pytest.raises(ValueError, match="greater than one"):
        SGDClassifier().fit(X, 0 * y)
    with pytest.raises(AttributeError, match="predict_proba"):
        SGDClassifier().fit(X, y).predict_proba(X)
    with pytest.warns(ConvergenceWarning, match="Maximum number"):
        SGDClassifier(max_iter=1).fit(X, y)
