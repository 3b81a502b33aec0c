"""Naive Bayes classifiers: as scikit-learn's, wherever the rows come from."""

import pickle
import warnings

import jax
import numpy as np
import pytest
import scipy.sparse
import sklearn.naive_bayes
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit

from jaxlearn import shard_rows, stream
from jaxlearn.estimators import naive_bayes as pieces_of
from jaxlearn.estimators.labels import codes_of, labels_of
from jaxlearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB

N, P = 203, 6
MODELS = [
    GaussianNB(),
    GaussianNB(priors=[0.2, 0.5, 0.3], var_smoothing=0.1),
    MultinomialNB(),
    MultinomialNB(alpha=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], fit_prior=False),
    ComplementNB(),
    ComplementNB(norm=True, class_prior=[0.2, 0.5, 0.3]),
    BernoulliNB(),
    BernoulliNB(binarize=1.5, class_prior=[0.2, 0.5, 0.3]),
    CategoricalNB(),
    CategoricalNB(alpha=0.3, min_categories=[5, 6, 7, 8, 9, 10]),
]
every = pytest.mark.parametrize("model", MODELS, ids=str)
DENSE = (GaussianNB, CategoricalNB)
sparse = pytest.mark.parametrize("model", [m for m in MODELS if not isinstance(m, DENSE)], ids=str)


def peer(model):
    return getattr(sklearn.naive_bayes, type(model).__name__)(**model.get_params())


def data(dtype=np.float64, n=N):
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=n)
    X = rng.binomial(4, 0.2 + 0.6 * rng.random((3, P))[y])
    weight = rng.integers(0, 3, n).astype(dtype)
    weight[50] = 1
    return X.astype(dtype), np.array(["a", "b", "c"])[y], weight


def attributes(model):
    names = ["class_count_", "class_prior_", "theta_", "var_", "epsilon_", "feature_count_", "class_log_prior_"]
    names += ["feature_log_prob_", "feature_all_", "category_count_", "n_categories_"]
    return {name: getattr(model, name) for name in names if hasattr(model, name)}


def same(model, other, tol):
    left, right = attributes(model), attributes(other)
    assert left.keys() == right.keys()
    for name in left:
        pairs = (
            zip(left[name], right[name], strict=True) if isinstance(left[name], list) else [(left[name], right[name])]
        )
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=tol, atol=tol, err_msg=name)


def tolerance(dtype):
    return 1e-9 if dtype == np.float64 else 2e-4


@every
@pytest.mark.parametrize("weighted", [False, True])
def test_as_scikit_learn(model, weighted, data_dtype):
    X, y, weight = data(data_dtype)
    weight = weight + 0.5 if weighted else None
    model, expected = clone(model).fit(X, y, weight), peer(model).fit(X, y, weight)
    tol = tolerance(data_dtype)
    # of weighted rows scikit-learn smoothes by the variance of rows without weights
    same(model, expected, tol if not (weighted and isinstance(model, GaussianNB)) else 1e-1)
    if weighted and isinstance(model, GaussianNB):
        return
    for name in ("predict_joint_log_proba", "predict_log_proba", "predict_proba"):
        found = getattr(model, name)(X)
        assert found.dtype == data_dtype
        np.testing.assert_allclose(found, getattr(expected, name)(X), atol=10 * tol, rtol=tol)
    assert (model.predict(X) == expected.predict(X)).all()
    assert model.score(X, y) == expected.score(X, y)
    if isinstance(model, GaussianNB):
        assert model.theta_.dtype == model.var_.dtype == model.class_prior_.dtype == data_dtype


@sparse
def test_sparse_rows(model, data_dtype):
    X, y, weight = data(data_dtype)
    dense = clone(model).fit(X, y, weight)
    for kind in (scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_array):
        found = clone(model).fit(kind(X), y, weight)
        same(found, dense, tolerance(data_dtype))
        np.testing.assert_allclose(
            found.predict_log_proba(kind(X)), dense.predict_log_proba(X), atol=10 * tolerance(data_dtype)
        )


@every
def test_weights_are_repetitions(model):
    X, y, weight = data()
    weighted = clone(model).fit(X, y, weight)
    repeated = np.repeat(np.arange(N), weight.astype(int))
    same(weighted, clone(model).fit(X[repeated], y[repeated]), 1e-9)
    order = np.random.default_rng(1).permutation(N)
    same(weighted, clone(model).fit(X[order], y[order], weight[order]), 1e-9)
    same(weighted, clone(model).fit(X[weight > 0], y[weight > 0], weight[weight > 0]), 1e-9)


@every
def test_parts_in_any_order(model, data_dtype):
    X, y, weight = data(data_dtype)
    whole, tol = clone(model).fit(X, y, weight), tolerance(data_dtype)
    cuts = [slice(0, 50), slice(50, 51), slice(51, 160), slice(160, N)]
    for order in (cuts, cuts[::-1]):
        parts = clone(model)
        for rows in order:
            parts.partial_fit(X[rows], y[rows], classes=["a", "b", "c"], sample_weight=weight[rows] + 0.0)
        same(parts, whole, tol)
    fits = [clone(model).fit(X[rows], y[rows], weight[rows], classes=["a", "b", "c"]) for rows in cuts[2:]]
    merged = fits[1].merge(fits[0])
    rest = clone(model).fit(X[51:], y[51:], weight[51:])
    same(merged, rest, tol)
    same(pickle.loads(pickle.dumps(merged)).partial_fit(X[:51], y[:51], sample_weight=weight[:51]), whole, tol)


@every
def test_every_source_gives_the_same(model, data_dtype):
    X, y, weight = data(data_dtype)
    whole, tol = clone(model).fit(X, y, weight), tolerance(data_dtype)
    batches = [(X[i : i + 30], y[i : i + 30], weight[i : i + 30]) for i in range(0, N, 30)]
    sources = [
        (stream(X, block_size=50), y, weight),
        (stream(lambda: (X[i : i + 40] for i in range(0, N, 40)), block_size=64), y, weight),
        (iter(batches), None, None),
    ]
    for rows, labels, w in sources:
        same(clone(model).fit(rows, labels, w, classes=["a", "b", "c"]), whole, tol)
    with jax.enable_x64(data_dtype == np.float64):
        device = jax.numpy.asarray(X)
        sharded, labels, w = shard_rows(X, y, weight)
    for rows, labels, w in ((device, y, weight), (sharded, labels, w)):  # noqa: B020
        found = clone(model).fit(rows, labels, w)
        same(found, whole, tol)
        log_proba = found.predict_log_proba(rows)
        assert isinstance(log_proba, jax.Array)
        assert log_proba.dtype == data_dtype
        np.testing.assert_allclose(np.asarray(log_proba)[:N], whole.predict_log_proba(X), atol=10 * tol)
        assert (found.predict(rows)[:N] == whole.predict(X)).all()


@every
def test_same_bits_and_no_second_program(model, count_compiles):
    X, y, weight = data()
    first = clone(model).fit(X, y, weight)
    first.predict(X)
    with count_compiles() as compiled:
        again = clone(model).fit(X[:-1], y[:-1], weight[:-1])
        again.predict(X[:-1])
    assert compiled.count == 0, compiled.names
    same(clone(model).fit(X, y, weight), first, 0)


def test_many_rows_are_predicted_in_chunks():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30_000, 20)).astype(np.float32), rng.integers(2, size=30_000)
    model, expected = GaussianNB().fit(X, y), sklearn.naive_bayes.GaussianNB().fit(X, y)
    np.testing.assert_allclose(model.predict_log_proba(X), expected.predict_log_proba(X), atol=1e-4)


def test_digits_of_single_precision():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 9000)
    X = (rng.standard_normal((18_000, 3)) + np.array([[1000.0], [-3000.0]])[y]).astype(np.float32)
    for model in (GaussianNB().fit(X, y), GaussianNB().fit(stream(X, block_size=5000), y)):
        expected = sklearn.naive_bayes.GaussianNB().fit(X.astype(float), y)
        np.testing.assert_allclose(model.var_, expected.var_, rtol=1e-6)
        np.testing.assert_allclose(model.theta_, expected.theta_, rtol=1e-6)


def test_categories_grow():
    model = CategoricalNB().partial_fit([[0, 1]], [0], classes=[0, 1])
    model.partial_fit([[3, 0]], [1])
    assert model.n_categories_.tolist() == [4, 2]
    assert [counts.tolist() for counts in model.category_count_] == [[[1, 0, 0, 0], [0, 0, 0, 1]], [[0, 1], [1, 0]]]
    with pytest.raises(ValueError, match="Feature 1 of X has the category 2, and those that were seen are 0 to 1"):
        model.predict([[0, 2]])
    assert CategoricalNB(min_categories=3).fit([[0, 1]], [0]).predict([[2, 2]]) == 0
    X = load_iris().data  # what is after the decimal point does not count
    found, expected = CategoricalNB().fit(X, load_iris().target), sklearn.naive_bayes.CategoricalNB()
    same(found, expected.fit(X, load_iris().target), 1e-12)


@pytest.mark.parametrize("kind", ["array", "sparse", "device"])
@every
def test_cross_validation(model, kind):
    X, y, _ = data()
    if kind == "sparse" and isinstance(model, DENSE):
        pytest.skip("takes dense rows")
    name = "var_smoothing" if isinstance(model, GaussianNB) else "alpha"
    model = clone(model).set_params(**({"min_categories": 5} if isinstance(model, CategoricalNB) else {}))
    values, cv = [1e-3, 0.5, 3.0], KFold(4, shuffle=True, random_state=0)
    with jax.enable_x64(True):
        rows = {"array": X, "sparse": scipy.sparse.csr_array(X), "device": jax.numpy.asarray(X)}[kind]
    found = model.cross_validate(rows, y, values, cv=cv)
    search = GridSearchCV(model, {name: values}, cv=cv, scoring=["accuracy", "neg_log_loss"], refit=False).fit(X, y)
    for scores, key in ((found.accuracy, "accuracy"), (found.log_likelihood, "neg_log_loss")):
        expected = np.stack([search.cv_results_[f"split{k}_test_{key}"] for k in range(4)], axis=1)
        np.testing.assert_allclose(scores, expected, atol=1e-8, rtol=1e-8)
    assert not hasattr(model, "classes_")


def test_cross_validation_refuses():
    X, y, weight = data()
    model = GaussianNB()
    with pytest.raises(ValueError, match="folds that divide the rows"):
        model.cross_validate(X, y, [0.1], cv=ShuffleSplit(3, random_state=0))
    with pytest.raises(ValueError, match="numbers >= 0"):
        model.cross_validate(X, y, [-1.0])
    with pytest.raises(ValueError, match="numbers >= 0"):
        model.cross_validate(X, y, 0.1)
    with pytest.raises(ValueError, match="rows of one device"):
        model.cross_validate(*shard_rows(X.astype(np.float32), y)[:2], [0.1])
    assert model.cross_validate(X, y, [0.1], sample_weight=weight).accuracy.shape == (1, 5)


def test_bad_input(tmp_path):
    X, y, weight = data()
    for model in (MultinomialNB(), ComplementNB(), CategoricalNB()):
        for rows in (-X, stream(-X, block_size=50)):
            with pytest.raises(
                ValueError, match=rf"Negative values in data passed to {type(model).__name__} \(input X\)"
            ):
                clone(model).fit(rows, y)
    for model in MODELS:
        with pytest.raises(ValueError, match="NaN"):
            clone(model).fit(np.where(X > 3, np.nan, X), y)
        with pytest.raises(ValueError, match="NaN"):
            clone(model).fit(stream(np.where(X > 3, np.nan, X), block_size=50), y)
        with pytest.raises(ValueError, match="at least one non-zero"):
            clone(model).fit(X, y, 0 * weight)
        with pytest.raises(ValueError, match=r"The target label\(s\) \['z'\] in y do not exist"):
            clone(model).partial_fit(X, np.where(y == "c", "z", y), classes=["a", "b", "c"])
        with pytest.raises(ValueError, match=r"The target label\(s\) \['c'\] in batch 1 do not exist"):
            clone(model).fit(iter([(X, np.where(y == "c", "b", y)), (X, y)]), classes=["a", "b", "q"])
        with pytest.raises(ValueError, match="203 rows, and y 202"):
            clone(model).fit(stream(X), y[:-1])
        with pytest.raises(ValueError, match="no batch"):
            clone(model).fit(iter([]))
        with pytest.raises(ValueError, match="come with them"):
            clone(model).fit(iter([(X, y)]), sample_weight=weight)
        fitted = clone(model).fit(X, y)
        with pytest.raises(ValueError, match="expecting 6 features"):
            fitted.partial_fit(X[:, :2], y)
        with pytest.raises(ValueError, match="is not the same as on last call"):
            fitted.partial_fit(X, y, classes=["a", "z"])
        with pytest.raises(ValueError, match="features"):
            fitted.merge(clone(model).set_params(**_free(model)).fit(X[:, :2], y))
        with pytest.raises(ValueError, match="knows the classes"):
            fitted.merge(clone(model).fit(X, np.where(y == "c", "z", y)))
        with pytest.raises(TypeError, match="expected a"):
            fitted.merge((MultinomialNB if isinstance(model, GaussianNB) else GaussianNB)().fit(X, y))
    for model in (GaussianNB(), CategoricalNB()):
        with pytest.raises(TypeError, match="Sparse data was passed"):
            model.fit(scipy.sparse.csr_array(X), y)
    with pytest.raises(ValueError, match="Number of priors"):
        MultinomialNB(class_prior=[0.5, 0.5]).fit(X, y)
    with pytest.raises(ValueError, match="integral type"):
        CategoricalNB(min_categories=[1.5] * P).fit(X, y)
    with pytest.raises(ValueError, match="classes must be passed"):
        MultinomialNB().partial_fit(X, y)


def _free(model):
    """Without what asks for a number of features."""
    free = {"alpha": 1.0} if hasattr(model, "alpha") else {}
    return free | ({"min_categories": None} if hasattr(model, "min_categories") else {})


def test_a_refused_batch_leaves_no_trace():
    X, y, _ = data()
    model = MultinomialNB().fit(X, y)
    before = model.feature_count_.copy()
    with pytest.raises(ValueError, match="Negative"):
        model.partial_fit(-X, y)
    assert (model.feature_count_ == before).all()
    assert (model.partial_fit(X, y).feature_count_ == 2 * before).all()


def test_a_class_that_was_not_seen_yet():
    X, y, _ = data()
    for model in MODELS:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            few = clone(model).partial_fit(X[y != "c"], y[y != "c"], classes=["a", "b", "c"])
            proba = few.predict_proba(X)
        assert np.isfinite(proba).all()


def test_labels():
    for y in (
        np.array([5, 3, 5, -2]),
        np.array([5.0, 3.0, -2]),
        np.array(["b", "a"]),
        np.array([2**40, 3]),
        np.array([True, False]),
    ):
        classes = labels_of(y)
        np.testing.assert_array_equal(classes, np.unique(y))
        assert classes.dtype == y.dtype
        np.testing.assert_array_equal(classes[codes_of(y, classes, "y")], y)
    with pytest.raises(ValueError, match=r"\[9\] in y do not exist in the initial classes \[3 5\]"):
        codes_of(np.array([3, 9, 5]), np.array([3, 5]), "y")
    small = np.array([3, 250, 7], np.uint8)
    np.testing.assert_array_equal(codes_of(small, np.array([3, 7, 250]), "y"), [0, 2, 1])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    "model", [GaussianNB(), MultinomialNB(), ComplementNB(), BernoulliNB(binarize=2.0), CategoricalNB()]
)
def test_pieces_where_they_lie(model, order, data_dtype, monkeypatch):
    """Rows that are summed and predicted by pieces, in the memory that they lie in or copied, are all there, once."""
    rng = np.random.default_rng(0)
    X = np.asarray(rng.poisson(3, (5003, 7)), data_dtype, order=order)
    y, weight = rng.integers(3, size=len(X)), rng.random(len(X))
    whole = clone(model).fit(X, y, sample_weight=weight)
    monkeypatch.setattr(pieces_of, "LEAST_BYTES", 1 << 12)
    monkeypatch.setattr(pieces_of, "MAPPED_BYTES", 1 << 10)
    parts = clone(model).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(parts.class_count_, whole.class_count_, rtol=1e-12)
    for name in ("theta_", "var_", "feature_count_"):
        if hasattr(whole, name):
            np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-10)
    found = parts.predict_joint_log_proba(X)
    assert found.dtype == data_dtype
    monkeypatch.undo()
    np.testing.assert_allclose(found, whole.predict_joint_log_proba(X), rtol=1e-4 if data_dtype == "float32" else 1e-10)
    X[4321, 2] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        parts.predict(X)
    with pytest.raises(ValueError, match="contains NaN"):
        clone(model).fit(X, y)
