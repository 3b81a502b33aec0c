"""
Quickstart
==========

Four things that jaxlearn does, each beside scikit-learn, on data that scikit-learn brings along: a Lasso path that says
how accurate it is, logistic regression, cross-validation of five hundred models as one compiled program, and the
derivative of a validation error with respect to the strength of the penalty, through the fit.

``make quickstart`` runs it, in less than 90 seconds on two cores. *Cold* is a first call, in which jaxlearn compiles;
*warm* is the median of the next.
"""

import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model as sk
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from jaxlearn import linear_model as jl
from jaxlearn.models import glm
from jaxlearn.objectives import L2


def timed(call, again=5):
    """What `call` returns, the seconds of its first run, and the median of those that follow."""
    seconds = []
    for _ in range(1 + again):
        start = perf_counter()
        result = call()
        seconds.append(perf_counter() - start)
    return result, seconds[0], median(seconds[1:])


def show(who, cold, warm, result):
    print(f"  {who:<15}cold {cold:6.2f} s   warm {1e3 * warm:7.1f} ms   {result}")


# %%
# 1. A Lasso path, and how accurate it is
# ---------------------------------------
# Ten measurements of 442 patients, their squares and products: 65 correlated columns. For each of 100 strengths the
# *duality gap* bounds how far the objective may be from its minimum, whatever computed it. Coordinate descent ends
# where the tolerance lets it; jaxlearn solves for the support and its signs, and when these are right so is the rest.

X, y = load_diabetes(return_X_y=True)
products = PolynomialFeatures(2, include_bias=False)
X = make_pipeline(products, StandardScaler()).fit_transform(X)
y = (y - y.mean()) / y.std()
alphas = np.abs(X.T @ y).max() / len(y) * np.geomspace(1, 1e-3, 100)
options = {"alphas": alphas, "tol": 1e-6, "max_iter": 100_000}

print(f"1. Lasso path: diabetes with products, {X.shape[0]} × {X.shape[1]}, 100 alphas, duality gap at most 1e-6")
(_, path, gaps), *times = timed(lambda: jl.lasso_path(X, y, **options))
show("jaxlearn", *times, f"largest gap {gaps.max():.0e}")
(_, sk_path, sk_gaps), *times = timed(lambda: sk.lasso_path(X, y, **options))
show("scikit-learn", *times, f"largest gap {sk_gaps.max():.0e}")


def objective(coefs):
    return np.square(y[:, None] - X @ coefs).mean(0) / 2 + alphas * np.abs(coefs).sum(0)


# neither can be better than the other by more than the other's gap
better_by = objective(sk_path) - objective(path)
assert (better_by <= sk_gaps + 1e-12).all()
assert (-better_by <= gaps + 1e-12).all()
print(f"  objectives: scikit-learn's is larger by {better_by.max():.0e} at most, as its gap allows\n")

# %%
# 2. Logistic regression
# ----------------------
# The same parameters, the same meanings, the same answers.

print("2. Logistic regression, C=1, accuracy on the quarter of the data that was held out")


def compare(data):
    train, test, y_train, y_test = train_test_split(*data, random_state=0)
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    probabilities = []
    for who, library in (("jaxlearn", jl), ("scikit-learn", sk)):
        model = library.LogisticRegression(tol=1e-8, max_iter=1000)
        _, *times = timed(lambda: model.fit(train, y_train))  # noqa: B023
        show(who, *times, f"accuracy {model.score(test, y_test):.4f}")
        probabilities.append(model.predict_proba(test))
    print(f"  probabilities differ by {np.ptp(probabilities, axis=0).max():.0e} at most")


print(" breast cancer, 2 classes")
compare(load_breast_cancer(return_X_y=True))
print(" digits, 10 classes")
compare(load_digits(return_X_y=True))
print()

# %%
# 3. A hundred alphas in five folds: one program
# ----------------------------------------------
# A fold is a vector of weights, zero where a row is held out. A strength is a number, not a new program. So the grid is
# two ``vmap`` around one fit, and compiles once. What does not depend on a mapped argument is not repeated: the hundred
# alphas of a fold share one eigendecomposition.

split = KFold(5, shuffle=True, random_state=0)
folds = np.ones((5, len(y)))
for weights, (_, held_out) in zip(folds, split.split(X), strict=True):
    weights[held_out] = 0


def validation_error(log_alpha, weights):
    """Mean squared error on the rows of weight zero, of the ridge fit to the others."""
    alpha = jnp.exp(log_alpha) / weights.sum()  # scikit-learn's ridge adds errors up, jaxlearn's core averages them
    fitted = glm.fit(glm.GLM(penalty=L2(alpha)), X, y, weights)
    return jnp.average(jnp.square(y - glm.predict(fitted, X)), weights=1 - weights)


grid = jax.jit(jax.vmap(jax.vmap(validation_error, in_axes=(0, None)), in_axes=(None, 0)))
log_alphas = np.log(np.geomspace(1e-1, 1e5, 100))

programs = []  # JAX says when it compiles one
jax.monitoring.register_event_duration_secs_listener(
    lambda event, _, **about: programs.append(about) if event.endswith("/backend_compile_duration") else None
)

print("3. Ridge: 100 alphas in 5 folds")
with jax.enable_x64(True):  # double precision, as in scikit-learn; without it, single
    errors, *times = timed(lambda: jax.device_get(grid(log_alphas, folds)))
mean_error = errors.mean(0)
best = mean_error.argmin()
show("jaxlearn", *times, f"alpha {np.exp(log_alphas[best]):.2f}, error {mean_error[best]:.6f}")

search = GridSearchCV(sk.Ridge(), {"alpha": np.exp(log_alphas)}, scoring="neg_mean_squared_error", cv=split)
_, *times = timed(lambda: search.fit(X, y), again=1)
sk_error = -search.cv_results_["mean_test_score"]
show("scikit-learn", *times, f"alpha {search.best_params_['alpha']:.2f}, error {sk_error.min():.6f}")
apart = np.abs(mean_error - sk_error).max()
print(f"  programs compiled for the 500 fits: {len(programs)}; errors differ by {apart:.0e} at most\n")

# %%
# 4. The best alpha by its gradient
# ---------------------------------
# The cross-validated error is a differentiable function of log alpha. Its derivative comes from the optimality
# condition of the fit, not from the iterations that led there. A few gradient steps then find an alpha between the
# points of the grid.


@jax.jit
@jax.value_and_grad
def cross_validated(log_alpha):
    return jax.vmap(validation_error, in_axes=(None, 0))(log_alpha, folds).mean()


def descend(log_alpha, tol=1e-8, longest=2.3):
    """Gradient steps, (log alpha, error, slope) each; their size is the secant's, and at most a decade."""
    steps = []
    while len(steps) < 20:
        error, slope = map(float, cross_validated(log_alpha))
        steps.append((log_alpha, error, slope))
        if abs(slope) < tol:
            break
        size = np.inf if len(steps) < 2 else abs((log_alpha - steps[-2][0]) / (slope - steps[-2][2]))
        log_alpha -= np.clip(size * slope, -longest, longest)
    return np.array(steps)


print("4. Ridge: the derivative of the cross-validated error with respect to log alpha")
some, h = log_alphas[::4], 1e-4
with jax.enable_x64(True):
    steps, *times = timed(lambda: descend(np.log(1e4)))
    slopes = np.array([cross_validated(a)[1] for a in some])
    differences = np.array([cross_validated(a + h)[0] - cross_validated(a - h)[0] for a in some]) / (2 * h)
found, error, _ = steps[-1]
show("gradient steps", *times, f"alpha {np.exp(found):.2f}, error {error:.6f}, after {len(steps)} gradients")
print(f"  the best of the grid was{'':24}alpha {np.exp(log_alphas[best]):.2f}, error {mean_error[best]:.6f}")
print(f"  finite differences agree to {np.abs(slopes - differences).max() / np.abs(slopes).max():.0e}\n")

# %%
# The picture
# -----------
# Left, the coefficients along the path and, below, what is known of their accuracy. Right, the grid of part 3 and the
# steps of part 4; below, the derivative that led them.

red, blue, black, grey = "#c4441c", "#2a6fb0", "0.15", "0.8"
plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False})
figure, axes = plt.subplots(2, 2, figsize=(11, 6.5), sharex="col", height_ratios=[3, 2], layout="constrained")
(coefficients, error_plot), (certificate, slope_plot) = axes

measured = products.powers_.sum(1) == 1
coefficients.plot(alphas, path[~measured].T, color="0.6", lw=0.8)[0].set_label("a product of two")
coefficients.plot(alphas, path[measured].T, color=red, lw=1.2)[0].set_label("a measurement")
coefficients.set(xscale="log", ylabel="coefficient", title="Lasso path of diabetes, and how accurate it is")
coefficients.invert_xaxis()
coefficients.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, 1.02))

floor = 1e-17  # zero has no logarithm
certificate.semilogy(alphas, np.maximum(sk_gaps, floor), ".", ms=4, color=blue, label="scikit-learn")
certificate.semilogy(alphas, np.maximum(gaps, floor), ".", ms=4, color=red, label="jaxlearn")
certificate.axhline(options["tol"], color=black, ls="--", lw=0.8, label="tolerance")
certificate.set(xlabel="alpha", ylabel="duality gap")
certificate.legend(frameon=False, ncols=3, loc="center left")

grid_alphas, step_alphas = np.exp(log_alphas), np.exp(steps[:, 0])
error_plot.plot(grid_alphas, errors.T, color=grey, lw=0.8)[0].set_label("each of the 5 folds")
error_plot.plot(grid_alphas, mean_error, color=black, lw=1.5, label="their mean")
error_plot.plot(grid_alphas[::6], sk_error[::6], "o", ms=5, mfc="none", color=blue, label="GridSearchCV")
error_plot.plot(step_alphas, steps[:, 1], "o-", ms=4, lw=0.8, color=red, label="gradient steps")
error_plot.set(xscale="log", ylabel="error on the rows held out", title="Ridge, 100 alphas in 5 folds as one program")
error_plot.legend(frameon=False)

slope_plot.axhline(0, color=grey, lw=0.8)
slope_plot.plot(grid_alphas[::4], slopes, color=black, lw=1.5, label="through the fit")
slope_plot.plot(grid_alphas[::4], differences, "o", ms=5, mfc="none", color=blue, label="finite differences")
slope_plot.plot(step_alphas, steps[:, 2], "o", ms=4, color=red, label="gradient steps")
slope_plot.set(xlabel="alpha", ylabel="derivative in log alpha")
slope_plot.legend(frameon=False)

# not __file__, which the gallery of the documentation does not define
picture = Path(sys.argv[0]).resolve().with_suffix(".png")
figure.savefig(picture, dpi=120)
print(f"The picture: {picture}")
