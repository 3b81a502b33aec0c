"""
PCA of a file larger than memory
================================

A file of augmented images, two gigabytes by default, is written block by block, and a process of its own fits 36 components
to it twice: in one pass that merges the singular vectors of each block (``onepass``), and from the covariance, summed in
double precision (``covariance_eigh``). The process holds two blocks and what the fit makes of one, never the file: the
growth of its resident memory says so.

The images are Fashion-MNIST, shifted and mirrored, where the environment variable ``JAXLEARN_DATA`` names a folder that
holds ``fashion_mnist.npz``; otherwise scikit-learn's digits, enlarged to 32 × 32, shifted and with noise.
``--gigabytes 20`` writes a larger file. With the defaults all takes less than three minutes on two cores.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

K, MARGIN, BLOCK = 36, 3, 4096


def peak():
    """Largest resident memory of this process so far, in bytes; Linux counts in KiB, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# %%
# The process that fits
# ---------------------
# A fit of 128 rows first, as wide as the file's, so that what the libraries take for themselves, to compile and to
# decompose, is not counted as the rows'. A block is 16 MB in single precision: with the 64 MB of the default the memory
# grows by more than a quarter of a gigabyte.


def fit(path):
    from jaxlearn import stream
    from jaxlearn.decomposition import PCA

    imported, n_features = peak(), np.load(path, mmap_mode="r").shape[1]
    tiny = np.random.default_rng(0).standard_normal((128, n_features), np.float32).astype(np.float16)
    for solver in ("onepass", "covariance_eigh"):
        PCA(K, svd_solver=solver).fit(stream(tiny, block_size=64))
    before, size = peak(), path.stat().st_size
    print(
        f"peak after imports: {imported / 1e6:.0f} MB, after fits of {tiny.nbytes / 1e3:.0f} kB: {before / 1e6:.0f} MB"
    )
    print(
        f"  {'solver':<17}{'seconds':>8}{'GB/s':>7}{'passes':>8}{'GB read':>9}{'memory grew by':>17}{'certificate':>13}"
    )
    models = {}
    for solver in ("onepass", "covariance_eigh"):
        rows = stream(path, block_size=BLOCK, progress=True)
        start = perf_counter()
        model = models[solver] = PCA(K, svd_solver=solver, random_state=0).fit(rows)
        seconds, grown = perf_counter() - start, peak() - before
        print(
            f"  {solver:<17}{seconds:8.1f}{model.bytes_read_ / 1e9 / seconds:7.3f}{model.n_passes_:>8}"
            f"{model.bytes_read_ / 1e9:9.2f}{grown / 1e6:14.0f} MB{model.certificate_:13.2g}",
            flush=True,
        )
    print(f"memory grew by {100 * grown / size:.1f} % of the file's {size / 1e9:.2f} GB")
    variances = [model.explained_variance_ for model in models.values()]
    apart = np.abs(variances[0] / variances[1] - 1)
    cosines = np.abs((models["onepass"].components_ * models["covariance_eigh"].components_).sum(1))
    print(f"explained variances: {apart.max():.1e} apart at most, relative to each; in all ", end="")
    print(f"{abs(variances[0].sum() / variances[1].sum() - 1):.1e}")
    print(f"cosine between components of the same rank: smallest {cosines.min():.4f}")
    print(f"share of the variance in {K} components: {models['onepass'].explained_variance_ratio_.sum():.4f}")
    np.savez(
        path.with_suffix(".npz"),
        peak_before=before,
        ratio=models["onepass"].explained_variance_ratio_,
        **{solver: model.components_ for solver, model in models.items()},
    )
    assert size < 1e9 or grown < size / 4, f"{grown / 1e6:.0f} MB for a file of {size / 1e6:.0f} MB"
    assert apart.max() < 1e-2


# %%
# The file
# --------


def images():
    """Name, images (n, side, side) between 0 and 1, whether they may be mirrored, and the noise to add."""
    folder = os.environ.get("JAXLEARN_DATA")
    if folder and (path := Path(folder) / "fashion_mnist.npz").exists():
        with np.load(path) as data:
            found = np.concatenate([data[key].reshape(-1, 28, 28) for key in ("X_train", "X_test") if key in data])
        return "Fashion-MNIST", found.astype(np.float32) / 255, True, 0.0
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    found = zoom(load_digits().images.astype(np.float32) / 16, (1, 4, 4), order=1)
    return "digits", found, False, 0.1


def write(path, gigabytes):
    name, originals, mirrored, noise = images()
    side = originals.shape[1]
    padded = np.pad(originals, [(0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)]).astype(np.float16)
    n_rows, random = int(-(-gigabytes * 1e9 // (2 * side * side))), np.random.default_rng(0)
    np.lib.format.open_memmap(path, "w+", np.float16, (n_rows, side * side))
    start = perf_counter()
    for first in range(0, n_rows, BLOCK):
        n = min(BLOCK, n_rows - first)
        which, (down, right) = random.integers(len(padded), size=n), random.integers(2 * MARGIN + 1, size=(2, n))
        down, right = down[:, None] + np.arange(side), right[:, None] + np.arange(side)
        if mirrored:
            flipped = random.random(n) < 0.5
            right[flipped] = right[flipped, ::-1]
        block = padded[which[:, None, None], down[:, :, None], right[:, None, :]].reshape(n, -1)
        if noise:
            block = block + noise * random.standard_normal(block.shape, np.float32)
        # opened for each block: no more of the file is mapped than is written
        np.lib.format.open_memmap(path, "r+")[first : first + n] = block
    print(f"{name}: {n_rows} × {side * side} in float16, {path.stat().st_size / 1e9:.2f} GB, ", end="")
    print(f"written in {perf_counter() - start:.1f} s", flush=True)


def draw(found, side):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.titlesize": 8})
    figure, axes = plt.subplots(4, 9, figsize=(11, 5.6), layout="constrained")
    for axis, component, share in zip(axes.flat, found["onepass"], found["ratio"], strict=True):
        bound = np.abs(component).max()
        axis.imshow(component.reshape(side, side), cmap="RdBu_r", vmin=-bound, vmax=bound)
        axis.set_title(f"{100 * share:.2f} %")
        axis.axis("off")
    figure.suptitle("Components of the streamed file, and the share of the variance that each explains")
    # not __file__, which the gallery of the documentation does not define
    picture = Path(sys.argv[0]).resolve().with_suffix(".png")
    figure.savefig(picture, dpi=120)
    print(f"The picture: {picture}")


def main():
    parser = argparse.ArgumentParser(description="PCA of a file larger than memory")
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the file that is written")
    parser.add_argument("--write", type=Path, metavar="PATH", help="write this file, and do no more")
    parser.add_argument("--fit", type=Path, metavar="PATH", help="fit this file, and write the components beside it")
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.write, arguments.gigabytes)
        return
    if arguments.fit:
        fit(arguments.fit)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        # on Linux a process begins with the peak of the one that started it: this one stays small, or it would hide a growth
        this = [sys.executable, sys.argv[0]]
        subprocess.run([*this, "--write", str(path), "--gigabytes", str(arguments.gigabytes)], check=True)
        mine = peak()
        subprocess.run([*this, "--fit", str(path)], check=True)
        side = round(np.load(path, mmap_mode="r").shape[1] ** 0.5)
        with np.load(path.with_suffix(".npz")) as found:
            assert mine < found["peak_before"], "the growth of the memory of the fit was hidden by its parent's"
            draw(found, side)


if __name__ == "__main__":
    main()
