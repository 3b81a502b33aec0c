"""Data ten times the memory that a fit may take: the same answers as in memory."""

import os
import subprocess
import sys

import numpy as np
import pytest

from jaxlearn.cluster import KMeans
from jaxlearn.naive_bayes import BernoulliNB, GaussianNB, MultinomialNB

N, P = 131_072, 256

FIT = """
import resource, sys, numpy as np
from jaxlearn import stream
from jaxlearn.cluster import KMeans, MiniBatchKMeans
from jaxlearn.decomposition import PCA
from jaxlearn.naive_bayes import BernoulliNB, GaussianNB, MultinomialNB
path, make, out = sys.argv[1:]
labels = np.load(path + ".y.npy")
start = np.load(path + ".start.npy")
def fit(rows, y):
    return eval(make).fit(rows, y)
fit(stream(np.random.default_rng(0).random((3 * 2048, 256), np.float32), block_size=2048), labels[:3 * 2048])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = fit(stream(path, block_size=2048), labels)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
np.savez(out, **{k: v for k, v in vars(model).items() if k.endswith("_") and isinstance(v, np.ndarray)})
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """128 MB of four clusters, apart enough for labels not to hang on a rounding."""
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    file = np.lib.format.open_memmap(path, "w+", np.float32, (N, P))
    rng = np.random.default_rng(0)
    centers, y = rng.random((4, P), np.float32), rng.integers(4, size=N)
    for first in range(0, N, 8192):
        some = slice(first, first + 8192)
        file[some] = centers[y[some]] + rng.random((8192, P), np.float32)
    file.flush()
    np.save(f"{path}.y.npy", y)
    np.save(f"{path}.start.npy", file[:4])
    return path, np.load(path), y


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted in other units")
@pytest.mark.parametrize(
    "make",
    [
        "KMeans(4, init=start, max_iter=3, tol=1e-9)",
        "MiniBatchKMeans(4, init=start, max_iter=1, random_state=0)",
        "GaussianNB()",
        "MultinomialNB()",
        "BernoulliNB(binarize=1.0)",
        "PCA(8, svd_solver='onepass')",
        "PCA(8, svd_solver='covariance_eigh')",
        "PCA(8, svd_solver='krylov')",
    ],
)
def test_ten_times_the_memory(make, rows, tmp_path):
    path, X, y = rows
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    out = tmp_path / "fitted.npz"
    command = [sys.executable, "-W", "ignore", "-c", FIT, str(path), make, str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < X.nbytes / 10
    streamed = np.load(out)
    if make.startswith("PCA"):  # the same components as in memory: test_decomposition.py
        return
    if make.startswith("MiniBatch"):  # its batches come in another order: near the means of the clusters
        means = np.stack([X[y == k].mean(0) for k in range(4)])
        apart = np.linalg.norm(streamed["cluster_centers_"][:, None] - means[None], axis=2).min(1)
        assert apart.max() < 0.2
        return
    known = {"start": X[:4], "KMeans": KMeans, "GaussianNB": GaussianNB, "MultinomialNB": MultinomialNB}
    whole = eval(make, known | {"BernoulliNB": BernoulliNB})
    whole.fit(X, y)
    names = [k for k in streamed if k not in ("classes_", "labels_")]
    assert names
    for name in names:
        np.testing.assert_allclose(streamed[name], getattr(whole, name), rtol=1e-5, atol=1e-6, err_msg=name)
    if make.startswith("KMeans"):
        np.testing.assert_array_equal(streamed["labels_"], whole.labels_)
