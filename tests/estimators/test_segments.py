"""Learning from rows that pass by, in streams and iterables of batches: as from rows in memory, and what is refused."""

import os
import signal
import subprocess
import sys
import tracemalloc
from functools import partial

import equinox as eqx
import jax
import numpy as np
import optax
import pytest
import safetensors.numpy
import scipy.sparse
from sklearn.exceptions import ConvergenceWarning

from jaxlearn import stream
from jaxlearn.access import write_tiles
from jaxlearn.access.scan import ROWS, permutation
from jaxlearn.estimators import rows as estimator_rows
from jaxlearn.estimators.segments import Passing, open_rows
from jaxlearn.linear_model import (
    OnlineNewtonRegressor,
    PassiveAggressiveRegressor,
    Perceptron,
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
)
from jaxlearn.neural_network import MLPClassifier, MLPRegressor, Network

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning")
IN_ORDER = {"shuffle": False, "max_iter": 3, "tol": None, "random_state": 0}
N, P = 203, 5


def data(n=N, dtype=np.float32):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, P)).astype(dtype)
    f = X @ rng.standard_normal(P).astype(dtype)
    return X, f, np.array(["a", "b", "c"])[np.digitize(f, [-1, 1])]


class Batches:
    """Can be iterated again and again."""

    def __init__(self, X, y, size=33):
        self.X, self.y, self.size = X, y, size

    def __iter__(self):
        for i in range(0, len(self.y), self.size):
            yield self.X[i : i + self.size], self.y[i : i + self.size]


def sources(X, y):
    """The same rows in blocks of several sizes, from memory, from a function and from an iterable."""
    yield stream(X, block_size=50), y
    yield stream(lambda: (X[i : i + 30] for i in range(0, len(X), 30)), block_size=64), y
    yield Batches(X, y), None


def coefficients(model):
    if hasattr(model, "module_"):
        return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(model.module_, eqx.is_array))]
    if hasattr(model, "coefs_"):
        return [*model.coefs_, *model.intercepts_]
    return [model.coef_, model.intercept_]


def same(found, expected, tol=0.0):
    for a, b in zip(coefficients(found), coefficients(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=tol, rtol=0)


def module(key, shape, n_outputs):
    return eqx.nn.MLP(shape[0], n_outputs, 6, 1, key=key)


@pytest.mark.parametrize(
    "make",
    [
        SGDClassifier,
        partial(SGDClassifier, loss="log_loss", penalty="l1", average=True),
        partial(SGDClassifier, loss="log_loss", batch_size=16, alpha=0.01, average=True),
        Perceptron,
    ],
)
def test_classifiers_in_order(make):
    X, _, y = data()
    expected = make(**IN_ORDER).fit(X, y)
    for rows, targets in sources(X, y):
        found = make(**IN_ORDER).fit(rows, targets, classes=["a", "b", "c"])
        same(found, expected, 1e-5)
        assert (found.predict(X) == expected.predict(X)).all()
        assert (found.t_, found.n_iter_, found.n_features_in_) == (expected.t_, 3, P)


@pytest.mark.parametrize("make", [SGDRegressor, partial(SGDRegressor, batch_size=7), PassiveAggressiveRegressor])
def test_regressors_in_order(make, data_dtype):
    X, y, _ = data(dtype=data_dtype)
    expected = make(**IN_ORDER).fit(X, y)
    for rows, targets in sources(X, y):
        found = make(**IN_ORDER).fit(rows, targets)
        same(found, expected, 1e-6)
        assert found.coef_.dtype == data_dtype


def test_two_classes_and_weights():
    X, _, y = data()
    y, weight = y == "a", np.random.default_rng(1).random(N)
    options = {**IN_ORDER, "class_weight": "balanced"}
    expected = SGDClassifier(**options).fit(X, y, sample_weight=weight)
    same(SGDClassifier(**options).fit(stream(X, block_size=60), y, sample_weight=weight), expected)
    options["class_weight"] = {True: 3.0}
    expected = SGDClassifier(**options).fit(X, y, sample_weight=weight)
    again = SGDClassifier(**options).fit(WeightedBatches(X, y, weight))
    same(again, expected)
    assert (again.predict(X) == expected.predict(X)).all()


class WeightedBatches(Batches):
    def __init__(self, X, y, weight):
        super().__init__(X, y)
        self.weight = weight

    def __iter__(self):
        for i in range(0, N, 40):
            yield tuple(part[i : i + 40] for part in (self.X, self.y, self.weight))


def test_sparse_batches():
    X, _, y = data()
    X = scipy.sparse.csr_matrix(X * (np.random.default_rng(0).random(X.shape) < 0.4))
    for batch_size in (1, 20):
        expected = SGDClassifier(batch_size=batch_size, **IN_ORDER).fit(X, y)
        found = SGDClassifier(batch_size=batch_size, **IN_ORDER)
        same(found.fit(Batches(X, y), classes=["a", "b", "c"]), expected, 1e-6)
    options = {"hidden_layer_sizes": (4,), "shuffle": False, "max_iter": 2, "random_state": 0, "batch_size": 20}
    same(MLPClassifier(**options).fit(Batches(X, y)), MLPClassifier(**options).fit(X, y), 1e-6)


def test_one_class():
    X, _, _ = data()
    expected = SGDOneClassSVM(**IN_ORDER).fit(X)
    found = SGDOneClassSVM(**IN_ORDER).fit(stream(X, block_size=60))
    np.testing.assert_array_equal(found.coef_, expected.coef_)
    np.testing.assert_array_equal(found.offset_, expected.offset_)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_perceptrons_in_order(solver):
    X, f, y = data()
    options = {"hidden_layer_sizes": (4,), "solver": solver, "shuffle": False, "max_iter": 3, "random_state": 0}
    options["batch_size"] = 20
    for make, targets in ((MLPClassifier, y), (MLPClassifier, y == "a"), (MLPRegressor, np.stack([f, f**2], 1))):
        expected = make(**options).fit(X, targets)
        for rows, given in sources(X, targets):
            found = make(**options).fit(rows, given)
            same(found, expected, 1e-6)
            np.testing.assert_allclose(found.loss_curve_, expected.loss_curve_, rtol=1e-5)
            assert (found.t_, found.n_iter_, found.n_outputs_) == (expected.t_, 3, expected.n_outputs_)
            np.testing.assert_allclose(found.predict(X) == expected.predict(X), True)


@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_networks_in_order(loss):
    X, f, y = data()
    targets = y if loss == "log_loss" else f
    options = {"loss": loss, "shuffle": False, "max_iter": 3, "batch_size": 20, "random_state": 0}
    expected = Network(module, **options).fit(X, targets)
    for rows, given in sources(X, targets):
        found = Network(module, **options).fit(rows, given)
        same(found, expected, 1e-6)
        assert found.predict(X[:3]).shape == (3,)


def test_images_in_batches():
    X, _, y = data()
    images = X[:, :4].reshape(-1, 2, 2)

    class Flat(eqx.Module):
        inner: eqx.nn.MLP

        def __call__(self, image):
            return self.inner(image.ravel())

    def make(key, shape, n_outputs):
        return Flat(module(key, (shape[0] * shape[1],), n_outputs))

    options = {"loss": "log_loss", "shuffle": False, "max_iter": 2, "random_state": 0}
    same(Network(make, **options).fit(Batches(images, y)), Network(make, **options).fit(images, y), 1e-6)


class TestOrder:
    def orders(self, seed, shuffle=True, block_size=20):
        X, _, _ = data()
        source = open_rows(SGDRegressor(), stream(X, block_size=block_size), np.arange(N), None)
        passing = Passing(source, lambda batch: batch, 16)
        assert passing.size % 16 == 0
        epochs = []
        for epoch in range(2):
            segments = list(passing.segments(epoch, seed, shuffle))
            assert {len(segment.y) for segment in segments[:-1]} <= {passing.size}
            for segment in segments:
                np.testing.assert_array_equal(segment.X, X[segment.y])
            epochs.append(np.concatenate([segment.y for segment in segments]))
        return epochs

    def test_is_a_function_of_seed_and_epoch(self):
        first, second = self.orders(3)
        assert (np.sort(first) == np.arange(N)).all()
        assert (np.sort(second) == np.arange(N)).all()
        assert (first != second).any()
        assert all((a == b).all() for a, b in zip(self.orders(3), (first, second), strict=True))
        assert (self.orders(4)[0] != first).any()
        blocks = first // 20  # blocks as a whole are shuffled, and rows inside of them
        assert (np.diff(blocks) != 0).sum() == blocks.max()
        assert (np.diff(blocks) < 0).any()
        assert all((order == np.arange(N)).all() for order in self.orders(3, shuffle=False))

    def test_of_one_block_is_that_of_memory(self):
        assert (self.orders(3, block_size=N)[1] == permutation(N, 3, ROWS, 1)).all()

    def test_same_bits(self):
        X, f, y = data()
        rows = stream(X, block_size=50)
        for make, targets in (
            (partial(SGDRegressor, tol=None, max_iter=3), f),
            (partial(Network, module, loss="log_loss", max_iter=3), y),
        ):
            first, again, other = (make(random_state=seed).fit(rows, targets) for seed in (0, 0, 1))
            same(first, again)
            assert (coefficients(first)[0] != coefficients(other)[0]).any()


def test_a_large_memory_map_is_a_stream(tmp_path, monkeypatch):
    X, f, _ = data()
    np.save(tmp_path / "x.npy", X)
    monkeypatch.setattr(estimator_rows, "BLOCK_BYTES", 1000)
    opened = open_rows(SGDRegressor(), np.load(tmp_path / "x.npy", mmap_mode="r"), f, None)
    assert opened is not None
    assert opened.n_rows == N
    assert open_rows(SGDRegressor(), X, f, None) is None


def test_columns_of_tiles_come_in_the_order_of_the_features(tmp_path):
    X, f, _ = data()
    write_tiles(X, tmp_path, dtype="float32", tile_rows=64, seed=0)
    rows = stream(tmp_path)
    stored = f[rows.reader.source.rows]
    for model in (OnlineNewtonRegressor(), SGDRegressor(random_state=0, max_iter=200)):
        assert model.fit(rows, stored).score(X, f) > 0.99


def test_one_program_for_all_blocks(count_compiles):
    X, f, _ = data()
    with count_compiles() as compiled:
        SGDRegressor(**IN_ORDER).fit(stream(X, block_size=37), f)
    assert sum("one_by_one" in name for name in compiled.names) == 1, compiled.names
    with count_compiles() as compiled:
        SGDRegressor(**IN_ORDER).fit(stream(X[:180], block_size=37), f[:180])
    assert compiled.count == 0, compiled.names


def test_blocks_are_never_held_together():
    """Of 40 blocks, NumPy holds a few at a time."""
    n_rows, n_features = 2000, 50
    block = n_rows * n_features * 4

    def blocks():
        rng = np.random.default_rng(0)
        return (rng.standard_normal((n_rows, n_features), np.float32) for _ in range(40))

    y = np.zeros(40 * n_rows)
    model = SGDRegressor(max_iter=1, tol=None, batch_size=100)
    model.fit(stream(blocks, block_size=n_rows), y)  # compiles
    tracemalloc.start()
    try:
        model.fit(stream(blocks, block_size=n_rows), y)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 * block + 4 * y.nbytes


class TestRefusals:
    def test_what_can_be_read_once(self):
        X, f, _ = data()
        for rows, targets in (
            (iter(Batches(X, f)), None),
            (stream(iter([X]), block_size=50), f),
        ):
            for model in (SGDRegressor(), MLPRegressor(), Network(module)):
                with pytest.raises(ValueError, match=r"max_iter=\d+ asks for epoch 2: set max_iter=1"):
                    model.fit(rows, targets)
        same(
            SGDRegressor(max_iter=1, tol=None).fit(iter(Batches(X, f))),
            SGDRegressor(**IN_ORDER | {"max_iter": 1}).fit(X, f),
        )

        class UsedUp:
            def __init__(self):
                self.once = iter(Batches(X, f))

            def __iter__(self):
                return self.once

        with pytest.raises(ValueError, match="Epoch 2 got no batch: the iterable is used up"):
            SGDRegressor().fit(UsedUp())
        with pytest.raises(ValueError, match="gave no batch"):
            SGDRegressor().fit(Batches(X[:0], f[:0]))

    @pytest.mark.parametrize(
        ("second", "message"),
        [
            (lambda X, y: (np.where(X > 2, np.nan, X), y), "NaN: see batch 1"),
            (lambda X, y: (X[:, :3], y), r"batch 1 has X of shape \(203, 3\); expected \(rows, 5\)"),
            (lambda X, y: (X.astype(float), y), "batch 1 has dtype float64; those before had float32"),
            (lambda X, y: (scipy.sparse.csr_matrix(X), y), "batch 1 is sparse"),
            (lambda X, y: (X, y[:3]), "batch 1 has 203 rows"),
            (lambda X, y: (X, np.where(y > 0, np.inf, y)), "y contains NaN or infinity: see batch 1"),
            (lambda X, y: (X, np.stack([y, y], 1)), r"batch 1 has targets of shape \(203, 2\)"),
            (lambda X, y: (X, y, -np.ones(N)), "batch 1: Negative values"),
            (lambda X, y: X, "batch 1 is ndarray"),
        ],
    )
    @pytest.mark.parametrize(
        "make", [SGDRegressor, partial(MLPRegressor, hidden_layer_sizes=(3,)), partial(Network, module)]
    )
    def test_bad_batches(self, make, second, message):
        X, f, _ = data()
        with pytest.raises(ValueError, match=message):
            make(max_iter=1).fit(iter([(X, f), second(X, f)]))

    @pytest.mark.parametrize(
        "make", [SGDClassifier, partial(MLPClassifier, (3,)), partial(Network, module, loss="log_loss")]
    )
    def test_unseen_classes(self, make):
        X, _, y = data()
        batches = [(X, np.where(y == "c", "a", y)), (X, y)]
        with pytest.raises(ValueError, match=r"batch 1 has the classes \['c'\], which are not among \['a', 'b'\]"):
            make(max_iter=1).fit(iter(batches))
        model = make(max_iter=1, **({"tol": None} if make is SGDClassifier else {}))
        assert list(model.fit(iter(batches), classes=["a", "b", "c"]).classes_) == ["a", "b", "c"]
        with pytest.raises(ValueError, match=r"\['c'\]|classes not in"):
            make(max_iter=1).fit(X, y, classes=["a", "b"])

    @pytest.mark.parametrize(
        "make", [SGDRegressor, partial(MLPRegressor, hidden_layer_sizes=(3,)), partial(Network, module)]
    )
    def test_bad_streams(self, make):
        X, f, _ = data()
        spoilt = X.copy()
        spoilt[70] = np.nan
        blocks = partial(stream, lambda: (X[i : i + 50] for i in range(0, N, 50)), block_size=50)
        with pytest.raises(ValueError, match=r"NaN: see block 1 \(rows 50 to 99\)"):
            make(max_iter=1).fit(stream(spoilt, block_size=50), f)
        with pytest.raises(ValueError, match="X has 203 rows, and y 202"):
            make().fit(stream(X), f[1:])
        with pytest.raises(ValueError, match="ended after 203 rows, and `y` has 206 values"):
            make().fit(blocks(), np.resize(f, 206))
        with pytest.raises(ValueError, match=r"`y` has 120 values, and the stream has more rows: see block 2"):
            make().fit(blocks(), f[:120])
        with pytest.raises(ValueError, match="Block 1 has shape"):
            make().fit(stream(lambda: iter([X, X[:, :3]]), block_size=50), f)
        with pytest.raises(ValueError, match="partial_fit learns from rows in memory"):
            make().partial_fit(stream(X), f)
        with pytest.raises(ValueError, match="y to be passed"):
            make().fit(stream(X), None)

    def test_options(self):
        X, f, y = data()
        for model in (SGDRegressor(early_stopping=True), MLPRegressor(early_stopping=True)):
            with pytest.raises(ValueError, match="early_stopping holds out rows"):
                model.fit(stream(X), f)
        with pytest.raises(ValueError, match="looks at all rows in each step"):
            MLPRegressor(solver="lbfgs").fit(stream(X), f)
        with pytest.raises(ValueError, match="'balanced' needs all labels"):
            SGDClassifier(class_weight="balanced").fit(Batches(X, y))
        with pytest.raises(ValueError, match=r"come with them: as \(X, y, sample_weight\)"):
            SGDRegressor().fit(Batches(X, f), sample_weight=np.ones(N))
        with pytest.raises(ValueError, match="batch 0: loss='poisson'"):
            MLPRegressor(loss="poisson").fit(Batches(X, f))
        with pytest.raises(ValueError, match="dense rows"):
            Network(module).fit(Batches(scipy.sparse.csr_matrix(X), f))


def test_divergence():
    X, y = np.ones((100, 1)), np.full(100, 0.5)
    options = {"learning_rate": "constant", "tol": None, "alpha": 0, "fit_intercept": False, "eta0": 3}
    with pytest.warns(ConvergenceWarning, match="diverged"):
        model = SGDRegressor(max_iter=60, **options).fit(stream(X, block_size=30), y)
    np.testing.assert_allclose(model.coef_, 0.5)
    with pytest.raises(ValueError, match="diverged in epoch #1, and an iterator cannot be read again"):
        SGDRegressor(max_iter=1, **options).fit(iter([(X, y)] * 40))
    with pytest.raises(ValueError, match=r"loss of epoch \d is not finite"):
        Network(module, optimizer=optax.sgd(1e6)).fit(stream(np.ones((100, 5), np.float32), block_size=30), 1e9 * y)


SCRIPT = """
import sys
import equinox as eqx, numpy as np
from jaxlearn import enable_compile_cache, stream
from jaxlearn.neural_network import Network
enable_compile_cache(sys.argv[3])
def module(key, shape, n_outputs):
    return eqx.nn.MLP(shape[0], n_outputs, 6, 1, key=key)
X = np.load(sys.argv[1])
rows = stream(sys.argv[1], block_size=50, progress=lambda told: print(told.n_passes, flush=True))
Network(module, max_iter=120, checkpoint=sys.argv[2]).fit(rows, X[:, 0])
"""


class TestResuming:
    OPTIONS = {"loss": "log_loss", "batch_size": 20, "max_iter": 5, "random_state": 0}

    @pytest.mark.parametrize("streamed", [False, True])
    def test_to_the_same_bits(self, tmp_path, monkeypatch, streamed):
        X, _, y = data()
        rows = stream(X, block_size=50) if streamed else X
        whole = Network(module, **self.OPTIONS).fit(rows, y)

        def interrupted(told):
            if told.n_passes == 4:
                raise InterruptedError

        if streamed:
            model = Network(module, checkpoint=tmp_path, **self.OPTIONS)
            with pytest.raises(InterruptedError):
                model.fit(stream(X, block_size=50, progress=interrupted), y)
        else:
            Network(module, checkpoint=tmp_path, **self.OPTIONS | {"max_iter": 3}).fit(rows, y)
        assert max(tmp_path.iterdir()).name == "checkpoint-000000000003.safetensors"
        again = Network(module, checkpoint=tmp_path, every=2, **self.OPTIONS).fit(rows, y)
        same(again, whole)
        assert again.loss_curve_ == whole.loss_curve_
        assert sorted(path.name[-13:-12] for path in tmp_path.iterdir()) == ["3", "4", "5"]
        self.refused(tmp_path, rows, y)

    def refused(self, folder, rows, y):
        X, _, _ = data()
        for change, message in (
            ({"batch_size": 10}, "`parameters.batch_size` was 20 and is 10"),
            ({"optimizer": optax.adam(2e-3)}, "first steps of `optimizer`"),
            ({"module": lambda key, shape, n: eqx.nn.MLP(shape[0], n, 7, 1, key=key)}, "`parameters.module` was"),
        ):
            with pytest.raises(ValueError, match=message):
                Network(**{"module": module, "checkpoint": folder, **self.OPTIONS, **change}).fit(rows, y)
        model = Network(module, checkpoint=folder, **self.OPTIONS)
        with pytest.raises(ValueError, match="`targets` was"):
            model.fit(rows, y[::-1])
        with pytest.raises(ValueError, match="`source` was"):
            model.fit(stream(2 * X, block_size=50) if rows is not X else 2 * X, y)
        with pytest.raises(ValueError, match="for `checkpoint` pass arrays or a stream"):
            model.fit(Batches(X, y))
        if not isinstance(rows, np.ndarray):
            with pytest.raises(ValueError, match="`block_size` was 50 and is 60"):
                model.fit(stream(X, block_size=60), y)
        model.set_params(resume=False, max_iter=1).fit(rows, y)
        assert model.n_iter_ == 1

    def test_an_optimiser_with_a_key(self, tmp_path):
        X, _, y = data()
        noisy = optax.chain(optax.add_noise(0.1, 0.5, key=jax.random.key(0)), optax.sgd(0.1))
        options = self.OPTIONS | {"optimizer": noisy, "max_iter": 2}
        whole = Network(module, **options).fit(X, y)
        Network(module, checkpoint=tmp_path, **options | {"max_iter": 1}).fit(X, y)
        same(Network(module, checkpoint=tmp_path, **options).fit(X, y), whole)

    @pytest.mark.slow
    def test_kills(self, tmp_path):
        """Killed again and again, the fit ends in the bits of one that was left alone, though it drew its seed."""
        path = tmp_path / "x.npy"
        np.save(path, data()[0])
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            SCRIPT,
            str(path),
            str(tmp_path / "c"),
            str(tmp_path / "cache"),
        ]
        ended = False
        for after in range(7, 200, 31):
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
                for line in process.stdout:
                    if int(line) >= after:
                        process.send_signal(signal.SIGKILL)
                        break
                else:
                    ended = process.wait() == 0
            if ended:
                break
        assert ended
        newest = max((tmp_path / "c").glob("*.safetensors"))
        with safetensors.safe_open(newest, framework="numpy") as file:
            import json

            seed = json.loads(file.metadata()["checkpoint"])["header"]["seed"]
        X = np.load(path)

        class Fixed(np.random.RandomState):
            def randint(self, *args):
                return seed

        whole = Network(module, max_iter=120, random_state=Fixed()).fit(stream(path, block_size=50), X[:, 0])
        arrays = safetensors.numpy.load_file(newest)
        for i, leaf in enumerate(coefficients(whole)):
            np.testing.assert_array_equal(arrays[f"module.{i}"], leaf)
