"""
Dictionaries of image patches
=============================

Online dictionary learning is done row by row: codes by coordinate descent, atoms by updates of rank one. As a JAX program it
is done batch by batch, in products. Here is what that is worth, on patches of the two photographs that scikit-learn
brings along: `StochasticFactorization` with batches as small as its peers', with batches that grow, and with steps that
look at a quarter of the pixels, which loses here: 36 pixels tell little of 100 sparse codes. Beside it scikit-learn's
`MiniBatchDictionaryLearning` and the published online algorithm in NumPy. And what is learnt: the atoms, and the
non-negative parts that `NMF` finds.

Everybody starts from the same rows, and is judged by the same evaluator in double precision, by the objective of patches
from other parts of the photographs. Seconds are those of learning; jaxlearn's are of a second, *warm* fit, and its
*first*, which compiles, is given apart. The parts are of Fashion-MNIST where the environment variable ``JAXLEARN_DATA``
names a folder that holds ``fashion_mnist.npz``, and otherwise of scikit-learn's digits. All takes less than three minutes
on two cores.
"""

import os
import sys
import warnings
from pathlib import Path
from time import perf_counter

import matplotlib as mpl
import numpy as np
from sklearn import decomposition as sk
from sklearn.datasets import load_digits, load_sample_images
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from benchmarks.evaluate import dictionary_objective
from benchmarks.factorization_peers import Clock, baseline, judge, marks, minibatch_dictionary, start, time_to
from jaxlearn.decomposition import NMF, StochasticFactorization

mpl.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import LogLocator  # noqa: E402

N, SIDE, K, ALPHA, N_HELD_OUT = 40_000, 12, 100, 0.1, 500
BATCH, EPOCHS, BUDGET = 256, 3, 20.0
PARTS = 16
N_OWN = 1000  # rows that the estimator holds out for itself

# %%
# The patches
# -----------
# Grey, without their mean, all divided by one number: the mean squared norm of the rows is 1. Those that are held out are of
# the right quarter of each photograph, and share no pixel with the others.


def patches(parts, n, random):
    views = [np.lib.stride_tricks.sliding_window_view(part, (SIDE, SIDE)).reshape(-1, SIDE, SIDE) for part in parts]
    chosen = [random.choice(len(view), n // len(views), replace=False) for view in views]
    rows = np.concatenate([view[which].reshape(-1, SIDE**2) for view, which in zip(views, chosen, strict=True)])
    return random.permutation(rows - rows.mean(1, keepdims=True))


random = np.random.default_rng(0)
photographs = [image.astype(np.float32).mean(2) for image in load_sample_images().images]
edge = 3 * photographs[0].shape[1] // 4
X = patches([photograph[:, :edge] for photograph in photographs], N, random)
held_out = patches([photograph[:, edge:] for photograph in photographs], N_HELD_OUT, random)
scale = np.sqrt(np.square(X).sum(1).mean())
X, held_out = X / scale, held_out / scale
init = start(X, K)

# %%
# The race
# --------
# A curve is a list of dictionaries, copied while a library runs, with the seconds it had taken so far.


def looks(n_rows):
    return marks(n_rows, first=BATCH, ratio=1.6)


def ours(**options):
    """The curve of the second fit, its model, and seconds of both."""
    seconds = []
    for _ in range(2):
        clock = Clock(looks(EPOCHS * (N - N_OWN)))
        model = StochasticFactorization(
            K,
            alpha=ALPHA,
            dict_init=init,
            n_validation=N_OWN,
            max_iter=EPOCHS,
            tol=0.0,
            callback=lambda told, clock=clock: clock.look(told.n_samples_seen, lambda: told.components),
            random_state=0,
            **options,
        )
        begin = perf_counter()
        model.fit(X)
        seconds.append(perf_counter() - begin)
    return clock.curve, model, seconds


def peer(algorithm, dtype):
    return minibatch_dictionary(
        X.astype(dtype),
        init.astype(dtype),
        ALPHA,
        at=looks(EPOCHS * N),
        budget=BUDGET,
        n_jobs=1,  # two are no faster
        fit_algorithm=algorithm,
        batch_size=BATCH,
    )


def published():
    with threadpool_limits(1):  # its small updates are slower on two
        return baseline(
            X, init, ALPHA, l1_ratio=1.0, at=looks(EPOCHS * N), budget=BUDGET, batch_size=BATCH, n_epochs=EPOCHS
        )


def score(D):
    with threadpool_limits(1):
        return dictionary_objective(D / np.maximum(np.linalg.norm(D, axis=1, keepdims=True), 1), held_out, l1=ALPHA)


print(f"1. {N} patches of {SIDE}×{SIDE}, {K} atoms, alpha={ALPHA}; peers have {BUDGET:g} s each", flush=True)
curves = {
    "scikit-learn, lars": peer("lars", np.float32),
    # in double precision its coordinate descent is several times faster: it asks for a gap that single precision rarely shows
    "scikit-learn, cd": peer("cd", np.float64),
    "published algorithm": published(),
}
models, first, warm = {}, {}, {}
for name, options in (
    (f"jaxlearn, batches of {BATCH}", {"batch_size": BATCH}),
    ("jaxlearn, growing batches", {}),
    ("jaxlearn, growing batches, r = 4", {"reduction": 4}),
):
    curves[name], models[name], (first[name], warm[name]) = ours(**options)
curves = {name: judge(curve, score) for name, curve in curves.items()}

# the common objective: where scikit-learn was when it stopped, or its seconds were used up
target = min(curve[-1].objective for name, curve in curves.items() if name.startswith("scikit"))
times = {name: time_to(curve, target) for name, curve in curves.items()}
slowest = min(seconds for name, seconds in times.items() if name.startswith("scikit"))
print(f"   the target, where scikit-learn ends: {target:.5f}; speed is scikit-learn's time to it by that of the row")
print(f"   {'':<34}{'first s':>8}{'warm s':>8}{'rows seen':>11}{'objective':>11}{'to target s':>13}{'speed':>8}")
for name, curve in curves.items():
    compiled = f"{first[name]:8.2f}{warm[name]:8.2f}" if name in first else f"{'':8}{curve[-1].seconds:8.2f}"
    reached = f"{times[name]:13.2f}{slowest / times[name]:7.1f}×" if np.isfinite(times[name]) else f"{'never':>13}"
    print(f"   {name:<34}{compiled}{curve[-1].n_seen:>11}{curve[-1].objective:11.5f}{reached}")
theirs = curves["published algorithm"][-1]
seconds = time_to(curves["jaxlearn, growing batches"], theirs.objective)
print(
    f"   where the published algorithm ends, {theirs.objective:.5f} after {theirs.seconds:.2f} s, growing batches are ",
    end="",
)
print(f"after {seconds:.2f} s: {theirs.seconds / seconds:.1f}×\n", flush=True)

# %%
# Non-negative parts
# ------------------


def pictures():
    folder = os.environ.get("JAXLEARN_DATA")
    if folder and (path := Path(folder) / "fashion_mnist.npz").exists():
        with np.load(path) as data:
            return "Fashion-MNIST", data["X_train"][::6].reshape(-1, 784) / np.float32(255)
    return "digits", load_digits().data.astype(np.float32) / 16


name, images = pictures()
print(f"2. Non-negative parts of {name}, {len(images)} × {images.shape[1]}, {PARTS} parts, at most 1000 iterations")
print(f"   {'':<34}{'first s':>8}{'warm s':>8}{'iterations':>11}{'relative error':>16}")
for who, Model in (("scikit-learn", sk.NMF), ("jaxlearn", NMF)):
    seconds = []
    for _ in range(2):
        begin = perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the iterations say it
            parts = Model(PARTS, init="nndsvda", max_iter=1000, random_state=0).fit(images)
        seconds.append(perf_counter() - begin)
    error = parts.reconstruction_err_ / np.linalg.norm(images)
    print(f"   {who:<34}{seconds[0]:8.2f}{seconds[1]:8.2f}{parts.n_iter_:>11}{error:16.5f}")
print()

# %%
# The picture
# -----------
# Above, the atoms, those first that are used most, and the parts. Below, the objective against time, and the seconds to where
# scikit-learn ended.


def mosaic(tiles, columns, gap=1):
    """Tiles side by side, each divided by its largest number."""
    side = round(tiles.shape[1] ** 0.5)
    tiles = (tiles / np.abs(tiles).max(1, keepdims=True)).reshape(-1, columns, side, side)
    padded = np.pad(tiles, [(0, 0), (0, 0), (gap, 0), (gap, 0)], constant_values=np.nan)
    joined = padded.transpose(0, 2, 1, 3).reshape(len(tiles) * (side + gap), -1)
    return np.pad(joined, [(0, gap), (0, gap)], constant_values=np.nan)


red, blue, black = "#c4441c", "#2a6fb0", "0.15"
styles = {
    "scikit-learn, lars": (blue, ":"),
    "scikit-learn, cd": (blue, "-"),
    "published algorithm": (black, "-"),
    f"jaxlearn, batches of {BATCH}": (red, ":"),
    "jaxlearn, growing batches": (red, "-"),
    "jaxlearn, growing batches, r = 4": (red, "--"),
}
plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False})
figure, axes = plt.subplots(2, 2, figsize=(11, 9.5), height_ratios=[5, 4], layout="constrained")
(atom_plot, part_plot), (curve_plot, bar_plot) = axes

best = models["jaxlearn, growing batches"]
used = np.argsort(-np.abs(best.transform(held_out)).sum(0))
atom_plot.imshow(mosaic(best.components_[used], 10), cmap="gray", vmin=-1, vmax=1)
atom_plot.set_title(f"{K} atoms of patches of two photographs")
tinted = plt.get_cmap("gray_r").with_extremes(bad="#dbe4ee")  # between the tiles, which are white where they are zero
part_plot.imshow(mosaic(parts.components_, 4), cmap=tinted, vmin=0, vmax=1)
part_plot.set_title(f"{PARTS} non-negative parts of {name}")
for axis in (atom_plot, part_plot):
    axis.axis("off")

for name, (color, line) in styles.items():
    _, _, objective, _ = np.array(curves[name]).T
    seconds = [look.seconds for look in curves[name]]
    curve_plot.plot(seconds, objective, line, color=color, lw=1.5, label=name)
curve_plot.axhline(target, color="0.6", lw=0.8)
curve_plot.set(xscale="log", xlabel="seconds of learning", ylabel="objective of patches that were held out")
curve_plot.set_title("Who is where after how long")
curve_plot.annotate("scikit-learn's end", (0.99, target), xycoords=("axes fraction", "data"), ha="right", va="top")
curve_plot.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))

for row, (name, (color, _)) in enumerate(styles.items()):
    missed = np.isinf(times[name])
    seconds = curves[name][-1].seconds if missed else times[name]
    bar_plot.barh(row, seconds, color="white" if missed else color, edgecolor=color, hatch="////" if missed else None)
    note = f"not within {seconds:.1f} s" if missed else f"{seconds:.2f} s, {slowest / seconds:.1f}×"
    bar_plot.annotate(f" {note}", (seconds, row), va="center")
bar_plot.set(xscale="log", xlabel="seconds", xlim=(0.05, 20 * BUDGET), yticks=range(len(styles)), yticklabels=styles)
bar_plot.invert_yaxis()
bar_plot.set_title(f"Time to the objective {target:.4f}, where scikit-learn ends")
for axis in (curve_plot, bar_plot):
    axis.xaxis.set_major_locator(LogLocator())
    axis.xaxis.set_major_formatter("{x:g}")

# not __file__, which the gallery of the documentation does not define
picture = Path(sys.argv[0]).resolve().with_suffix(".png")
figure.savefig(picture, dpi=120)
print(f"The picture: {picture}")
