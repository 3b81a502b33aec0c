"""The estimator on rows in memory and on disk: what it learns, what it leaves behind, and what a kill does to it."""

import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from jaxlearn import stream
from jaxlearn.access import write_tiles
from jaxlearn.decomposition import StochasticFactorization

N, P, K = 3000, 24, 5
OPTIONS = {"alpha": 0.05, "tol": 0.0, "max_iter": 2, "random_state": 0, "batch_size": 100}


def rows(n=N, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    atoms = np.random.default_rng(1).standard_normal((K, P)) / P**0.5
    codes = rng.standard_normal((n, K)) * (rng.random((n, K)) < 0.4)
    return (codes @ atoms + 0.02 * rng.standard_normal((n, P))).astype(dtype)


def excess(model):
    """Objective of other rows, in units of what the true atoms reach."""
    true = np.random.default_rng(1).standard_normal((K, P)).astype(model.components_.dtype)
    true /= np.linalg.norm(true, axis=1, keepdims=True)
    X, best = rows(1000, model.components_.dtype, seed=9), clone(model)
    best.components_, best.n_features_in_ = true, P
    return model.score(X) / best.score(X)


def test_learns_the_atoms_it_is_shown(data_dtype):
    model = StochasticFactorization(K, **OPTIONS | {"max_iter": 8}).fit(rows(dtype=data_dtype))
    assert model.components_.dtype == data_dtype
    assert excess(model) < 1.1
    assert model.history_[-1]["objective"] < 0.5 * model.history_[0]["objective"]
    held_out = rows(500, data_dtype, seed=9)
    assert -model.score(held_out) < 1.2 * model.objective_
    codes = model.transform(held_out)
    assert codes.dtype == data_dtype
    np.testing.assert_array_equal(model.reconstruct(held_out), model.inverse_transform(codes))
    assert np.linalg.norm(held_out - model.reconstruct(held_out)) < 0.5 * np.linalg.norm(held_out)
    assert (np.linalg.norm(model.components_, axis=1) <= 1 + 1e-5).all()


@pytest.mark.parametrize("kind", ["file", "folder", "float16 tiles", "int8 tiles", "iterator", "jax.Array"])
def test_wherever_the_rows_are(kind, tmp_path):
    X = rows()
    if kind == "file":
        np.save(tmp_path / "x.npy", X)
        data = stream(tmp_path / "x.npy", block_size=700)
    elif kind == "folder":
        np.save(tmp_path / "a.npy", X[:1000])
        np.save(tmp_path / "b.npy", X[1000:])
        data = stream(tmp_path, block_size=700)
    elif kind.endswith("tiles"):
        write_tiles(X, tmp_path / "tiles", dtype=kind.partition(" ")[0], tile_rows=500)
        data = stream(tmp_path / "tiles", block_size=700)
    elif kind == "iterator":
        data = stream(iter(np.split(X, 6)), block_size=700)
    else:
        data = jnp.asarray(X)
    model = StochasticFactorization(
        K, **OPTIONS | {"max_iter": 1 if kind == "iterator" else 6, "n_validation": 300}
    ).fit(data)
    assert excess(model) < (1.5 if kind == "iterator" else 1.25)
    assert model.n_samples_seen_ == model.n_iter_ * (N - 300)
    if kind in ("file", "int8 tiles"):  # codes of rows on disk are those of the same rows in memory
        source = data.reader.source
        order = getattr(source, "rows", np.arange(N))
        step = np.abs(X).max(0).max() / 127 if kind == "int8 tiles" else 0
        np.testing.assert_allclose(model.transform(data), model.transform(X)[order], atol=2e-2 + 10 * step)
    if kind not in ("iterator", "jax.Array"):
        assert model.n_passes_ == 6
        assert model.bytes_read_ == 6 * N * P * data.reader.source.dtype.itemsize


def test_subsampled_features(tmp_path):
    X = rows(6000)
    options = OPTIONS | {"code_penalty": "l2", "max_iter": 3}
    full = StochasticFactorization(K, **options).fit(X)
    part = StochasticFactorization(K, reduction=3, **options).fit(X)
    assert part.reduction_ == 3
    assert part.objective_ < 1.2 * full.objective_ < part.history_[0]["objective"]
    averaged = StochasticFactorization(K, reduction=3, average=True, **options).fit(X)
    assert averaged.objective_ < averaged.history_[0]["objective"]  # from the second epoch on, and slowly
    np.save(tmp_path / "x.npy", X)
    with pytest.warns(UserWarning, match="write_tiles"):
        StochasticFactorization(K, reduction=3, **options).fit(stream(tmp_path / "x.npy"))
    write_tiles(X, tmp_path / "tiles", dtype="float32", tile_rows=2000)
    on_disk = StochasticFactorization(K, reduction=3, **options).fit(stream(tmp_path / "tiles"))
    assert on_disk.objective_ < 1.2 * full.objective_
    assert -on_disk.score(rows(400, seed=5)) < 1.3 * full.objective_  # atoms are in the order of the features


def test_the_machine_may_choose_the_reduction():
    model = StochasticFactorization(K, reduction="auto", **OPTIONS | {"code_penalty": "l2", "max_iter": 1}).fit(rows())
    assert model.reduction_ in (1, 2, 4, 8, 12)


@pytest.mark.parametrize("ball", ["l2", "l1", "elasticnet"])
def test_balls_and_signs(ball):
    model = StochasticFactorization(
        K, atom_ball=ball, positive_dict=True, positive_code=True, **OPTIONS | {"alpha": 0.01}
    ).fit(np.abs(rows()))
    D = model.components_
    norm = {"l2": (D**2).sum(1), "l1": np.abs(D).sum(1), "elasticnet": (0.5 * np.abs(D) + 0.5 * D**2).sum(1)}[ball]
    assert (norm <= 1 + 1e-5).all()
    assert (D >= 0).all()
    assert (model.transform(np.abs(rows(100))) >= 0).all()
    assert (ball == "l2") or (D == 0).mean() >= 0.05


def test_same_seed_same_bits():
    X = rows()
    first, second, third = (StochasticFactorization(K, **OPTIONS | {"random_state": s}).fit(X) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.components_, second.components_)
    assert (first.components_ != third.components_).any()
    assert clone(first).alpha == 0.05


def test_partial_fit_learns():
    X, model = rows(), StochasticFactorization(K, **OPTIONS)
    for epoch in range(4):
        for batch in np.array_split(X, 37):  # of unequal sizes
            model.partial_fit(batch)
        if epoch == 0:
            once = -model.score(X)
    assert model.n_samples_seen_ == 4 * N
    assert model.n_steps_ == 4 * 37
    assert -model.score(X) < once
    assert excess(model) < 1.1


def test_what_a_callback_is_told():
    told = []
    StochasticFactorization(K, callback=told.append, **OPTIONS | {"max_iter": 1}).fit(rows())
    assert [t.n_steps for t in told] == list(range(1, 28))
    assert told[-1].n_samples_seen == 2700
    told.clear()
    options = OPTIONS | {"max_iter": 1, "reduction": 3}
    model = StochasticFactorization(K, callback=lambda at: told.append(at.components), **options).fit(rows())
    # in the order of the features, though it works in another
    np.testing.assert_array_equal(told[-1], model.components_)


def test_stops_and_says_so():
    X = rows()
    with pytest.warns(ConvergenceWarning, match="held-out objective"):
        StochasticFactorization(K, **OPTIONS | {"tol": 1e-9}).fit(X)
    model = StochasticFactorization(K, **OPTIONS | {"tol": 0.5, "max_iter": 20}).fit(X)
    assert model.converged_
    assert model.n_iter_ < 20
    assert model.certificate_ <= 0.5


class TestBadInput:
    def test_words(self, tmp_path):
        X = rows(200)
        for options, message in (
            ({"reduction": P + 1}, "more than the 24 features"),
            ({"dict_init": np.ones((2, P))}, "dict_init has shape"),
            ({"n_validation": 200}, "are held out"),
            ({"average": True}, "`average` needs `reduction`"),
        ):
            with pytest.raises(ValueError, match=message):
                StochasticFactorization(K, **OPTIONS | options).fit(X)
        with pytest.raises(ValueError, match="NaN"):
            StochasticFactorization(K).fit(np.where(X[7, 3] == X, np.nan, X))
        X[150, 2] = np.inf
        np.save(tmp_path / "x.npy", X)
        with pytest.raises(ValueError, match=r"block 1 \(rows 100 to 199\)"):
            StochasticFactorization(K, **OPTIONS).fit(stream(tmp_path / "x.npy", block_size=100))
        with pytest.raises(TypeError, match="traced"):
            jax.jit(lambda X: StochasticFactorization(K).fit(X).components_)(X)

    def test_fewer_rows_than_atoms_or_than_a_batch(self):
        model = StochasticFactorization(30, **OPTIONS | {"batch_size": "auto"}).fit(rows(20))
        assert model.components_.shape == (30, P)
        assert np.isfinite(model.components_).all()

    def test_nothing_to_learn(self):
        with pytest.warns(UserWarning, match="every code is zero"):
            StochasticFactorization(K, **OPTIONS | {"alpha": 100.0}).fit(rows(500))
        with pytest.warns(UserWarning, match="every code is zero"):
            model = StochasticFactorization(K, **OPTIONS).fit(np.zeros((500, P), np.float32))
        assert (model.transform(np.zeros((3, P), np.float32)) == 0).all()

    def test_constant_features_and_rows_of_zeros(self):
        X = rows(1000)
        X[:, 3], X[::7] = 1, 0
        model = StochasticFactorization(K, **OPTIONS).fit(X)
        assert np.isfinite(model.components_).all()


SCRIPT = """
import sys
import numpy as np
from jaxlearn import enable_compile_cache, stream
from jaxlearn.decomposition import StochasticFactorization
enable_compile_cache(sys.argv[3])
StochasticFactorization(
    {k}, reduction={r}, alpha=0.05, tol=0.0, max_iter=60, random_state=0, batch_size=100, checkpoint=sys.argv[2], every=0,
    callback=(lambda told: print(told.n_steps, flush=True)) if {told} else None,
).fit(stream(sys.argv[1], block_size=700))
"""


class TestCheckpoints:
    def fit(self, path, folder, **options):
        options = OPTIONS | {"checkpoint": folder, "every": 0, "max_iter": 3} | options
        return StochasticFactorization(K, **options).fit(stream(path, block_size=700))

    @pytest.fixture
    def path(self, tmp_path):
        np.save(tmp_path / "x.npy", rows())
        return tmp_path / "x.npy"

    def interrupted(self, path, folder, n_steps, **options):
        """A fit that ends with an exception after some batches."""

        def stop(told):
            if told.n_steps >= n_steps:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            self.fit(path, folder, callback=stop, **options)

    @pytest.mark.parametrize("options", [{}, {"reduction": 2, "average": True, "code_penalty": "l2"}], ids=str)
    @pytest.mark.filterwarnings("ignore:With `reduction`")
    def test_resumes_to_the_same_bits(self, path, tmp_path, options):
        whole = self.fit(path, None, **options)
        for n_steps in (1, 20, 45):
            folder = tmp_path / f"{n_steps}"
            self.interrupted(path, folder, n_steps, **options)
            seen = []
            again = self.fit(path, folder, callback=lambda told, seen=seen: seen.append(told.n_steps), **options)
            assert seen[0] in (n_steps, n_steps + 1) or n_steps == 1  # the work before is not done again
            np.testing.assert_array_equal(again.components_, whole.components_)
            assert [h["objective"] for h in again.history_] == [h["objective"] for h in whole.history_]
            assert again.n_samples_seen_ == whole.n_samples_seen_

    def test_an_ended_fit_goes_on_for_longer(self, path, tmp_path):
        whole = self.fit(path, None, max_iter=4)
        self.fit(path, tmp_path / "c", max_iter=2)
        np.testing.assert_array_equal(self.fit(path, tmp_path / "c", max_iter=4).components_, whole.components_)

    def test_a_torn_checkpoint_is_passed_over(self, path, tmp_path):
        whole = self.fit(path, None)
        self.interrupted(path, tmp_path / "c", 30)
        newest = max((tmp_path / "c").glob("*.safetensors"))
        newest.write_bytes(newest.read_bytes()[:-100])
        with pytest.warns(UserWarning, match="torn"):
            again = self.fit(path, tmp_path / "c")
        np.testing.assert_array_equal(again.components_, whole.components_)

    def test_changes_are_refused_by_name(self, path, tmp_path):
        self.interrupted(path, tmp_path / "c", 10)
        with pytest.raises(ValueError, match="alpha"):
            self.fit(path, tmp_path / "c", alpha=0.06)
        np.save(path, rows(seed=4))
        with pytest.raises(ValueError, match="source"):
            self.fit(path, tmp_path / "c")
        self.fit(path, tmp_path / "c", resume=False)

    def killed(self, path, folder, cache, options, after):
        """SIGKILL at a moment that nothing announces; whether the fit had ended before."""
        script = SCRIPT.format(k=K, told=True, **options)
        command = [sys.executable, "-W", "ignore", "-c", script, str(path), str(folder), str(cache)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if int(line) >= after:
                    time.sleep(0.003 * (after % 7))  # before, while or after a checkpoint is written
                    process.send_signal(signal.SIGKILL)
                    return False
            return process.wait() == 0

    @pytest.mark.slow
    @pytest.mark.parametrize("options", [{"r": 1}, {"r": 2}], ids=str)
    def test_kills(self, path, tmp_path, options):
        """Killed again and again, the fit ends in the bits of one that was left alone."""
        script = SCRIPT.format(k=K, told=False, **options)
        command = [sys.executable, "-W", "ignore", "-c", script, str(path)]
        subprocess.run([*command, str(tmp_path / "whole"), str(tmp_path / "cache")], check=True, env=os.environ)
        step = 0
        while not self.killed(path, tmp_path / "c", tmp_path / "cache", options, step := step + 211):
            pass
        ends = [max((tmp_path / name).glob("*.safetensors")) for name in ("whole", "c")]
        assert ends[0].name == ends[1].name
        import safetensors.numpy

        whole, again = (safetensors.numpy.load_file(end) for end in ends)
        for name in whole:
            np.testing.assert_array_equal(again[name], whole[name])
