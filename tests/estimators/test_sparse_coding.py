"""Sparse codes beside scikit-learn's, by objective and certificate; and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recipes import best_cost, cost
from recipes import sparse_rows as rows
from sklearn import decomposition as sk
from sklearn.exceptions import ConvergenceWarning

from jaxlearn.decomposition import SparseCoder, sparse_encode
from jaxlearn.estimators import encoding
from jaxlearn.estimators.encoding import encode_rows
from jaxlearn.objectives import L1, L2, ElasticNet

K, P = 12, 10


@pytest.mark.parametrize("algorithm", ["lasso_lars", "lasso_cd"])
@pytest.mark.parametrize("positive", [False, True])
def test_every_code_is_certified(algorithm, positive, data_dtype):
    X, D = rows(dtype=data_dtype)
    X[3] = 0
    codes = sparse_encode(X, D, algorithm=algorithm, alpha=0.1, positive=positive)
    assert codes.dtype == data_dtype
    assert not codes[3].any()
    left = cost(X, codes, D, 0.1) - best_cost(X, D, 0.1, positive)
    tol = encoding.tolerance(data_dtype)
    assert (left <= (tol + 10 * np.finfo(data_dtype).eps) * 0.5 * np.square(X).sum(1)).all()
    theirs = sk.sparse_encode(X.astype(float), D.astype(float), algorithm=algorithm, alpha=0.1, positive=positive)
    assert cost(X, codes, D, 0.1).sum() <= cost(X, theirs, D, 0.1).sum() * (1 + 1e-4)
    assert not positive or codes.min() == 0
    assert np.signbit(codes[codes == 0]).sum() == 0


@pytest.mark.parametrize("algorithm", ["lasso_lars", "lasso_cd", "omp", "lars", "threshold"])
def test_codes_are_those_of_scikit_learn(algorithm):
    X, D = rows()
    options = {"algorithm": algorithm, "alpha": 0.1, "n_nonzero_coefs": 2}
    ours = sparse_encode(X, D, **options)
    np.testing.assert_allclose(ours, sk.sparse_encode(X, D, **options), atol=1e-5)
    known = sparse_encode(X, D, gram=D @ D.T, cov=D @ X.T, **options)
    np.testing.assert_allclose(known, ours, atol=1e-6)


def test_a_penalty_next_to_nothing_still_prefers_small_codes():
    X = np.array([[-1.0, -1, -1], [0, 0, 3]])
    D = np.array([[0, 1, 0], [-1, -1, 2], [1, 1, 1], [0, 1, 1], [0, 2, 1]], float)
    expected = [[0, 0, -1, 0, 0], [0, 1, 1, 0, 0]]
    np.testing.assert_allclose(sparse_encode(X, D, alpha=1e-10), expected, atol=1e-8)


def test_rows_that_are_done_leave(monkeypatch):
    """Chunks of one shape, a last one that is worked on to the end; the codes are those of all rows together."""
    X, D = rows(300, 30, 60, dtype=np.float32)
    whole = encode_rows(X, D, L1(0.02), tol=1e-5, max_steps=100)
    sizes, shapes = [], set()

    def watched(program, arrays, rows, size):
        sizes.append(len(rows))
        shapes.add(size)
        return map_chunks(program, arrays, rows, size)

    map_chunks = encoding.map_chunks
    monkeypatch.setattr(encoding, "map_chunks", watched)
    monkeypatch.setattr(encoding, "CHUNK", 64)
    monkeypatch.setattr(encoding, "LAST", 16)
    parts = encode_rows(X, D, L1(0.02), tol=1e-5, max_steps=100)
    assert whole.converged
    assert parts.converged
    assert parts.gap <= 1e-5
    assert len(sizes) > 2
    assert sizes == sorted(sizes, reverse=True)
    assert shapes <= {64, 16}
    half = 0.5 * np.square(X).sum(1)
    difference = np.abs(cost(X, parts.codes, D, 0.02) - cost(X, whole.codes, D, 0.02))
    assert (difference <= 2e-5 * half).all()


def test_other_penalties_and_starts(data_dtype):
    X, D = rows(dtype=data_dtype)
    ridge = encode_rows(X, D, L2(0.5), tol=1e-4, max_steps=1)
    assert ridge.converged
    expected = np.linalg.solve(D @ D.T + 0.5 * np.eye(K), D @ X.T).T
    np.testing.assert_allclose(ridge.codes, expected, atol=1e3 * np.finfo(data_dtype).eps)
    net = encode_rows(X, D, ElasticNet(0.1, 0.5), tol=1e-4, max_steps=50)
    assert net.converged
    again = encode_rows(X, D, ElasticNet(0.1, 0.5), tol=1e-4, max_steps=1, init=net.codes)
    assert again.converged
    untouched = encode_rows(X, D, L1(0.1), tol=1e-4, max_steps=0, init=net.codes)
    assert not untouched.converged
    np.testing.assert_array_equal(untouched.codes, net.codes)


def test_codes_that_stop_short_say_so():
    X, D = rows(40, 60, 120, dtype=np.float32)
    with pytest.warns(ConvergenceWarning, match="duality gap .* after 30 steps"):
        sparse_encode(X, D, alpha=1e-3, max_iter=30)


def test_arrays_of_jax_stay_arrays_of_jax(data_dtype):
    X, D = rows(dtype=data_dtype)
    with jax.enable_x64(data_dtype == np.float64):
        on_device = jnp.asarray(X)
    for coder in (SparseCoder(D, transform_alpha=0.1, transform_algorithm="lasso_cd"), SparseCoder(D)):
        codes = coder.transform(on_device)
        assert isinstance(codes, jax.Array)
        assert codes.dtype == data_dtype
        np.testing.assert_allclose(codes, coder.transform(X), atol=1e3 * np.finfo(data_dtype).eps)


def test_split_sign():
    X, D = rows()
    plain, split = (SparseCoder(D, transform_n_nonzero_coefs=3, split_sign=split).fit(X) for split in (False, True))
    codes = split.transform(X)
    assert codes.shape == (len(X), 2 * K)
    assert codes.min() == 0
    assert len(split.get_feature_names_out()) == 2 * K
    np.testing.assert_allclose(codes[:, :K] - codes[:, K:], plain.transform(X))
    np.testing.assert_allclose(split.inverse_transform(codes), plain.inverse_transform(plain.transform(X)))


def test_one_program_for_all_chunks(count_compiles):
    X, D = rows(200, dtype=np.float32)
    sparse_encode(X, D, alpha=0.1)
    with count_compiles() as compiled:
        sparse_encode(X[::-1].copy(), D, alpha=0.2)
    assert compiled.count == 0, compiled.names


def test_what_is_refused():
    X, D = rows(20)
    for bad in (np.where(np.eye(20, P) > 0, np.nan, X), jnp.full((20, P), jnp.nan)):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            SparseCoder(D).fit(bad)
    with pytest.raises(ValueError, match="Positive constraint not supported for 'omp' coding method"):
        SparseCoder(D, positive_code=True).transform(X)
    with pytest.raises(ValueError, match="cannot be more than the number of features"):
        sparse_encode(X, D, algorithm="omp", n_nonzero_coefs=K + 1)
    with pytest.raises(ValueError, match="different numbers of features"):
        sparse_encode(X[:, 1:], D)
    with pytest.raises(ValueError, match="Expected 12, got 11"):
        SparseCoder(D).inverse_transform(np.zeros((2, 11)))
    with pytest.raises(TypeError, match="traced array"):
        jax.jit(SparseCoder(D).transform)(X)
