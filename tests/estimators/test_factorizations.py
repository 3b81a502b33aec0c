"""The faces of dictionary learning and non-negative factorization, beside scikit-learn's: by objective."""

import numpy as np
import pytest
from sklearn import decomposition as sk

from jaxlearn.decomposition import NMF, DictionaryLearning, MiniBatchNMF, SparseCoder, sparse_encode

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def rows(n=120, p=16, k=6):
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((n, k)) * (rng.random((n, k)) < 0.4)
    return codes @ rng.standard_normal((k, p)) / 4 + 0.02 * rng.standard_normal((n, p))


@pytest.mark.parametrize("algorithm", ["lasso_cd", "lasso_lars", "omp", "lars", "threshold"])
def test_codes_are_those_of_scikit_learn(algorithm):
    X, D = rows(), rows(8)
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    options = {"n_nonzero_coefs": 3} if algorithm in ("omp", "lars") else {"alpha": 0.1}
    ours, theirs = (encode(X, D, algorithm=algorithm, **options) for encode in (sparse_encode, sk.sparse_encode))
    np.testing.assert_allclose(ours, theirs, atol=5e-3 * np.abs(theirs).max())
    coder = SparseCoder(D, transform_algorithm=algorithm, transform_alpha=0.1, transform_n_nonzero_coefs=3)
    assert coder.transform(X).shape == (120, 8)


def test_a_dictionary_is_as_good_as_scikit_learns():
    X, init = rows(), rows(6)
    init /= np.linalg.norm(init, axis=1, keepdims=True)

    def objective(module):
        model = module(6, alpha=0.1, max_iter=100, tol=1e-6, dict_init=init, transform_alpha=0.1).fit(X)
        codes = sk.sparse_encode(X, model.components_, algorithm="lasso_lars", alpha=0.1)
        return 0.5 * np.sum((X - codes @ model.components_) ** 2) + 0.1 * np.abs(codes).sum()

    assert objective(DictionaryLearning) <= objective(sk.DictionaryLearning) * 1.02


@pytest.mark.parametrize("options", [{}, {"solver": "mu", "beta_loss": "kullback-leibler"}], ids=str)
def test_non_negative_factors_are_as_good_as_scikit_learns(options):
    X = np.abs(rows())
    ours, theirs = (module(4, init="nndsvda", max_iter=300, **options).fit(X) for module in (NMF, sk.NMF))
    assert ours.reconstruction_err_ <= theirs.reconstruction_err_ * 1.02
    assert (ours.transform(X) >= 0).all()


@pytest.mark.parametrize("fresh_restarts", [False, True])
def test_mini_batches_end_with_the_codes_of_their_components(fresh_restarts, data_dtype):
    X = np.abs(rows()).astype(data_dtype)
    model = MiniBatchNMF(4, batch_size=30, max_iter=5, fresh_restarts=fresh_restarts, tol=0, random_state=0)
    codes = model.fit_transform(X)
    np.testing.assert_array_equal(codes, model.transform(X))
    error = np.linalg.norm(X.astype(float) - codes.astype(float) @ model.components_)
    np.testing.assert_allclose(model.reconstruction_err_, error, rtol=1e-3)
    again = MiniBatchNMF(4, batch_size=30, max_iter=5, fresh_restarts=fresh_restarts, tol=0, random_state=0).fit(X)
    np.testing.assert_array_equal(
        again.components_, model.components_
    )  # the codes of the end change nothing that is learnt


@pytest.mark.parametrize("beta_loss", ["frobenius", "kullback-leibler"])
def test_partial_fit_learns_like_fit(beta_loss, data_dtype):
    """`forget_factor` speaks of an epoch there, and of a batch here."""
    X, start = np.abs(rows()).astype(data_dtype), np.random.default_rng(1)
    W, H = (start.random(shape).astype(data_dtype) for shape in ((120, 4), (4, 16)))
    options = {"beta_loss": beta_loss, "init": "custom", "tol": 0, "batch_size": 30}
    whole = MiniBatchNMF(4, **options, forget_factor=0.5, max_iter=2, max_no_improvement=None, fresh_restarts=True)
    whole.fit(X, W=W, H=H)
    parts = MiniBatchNMF(4, **options, forget_factor=0.5 ** (30 / 120))
    for first in (0, 30, 60, 90, 0, 30, 60, 90):
        parts.partial_fit(X[first : first + 30], W=W[:30], H=H)
    assert parts.n_steps_ == whole.n_steps_ == 8
    np.testing.assert_allclose(parts.components_, whole.components_, atol=1e3 * np.finfo(data_dtype).eps)
