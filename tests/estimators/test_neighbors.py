"""Estimators of neighbours: scikit-learn's answers, wherever the rows lie, and errors that say what is wrong."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import sklearn.neighbors
from sklearn.datasets import load_digits

import jaxlearn.estimators.neighbors_search as search
from jaxlearn import shard_rows, stream
from jaxlearn.neighbors import (
    KernelDensity,
    KNeighborsClassifier,
    KNeighborsRegressor,
    NearestCentroid,
    NearestNeighbors,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
    kneighbors_graph,
    radius_neighbors_graph,
)


def rows(n=700, m=90, p=12, *, dtype=np.float64, center=3.0):
    rng = np.random.default_rng(0)
    return (rng.standard_normal((k, p)).astype(dtype) + dtype(center) for k in (n, m))


def agree(found, expected, tol):
    """The same distances, and the same rows where distances differ by more than rounding."""
    np.testing.assert_allclose(found[0], expected[0], rtol=tol, atol=tol)
    gaps = np.diff(expected[0], axis=1) > 10 * tol
    gaps = np.pad(gaps, [(0, 0), (1, 0)], constant_values=True)[:, :-1] & gaps if gaps.shape[1] else gaps
    assert gaps.size == 0 or gaps.mean() > 0.1
    np.testing.assert_array_equal(found[1][:, :-1][gaps], expected[1][:, :-1][gaps])


METRICS = [
    {"metric": "euclidean"},
    {"metric": "sqeuclidean"},
    {"metric": "cosine"},
    {"metric": "manhattan"},
    {"metric": "l1"},
    {"metric": "cityblock"},
    {"metric": "chebyshev"},
    {"metric": "minkowski", "p": 3},
    {"metric": "minkowski", "p": 1.5, "metric_params": {"w": np.arange(1.0, 13)}},
]


@pytest.mark.parametrize("options", METRICS, ids=lambda o: f"{o['metric']}{o.get('p', '')}")
@pytest.mark.parametrize("form", ["dense", "csr"])
def test_neighbours_are_those_of_scikit_learn(options, form, data_dtype):
    X, Q = rows(dtype=data_dtype.type)
    if form == "csr":
        X[X < 3], Q[Q < 3] = 0, 0
    tol = 1e-10 if data_dtype == np.float64 else 1e-4
    theirs = sklearn.neighbors.NearestNeighbors(algorithm="brute", n_neighbors=6, **options).fit(X)
    make = scipy.sparse.csr_matrix if form == "csr" else np.asarray
    model = NearestNeighbors(n_neighbors=6, **options).fit(make(X))
    found = model.kneighbors(make(Q))
    assert found[0].dtype == data_dtype
    agree(found, theirs.kneighbors(Q), tol)
    agree(model.kneighbors(n_neighbors=3), theirs.kneighbors(n_neighbors=3), tol)
    radius = float(np.median(found[0]))
    ours, expected = model.radius_neighbors(make(Q), radius), theirs.radius_neighbors(Q, radius)
    assert np.mean([np.array_equal(a, b) for a, b in zip(ours[1], expected[1], strict=True)]) >= 0.97
    graph = model.radius_neighbors_graph(make(Q), radius, mode="distance")
    assert graph.shape == (90, 700)
    assert graph.nnz == sum(map(len, ours[1]))


def test_haversine_and_functions(data_dtype):
    X, Q = (a % 1.5 for a in rows(p=2, dtype=data_dtype.type))
    theirs = sklearn.neighbors.NearestNeighbors(metric="haversine", algorithm="brute").fit(X)
    tol = 1e-10 if data_dtype == np.float64 else 1e-4
    agree(NearestNeighbors(metric="haversine").fit(X).kneighbors(Q), theirs.kneighbors(Q), tol)
    theirs = sklearn.neighbors.NearestNeighbors(metric="manhattan", algorithm="brute").fit(X)
    model = NearestNeighbors(metric=weighted, metric_params={"scale": 1.0}).fit(X)
    agree(model.kneighbors(Q), theirs.kneighbors(Q), tol)


def weighted(x, y, scale):
    return scale * jnp.abs(x - y).sum()


def test_near_rows_far_from_the_origin(data_dtype):
    """Products of such rows have lost all digits of the distances; the distances have not."""
    rng = np.random.default_rng(0)
    X = (1e3 + rng.standard_normal((5000, 24))).astype(data_dtype)
    Q = X[:50] + np.float32(2.0**-9)
    model = NearestNeighbors(n_neighbors=1).fit(X)
    distances, places = model.kneighbors(Q)
    assert (places[:, 0] == np.arange(50)).all()
    np.testing.assert_allclose(distances[:, 0], np.sqrt(24) * 2.0**-9, rtol=1e-2 if data_dtype == np.float32 else 1e-9)
    assert (model.kneighbors(X[:50])[0] == 0).all()


def test_of_equal_distances_the_first_row_comes_first():
    """Pixels are integers, so that distances are exact and equal ones are equal; rows are there four times."""
    X = np.concatenate([load_digits().data] * 4)
    n, Q = len(X) // 4, X[:200]
    distances, places = NearestNeighbors(n_neighbors=9).fit(X).kneighbors(Q)
    squares = (np.square(X).sum(1)[None] - 2 * Q @ X.T) + np.square(Q).sum(1)[:, None]
    expected = np.argsort(squares, axis=1, kind="stable")[:, :9]
    np.testing.assert_array_equal(places, expected)
    assert (places[:, :4] == np.arange(200)[:, None] + n * np.arange(4)).all()
    again = NearestNeighbors(n_neighbors=9).fit(X).kneighbors(Q)
    assert (again[0] == distances).all()


def test_rows_on_eight_devices_and_in_streams(tmp_path, data_dtype):
    X, Q = rows(701, 90, 20, dtype=data_dtype.type)
    model = NearestNeighbors(n_neighbors=5, radius=5.0).fit(X)
    expected, within = model.kneighbors(Q), model.radius_neighbors(Q)
    np.save(tmp_path / "rows.npy", X)
    with jax.enable_x64(data_dtype == np.float64):
        sharded, _, present = shard_rows(X)
    unknown = stream(lambda: (X[i : i + 50] for i in range(0, 701, 50)), block_size=90)
    cases = [
        (sharded, present),
        (stream(X, block_size=64), None),
        (stream(tmp_path / "rows.npy"), None),
        (unknown, None),
    ]
    for source, there in cases:
        found = NearestNeighbors(n_neighbors=5, radius=5.0).fit(source, present=there)
        agree(found.kneighbors(Q), expected, 1e-5)
        for a, b in zip(found.radius_neighbors(Q)[1], within[1], strict=True):
            np.testing.assert_array_equal(a, b)
    with jax.enable_x64(data_dtype == np.float64):
        queries, _, _ = shard_rows(Q)
    found = [a[:90] for a in model.kneighbors(queries)]
    agree(found, expected, 1e-5)


def test_a_stream_is_read_once_for_all_queries():
    X, Q = rows(700, 900)
    source = stream(X, block_size=128)
    model = NearestNeighbors().fit(source)
    before = source.reader.n_passes
    model.kneighbors(Q)
    assert source.reader.n_passes == before + 1


@pytest.mark.parametrize("k", [1, 4])
def test_absent_rows(k):
    X, Q = rows(400, 60)
    present = np.random.default_rng(1).random(400) < 0.7
    kept = np.flatnonzero(present)
    expected = NearestNeighbors(n_neighbors=k).fit(X[present]).kneighbors(Q)
    found = NearestNeighbors(n_neighbors=k).fit(X, present=present).kneighbors(Q)
    np.testing.assert_array_equal(found[1], kept[expected[1]])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)


def test_order_of_rows():
    X, Q = rows()
    order = np.random.default_rng(1).permutation(len(X))
    a, b = NearestNeighbors().fit(X).kneighbors(Q), NearestNeighbors().fit(X[order]).kneighbors(Q)
    np.testing.assert_array_equal(a[1], order[b[1]])


@pytest.mark.parametrize(
    "weights", ["uniform", "distance", lambda d: np.exp(-d)], ids=["uniform", "distance", "function"]
)
@pytest.mark.parametrize("outputs", [(), (2,)])
def test_votes_and_means(weights, outputs, data_dtype):
    X, Q = rows(500, 100, 6, dtype=data_dtype.type)
    y = np.random.default_rng(1).integers(0, 4, (500, *outputs)).astype(float)
    tol = 1e-9 if data_dtype == np.float64 else 1e-4
    for ours, theirs, options in (
        (KNeighborsClassifier, sklearn.neighbors.KNeighborsClassifier, {}),
        (KNeighborsRegressor, sklearn.neighbors.KNeighborsRegressor, {}),
    ):
        a = ours(7, weights=weights, **options).fit(X, y)
        b = theirs(7, weights=weights, algorithm="brute", **options).fit(X, y)
        np.testing.assert_allclose(a.predict(Q), b.predict(Q), atol=tol)
        np.testing.assert_allclose(a.predict(None), b.predict(None), atol=tol)
        if hasattr(a, "predict_proba"):
            np.testing.assert_allclose(a.predict_proba(Q), b.predict_proba(Q), atol=tol)
    if callable(weights):
        return  # a function of an array of arrays is another one
    a = RadiusNeighborsClassifier(3.0, weights=weights, outlier_label="most_frequent").fit(X, y)
    b = sklearn.neighbors.RadiusNeighborsClassifier(3.0, weights=weights, outlier_label="most_frequent").fit(X, y)
    np.testing.assert_allclose(a.predict_proba(Q), b.predict_proba(Q), atol=tol)
    np.testing.assert_array_equal(a.predict(Q), b.predict(Q))
    a = RadiusNeighborsRegressor(4.5, weights=weights).fit(X, y)
    b = sklearn.neighbors.RadiusNeighborsRegressor(4.5, weights=weights).fit(X, y)
    np.testing.assert_allclose(a.predict(Q), b.predict(Q), atol=tol)


def test_precomputed():
    X, Q = rows(60, 20)
    D, E = (np.sqrt(np.square(a[:, None] - X[None]).sum(-1)) for a in (X, Q))
    expected = NearestNeighbors(n_neighbors=4, radius=4.0).fit(X)
    model = NearestNeighbors(n_neighbors=4, radius=4.0, metric="precomputed").fit(D)
    agree(model.kneighbors(E), expected.kneighbors(Q), 1e-10)
    agree(model.kneighbors(), expected.kneighbors(), 1e-10)
    for a, b in zip(model.radius_neighbors(E)[1], expected.radius_neighbors(Q)[1], strict=True):
        np.testing.assert_array_equal(a, b)
    graph = expected.kneighbors_graph(X, 8, mode="distance")
    sparse = NearestNeighbors(n_neighbors=4, metric="precomputed").fit(graph)
    agree(sparse.kneighbors(), expected.kneighbors(), 1e-10)
    with pytest.raises(ValueError, match="only 8 neighbors"):
        sparse.kneighbors(n_neighbors=8)
    with pytest.raises(ValueError, match="must be square"):
        NearestNeighbors(metric="precomputed").fit(E)
    with pytest.raises(ValueError, match="Negative values"):
        NearestNeighbors(metric="precomputed").fit(-D)


def test_zero_rows_under_cosine():
    X, Q = rows(50, 5)
    X[3], Q[0] = 0, 0
    expected = sklearn.neighbors.NearestNeighbors(metric="cosine", n_neighbors=50).fit(X).kneighbors(Q)
    for make in (np.asarray, scipy.sparse.csr_matrix):
        found = NearestNeighbors(metric="cosine", n_neighbors=50).fit(make(X)).kneighbors(make(Q))
        np.testing.assert_allclose(found[0], expected[0], atol=1e-12)
        assert (found[0][0] == 1).all()


def test_graphs():
    X, _ = rows(80)
    for mode in ("connectivity", "distance"):
        for self in (False, True, "auto"):
            ours = kneighbors_graph(X, 4, mode=mode, include_self=self)
            theirs = sklearn.neighbors.kneighbors_graph(X, 4, mode=mode, include_self=self)
            np.testing.assert_allclose(ours.toarray(), theirs.toarray(), atol=1e-9)
            ours = radius_neighbors_graph(X, 4.0, mode=mode, include_self=self)
            theirs = sklearn.neighbors.radius_neighbors_graph(X, 4.0, mode=mode, include_self=self)
            np.testing.assert_allclose(ours.toarray(), theirs.toarray(), atol=1e-9)
    model = NearestNeighbors(n_neighbors=4).fit(X)
    assert kneighbors_graph(model, 4).nnz == sklearn.neighbors.kneighbors_graph(model, 4).nnz == 320
    with pytest.raises(ValueError, match="Got 1 for p"):
        kneighbors_graph(model, 4, p=1)


@pytest.mark.parametrize("kernel", ["gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"])
def test_densities(kernel, data_dtype):
    for p in (1, 3, 20)[: 2 if kernel == "cosine" else 3]:  # with 20 features scikit-learn's integral of it is NaN
        X, Q = rows(300, 40, p, dtype=data_dtype.type)
        weight = np.random.default_rng(1).random(300)
        weight[::7] = 0
        h = 0.8 if p < 20 else 8.0
        there = weight > 0
        theirs = sklearn.neighbors.KernelDensity(kernel=kernel, bandwidth=h).fit(X[there], sample_weight=weight[there])
        model = KernelDensity(kernel=kernel, bandwidth=h).fit(X, sample_weight=weight)
        tol = 1e-9 if data_dtype == np.float64 else 2e-4
        np.testing.assert_allclose(model.score_samples(Q), theirs.score_samples(Q), atol=tol, rtol=tol)
        without = KernelDensity(kernel=kernel, bandwidth=h).fit(X[there], sample_weight=weight[there])
        np.testing.assert_allclose(without.score_samples(Q), model.score_samples(Q), atol=tol, rtol=tol)


def test_densities_of_streams_and_shards():
    X, Q = rows(301, 40, 3)
    expected = KernelDensity(bandwidth=0.5).fit(X).score_samples(Q)
    streamed = KernelDensity(bandwidth=0.5).fit(stream(X, block_size=64))
    np.testing.assert_allclose(streamed.score_samples(Q), expected, atol=1e-9)
    with jax.enable_x64(True):
        sharded, _, weight = shard_rows(X)
    found = KernelDensity(bandwidth=0.5).fit(sharded, sample_weight=weight)
    np.testing.assert_allclose(found.score_samples(Q), expected, atol=1e-9)
    model = KernelDensity(kernel="tophat", bandwidth=0.5).fit(X)
    drawn = model.sample(200, random_state=0)
    assert (drawn == model.sample(200, random_state=0)).all()
    assert (NearestNeighbors(n_neighbors=1).fit(X).kneighbors(drawn)[0] <= 0.5).all()
    with pytest.raises(NotImplementedError, match="Gaussian"):
        KernelDensity(kernel="linear").fit(X).sample()


@pytest.mark.parametrize("metric", ["euclidean", "manhattan"])
@pytest.mark.parametrize("form", ["dense", "csr", "sharded"])
def test_centroids(metric, form, data_dtype):
    X, Q = rows(299, 50, 8, dtype=data_dtype.type)
    y = np.random.default_rng(1).integers(0, 3, 299)
    X += y[:, None] * 0.3
    if form == "csr":
        X[X < 3], Q[Q < 3] = 0, 0
    for options in ({}, {"shrink_threshold": 0.4, "priors": "empirical"}):
        theirs = sklearn.neighbors.NearestCentroid(metric=metric, **options).fit(X, y)
        Z, z, weight = scipy.sparse.csr_matrix(X) if form == "csr" else X, y, None
        if form == "sharded":
            with jax.enable_x64(data_dtype == np.float64):
                Z, z, weight = shard_rows(X, y)
        ours = NearestCentroid(metric=metric, **options).fit(Z, z, sample_weight=weight)
        tol = 1e-9 if data_dtype == np.float64 else 1e-4
        for name in ("centroids_", "deviations_", "within_class_std_dev_", "class_prior_"):
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=tol, rtol=tol, err_msg=name)
        assert (ours.predict(Q) == theirs.predict(Q)).mean() > 0.97


def test_a_second_call_compiles_nothing(count_compiles):
    X, Q = rows(700, 90)
    NearestNeighbors().fit(X).kneighbors(Q)
    with count_compiles() as compiled:
        NearestNeighbors().fit(X[:-2] + 1).kneighbors(Q[:-1])
    assert compiled.count == 0, compiled.names


def test_blocks_of_queries_share_one_program(count_compiles, monkeypatch):
    X, Q = rows(700, 300, 7)
    expected = NearestNeighbors().fit(X).kneighbors(Q)
    monkeypatch.setattr(search, "MOST", 48)
    monkeypatch.setattr(search, "FEW", 8)
    with count_compiles() as compiled:
        found = NearestNeighbors().fit(X).kneighbors(Q)
    assert compiled.count == 1, compiled.names
    np.testing.assert_array_equal(found[1], expected[1])


def test_pickles(tmp_path):
    X, Q = rows(200, 20)
    for model in (NearestNeighbors().fit(X), NearestNeighbors().fit(scipy.sparse.csr_matrix(X))):
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again.kneighbors(Q)[1], model.kneighbors(Q)[1])
    model = KernelDensity().fit(X)
    np.testing.assert_allclose(pickle.loads(pickle.dumps(model)).score_samples(Q), model.score_samples(Q))


def test_bad_input():
    X, Q = rows(60, 10)
    y = np.arange(60) % 3
    model = NearestNeighbors().fit(X)
    with pytest.raises(ValueError, match=r"n_neighbors <= n_samples_fit, but n_neighbors = 61, n_samples_fit = 60"):
        model.kneighbors(Q, 61)
    with pytest.raises(ValueError, match=r"n_neighbors < n_samples_fit, but n_neighbors = 60"):
        model.kneighbors(n_neighbors=60)
    with pytest.raises(ValueError, match="n_samples_fit = 30"):
        NearestNeighbors(n_neighbors=31).fit(X, present=np.arange(60) < 30).kneighbors(Q)
    with pytest.raises(ValueError, match="Expected n_neighbors > 0. Got -3"):
        model.kneighbors(Q, -3)
    with pytest.raises(TypeError, match="enter integer value"):
        model.kneighbors(Q, 3.0)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.kneighbors(np.where(Q > 4, np.nan, Q))
    with pytest.raises(ValueError, match="NearestNeighbors is expecting 12 features"):
        model.kneighbors(Q[:, :5])
    with pytest.raises(ValueError, match="must be True if sort_results"):
        model.radius_neighbors(Q, return_distance=False, sort_results=True)
    with pytest.raises(ValueError, match="The 'metric' parameter of NearestNeighbors must be"):
        NearestNeighbors(metric="jaccard").fit(X)
    with pytest.raises(ValueError, match="Haversine distance only valid in 2 dimensions"):
        NearestNeighbors(metric="haversine").fit(X)
    with pytest.raises(ValueError, match=r"\['q'\] are no parameters of metric='cosine'"):
        NearestNeighbors(metric="cosine", metric_params={"q": 1}).fit(X)
    with pytest.raises(ValueError, match="expected one weight for each of 12 features"):
        NearestNeighbors(metric_params={"w": np.ones(3)}).fit(X)
    with pytest.raises(ValueError, match="kd_tree does not support callable metric"):
        NearestNeighbors(metric=weighted, algorithm="kd_tree").fit(X)
    with pytest.raises(ValueError, match="Metric 'cosine' not valid"):
        NearestNeighbors(metric="cosine", algorithm="ball_tree").fit(X)
    with pytest.raises(ValueError, match="does not support 0 < p < 1"):
        NearestNeighbors(p=0.5, algorithm="kd_tree").fit(X)
    with pytest.raises(ValueError, match="No neighbors found for test samples"):
        RadiusNeighborsClassifier(1e-3).fit(X, y).predict(Q)
    with pytest.raises(ValueError, match="getting zero weights"):
        KNeighborsClassifier(weights=np.zeros_like).fit(X, y).predict(Q)
    with pytest.raises(TypeError, match="dtype of outlier_label"):
        RadiusNeighborsClassifier(outlier_label="a").fit(X, y)
    with pytest.raises(ValueError, match="gives them once"):
        NearestNeighbors().fit(stream(iter([X])))
    with pytest.raises(ValueError, match="not as a stream"):
        model.kneighbors(stream(Q))
    with pytest.raises(ValueError, match="pass queries"):
        NearestNeighbors().fit(stream(X)).kneighbors()
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        KernelDensity().fit(X, sample_weight=-np.ones(60))
    with pytest.raises(ValueError, match="greater than one; got 1 class"):
        NearestCentroid().fit(X, np.zeros(60))
    with pytest.raises(ValueError, match="All features have zero variance"):
        NearestCentroid().fit(np.ones((60, 2)), y)
    with pytest.raises(ValueError, match="weights of 0 and 1"):
        NearestCentroid("manhattan").fit(X, y, sample_weight=np.full(60, 0.5))


def test_warnings():
    X, Q = rows(60, 10)
    with pytest.warns(UserWarning, match="algorithm='kd_tree': there are no trees"):
        NearestNeighbors(algorithm="kd_tree").fit(X)
    with pytest.warns(UserWarning, match="algorithm='ball_tree': there are no trees"):
        KernelDensity(algorithm="ball_tree").fit(X)
    with pytest.warns(UserWarning, match="not distance metrics"):
        NearestNeighbors(p=0.5).fit(X)
    with pytest.warns(SyntaxWarning, match="Parameter p is found"):
        NearestNeighbors(metric_params={"p": 3}).fit(X)
    with pytest.warns(UserWarning, match="predicting NaN"):
        assert np.isnan(RadiusNeighborsRegressor(1e-3).fit(X, X[:, 0]).predict(Q)).all()
    model = RadiusNeighborsClassifier(1e-3, outlier_label=7).fit(X, np.arange(60) % 3)
    with pytest.warns(UserWarning, match="Outlier label 7 is not in training classes"):
        assert (model.predict(Q) == 7).all()
