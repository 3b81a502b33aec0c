"""A multi-layer perceptron on images, beside scikit-learn's: ``python -m benchmarks.networks``.

784-256-10, batches of 200, Adam with default settings, single precision: seconds of an epoch, which is what more epochs take
longer, and the accuracy on images that were not learnt from. The products alone, without anything between them, say what is
possible.
"""

from __future__ import annotations

import argparse
import warnings
from time import perf_counter

import numpy as np

from . import tables
from .data import fashion

HIDDEN, BATCH = 256, 200


def timed(make, X, y, epochs):
    """Seconds of a fit, and the model."""
    model = make(epochs)
    begin = perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    return perf_counter() - begin, model


def products(X, k) -> float:
    """Seconds of the five products of an epoch, by NumPy."""
    rng = np.random.default_rng(0)
    W, V = rng.standard_normal((X.shape[1], HIDDEN)).astype(X.dtype), rng.standard_normal((HIDDEN, k)).astype(X.dtype)
    begin = perf_counter()
    for start in range(0, len(X) - BATCH + 1, BATCH):
        batch = X[start : start + BATCH]
        hidden = batch @ W
        out = hidden @ V
        hidden.T @ out  # noqa: B018
        batch.T @ (out @ V.T)  # noqa: B018
    return perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    import sklearn.neural_network as theirs

    import jaxlearn.neural_network as ours

    X, Y, source = fashion(given.images)
    X, y = X.astype(np.float32), Y.argmax(1)
    split = len(X) * 9 // 10
    kinds = {"scikit-learn": theirs, "jaxlearn": ours}
    found: dict = {name: [] for name in kinds}
    for seed in range(given.repeats):
        for name, module in kinds.items():
            make = lambda epochs, m=module, s=seed: m.MLPClassifier(  # noqa: E731
                (HIDDEN,), batch_size=BATCH, max_iter=epochs, tol=0, n_iter_no_change=epochs, random_state=s
            )
            first, _ = timed(make, X[:split], y[:split], 1)
            short, _ = timed(make, X[:split], y[:split], 1)
            long, model = timed(make, X[:split], y[:split], given.epochs)
            epoch = (long - short) / (given.epochs - 1)
            found[name].append(
                [first, epoch, float(np.mean(model.predict(X[split:]) == y[split:])), float(model.loss_)]
            )
            print(name, *found[name][-1], flush=True)
    least = min(products(X[:split], Y.shape[1]) for _ in range(3))
    theirs_epoch = float(np.median([run[1] for run in found["scikit-learn"]]))
    rows = []
    for name, runs in found.items():
        first, epoch, accuracy, loss = np.median(runs, axis=0)
        cells = tables.seconds(runs[0][0]), tables.seconds(epoch), f"{accuracy:.4f}", f"{loss:.4f}"
        rows.append([name, *cells, tables.ratio(theirs_epoch, epoch)])
    rows.append(["products alone (NumPy)", "", tables.seconds(least), "", "", tables.ratio(theirs_epoch, least)])
    about = (
        f"`python -m benchmarks.networks`: {source}, nine tenths learnt from; {X.shape[1]}-{HIDDEN}-{Y.shape[1]}, batches of {BATCH}, "
        f"Adam, float32; medians of {given.repeats} seeds. *first* is a fit of one epoch, compilation included. Accuracy and loss after "
        f"{given.epochs} epochs."
    )
    columns = ["who", "first", "an epoch", "accuracy", "loss", "faster"]
    tables.keep("networks", "A multi-layer perceptron", about, columns, rows, [vars(given), found, least])


if __name__ == "__main__":
    main()
