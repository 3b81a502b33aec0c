"""Every design, plain and wrapped, is the same matrix: by each product, in both precisions, wherever its rows lie."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxlearn.access.dense import Dense
from jaxlearn.access.design import Centered, Scaled, WithIntercept
from jaxlearn.access.host import from_scipy, split_rows
from jaxlearn.access.streamed import stream

N_SAMPLES, N_FEATURES, N_SHARDS = 48, 7, 8
WRAPPERS = {"Centered": Centered, "Scaled": Scaled, "WithIntercept": WithIntercept}
WRAPPINGS = [(), *product(WRAPPERS), *product(WRAPPERS, repeat=2)]
KINDS = ("dense", "sparse", "streamed")


def random_matrix(dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(1.0, 1.0, (N_SAMPLES, N_FEATURES)) * (rng.random((N_SAMPLES, N_FEATURES)) < 0.4)
    X[[0, 13, N_SAMPLES - 1]] = 0
    X[:, 3] = 0
    return X.astype(dtype)


def design_of(kind, X):
    if kind == "dense":
        return Dense(jnp.asarray(X))
    if kind == "sparse":
        return from_scipy(scipy.sparse.csr_array(X))
    return stream(X, block_size=len(X) // 4)


def wrap(design, names, dtype):
    for name in names:
        vector = jnp.asarray(np.linspace(0.5, 2.0, design.shape[1]), dtype)
        design = WithIntercept(design) if name == "WithIntercept" else WRAPPERS[name](design, vector)
    return design


class Reference(NamedTuple):
    """The matrix in float64, and numbers that bound every intermediate result of its entries.

    A sum of m products is computed to within ``(m + c) eps`` times the same sum of absolute values (Higham 2002, §3.1),
    where c counts the roundings that a summand has seen: a few for each wrapper. The reference errs as much.
    """

    X: np.ndarray
    bound: np.ndarray
    depth: int
    eps: float

    @classmethod
    def of(cls, X, names):
        reference = cls(X.astype(np.float64), np.abs(X).astype(np.float64), len(names), float(np.finfo(X.dtype).eps))
        for name in names:
            X64, bound = reference.X, reference.bound
            vector = np.linspace(0.5, 2.0, X64.shape[1]).astype(X.dtype).astype(np.float64)
            if name == "Centered":
                X64, bound = X64 - vector, bound + vector
            elif name == "Scaled":
                X64, bound = X64 * vector, bound * vector
            else:
                ones = np.ones((len(X64), 1))
                X64, bound = np.hstack([X64, ones]), np.hstack([bound, ones])
            reference = reference._replace(X=X64, bound=bound)
        return reference

    def agrees(self, value, formula, n_terms, *operands):
        operands = [np.asarray(a, np.float64) for a in operands]
        error = np.abs(np.asarray(value, np.float64) - formula(self.X, *operands))
        unit = 2 * (n_terms + 8 * (self.depth + 1)) * self.eps
        allowed = unit * formula(self.bound, *map(np.abs, operands))
        assert error.shape == value.shape
        assert (error <= allowed).all(), f"{(error - allowed).max()} beyond the bound"


def inputs(n_samples, n_features, dtype):
    """Lanes of what each product takes; the first lane serves alone."""
    rng = np.random.default_rng(1)
    sizes = [(3, n_features), (3, n_features, 2), (3, n_samples), (3, n_samples, 2)]
    b, B, u, U = (rng.normal(size=size).astype(dtype) for size in sizes)
    d = rng.random((3, n_samples)).astype(dtype)
    return b, B, u, U, d


def products(design, b, B, u, U, d):
    return (
        design.matvec(b),
        design.matvec(B),
        design.rmatvec(u),
        design.rmatvec(U),
        design.gram(d),
        design.squares(d),
        design.fold(residual_correlation, b, u, d),
    )


def residual_correlation(b, block, u, d):
    """A lift as solvers write them: it reads the block twice."""
    return block.rmatvec(d * (u - block.matvec(b)))


FORMULAS = (
    (lambda X, b, B, u, U, d: X @ b, N_FEATURES),
    (lambda X, b, B, u, U, d: X @ B, N_FEATURES),
    (lambda X, b, B, u, U, d: X.T @ u, N_SAMPLES),
    (lambda X, b, B, u, U, d: X.T @ U, N_SAMPLES),
    (lambda X, b, B, u, U, d: (X.T * d) @ X, N_SAMPLES),
    (lambda X, b, B, u, U, d: d @ X**2, N_SAMPLES),
)


def check(reference, values, operands):
    for value, (formula, n_terms) in zip(values, FORMULAS, strict=False):
        reference.agrees(value, formula, n_terms, *operands)
    check_correlation(reference, values[-1], operands)


def check_correlation(reference, value, operands):
    """Of the lift: the rounding of the residual passes through the second product."""
    b, _, u, _, d = (np.asarray(a, np.float64) for a in operands)
    correlation = (reference.X.T * d) @ (u - reference.X @ b)
    bound = (reference.bound.T * d) @ (np.abs(u) + reference.bound @ np.abs(b))
    unit = 2 * (N_SAMPLES + N_FEATURES + 16 * (reference.depth + 1)) * reference.eps
    assert (np.abs(np.asarray(value, np.float64) - correlation) <= unit * bound).all()


every_wrapping = pytest.mark.parametrize("names", WRAPPINGS, ids=lambda names: "-".join(names) or "plain")
every_kind = pytest.mark.parametrize("kind", KINDS)
on_devices = pytest.mark.parametrize("kind", ["dense", "sparse"])


def wrapped_case(kind, names, dtype):
    X = random_matrix(dtype)
    design = wrap(design_of(kind, X), names, dtype)
    return design, Reference.of(X, names), inputs(N_SAMPLES, design.shape[1], dtype)


@every_kind
@every_wrapping
def test_products_eager(kind, names, dtype):
    design, reference, lanes = wrapped_case(kind, names, dtype)
    assert design.dtype == dtype
    assert design.shape == reference.X.shape
    assert design.is_sparse == (kind == "sparse")
    assert design.on_host == (kind == "streamed")
    assert ("columns" in design.serves) == (kind != "streamed")
    operands = [jnp.asarray(a[0]) for a in lanes]
    values = products(design, *operands)
    assert all(value.dtype == dtype for value in values)
    check(reference, values, operands)


@on_devices
@every_wrapping
def test_products_jit(kind, names, dtype):
    design, reference, lanes = wrapped_case(kind, names, dtype)
    operands = [a[0] for a in lanes]
    check(reference, jax.jit(products)(design, *operands), operands)


@on_devices
@every_wrapping
def test_products_vmap(kind, names, dtype):
    design, reference, lanes = wrapped_case(kind, names, dtype)
    values = jax.jit(jax.vmap(products, in_axes=(None, 0, 0, 0, 0, 0)))(design, *lanes)
    for lane in range(3):
        check(reference, [v[lane] for v in values], [a[lane] for a in lanes])


@on_devices
@every_wrapping
def test_take(kind, names, dtype):
    design, reference, _ = wrapped_case(kind, names, dtype)
    columns = np.array([4, 0, design.shape[1] - 1, 4, 3], np.int32)  # one twice, one empty
    for take in (type(design).take, jax.jit(type(design).take)):
        rows = take(design, columns)
        assert rows.dtype == dtype
        reference.agrees(rows, lambda X: X[:, columns].T, 1)
    for b in (np.arange(1.0, 6.0, dtype=dtype), np.arange(10.0, dtype=dtype).reshape(5, 2)):
        product = jax.jit(type(design).matvec_at)(design, columns, b)
        assert product.dtype == dtype
        reference.agrees(product, lambda X, b: X[:, columns] @ b, 16, b)


def sharded(kind, X, names):
    """The design as shards on a new first axis, and the function that makes a shard of what a map hands over."""
    dtype = X.dtype
    if kind == "dense":
        design = Dense(jnp.asarray(X.reshape(N_SHARDS, -1, N_FEATURES)), axis_name="rows")
    else:
        design = split_rows(scipy.sparse.csr_array(X), N_SHARDS, axis_name="rows")
    return design, partial(wrap, names=names, dtype=dtype)


def moments(query, block, y, w):
    return block.rmatvec(w * (y - block.matvec(query))), block.gram(w), w.sum()


def largest(_, block, y, w):
    return (w * jnp.abs(block.matvec(jnp.ones(block.shape[1], block.dtype)))).max()


def keep_largest(parts):
    return parts.max(0)


def read(design, b, y, w, *, wrapped):
    design = wrapped(design)
    return design.fold(moments, b, y, w), design.fold(largest, None, y, w, merge=keep_largest)


def by_vmap(function):
    return jax.vmap(function, axis_name="rows", in_axes=(0, None, 0, 0))


def by_pmap(function):
    return jax.pmap(function, axis_name="rows", in_axes=(0, None, 0, 0))


def by_shard_map(function):
    def body(design, b, y, w):
        design, y, w = jax.tree.map(lambda a: a[0], (design, y, w))
        return jax.tree.map(lambda a: a[None], function(design, b, y, w))

    mesh = jax.make_mesh((N_SHARDS,), ("rows",), axis_types=(AxisType.Auto,))
    rows, whole = PartitionSpec("rows"), PartitionSpec()
    specs = {"in_specs": (rows, whole, rows, rows), "out_specs": rows}
    return jax.jit(jax.shard_map(body, mesh=mesh, check_vma=False, **specs))


@pytest.mark.parametrize("driver", [by_vmap, by_pmap, by_shard_map])
@pytest.mark.parametrize("names", [(), ("Scaled", "Centered"), ("Centered", "WithIntercept")], ids=len)
@on_devices
def test_fold_over_shards_is_the_fold(kind, names, driver, dtype):
    X = random_matrix(dtype)
    design, wrapped = sharded(kind, X, names)
    width = N_FEATURES + ("WithIntercept" in names)
    b, _, y, _, w = (a[0] for a in inputs(N_SAMPLES, width, dtype))
    parts = y.reshape(N_SHARDS, -1), w.reshape(N_SHARDS, -1)
    found = jax.block_until_ready(driver(partial(read, wrapped=wrapped))(design, b, *parts))
    reference = Reference.of(X, names)
    (correlation, gram, total), top = found
    for shard in range(N_SHARDS):  # the same on every device
        np.testing.assert_array_equal(gram[shard], gram[0])
        np.testing.assert_array_equal(correlation[shard], correlation[0])
    reference.agrees(gram[0], lambda X, d: (X.T * d) @ X, N_SAMPLES, w)
    check_correlation(reference, correlation[0], [b, b, y, y, w])
    np.testing.assert_allclose(total, w.sum(dtype=np.float64), rtol=N_SAMPLES * reference.eps)
    plain = (w * np.abs(reference.X.sum(1))).max()
    unit = 2 * (width + 8 * (len(names) + 1)) * reference.eps
    np.testing.assert_allclose(top, plain, rtol=0, atol=unit * (w * reference.bound.sum(1)).max())


@on_devices
def test_shards_exchange_sums_only(kind):
    X = random_matrix(np.float32)
    design, wrapped = sharded(kind, X, ("Centered",))
    b, _, y, _, w = (a[0] for a in inputs(N_SAMPLES, N_FEATURES, np.float32))

    def summed(design, b, y, w):
        return wrapped(design).fold(moments, b, y, w)

    program = by_shard_map(summed).lower(design, b, y.reshape(N_SHARDS, -1), w.reshape(N_SHARDS, -1))
    text = program.compile().as_text()
    assert "all-reduce" in text
    assert not any(word in text for word in ("all-gather", "all-to-all", "collective-permute"))


def test_compiler_partitions_a_sharded_array_without_gathering_it():
    mesh = jax.make_mesh((N_SHARDS,), ("rows",), axis_types=(AxisType.Auto,))
    X = jax.device_put(random_matrix(np.float32), NamedSharding(mesh, PartitionSpec("rows")))
    operands = [a[0] for a in inputs(N_SAMPLES, N_FEATURES, np.float32)]
    program = jax.jit(lambda X, *operands: products(Dense(X), *operands)[2:])
    text = program.lower(X, *operands).compile().as_text()
    assert not any(word in text for word in ("all-gather", "all-to-all", "collective-permute"))
    check_values = jax.block_until_ready(program(X, *operands))
    np.testing.assert_allclose(check_values[-1], products(Dense(np.asarray(X)), *operands)[-1], rtol=1e-4, atol=1e-5)


@every_kind
def test_shifted_rows_are_near_zero_or_untouched(kind, dtype):
    X = random_matrix(dtype) + dtype.type(100)
    design = design_of(kind, X)
    location = design.location()
    assert location.shape == (N_FEATURES,)
    assert location.dtype == dtype
    b = jnp.ones(N_FEATURES, dtype)
    shift = np.asarray(location, np.float64)
    reference = Reference.of(X, ())
    reference = reference._replace(X=reference.X - shift, bound=reference.bound + np.abs(shift))
    reference.agrees(design.shifted(location).matvec(b), lambda X, b: X @ b, N_FEATURES, b)
    if kind == "sparse":
        assert not location.any()
    else:
        assert np.abs(design.shifted(location).matvec(b)).max() < 60  # of 700 before


@pytest.fixture
def one_device(monkeypatch):
    """What a machine with one device does: sums over rows are made of some rows at a time."""
    monkeypatch.setattr(jax, "device_count", lambda: 1)


@pytest.mark.parametrize("lanes", [False, True])
def test_sums_over_some_rows_at_a_time(lanes, one_device, dtype):
    """They are right, and nothing of the size of X is made, in no lane."""
    n_samples, n_features = 12_301, 30
    rng = np.random.default_rng(0)
    X, location = rng.standard_normal((n_samples, n_features)).astype(dtype) + 1, rng.random(n_features).astype(dtype)
    d = rng.random((3, n_samples)).astype(dtype)
    gram = lambda X, d: Dense(X).gram(d)  # noqa: E731
    moments = lambda X, d: Dense(X).moments(d, location)  # noqa: E731
    if lanes:
        gram, moments = (jax.vmap(program, (None, 0)) for program in (gram, moments))
    else:
        d = d[0]
    X64, size = X.astype(float), 1e-2 if dtype == np.float32 else 1e-10
    for program, rows in ((gram, X64), (moments, X64 - location)):
        compiled = jax.jit(program).lower(X, d).compile()
        assert compiled.memory_analysis().temp_size_in_bytes < X.nbytes
        found = compiled(X, d)
        weight = d.astype(float)
        expected = np.einsum("np,...n,nq->...pq", rows, weight, rows)
        np.testing.assert_allclose(found if program is gram else found[2], expected, atol=size)
        if program is moments:
            np.testing.assert_allclose(found[0], weight.sum(-1), rtol=1e-5)
            np.testing.assert_allclose(found[1], weight @ rows, rtol=1e-4)


def test_wide_products_over_some_rows_at_a_time(one_device, x64):
    rng = np.random.default_rng(0)
    X, U = rng.standard_normal((3000, 200)), rng.standard_normal((3000, 40))
    program = jax.jit(lambda X, U: Dense(X).rmatvec(U))
    assert " while(" in program.lower(X, U).compile().as_text()
    np.testing.assert_allclose(program(X, U), X.T @ U, atol=1e-11)


def test_a_derivative_of_a_sum_keeps_no_blocks(one_device, x64):
    X, d = np.random.default_rng(0).standard_normal((12_301, 30)), np.ones(12_301)
    slope = jax.jit(jax.grad(lambda d, X: jnp.square(Dense(X).gram(d)).sum()))
    np.testing.assert_allclose(slope(d, X), 2 * np.einsum("np,pq,nq->n", X, X.T @ X, X), rtol=1e-10)
    assert slope.lower(d, X).compile().memory_analysis().temp_size_in_bytes < X.nbytes


def test_squares_of_more_columns_than_are_squared_at_once(monkeypatch, dtype):
    monkeypatch.setattr("jaxlearn.access.dense.SQUARED_COLUMNS", 4)
    rng = np.random.default_rng(0)
    X, d = rng.normal(size=(7, 10)).astype(dtype), rng.random(7).astype(dtype)
    found = jax.jit(lambda X, d: Dense(X).squares(d))(X, d)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, d @ np.square(X), rtol=10 * np.finfo(dtype).eps)
    slope = jax.grad(lambda X: Dense(X).squares(d).sum())(X)
    np.testing.assert_allclose(slope, 2 * d[:, None] * X, rtol=10 * np.finfo(dtype).eps)


@pytest.mark.parametrize("entry", [0.0, 0.7])
@pytest.mark.parametrize("lanes", [False, True])
def test_products_with_one_number(lanes, entry, dtype):
    """What XLA's library for CPUs gets wrong, compiled as users do: a broadcast number, times X, plus a row, reduced."""
    X, b = random_matrix(dtype), np.arange(5, dtype=dtype)
    X = np.tile(X, (20, 10))

    def shares(X, b, entry):
        if lanes:
            f = jax.vmap(Dense(X).matvec, 1, 1)(jnp.full((X.shape[1], 5), entry))
        else:
            f = Dense(X).matvec(jnp.full((X.shape[1], 5), entry))
        return jax.nn.log_softmax(f + b[None], axis=1)

    for constant in (True, False):
        program = jax.jit(partial(shares, entry=dtype.type(entry)) if constant else shares)
        found = program(X, b) if constant else program(X, b, dtype.type(entry))
        np.testing.assert_allclose(found, np.tile(np.log(np.exp(b) / np.exp(b).sum()), (len(X), 1)), atol=1e-4)
