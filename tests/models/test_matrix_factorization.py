"""The online engine as a pure function: equal to the textbook's, indifferent to padding and placement, differentiable."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxlearn.models import matrix_factorization as mf
from jaxlearn.models._online import PRIOR, window_of
from jaxlearn.objectives import L1, L2, ElasticNet, ElasticNetBall, L2Ball

N, FEATURES, K = 160, 30, 6
PENALTIES = [L1(0.1), L1(0.1, positive=True), ElasticNet(0.2, 0.5), ElasticNet(0.1, 0.0, True), L2(0.3)]


def samples(dtype=np.float32, n=N, seed=0):
    """Sparse mixtures of K directions, and noise."""
    rng = np.random.default_rng(seed)
    atoms = rng.standard_normal((K, FEATURES))
    codes = rng.standard_normal((n, K)) * (rng.random((n, K)) < 0.4)
    return (codes @ atoms / FEATURES**0.5 + 0.05 * rng.standard_normal((n, FEATURES))).astype(dtype)


def exact_codes(D, X, l1, l2, positive):
    """Coordinate descent in double precision."""
    D, X = D.astype(float), X.astype(float)
    G, R, A = D @ D.T, X @ D.T, np.zeros((len(X), len(D)))
    for _ in range(2000):
        for j in range(len(D)):
            v = R[:, j] - A @ G[:, j] + A[:, j] * G[j, j]
            new = (np.maximum(v - l1, 0) if positive else np.sign(v) * np.maximum(abs(v) - l1, 0)) / (G[j, j] + l2)
            A[:, j] = new
    return A


def strengths(penalty):
    l1, l2 = penalty.strengths(jnp.zeros(1))
    return float(l1[0]), float(l2[0]), getattr(penalty, "positive", False)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_codes(penalty, dtype):
    X, D = samples(dtype), samples(dtype, K, 1)
    tol = 1e-4 if dtype == np.float32 else 1e-10
    found = jax.jit(partial(mf.encode, tol=tol))(mf.MatrixFactorization(K, penalty), D, X)
    assert found.status == 0
    assert found.residual <= tol
    expected = exact_codes(D, X, *strengths(penalty))
    np.testing.assert_allclose(found.codes, expected, atol=10 * tol**0.5 * np.abs(expected).max())


def test_certificate_bounds_the_error(dtype):
    """A gap that is asked for of every row holds for each, by an evaluation in double precision."""
    X, D, penalty = samples(dtype), samples(dtype, K, 1), L1(0.05)
    best = exact_codes(D, X, 0.05, 0.0, False)
    for tol in (1e-1, 1e-3):
        codes = np.asarray(mf.encode(mf.MatrixFactorization(K, penalty), D, X, tol=tol).codes, float)

        def value(codes):
            return 0.5 * ((X - codes @ D.astype(float)) ** 2).sum(1) + 0.05 * abs(codes).sum(1)

        excess = (value(codes) - value(best)) / (0.5 * (X.astype(float) ** 2).sum(1))
        assert (excess <= tol).all()


def textbook(model, D, batches):
    """Mairal's algorithm in double precision: exact codes, sums with weights, one sweep."""
    D, u, seen, k = D.astype(float), float(model.learning_decay), PRIOR * len(D), len(D)
    C = B = None
    for X in batches:
        A = exact_codes(D, X, *strengths(model.penalty))
        if C is None:
            alike = np.trace(A.T @ A) / (len(X) * k)
            C, B = alike * np.eye(k), alike * D
        kept = np.prod([1 - (seen + i) ** -u for i in range(1, len(X) + 1)])
        C, B = kept * C + (1 - kept) * A.T @ A / len(X), kept * B + (1 - kept) * A.T @ X / len(X)
        seen += len(X)
        for j in range(k):
            free = D[j] + (B[j] - C[j] @ D) / C[j, j]
            D[j] = np.asarray(model.ball.project(jnp.asarray(free[None])))[0]
    return D


@pytest.mark.parametrize("ball", [L2Ball(), ElasticNetBall(l1_ratio=0.5)], ids=str)
@pytest.mark.parametrize("penalty", [L1(0.05), L2(0.1)], ids=str)
def test_one_by_one_it_is_the_online_algorithm(penalty, ball, x64):
    model = mf.MatrixFactorization(K, penalty, ball, tol=1e-13, max_steps=500)
    X = samples(np.float64)
    state = mf.init(model, X, jax.random.key(3))
    batches = np.split(X, 8)
    expected = textbook(model, np.array(state.dictionary), batches)
    step = jax.jit(mf.step)
    for batch in batches:
        state = step(model, state, batch)
    np.testing.assert_allclose(state.dictionary, expected, atol=1e-6)
    # and as one dispatch of eight batches
    whole = mf.run(model, mf.init(model, X, jax.random.key(3)), X, jnp.arange(N), (0, 8, 0), batch_size=N // 8)
    np.testing.assert_allclose(whole.dictionary, expected, atol=1e-6)


@pytest.mark.parametrize(
    "ball", [L2Ball(), L2Ball(positive=True), ElasticNetBall(l1_ratio=1.0), ElasticNetBall(l1_ratio=0.3)]
)
def test_radii_are_conserved(ball, dtype):
    """What windows leave of a radius and what atoms use of it add up, batch after batch."""
    model = mf.MatrixFactorization(K, L2(0.1), ball, reduction=4)
    X = samples(dtype)
    state, step = mf.init(model, X, jax.random.key(0)), jax.jit(mf.step)
    for batch in np.split(np.concatenate([X] * 3), 24):
        before, state = state.dictionary, step(model, state, batch)
        np.testing.assert_allclose(state.slack + ball.norm(state.dictionary), 1, atol=50 * np.finfo(dtype).eps)
        changed = (np.asarray(before) != np.asarray(state.dictionary)).any(0).sum()
        assert 0 < changed <= -(-FEATURES // 4)


def test_a_window_visits_every_feature_once_in_a_round():
    model = mf.MatrixFactorization(K, reduction=4)
    state = mf.init(model, samples())
    for round_ in range(3):
        starts = []
        for i in range(4):
            at = window_of(model, dataclasses.replace(state, n_steps=jnp.int32(4 * round_ + i)))
            starts.append(int(at.start))
        assert sorted(starts) == [0, 8, 16, 22]


def test_subsampling_learns(dtype):
    X = samples(dtype, 4000)
    values = {}
    for average in (False, True):
        model = mf.MatrixFactorization(K, L2(0.05), reduction=3, average=average)
        state = mf.init(model, X, jax.random.key(0))
        state = mf.with_averages(state, len(X)) if average else state
        before = mf.objective(model, state.dictionary, X)
        order = jnp.concatenate([jnp.asarray(np.random.default_rng(e).permutation(4000), jnp.int32) for e in range(3)])
        state = jax.jit(mf.run, static_argnames="batch_size")(model, state, X, order, (0, 240, 0), batch_size=50)
        values[average] = float(mf.objective(model, state.dictionary, X) / before)
    assert values[False] < 0.75
    assert values[True] < 0.75


@pytest.mark.parametrize("reduction", [1, 3])
def test_rows_of_weight_zero_are_not_there(reduction, dtype):
    model = mf.MatrixFactorization(K, L1(0.05), reduction=reduction, tol=1e-3)
    X, padding = samples(dtype), 100 * np.ones((40, FEATURES), dtype)
    state = mf.init(model, X, jax.random.key(0))
    w = np.ones(N, dtype)
    plain = mf.step(model, state, X, w)
    padded = mf.step(model, state, np.concatenate([X, padding]), np.concatenate([w, np.zeros(40, dtype)]))
    for name in ("dictionary", "first", "second", "weight_seen"):
        np.testing.assert_allclose(getattr(padded, name), getattr(plain, name), atol=100 * np.finfo(dtype).eps)


def test_no_rows_change_nothing_that_is_learnt():
    model = mf.MatrixFactorization(K, L1(0.05))
    state = mf.step(model, mf.init(model, samples()), samples())
    again = mf.step(model, state, samples(), np.zeros(N, np.float32))
    np.testing.assert_array_equal(again.second, state.second)
    np.testing.assert_array_equal(again.first, state.first)


def test_same_seed_same_bits():
    model, X = mf.MatrixFactorization(K, L1(0.05), reduction=2), samples()
    ends = [mf.step(model, mf.init(model, X, jax.random.key(s)), X).dictionary for s in (0, 0, 1)]
    np.testing.assert_array_equal(ends[0], ends[1])
    assert (ends[0] != ends[2]).any()


def test_atoms_that_nothing_uses_are_replaced():
    X = samples(n=400)
    X[:, 0] = 0
    far = np.zeros((K, FEATURES), np.float32)
    far[0], far[1:, 0] = X[0], 1  # five atoms in a direction that no sample has
    model = mf.MatrixFactorization(K, L1(0.05))
    state, step = mf.start(model, far), jax.jit(mf.step)
    for _ in range(3):
        state = step(model, state, X)
    assert state.n_reseeded >= 3
    assert np.isfinite(state.dictionary).all()
    assert (np.diagonal(state.second) > 0).sum() > 3


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_derivatives_of_codes(penalty, x64):
    X, D = samples(np.float64)[:7], samples(np.float64, K, 1)
    probe = np.random.default_rng(0).standard_normal((7, K))

    def loss(D, X, scale):
        scaled = (
            jax.tree.map(lambda leaf: leaf * scale, penalty)
            if isinstance(penalty, L2)
            else ElasticNet(penalty.alpha * scale, penalty.l1_ratio, penalty.positive)
        )
        return jnp.sum(probe * mf.encode(mf.MatrixFactorization(K, scaled), D, X, tol=1e-14, max_steps=1000).codes)

    arguments, rng = (jnp.asarray(D), jnp.asarray(X), jnp.asarray(1.0)), np.random.default_rng(1)
    direction = tuple(jnp.asarray(rng.standard_normal(a.shape)) for a in arguments)
    eps = 1e-5
    moved = [loss(*(a + s * eps * d for a, d in zip(arguments, direction, strict=True))) for s in (1, -1)]
    numeric = (moved[0] - moved[1]) / (2 * eps)
    _, forward = jax.jvp(loss, arguments, direction)
    gradient = jax.grad(loss, argnums=(0, 1, 2))(*arguments)
    reverse = sum(jnp.vdot(g, d) for g, d in zip(gradient, direction, strict=True))
    np.testing.assert_allclose(forward, numeric, rtol=1e-5)
    np.testing.assert_allclose(reverse, numeric, rtol=1e-5)


def test_strengths_are_lanes_of_one_program():
    X, D = samples(), samples(n=K, seed=1)
    alphas = jnp.array([0.01, 0.1, 1.0])
    lanes = jax.vmap(lambda a: mf.encode(mf.MatrixFactorization(K, L1(a)), D, X).codes)(alphas)
    for alpha, codes in zip(alphas, lanes, strict=True):
        np.testing.assert_allclose(codes, mf.encode(mf.MatrixFactorization(K, L1(alpha)), D, X).codes, atol=2e-2)
    assert (np.count_nonzero(lanes, axis=(1, 2))[:-1] > np.count_nonzero(lanes, axis=(1, 2))[1:]).all()


@pytest.mark.parametrize("reduction", [1, 2])
def test_shards_are_one_device(reduction):
    """The batch split over eight devices; an unequal split by weights."""
    model = mf.MatrixFactorization(K, L2(0.05), reduction=reduction)
    X = samples()
    w = (np.arange(N) < 130).astype(np.float32)
    state = mf.init(model, X, jax.random.key(0))
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    body = partial(mf.step, model, axis_name="rows")
    step = jax.jit(jax.shard_map(body, mesh=mesh, in_specs=(P(), P("rows"), P("rows")), out_specs=P(), check_vma=False))
    one, many = state, state
    for _ in range(3):
        one, many = mf.step(model, one, X, w), step(many, X, w)
    np.testing.assert_allclose(many.dictionary, one.dictionary, atol=2e-3)  # weights of the past differ in their order
    np.testing.assert_allclose(many.weight_seen, one.weight_seen)


def test_a_layer_in_a_training_loop():
    """Gradient descent on a dictionary through its codes lowers the error of reconstruction."""
    X, model = jnp.asarray(samples()), mf.MatrixFactorization(K, L1(0.05))

    @jax.jit
    def descend(D):
        def loss(D):
            return jnp.mean(jnp.square(X - mf.decode(D, mf.encode(model, D, X, tol=1e-3).codes)))

        value, gradient = jax.value_and_grad(loss)(D)
        return model.ball.project(D - 2.0 * gradient), value

    D = mf.init(model, X).dictionary
    values = []
    for _ in range(30):
        D, value = descend(D)
        values.append(float(value))
    assert values[-1] < 0.8 * values[0]


def test_a_second_batch_compiles_nothing(count_compiles):
    step, X = jax.jit(mf.step), samples()
    states = []
    with count_compiles() as first:
        model = mf.MatrixFactorization(K, L1(jnp.float32(0.05)))
        states.append(jax.block_until_ready(step(model, mf.init(model, X), X)))
    assert first.count > 0
    other = mf.MatrixFactorization(K, L1(jnp.float32(0.2)))
    with count_compiles() as second:
        jax.block_until_ready(step(other, states[0], X))
    assert second.count == 0, second.names


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: mf.MatrixFactorization(0), "`n_components`"),
        (lambda: mf.MatrixFactorization(3, reduction=0), "`reduction`"),
        (lambda: mf.MatrixFactorization(3, average=True), "`average`"),
        (lambda: mf.start(mf.MatrixFactorization(3), np.ones((2, 5))), "`dictionary`"),
        (lambda: mf.start(mf.MatrixFactorization(2, reduction=9), np.ones((2, 5))), "`reduction=9`"),
        (
            lambda: mf.step(
                m := mf.MatrixFactorization(2, reduction=2, average=True), mf.start(m, np.ones((2, 5))), np.ones((4, 5))
            ),
            "`samples`",
        ),
    ],
)
def test_mistakes_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
