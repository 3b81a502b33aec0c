"""Races of sparse models beyond the Lasso: several tasks, groups of features, and the minimax concave penalty.

None has an intercept.
"""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec

import numpy as np

from . import recipes
from .evaluate_sparse import group_gap, mcp_distance, mcp_objective, multi_task_gap
from .lassos import largest, skglm_options, tiny
from .workloads import ITERATIONS, Answer, Problem, Workload, both, linear_model

__all__ = ["WORKLOADS", "GroupLasso", "MCPPath", "MultiTask"]


# Tasks: |Y − X W|² / 2n + alpha Σ_j |W_j| ----------------------------------------------------------------------------


class MultiTask(Problem):
    """Coefficients (p, k)."""

    @property
    def null(self):
        return np.square(self.y).sum() / (2 * len(self.y))  # Y is not centred

    def gap(self, answer):
        return multi_task_gap(self.X, self.y, answer.coef, self.alphas[0]) / self.null


def _multi_task(library):
    def prepare(problem, dtype):
        MultiTaskLasso = linear_model(library).MultiTaskLasso
        X, Y = problem.arrays(dtype, "C" if library == "jaxlearn" else "F")

        def solve(tol):
            m = MultiTaskLasso(problem.alphas[0], fit_intercept=False, tol=tol, max_iter=1000 * ITERATIONS).fit(X, Y)
            own = m.dual_gap_ / problem.null
            return Answer(m.coef_.T, passes=m.n_iter_, certificate=own, meaning="duality gap")

        return solve

    return prepare


def _celer_multi_task(problem, dtype):
    from celer.homotopy import mtl_path  # what its MultiTaskLasso calls, which fails with scikit-learn 1.9

    X, Y = problem.arrays(dtype, "F")
    alphas = problem.alphas.astype(dtype)

    def solve(tol):
        _, coef, gaps = mtl_path(X, Y, alphas=alphas, tol=tol, max_iter=100 * ITERATIONS, max_epochs=5_000)
        return Answer(coef[..., 0].T, certificate=gaps[0] / problem.null, meaning="duality gap")

    return solve


def _skglm_multi_task(problem, dtype):
    from skglm import MultiTaskLasso

    X, Y = problem.arrays(dtype, "F")

    def solve(tol):
        m = MultiTaskLasso(problem.alphas[0], **skglm_options(problem, tol)).fit(X, Y)
        return Answer(m.coef_.T)

    return solve


TASKS = both(
    [
        ("jaxlearn", _multi_task("jaxlearn")),
        ("scikit-learn", _multi_task("sklearn")),
        ("celer mtl_path", _celer_multi_task),
        ("skglm", _skglm_multi_task),
    ]
)


def _leadfield(share):
    def load():
        X, Y, source = recipes.leadfield(*tiny((30, 200, 5), (305, 7498, 50)))
        alpha = share * np.linalg.norm(X.T @ Y, axis=1).max() / len(Y)
        return MultiTask(X, Y, source, np.array([alpha]))

    title = f"Multi-task Lasso, 305 sensors, 7498 sources, 50 times, alpha {share:g} of the largest"
    return Workload(f"multi_task_leadfield_{share:g}", title, load, TASKS, (1e-4, 1e-6), full_only=True)


# Groups of ten: |y − X b|² / 2n + alpha Σ_g |b_g| --------------------------------------------------------------------

GROUP = 10


class GroupLasso(Problem):
    """Coefficients (p,)."""

    def gap(self, answer):
        groups = np.arange(self.X.shape[1]) // GROUP
        return group_gap(self.X, self.y, answer.coef, self.alphas[0], groups) / self.null


def _jaxlearn_groups(problem, dtype):
    from jaxlearn.linear_model import GroupLasso

    X, y = problem.arrays(dtype)
    options = {"group_weights": np.ones(X.shape[1] // GROUP), "fit_intercept": False, "max_iter": 1000 * ITERATIONS}

    def solve(tol):
        m = GroupLasso(GROUP, problem.alphas[0], tol=tol, **options).fit(X, y)
        return Answer(m.coef_, passes=m.n_iter_, certificate=m.dual_gap_ / problem.null, meaning="duality gap")

    return solve


def _celer_groups(problem, dtype):
    from celer import GroupLasso

    X, y = problem.arrays(dtype, "F")
    options = {"fit_intercept": False, "max_iter": 100 * ITERATIONS, "max_epochs": 5_000}
    alpha = problem.alphas.astype(dtype)[0]

    def solve(tol):
        m = GroupLasso(GROUP, alpha, tol=tol, **options).fit(X, y)
        return Answer(m.coef_, certificate=m.dual_gap_ / problem.null, meaning="duality gap")

    return solve


def _skglm_groups(problem, dtype):
    from skglm import GroupLasso

    X, y = problem.arrays(dtype, "F")

    def solve(tol):
        m = GroupLasso(GROUP, problem.alphas[0], **skglm_options(problem, tol)).fit(X, y)
        return Answer(m.coef_, certificate=m.stop_crit_, meaning="distance to the subdifferential")

    return solve


def _adelie_groups(problem, dtype):
    """Only where it has been installed by hand: it asks for NumPy 1, and works with NumPy 2."""
    import adelie

    X, y = problem.arrays(dtype, "F")
    starts = np.arange(0, X.shape[1], GROUP)
    alphas = problem.alphas.astype(dtype)
    # the tolerance of the Newton steps for a group, which single precision does not reach by default
    newton_tol = max(1e-12, 8 * float(np.finfo(dtype).eps))

    def solve(tol):
        found = adelie.grpnet(
            X=X,
            glm=adelie.glm.gaussian(y, dtype=np.dtype(dtype).type),
            groups=starts,
            penalty=np.ones(len(starts), dtype),
            lmda_path=alphas,
            intercept=False,
            early_exit=False,
            tol=tol**2,  # of squares of changes
            newton_tol=newton_tol,
            max_iters=10**6,
            n_threads=2,
            progress_bar=False,
        )
        return Answer(found.betas.toarray()[-1])

    return solve


GROUPS = both(
    [
        ("jaxlearn", _jaxlearn_groups),
        ("celer", _celer_groups),
        ("skglm", _skglm_groups),
        *([("adelie", _adelie_groups)] if find_spec("adelie") else []),
    ]
)


def _group_lasso(share):
    def load():
        X, y, source = recipes.toeplitz(*tiny((60, 200), (1000, 10_000)), s=tiny(3, 10), block=GROUP)
        norms = np.linalg.norm((X.T @ y).reshape(-1, GROUP), axis=1)
        return GroupLasso(X, y, source, np.array([share * norms.max() / len(y)]))

    title = f"Group lasso, 1000×10000 AR(1) columns in groups of ten, alpha {share:g} of the largest"
    return Workload(f"group_lasso_toep_{share:g}", title, load, GROUPS, (1e-4, 1e-6), full_only=True)


# The minimax concave penalty, along a path ---------------------------------------------------------------------------

GAMMA = 3.0


class MCPPath(Problem):
    """Coefficients (p, n_alphas). There are many stationary points: the answer has to be one, and as low as skglm's.

    The gap is the largest distance from stationarity in units of alpha, or what the sum of the objectives along the path is
    above skglm's, in units of that, whichever is larger.
    """

    @cached_property
    def lowest(self):
        """What skglm reaches, in double precision, with a tolerance of 1e-8."""
        return self.objectives(_skglm_mcp(self, "float64")(1e-8))

    def objectives(self, answer):
        return mcp_objective(self.X, self.y, answer.coef, self.alphas, GAMMA)

    def gap(self, answer):
        distance = mcp_distance(self.X, self.y, answer.coef, self.alphas, GAMMA) / self.alphas
        return max(distance.max(), self.objectives(answer).sum() / self.lowest.sum() - 1)


def _jaxlearn_mcp(problem, dtype):
    import jax
    import jax.numpy as jnp

    from jaxlearn.models import glm
    from jaxlearn.objectives import MCP

    X, y = problem.arrays(dtype)
    alphas = problem.alphas.astype(dtype)

    @jax.jit
    def follow(X, y, alphas, tol):
        penalty = MCP(jnp.ones((), X.dtype), GAMMA)
        model = glm.GLM(penalty=penalty, tol=tol, max_steps=1000 * ITERATIONS, fit_intercept=False)
        path = glm.path(model, X, y, alphas)
        return path.coef, jnp.max(path.residual), jnp.sum(path.n_steps)

    def solve(tol):
        with jax.enable_x64(dtype == "float64"):
            coef, distance, passes = jax.device_get(follow(X, y, alphas, np.asarray(tol, dtype)))
        return Answer(coef.T, passes=passes, certificate=distance, meaning="distance to the slopes")

    return solve


def _skglm_mcp(problem, dtype):
    from skglm import MCPRegression

    X, y = problem.arrays(dtype, "F")

    def solve(tol):
        _, coef, distances, _ = MCPRegression(gamma=GAMMA, **skglm_options(problem, tol)).path(X, y, problem.alphas)
        return Answer(coef, certificate=np.max(distances), meaning="distance to the slopes")

    return solve


def _mcp():
    def load():
        X, y, source = recipes.toeplitz(*tiny((60, 200), (500, 5000)), s=tiny(5, 25))
        return MCPPath(X, y, source, largest(X, y) * np.geomspace(1, 0.05, tiny(10, 50)))

    rows = both([("jaxlearn", _jaxlearn_mcp), ("skglm", _skglm_mcp)])
    title = "MCP path, 50 alphas, gamma 3, 500×5000 AR(1) columns"
    return Workload("mcp_toep_500x5000", title, load, rows, (1e-4, 1e-6), full_only=True)


WORKLOADS = {w.name: w for w in [*map(_leadfield, (0.3, 0.1)), *map(_group_lasso, (0.1, 0.03)), _mcp()]}
