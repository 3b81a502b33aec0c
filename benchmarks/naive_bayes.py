"""Naive Bayes on measurements, images and texts, beside scikit-learn's: ``python -m benchmarks.naive_bayes``.

Fits and predictions, then smoothing by five folds and twenty values, where scikit-learn fits each anew. An answer is judged in
double precision: by its largest error of a log-probability against sums by NumPy, in units of the magnitude of such a
logarithm, and by the share of the rows whose class is that of these sums.
"""

from __future__ import annotations

import argparse
import warnings
from time import perf_counter

import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import KBinsDiscretizer

from . import data, tables

FOLDS, VALUES = 5, 20
# Rows that answers are judged on.
JUDGED = 2000


def truth(name, X, y):
    """Joint log-probabilities of some rows of X, written down anew in double precision."""
    rows = X[:: max(1, X.shape[0] // JUDGED)].astype(float)
    classes, out = np.unique(y), []
    prior = [np.log(np.mean(y == c)) for c in classes]
    wide = X.astype(float)
    if name == "GaussianNB":
        epsilon = 1e-9 * wide.var(0).max()
        for c, p in zip(classes, prior, strict=True):
            mean, var = wide[y == c].mean(0), wide[y == c].var(0) + epsilon
            out.append(p - 0.5 * (np.log(2 * np.pi * var) + (rows - mean) ** 2 / var).sum(1))
    elif name == "CategoricalNB":
        sizes = wide.max(0).astype(int) + 1
        for c, p in zip(classes, prior, strict=True):
            counts = [np.bincount(wide[y == c, j].astype(int), minlength=k) + 1 for j, k in enumerate(sizes)]
            out.append(p + sum(np.log(n / n.sum())[rows[:, j].astype(int)] for j, n in enumerate(counts)))
    else:
        if name == "BernoulliNB":
            wide, rows = (wide > 0).astype(float), (rows > 0).astype(float)
        sums = np.stack([np.asarray(wide[y == c].sum(0)).ravel() for c in classes])
        for k, p in enumerate(prior):
            if name == "BernoulliNB":
                there = (sums[k] + 1) / (np.sum(y == classes[k]) + 2)
                out.append(p + rows @ np.log(there / (1 - there)) + np.log(1 - there).sum())
            else:
                n = sums[k] + 1 if name == "MultinomialNB" else sums.sum(0) - sums[k] + 1
                out.append(rows @ np.log(n / n.sum()) + p if name == "MultinomialNB" else -(rows @ np.log(n / n.sum())))
    return rows, np.stack(out, axis=1)


def workloads():
    tiny = data.size() == "tiny"
    forest, kinds, source = data.covertype()
    yield "GaussianNB", forest, kinds, source
    rng = np.random.default_rng(0)
    n = 5000 if tiny else 1_000_000
    labels = rng.integers(2, size=n)
    yield "GaussianNB", rng.standard_normal((n, 28)) + labels[:, None], labels, f"recipe: normal, {n}×28, seed 0"
    images, Y, source = data.fashion(60_000)
    labels = Y.argmax(1)
    for name in ("GaussianNB", "MultinomialNB", "BernoulliNB"):
        yield name, images, labels, source
    bins = KBinsDiscretizer(16, encode="ordinal", strategy="quantile", subsample=None, quantile_method="linear")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield "CategoricalNB", bins.fit_transform(forest), kinds, "the same forest, up to 16 bins"
    counts, subjects, source = data.texts()
    for name in ("MultinomialNB", "ComplementNB", "BernoulliNB"):
        yield name, counts, subjects, source


def timed(call, repeats):
    times = []
    for _ in range(repeats):
        begin = perf_counter()
        result = call()
        times.append(perf_counter() - begin)
    return result, times[0], float(np.median(times[1:] or times))


def fits(repeats):
    import sklearn.naive_bayes

    import jaxlearn.naive_bayes

    measured = []
    for name, X, y, source in workloads():
        rows, joint = truth(name, X, y)
        scale = np.abs(joint).max()
        for dtype in ("float32", "float64"):
            Z, some = X.astype(dtype), rows.astype(dtype)
            for who, module in (("scikit-learn", sklearn.naive_bayes), ("jaxlearn", jaxlearn.naive_bayes)):
                make = getattr(module, name)
                model, first, warm = timed(lambda: make().fit(Z, y), repeats)  # noqa: B023
                _, first_predict, warm_predict = timed(lambda: model.predict(Z), repeats)  # noqa: B023
                found = np.asarray(model.predict_joint_log_proba(some), float)
                error, agree = np.abs(found - joint).max() / scale, np.mean(found.argmax(1) == joint.argmax(1))
                times = first, warm, first_predict, warm_predict
                measured.append([name, source, dtype, who, float(error), float(agree), *times])
                print(measured[-1], flush=True)
    return measured


def grids(repeats):
    import sklearn.naive_bayes

    import jaxlearn.naive_bayes

    cv = StratifiedKFold(FOLDS)
    forest, kinds, source = data.covertype()
    counts, subjects, texts_source = data.texts()
    measured = []
    for name, parameter, values, X, y, where in (
        ("GaussianNB", "var_smoothing", np.geomspace(1e-9, 1, VALUES), forest, kinds, source),
        ("MultinomialNB", "alpha", np.geomspace(1e-3, 3, VALUES), counts, subjects, texts_source),
        ("ComplementNB", "alpha", np.geomspace(1e-3, 3, VALUES), counts, subjects, texts_source),
    ):
        ours = getattr(jaxlearn.naive_bayes, name)()
        for dtype in ("float32", "float64"):
            Z, each = X.astype(dtype), {}
            for jobs in (1, 2):
                search = GridSearchCV(
                    getattr(sklearn.naive_bayes, name)(), {parameter: values}, cv=cv, refit=False, n_jobs=jobs
                )
                each[f"scikit-learn, n_jobs={jobs}"] = timed(lambda: search.fit(Z, y), 1)  # noqa: B023
            found = search.cv_results_
            expected = np.stack([found[f"split{k}_test_score"] for k in range(FOLDS)], axis=1)
            each["jaxlearn"] = timed(lambda: ours.cross_validate(Z, y, values, cv=cv), repeats)  # noqa: B023
            off = float(np.abs(each["jaxlearn"][0].accuracy - expected).max())
            for who, (_, first, warm) in each.items():
                measured.append([name, where, dtype, who, off, first, warm])
                print(measured[-1], flush=True)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    measured, rows = fits(given.repeats), []
    for name, source, dtype, who, error, agree, first, warm, first_predict, warm_predict in measured:
        peer = next(m for m in measured if m[:4] == [name, source, dtype, "scikit-learn"])
        times = [tables.seconds(t) for t in (first, warm, first_predict, warm_predict)]
        faster = tables.ratio(peer[7], warm), tables.ratio(peer[9], warm_predict)
        rows.append([name, source, dtype, who, f"{error:.0e}", f"{agree:.2%}", *times, *faster])
    about = (
        "`python -m benchmarks.naive_bayes`: defaults. *Error* is the largest of a joint log-probability against sums written down anew in double "
        "precision, in units of the largest of them; *alike* is the share of rows with the same class. *First* compiles; medians."
    )
    columns = ["model", "data", "dtype", "who", "error", "alike", "first fit", "fit", "first predict", "predict"]
    tables.keep("naive_bayes", "Naive Bayes", about, [*columns, "fit faster", "predict faster"], rows, measured)
    measured, rows = grids(given.repeats), []
    for name, source, dtype, who, off, first, warm in measured:
        peers = [m[6] for m in measured if m[:3] == [name, source, dtype] and m[3] != "jaxlearn"]
        rows.append(
            [
                name,
                source,
                dtype,
                who,
                f"{off:.0e}",
                tables.seconds(first),
                tables.seconds(warm),
                tables.ratio(min(peers), warm),
            ]
        )
    about = (
        f"`python -m benchmarks.naive_bayes`: accuracies of {FOLDS} folds for {VALUES} values of the smoothing. scikit-learn's GridSearchCV fits each "
        "anew; *apart* is the largest difference of an accuracy; ratios are to the faster of its rows. *First* compiles."
    )
    columns = ["model", "data", "dtype", "who", "apart", "first", "warm", "faster"]
    tables.keep("naive_bayes_smoothing", "Naive Bayes, smoothing by cross-validation", about, columns, rows, measured)


if __name__ == "__main__":
    main()
