"""
Thousands of penalties tuned by gradient
========================================

A ridge regression with one strength for each feature could ignore what does not matter and keep what does, if somebody
knew a thousand strengths. A grid cannot find them. The derivative of the validation error through the fit can: one backward
pass gives all of them, at the cost of one more solve.

1000 features in 300 rows, twenty of which matter. The strengths start all alike, at the best single one, and follow the
gradient of the error on a validation set, by Adam on their logarithms. As many strengths as these overfit that set in the end,
so that the number of steps is chosen on a second one, and everything is judged on a third. Beside them: `RidgeCV`, one
strength; `LassoCV`, which selects; and the ridge that is told which features matter.
"""

from pathlib import Path
from time import perf_counter

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax

from jaxlearn.linear_model import LassoCV, LinearRegression, RidgeCV
from jaxlearn.models import glm
from jaxlearn.objectives import L2

mpl.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

P, RELEVANT, STEPS = 1000, 20, 120
rng = np.random.default_rng(0)
truth = np.zeros(P)
truth[rng.choice(P, RELEVANT, replace=False)] = rng.choice([-1, 1], RELEVANT) * rng.uniform(0.5, 1.5, RELEVANT)


def sample(n):
    shared = rng.standard_normal((n, 1))
    X = np.sqrt(0.8) * rng.standard_normal((n, P)) + np.sqrt(0.2) * shared
    return X.astype(np.float32), (X @ truth + 1.5 * rng.standard_normal(n)).astype(np.float32)


train, validation, choice, test = sample(300), sample(300), sample(300), sample(5000)


def error(fitted, data):
    X, y = data
    return jnp.mean(jnp.square(y - glm.predict(fitted, X)))


def fit(log_alpha):
    return glm.fit(glm.GLM(penalty=L2(jnp.exp(log_alpha)), solver="conjugate_gradient", tol=1e-5), *train)


# %%
# The outer loop
# --------------
# One compiled step: a fit, three errors, the gradient of the first with respect to a thousand strengths, an update.

optimizer = optax.adam(0.15)


@jax.jit
def step(log_alpha, state):
    def validated(log_alpha):
        fitted = fit(log_alpha)
        return error(fitted, validation), (error(fitted, choice), error(fitted, test))

    (value, others), gradient = jax.value_and_grad(validated, has_aux=True)(log_alpha)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(log_alpha, updates), state, (value, *others)


both = tuple(np.concatenate(pair) for pair in zip(train, validation, strict=True))
single = RidgeCV(alphas=np.logspace(0, 4, 30)).fit(*both)
log_alpha = jnp.full(P, np.log(single.alpha_ / len(train[1])), jnp.float32)
state, history, strengths = optimizer.init(log_alpha), [], []
step(log_alpha, state)
start = perf_counter()
for _ in range(STEPS):
    strengths.append(np.asarray(log_alpha))
    log_alpha, state, errors = step(log_alpha, state)
    history.append([float(e) for e in errors])
seconds = perf_counter() - start
history = np.array(history)
best = int(history[:, 1].argmin())
print(
    f"{STEPS} steps, {seconds / STEPS * 1e3:.0f} ms each: a fit of {P} coefficients and the derivative in {P} strengths"
)

# %%
# What came of it
# ---------------
# The others may learn from the training and the validation set together.


def judged(model):
    return float(np.mean(np.square(test[1] - model.predict(test[0]))))


keep = truth != 0
oracle = LinearRegression().fit(both[0][:, keep], both[1])
results = {
    "one strength, RidgeCV": judged(single),
    "LassoCV": judged(LassoCV(cv=5).fit(*both)),
    f"{P} strengths by gradient": history[best, 2],
    "least squares, told which matter": float(np.mean(np.square(test[1] - oracle.predict(test[0][:, keep])))),
}
for name, value in results.items():
    print(f"{name:<34} test error {value:.3f}   (noise alone: 2.25)")

figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for column, name in enumerate(("validation, differentiated", "chooses the step", "test")):
    axes[0].plot(history[:, column], label=name)
axes[0].axvline(best, color="0.7", lw=1)
axes[0].axhline(results["LassoCV"], color="C3", ls="--", lw=1, label="LassoCV, test")
axes[0].axhline(2.25, color="0.5", ls=":", lw=1, label="noise")
axes[0].set(xlabel="step", ylabel="mean squared error", yscale="log", title="A ridge with a thousand strengths")
axes[0].legend()
bins = np.linspace(strengths[best].min(), strengths[best].max(), 40)
axes[1].hist(strengths[best][~keep], bins, label="do not matter", density=True, alpha=0.7)
axes[1].hist(strengths[best][keep], bins, label="matter", density=True, alpha=0.7)
axes[1].axvline(strengths[0][0], color="0.5", ls=":", label="start")
axes[1].set(xlabel="log strength", ylabel="density", title=f"Strengths after {best} steps")
axes[1].legend()
path = Path(__file__ if "__file__" in globals() else "experiments/many_penalties.py").with_suffix(".png")
figure.savefig(path, dpi=150)
print(f"wrote {path.name}")
