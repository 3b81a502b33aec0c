"""Logistic regression of many samples, beside scikit-learn's solvers: ``python -m benchmarks.many_samples``.

Three recipes: few features (1,000,000 × 28, as in searches for particles), an ill-conditioned spectrum (100,000 × 500, eigenvalues
j^-1.5) and random Fourier features (200,000 × 1000). Each solver is run with default settings and tolerances from loose to tight;
the table has the first run that comes within 1e-4 and 1e-8 of the least objective that any reached, in units of the objective at
zero, judged in double precision.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial
from time import perf_counter

import numpy as np
from scipy.special import expit

from . import tables

TOLERANCES = {"float64": (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8), "float32": (1e-3, 1e-4, 1e-5, 1e-6)}


def particles(rng, n=1_000_000, p=28):
    X = rng.standard_normal((n, p)) * rng.lognormal(0, 0.5, p)
    return X, rng.random(n) < expit(X @ rng.standard_normal(p) / 2), 1e-6


def ill_conditioned(rng, n=100_000, p=500):
    spectrum = np.arange(1, p + 1) ** -1.5
    X = rng.standard_normal((n, p)) * np.sqrt(spectrum) @ np.linalg.qr(rng.standard_normal((p, p)))[0]
    return X, rng.random(n) < expit(3 * X @ rng.standard_normal(p)), 0.01 / n


def fourier(rng, n=200_000, p=1000):
    Z = rng.standard_normal((n, 28))
    X = np.cos(Z @ rng.standard_normal((28, p)) / np.sqrt(28) + rng.random(p) * 2 * np.pi)
    return np.sqrt(2 / p) * X, rng.random(n) < expit(4 * np.sin(3 * Z[:, 0]) + Z[:, 1] * Z[:, 2]), 0.01 / n


RECIPES = {"particles": particles, "ill_conditioned": ill_conditioned, "fourier": fourier}


def objective(model, X, y, alpha) -> float:
    """Mean log loss and ``alpha / 2 ‖w‖²``, in double precision, some rows at a time."""
    coef, total = model.coef_[0].astype(float), 0.0
    for first in range(0, len(y), 50_000):
        f = X[first : first + 50_000].astype(float) @ coef + float(model.intercept_[0])
        total += np.logaddexp(0, np.where(y[first : first + 50_000], -f, f)).sum()
    return total / len(y) + alpha / 2 * coef @ coef


def within(curve, least, share) -> float:
    """Seconds of the first run that close to the least objective."""
    return next((point[1] for point in curve if point[2] - least <= share * np.log(2)), np.inf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--dtypes", nargs="+", choices=TOLERANCES, default=list(TOLERANCES))
    parser.add_argument("--solvers", nargs="+", default=["lbfgs", "newton-cholesky", "saga"])
    parser.add_argument(
        "--budget", type=float, default=60, help="seconds after which a solver is given no tighter tolerance"
    )
    given = parser.parse_args()
    import sklearn.linear_model

    from jaxlearn.linear_model import LogisticRegression

    rows, measured = [], []
    for recipe in given.recipes:
        wide, y, alpha = RECIPES[recipe](np.random.default_rng(0))
        for dtype in given.dtypes:
            X = wide.astype(dtype)
            options = {"C": 1 / (alpha * len(y)), "max_iter": 1000}
            ways = {
                f"jaxlearn {solver}": partial(LogisticRegression, solver=solver, **options)
                for solver in ("lbfgs", "newton-cholesky")
            }
            ways |= {
                f"scikit-learn {solver}": partial(sklearn.linear_model.LogisticRegression, solver=solver, **options)
                for solver in given.solvers
            }
            curves = {}
            for name, make in ways.items():
                curves[name], first = [], None
                for tol in TOLERANCES[dtype]:
                    for _ in range(2 if first is None and name.startswith("jaxlearn") else 1):
                        model, begin = make(tol=tol), perf_counter()
                        with warnings.catch_warnings():
                            warnings.simplefilter("ignore")
                            model.fit(X, y)
                        took = perf_counter() - begin
                        first = took if first is None else first
                    value = objective(model, X, y, alpha)
                    curves[name].append([tol, took, value, first, int(np.max(model.n_iter_))])
                    print(recipe, dtype, name, *curves[name][-1], flush=True)
                    if took > given.budget:
                        break
            least = min(point[2] for curve in curves.values() for point in curve)
            measured.append({"recipe": recipe, "dtype": dtype, "curves": curves})
            for name, curve in curves.items():
                cells = [
                    tables.seconds(t) for t in (curve[0][3], within(curve, least, 1e-4), within(curve, least, 1e-8))
                ]
                rows.append([f"{recipe} {X.shape[0]}×{X.shape[1]}", dtype, name, *cells])
    about = (
        "`python -m benchmarks.many_samples`: l2-penalised logistic regression, default settings, one run for each tolerance. Seconds of the "
        "first of them within 1e-4 and 1e-8 of the least objective, in units of that at zero. *first* compiles. One "
        f"solver is given no tighter tolerance after {given.budget:.0f} s."
    )
    columns = ["data", "dtype", "who", "first", "to 1e-4", "to 1e-8"]
    tables.keep("many_samples", "Logistic regression of many samples", about, columns, rows, measured)


if __name__ == "__main__":
    main()
