"""Sparse products from SciPy's matrices: what they hold, how they are padded, what they cost, where gradients go."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from jax.test_util import check_grads

from jaxlearn.access import sparse
from jaxlearn.access.host import entry_bucket, from_scipy, split_rows
from jaxlearn.access.sparse import Sparse


def random_csr(n_samples, n_features, density=0.2, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return sp.random_array((n_samples, n_features), density=density, format="csr", dtype=dtype, rng=rng)


def agrees(value, expected, bound, n_terms):
    """To within the rounding of sums of `n_terms` products, `bound` being the sums of absolute values."""
    unit = 2 * (n_terms + 8) * np.finfo(value.dtype).eps
    assert value.shape == expected.shape
    np.testing.assert_array_less(np.abs(np.asarray(value, np.float64) - expected), unit * bound + 1e-300)


def every_product(design, b, B, u, U, d, columns):
    products = design.matvec(b), design.matvec(B), design.rmatvec(u), design.rmatvec(U)
    return (*products, design.gram(d), design.squares(d), design.take(columns))


def check_products(design, X, k=3):
    """Against a dense matrix of exactly the design's numbers."""
    X = np.asarray(X, np.float64)
    n_samples, n_features = X.shape
    assert design.shape == X.shape
    rng = np.random.default_rng(1)
    shapes = (n_features,), (n_features, k), (n_samples,), (n_samples, k), (n_samples,)
    operands = [rng.normal(size=shape).astype(design.dtype) for shape in shapes]
    columns = rng.integers(0, n_features, 4).astype(np.int32)
    # a new function each time: blocks are of a size that tests change
    *found, taken = jax.jit(lambda *arguments: every_product(*arguments))(design, *operands, columns)
    np.testing.assert_array_equal(taken, X[:, columns].T)

    def expected(X, b, B, u, U, d):
        return X @ b, X @ B, X.T @ u, X.T @ U, (X.T * d) @ X, d @ X**2

    operands = [a.astype(np.float64) for a in operands]
    exact, bounds = expected(X, *operands), expected(np.abs(X), *map(np.abs, operands))
    for value, reference, bound in zip(found, exact, bounds, strict=True):
        agrees(value, reference, bound, max(X.shape))


def with_longest(design, longest):
    return Sparse(design.data, design.rows, design.columns, design.shape, longest)


def longest_row(matrix):
    return int(np.diff(matrix.tocsr().indptr).max(initial=0))


def duplicated():
    data, rows, columns = [1.0, 2.0, 4.0, -1.0], [2, 2, 0, 2], [1, 1, 3, 0]
    return sp.coo_matrix((data, (rows, columns)), shape=(3, 4))


def explicit_zeros():
    matrix = random_csr(6, 5, 0.5)
    matrix.data[::2] = 0
    return matrix


def duplicated_csr():
    return sp.csr_matrix(([1.0, 2.0, 3.0], [3, 1, 3], [0, 3, 3]), shape=(2, 4))


EDGES = {
    "random": random_csr(20, 6),
    "empty rows": sp.csr_array(np.diag([0.0, 1, 0, 2, 0])[:, [1, 3]]),
    "empty columns": sp.csc_matrix(np.diag([0.0, 1, 0, 2, 0])[[1, 3]]),
    "no non-zeros": sp.csr_array((4, 3)),
    "duplicates in coo": duplicated(),
    "duplicates in csr": duplicated_csr(),
    "one row": random_csr(1, 9, 0.5),
    "one column": random_csr(9, 1, 0.5),
    "one number": sp.coo_array(np.array([[3.0]])),
    "explicit zeros": explicit_zeros(),
    "full": sp.csr_array(np.random.default_rng(0).normal(size=(9, 4))),
    "lil": random_csr(7, 5).tolil(),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges(name, dtype):
    matrix = EDGES[name]
    before = matrix.copy()
    design = from_scipy(matrix, dtype)
    assert design.dtype == dtype
    assert design.rows.dtype == design.columns.dtype == np.int32
    X = matrix.toarray().astype(dtype)
    check_products(design, X)
    check_products(with_longest(design, longest_row(matrix)), X)
    check_products(with_longest(design, None), X)
    assert matrix.nnz == before.nnz
    if hasattr(matrix, "indices"):
        np.testing.assert_array_equal(matrix.indices, before.indices)
    np.testing.assert_array_equal(matrix.toarray(), before.toarray())


@hypothesis.settings(max_examples=12, deadline=None, derandomize=True)
@hypothesis.given(
    n_samples=st.integers(1, 30),
    n_features=st.integers(1, 12),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    padding=st.integers(0, 5),
)
def test_any_shape(n_samples, n_features, density, padding):
    matrix = random_csr(n_samples, n_features, density, np.float32)
    design = from_scipy(matrix, n_rows=n_samples + padding)
    check_products(design, np.pad(matrix.toarray(), ((0, padding), (0, 0))), k=2)


def test_products_in_blocks_are_the_same(monkeypatch, dtype):
    matrix = random_csr(50, 8, 0.3)
    monkeypatch.setattr(sparse, "PRODUCT_BLOCK", 25)
    monkeypatch.setattr(sparse, "GRAM_BLOCK_BYTES", 700)
    for longest in (None, longest_row(matrix)):
        check_products(with_longest(from_scipy(matrix, dtype), longest), matrix.toarray().astype(dtype), k=5)


def test_buckets():
    sizes = np.arange(1, 5000)
    buckets = np.array([entry_bucket(int(size)) for size in sizes])
    assert (buckets >= sizes).all()
    assert (buckets <= 1.125 * sizes).all()
    assert len(np.unique(buckets)) <= 16 + 8 * 9
    assert [entry_bucket(b) for b in buckets.tolist()] == buckets.tolist()
    assert entry_bucket(0) == 0


def test_nearby_sizes_share_a_program():
    @jax.jit
    def function(design, b):
        return design.rmatvec(design.matvec(b))

    for seed, nnz in enumerate((993, 1001, 1024)):
        places = np.random.default_rng(seed).choice(4000, nnz, replace=False)
        matrix = sp.coo_array((np.ones(nnz, np.float32), (places // 40, places % 40)), shape=(100, 40))
        function(from_scipy(matrix), np.ones(40, np.float32))
    assert function._cache_size() == 1


def test_padding_is_sorted_and_adds_nothing():
    design = from_scipy(random_csr(40, 9, 0.1), np.float32, n_rows=43)
    assert design.shape == (43, 9)
    assert (np.diff(design.rows) >= 0).all()
    assert design.data.size == entry_bucket(36)
    assert not design.data[36:].any()


def test_gram_from_pairs_is_chosen_for_short_rows_only():
    assert from_scipy(random_csr(500, 400, 0.01), np.float32).longest is not None
    assert from_scipy(random_csr(500, 20, 0.5), np.float32).longest is None


def test_refusals():
    with pytest.raises(ValueError, match="at least the 5 rows of the matrix, got 4"):
        from_scipy(random_csr(5, 3), n_rows=4)
    with pytest.raises(ValueError, match="at least 3 for 2 shards, got 2"):
        split_rows(random_csr(5, 3), 2, n_rows=2)
    with pytest.raises(ValueError, match="must fit into int32"):
        from_scipy(sp.coo_array((1, 2**31)))


@pytest.mark.parametrize(("n_samples", "n_shards"), [(12, 4), (13, 4), (3, 8)])
def test_split_rows_pads_every_shard_alike(n_samples, n_shards, dtype):
    matrix = random_csr(n_samples, 5, 0.4)
    stacked = split_rows(matrix, n_shards, dtype)
    size = -(-n_samples // n_shards)
    assert stacked.shape == (size, 5)
    dense = np.pad(matrix.toarray(), ((0, n_shards * size - n_samples), (0, 0))).astype(dtype)
    for shard, block in enumerate(dense.reshape(n_shards, size, 5)):
        check_products(jax.tree.map(lambda a, shard=shard: a[shard], stacked), block)


def temporaries(function, *arguments):
    return jax.jit(function).lower(*arguments).compile().memory_analysis().temp_size_in_bytes


def test_nothing_is_densified():
    """Temporaries against a dense copy of 320 MB: entries, results and one block, a few times each."""
    n_samples, n_features, k = 40000, 2000, 100
    design = from_scipy(random_csr(n_samples, n_features, 0.0005, np.float32))
    entries = 4 * design.data.size + 1024  # and some constants
    b, u = np.ones(n_features, np.float32), np.ones(n_samples, np.float32)
    B, U = np.ones((n_features, k), np.float32), np.ones((n_samples, k), np.float32)
    block = 3 * 4 * sparse.PRODUCT_BLOCK
    assert temporaries(Sparse.matvec, design, b) <= 2 * entries
    lanes = jax.vmap(Sparse.matvec, in_axes=(None, 1), out_axes=1)
    assert temporaries(lanes, design, B) <= block + 4 * entries + 2 * U.nbytes
    assert temporaries(Sparse.rmatvec, design, u) <= 2 * entries
    assert temporaries(Sparse.matvec, design, B) <= block + 4 * entries + 2 * U.nbytes
    assert temporaries(Sparse.rmatvec, design, U) <= block + 4 * entries + 2 * B.nbytes
    assert temporaries(Sparse.squares, design, u) <= 3 * entries
    columns = np.arange(10, dtype=np.int32)
    assert temporaries(Sparse.take, design, columns) <= 3 * entries + 2 * 10 * u.nbytes
    result = 4 * n_features**2
    assert temporaries(Sparse.gram, with_longest(design, 8), u) <= 8 * entries + 2 * result
    blocks = 2 * sparse.GRAM_BLOCK_BYTES  # the two copies, and room for the product to pack one
    assert temporaries(Sparse.gram, with_longest(design, None), u) <= blocks + 8 * entries + 2 * result


@pytest.mark.parametrize("k", [1, 3, 30])
def test_products_in_blocks_do_not_copy_the_entries(k, monkeypatch):
    """Whatever bucket they fill."""
    monkeypatch.setattr(sparse, "PRODUCT_BLOCK", 1 << 10)
    for nnz in (9_000, 20_000, 100_000):
        rng = np.random.default_rng(0)
        places = np.sort(rng.choice(400 * 500, nnz, replace=False))
        matrix = sp.csr_array((rng.random(nnz, np.float32), (places // 500, places % 500)), (400, 500))
        design, B = from_scipy(matrix), rng.random((500, k), np.float32)
        np.testing.assert_allclose(design.matvec(B), matrix @ B, rtol=1e-4)
        assert temporaries(Sparse.matvec, design, B) <= 8 * (4 * 2**10 + 4 * 400 * k)


@pytest.mark.parametrize("longest", [None, 6])
@pytest.mark.parametrize("name", ["matvec", "rmatvec", "gram", "squares", "take"])
def test_gradients_flow_to_the_values(name, longest, x64):
    matrix = random_csr(9, 6, 0.4)
    design = from_scipy(matrix)
    rng = np.random.default_rng(2)
    argument = {"matvec": rng.normal(size=(6, 2)), "take": np.array([4, 1, 4], np.int32)}.get(name, rng.normal(size=9))

    def scalar(data):
        moved = Sparse(data, design.rows, design.columns, design.shape, longest)
        return jnp.sin(getattr(moved, name)(jnp.asarray(argument))).sum()

    # central differences with the step h of check_grads: 1e-6 relative for float64, which its default tolerance allows
    check_grads(scalar, (design.data,), order=1, modes=("fwd", "rev"))
    if name == "matvec":
        slope = np.cos(matrix @ argument)
        expected = (slope[design.rows] * argument[design.columns]).sum(1)
        n_entries = matrix.nnz
        np.testing.assert_allclose(jax.grad(scalar)(design.data)[:n_entries], expected[:n_entries], rtol=1e-12)


def test_gradients_flow_to_operands_and_through_lanes(x64):
    design = from_scipy(random_csr(9, 6, 0.4))
    rng = np.random.default_rng(2)
    B, d = rng.normal(size=(3, 6)), rng.normal(size=(2, 9))
    check_grads(jax.vmap(lambda b: jnp.sin(design.matvec(b))), (B,), order=2)
    check_grads(jax.vmap(lambda d: jnp.sin(design.gram(d))), (d,), order=1)
    slopes = jax.vmap(jax.grad(lambda b: jnp.sin(design.matvec(b)).sum()))(B)
    X = design.take(np.arange(6)).T
    np.testing.assert_allclose(slopes, np.cos(B @ X.T) @ X, rtol=1e-12, atol=1e-12)


def test_lanes_are_columns(dtype):
    """Nested lanes of vectors and matrices, on any axis, with and without lanes of entries."""
    design = from_scipy(random_csr(9, 6, 0.4), dtype)
    B = np.random.default_rng(2).normal(size=(2, 6, 3, 4)).astype(dtype)
    X = np.asarray(design.take(np.arange(6)).T, np.float64)
    expected, bound = (np.einsum("np,apbk->abnk", M, A) for M, A in ((X, B), (np.abs(X), np.abs(B))))
    agrees(jax.vmap(jax.vmap(design.matvec, in_axes=1))(B), expected, bound, 6)
    agrees(
        jax.vmap(jax.vmap(jax.vmap(design.matvec)), in_axes=3)(B.swapaxes(1, 2)),
        np.moveaxis(expected, 3, 0),
        np.moveaxis(bound, 3, 0),
        6,
    )
    scaled = jax.vmap(lambda c, b: Sparse(c * design.data, design.rows, design.columns, design.shape).matvec(b))
    agrees(scaled(jnp.asarray([2, -1], dtype), B[:, :, 0]), expected[:, 0] * [[[2]], [[-1]]], 2 * bound[:, 0], 6)


def test_vmap_over_shards_of_one_size(dtype):
    """Lanes that differ in their entries: the emulation of devices by one."""
    matrix = random_csr(16, 5, 0.4)
    stacked = split_rows(matrix, 4, dtype, axis_name="rows")
    u = np.random.default_rng(0).normal(size=(4, 4)).astype(dtype)

    def correlation(design, u):
        return design.fold(lambda _, block, u: block.rmatvec(u), None, u)

    found = jax.vmap(correlation, axis_name="rows")(stacked, u)
    X = matrix.toarray().astype(dtype).astype(np.float64)
    for row in found:
        agrees(row, X.T @ u.reshape(-1), np.abs(X.T) @ np.abs(u.reshape(-1)), 16)


def test_newsgroups(data_dir):
    if data_dir is None:
        pytest.skip("JAXLEARN_DATA names no folder")
    with np.load(data_dir / "newsgroups20.npz", allow_pickle=False) as arrays:
        parts = [arrays[f"X_train_{part}"] for part in ("data", "indices", "indptr")]
        matrix = sp.csr_array(tuple(parts), shape=tuple(arrays["X_train_shape"])).astype(np.float32)
    design = from_scipy(matrix)
    assert design.data.size <= 1.125 * matrix.nnz
    rng = np.random.default_rng(0)
    B = rng.normal(size=(matrix.shape[1], 20)).astype(np.float32)
    exact, absolute = matrix.astype(np.float64), abs(matrix).astype(np.float64)
    agrees(jax.jit(Sparse.matvec)(design, B), exact @ B.astype(float), absolute @ np.abs(B), longest_row(matrix))
    u = rng.normal(size=matrix.shape[0]).astype(np.float32)
    agrees(jax.jit(Sparse.rmatvec)(design, u), exact.T @ u.astype(float), absolute.T @ np.abs(u), matrix.shape[0])
