"""Many fits at once: ``python -m benchmarks.lanes``.

*Grids*: logistic regression at 20 strengths on 5 folds, beside scikit-learn's grid search and LogisticRegressionCV, all without a
last fit; judged by the log losses of the test folds, against those of the minima. *Problems*: 10,000 ridge and logistic regressions of
their own data, 1000 × 20, in one call, in lanes or one by one on a device for each core, beside a loop over scikit-learn's estimators on
200 of them, whose time is multiplied by 50; judged by the largest entry of a gradient. Single precision halves what the data takes.
"""

from __future__ import annotations

import argparse
import os
from functools import cached_property, partial
from time import perf_counter

import numpy as np
from scipy.special import expit
from sklearn.model_selection import StratifiedKFold

from . import data, tables
from .evaluate_logistic import TruncatedNewton
from .reach import command
from .workloads import ITERATIONS, Answer, Problem, Row, Workload

__all__ = ["WORKLOADS", "Grid", "gradients", "problems"]

N_STRENGTHS, N_FOLDS = 20, 5


# Grids -------------------------------------------------------------------------------------------------------------


class Grid(Problem):
    """Labels y, and `alphas` that are C, decreasing in strength; an answer is the log losses, (n_folds, n_strengths)."""

    null = float(np.log(2))

    @cached_property
    def folds(self):
        return list(StratifiedKFold(N_FOLDS, shuffle=True, random_state=0).split(self.X, self.y))

    @cached_property
    def losses(self):
        """At the minima."""
        found = np.empty((len(self.folds), len(self.alphas)))
        for i, (train, test) in enumerate(self.folds):
            judge = TruncatedNewton(self.X[train], self.y[train], 1.0)
            for j, C in enumerate(self.alphas):
                B = judge.at(1 / (C * len(train))).best[0]
                f = self.X[test] @ B[:-1, 0] + B[-1, 0]
                found[i, j] = np.logaddexp(0, np.where(self.y[test] == judge.classes[1], -f, f)).mean()
        return found

    def gap(self, answer):
        return np.abs(np.asarray(answer.coef) - self.losses).max() / self.null


def _grid(n, p):
    def load():
        rows, columns = (200, 5) if data.size() == "tiny" else (n, p)
        rng = np.random.default_rng(0)
        X = rng.standard_normal((rows, columns)) @ (np.eye(columns) + 0.3 * rng.standard_normal((columns, columns)))
        f = X @ rng.standard_normal(columns)
        y = (rng.random(rows) < expit(2 * (f / f.std() - 0.3))).astype(int)
        return Grid(X, y, f"recipe: correlated columns, {rows}×{columns}, seed 0", np.geomspace(1e-4, 1e3, N_STRENGTHS))

    return load


def _cross_validated(library, solver):
    def prepare(problem, dtype):
        X, y = problem.arrays(dtype)
        options = {
            "Cs": problem.alphas,
            "cv": problem.folds,
            "scoring": "neg_log_loss",
            "refit": False,
            "solver": solver,
        }
        if library == "jaxlearn":
            from jaxlearn.linear_model import LogisticRegressionCV
        else:
            from sklearn.linear_model import LogisticRegressionCV
        options |= {"n_jobs": 2, "use_legacy_attributes": False, "l1_ratios": (0.0,)}

        def solve(tol):
            m = LogisticRegressionCV(tol=tol, max_iter=100 * ITERATIONS, **options).fit(X, y)
            return Answer(-m.scores_[:, 0], passes=np.sum(m.n_iter_))

        return solve

    return prepare


def _searched(solver):
    def prepare(problem, dtype):
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV

        X, y = problem.arrays(dtype)
        options = {"cv": problem.folds, "scoring": "neg_log_loss", "refit": False, "n_jobs": 2}

        def solve(tol):
            one = LogisticRegression(solver=solver, tol=tol, max_iter=100 * ITERATIONS)
            found = GridSearchCV(one, {"C": problem.alphas}, **options).fit(X, y).cv_results_
            return Answer([-found[f"split{i}_test_score"] for i in range(N_FOLDS)])

        return solve

    return prepare


def _side_by_side(solver):
    """All fits as lanes of one program: folds are weights, and the products of a pass are those of matrices."""

    def prepare(problem, dtype):
        import jax
        import jax.numpy as jnp

        from jaxlearn.models import glm
        from jaxlearn.objectives import L2, Logistic

        X, y = problem.arrays(dtype)
        test = np.zeros((N_FOLDS, len(y)), dtype)
        for weight, (_, rows) in zip(test, problem.folds, strict=True):
            weight[rows] = 1

        @jax.jit
        def run(X, y, test, Cs, tol):
            def fit(test, C):
                train = 1 - test
                alpha = 1 / (C * train.sum())
                model = glm.GLM(Logistic(), L2(alpha), tol=tol, max_steps=100 * ITERATIONS, solver=solver)
                fitted = glm.fit(model, X, y, train)
                loss = Logistic().value(y, glm.linear_predictor(fitted, X))
                return test @ loss / test.sum(), fitted.n_steps

            return jax.vmap(lambda test: jax.vmap(lambda C: fit(test, C))(Cs))(test)

        def solve(tol):
            with jax.enable_x64(dtype == "float64"):
                numbers = [jnp.asarray(a, dtype) for a in (y, test, problem.alphas, tol)]
                losses, passes = jax.device_get(run(X, *numbers))
            return Answer(losses, passes=passes.sum())

        return solve

    return prepare


def _rows():
    ways = [
        (f"jaxlearn LogisticRegressionCV {solver}", _cross_validated("jaxlearn", solver))
        for solver in ("auto", "lbfgs")
    ]
    ways += [(f"jaxlearn lanes {solver}", _side_by_side(solver)) for solver in ("lbfgs", "newton")]
    for solver in ("lbfgs", "newton-cholesky"):
        ways.append((f"scikit-learn LogisticRegressionCV {solver}", _cross_validated("scikit-learn", solver)))
        ways.append((f"scikit-learn GridSearchCV {solver}", _searched(solver)))
    return [Row(name, dtype, way) for name, way in ways for dtype in ("float64", "float32")]


WORKLOADS = {
    f"grid_{n}x{p}": Workload(
        f"grid_{n}x{p}", f"{N_STRENGTHS} strengths, {N_FOLDS} folds, {n}×{p}", _grid(n, p), _rows(), (1e-4, 1e-6)
    )
    for n, p in ((4_000, 30), (40_000, 100))
}


# Problems ----------------------------------------------------------------------------------------------------------

ALPHA = 1e-2  # beside a mean loss


def problems(kind, n_problems, n=1000, p=20, seed=0):
    """Rows and targets of all problems, in single precision: (n_problems, n, p) and (n_problems, n)."""
    rng = np.random.default_rng(seed)
    X, y = np.empty((n_problems, n, p), np.float32), np.empty((n_problems, n), np.float32)
    for first in range(0, n_problems, 500):
        rows = X[first : first + 500]
        rng.standard_normal(out=rows, dtype=np.float32)
        f = np.einsum("inp,ip->in", rows, rng.standard_normal((len(rows), p), dtype=np.float32))
        noisy = f + rng.logistic(size=f.shape)
        y[first : first + 500] = noisy if kind == "ridge" else noisy > 0
    return X, y


def gradients(kind, X, y, coef, intercept):
    """Largest entry of each problem's gradient, in double precision."""
    worst = []
    for rows, target, b, c in zip(X, y, coef, intercept, strict=True):
        rows, b = rows.astype(np.float64), np.asarray(b, np.float64)
        f = rows @ b + float(c)
        slope = (f if kind == "ridge" else expit(f)) - target
        worst.append(max(np.abs(slope @ rows / len(f) + ALPHA * b).max(), abs(slope.mean())))
    return np.array(worst)


def _fit_all(kind, batch, tol):
    """One program, batches of lanes one after the other; without lanes, a share of the problems on each device, and its sharding."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from jaxlearn.models import glm
    from jaxlearn.objectives import L2, Logistic, Squared

    # logistic regressions by what `auto` stands for: a Hessian of 20 columns takes as long as four passes of L-BFGS
    loss, solver = (Squared(), "cholesky") if kind == "ridge" else (Logistic(), "lbfgs")
    model = glm.GLM(loss, L2(jnp.float32(ALPHA)), tol=jnp.float32(tol), max_steps=100, solver=solver)

    def fit(rows):
        fitted = glm.fit(model, *rows)
        return fitted.coef, fitted.intercept, fitted.status

    each = lambda X, y: jax.lax.map(fit, (X, y), batch_size=batch or None)  # noqa: E731
    if batch:
        return jax.jit(each), None
    mesh, share = Mesh(np.asarray(jax.devices()), ("problems",)), PartitionSpec("problems")
    sharded = jax.shard_map(each, mesh=mesh, in_specs=share, out_specs=share, check_vma=False)
    return jax.jit(sharded), NamedSharding(mesh, share)


def _loop(kind, solver, tol, X, y):
    from sklearn.linear_model import LogisticRegression, Ridge

    n = X.shape[1]
    make = (
        partial(Ridge, ALPHA * n, solver="cholesky")
        if kind == "ridge"
        else partial(LogisticRegression, C=1 / (ALPHA * n), solver=solver, tol=tol)
    )
    models = [make().fit(*rows) for rows in zip(X, y, strict=True)]
    return np.array([np.ravel(m.coef_) for m in models]), np.array([np.ravel(m.intercept_)[0] for m in models])


def _many(n_problems, sample, batches, tol, repeats):
    import jax

    rows, measured = [], []

    def note(kind, who, seconds, worst, first=None, failed=0):
        measured.append(
            {
                "kind": kind,
                "who": who,
                "seconds": seconds,
                "gradient": float(worst.max()),
                "first": first,
                "failed": failed,
            }
        )
        print(measured[-1], flush=True)

    for kind, solvers in (("ridge", ("cholesky",)), ("logistic", ("lbfgs", "newton-cholesky"))):
        X, y = problems(kind, n_problems)
        for batch in batches:
            program, sharding = _fit_all(kind, batch, tol)
            ways = {"": (X, y)}
            if sharding is not None:
                ways[", data on the devices"] = jax.block_until_ready(jax.device_put((X, y), sharding))
            for where, rows_of_all in ways.items():
                times = []
                for _ in range(1 + repeats):
                    begin = perf_counter()
                    coef, intercept, status = jax.device_get(program(*rows_of_all))
                    times.append(perf_counter() - begin)
                worst = gradients(kind, X, y, coef, intercept)
                who = f"jaxlearn, {f'{batch} lanes' if batch else 'one by one'}{where}"
                note(kind, who, min(times[1:]), worst, times[0], int((status != 0).sum()))
        for solver in solvers:
            times = []
            for _ in range(repeats):
                begin = perf_counter()
                found = _loop(kind, solver, tol, X[:sample], y[:sample])
                times.append(perf_counter() - begin)
            worst = gradients(kind, X[:sample], y[:sample], *found)
            note(kind, f"scikit-learn {solver}", min(times) * n_problems / sample, worst)
    for m in measured:
        peer = min(q["seconds"] for q in measured if q["kind"] == m["kind"] and q["who"].startswith("scikit-learn"))
        ours = m["who"].startswith("jaxlearn")
        cells = (
            "" if m["first"] is None else tables.seconds(m["first"]),
            tables.seconds(m["seconds"]),
            f"{m['gradient']:.1e}",
        )
        rows.append([m["kind"], m["who"], *cells, m["failed"], tables.ratio(peer, m["seconds"]) if ours else ""])
    about = (
        f"`python -m benchmarks.lanes`: {n_problems} problems of 1000×20, float32, alpha {ALPHA:g} beside a mean loss, tol {tol:g}. Ours is one "
        f"call, one by one on {jax.device_count()} devices of the CPU, lanes on one of them; best of {repeats}; *first* compiles. scikit-learn's is a loop over {sample} of them, its time multiplied by "
        f"{n_problems / sample:g}. *gradient* is its largest entry, *failed* how many fits of ours say they did not converge."
    )
    columns = ["problem", "who", "first", "seconds", "gradient", "failed", "faster"]
    tables.keep("lanes_problems", "Ten thousand small problems", about, columns, rows, measured)
    return measured


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default={"tiny": 40, "quick": 2_000}.get(data.size(), 10_000))
    parser.add_argument(
        "--sample", type=int, default={"tiny": 10}.get(data.size(), 200), help="problems that scikit-learn solves"
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[0, 50, 1000], help="lanes at a time, 0 for none")
    parser.add_argument("--tol", type=float, default=1e-4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip", choices=("grids", "problems"))
    given, rest = parser.parse_known_args(arguments)
    import jax

    if jax.config.jax_num_cpu_devices < 1:  # one for each core
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    if given.skip != "problems":
        _many(given.problems, given.sample, given.batches, given.tol, given.repeats)
    if given.skip != "grids":
        about = "l2 penalties; gaps are the largest difference of a test fold's log loss from that of the minimum, in units of log 2."
        command("lanes", "Grids of logistic regressions", about, WORKLOADS, [*rest, "--repeats", str(given.repeats)])


if __name__ == "__main__":
    main()
