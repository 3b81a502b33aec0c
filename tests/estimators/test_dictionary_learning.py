"""Dictionary learning and sparse PCA beside scikit-learn's, by objective and certificate; and bad input."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recipes import best_cost, cost
from recipes import sparse_rows as rows
from sklearn import decomposition as sk
from sklearn.exceptions import ConvergenceWarning

from jaxlearn.decomposition import (
    DictionaryLearning,
    MiniBatchDictionaryLearning,
    MiniBatchSparsePCA,
    SparsePCA,
    dict_learning,
    dict_learning_online,
)
from jaxlearn.estimators import online
from jaxlearn.models import matrix_factorization as mf

K, P = 12, 10


# All samples together ----------------------------------------------------------------------------------------------


def test_dictionaries_are_as_good_as_those_of_scikit_learn():
    """Where there are many minima, in the mean over problems: both end in some of them."""
    ratios = []
    for seed in range(4):
        X, _ = rows(seed=seed)
        model = DictionaryLearning(K, alpha=0.1, max_iter=100, tol=1e-6)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            theirs = sk.dict_learning(X, K, alpha=0.1, max_iter=100, tol=1e-6, method="cd", random_state=0)[2][-1]
            codes = model.fit_transform(X)
        ratios.append(cost(X, codes, model.components_, 0.1).sum() / theirs)
        assert (np.diff(model.error_) < 1e-9 * model.error_[0]).all()
        assert len(model.error_) == model.n_iter_
        assert np.linalg.norm(model.components_, axis=1).max() <= 1 + 1e-10
    assert np.mean(ratios) <= 1 + 1e-3


def test_same_minimum_as_scikit_learn():
    X, D = rows()
    options = {"alpha": 0.3, "max_iter": 200, "tol": 1e-9, "dict_init": D[:5], "code_init": np.zeros((len(X), 5))}
    ours, theirs = (module(X, 5, **options) for module in (dict_learning, sk.dict_learning))
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-3)
    assert ours[2][-1] <= theirs[2][-1] * (1 + 1e-6)


def test_same_path_as_scikit_learn():
    """From the same start, and with exact codes, the costs are the same step by step."""
    X, D = rows()
    options = {"alpha": 0.2, "max_iter": 6, "tol": 0, "dict_init": D, "code_init": np.zeros((len(X), K))}
    theirs = sk.dict_learning(X, K, **options)[2]
    with pytest.warns(ConvergenceWarning):
        ours = dict_learning(X, K, **options)[2]
    np.testing.assert_allclose(ours, theirs, rtol=2e-3)


@pytest.mark.parametrize(
    ("positive_code", "positive_dict", "dtype"),
    [(False, False, np.float32), (True, False, np.float64), (False, True, np.float64), (True, True, np.float32)],
)
def test_signs(positive_code, positive_dict, dtype):
    X, _ = rows(dtype=dtype)
    options = {"alpha": 0.1, "positive_code": positive_code, "positive_dict": positive_dict, "fit_algorithm": "cd"}
    model = DictionaryLearning(6, tol=1e-4, transform_algorithm="lasso_cd", **options)
    online = MiniBatchDictionaryLearning(6, batch_size=20, max_iter=5, random_state=0, **options)
    online.set_params(transform_algorithm="lasso_cd")
    for estimator in (model, online):
        codes = estimator.fit_transform(X)
        assert codes.dtype == estimator.components_.dtype == dtype
        assert (codes.min() >= 0) == positive_code
        assert (estimator.components_.min() >= 0) == positive_dict
    left = cost(X, model.transform(X), model.components_, 0.1) - best_cost(X, model.components_, 0.1, positive_code)
    assert (left <= 2e-4 * 0.5 * np.square(X).sum(1)).all()


def test_a_callback_changes_nothing():
    X, _ = rows()
    seen = []
    watched = DictionaryLearning(
        5, alpha=0.3, tol=1e-5, callback=lambda at: seen.append((at["ii"], at["current_cost"]))
    )
    watched.fit(X)
    quiet = DictionaryLearning(5, alpha=0.3, tol=1e-5).fit(X)
    np.testing.assert_array_equal(watched.components_, quiet.components_)
    assert watched.n_iter_ > 5
    assert [i for i, _ in seen] == list(range(0, watched.n_iter_ - 1, 5))
    assert all(watched.error_[i] == value for i, value in seen)


def test_starts_are_used():
    X, D = rows()
    with pytest.warns(ConvergenceWarning):
        near, far = (DictionaryLearning(K, alpha=0.1, max_iter=1, dict_init=init).fit(X) for init in (D, None))
    assert np.abs(np.sum(near.components_ * D, axis=1)).min() > 0.9
    assert near.error_[0] < 0.8 * far.error_[0]
    codes, atoms, errors, n_iter = dict_learning(
        X, K, alpha=1, max_iter=0, dict_init=D, code_init=np.ones((len(X), K)), return_n_iter=True
    )
    np.testing.assert_array_equal(atoms, D)
    assert (codes == 1).all()
    assert (len(errors), n_iter) == (0, 0)
    with pytest.raises(ValueError, match="`code_init` needs `dict_init`"):
        DictionaryLearning(K, code_init=np.ones((len(X), K))).fit(X)
    with pytest.raises(ValueError, match="no factors of X"):
        DictionaryLearning(K, dict_init=D[:, 1:]).fit(X)


def test_arrays_of_jax_stay_arrays_of_jax(data_dtype):
    X, _ = rows(dtype=data_dtype)
    with jax.enable_x64(data_dtype == np.float64):
        on_device = jnp.asarray(X)
    model = DictionaryLearning(4, alpha=0.1, tol=1e-5)
    codes = model.fit_transform(on_device)
    assert isinstance(codes, jax.Array)
    assert isinstance(model.components_, np.ndarray)
    np.testing.assert_allclose(model.components_, model.fit(X).components_, atol=1e-2)


# Batches -----------------------------------------------------------------------------------------------------------


def test_batches_learn_as_well_as_those_of_scikit_learn():
    X, _ = rows(400)
    options = {"n_components": K, "alpha": 0.1, "batch_size": 20, "max_iter": 20, "random_state": 0}
    ours = MiniBatchDictionaryLearning(**options).fit(X)
    theirs = sk.MiniBatchDictionaryLearning(**options).fit(X)
    assert best_cost(X, ours.components_, 0.1).mean() <= best_cost(X, theirs.components_, 0.1).mean() * (1 + 1e-3)
    again = MiniBatchDictionaryLearning(**options).fit(X)
    np.testing.assert_array_equal(ours.components_, again.components_)
    other = MiniBatchDictionaryLearning(**options | {"random_state": 1}).fit(X)
    assert not np.array_equal(ours.components_, other.components_)
    with jax.enable_x64(True):
        on_device = jnp.asarray(X)
    np.testing.assert_array_equal(MiniBatchDictionaryLearning(**options).fit(on_device).components_, ours.components_)


def test_a_batch_is_a_step_of_the_model():
    """And what a callback sees does not depend on how many of them are dispatched together."""
    X, D = rows(50)
    options = {"n_components": K, "alpha": 0.1, "batch_size": 20, "max_iter": 3, "dict_init": D, "shuffle": False}
    options |= {"tol": 0, "max_no_improvement": None}
    seen = []
    watched = MiniBatchDictionaryLearning(**options, callback=lambda at: seen.append(at["batch_cost"])).fit(X)
    quiet = MiniBatchDictionaryLearning(**options).fit(X)
    np.testing.assert_array_equal(watched.components_, quiet.components_)
    assert (quiet.n_steps_, quiet.n_iter_, len(seen)) == (9, 3, 9)
    model = quiet._model(X)
    with jax.enable_x64(True):
        state = mf.start(model, D)
        for _ in range(3):
            for start in (0, 20, 40):
                state = mf.step(model, state, X[start : start + 20])
        np.testing.assert_allclose(state.dictionary, quiet.components_, atol=1e-8)
    np.testing.assert_allclose(seen[0], best_cost(X[:20], D, 0.1).mean(), rtol=2e-2)


def test_partial_fit_goes_on(data_dtype):
    X, D = rows(60, dtype=data_dtype)
    options = {"n_components": K, "alpha": 0.1, "dict_init": D, "batch_size": 20, "shuffle": False, "max_iter": 2}
    whole = MiniBatchDictionaryLearning(**options, tol=0, max_no_improvement=None, random_state=0).fit(X)
    parts = MiniBatchDictionaryLearning(**options, random_state=0)
    for start in (0, 20, 40, 0, 20, 40):
        parts.partial_fit(X[start : start + 20])
    assert parts.n_steps_ == whole.n_steps_ == 6
    np.testing.assert_allclose(parts.components_, whole.components_, atol=1e4 * np.finfo(data_dtype).eps)
    before = whole.components_.copy()
    whole.partial_fit(X[:7])
    assert whole.n_steps_ == 7
    assert not np.array_equal(whole.components_, before)
    with pytest.raises(ValueError, match="X has 9 features, but MiniBatchDictionaryLearning is expecting 10"):
        whole.partial_fit(X[:, 1:])


def test_patience():
    X, _ = rows(200)
    options = {"n_components": 4, "alpha": 0.1, "batch_size": 20, "max_iter": 50, "random_state": 0}
    full = MiniBatchDictionaryLearning(**options, tol=0, max_no_improvement=None).fit(X)
    still = MiniBatchDictionaryLearning(**options, tol=0.01, max_no_improvement=None).fit(X)
    bored = MiniBatchDictionaryLearning(**options, tol=0, max_no_improvement=3).fit(X)
    assert (full.n_steps_, full.converged_) == (500, False)
    assert still.converged_
    assert still.certificate_ <= 0.01
    assert bored.converged_
    assert max(still.n_steps_, bored.n_steps_) < 500
    # steps up to the stop are those of a fit that goes on
    steps = []
    callback = lambda at: steps.append(at["dictionary"].copy())  # noqa: E731
    MiniBatchDictionaryLearning(**options, tol=0, max_no_improvement=None, callback=callback).fit(X)
    np.testing.assert_array_equal(steps[bored.n_steps_ - 1], bored.components_)


def test_epochs_have_orders_of_their_own():
    batches = list(online._orders(5, 2, 100, 3))
    assert sum(n for _, n in batches) == 300
    epochs = np.concatenate([order.reshape(-1, 6)[: n // 3] for order, n in batches])
    assert (np.sort(epochs, axis=1) == [-1, 0, 1, 2, 3, 4]).all()
    assert (epochs[:, -1] == -1).all()
    assert len(np.unique(epochs, axis=0)) > 20
    np.testing.assert_array_equal(
        epochs[:40], np.concatenate([o.reshape(-1, 6) for o, _ in online._orders(5, 2, 40, 3)])[:40]
    )


# Sparse principal components ---------------------------------------------------------------------------------------


def test_sparse_components_are_as_good_as_those_of_scikit_learn(data_dtype):
    X = rows(40, 20, 6)[0].astype(data_dtype) + 3
    ours, theirs = (module(3, alpha=0.5, tol=1e-6, random_state=0).fit(X) for module in (SparsePCA, sk.SparsePCA))
    assert ours.components_.dtype == ours.transform(X).dtype == data_dtype
    assert ours.error_[-1] <= theirs.error_[-1] * (1 + 1e-3)
    assert (ours.components_ == 0).mean() > 0.1
    np.testing.assert_allclose(np.linalg.norm(ours.components_, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(ours.mean_, X.mean(0), rtol=1e-5)
    U = ours.transform(X)
    centred = X - X.mean(0)
    gradient = (U @ ours.components_ - centred) @ ours.components_.T + 0.01 * U
    assert np.abs(gradient).max() < 1e-4
    np.testing.assert_allclose(ours.inverse_transform(U), U @ ours.components_ + ours.mean_, rtol=1e-5)
    online = MiniBatchSparsePCA(3, alpha=0.5, batch_size=5, max_iter=50, random_state=0).fit(X)
    left = [np.square(centred - (m.transform(X) @ m.components_)).sum() for m in (ours, online)]
    assert left[1] < 1.5 * left[0]
    with pytest.raises(ValueError, match="`V_init` needs `U_init`"):
        SparsePCA(3, V_init=ours.components_).fit(X)


def test_components_without_a_penalty_are_principal():
    X = rows(50, 6)[0]
    sparse = SparsePCA(2, alpha=0, ridge_alpha=0, tol=1e-12).fit(X)
    np.testing.assert_allclose(sparse.components_, sk.PCA(2, svd_solver="full").fit(X).components_, atol=1e-6)


# Bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [DictionaryLearning, MiniBatchDictionaryLearning, SparsePCA, MiniBatchSparsePCA])
def test_too_much_penalty_is_told(estimator):
    X, _ = rows(20)
    with pytest.warns(
        UserWarning, match="Every code is zero, and no atom was learnt: alpha=1000 is too large. Lower it"
    ):
        model = estimator(3, alpha=1000).fit(X)
    assert np.isfinite(model.transform(X)).all()


def test_signs_that_do_not_agree_are_told():
    X = -np.abs(rows(20)[0])
    model = DictionaryLearning(3, alpha=0.1, positive_code=True, positive_dict=True, fit_algorithm="cd")
    with pytest.warns(UserWarning, match="agree with no atom in sign"):
        model.fit(X)


@pytest.mark.parametrize("estimator", [DictionaryLearning, MiniBatchDictionaryLearning])
def test_fewer_samples_than_atoms(estimator):
    X, _ = rows(5)
    X[2] = 0
    X[:, 4] = 1  # constant
    model = estimator(8, alpha=0.01, transform_algorithm="lasso_cd", max_iter=300, tol=1e-3).fit(X)
    codes = model.transform(X)
    assert np.isfinite(model.components_).all()
    assert np.linalg.norm(model.components_, axis=1).max() <= 1 + 1e-5
    assert np.abs(model.inverse_transform(codes) - X).max() < 0.1


def test_atoms_that_nothing_uses_are_replaced():
    X, D = rows(60)
    D = np.concatenate([D[:4], np.zeros((2, P))])
    model = DictionaryLearning(6, alpha=0.1, dict_init=D, tol=1e-5).fit(X)
    assert model.n_reseeded_ >= 2
    assert (np.linalg.norm(model.components_, axis=1) > 0.99).all()
    batches = MiniBatchDictionaryLearning(6, alpha=0.1, dict_init=D, batch_size=20, max_iter=20, tol=0, random_state=0)
    assert batches.set_params(max_no_improvement=None).fit(X).n_reseeded_ >= 2
    assert (np.linalg.norm(batches.components_, axis=1) > 0.5).all()


def test_what_is_refused():
    X, D = rows(20)
    for bad in (np.where(np.eye(20, P) > 0, np.nan, X), jnp.full((20, P), jnp.nan)):
        for estimator in (DictionaryLearning(3), MiniBatchDictionaryLearning(3), SparsePCA(3)):
            with pytest.raises(ValueError, match="Input X contains NaN"):
                estimator.fit(bad)
    with pytest.raises(ValueError, match="Positive constraint not supported for 'lars' coding method"):
        dict_learning_online(X, 3, positive_code=True)
    with pytest.raises(ValueError, match="`dict_init` has shape"):
        MiniBatchDictionaryLearning(3, dict_init=D).fit(X)
