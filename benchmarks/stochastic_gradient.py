"""Stochastic gradient descent on images and texts, beside scikit-learn's: ``python -m benchmarks.stochastic_gradient``.

Log loss, ten classes, five epochs, default step sizes: each fit is judged in double precision by its objective on the rows that
it learnt from (the mean over the classes) and by its accuracy on others. Ours learns sample by sample, as scikit-learn does, or
in batches.
"""

from __future__ import annotations

import argparse
import warnings
from time import perf_counter

import numpy as np
from sklearn.preprocessing import normalize

from . import tables
from .data import fashion, texts

ALPHA = 1e-4


def objective(model, X, y) -> float:
    """Mean over the classes of the mean log loss of each against the rest, and the penalty."""
    coef, total = model.coef_.astype(float), 0.0
    for k, label in enumerate(model.classes_):
        f = X @ coef[k] + float(model.intercept_[k])
        total += np.mean(np.logaddexp(0, np.where(y == label, -f, f))) + ALPHA / 2 * coef[k] @ coef[k]
    return total / len(model.classes_)


def measure(name, make, X, y, test, repeats):
    times = []
    for _ in range(repeats):
        model = make()
        begin = perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, y)
        times.append(perf_counter() - begin)
    score = float(np.mean(model.predict(test[0]) == test[1]))
    wide = X.astype(float)
    return [name, str(X.dtype), times[0], min(times[1:] or times), objective(model, wide, y), score]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    import sklearn.linear_model

    from jaxlearn.linear_model import SGDClassifier

    options = {"loss": "log_loss", "alpha": ALPHA, "max_iter": 5, "tol": None, "random_state": 0}
    ways = {"scikit-learn": lambda: sklearn.linear_model.SGDClassifier(n_jobs=2, **options)}
    ways["jaxlearn"] = lambda: SGDClassifier(**options)
    ways["jaxlearn, batches of 32, one epoch"] = lambda: SGDClassifier(**{**options, "max_iter": 1}, batch_size=32)
    for size in (32, 128, 512):
        ways[f"jaxlearn, batches of {size}"] = lambda size=size: SGDClassifier(batch_size=size, **options)
    images, Y, source = fashion()
    counts, subjects, texts_source = texts()
    counts.data = np.log1p(counts.data)
    measured = []
    for X, y, name in (
        (images, Y.argmax(1), source),
        (normalize(counts), subjects, f"{texts_source}, log counts, unit rows"),
    ):
        split = X.shape[0] * 9 // 10
        order = np.random.default_rng(0).permutation(X.shape[0])
        train, test = order[:split], order[split:]
        for dtype in ("float32", "float64"):
            Z = X.astype(dtype)
            for who, make in ways.items():
                way = measure(who, make, Z[train], y[train], (Z[test], y[test]), given.repeats)
                measured.append([name, *way])
                print(measured[-1], flush=True)
    rows = []
    for source, name, dtype, first, warm, value, score in measured:
        peer = next(m for m in measured if m[0] == source and m[2] == dtype and m[1] == "scikit-learn")
        cells = f"{value:.4f}", f"{score:.4f}", tables.seconds(first), tables.seconds(warm)
        rows.append([source, name, dtype, *cells, tables.ratio(peer[4], warm)])
    about = (
        "`python -m benchmarks.stochastic_gradient`: log loss, alpha=1e-4, five epochs. Objectives on the rows that were learnt from, in double "
        "precision; accuracy on a tenth that was not. scikit-learn with n_jobs=2; *first* compiles."
    )
    columns = ["data", "who", "dtype", "objective", "accuracy", "first", "warm", "faster"]
    tables.keep("stochastic_gradient", "Stochastic gradient descent", about, columns, rows, measured)


if __name__ == "__main__":
    main()
