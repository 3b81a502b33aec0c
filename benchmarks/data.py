"""What is fitted: real data from the folder `JAXLEARN_DATA`, or else a seeded recipe. Each says which it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import scipy.sparse
from scipy.sparse import csr_array

__all__ = [
    "colon",
    "covertype",
    "equicorrelated",
    "fashion",
    "fmri",
    "fmri_records",
    "folder",
    "hyperspectral",
    "leukemia",
]
__all__ += ["patches", "ratings", "sarcoma", "size", "spectra"]


def folder() -> Path | None:
    """Where the real data lies, if anywhere."""
    path = Path(os.environ.get("JAXLEARN_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    return path if path.is_dir() else None


def size() -> str:
    """``tiny`` (does it run at all), ``quick`` (what `make bench` does) or ``full``."""
    return next((s for s in ("tiny", "full") if os.environ.get(f"JAXLEARN_BENCH_{s.upper()}") == "1"), "quick")


def _load(name, *arrays):
    with np.load(folder() / f"{name}.npz", allow_pickle=False) as f:
        return [f[a] for a in arrays]


def _has(name):
    return folder() is not None and (folder() / f"{name}.npz").exists()


def _spread(n, total):
    """n row numbers, evenly over all: files may be sorted by class."""
    return np.linspace(0, total - 1, min(n, total)).astype(int)


def _standardise(X):
    X = np.asarray(X, np.float64)
    scale = X.std(0)
    return (X - X.mean(0)) / np.where(scale > 0, scale, 1)


def leukemia():
    """Gene expressions and two kinds of leukemia, y in {−1, 1}: (X, y, source)."""
    return _genes("leukemia_golub", 72, 7129)


def colon():
    """Gene expressions of colon tissue with a tumour and without, y in {−1, 1}: (X, y, source)."""
    return _genes("colon_alon", 62, 2000)


def sarcoma():
    """Gene expressions of ten kinds of sarcoma, the commonest is 1, the others −1: (X, y, source)."""
    return _genes("sarcoma_nakayama", 105, 22283)


def _genes(name, n, p):
    """One kind of tissue against the rest, standardised: of two the first, of more the commonest."""
    n, p = {"tiny": (40, 300)}.get(size(), (n, p))
    if _has(name):
        X, y = _load(name, "X", "y")
        rows, kinds = _spread(n, len(X)), np.bincount(y)
        kind = y[rows[0]] if len(kinds) == 2 else np.argmax(kinds)
        X, y, source = X[rows, :p], np.where(y[rows] == kind, 1.0, -1.0), name
    else:
        rng = np.random.default_rng(0)
        factors, load = rng.normal(size=(n, 20)), rng.normal(size=(20, p))
        X = np.exp(0.5 * (factors @ load / 20**0.5 + rng.normal(size=(n, p))) + rng.normal(size=p))
        y, source = np.where(factors[:, 0] > 0.4, 1.0, -1.0), "recipe: 20 factors and noise, log-normal, seed 0"
    return _standardise(X), y - y.mean(), f"{source}, {n}×{p}, standardised"


def equicorrelated(n, p, rho, s=20, snr=2.0):
    """Columns that all correlate by rho, s coefficients of one (as in the paper of the Hessian screening rule)."""
    rng = np.random.default_rng(0)
    X = np.sqrt(1 - rho) * rng.normal(size=(n, p)) + np.sqrt(rho) * rng.normal(size=(n, 1))
    signal = X[:, np.linspace(0, p - 1, s).astype(int)].sum(1)
    y = signal + rng.normal(size=n) * np.sqrt(np.var(signal) / snr)
    return _standardise(X), y - y.mean(), f"recipe: equicorrelated {n}×{p}, rho={rho}, s={s}, snr={snr:g}, seed 0"


def fashion(quick=10_000):
    """Images of ten kinds of clothes, targets one-hot: (X float32 in [0, 1], Y, source)."""
    n, p = {"tiny": (500, 60), "quick": (quick, 784)}.get(size(), (60_000, 784))
    if _has("fashion_mnist"):
        X, y = _load("fashion_mnist", "X_train", "y_train")
        rows = _spread(n, len(X))
        X, y, source = X[rows, :p] / np.float32(255), y[rows], "fashion_mnist"
    else:
        rng = np.random.default_rng(0)
        y = rng.integers(10, size=n)
        X = rng.normal(size=(n, 40)) @ rng.normal(size=(40, p)) + rng.normal(size=(10, p))[y]
        X = np.clip(X / 12 + 0.1 * rng.normal(size=(n, p)) + 0.2, 0, 1).astype(np.float32)
        source = "recipe: 10 classes in 40 factors and noise, seed 0"
    return X, np.eye(10)[y], f"{source}, {n}×{p}"


def covertype(quick=92_962):
    """Seven kinds of forest cover, ten measurements and 44 indicators: (X, y in 1 … 7, source)."""
    n = {"tiny": 1500, "quick": quick}.get(size(), 92_962)
    if _has("covertype_93k"):
        X, y = _load("covertype_93k", "X", "y")
        rows = _spread(n, len(X))
        X, y, source = X[rows], y[rows], "covertype_93k"
    else:
        rng = np.random.default_rng(0)
        measured = rng.normal(size=(n, 10)) @ (np.eye(10) + 0.3 * rng.normal(size=(10, 10)))
        soil = np.argmax(measured @ rng.normal(size=(10, 40)) + 3 * rng.gumbel(size=(n, 40)), 1)
        area = np.argmax(measured @ rng.normal(size=(10, 4)) + rng.gumbel(size=(n, 4)), 1)
        X = np.column_stack([measured, np.eye(4)[area], np.eye(40)[soil]])
        y = 1 + np.argmax(X @ rng.normal(size=(54, 7)) + rng.gumbel(size=(n, 7)), 1)
        source = "recipe: 10 measurements, 4 areas, 40 soils, seed 0"
    return _standardise(X), y, f"{source}, {n}×{X.shape[1]}, standardised"


# To be factorised: float32, and rows that are held out ------------------------------------------------------------


def texts(n=11_314, p=50_000, n_classes=20, seed=0):
    """Counts of words in texts on twenty subjects: (X sparse, y, source)."""
    n, p = (500, 1000) if size() == "tiny" else (n, p)
    if _has("newsgroups20"):
        names = ("data", "indices", "indptr", "shape")
        values, indices, starts, shape = _load("newsgroups20", *(f"X_train_{name}" for name in names))
        X = scipy.sparse.csr_matrix((values.astype(np.float32), indices, starts), shape=tuple(shape))
        (y,) = _load("newsgroups20", "y_train")
        chosen = _spread(n, X.shape[0])
        return X[chosen], y[chosen].astype(int), f"newsgroups20, {len(chosen)}×{X.shape[1]}"
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n)
    popularity = 1 / np.arange(1, p + 1) ** 1.1
    length = np.minimum(rng.lognormal(4.3, 0.8, n).astype(int) + 5, 3000)
    topics = [rng.permutation(p)[:400] for _ in range(n_classes)]
    words = [
        np.append(rng.choice(p, m, p=popularity / popularity.sum()), rng.choice(topics[label], m // 6))
        for label, m in zip(y, length, strict=True)
    ]
    starts = np.append(0, np.cumsum([len(each) for each in words]))
    X = scipy.sparse.csr_matrix((np.ones(starts[-1], np.float32), np.concatenate(words), starts), shape=(n, p))
    X.sum_duplicates()
    return X, y, f"recipe: common words and those of a subject, {n}×{p}, seed {seed}"


def patches(n, side=8, *, color=False, n_heldout=2000, seed=0):
    """Patches of eight photographs: (X, held out, source).

    Each is (side, side) grey values, or (side, side, 3) colours of the four photographs that have them; the mean over
    the patch, of each colour, is removed. Both sets are divided by one number, so that the mean squared norm of the rows
    of X is 1. The photographs are divided in vertical strips: X is cut from the left three quarters of each, what is held
    out from the right quarters. No pixel is in both.
    """
    if _has("natural_images"):
        names = ["camera", "brick", "grass", "gravel"] * (not color) + ["astronaut", "chelsea", "coffee", "rocket"]
        images, source = _load("natural_images", *names), "natural_images"
    else:
        rng = np.random.default_rng(0)
        images, source = [_dead_leaves(rng, 400, 255 * rng.random((4000, 3))) for _ in range(4)], "recipe: dead leaves"
    images = [image.reshape(*image.shape[:2], -1).astype(np.float32) for image in images]
    if not color:
        images = [image.mean(2, keepdims=True) for image in images]
    kept, other = zip(*(parts for image in images for parts in _divide(image, side)), strict=True)
    X, heldout = _cut_both(kept, other, (n, n_heldout), side, seed, centered=True)
    return X, heldout, f"{source}, {n} patches of {side}×{side}{'×3' * color}, seed {seed}"


def hyperspectral(n, side=3, *, centered=True, n_heldout=500, seed=0):
    """Patches (side, side, 198 bands) of a picture taken from the air: (X, held out, source).

    The mean over the patch, of each band, is removed, or, without `centered`, all numbers are non-negative. The scale and
    what is held out are as in `patches`. The picture has 100×100 pixels only: X also has patches of it turned and mirrored,
    some 50 000 in all.
    """
    if _has("jasper_ridge"):
        pixels, shape = _load("jasper_ridge", "X", "image_shape")
        image, source = pixels.reshape(*shape, -1, order="F").astype(np.float32), "jasper_ridge"
    else:
        rng, bands = np.random.default_rng(0), np.linspace(0, 1, 198)
        ground = np.exp(-np.square((bands - rng.random((6, 1))) / 0.2)).astype(np.float32)
        image, source = _dead_leaves(rng, 100, rng.dirichlet(np.full(6, 0.3), 2000) @ ground), "recipe: dead leaves"
    kept, other = zip(*_divide(image, side), strict=True)
    turned = [np.rot90(view, turns) for part in kept for view in (part, part[::-1]) for turns in range(4)]
    X, heldout = _cut_both(turned, other, (n, n_heldout), side, seed, centered=centered)
    return X, heldout, f"{source}, {n} patches of {side}×{side}×{image.shape[2]}, seed {seed}"


def _divide(image, side):
    """Left three quarters and right quarter of each of some strips, of which a quarter is wide enough for two patches."""
    for strip in np.array_split(image, max(1, image.shape[1] // (8 * side)), axis=1):
        column = 3 * strip.shape[1] // 4
        yield strip[:, :column], strip[:, column:]


def _cut_both(kept, other, sizes, side, seed, *, centered):
    rng = np.random.default_rng(seed)
    X, heldout = (_cut(images, n, side, rng) for images, n in zip((kept, other), sizes, strict=True))
    if centered:
        X, heldout = (rows - rows.mean(1, keepdims=True) for rows in (X, heldout))
    X, heldout = (rows.reshape(len(rows), -1) for rows in (X, heldout))
    scale = np.float32(np.sqrt(np.mean(np.square(X).sum(1), dtype=np.float64)))
    X /= scale
    heldout /= scale
    return X, heldout


def _cut(images, n, side, rng):
    """n different patches of all the images, shuffled: (n, side², channels)."""
    views = [np.lib.stride_tricks.sliding_window_view(image, (side, side), axis=(0, 1)) for image in images]
    ends = np.cumsum([view.shape[0] * view.shape[1] for view in views])
    chosen = rng.choice(ends[-1], n, replace=False)
    rows = np.empty((n, side * side, images[0].shape[2]), np.float32)
    for view, end in zip(views, ends, strict=True):
        size = view.shape[0] * view.shape[1]
        here = (chosen < end) & (chosen >= end - size)
        down, across = np.divmod(chosen[here] - (end - size), view.shape[1])
        rows[here] = view[down, across].reshape(len(down), view.shape[2], side * side).swapaxes(1, 2)
    return rows


def _dead_leaves(rng, side, colors):
    """Discs that cover each other, many of them small, as things do in a photograph: (side, side, channels)."""
    image = np.empty((side, side, colors.shape[1]), np.float32)
    image[:] = colors[0]
    radii = 2 / np.sqrt(rng.uniform((8 / side) ** 2, 1, len(colors)))  # a density r⁻³, from 2 to side / 4
    for color, radius, (y, x) in zip(colors, radii, rng.uniform(0, side, (len(colors), 2)), strict=True):
        top, left = max(int(y - radius), 0), max(int(x - radius), 0)
        box = image[top : int(y + radius) + 2, left : int(x + radius) + 2]
        down, across = np.ogrid[top : top + box.shape[0], left : left + box.shape[1]]
        box[(down - y) ** 2 + (across - x) ** 2 < radius**2] = color
    return image


def fmri(n, p, k, *, n_heldout=1000, seed=0):
    """The first n rows of `fmri_records`, and the first rows of four that come much later: (X, held out, source)."""
    X = _first_rows(fmri_records(p, k, seed=seed), n, p)
    later = (record[: -(-n_heldout // 4)] for record in fmri_records(p, k, seed=seed, first=10**6))
    heldout = _first_rows(later, n_heldout, p)
    return X, heldout, f"recipe: {k} maps of blobs in records, {n}×{p}, seed {seed}"


def _first_rows(blocks, n, p):
    X, filled = np.empty((n, p), np.float32), 0
    while filled < n:
        block = next(blocks)[: n - filled]
        X[filled : filled + len(block)] = block
        filled += len(block)
    return X


def fmri_records(p, k, *, seed=0, first=0) -> Iterator[np.ndarray]:
    """Without an end, records of 200 to 1200 scans of p voxels of a cube, each a function of its number alone.

    ``scale · (mean + codes · maps + smooth noise + white noise)``: maps of two blobs each, codes that an AR(1) process
    makes, strengths from 1 to 1/5. Of the squared norm of a row, 1 on average but for the scale, codes make 0.4, the mean
    0.1, and each noise 0.25. A record's mean is a smooth field, its scale log-normal.
    """
    maps, strengths = _blobs(p, k, seed), np.geomspace(1, 0.2, k)
    maps = maps * np.float32(np.sqrt(0.4 / np.square(strengths).sum())) * strengths[:, None].astype(np.float32)
    for record in count(first):
        rng = np.random.Generator(np.random.Philox(key=[seed, record]))
        X = np.empty((rng.integers(200, 1201), p), np.float32)
        codes = rng.standard_normal((len(X), k), dtype=np.float32)
        for i in range(1, len(X)):
            codes[i] = 0.8 * codes[i - 1] + 0.6 * codes[i]
        mean, scale = np.sqrt(0.1 / p) * _smooth(rng, 1, p), np.exp(0.2 * rng.standard_normal())
        for i in range(0, len(X), 100):  # so that memory holds a record once
            rows = X[i : i + 100]
            rng.standard_normal(out=rows, dtype=np.float32)
            rows += _smooth(rng, len(rows), p)
            rows *= np.float32(np.sqrt(0.25 / p))
            rows += codes[i : i + 100] @ maps
            rows += mean
            rows *= np.float32(scale)
        yield X


@cache
def _blobs(p, k, seed):
    """Maps of unit norm, each the sum of two Gaussian blobs in the cube whose first p voxels are kept."""
    side = _side(p)
    rng, along = np.random.default_rng([seed, k]), np.arange(side)[:, None]
    centers, widths = rng.uniform(0, side, (3, 2 * k)), rng.uniform(0.04, 0.12, 2 * k) * side
    axes = [np.exp(-np.square((along - c) / widths) / 2).astype(np.float32) for c in centers]
    pairs = np.einsum("xj,yj,zj->jxyz", *axes).reshape(2, k, -1)[:, :, :p]
    maps = pairs[0] + pairs[1]
    return maps / np.linalg.norm(maps, axis=1, keepdims=True)


def _smooth(rng, n, p):
    """n fields of unit variance: white noise on a grid four times as coarse, interpolated."""
    weights = _interpolation(_side(p))
    z = rng.standard_normal((n, *weights.shape[1:] * 3), dtype=np.float32)
    for _ in range(3):
        z = np.moveaxis(z, 1, 3) @ weights.T  # each of the three directions comes last once
    return z.reshape(n, -1)[:, :p]


@cache
def _interpolation(side):
    nodes = np.linspace(0, side - 1, max(2, -(-side // 4)))
    weights = np.maximum(0, 1 - np.abs(np.arange(side)[:, None] - nodes) / nodes[1])
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def _side(p):
    """Of the smallest cube of at least p voxels."""
    return next(side for side in count(2) if side**3 >= p)


def spectra(n, p, k, *, seed=0):
    """Mixtures of k spectra of p channels, non-negative: (X, source).

    A spectrum has five peaks, a mixture about k / 8 of the spectra. The noise, a twentieth of the spread of the mixtures,
    is cut off where it makes a number negative.
    """
    rng = np.random.default_rng(seed)
    position, width = rng.uniform(0, 1, (5 * k, 1)), rng.uniform(0.003, 0.03, (5 * k, 1))
    peaks = rng.gamma(2.0, size=(5 * k, 1)) * np.exp(-np.square((np.linspace(0, 1, p) - position) / width) / 2)
    H = peaks.reshape(5, k, p).sum(0).astype(np.float32)
    W = (rng.gamma(1.0, size=(n, k)) * (rng.random((n, k)) < 0.125)).astype(np.float32)
    noise = np.float32(0.05 * np.std(W[:1000] @ H))
    X = np.empty((n, p), np.float32)
    for i in range(0, n, 1000):
        rows = X[i : i + 1000]
        rng.standard_normal(out=rows, dtype=np.float32)
        rows *= noise
        rows += W[i : i + 1000] @ H
        np.maximum(rows, 0, out=rows)
    return X, f"recipe: mixtures of {k} spectra, {n}×{p}, seed {seed}"


def ratings(n_users, n_items, n_ratings, k=20, *, seed=0):
    """Marks from 1 to 5 that users gave to items: (known, held out, source), both sparse (n_users, n_items).

    The i-th item is rated in proportion to 1 / (i + 10), a user in proportion to a log-normal number; a mark is the sum of
    a user's and an item's habit, k factors and noise, rounded to halves. A tenth of the ratings is held out.
    """
    rng = np.random.default_rng(seed)
    popularity, activity = 1 / (np.arange(n_items) + 10.0), rng.lognormal(sigma=1.0, size=n_users)
    cells = np.empty(0, np.int64)
    while len(cells) < n_ratings:
        drawn = (rng.choice(len(w), n_ratings, p=w / w.sum()) for w in (activity, popularity))
        cells = np.union1d(cells, np.ravel_multi_index(tuple(drawn), (n_users, n_items)))
    cells = rng.permutation(cells)[:n_ratings]
    user, item = np.divmod(cells, n_items)
    U, V = (rng.standard_normal((m, k), dtype=np.float32) for m in (n_users, n_items))
    marks = 3.5 + 0.4 * rng.standard_normal(n_users)[user] + 0.4 * rng.standard_normal(n_items)[item]
    for factor in range(k):  # a column at a time: the gathered rows of 1e7 ratings are large
        marks += 0.5 / np.sqrt(k) * U[user, factor] * V[item, factor]
    marks = np.clip(np.round(2 * (marks + 0.6 * rng.standard_normal(n_ratings))) / 2, 1, 5).astype(np.float32)
    parts = slice(n_ratings // 10, None), slice(n_ratings // 10)
    known, heldout = (csr_array((marks[i], (user[i], item[i])), shape=(n_users, n_items)) for i in parts)
    return known, heldout, f"recipe: {n_ratings} ratings by {n_users} users of {n_items} items, seed {seed}"
