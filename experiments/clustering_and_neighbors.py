"""
Clustering and neighbours
=========================

Two models that read data by sums and by pairs, on what scikit-learn brings along: a codebook of the patches of a photograph by
k-means, and the regions in which a flower's nearest neighbours agree; then what both cost as rows and features grow, beside
scikit-learn. From the same start both libraries find the same centers, and the same neighbours: this is checked before
a time is drawn.

It takes about two minutes on two cores. Times are the best of three fits, after a first one that compiles.
"""

import sys
import warnings
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from sklearn import cluster as sk_cluster
from sklearn import neighbors as sk_neighbors
from sklearn.datasets import load_iris, load_sample_image

from jaxlearn.cluster import KMeans
from jaxlearn.neighbors import KNeighborsClassifier, NearestNeighbors


def fastest(call, again=3):
    """What `call` returns, and the least seconds of some runs after the first."""
    result, seconds = call(), []
    for _ in range(again):
        start = perf_counter()
        result = call()
        seconds.append(perf_counter() - start)
    return result, min(seconds)


# %%
# 1. A codebook of patches
# ------------------------
# All patches of 8 × 8 pixels of a photograph, less their means: 64 centers stand for them. A patch is then six bits and
# a mean.

photograph = load_sample_image("china.jpg").mean(2).astype(np.float32) / 255
windows = np.lib.stride_tricks.sliding_window_view(photograph, (8, 8))[::2, ::2]
patches = windows.reshape(-1, 64)
patches = patches - patches.mean(1, keepdims=True)
codebook = KMeans(64, random_state=0).fit(patches)
share = codebook.inertia_ / np.square(patches).sum()
print(f"1. {len(patches)} patches: 64 centers leave {share:.0%} of their energy after {codebook.n_iter_} passes")

blocks = photograph[: photograph.shape[0] // 8 * 8, : photograph.shape[1] // 8 * 8]
blocks = blocks.reshape(blocks.shape[0] // 8, 8, -1, 8).swapaxes(1, 2)
flat = blocks.reshape(-1, 64)
means = flat.mean(1, keepdims=True)
coded = codebook.cluster_centers_[codebook.predict(flat - means)] + means
coded = coded.reshape(blocks.shape).swapaxes(1, 2).reshape(blocks.shape[0] * 8, -1)

# %%
# 2. Where neighbours agree
# -------------------------
# Three kinds of iris by two of their measurements: what one neighbour, and what fifteen say of every point of the plane.

X, y = load_iris(return_X_y=True)
X = X[:, 2:]
across, up = np.meshgrid(np.linspace(0.5, 7.5, 250), np.linspace(-0.2, 2.9, 250))
plane = np.column_stack([across.ravel(), up.ravel()])
regions = {}
for k in (1, 15):
    classifier = KNeighborsClassifier(k).fit(X, y)
    regions[k] = classifier.predict(plane).reshape(across.shape)
    same = np.mean(regions[k].ravel() == sk_neighbors.KNeighborsClassifier(k).fit(X, y).predict(plane))
    print(f"2. {k:2d} neighbours: {same:.2%} of the plane as scikit-learn has it (ties may differ)")

# %%
# 3. Time against rows and features
# ---------------------------------

rng = np.random.default_rng(0)
warnings.simplefilter("ignore")  # ten passes are too few to converge, and are asked for


def race(n, p):
    """Seconds of ten passes of k-means with 64 centers, and of the 10 nearest of 1000 rows: (ours, theirs) of both."""
    X = rng.standard_normal((n, p)).astype(np.float32)
    start = {"init": X[:64], "n_init": 1, "max_iter": 10, "tol": 0}
    ours, mine = fastest(lambda: KMeans(64, **start).fit(X))
    theirs, other = fastest(lambda: sk_cluster.KMeans(64, **start).fit(X))
    assert abs(ours.inertia_ / theirs.inertia_ - 1) < 1e-4
    clusters = mine, other
    index, peer = (
        NearestNeighbors(n_neighbors=10).fit(X),
        sk_neighbors.NearestNeighbors(n_neighbors=10, algorithm="brute"),
    )
    peer.fit(X)
    found, mine = fastest(lambda: index.kneighbors(X[:1000], return_distance=False))
    expected, other = fastest(lambda: peer.kneighbors(X[:1000], return_distance=False))
    assert np.mean(np.sort(found) == np.sort(expected)) > 0.999
    print(f"3. {n:6d} × {p:3d}: k-means {clusters[0]:.3f} s ({clusters[1]:.3f}), neighbours {mine:.3f} s ({other:.3f})")
    return clusters, (mine, other)


rows, features = [2000, 8000, 32_000, 100_000], [4, 16, 64, 256]
by_rows = np.array([race(n, 32) for n in rows])
by_features = np.array([race(20_000, p) for p in features])

# %%
# The picture
# -----------

red, blue = "#c4441c", "#2a6fb0"
plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False})
figure = plt.figure(figsize=(11, 9), layout="constrained")
upper, middle, lower = figure.subfigures(3, 1, height_ratios=[3, 3, 3])

left, right = upper.subplots(1, 2)
order = np.argsort(-np.bincount(codebook.labels_))
tiles = codebook.cluster_centers_[order].reshape(8, 8, 8, 8)
tiles = np.pad(tiles, [(0, 0), (0, 0), (1, 0), (1, 0)], constant_values=np.nan)
left.imshow(tiles.swapaxes(1, 2).reshape(72, 72), cmap="gray")
left.set_title("64 centers of patches, the most used first")
right.imshow(
    np.hstack([photograph[: coded.shape[0], : coded.shape[1] // 2], coded[:, coded.shape[1] // 2 :]]), cmap="gray"
)
right.set_title("a photograph, and its right half from the codebook")
for axes in (left, right):
    axes.axis("off")

colors = ListedColormap(["#dbe7f3", "#f3ddd4", "#e2ecd8"])
for axes, (k, region) in zip(middle.subplots(1, 2, sharey=True), regions.items(), strict=True):
    axes.pcolormesh(across, up, region, cmap=colors, shading="auto", rasterized=True)
    axes.scatter(*X.T, c=y, cmap=ListedColormap([blue, red, "#5a8a2a"]), s=12, edgecolors="white", linewidths=0.4)
    axes.set(title=f"{k} neighbour{'s' * (k > 1)}", xlabel="petal length, cm")

titles = "k-means, 64 centers, ten passes", "10 neighbours of 1000 rows"
panels = lower.subplots(1, 4, sharey=False)
for axes, values, sizes, i in zip(
    panels, (by_rows, by_rows, by_features, by_features), (rows, rows, features, features), (0, 1, 0, 1), strict=True
):
    axes.loglog(sizes, values[:, i, 1], "o-", ms=4, color=blue, label="scikit-learn")
    axes.loglog(sizes, values[:, i, 0], "o-", ms=4, color=red, label="jaxlearn")
    axes.set(title=titles[i], xlabel="rows (32 features)" if sizes is rows else "features (20,000 rows)")
panels[0].set_ylabel("seconds")
panels[0].legend(frameon=False)

# not __file__, which the gallery of the documentation does not define
picture = Path(sys.argv[0]).resolve().with_suffix(".png")
figure.savefig(picture, dpi=110)
print(f"The picture: {picture}")
