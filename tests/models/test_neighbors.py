"""Neighbours as pure functions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from jaxlearn import stream
from jaxlearn.access import pairs
from jaxlearn.access.dense import Dense
from jaxlearn.access.host import from_scipy
from jaxlearn.access.pairs import BUDGET, Probe, nearest
from jaxlearn.models import nearest_centroid
from jaxlearn.models.neighbors import count_within_radius, fit, kernel_sum, kneighbors, log_density, radius_neighbors
from jaxlearn.objectives.distances import (
    Chebyshev,
    Cosine,
    Euclidean,
    Function,
    Haversine,
    Manhattan,
    Minkowski,
    SquaredEuclidean,
)
from jaxlearn.objectives.kernels import (
    DENSITIES,
    RBF,
    CosineSimilarity,
    Laplacian,
    Linear,
    Polynomial,
    Sigmoid,
)


def rows(n, m, p, *, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, p)).astype(dtype) + 1, rng.standard_normal((m, p)).astype(dtype) + 1


def of_vectors(x, y):
    return jnp.abs(x - y).max()


DISTANCES = [
    Euclidean(),
    SquaredEuclidean(),
    Cosine(),
    Manhattan(),
    Chebyshev(),
    Minkowski(3.0),
    Minkowski(1.5, np.arange(1.0, 12)),
    Function(of_vectors),
]


def by_hand(distance, X, Q, k):
    """From the definition, pair by pair."""
    each = jax.vmap(lambda q: distance.distance(distance.rank(X, jnp.broadcast_to(q, X.shape))))(jnp.asarray(Q))
    order = np.argsort(np.asarray(each), axis=1, kind="stable")[:, :k]
    return np.take_along_axis(np.asarray(each), order, 1), order


@pytest.mark.parametrize("distance", DISTANCES, ids=lambda d: type(d).__name__)
@pytest.mark.parametrize("n", [40, 3001])
def test_neighbours_are_the_nearest(distance, n, dtype):
    X, Q = rows(n, 33, 11, dtype=dtype)
    distance = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), distance)
    found = jax.jit(partial(kneighbors, k=5))(fit(distance, X), Q)
    expected = by_hand(distance, X, Q, 5)
    tol = 1e-12 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(found[0], expected[0], rtol=tol, atol=tol)
    assert found[0].dtype == dtype
    assert (np.asarray(found[1]) == expected[1]).mean() > 0.99
    assert (np.diff(np.asarray(found[0])) >= 0).all()


@pytest.mark.parametrize("tile", [1 << 10, 1 << 13, 1 << 22])
@pytest.mark.parametrize("queries", [7, 512])
def test_tiles_change_nothing(tile, queries, monkeypatch, x64):
    X, Q = rows(2500, 100, 4)
    expected = by_hand(Euclidean(), X, Q, 3)
    monkeypatch.setattr(pairs, "TILE_BYTES", tile)
    monkeypatch.setattr(pairs, "MOST_QUERIES", queries)
    fitted = fit(Euclidean(), X)
    found = kneighbors(fitted, Q, 3)
    np.testing.assert_array_equal(found[1], expected[1])
    radius = np.median(expected[0])
    counts = count_within_radius(fitted, Q, radius)
    squares = np.square(Q[:, None] - X[None]).sum(-1)
    np.testing.assert_array_equal(counts, (squares <= radius**2 * (1 + 1e-14)).sum(1))
    distances, places, n_found = radius_neighbors(fitted, Q, radius, int(counts.max()))
    np.testing.assert_array_equal(n_found, counts)
    assert ((np.asarray(places) >= 0) == (np.asarray(distances) <= radius)).all()
    weight = np.random.default_rng(1).random(2500)
    np.testing.assert_allclose(kernel_sum(RBF(0.5), X, Q, weight), np.exp(-0.5 * squares) @ weight, rtol=1e-12)


def test_many_neighbours(x64):
    """From few to all of the rows: the search takes other ways."""
    X, Q = rows(1000, 9, 30)
    for k in (1, 20, 200, 600, 1000):
        np.testing.assert_array_equal(kneighbors(fit(Euclidean(), X), Q, k)[1], by_hand(Euclidean(), X, Q, k)[1])


def test_absent_rows_and_too_few(x64):
    X, Q = rows(500, 20, 3)
    weight = (np.arange(500) % 3 == 0).astype(float)
    found = kneighbors(fit(Manhattan(), X, weight), Q, 4)
    expected = by_hand(Manhattan(), X[::3], Q, 4)
    np.testing.assert_array_equal(found[1], 3 * expected[1])
    few = kneighbors(fit(Manhattan(), X, (np.arange(500) < 2).astype(float)), Q, 4)[0]
    assert np.isfinite(few[:, :2]).all()
    assert np.isinf(few[:, 2:]).all()


def test_equal_rows_come_in_order():
    X = np.repeat(np.random.default_rng(0).integers(0, 3, (40, 5)), 50, axis=0).astype(np.float32)
    places = np.asarray(kneighbors(fit(Euclidean(), X), X[::50], 30)[1])
    distances = np.square(X[::50][:, None] - X[None]).sum(-1)
    np.testing.assert_array_equal(places, np.argsort(distances, axis=1, kind="stable")[:, :30])


@pytest.mark.parametrize("how", ["shard_map", "vmap"])
def test_rows_over_an_axis(how, x64):
    X, Q = rows(800, 50, 20)
    expected = kneighbors(fit(Euclidean(), X), Q, 6)
    index = np.arange(800, dtype=np.int32)

    def search(X, index):
        return kneighbors(fit(Euclidean(), X, index=index, axis_name="rows"), Q, 6)

    if how == "vmap":
        found = jax.tree.map(
            lambda a: a[0], jax.vmap(search, axis_name="rows")(X.reshape(8, 100, 20), index.reshape(8, 100))
        )
    else:
        mesh = Mesh(np.asarray(jax.devices()), ("rows",))
        found = jax.jit(jax.shard_map(search, mesh=mesh, in_specs=P("rows"), out_specs=P(), check_vma=False))(X, index)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
    with pytest.raises(ValueError, match="`index` must be given"):
        fit(Euclidean(), X, axis_name="rows")


def test_streams_and_sparse_rows(x64):
    X, Q = rows(700, 50, 20)
    X[X < 1] = 0
    expected = kneighbors(fit(Euclidean(), X), Q, 6)
    found = kneighbors(fit(Euclidean(), stream(X, block_size=99), index=np.arange(700, dtype=np.int32)), Q, 6)
    np.testing.assert_array_equal(found[1], expected[1])

    found = kneighbors(fit(Euclidean(), from_scipy(scipy.sparse.csr_array(X))), Q, 6)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-7)
    with pytest.raises(ValueError, match="Manhattan is not made of products"):
        kneighbors(fit(Manhattan(), from_scipy(scipy.sparse.csr_array(X))), Q, 6)


def test_lanes_and_derivatives(x64):
    X, Q = rows(300, 12, 4)
    fitted = fit(Euclidean(), X)
    lanes = jax.vmap(lambda Q: kneighbors(fitted, Q, 3)[0])(Q.reshape(3, 4, 4))
    np.testing.assert_allclose(lanes.reshape(12, 3), kneighbors(fitted, Q, 3)[0])
    check_grads(lambda X, Q: kneighbors(fit(Euclidean(), X), Q, 3)[0], (X, Q), order=1, modes=("fwd", "rev"))
    check_grads(lambda p: kneighbors(fit(Minkowski(p), X), Q, 3)[0], (2.5,), order=1)
    one = jax.grad(lambda X: kneighbors(fit(Euclidean(), X), X[:5], 1)[0].sum())(X)
    assert np.isfinite(one).all()


def test_a_second_call_compiles_nothing(count_compiles, x64):
    X, Q = rows(700, 30, 9)
    search = jax.jit(lambda p, X, Q: kneighbors(fit(Minkowski(p), X), Q, 3))
    search(1.5, X, Q)
    with count_compiles() as compiled:
        search(2.5, X + 1, Q)
    assert compiled.count == 0


@pytest.mark.parametrize(
    "kernel",
    [RBF(0.3), Laplacian(0.2), Linear(), CosineSimilarity(), Polynomial(3, 0.1, 1.0), Sigmoid(0.1, 0.5)],
    ids=lambda k: type(k).__name__,
)
def test_sums_of_kernels_and_their_gradients(kernel, x64):
    X, Q = rows(300, 20, 4)
    values = np.random.default_rng(1).standard_normal((300, 2))
    expected = kernel.values(jnp.asarray(Q), jnp.asarray(X)) @ values
    np.testing.assert_allclose(kernel_sum(kernel, X, Q, values), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(kernel_sum(kernel, stream(X, block_size=64), Q, values), expected, rtol=1e-9, atol=1e-9)
    check_grads(partial(kernel_sum, kernel), (X, Q, values), order=1, modes=("rev",), eps=1e-7, rtol=1e-4, atol=1e-4)
    if isinstance(kernel, RBF):
        check_grads(lambda gamma: kernel_sum(RBF(gamma), X, Q, values), (0.3,), order=1)


def test_densities_integrate_to_one(x64):
    for n_features in (1, 2):
        grid = np.linspace(-9, 9, 4001 if n_features == 1 else 361)
        points = np.stack(np.meshgrid(*[grid] * n_features, indexing="ij"), -1).reshape(-1, n_features)
        fitted = fit(Euclidean(), np.full((1, n_features), 0.1))
        for name, density in DENSITIES.items():
            h = 0.5 if name == "exponential" else 1.0
            mass = np.exp(log_density(fitted, points, density, h)).sum() * (grid[1] - grid[0]) ** n_features
            np.testing.assert_allclose(mass, 1, rtol=1e-2, err_msg=name)


def test_haversine(x64):
    equator, pole = jnp.asarray([[0.0, 0.0]]), jnp.asarray([[np.pi / 2, 0.3]])
    distance = Haversine()
    np.testing.assert_allclose(distance.distance(distance.ranks(equator, pole)), np.pi / 2)
    np.testing.assert_allclose(distance.distance(distance.rank_of(jnp.asarray(1.1))), 1.1)


@pytest.mark.parametrize(("n", "p", "k", "budget"), [(1_000_000, 32, 10, BUDGET), (1_000_000, 32, 100, 1 << 24)])
def test_memory_is_within_the_budget(n, p, k, budget):
    """Temporary memory of the program, beside rows, queries and results."""

    def search(X, weight, index, Q):
        return nearest(Dense(X), Probe(Euclidean(), Q, Q[0], k=k, budget=budget), weight, index)

    shapes = [((n, p), np.float32), ((n,), np.float32), ((n,), np.int32), ((2048, p), np.float32)]
    compiled = jax.jit(search).lower(*(jax.ShapeDtypeStruct(s, d) for s, d in shapes)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes <= 1.2 * budget


def test_memory_of_gradients_of_sums():
    """Rows times queries would take 4 GB."""
    n, m = 100_000, 10_000
    total = lambda X, Q, v: kernel_sum(RBF(1.0), X, Q, v).sum()  # noqa: E731
    shapes = [(n, 8), (m, 8), (n,)]
    lowered = jax.jit(jax.grad(total, (0, 1, 2))).lower(*(jax.ShapeDtypeStruct(s, np.float32) for s in shapes))
    assert lowered.compile().memory_analysis().temp_size_in_bytes < 1 << 27


def test_centroids(dtype):
    X, _ = rows(200, 1, 5, dtype=dtype)
    codes = np.random.default_rng(1).integers(0, 3, 200).astype(np.int32)
    weight = np.random.default_rng(2).integers(0, 3, 200)
    found = jax.jit(nearest_centroid.fit, static_argnums=2)(X, codes, 3, weight.astype(dtype))
    many = np.repeat(np.arange(200), weight)
    means = np.stack([X[many][codes[many] == c].mean(0) for c in range(3)])
    tol = 1e-12 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(found.means, means, rtol=tol, atol=tol)
    np.testing.assert_allclose(found.within, np.square(X[many] - means[codes[many]]).sum(0), rtol=tol)
    np.testing.assert_allclose(found.mean, X[many].mean(0), rtol=tol, atol=tol)
