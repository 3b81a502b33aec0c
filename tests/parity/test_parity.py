"""Real data, both dtypes, beside scikit-learn: equal objectives first, judged in float64 by NumPy, then certificates."""

import numpy as np
import pytest
from scipy import sparse
from sklearn import datasets
from sklearn import linear_model as peer
from sklearn.preprocessing import StandardScaler

from jaxlearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge

BAR = {np.dtype(np.float64): 1e-8, np.dtype(np.float32): 1e-5}
TOL = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 1e-6}


def load(name, data_dir):
    if name == "diabetes":
        return datasets.load_diabetes(return_X_y=True)
    if name == "breast_cancer":
        X, y = datasets.load_breast_cancer(return_X_y=True)
        return StandardScaler().fit_transform(X), y
    if data_dir is None:
        pytest.skip(f"{name}: JAXLEARN_DATA names no folder")
    with np.load(data_dir / f"{name}.npz", allow_pickle=False) as f:
        if name == "leukemia_golub":
            return StandardScaler().fit_transform(f["X"].astype(float)), np.where(f["y"] == f["y"][0], 1.0, -1.0)
        if name == "covertype_93k":
            X = f["X"].astype(float)
            return StandardScaler().fit_transform(X[:, X.std(0) > 0]), (f["y"] == f["y"][0]).astype(int)
        X = sparse.csr_array(
            tuple(f[f"X_train_{part}"] for part in ("data", "indices", "indptr")), shape=f["X_train_shape"]
        )
        X = X.astype(float)
        return X.multiply(1 / np.maximum(abs(X).max(axis=1).toarray(), 1).reshape(-1, 1)).tocsr(), (
            f["y_train"] < 10
        ).astype(int)


def predictor(model, X):
    return X @ np.asarray(model.coef_, float).ravel() + float(np.ravel(model.intercept_)[0])


def elastic_net(model, X, y, alpha, ratio):
    b = np.asarray(model.coef_, float).ravel()
    r = y - predictor(model, X)
    return r @ r / (2 * len(y)) + alpha * (ratio * np.abs(b).sum() + 0.5 * (1 - ratio) * (b @ b))


def logistic(model, X, y, C):
    b = np.asarray(model.coef_, float).ravel()
    f = predictor(model, X)
    return np.logaddexp(0, np.where(y, -f, f)).sum() + 0.5 * (b @ b) / C


def excess(found, reference):
    return (found - reference) / abs(reference)


@pytest.mark.parametrize("name", ["diabetes", "breast_cancer", "leukemia_golub"])
@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_elastic_net(name, ratio, data_dir, data_dtype):
    X, y = load(name, data_dir)
    y = y.astype(float)
    X = X.astype(data_dtype).astype(float)  # one problem for both
    alpha = 0.1 * np.abs((y - y.mean()) @ (X - X.mean(0))).max() / (len(y) * ratio)
    tol = TOL[data_dtype]
    ours = Lasso(alpha, tol=tol) if ratio == 1 else ElasticNet(alpha, l1_ratio=ratio, tol=tol)
    ours.fit(X.astype(data_dtype), y)
    theirs = peer.ElasticNet(alpha, l1_ratio=ratio, tol=1e-12, max_iter=1_000_000).fit(X, y)
    best = elastic_net(theirs, X, y, alpha, ratio)
    assert abs(excess(elastic_net(ours, X, y, alpha, ratio), best)) <= BAR[data_dtype]
    assert ours.converged_
    # the certificate bounds what is left, as far as the precision it is computed in can tell
    assert (
        elastic_net(ours, X, y, alpha, ratio) - best
        <= ours.dual_gap_ + 1e-6 * best * (data_dtype == np.float32) + 1e-12 * best
    )
    assert 0 <= ours.dual_gap_ <= tol * np.mean((y - y.mean()) ** 2) * (1 + 1e-5)


@pytest.mark.parametrize("name", ["diabetes", "breast_cancer", "leukemia_golub"])
def test_ridge(name, data_dir, data_dtype):
    X, y = load(name, data_dir)
    X = X.astype(data_dtype).astype(float)
    y = y.astype(float)
    ours, theirs = Ridge(1.0).fit(X.astype(data_dtype), y), peer.Ridge(1.0, solver="svd").fit(X, y)
    a, b = (elastic_net(m, X, y, 1.0 / len(y), 0.0) for m in (ours, theirs))
    assert abs(excess(a, b)) <= BAR[data_dtype]


@pytest.mark.parametrize("name", ["diabetes", "breast_cancer"])
def test_least_squares(name, data_dir, data_dtype):
    X, y = load(name, data_dir)
    X = X.astype(data_dtype).astype(float)
    y = y.astype(float)
    ours, theirs = LinearRegression().fit(X.astype(data_dtype), y), peer.LinearRegression().fit(X, y)
    a, b = (elastic_net(m, X, y, 0.0, 0.0) for m in (ours, theirs))
    assert abs(excess(a, b)) <= BAR[data_dtype]
    assert ours.rank_ == theirs.rank_


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cholesky"])
@pytest.mark.parametrize("name", ["breast_cancer", pytest.param("covertype_93k", marks=pytest.mark.slow)])
def test_logistic(name, solver, data_dir, data_dtype):
    X, y = load(name, data_dir)
    X = X.astype(data_dtype).astype(float)
    tol = 1e-7 if data_dtype == np.float64 else 2e-5
    ours = LogisticRegression(solver=solver, tol=tol, max_iter=1000).fit(X.astype(data_dtype), y)
    theirs = peer.LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(X, y)
    a, b = (logistic(m, X, y, 1.0) for m in (ours, theirs))
    assert abs(excess(a, b)) <= BAR[data_dtype]
    assert ours.converged_
    assert ours.certificate_ <= tol


def test_multinomial(data_dtype):
    X, y = datasets.load_digits(return_X_y=True)
    tol = 1e-8 if data_dtype == np.float64 else 1e-5
    ours = LogisticRegression(C=0.01, tol=tol, max_iter=5000).fit(X.astype(data_dtype), y)
    theirs = peer.LogisticRegression(C=0.01, solver="newton-cholesky", tol=1e-10, max_iter=100).fit(X, y)

    def objective(model):
        f = X @ np.asarray(model.coef_, float).T + model.intercept_
        return (np.logaddexp.reduce(f, axis=1) - f[np.arange(len(y)), y]).sum() + 50 * np.sum(
            np.asarray(model.coef_, float) ** 2
        )

    assert abs(excess(objective(ours), objective(theirs))) <= BAR[data_dtype]


@pytest.mark.slow
def test_text(data_dir, data_dtype):
    """11314 × 130107, 1.8 million non-zeros, centred where there is an intercept, never densified."""
    X, y = load("newsgroups20", data_dir)
    data = X.astype(data_dtype)
    target = np.where(y, 1.0, -1.0)

    ours = Ridge(1.0, tol=1e-9 if data_dtype == np.float64 else 1e-6).fit(data, target)
    theirs = peer.Ridge(1.0, solver="sparse_cg", tol=1e-11).fit(X, target)
    a, b = (elastic_net(m, X, target, 1.0 / len(y), 0.0) for m in (ours, theirs))
    assert abs(excess(a, b)) <= BAR[data_dtype]

    alpha = 0.1 * np.abs(X.T @ (target - target.mean())).max() / len(y)
    ours = Lasso(alpha, tol=TOL[data_dtype]).fit(data, target)
    theirs = peer.Lasso(alpha, tol=1e-10, max_iter=100_000).fit(X.tocsc(), target)
    a, b = (elastic_net(m, X, target, alpha, 1.0) for m in (ours, theirs))
    assert abs(excess(a, b)) <= BAR[data_dtype]

    ours = LogisticRegression(tol=1e-7 if data_dtype == np.float64 else 1e-5, max_iter=5000).fit(data, y)
    theirs = peer.LogisticRegression(tol=1e-8, max_iter=5000).fit(X, y)
    a, b = (logistic(m, X, y, 1.0) for m in (ours, theirs))
    assert excess(a, min(a, b)) <= BAR[data_dtype]
