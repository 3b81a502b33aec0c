"""k-means: scikit-learn's centers from the same start, weights, places where rows lie, and bad input."""

import jax
import numpy as np
import pytest
import scipy.sparse
import sklearn.cluster as peer
from sklearn.exceptions import ConvergenceWarning

from jaxlearn import stream
from jaxlearn.access import shard_rows, write_tiles
from jaxlearn.cluster import BisectingKMeans, KMeans, MiniBatchKMeans, k_means, kmeans_plusplus
from jaxlearn.estimators import kmeans_programs

EXACT = {"float64": 1e-10, "float32": 1e-4}


def blobs(n=900, p=5, k=6, seed=0, spread=3.0):
    rng = np.random.default_rng(seed)
    centers = spread * rng.standard_normal((k, p)) + 7
    y = rng.integers(k, size=n)
    return centers[y] + rng.standard_normal((n, p)), y


def same(ours, theirs, X, dtype):
    assert np.mean(ours.labels_ == theirs.labels_) >= 0.9999
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, atol=EXACT[dtype.name])
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-5)
    assert abs(ours.n_iter_ - theirs.n_iter_) <= 1
    assert ours.cluster_centers_.dtype == dtype
    assert ours.labels_.dtype == theirs.labels_.dtype
    np.testing.assert_allclose(ours.transform(X[:40]), theirs.transform(X[:40]), atol=10 * EXACT[dtype.name])
    np.testing.assert_allclose(ours.score(X), theirs.score(X), rtol=1e-5)
    np.testing.assert_array_equal(ours.predict(X), ours.labels_)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("k", [1, 9])
def test_same_start_same_centers(data_dtype, sparse, k):
    X = blobs()[0].astype(data_dtype)
    start = X[:k]
    X = scipy.sparse.csr_matrix(X) if sparse else X
    same(KMeans(k, init=start).fit(X), peer.KMeans(k, init=start, n_init=1).fit(X), X, data_dtype)


@pytest.mark.parametrize("algorithm", ["auto", "lloyd", "elkan"])
def test_algorithms(algorithm, data_dtype):
    """Many clusters and features, where the choice is bounds."""
    X = blobs(1500, 130, 30, spread=0.3)[0].astype(data_dtype)
    ours = KMeans(32, init=X[:32], tol=0, algorithm=algorithm).fit(X)
    same(ours, peer.KMeans(32, init=X[:32], n_init=1, tol=0).fit(X), X, data_dtype)
    assert ours.algorithm_ == ("lloyd" if algorithm == "lloyd" else "elkan")
    assert KMeans(2, init=X[:2], algorithm=algorithm).fit(scipy.sparse.csr_matrix(X)).algorithm_ == "lloyd"
    few = KMeans(2, n_init=3, algorithm=algorithm, random_state=0).fit(X[:, :9])
    assert few.algorithm_ == ("elkan" if algorithm == "elkan" else "lloyd")
    np.testing.assert_allclose(few.inertia_, KMeans(2, n_init=3, random_state=0).fit(X[:, :9]).inertia_, rtol=1e-5)


def test_weights(data_dtype):
    X, _ = blobs()
    X = X.astype(data_dtype)
    weight = np.random.default_rng(0).integers(0, 4, len(X))
    weight[:9] = 1
    ours = KMeans(9, init=X[:9]).fit(X, sample_weight=weight)
    theirs = peer.KMeans(9, init=X[:9], n_init=1).fit(X, sample_weight=weight)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, atol=EXACT[data_dtype.name])
    repeated = KMeans(9, init=X[:9]).fit(np.repeat(X, weight, axis=0))
    np.testing.assert_allclose(ours.cluster_centers_, repeated.cluster_centers_, atol=EXACT[data_dtype.name])
    np.testing.assert_allclose(ours.inertia_, repeated.inertia_, rtol=1e-5)


def test_order_and_scale_of_rows():
    X, _ = blobs()
    order = np.random.default_rng(0).permutation(len(X))
    model = KMeans(6, init=X[:6], tol=0).fit(X)
    np.testing.assert_allclose(
        KMeans(6, init=X[:6], tol=0).fit(X[order]).cluster_centers_, model.cluster_centers_, atol=1e-10
    )
    large = 1e4 + X
    shifted = KMeans(6, init=large[:6].astype("f4"), tol=0).fit(large.astype("f4"))
    assert np.mean(shifted.labels_ == model.labels_) > 0.99  # single precision holds 1e4 + x to 1e-3


@pytest.mark.parametrize("sparse", [False, True])
def test_clusters_without_rows_are_moved(sparse):
    X, _ = blobs()
    start = X[:8].copy()
    start[[2, 5, 6]] = 1000 + 1000 * np.arange(3)[:, None]
    X = scipy.sparse.csr_matrix(X) if sparse else X
    same(KMeans(8, init=start).fit(X), peer.KMeans(8, init=start, n_init=1).fit(X), X, np.dtype("float64"))


@pytest.mark.parametrize("place", ["stream", "iterable", "tiles", "devices", "device"])
def test_places(place, tmp_path):
    X, _ = blobs(1600)
    X = X.astype(np.float32)
    expected = KMeans(6, init=X[:6]).fit(X)
    if place == "stream":
        data = stream(X, block_size=500)
    elif place == "iterable":
        data = stream(lambda: iter([X[:700], X[700:]]), block_size=900)
    elif place == "tiles":
        data = stream(write_tiles(X, tmp_path / "tiles", dtype="float32"))
    elif place == "devices":
        data = shard_rows(X)[0]
    else:
        data = jax.device_put(X)
    model = KMeans(6, init=X[:6]).fit(data)
    np.testing.assert_allclose(model.cluster_centers_, expected.cluster_centers_, atol=1e-4)
    np.testing.assert_allclose(model.inertia_, expected.inertia_, rtol=1e-5)
    np.testing.assert_array_equal(model.predict(data), model.labels_)
    np.testing.assert_allclose(model.transform(data).min(1) ** 2 @ np.ones(1600), model.inertia_, rtol=1e-3)
    drawn = KMeans(6, random_state=0).fit(data)
    assert drawn.inertia_ < 1.2 * expected.inertia_
    small = MiniBatchKMeans(6, random_state=0, batch_size=200).fit(data)
    assert small.inertia_ < 1.3 * expected.inertia_


def test_streams_are_not_held_and_weighted():
    X, _ = blobs(1000)
    weight = np.arange(1000) % 3
    expected = KMeans(4, init=X[:4]).fit(X, sample_weight=weight)
    model = KMeans(4, init=X[:4]).fit(stream(X, block_size=300), sample_weight=weight)
    np.testing.assert_allclose(model.cluster_centers_, expected.cluster_centers_, atol=1e-8)
    np.testing.assert_allclose(model.inertia_, expected.inertia_, rtol=1e-9)
    assert model.cluster_centers_.dtype == np.float64


@pytest.mark.parametrize("init", ["k-means++", "k-means||"])
@pytest.mark.parametrize("sparse", [False, True])
def test_starts(init, sparse):
    X, _ = blobs(1500, k=12, spread=10.0)
    data = scipy.sparse.csr_matrix(X) if sparse else X
    best = min(peer.KMeans(12, n_init=1, random_state=i).fit(X).inertia_ for i in range(8))
    found = [KMeans(12, init=init, n_init=4, random_state=i).fit(data) for i in range(3)]
    assert min(model.inertia_ for model in found) < 1.01 * best
    again = KMeans(12, init=init, n_init=4, random_state=0).fit(data)
    np.testing.assert_array_equal(again.cluster_centers_, found[0].cluster_centers_)


def test_random_starts_are_those_of_scikit_learn(data_dtype):
    X = blobs()[0].astype(data_dtype)
    for n_init in ("auto", 3):
        options = {"init": "random", "n_init": n_init, "random_state": 3}
        ours, theirs = KMeans(4, **options).fit(X), peer.KMeans(4, **options).fit(X)
        np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-5)


def test_the_best_of_several_starts_is_kept():
    X, _ = blobs(600)
    starts = np.stack([X[i : i + 6] for i in range(0, 24, 6)])
    one_by_one = [KMeans(6, init=start).fit(X) for start in starts]
    calls = iter(starts)
    model = KMeans(6, init=lambda X, n_clusters, random_state: next(calls), n_init=4).fit(X)
    best = min(one_by_one, key=lambda model: model.inertia_)
    np.testing.assert_allclose(model.cluster_centers_, best.cluster_centers_)
    assert model.n_iter_ == best.n_iter_


def test_rows_of_weight_zero_are_never_drawn():
    X, _ = blobs(400)
    X[::2] = 1e6
    weight = np.arange(400) % 2
    for init in ("k-means++", "k-means||", "random"):
        model = KMeans(5, init=init, max_iter=300, random_state=0).fit(X, sample_weight=weight)
        assert abs(model.cluster_centers_).max() < 100
    _, index = kmeans_plusplus(X, 20, sample_weight=weight, random_state=0)
    assert (index % 2 == 1).all()
    assert len(set(index)) == 20


def test_start_is_as_good_as_that_of_scikit_learn():
    """The mean potential over seeds: greedy k-means++ on clusters of uneven size."""
    X, _ = blobs(3000, k=30, spread=8.0)

    def potential(centers):
        return np.square(X[:, None] - centers[None]).sum(2).min(1).sum()

    ours = [potential(kmeans_plusplus(X, 30, random_state=i)[0]) for i in range(12)]
    theirs = [potential(peer.kmeans_plusplus(X, 30, random_state=i)[0]) for i in range(12)]
    assert np.mean(ours) < 1.1 * np.mean(theirs)


@pytest.mark.parametrize("batch_size", [100, 5000])
def test_minibatch(data_dtype, batch_size):
    X, _ = blobs(3000)
    X = X.astype(data_dtype)
    best = peer.KMeans(6, n_init=3, random_state=0).fit(X).inertia_
    for data in (X, scipy.sparse.csr_matrix(X)):
        model = MiniBatchKMeans(6, random_state=0, batch_size=batch_size).fit(data)
        assert model.inertia_ < 1.05 * best
        assert model.cluster_centers_.dtype == data_dtype
        again = MiniBatchKMeans(6, random_state=0, batch_size=batch_size).fit(data)
        np.testing.assert_array_equal(model.cluster_centers_, again.cluster_centers_)
        np.testing.assert_array_equal(model.predict(data), model.labels_)


def test_minibatch_by_the_formula():
    X, _ = blobs(300)
    model = MiniBatchKMeans(4, init=X[:4], reassignment_ratio=0, n_init=1)
    centers, counts = X[:4].copy(), np.zeros(4)
    for first in range(0, 300, 100):
        batch = X[first : first + 100]
        model.partial_fit(batch)
        labels = np.square(batch[:, None] - centers[None]).sum(2).argmin(1)
        for j in range(4):
            mine = batch[labels == j]
            if len(mine):
                centers[j] = (counts[j] * centers[j] + mine.sum(0)) / (counts[j] + len(mine))
                counts[j] += len(mine)
        np.testing.assert_allclose(model.cluster_centers_, centers)
    assert model.n_steps_ == 3
    fitted = MiniBatchKMeans(4, random_state=0, batch_size=100).fit(X)
    n_steps, counts = fitted.n_steps_, fitted._counts.sum()
    fitted.partial_fit(X[:50])  # what was learnt is gone on with
    assert (fitted.n_steps_, fitted._counts.sum()) == (n_steps + 1, counts + 50)


def test_minibatch_moves_centers_that_few_rows_join():
    X, _ = blobs(2000)
    start = np.concatenate([X[:3], 1e3 + np.arange(15).reshape(3, 5)])
    model = MiniBatchKMeans(6, init=start, n_init=1, random_state=0, batch_size=200).fit(X)
    assert abs(model.cluster_centers_).max() < 100


@pytest.mark.parametrize("strategy", ["biggest_inertia", "largest_cluster"])
@pytest.mark.parametrize("sparse", [False, True])
def test_bisecting(strategy, sparse):
    X, _ = blobs(900, k=8, spread=6.0)
    data = scipy.sparse.csr_matrix(X) if sparse else X
    options = {"bisecting_strategy": strategy, "n_init": 5, "random_state": 0}
    model, theirs = BisectingKMeans(8, **options).fit(data), peer.BisectingKMeans(8, **options).fit(X)
    assert model.inertia_ < 1.1 * theirs.inertia_
    np.testing.assert_array_equal(model.predict(data), model.labels_)
    np.testing.assert_allclose(-model.score(data), model.inertia_)
    assert model.transform(data).shape == (900, 8)
    for j, center in enumerate(model.cluster_centers_):
        np.testing.assert_allclose(center, X[model.labels_ == j].mean(0))


def test_functions():
    X, _ = blobs(300)
    centers, labels, inertia, n_iter = k_means(X, 6, init=X[:6], return_n_iter=True)
    model = KMeans(6, init=X[:6]).fit(X)
    np.testing.assert_array_equal(centers, model.cluster_centers_)
    assert (inertia, n_iter) == (model.inertia_, model.n_iter_)
    np.testing.assert_array_equal(labels, model.labels_)
    drawn, index = kmeans_plusplus(scipy.sparse.csr_matrix(X), 6, random_state=0)
    np.testing.assert_array_equal(drawn, X[index])


def test_bad_input():
    X, _ = blobs(50)
    with pytest.raises(ValueError, match="n_samples=50 should be >= n_clusters=51"):
        KMeans(51).fit(X)
    with pytest.raises(ValueError, match="does not match the number of clusters 4"):
        KMeans(4, init=X[:3]).fit(X)
    with pytest.raises(ValueError, match="does not match the number of features of the data 5"):
        KMeans(3, init=X[:3, :2]).fit(X)
    with pytest.warns(RuntimeWarning, match="performing only one init in KMeans instead of n_init=7"):
        KMeans(3, init=X[:3], n_init=7).fit(X)
    with pytest.raises(ValueError, match="at least one non-zero"):
        KMeans(3).fit(X, sample_weight=np.zeros(50))
    with pytest.raises(ValueError, match="draws n_clusters=3 rows, and 2 have a positive weight"):
        KMeans(3, init="random").fit(X, sample_weight=np.arange(50) < 2)
    with pytest.raises(ValueError, match="NaN"):
        KMeans(3).fit(np.where(X > 9, np.nan, X))
    with pytest.raises(ValueError, match="NaN or infinity: see"):
        KMeans(3, init=X[:3]).fit(stream(np.where(np.arange(50)[:, None] == 30, np.nan, X), block_size=20))
    with pytest.warns(
        ConvergenceWarning, match=r"Number of distinct clusters \(2\) found smaller than n_clusters \(3\)"
    ):
        KMeans(3, random_state=0).fit(np.repeat([[0.0, 1], [2, 3]], 10, axis=0))
    with pytest.warns(ConvergenceWarning, match="KMeans: .*did not converge"):
        KMeans(6, max_iter=1, random_state=0).fit(X)
    with pytest.raises(ValueError, match="splits rows in memory"):
        BisectingKMeans(3).fit(stream(X))
    with pytest.raises(ValueError, match="X has 2 features, but KMeans is expecting 5"):
        KMeans(3, random_state=0).fit(X).predict(X[:, :2])
    model = MiniBatchKMeans(3, random_state=0).partial_fit(X)
    with pytest.raises(ValueError, match="2 features"):
        model.partial_fit(X[:, :2])


def test_starts_that_leave_their_place(x64):
    """More starts than share a pass: each ends as it does alone, and the best is kept."""
    X = blobs(n=700, spread=0.5)[0]
    many = KMeans(40, init="random", n_init=9, random_state=0, max_iter=60).fit(X)
    rng = np.random.RandomState(0)
    drawn = [X[rng.choice(len(X), 40, replace=False, p=np.full(len(X), 1 / len(X)))] for _ in range(9)]
    alone = [KMeans(40, init=start, n_init=1, max_iter=60).fit(X) for start in drawn]
    best = min(alone, key=lambda model: model.inertia_)
    assert len({model.n_iter_ for model in alone}) > 2
    np.testing.assert_allclose(many.inertia_, best.inertia_, rtol=1e-12)
    np.testing.assert_allclose(many.cluster_centers_, best.cluster_centers_, atol=1e-10)
    assert many.n_iter_ == best.n_iter_
    assert many.converged_


def test_starts_that_are_cut_short(x64):
    """The budget is that of each start, and a start that has used it up does not keep others from theirs."""
    X = blobs(n=700, spread=0.5)[0]
    with pytest.warns(ConvergenceWarning, match="after 2 steps"):
        model = KMeans(40, init="random", n_init=7, max_iter=2, random_state=0).fit(X)
    assert model.n_iter_ == 2
    assert not model.converged_


@pytest.mark.parametrize("n", [2048, 1999])
def test_pieces_of_an_accelerator(n, monkeypatch, x64):
    """There rows go by pieces that hold so many scores, whatever their number."""
    X = blobs(n=n)[0]
    whole = KMeans(6, init=X[:6], n_init=1).fit(X)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(kmeans_programs, "LARGE_SCORE_BYTES", 6 * 8 * 300)
    jax.clear_caches()
    sizes, blocks = [], kmeans_programs.Blocks
    monkeypatch.setattr(
        kmeans_programs, "Blocks", lambda *args, **kw: sizes.append(blocks(*args, **kw).size) or blocks(*args, **kw)
    )
    pieces = KMeans(6, init=X[:6], n_init=1).fit(jax.numpy.asarray(X))
    assert set(sizes) == {300}
    np.testing.assert_allclose(pieces.cluster_centers_, whole.cluster_centers_, rtol=1e-12)
    np.testing.assert_array_equal(pieces.labels_, whole.labels_)


@pytest.mark.parametrize("sparse", [False, True])
def test_weights_that_are_equal_or_not(sparse, x64):
    """Rows of equal weights are added as they are: their scale, and rows that are not there, change nothing else."""
    X = blobs()[0]
    rows = scipy.sparse.csr_array(X) if sparse else X
    there = np.random.default_rng(0).random(len(X)) < 0.7
    fit = lambda rows, w: KMeans(6, init=X[:6], n_init=1, tol=0).fit(rows, sample_weight=w)  # noqa: E731
    kept, scaled = fit(rows[there], None), fit(rows, 3.0 * there)
    nearly = fit(rows, np.where(there, 1 + 1e-9 * np.arange(len(X)), 0))
    for model in (scaled, nearly):
        np.testing.assert_allclose(model.cluster_centers_, kept.cluster_centers_, rtol=1e-5)
    np.testing.assert_allclose(scaled.inertia_, 3 * kept.inertia_, rtol=1e-10)
