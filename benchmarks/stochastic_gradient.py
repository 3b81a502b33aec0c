"""Stochastic gradient descent on images, beside scikit-learn's: ``python -m benchmarks.stochastic_gradient``.

Log loss, ten classes, five epochs, default step sizes: each fit is judged in double precision by its objective on the rows that
it learnt from (the mean over the classes) and by its accuracy on others. Ours learns sample by sample, as scikit-learn does, or
in batches; sparse rows of word counts are learnt from sample by sample.
"""

from __future__ import annotations

import argparse
import warnings
from time import perf_counter

import numpy as np
import scipy.sparse

from . import tables
from .data import fashion

ALPHA = 1e-4


def objective(model, X, y) -> float:
    """Mean over the classes of the mean log loss of each against the rest, and the penalty."""
    coef, total = model.coef_.astype(float), 0.0
    for k, label in enumerate(model.classes_):
        f = X @ coef[k] + float(model.intercept_[k])
        total += np.mean(np.logaddexp(0, np.where(y == label, -f, f))) + ALPHA / 2 * coef[k] @ coef[k]
    return total / len(model.classes_)


def words(n=11_314, p=50_000, n_classes=20, seed=0):
    """Word counts of texts by a recipe: popular and rare words, topics, unit length."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n)
    popularity = 1 / np.arange(1, p + 1) ** 1.1
    length = np.minimum(rng.lognormal(4.3, 0.8, n).astype(int) + 5, 3000)
    topics = [rng.permutation(p)[:400] for _ in range(n_classes)]
    indices = []
    for label, m in zip(y, length, strict=True):
        common = rng.choice(p, size=m, p=popularity / popularity.sum())
        own = rng.choice(topics[label], size=m // 6)
        indices.append(np.unique(np.concatenate([common, own])))
    starts = np.append(0, np.cumsum([len(i) for i in indices]))
    values = np.concatenate([np.full(len(i), 1 / np.sqrt(len(i))) for i in indices])
    return scipy.sparse.csr_matrix((values, np.concatenate(indices), starts), shape=(n, p)), y


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

    X, Y, source = fashion()
    y = Y.argmax(1)
    split = len(X) * 9 // 10
    options = {"loss": "log_loss", "alpha": ALPHA, "max_iter": 5, "tol": None, "random_state": 0}
    measured = []
    for dtype in ("float32", "float64"):
        Z, test = X[:split].astype(dtype), (X[split:].astype(dtype), y[split:])
        ways = {"scikit-learn": lambda: sklearn.linear_model.SGDClassifier(n_jobs=2, **options)}
        ways["jaxlearn"] = lambda: SGDClassifier(**options)
        for size in (32, 128, 512):
            ways[f"jaxlearn, batches of {size}"] = lambda size=size: SGDClassifier(batch_size=size, **options)
        for name, make in ways.items():
            measured.append([source, *measure(name, make, Z, y[:split], test, given.repeats if "jax" in name else 1)])
            print(measured[-1], flush=True)
    X, y = words()
    split = len(y) * 9 // 10
    for dtype in ("float32", "float64"):
        Z, test = X[:split].astype(dtype), (X[split:].astype(dtype), y[split:])
        for name, kind, extra in (
            ("scikit-learn", sklearn.linear_model.SGDClassifier, {"n_jobs": 2}),
            ("jaxlearn", SGDClassifier, {}),
        ):
            way = measure(
                name, lambda kind=kind, extra=extra: kind(**options, **extra), Z, y[:split], test, given.repeats
            )
            measured.append([f"recipe: word counts {X.shape[0]}×{X.shape[1]}", *way])
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
