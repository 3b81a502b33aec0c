"""k-means as pure functions: under jit and vmap, descent, derivatives, and a layer of vector quantization."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from jaxlearn.access import Dense, in_blocks
from jaxlearn.access.blocks import UNIT
from jaxlearn.access.host import from_scipy
from jaxlearn.models import kmeans, minibatch_kmeans
from jaxlearn.models.kmeans import KMeans
from jaxlearn.solvers.elkan import Elkan
from jaxlearn.solvers.lloyd import Lloyd, _least, nearest
from jaxlearn.solvers.protocols import Problem
from jaxlearn.solvers.solution import NONFINITE, Budget
from jaxlearn.solvers.solve import solve


def blobs(n=240, p=3, k=4, seed=0):
    rng = np.random.default_rng(seed)
    centers = 20 * rng.standard_normal((k, p))
    return centers[np.arange(n) % k] + rng.standard_normal((n, p)), centers + 1


def test_designs_agree(x64):
    X, start = blobs(3 * UNIT, p=50)
    w = jnp.asarray(np.random.default_rng(0).random(len(X)))
    fits = [
        jax.jit(kmeans.fit)(KMeans(4), design, w, init=jnp.asarray(start))
        for design in (jnp.asarray(X), in_blocks(jnp.asarray(X)), from_scipy(scipy.sparse.csr_matrix(X)))
    ]
    for found in fits[1:]:
        np.testing.assert_allclose(found.centers, fits[0].centers, rtol=1e-9)
        np.testing.assert_allclose(found.inertia, fits[0].inertia, rtol=1e-9)
        assert found.n_steps == fits[0].n_steps


def test_descent_is_monotone(x64):
    """Each pass leaves no more than the one before it."""
    X = np.random.default_rng(0).standard_normal((500, 4))
    inertia = [
        float(kmeans.fit(KMeans(12, tol=0.0, max_steps=m), jnp.asarray(X), init=jnp.asarray(X[:12])).inertia)
        for m in range(1, 25)
    ]
    assert (np.diff(inertia) <= 1e-12).all()
    assert inertia[-1] < 0.95 * inertia[0]


def test_lanes_and_starts(x64):
    X, _ = blobs()
    X = jnp.asarray(X)
    starts = jnp.stack([X[i : i + 4] for i in range(5)])
    model = KMeans(4, tol=0.0)
    lanes = jax.vmap(lambda start: kmeans.fit(model, X, init=start))(starts)
    together = kmeans.fit(model, X, init=starts)
    best = int(jnp.argmin(lanes.inertia))
    np.testing.assert_allclose(together.centers, lanes.centers[best], rtol=1e-9)
    assert together.n_steps == lanes.n_steps[best]
    weights = jnp.asarray(np.random.default_rng(0).integers(0, 2, (3, len(X))))
    folds = jax.vmap(lambda w: kmeans.fit(model, X, w, init=starts[0]).centers)(weights)
    for w, centers in zip(weights, folds, strict=True):
        np.testing.assert_allclose(kmeans.fit(model, X[w > 0], init=starts[0]).centers, centers, rtol=1e-9)


def test_second_fit_compiles_nothing(x64):
    X, start = blobs()
    fit = jax.jit(lambda model, X, init: kmeans.fit(model, X, init=init))
    for i in range(3):
        fit(KMeans(4, tol=np.float64(10.0**-i), max_steps=np.int32(9 + i)), jnp.asarray(X + i), jnp.asarray(start))
    assert fit._cache_size() == 1


def test_derivative(x64):
    X, start = blobs()
    rng = np.random.default_rng(1)
    w, v, u = (
        jnp.asarray(rng.random(240) + 0.5),
        jnp.asarray(rng.standard_normal((4, 3))),
        rng.standard_normal((240, 3)),
    )

    def value(X, w):
        return jnp.sum(v * kmeans.fit(KMeans(4, tol=0.0), X, w, init=jnp.asarray(start)).centers)

    by_rows, by_weights = jax.jit(jax.grad(value, (0, 1)))(jnp.asarray(X), w)
    eps = 1e-5
    differences = (value(X + eps * u, w) - value(X - eps * u, w)) / (2 * eps)
    np.testing.assert_allclose(jnp.sum(by_rows * u), differences, rtol=1e-6)
    differences = (value(X, w + eps * u[:, 0]) - value(X, w - eps * u[:, 0])) / (2 * eps)
    np.testing.assert_allclose(by_weights @ u[:, 0], differences, rtol=1e-5)
    blocks = Dense(jnp.asarray(X))
    np.testing.assert_allclose(jax.grad(lambda d: value(d, w))(blocks).X, by_rows, rtol=1e-9)


def test_quantize(x64):
    X, start = blobs()
    fitted = kmeans.fit(KMeans(4), jnp.asarray(X), init=jnp.asarray(start))
    found = kmeans.quantize(fitted, X)
    np.testing.assert_allclose(found, fitted.centers[kmeans.predict(fitted, X)])
    np.testing.assert_allclose(jax.grad(lambda X: kmeans.quantize(fitted, X).sum())(jnp.asarray(X)), 1)
    distances = kmeans.distances(fitted.centers, X)
    np.testing.assert_allclose(distances.min(1), np.linalg.norm(X - found, axis=1), rtol=1e-9)


@pytest.mark.parametrize("nearest", [nearest, _least])
def test_ties_go_to_the_first(nearest):
    least, label = nearest(jnp.array([[3.0, 1.0, 2.0], [1.0, 1.0, 2.0], [1.0, 0.0, 2.0]]))
    assert label.tolist() == [1, 2, 0]
    assert least.tolist() == [1, 0, 2]


@pytest.mark.parametrize("kind", ["pmap", "shard_map"])
def test_shards(kind, x64):
    X, start = blobs(240)
    model, w = KMeans(4, tol=0.0), jnp.ones(240)
    expected = kmeans.fit(model, jnp.asarray(X), w, init=jnp.asarray(start))
    fit = lambda X, w: kmeans.fit(model, X, w, init=jnp.asarray(start), axis_name="rows").centers  # noqa: E731
    if kind == "pmap":
        found = jax.pmap(fit, axis_name="rows")(X.reshape(8, 30, 3), w.reshape(8, 30))[0]
    else:
        mesh = jax.make_mesh((8,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
        P = jax.sharding.PartitionSpec
        mapped = jax.shard_map(fit, mesh=mesh, in_specs=(P("rows"), P("rows")), out_specs=P(), check_vma=False)
        found = jax.jit(mapped)(X, w)
    np.testing.assert_allclose(found, expected.centers, rtol=1e-9)


@pytest.mark.parametrize("design", [jnp.asarray, in_blocks])
@pytest.mark.parametrize("weights", [None, "some are zero"])
def test_bounds_change_nothing(design, weights, x64):
    """The centers, passes and inertia of Lloyd's iterations, of several starts; of so many rows some pieces are full."""
    X = jnp.asarray(np.random.default_rng(0).standard_normal((3 * UNIT, 60)) + 3)
    w = None if weights is None else jnp.asarray(np.random.default_rng(1).integers(0, 3, len(X)) / 2.0)
    starts = jnp.stack([X[:7], X[50:57], X[100:107]])
    lloyd, elkan = (
        jax.jit(kmeans.fit)(KMeans(7, tol=0.0, algorithm=name), design(X), w, init=starts)
        for name in ("lloyd", "elkan")
    )
    np.testing.assert_allclose(elkan.centers, lloyd.centers, rtol=1e-9)
    np.testing.assert_allclose(elkan.inertia, lloyd.inertia, rtol=1e-9)
    assert (elkan.n_steps, elkan.status, elkan.residual) == (lloyd.n_steps, 0, 0)


def test_bounds_of_ties(x64):
    """Many equal rows, and centers that no row is near: clusters are moved as Lloyd's are."""
    X = jnp.asarray(np.random.default_rng(0).integers(0, 3, (400, 3)).astype(float))
    start = jnp.concatenate([X[:9], 100 + jnp.arange(12.0).reshape(4, 3)])
    lloyd, elkan = (kmeans.fit(KMeans(13, tol=0.0, algorithm=name), X, init=start) for name in ("lloyd", "elkan"))
    np.testing.assert_allclose(elkan.centers, lloyd.centers, atol=1e-12)
    assert elkan.n_steps == lloyd.n_steps


@pytest.mark.parametrize("seed", [2151, 4330, 5899, 12580])
def test_bounds_of_clusters_that_lose_their_rows(seed, x64):
    """Sums that all rows have left are nothing, not what rounding leaves: here a cluster is empty after some passes."""
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(6, 14)), int(rng.integers(3, 6))
    X = rng.integers(0, 12, (n, 2)).astype(float)
    start = jnp.asarray(X[rng.choice(n, k, replace=False)])
    weights = jnp.full(n, 0.1)
    lloyd, elkan = (
        [kmeans.fit(KMeans(k, 0.0, m, algorithm=name), jnp.asarray(X), weights, init=start) for m in range(1, 6)]
        for name in ("lloyd", "elkan")
    )
    for theirs, ours in zip(lloyd, elkan, strict=True):
        np.testing.assert_allclose(ours.centers, theirs.centers, atol=1e-12)
    assert elkan[-1].status == 0


@pytest.mark.parametrize("n_steps", [1, 2, 6, 15])
def test_bounds_hold(n_steps, dtype):
    """Every distance lies within what is known of it, in single precision as well; labels are the nearest centers."""
    X = jnp.asarray(np.random.default_rng(0).standard_normal((900, 20)).astype(dtype))
    problem = Problem(None, Dense(X), None, jnp.full(900, 1 / 900, X.dtype))
    state = solve(problem, Elkan(), X[:12], budget=Budget(tol=0.0, max_steps=n_steps)).state
    labels, upper, lower = (np.asarray(a, np.float64) for a in state.bounds)
    labels, travel = labels.astype(int), np.asarray(state.travel, np.float64)
    exact, centers = np.asarray(X, np.float64), np.asarray(state.centers, np.float64)
    distances = np.linalg.norm(exact[:, None] - centers[None], axis=2)
    own = labels[:, None] == np.arange(12)
    assert (distances[own] <= upper + travel[labels]).all()
    assert (distances >= np.where(own, 0, lower - travel))[~own].all()
    assert np.isinf(lower[own]).all()
    step = kmeans.fit(KMeans(12, max_steps=n_steps, tol=0.0), X, init=X[:12])
    np.testing.assert_allclose(state.centers, step.centers, atol=1e-4 if dtype == np.float32 else 1e-12)
    np.testing.assert_allclose(state.clusters.sums, (own.T @ exact) / 900, atol=1e-5 if dtype == np.float32 else 1e-12)
    if n_steps > 6:  # most bounds are as old as a pass or more
        assert np.mean(lower[~own].reshape(900, -1) == (distances + travel)[~own].reshape(900, -1)) < 0.5


def test_bounds_have_the_same_derivative_and_are_refused(x64):
    X, start = blobs()
    value = lambda X, name: kmeans.fit(KMeans(4, algorithm=name), X, init=jnp.asarray(start)).centers[0, 0]  # noqa: E731
    by_lloyd, by_elkan = (jax.grad(value)(jnp.asarray(X), name) for name in ("lloyd", "elkan"))
    np.testing.assert_allclose(by_elkan, by_lloyd, rtol=1e-9)
    assert np.abs(by_lloyd).max() > 0
    assert (
        kmeans.fit(KMeans(4, algorithm="elkan"), jnp.asarray(X).at[3, 1].set(jnp.nan), init=X[:4]).status == NONFINITE
    )
    with pytest.raises(ValueError, match="dense rows of one device"):
        kmeans.fit(KMeans(4, algorithm="elkan"), from_scipy(scipy.sparse.csr_matrix(X)), init=start)
    with pytest.raises(ValueError, match="expected 'lloyd' or 'elkan'"):
        KMeans(4, algorithm="hamerly")


def test_mistakes_of_shape():
    X = jnp.ones((5, 2))
    with pytest.raises(ValueError, match="expected one of"):
        KMeans(2, init="kmeans")
    with pytest.raises(ValueError, match="draws its start with a `key`"):
        kmeans.fit(KMeans(2), X)
    with pytest.raises(ValueError, match=r"`init` has shape \(3, 2\)"):
        kmeans.fit(KMeans(2), X, init=X[:3])
    assert Lloyd.certificate


def test_batches_merge_into_means(x64):
    X, start = blobs()
    state = minibatch_kmeans.init(jnp.asarray(start))
    step = jax.jit(minibatch_kmeans.step)
    for first in range(0, 240, 60):
        state = step(
            minibatch_kmeans.MiniBatchKMeans(), state, jnp.asarray(X[first : first + 60]), key=jax.random.key(0)
        )
    np.testing.assert_allclose(state.centers, np.stack([X[j::4].mean(0) for j in range(4)]), rtol=1e-9)
    unchanged = step(
        minibatch_kmeans.MiniBatchKMeans(), state, jnp.asarray(X[:60]), jnp.zeros(60), key=jax.random.key(0)
    )
    np.testing.assert_array_equal(unchanged.centers, state.centers)
    assert unchanged.n_steps == state.n_steps
