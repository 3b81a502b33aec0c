"""What one pass over the rows is worth: ``python -m benchmarks.one_pass``.

Logistic regression on a recipe whose probabilities are known, so that the excess risk of coefficients is the mean divergence
of their probabilities from the true ones, on rows that nobody learnt from: no label is drawn, and none adds noise. The
minimum over n rows has an excess of p / (2 n). `OnlineNewtonClassifier` reads the rows once, in batches; scikit-learn's
`SGDClassifier` with averaging passes over them until its excess is as small, by the best of five step sizes.
"""

from __future__ import annotations

import argparse
from time import perf_counter

import numpy as np

from . import tables

STEPS = 1e-3, 1e-2, 1e-1, 1.0, "optimal"


def problem(n: int, p: int, seed: int, dtype: str):
    """Rows with correlated columns, labels, and the coefficients that they were drawn with."""
    rng = np.random.default_rng(seed)
    mix = np.eye(p) + 0.3 * rng.standard_normal((p, p)) / np.sqrt(p)
    scale = np.geomspace(1, 0.2, p)
    truth = rng.standard_normal(p)
    truth /= np.linalg.norm(scale * truth) / 1.5

    def rows(n):
        X = (rng.standard_normal((n, p)) @ mix * scale).astype(dtype)
        f = X.astype(float) @ truth - 0.5
        return X, f

    X, f = rows(n)
    y = (rng.random(n) < 1 / (1 + np.exp(-f))).astype(int)
    return X, y, rows(200_000)


def excess(coef, intercept, held_out) -> float:
    """Mean of ``KL(true ‖ model)`` of the label of a row."""
    X, f = held_out
    g = X.astype(float) @ np.ravel(coef).astype(float) + float(np.ravel(intercept)[0])
    true = 1 / (1 + np.exp(-f))
    return float(np.mean(np.logaddexp(0, g) - true * g - (np.logaddexp(0, f) - true * f)))


def averaged_sgd(X, y, held_out, goal: float, passes: int):
    """(passes, seconds, excess) of the step size that is first at `goal`, or else ends nearest."""
    from sklearn.linear_model import SGDClassifier

    best = (np.inf, np.inf, np.inf)
    for step in STEPS:
        schedule = {"learning_rate": "optimal"} if step == "optimal" else {"learning_rate": "constant", "eta0": step}
        model = SGDClassifier(
            loss="log_loss", alpha=1e-9 if step != "optimal" else 1e-5, average=True, random_state=0, **schedule
        )
        seconds = 0.0
        for i in range(1, passes + 1):
            begin = perf_counter()
            model.partial_fit(X, y, classes=[0, 1])
            seconds += perf_counter() - begin
            found = excess(model.coef_, model.intercept_, held_out)
            if found <= goal:
                best = min(best, (i, seconds, found))
                break
        else:
            best = min(best, (np.inf, seconds, found), key=lambda entry: (entry[0], entry[2]))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--p", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=5)
    given = parser.parse_args()
    from jaxlearn.linear_model import LogisticRegression, OnlineNewtonClassifier

    rows, measured = [], []
    for seed in range(given.seeds):
        for dtype in ("float32", "float64"):
            X, y, held_out = problem(given.n, given.p, seed, dtype)
            unit = (given.p + 1) / (2 * given.n)
            times = []
            for _ in range(2):
                begin = perf_counter()
                model = OnlineNewtonClassifier(alpha=0.0, random_state=0).fit(X, y)
                times.append(perf_counter() - begin)
            mine = excess(model.coef_, model.intercept_, held_out)
            begin = perf_counter()
            batch = LogisticRegression(C=np.inf, tol=1e-6, solver="newton-cholesky").fit(X, y)
            theirs = averaged_sgd(X, y, held_out, mine, given.passes)
            whole = excess(batch.coef_, batch.intercept_, held_out)
            passes = "more" if theirs[0] == np.inf else str(theirs[0])
            cells = f"{mine / unit:.2f}", tables.seconds(times[1]), tables.seconds(times[0]), f"{whole / unit:.2f}"
            rows.append([seed, dtype, *cells, passes, f"{theirs[2] / unit:.2f}", tables.seconds(theirs[1])])
            measured.append([seed, dtype, mine, times, whole, theirs])
            print(*rows[-1], flush=True)
    about = (
        f"`python -m benchmarks.one_pass`: logistic regression on {given.n:,} rows of {given.p} features; excess risks in units of "
        f"p / (2 n), where the minimum over all rows is about one (*all rows*: `LogisticRegression`). `SGDClassifier` of scikit-learn "
        f"with averaging, at most {given.passes} passes, the best of five step sizes: passes and seconds to our excess, or the excess it ends with."
    )
    columns = [
        "seed",
        "dtype",
        "one pass",
        "seconds",
        "first fit",
        "all rows",
        "SGD passes",
        "its excess",
        "its seconds",
    ]
    tables.keep("one_pass", "Logistic regression in one pass", about, columns, rows, [vars(given), measured])


if __name__ == "__main__":
    main()
