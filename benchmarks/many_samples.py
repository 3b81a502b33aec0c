"""Generalized linear models of many samples, beside scikit-learn's solvers: ``python -m benchmarks.many_samples``.

Logistic regression on few features (1,000,000 × 28, as in searches for particles), an ill-conditioned spectrum (100,000 × 500,
eigenvalues j^-1.5), random Fourier features (200,000 × 1000) and independent columns (100,000 × 400); Poisson regression on rare levels of categories (540,000 × 75, as of
insurance claims). Each solver is run with default settings and tolerances from loose to tight, saga with more and more epochs; the table
has the first run that comes within 1e-4 and 1e-8 of the least objective that any reached, in units of the objective at zero (logistic)
or of what a model without features leaves (Poisson), judged in double precision.
"""

from __future__ import annotations

import argparse
import warnings
from functools import cache, partial
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


def claims(rng, n=540_000, levels=(4, 10, 22, 30)):
    """Levels of categories, from frequent to rare, and nine numbers; counts whose mean is a tenth."""
    codes = [rng.choice(m, n, p=(w := np.arange(1, m + 1) ** -1.5) / w.sum()) for m in levels]
    X = np.column_stack([*(np.eye(m)[c] for m, c in zip(levels, codes, strict=True)), rng.standard_normal((n, 9))])
    f = X @ (0.4 * rng.standard_normal(X.shape[1]))
    return X, rng.poisson(0.1 * np.exp(f - f.mean())), 1e-4


def well_conditioned(rng, n=100_000, p=400):
    """Independent columns: a guard, as here no method of second order has anything to gain."""
    X = rng.standard_normal((n, p))
    return X, rng.random(n) < expit(2 * X @ rng.standard_normal(p) / np.sqrt(p)), 1 / n


RECIPES = {"particles": particles, "ill_conditioned": ill_conditioned, "fourier": fourier, "claims": claims}
RECIPES["well_conditioned"] = well_conditioned
EPOCHS = 3, 10, 30, 100, 300, 1000


def objective(recipe, model, X, y, alpha) -> float:
    """Mean loss and ``alpha / 2 ‖w‖²``, in double precision, some rows at a time."""
    coef, total = np.ravel(model.coef_).astype(float), 0.0
    for first in range(0, len(y), 50_000):
        f = X[first : first + 50_000].astype(float) @ coef + float(np.ravel(model.intercept_)[0])
        target = y[first : first + 50_000]
        loss = np.exp(f) - target * f if recipe == "claims" else np.logaddexp(0, np.where(target, -f, f))
        total += loss.sum()
    return total / len(y) + alpha / 2 * coef @ coef


def within(curve, least, share) -> float:
    """Seconds of the first run that close to the least objective."""
    return next((point[1] for point in curve if point[2] - least <= share), np.inf)


class Poisson:
    """Poisson regression by the functional core, behind the attributes of an estimator."""

    def __init__(self, solver, alpha, tol):
        self.solver, self.alpha, self.tol = solver, alpha, tol

    def fit(self, X, y):
        import jax

        from jaxlearn.models import glm
        from jaxlearn.objectives import L2, Poisson

        with jax.enable_x64(X.dtype == np.float64):
            numbers = (np.asarray(v, X.dtype) for v in (self.alpha, self.tol))
            alpha, tol = numbers
            model = glm.GLM(loss=Poisson(), penalty=L2(alpha), tol=tol, max_steps=np.int32(1000), solver=self.solver)
            found = jax.device_get(_fit()(model, X, y.astype(X.dtype)))
        self.coef_, self.intercept_, self.n_iter_ = found.coef, found.intercept, found.n_steps


@cache
def _fit():
    import jax

    from jaxlearn.access import in_blocks
    from jaxlearn.models import glm

    return jax.jit(lambda model, X, y: glm.fit(model, in_blocks(X), y))


def ways(recipe, alpha, n, peers):
    """Names, and what makes a model of a tolerance or of a number of epochs."""
    import sklearn.linear_model as theirs

    from jaxlearn.linear_model import LogisticRegression

    if recipe == "claims":
        mine = {f"jaxlearn {solver}": partial(Poisson, solver, alpha) for solver in ("lbfgs", "newton")}
        others = {
            f"scikit-learn {solver}": lambda tol, s=solver: theirs.PoissonRegressor(
                alpha=alpha, max_iter=1000, solver=s, tol=tol
            )
            for solver in peers
            if solver != "saga"
        }
        return mine | others
    options = {"C": 1 / (alpha * n), "max_iter": 1000}
    solvers = "auto", "lbfgs", "newton-cholesky", "sketchy-svrg", "sketchy-katyusha"
    mine = {
        f"jaxlearn {solver}": lambda tol, s=solver: LogisticRegression(solver=s, tol=tol, random_state=0, **options)
        for solver in solvers
    }
    others = {
        f"scikit-learn {solver}": lambda tol, s=solver: theirs.LogisticRegression(solver=s, tol=tol, **options)
        for solver in peers
    }
    if "saga" in peers:
        others["scikit-learn saga"] = lambda epochs: theirs.LogisticRegression(
            solver="saga", tol=0, C=options["C"], max_iter=epochs, random_state=0
        )
    return mine | others


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--dtypes", nargs="+", choices=TOLERANCES, default=list(TOLERANCES))
    parser.add_argument("--solvers", nargs="+", default=["lbfgs", "newton-cholesky", "saga"])
    parser.add_argument(
        "--budget", type=float, default=10, help="seconds after which a solver is given no tighter tolerance"
    )
    given = parser.parse_args()
    rows, measured = [], []
    for recipe in given.recipes:
        wide, y, alpha = RECIPES[recipe](np.random.default_rng(0))
        unit = float(y.mean()) if recipe == "claims" else np.log(2)
        for dtype in given.dtypes:
            X = wide.astype(dtype)
            curves = {}
            for name, make in ways(recipe, alpha, len(y), given.solvers).items():
                curves[name], first = [], None
                for tol in EPOCHS if name.endswith("saga") else TOLERANCES[dtype]:
                    for _ in range(2 if first is None and name.startswith("jaxlearn") else 1):
                        model, begin = make(tol), perf_counter()
                        with warnings.catch_warnings():
                            warnings.simplefilter("ignore")
                            model.fit(X, y)
                        took = perf_counter() - begin
                        first = took if first is None else first
                    value = objective(recipe, model, X, y, alpha)
                    ran = getattr(model, "solver_", "")
                    curves[name].append([tol, took, value, first, int(np.max(model.n_iter_)), ran])
                    print(recipe, dtype, name, *curves[name][-1], flush=True)
                    if took > given.budget:
                        break
            least = min(point[2] for curve in curves.values() for point in curve)
            measured.append({"recipe": recipe, "dtype": dtype, "curves": curves})
            for name, curve in curves.items():
                cells = [
                    tables.seconds(t)
                    for t in (curve[0][3], within(curve, least, 1e-4 * unit), within(curve, least, 1e-8 * unit))
                ]
                rows.append([f"{recipe} {X.shape[0]}×{X.shape[1]}", dtype, name, *cells])
    about = (
        "`python -m benchmarks.many_samples`: l2 penalties, default settings, one run for each tolerance. Seconds of the "
        "first of them within 1e-4 and 1e-8 of the least objective, in units of that at zero. *first* compiles. One "
        f"solver is given no tighter tolerance after {given.budget:.0f} s."
    )
    columns = ["data", "dtype", "who", "first", "to 1e-4", "to 1e-8"]
    tables.keep("many_samples", "Generalized linear models of many samples", about, columns, rows, measured)


if __name__ == "__main__":
    main()
