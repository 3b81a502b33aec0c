"""Distances and kernels of all pairs, as scikit-learn's."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import sklearn.metrics.pairwise as theirs

import jaxlearn.estimators.pairwise_distances as module
from jaxlearn.metrics import pairwise as ours


def rows(n=150, m=90, p=9, *, dtype=np.float64):
    rng = np.random.default_rng(0)
    X, Y = (rng.standard_normal((k, p)).astype(dtype) for k in (n, m))
    X[3], Y[5] = 0, 0
    return X, Y


FUNCTIONS = [
    ("euclidean_distances", {}),
    ("euclidean_distances", {"squared": True}),
    ("manhattan_distances", {}),
    ("cosine_distances", {}),
    ("linear_kernel", {}),
    ("polynomial_kernel", {"degree": 2, "gamma": 0.3, "coef0": 0.5}),
    ("polynomial_kernel", {}),
    ("sigmoid_kernel", {}),
    ("rbf_kernel", {"gamma": 0.2}),
    ("laplacian_kernel", {}),
    ("cosine_similarity", {}),
]


@pytest.mark.parametrize(("name", "options"), FUNCTIONS, ids=[f"{n}-{'-'.join(o)}" for n, o in FUNCTIONS])
@pytest.mark.parametrize("form", ["dense", "csr", "jax"])
def test_functions(name, options, form, data_dtype):
    X, Y = rows(dtype=data_dtype.type)
    tol = 1e-10 if data_dtype == np.float64 else 1e-4
    if form == "csr":
        X[X < 0], Y[Y < 0] = 0, 0
    make = {"dense": np.asarray, "csr": scipy.sparse.csr_matrix, "jax": jnp.asarray}[form]
    if form == "jax" and data_dtype == np.float64:
        pytest.skip("JAX is in single precision")
    for pair in ((X, Y), (X,)):
        found = getattr(ours, name)(*map(make, pair), **options)
        assert found.dtype == data_dtype
        expected = getattr(theirs, name)(*pair, **options)
        if name == "euclidean_distances":  # rounded as squares: of rows that are equal the root of a rounding is left
            found, expected = np.square(found), np.square(expected)
        np.testing.assert_allclose(found, expected, atol=tol, rtol=tol)


def test_haversine_and_names():
    X, Y = rows(p=2)
    np.testing.assert_allclose(ours.haversine_distances(X, Y), theirs.haversine_distances(X, Y), atol=1e-10)
    for metric, options in (
        ("euclidean", {}),
        ("l1", {}),
        ("chebyshev", {}),
        ("minkowski", {"p": 3}),
        ("sqeuclidean", {}),
        ("haversine", {}),
        ("euclidean", {"squared": True}),
    ):
        expected = theirs.pairwise_distances(X, Y, metric=metric, **options)
        np.testing.assert_allclose(ours.pairwise_distances(X, Y, metric=metric, **options), expected, atol=1e-10)
    found = ours.pairwise_distances(X, Y, metric=lambda x, y: jnp.abs(x - y).sum())
    np.testing.assert_allclose(found, theirs.manhattan_distances(X, Y), atol=1e-10)
    for metric in ("linear", "poly", "rbf", "laplacian", "cosine", "sigmoid"):
        np.testing.assert_allclose(
            ours.pairwise_kernels(X, Y, metric), theirs.pairwise_kernels(X, Y, metric), atol=1e-10
        )
    found = ours.pairwise_kernels(X, Y, "rbf", gamma=0.5, degree=3, filter_params=True)
    np.testing.assert_allclose(found, theirs.rbf_kernel(X, Y, gamma=0.5), atol=1e-10)
    found = ours.pairwise_kernels(X, Y, lambda x, y, c: c * x @ y, c=2.0)
    np.testing.assert_allclose(found, 2 * X @ Y.T, atol=1e-10)
    D = np.abs(X @ X.T)
    assert ours.pairwise_distances(D, metric="precomputed") is D
    assert ours.pairwise_kernels(D, metric="precomputed") is D


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "cosine"])
def test_the_nearest(metric, data_dtype):
    X, Y = rows(dtype=data_dtype.type)
    tol = 1e-10 if data_dtype == np.float64 else 1e-4
    for axis in (0, 1):
        expected = theirs.pairwise_distances_argmin_min(X, Y, metric=metric, axis=axis)
        found = ours.pairwise_distances_argmin_min(X, Y, metric=metric, axis=axis)
        np.testing.assert_allclose(found[1], expected[1], atol=tol)
        assert (found[0] == expected[0]).mean() > 0.98
        np.testing.assert_array_equal(found[0], ours.pairwise_distances_argmin(X, Y, metric=metric, axis=axis))


def test_dense_copies_are_made_of_some_rows_only(monkeypatch):
    X, Y = rows()
    expected = theirs.rbf_kernel(X, Y)
    monkeypatch.setattr(module, "MOST_NUMBERS", 9 * 32)
    np.testing.assert_allclose(ours.rbf_kernel(scipy.sparse.csr_matrix(X), Y), expected, atol=1e-10)
    np.testing.assert_allclose(ours.rbf_kernel(X, Y), expected, atol=1e-10)


def test_near_rows_far_from_the_origin():
    X = (1e4 + np.random.default_rng(0).standard_normal((50, 100))).astype(np.float32)
    found = ours.euclidean_distances(X)
    np.testing.assert_allclose(found, theirs.euclidean_distances(X.astype(float)), rtol=1e-5, atol=1e-5)
    assert (np.diag(found) == 0).all()


def test_bad_input():
    X, Y = rows()
    with pytest.raises(ValueError, match="Input contains NaN"):
        ours.euclidean_distances(np.where(X > 1, np.nan, X))
    with pytest.raises(ValueError, match="Incompatible dimension"):
        ours.rbf_kernel(X, Y[:, :3])
    with pytest.raises(ValueError, match="Unknown metric 'jaccard'"):
        ours.pairwise_distances(X, Y, metric="jaccard")
    with pytest.raises(ValueError, match="Unknown kernel 'chi2'"):
        ours.pairwise_kernels(X, Y, metric="chi2")
    with pytest.raises(ValueError, match="only valid in 2 dimensions"):
        ours.haversine_distances(X)
    with pytest.raises(ValueError, match="Negative values"):
        ours.pairwise_distances(-abs(X @ X.T), metric="precomputed")
    with pytest.raises(TypeError, match="unexpected keyword argument 'degree'"):
        ours.pairwise_kernels(X, Y, metric="rbf", degree=2)
