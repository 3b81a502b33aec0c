"""Strengths of a Lasso by the derivative of a validation loss: ``python -m benchmarks.hypergradient``.

One alpha for all features (500×2000, correlations 0.6^|i − j|, signal-to-noise ratio 3): a secant search on the derivative with
respect to log alpha, beside the best of a grid of 100 on the same held-out rows. One alpha for each of 1000 features: L-BFGS on their
logarithms, from the best one for all; what it gains on the held-out rows need not hold on others, which are shown too.
"""

from __future__ import annotations

import argparse
from time import perf_counter

import numpy as np
from scipy.optimize import minimize

from . import data, tables

__all__ = ["Validation", "one_for_each", "secant", "toeplitz"]

TOL = 1e-8


def toeplitz(n, p, *, rho=0.6, snr=3.0, n_informative=None, seed=0):
    """Rows of neighbouring columns that correlate by rho, a twentieth of them informative, in three equal parts: [(X, y)] * 3."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((3 * n, p))
    for j in range(1, p):
        X[:, j] = rho * X[:, j - 1] + np.sqrt(1 - rho**2) * X[:, j]
    w = np.zeros(p)
    w[rng.choice(p, n_informative or max(p // 20, 1), replace=False)] = 1
    y = X @ w
    y += rng.standard_normal(3 * n) * y.std() / snr
    return list(zip(np.split(X, 3), np.split(y, 3), strict=True))


class Validation:
    """Mean squared errors of a Lasso on held-out rows, as a function of log alpha, a scalar or one for each feature."""

    def __init__(self, train, heldout):
        import jax
        import jax.numpy as jnp

        from jaxlearn.models import glm
        from jaxlearn.objectives import L1
        from jaxlearn.solvers import SENTENCES

        self.sentences = SENTENCES
        X, y = train
        self.alpha_max = np.abs(X.T @ (y - y.mean())).max() / len(y)
        size = min(2 * len(y), X.shape[1])  # no more than n are not zero, and as many find room beside them

        def loss(log_alpha, coef, train, rows):
            model = glm.GLM(penalty=L1(jnp.exp(log_alpha)), tol=jnp.asarray(TOL), working_set=size)
            fitted = glm.fit(model, *train, init=coef)
            X, y = rows
            return jnp.mean(jnp.square(y - glm.linear_predictor(fitted, X))), fitted

        self._value = jax.jit(loss)
        self._both = jax.jit(jax.value_and_grad(loss, has_aux=True))
        self.train, self.heldout = jax.device_put((train, heldout))
        self.coef, self.n_solves = np.zeros(X.shape[1]), 0

    def _count(self, fitted):
        if fitted.status != 0:  # it would be judged, and differentiated, where it stopped
            raise RuntimeError(f"A fit ended with status {self.sentences[int(fitted.status)]!r}.")
        self.coef, self.n_solves = fitted.coef, self.n_solves + 1

    def value(self, log_alpha, rows=None):
        """On the held-out rows, or on others."""
        value, fitted = self._value(log_alpha, self.coef, self.train, self.heldout if rows is None else rows)
        self._count(fitted)
        return float(value)

    def both(self, log_alpha):
        """Value and derivative, from one solve."""
        (value, fitted), slope = self._both(log_alpha, self.coef, self.train, self.heldout)
        self._count(fitted)
        return float(value), np.asarray(slope)


def secant(both, start, most=12, first=1.0, tol=1e-4):
    """A minimum of a function of one variable by its derivative: steps until its sign changes, then false position.

    It ends when the value changes by no more than a share `tol`.

    Returns
    -------
    list of (point, value, derivative)
        In order; at most `most`.
    """
    seen = [(start, *both(start))]
    x, move = start, first
    while len(seen) < most and np.sign(seen[0][2]) == np.sign(seen[-1][2]):
        x -= np.sign(seen[0][2]) * move
        move *= 1.5
        seen.append((x, *both(x)))
    (a, _, da), (b, _, db) = (seen + seen)[len(seen) - 2 : len(seen)] if len(seen) > 1 else (seen[0], seen[0])
    while len(seen) < most and np.sign(da) != np.sign(db):
        x = np.clip(b - db * (b - a) / (db - da), *sorted((a + 0.1 * (b - a), b - 0.1 * (b - a))))
        value, slope = both(x)
        seen.append((float(x), value, slope))
        if abs(value - seen[-2][1]) <= tol * abs(value):
            break
        if np.sign(slope) == np.sign(db):
            b, db, da = x, slope, da / 2  # an end that stays counts half
        else:
            a, da, b, db = b, db, x, slope
    return seen


def one_for_all(n, p, n_grid=100):
    train, heldout, _ = toeplitz(n, p)
    judge = Validation(train, heldout)
    top = np.log(judge.alpha_max)
    judge.both(top - 2), judge.value(top)  # compile
    judge.coef, judge.n_solves = np.zeros(p), 0
    begin = perf_counter()
    seen = secant(judge.both, top - 2)
    took, solves = perf_counter() - begin, judge.n_solves
    grid = top + np.linspace(0, np.log(1e-2), n_grid)
    judge.coef = np.zeros(p)
    begin = perf_counter()
    values = [judge.value(x) for x in grid]
    grid_took, found = perf_counter() - begin, min(value for _, value, _ in seen)
    return {
        "size": f"{n}×{p}",
        "value": found,
        "least of the grid": min(values),
        "excess": found / min(values) - 1,
        "solves": solves,
        "seconds": took,
        "grid seconds": grid_took,
        "steps": [(float(x) - float(top), v, float(s)) for x, v, s in seen],
    }


def lasso_cv(n, p, n_grid=100):
    """The same choice by scikit-learn's path: (least held-out error, seconds)."""
    from sklearn.linear_model import lasso_path

    (X, y), (rows, target), _ = toeplitz(n, p)
    begin = perf_counter()
    _, coef, _ = lasso_path(X - X.mean(0), y - y.mean(), alphas=n_grid, eps=1e-2, tol=1e-6, max_iter=10_000)
    errors = np.square((target - y.mean())[:, None] - (rows - X.mean(0)) @ coef).mean(0)
    return float(errors.min()), perf_counter() - begin


def one_for_each(n, p, n_steps=30):
    train, heldout, others = toeplitz(n, p, seed=1)
    judge = Validation(train, heldout)
    best = min(secant(judge.both, np.log(judge.alpha_max) - 2), key=lambda point: point[1])
    start = np.full(p, best[0])
    before, on_others, coef = judge.value(start), judge.value(start, others), np.asarray(judge.coef)
    judge.both(start)  # compile
    judge.n_solves = 0
    begin = perf_counter()
    found = minimize(
        judge.both, start, jac=True, method="L-BFGS-B", options={"maxiter": n_steps, "maxfun": 2 * n_steps}
    )
    took, solves = perf_counter() - begin, judge.n_solves
    return {
        "size": f"{n}×{p}",
        "one for all": before,
        "one for each": judge.value(found.x),
        "others before": on_others,
        "others after": judge.value(found.x, others),
        "features before": int((coef != 0).sum()),
        "features after": int(np.count_nonzero(judge.coef)),
        "solves": solves,
        "seconds": took,
    }


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    tiny = data.size() == "tiny"
    parser.add_argument("--size", type=int, nargs=2, default=(60, 100) if tiny else (500, 2000), metavar=("N", "P"))
    parser.add_argument("--features", type=int, default=50 if tiny else 1000, help="with a strength of their own")
    given = parser.parse_args(arguments)
    import jax

    with jax.enable_x64(True):
        one = one_for_all(*given.size)
        each = one_for_each(given.size[0], given.features)
    peer, peer_took = lasso_cv(*given.size)
    about = (
        "`python -m benchmarks.hypergradient`: a Lasso, double precision, mean squared errors on held-out rows. The grid is 100 fits of ours, each "
        "from the one before, or scikit-learn's path. Strengths of their own are chosen on the held-out rows: errors on others are the "
        "honest ones. Seconds without compilation."
    )
    rows = [
        [
            one["size"],
            "one alpha by its derivative",
            f"{one['value']:.5g}",
            "",
            one["solves"],
            tables.seconds(one["seconds"]),
        ],
        [one["size"], "grid of 100", f"{one['least of the grid']:.5g}", "", 100, tables.seconds(one["grid seconds"])],
        [one["size"], "scikit-learn's path of 100", f"{peer:.5g}", "", 100, tables.seconds(peer_took)],
        [each["size"], "one alpha for all", f"{each['one for all']:.5g}", f"{each['others before']:.5g}", "", ""],
        [
            each["size"],
            "one alpha for each feature",
            f"{each['one for each']:.5g}",
            f"{each['others after']:.5g}",
            each["solves"],
            tables.seconds(each["seconds"]),
        ],
    ]
    columns = ["data", "who", "held-out error", "on others", "solves", "seconds"]
    measured = {"one": one, "each": each, "scikit-learn": [peer, peer_took]}
    tables.keep("hypergradient", "Strengths by the derivative of a validation loss", about, columns, rows, measured)
    return measured


if __name__ == "__main__":
    main()
