"""Completion of matrices: against a textbook in double precision, on matrices of low rank, and what it refuses."""

import jax
import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from jaxlearn.decomposition import MatrixCompletion

N, P, K = 150, 90, 3


def low_rank(n=N, p=P, share=0.3, dtype=np.float64, seed=0):
    """All entries, the observed ones as CSR, and the others."""
    rng = np.random.default_rng(seed)
    full = (
        rng.normal(size=(n, K)) @ rng.normal(size=(K, p)) + 5 + rng.normal(size=n)[:, None] + rng.normal(size=p)[None]
    )
    there = rng.random((n, p)) < share
    observed = scipy.sparse.csr_array((full[there].astype(dtype), np.nonzero(there)), shape=(n, p))
    return full, observed, ~there


def dense(observed):
    X = np.full(observed.shape, np.nan, observed.dtype)
    X[observed.nonzero()] = observed.data  # nothing observed here is zero
    return X


def objective(model, X):
    """By its definition, with the factors of the rows as they were fitted."""
    X, there = X.astype(float), ~np.isnan(X)
    u, v, b, c = (a.astype(float) for a in (model.codes_, model.components_.T, model.row_bias_, model.column_bias_))
    residual = (X - model.mean_ - b[:, None] - c[None] - u @ v.T)[there]
    penalty = sum(((there.sum(axis) + model.beta) * np.square(f).sum(1)).sum() for axis, f in ((1, u), (0, v)))
    penalty = model.alpha * X[there].std() * penalty + model.beta * (np.square(b).sum() + np.square(c).sum())
    return 0.5 * (np.square(residual).sum() + penalty) / there.sum()


def regressed(X, features, offsets, alpha, beta):
    """The textbook: one regression for each row, on the columns that it knows."""
    found = []
    for x in X:
        there = ~np.isnan(x)
        F = np.column_stack([features[there], np.ones(there.sum())])
        ridge = np.diag([*[alpha * (there.sum() + beta)] * features.shape[1], beta])
        found.append(np.linalg.solve(F.T @ F + ridge, F.T @ (x[there] - offsets[there])))
    return np.array(found)


def test_rows_are_the_regressions_of_the_textbook(data_dtype):
    _, observed, _ = low_rank(dtype=data_dtype)
    model = MatrixCompletion(K, random_state=0).fit(observed)
    assert model.components_.dtype == model.codes_.dtype == data_dtype
    X = dense(observed).astype(float)
    alpha = model.alpha * np.nanstd(X)
    found = regressed(X - model.mean_, model.components_.T.astype(float), model.column_bias_, alpha, model.beta)
    # a regression on n_i ≥ 10 entries with a ridge of alpha (n_i + beta): condition below 100
    tol = 1000 * np.finfo(data_dtype).eps * np.abs(found).max()
    np.testing.assert_allclose(np.column_stack([model.codes_, model.row_bias_]), found, rtol=0, atol=tol)


def test_iterations_are_those_of_the_textbook():
    """From the columns of one iteration, the next: rows, then columns."""
    _, observed, _ = low_rank()
    with pytest.warns(ConvergenceWarning, match="MatrixCompletion: .*did not converge"):
        first = MatrixCompletion(K, max_iter=1, random_state=0).fit(observed)
    with pytest.warns(ConvergenceWarning):
        second = clone(first).set_params(max_iter=2).fit(observed)
    X, alpha = dense(observed) - first.mean_, first.alpha * observed.data.std()
    rows = regressed(X, first.components_.T, first.column_bias_, alpha, first.beta)
    columns = regressed(X.T, rows[:, :K], rows[:, K], alpha, first.beta)
    np.testing.assert_allclose(second.components_.T, columns[:, :K], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(second.column_bias_, columns[:, K], rtol=1e-8, atol=1e-10)


def test_objective_is_what_is_said_to_be_minimised(data_dtype):
    _, observed, _ = low_rank(dtype=data_dtype)
    model = MatrixCompletion(K, tol=1e-5, max_iter=500, random_state=0).fit(observed)
    assert model.converged_
    values = [told["objective"] for told in model.history_]
    assert (np.diff(values) <= 10 * np.finfo(data_dtype).eps * values[0]).all()
    # rows were solved for once more: that lowers it by less than an iteration does
    said = objective(model, dense(observed))
    assert (1 - 2e-5) * model.objective_ <= said <= (1 + 1e-5) * model.objective_


def test_low_rank_is_recovered_from_thirty_percent(data_dtype):
    full, observed, hidden = low_rank(dtype=data_dtype)
    model = MatrixCompletion(K, alpha=1e-4, beta=1e-3, tol=0, max_iter=60, clip=False, random_state=0).fit(observed)
    rows, columns = np.nonzero(hidden)
    error = model.predict(np.column_stack([rows, columns])) - full[hidden]
    assert np.sqrt(np.mean(error**2)) < 0.02 * full[hidden].std()
    np.testing.assert_allclose(model.reconstruct(observed)[hidden], full[hidden] + error, rtol=0, atol=1e-3)


def test_biases_are_found_where_there_is_nothing_else():
    rng = np.random.default_rng(0)
    b, c = rng.normal(size=N), rng.normal(size=P)
    there = rng.random((N, P)) < 0.3
    X = np.where(there, 3 + b[:, None] + c[None], np.nan)
    model = MatrixCompletion(1, alpha=1.0, beta=1e-6, tol=1e-9, max_iter=200, random_state=0).fit(X)
    shift = model.mean_ - 3 - b.mean() - c.mean()
    # biases are known up to a constant that rows give to columns
    np.testing.assert_allclose(model.row_bias_ - model.row_bias_.mean(), b - b.mean(), atol=1e-3)
    np.testing.assert_allclose(model.column_bias_ - model.column_bias_.mean(), c - c.mean(), atol=1e-3)
    assert model.row_bias_.mean() + model.column_bias_.mean() == pytest.approx(-shift, abs=1e-3)


def test_dense_with_nan_is_sparse_with_what_is_stored():
    _, observed, _ = low_rank()
    X = dense(observed)
    kinds = [(observed, X), (observed.tocsc(), X), (observed.tocoo(), X), (jax.numpy.asarray(X), X.astype(np.float32))]
    for given, same in kinds:
        found, expected = (MatrixCompletion(K, random_state=0).fit(X) for X in (given, same))
        np.testing.assert_array_equal(found.components_, expected.components_)


def test_zeros_that_are_stored_are_observed():
    X = scipy.sparse.csr_array(np.ones((12, 10)))
    X.data[::2] = 0
    model = MatrixCompletion(1, random_state=0).fit(X)
    assert model.mean_ == 0.5
    assert model.range_ == (0, 1)
    assert model.predict(X).nnz == X.nnz


def test_codes_do_not_depend_on_the_other_rows(data_dtype):
    """Pieces, batches and their padding: rows of one entry, of all, and of none, alone and together."""
    _, observed, _ = low_rank(dtype=data_dtype)
    model = MatrixCompletion(K, random_state=0).fit(observed)
    full = np.asarray(dense(low_rank(share=1.1, dtype=data_dtype)[1]))[:6]
    full[0, 1:], full[1], full[2, 17:], full[3, 16:] = np.nan, np.nan, np.nan, np.nan
    together = model.transform(np.vstack([dense(observed), full]))
    eps = 1000 * np.finfo(data_dtype).eps
    np.testing.assert_allclose(together[:N], model.codes_, rtol=0, atol=eps)
    for i, row in enumerate(full):
        np.testing.assert_allclose(model.transform(row[None])[0], together[N + i], rtol=0, atol=eps)
    assert not together[N + 1].any()


def test_order_of_rows_does_not_matter():
    _, observed, _ = low_rank()
    order = np.random.default_rng(0).permutation(N)
    model = MatrixCompletion(K, random_state=0).fit(observed)
    other = MatrixCompletion(K, random_state=0).fit(observed[order])
    np.testing.assert_allclose(other.predict(observed[order]).toarray(), model.predict(observed)[order].toarray(), 1e-8)


def test_rows_and_columns_without_entries_are_predicted_by_biases():
    full, observed, _ = low_rank()
    X = dense(observed)
    X[4], X[:, 7] = np.nan, np.nan
    model = MatrixCompletion(K, random_state=0).fit(X)
    assert not model.codes_[4].any()
    assert not model.components_[:, 7].any()
    at = model.predict([[4, 7], [4, 8], [5, 7]])
    expected = model.mean_ + np.array([0, model.column_bias_[8], model.row_bias_[5]])
    np.testing.assert_allclose(at, expected, rtol=1e-12)


def test_same_seed_same_bits_and_a_second_fit_compiles_nothing(count_compiles):
    fits = [MatrixCompletion(K, random_state=3).fit(low_rank(dtype=np.float32)[1])]
    with count_compiles() as compiled:
        fits.append(clone(fits[0]).fit(low_rank(dtype=np.float32)[1]))
        # other entries, other strengths
        fits.append(
            MatrixCompletion(K, alpha=0.2, beta=1.0, random_state=3).fit(low_rank(148, dtype=np.float32, seed=1)[1])
        )
    assert compiled.count == 0, compiled.names
    np.testing.assert_array_equal(fits[0].components_, fits[1].components_)
    np.testing.assert_array_equal(fits[0].codes_, fits[1].codes_)


def test_integers_are_ratings_and_have_no_unit():
    rng = np.random.default_rng(0)
    X = scipy.sparse.random_array(
        (80, 40), density=0.3, rng=rng, dtype=np.int64, data_sampler=lambda size: 1 + np.arange(size) % 5
    )
    model = MatrixCompletion(2, random_state=0).fit(X)
    assert model.components_.dtype == np.float64
    scaled = MatrixCompletion(2, random_state=0).fit(10 * X)
    np.testing.assert_allclose(scaled.predict(X).data, 10 * model.predict(X).data, rtol=1e-6)


def test_predictions_are_clipped_on_request():
    _, observed, _ = low_rank()
    pairs = np.stack(np.meshgrid(np.arange(N), np.arange(P)), -1).reshape(-1, 2)
    model = MatrixCompletion(K, alpha=1e-3, random_state=0).fit(observed)
    free = clone(model).set_params(clip=False).fit(observed).predict(pairs)
    assert free.max() > model.range_[1]
    np.testing.assert_array_equal(model.predict(pairs), np.clip(free, *model.range_))


def test_score_is_minus_the_error_of_predictions():
    full, observed, hidden = low_rank()
    model = MatrixCompletion(K, random_state=0).fit(observed)
    others = np.where(hidden, full, np.nan)
    expected = np.sqrt(np.mean(np.square(model.predict(np.argwhere(hidden)) - full[hidden])))
    assert model.score(others) == pytest.approx(-expected, rel=1e-12)
    assert expected < 0.5 * np.std(full[hidden])


def test_long_and_short_rows_share_batches(data_dtype):
    """As popular items have them: one row of all columns, many of few."""
    rng = np.random.default_rng(0)
    there = rng.random((400, 1500)) < 0.01
    there[5] = True
    values = rng.normal(size=there.sum()).astype(data_dtype)
    X = scipy.sparse.csr_array((values, np.nonzero(there)), shape=there.shape)
    model = MatrixCompletion(2, random_state=0).fit(X)
    found = regressed(
        dense(X).astype(float)[:9] - model.mean_,
        model.components_.T.astype(float),
        model.column_bias_,
        model.alpha * values.astype(float).std(),
        model.beta,
    )
    tol = 1e5 * np.finfo(data_dtype).eps  # sums over 1500 entries, and regressions on four
    np.testing.assert_allclose(np.column_stack([model.codes_, model.row_bias_])[:9], found, rtol=0, atol=tol)


def test_callback_is_told_each_iteration():
    told = []
    model = MatrixCompletion(K, random_state=0, callback=told.append).fit(low_rank()[1])
    assert [t.n_iter for t in told] == list(range(1, model.n_iter_ + 1))
    assert [t.objective for t in told] == [t["objective"] for t in model.history_]


@pytest.mark.parametrize(
    ("X", "options", "message"),
    [
        (np.full((9, 8), np.nan), {}, "X has no observed entry"),
        (scipy.sparse.csr_array((9, 8)), {}, "X has no observed entry"),
        (np.where(np.eye(9) == 1, np.inf, 1.0), {}, "infinity"),
        (scipy.sparse.csr_array(np.where(np.eye(9) == 1, np.nan, 1.0)), {}, "NaN"),
        (np.ones((9, 8)), {"n_components": 9}, "n_components=9 is more than"),
        (np.ones((9, 8)), {"alpha": 0.0}, "'alpha' parameter"),
    ],
)
def test_bad_input_is_named(X, options, message):
    with pytest.raises(ValueError, match=message):
        MatrixCompletion(**{"n_components": 2, **options}).fit(X)


def test_places_that_were_not_fitted_are_refused():
    _, observed, _ = low_rank()
    model = MatrixCompletion(K, random_state=0).fit(observed)
    with pytest.raises(ValueError, match="outside of the 150 rows and 90 columns"):
        model.predict([[0, P]])
    with pytest.raises(ValueError, match="pairs of integers"):
        model.predict([[0.5, 1.0]])
    with pytest.raises(ValueError, match="expected \\(150, 90\\)"):
        model.predict(observed[:5])
    with pytest.raises(ValueError, match="90 features"):
        model.transform(np.ones((3, P - 1)))


def test_constant_entries_are_predicted():
    model = MatrixCompletion(1, random_state=0).fit(np.full((9, 8), 3.0))
    np.testing.assert_array_equal(model.predict([[0, 0]]), [3.0])
    assert model.converged_
