"""
Quickstart
==========

Four things that jaxlearn does, each beside scikit-learn, on data that scikit-learn brings along: a Lasso path that says how
accurate it is, logistic regression, cross-validation of a hundred models as one compiled program, and the derivative of
a validation error with respect to the strength of the penalty, through the fit.

``make quickstart`` runs it, in less than 90 seconds on two cores. Times are of a first call (*cold*: jaxlearn compiles)
and of the median of five more (*warm*).
"""

from pathlib import Path
from statistics import median
from time import perf_counter

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxlearn import linear_model as jl
from jaxlearn.models import glm
from jaxlearn.objectives import L2
from sklearn import linear_model as sk
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler


def timed(call, repeat=5):
    """What `call` returns, the seconds of its first run and the median of the next."""
    seconds = []
    for _ in range(1 + repeat):
        start = perf_counter()
        result = call()
        seconds.append(perf_counter() - start)
    return result, seconds[0], median(seconds[1:]) if repeat else seconds[0]


def show(library, cold, warm, result):
    print(f"   {library:<14}{cold:9.3f} s cold {1e3 * warm:10.1f} ms warm   {result}")


# JAX says when it compiles; one line per program, for section 3.
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, _, **about: compiled.append(about) if event == "/jax/core/compile/backend_compile_duration" else None
)

# %%
# 1. A Lasso path, and how accurate it is
# ---------------------------------------
# Ten measurements of 442 patients, and all their products up to the third degree: 285 strongly correlated columns.
# For each of 100 strengths the *duality gap* bounds how far the objective may be from its minimum. jaxlearn solves for
# the support directly, so that its gap is far below the tolerance that it was asked for.

X, y = load_diabetes(return_X_y=True)
X = make_pipeline(PolynomialFeatures(3, include_bias=False), StandardScaler()).fit_transform(X)
y = (y - y.mean()) / y.std()
alphas = np.abs(X.T @ y).max() / len(y) * np.geomspace(1, 1e-3, 100)
options = {"alphas": alphas, "tol": 1e-6, "max_iter": 100_000}

print(f"1. Lasso path: diabetes, {X.shape[0]} × {X.shape[1]}, 100 alphas, duality gap ≤ {options['tol']:g}")
(_, path, gaps), *times = timed(lambda: jl.lasso_path(X, y, **options))
show("jaxlearn", *times, f"largest gap {gaps.max():.0e}")
(_, sk_path, sk_gaps), *times = timed(lambda: sk.lasso_path(X, y, **options), repeat=1)
show("scikit-learn", *times, f"largest gap {sk_gaps.max():.0e}")


def objective(coefs):
    return np.square(y[:, None] - X @ coefs).mean(0) / 2 + alphas * np.abs(coefs).sum(0)


# two answers, each within its gap of the minimum, differ by no more than the larger gap
difference = objective(path) - objective(sk_path)
assert (difference <= gaps + 1e-12).all() and (-difference <= sk_gaps + 1e-12).all()
print(f"   objectives differ by at most {np.abs(difference).max():.0e}, as the gaps promise\n")

# %%
# 2. Logistic regression
# ----------------------
# The same parameters, the same meanings, the same answers. ``certificate_`` is the largest entry of the gradient.

print("2. Logistic regression, C=1, accuracy on a quarter of the data that was held out")
for name, load in (("breast cancer, 2 classes", load_breast_cancer), ("digits, 10 classes", load_digits)):
    features, labels = load(return_X_y=True)
    train, test, y_train, y_test = train_test_split(features, labels, random_state=0)
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    print(f"   {name}, {train.shape[0]} × {train.shape[1]}")
    model, *times = timed(lambda: jl.LogisticRegression(tol=1e-6, max_iter=1000).fit(train, y_train))  # noqa: B023
    show("jaxlearn", *times, f"accuracy {model.score(test, y_test):.4f}, gradient ≤ {model.certificate_:.0e}")
    sk_model, *times = timed(lambda: sk.LogisticRegression(tol=1e-6, max_iter=1000).fit(train, y_train))  # noqa: B023
    show("scikit-learn", *times, f"accuracy {sk_model.score(test, y_test):.4f}")
    apart = np.abs(model.predict_proba(test) - sk_model.predict_proba(test)).max()
    print(f"   probabilities differ by at most {apart:.0e}")
print()

# %%
# 3. A hundred alphas in five folds: one program
# ----------------------------------------------
# A fold is a vector of weights: zero where a row is held out. A strength is a number, not a new program. So the whole
# grid is two ``vmap`` around one fit, and compiles once. The alphas of a fold share one eigendecomposition, which nobody
# has to ask for: what does not depend on a mapped argument is not repeated.

folds = np.ones((5, len(y)))
for weights, (_, held_out) in zip(folds, KFold(5, shuffle=True, random_state=0).split(X), strict=True):
    weights[held_out] = 0


def validation_error(log_alpha, weights, X, y):
    """Mean squared error on the rows of weight zero of the ridge fit to the others; alpha as in scikit-learn."""
    alpha = jnp.exp(log_alpha) / weights.sum()
    fitted = glm.fit(glm.GLM(penalty=L2(alpha)), X, y, weights)
    return jnp.average(jnp.square(y - glm.predict(fitted, X)), weights=1 - weights)


over_alphas = jax.vmap(validation_error, in_axes=(0, None, None, None))
grid = jax.jit(jax.vmap(over_alphas, in_axes=(None, 0, None, None)))
log_alphas = np.log(np.geomspace(1e0, 1e6, 100))

print("3. Ridge: 100 alphas × 5 folds")
compiled.clear()
with jax.enable_x64(True):  # double precision, as scikit-learn; without it, float32
    errors, *times = timed(lambda: jax.device_get(grid(log_alphas, folds, X, y)))
mean_error = errors.mean(0)
best = mean_error.argmin()
show("jaxlearn", *times, f"alpha {np.exp(log_alphas[best]):.1f}, error {mean_error[best]:.6f}, programs compiled: {len(compiled)}")

search = GridSearchCV(
    sk.Ridge(), {"alpha": np.exp(log_alphas)}, scoring="neg_mean_squared_error", cv=KFold(5, shuffle=True, random_state=0)
)
_, *times = timed(lambda: search.fit(X, y), repeat=1)
sk_error = -search.cv_results_["mean_test_score"]
show("scikit-learn", *times, f"alpha {search.best_params_['alpha']:.1f}, error {sk_error.min():.6f}")
print(f"   errors differ by at most {np.abs(mean_error - sk_error).max():.0e}\n")

# %%
# 4. The best alpha by its gradient
# ---------------------------------
# The cross-validated error is a differentiable function of log alpha: the derivative comes from the optimality condition
# of the fit, not from its iterations. A few secant steps on it replace the grid, and are not tied to its points.


@jax.jit
@jax.value_and_grad
def cross_validated(log_alpha, folds, X, y):
    return jax.vmap(validation_error, in_axes=(None, 0, None, None))(log_alpha, folds, X, y).mean()


def descend(log_alpha, steps=12, tol=1e-8):
    """Points, values and slopes of gradient steps whose length is the last secant's, at most a decade."""
    visited = []
    step_size = None
    for _ in range(steps):
        value, slope = (float(v) for v in cross_validated(log_alpha, folds, X, y))
        if visited and (change := slope - visited[-1][2]):
            step_size = abs((log_alpha - visited[-1][0]) / change)
        visited.append((log_alpha, value, slope))
        if abs(slope) < tol:
            break
        length = np.log(10) if step_size is None else min(step_size * abs(slope), np.log(10))
        log_alpha -= np.sign(slope) * length
    return np.array(visited)


print("4. The derivative of the cross-validated error with respect to log alpha")
with jax.enable_x64(True):
    trajectory, *times = timed(lambda: descend(np.log(3.0)))
    slopes = np.array([cross_validated(a, folds, X, y)[1] for a in log_alphas[::6]])
    h = 1e-4
    differences = np.array(
        [(cross_validated(a + h, folds, X, y)[0] - cross_validated(a - h, folds, X, y)[0]) / (2 * h) for a in log_alphas[::6]]
    )
found, error, slope = trajectory[-1]
show("gradient steps", *times, f"alpha {np.exp(found):.1f}, error {error:.6f}, after {len(trajectory)} gradients")
print(f"   the grid's best  alpha {np.exp(log_alphas[best]):.1f}, error {mean_error[best]:.6f}, after 100 points")
print(f"   against finite differences: off by at most {np.abs(slopes - differences).max() / np.abs(slopes).max():.0e} of the slope\n")

# %%
# The picture
# -----------

red, blue, grey = "#c4441c", "#2a6fb0", "0.55"
plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10})
figure, axes = plt.subplots(2, 2, figsize=(11, 6.6), sharex="col", height_ratios=[3, 2], layout="constrained")
(top, right_top), (bottom, right_bottom) = axes

floor = 1e-17  # a gap of zero has no logarithm
certificate = np.log10(np.maximum(gaps, floor))
colors = plt.cm.viridis((certificate - certificate.min()) / max(np.ptp(certificate), 1e-9))
for coef in path[np.abs(path).max(1) > 0]:
    top.plot(alphas, coef, color="0.75", lw=0.6, zorder=1)
rows, columns = np.nonzero(path)
top.scatter(alphas[columns], path[rows, columns], c=colors[columns], s=3, zorder=2)
top.set(xscale="log", ylabel="coefficient", title="Lasso path: diabetes, products up to degree 3 (colour: gap)")
top.invert_xaxis()
top.text(0.02, 0.95, f"{np.count_nonzero(path[:, -1])} of {len(path)} columns\nat the smallest alpha", transform=top.transAxes, va="top")
bottom.semilogy(alphas, np.maximum(sk_gaps, floor), ".", ms=4, color=blue, label="scikit-learn")
bottom.scatter(alphas, np.maximum(gaps, floor), c=colors, s=9, label="jaxlearn", zorder=3)
bottom.axhline(options["tol"], color=grey, ls="--", lw=1, label="tolerance")
bottom.set(xlabel="alpha", ylabel="duality gap")
bottom.legend(frameon=False, ncols=3, loc="lower center")

alpha_grid = np.exp(log_alphas)
right_top.plot(alpha_grid, errors.T, color="0.8", lw=0.8)
right_top.plot([], [], color="0.8", lw=0.8, label="each of 5 folds")
right_top.plot(alpha_grid, mean_error, color="0.15", lw=1.5, label="their mean, jaxlearn")
right_top.plot(alpha_grid[::6], sk_error[::6], "o", ms=5, mfc="none", color=blue, label="GridSearchCV")
right_top.plot(np.exp(trajectory[:, 0]), trajectory[:, 1], "-o", color=red, ms=4, lw=0.8, label="gradient steps")
right_top.set(xscale="log", ylabel="validation error", title="Ridge: 100 alphas × 5 folds as one program")
right_top.legend(frameon=False)
right_bottom.axhline(0, color="0.8", lw=0.8)
right_bottom.plot(alpha_grid[::6], slopes, color="0.15", lw=1.5, label="through the fit")
right_bottom.plot(alpha_grid[::6], differences, "o", ms=5, mfc="none", color=blue, label="finite differences")
right_bottom.plot(np.exp(trajectory[:, 0]), trajectory[:, 2], "o", color=red, ms=4, label="gradient steps")
right_bottom.set(xlabel="alpha", ylabel="d error / d log alpha")
right_bottom.legend(frameon=False)

picture = Path(__file__).resolve().with_suffix(".png")
figure.savefig(picture, dpi=130)
print(f"The picture: {picture}")
