"""
A ridge head that is solved inside training
===========================================

A network that shall tell five characters apart, of which it has seen one drawing each, has no time to learn. It can give
features on which a linear model does. Here the linear model is a ridge regression, fitted anew for each task *inside* the
compiled training step: the network, the strength of the penalty and the scale of the scores follow the gradient of the error
on other drawings, through the fit (Bertinetto et al., "Meta-learning with differentiable closed-form solvers", 2019).

The alphabets are made here: a character is a random drawing of two to four strokes, an example of it a distorted, noisy copy.
400 characters to learn from, 50 to choose by, 100 others to be judged on. Beside the ridge head: the same with a logistic one;
the same network taught to name all characters, by softmax, from as many images; one that has learnt nothing; and bare pixels.
Their strengths are chosen by accuracy on the 50 characters, and so is whether features are scaled to unit length.

In one task there are fits for one example of each class and for five, told apart by weights alone: an example of weight 0
is not there. So all shapes are the same, and one program trains. All takes about two minutes on two cores.
"""

from functools import partial
from pathlib import Path
from time import perf_counter

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax
import scipy.linalg  # noqa: F401  XLA calls its LAPACK on a CPU: here already, so that its threads can be limited
from threadpoolctl import threadpool_limits

from jaxlearn.models import glm
from jaxlearn.objectives import L2, Loss, Multinomial, Squared

mpl.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

# XLA factors the lanes in threads of its own. Those of OpenBLAS on top wait for each other, for seconds on a busy machine.
threadpool_limits(1, "blas")

SIDE, EXAMPLES, POINTS = 20, 20, 24  # pixels; of each character; on a stroke
WAY, SHOTS, QUERIES = 5, (1, 5), 5  # classes of a task; examples of each to learn from; and to be judged on
TASKS, STEPS, EVERY = 8, 360, 40
FEATURES = 64
BATCH = TASKS * WAY * (max(SHOTS) + QUERIES)
GRID = np.arange(-8.0, 8.0, dtype=np.float32)  # log strengths

# %%
# Alphabets
# ---------


def alphabets(rng, n_classes):
    """Drawings, (n_classes, EXAMPLES, SIDE, SIDE): ink between 0 and 1, and noise."""
    n = n_classes * EXAMPLES
    strokes = rng.uniform(-1, 1, (n_classes, 4, 3, 2))  # three control points each
    joined = rng.random((n_classes, 3, 1)) < 0.6  # a stroke begins where the last one ended
    strokes[:, 1:, 0] = np.where(joined, strokes[:, :-1, 2], strokes[:, 1:, 0])
    low, high = strokes.min((1, 2), keepdims=True), strokes.max((1, 2), keepdims=True)
    strokes = (2 * strokes - low - high) / (high - low).max(-1, keepdims=True)
    drawn = (strokes[:, None] + 0.1 * rng.standard_normal((n_classes, EXAMPLES, 4, 3, 2))).reshape(n, 4, 3, 2)
    present = np.arange(4) < rng.integers(2, 5, n_classes).repeat(EXAMPLES)[:, None]
    drawn = np.where(present[..., None, None], drawn, drawn[:, :1])  # the first stroke stands in for absent ones

    angle, shear = np.deg2rad(rng.uniform(-35, 35, n)), rng.uniform(-0.35, 0.35, n)
    width, height = np.exp(rng.uniform(-0.25, 0.25, (2, n)))
    cos, sin = np.cos(angle), np.sin(angle)
    distortion = np.array(
        [[cos * width, cos * shear - sin * height], [sin * width, sin * shear + cos * height]]
    )  # (2, 2, n)
    shift = rng.uniform(-0.35, 0.35, (n, 1, 1, 2))
    drawn = np.einsum("ijn,nskj->nski", distortion, drawn) + shift

    t = np.linspace(0, 1, POINTS)
    bezier = np.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2], 1)
    points = np.einsum("tk,nskc->nstc", bezier, drawn).reshape(n, -1, 2).astype(np.float32)
    # The squared distance to the nearest point, as a soft minimum: a Gaussian is one along x times one along y, so that
    # the sum over the points is a product of matrices.
    sharpness = np.float32(60)
    along = np.exp(-sharpness * np.square(points[..., None] - np.linspace(-1.7, 1.7, SIDE, dtype=np.float32)))
    near = along[:, :, 1].transpose(0, 2, 1) @ along[:, :, 0]
    distance = np.sqrt(np.maximum(np.log(2) - np.log(near + 1e-12), 0) / sharpness)
    ink = 1 / (1 + np.exp((distance - 0.1) / 0.035))
    return (ink + 0.2 * rng.standard_normal(ink.shape)).astype(np.float32).reshape(-1, EXAMPLES, SIDE, SIDE)


start = perf_counter()
rng = np.random.default_rng(0)
train, choice, test = (jnp.asarray(alphabets(rng, n)) for n in (400, 50, 100))
print(f"{400 + 50 + 100} characters, {EXAMPLES} drawings each, of {SIDE}×{SIDE} pixels: {perf_counter() - start:.1f} s")

# %%
# The network and its heads
# -------------------------


class Network(eqx.Module):
    convolutions: list
    norms: list
    last: eqx.nn.Linear

    def __init__(self, key, channels=32):
        first, *others, last = jax.random.split(key, 4)
        conv = partial(eqx.nn.Conv2d, out_channels=channels, kernel_size=3, padding=1)
        self.convolutions = [conv(1, stride=2, key=first), *(conv(channels, key=k) for k in others)]
        self.norms = [eqx.nn.GroupNorm(channels // 4, channels) for _ in self.convolutions]
        self.last = eqx.nn.Linear(channels * (SIDE // 4) ** 2, FEATURES, key=last)

    def __call__(self, image):
        z = image[None]
        for layer, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            z = jax.nn.relu(norm(convolution(z)))
            if layer == 1:
                z = z.reshape(-1, SIDE // 4, 2, SIDE // 4, 2).mean((2, 4))
        return self.last(z.ravel())


def features(network, images):
    """(..., SIDE, SIDE) to (..., FEATURES)."""
    return jax.vmap(network)(images.reshape(-1, SIDE, SIDE)).reshape(*images.shape[:-2], FEATURES)


ONE_HOT = jnp.asarray(np.repeat(np.eye(WAY), max(SHOTS), 0), jnp.float32)
# one row of weights for each number of examples
WEIGHTS = jnp.asarray([np.tile(np.arange(max(SHOTS)) < shots, WAY) for shots in SHOTS], jnp.float32)


def scores(loss, z, weight, log_alpha):
    """Fit a head to a task's features (WAY, max(SHOTS) + n, p); its scores of the n others of each class, (WAY, n, WAY)."""
    support, query = jnp.split(z, [max(SHOTS)], 1)
    model = glm.GLM(loss=loss, penalty=L2(jnp.exp(log_alpha)))
    fitted = glm.fit(model, support.reshape(-1, z.shape[-1]), ONE_HOT, weight)
    return glm.linear_predictor(fitted, query.reshape(-1, z.shape[-1])).reshape(WAY, -1, WAY)


class Learner(eqx.Module):
    network: Network
    log_alpha: jax.Array  # (len(SHOTS),)
    log_scale: jax.Array
    loss: Loss  # of the head


LABELS = jnp.arange(WAY)[:, None]


def error(learner, images):
    """Mean cross-entropy over tasks (n, WAY, max(SHOTS) + QUERIES, SIDE, SIDE), each with every number of examples."""
    z = features(learner.network, images)
    lanes = jax.vmap(partial(scores, learner.loss), (0, None, None))  # over tasks
    lanes = jax.vmap(lanes, (None, 0, 0))  # over numbers of examples
    f = jnp.exp(learner.log_scale) * lanes(z, WEIGHTS, learner.log_alpha)
    return optax.softmax_cross_entropy_with_integer_labels(f, jnp.broadcast_to(LABELS, f.shape[:-1])).mean()


def draw(key, n_classes, n_queries):
    """A task: numbers of WAY characters, (WAY, 1), and of drawings of each, (WAY, max(SHOTS) + n_queries)."""
    first, *others = jax.random.split(key, 1 + WAY)
    characters = jax.random.choice(first, n_classes, (WAY, 1), replace=False)
    orders = jax.vmap(lambda key: jax.random.permutation(key, EXAMPLES))(jnp.stack(others))
    return characters, orders[:, : max(SHOTS) + n_queries]


# %%
# The derivative through the head
# -------------------------------
# In double precision, of one task and a network of eight channels: along random directions, beside central differences.

with jax.enable_x64(True):
    small = Learner(Network(jax.random.key(1), channels=8), jnp.full(len(SHOTS), -2.0), jnp.log(5.0), Squared())
    small = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), small)
    task = train[draw(jax.random.key(0), len(train), 1)][None].astype(jnp.float64)

    @jax.jit
    def moved(step, direction):
        return error(eqx.apply_updates(small, jax.tree.map(lambda d: step * d, direction)), task)

    slope = jax.jit(jax.grad(moved))
    leaves, structure = jax.tree.flatten(small)
    apart = []
    for _ in range(5):
        direction = [rng.standard_normal(leaf.shape) for leaf in leaves]
        direction = structure.unflatten([d / np.sqrt(sum(leaf.size for leaf in leaves)) for d in direction])
        difference = (moved(1e-6, direction) - moved(-1e-6, direction)) / 2e-6
        apart.append(abs(float(slope(0.0, direction) / difference) - 1))
print(f"derivative through {len(SHOTS)} ridge heads: within {max(apart):.0e} of central differences in 5 directions")

# %%
# Learning
# --------
# One compiled step: tasks are drawn, their features computed, a head fitted in each lane of a `vmap` over tasks and numbers of
# examples, the gradient taken through the fits, everything updated. It is traced once for each way of learning.

optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, STEPS))
traced = []


def by_tasks(learner, key):
    characters, drawings = jax.vmap(lambda key: draw(key, len(train), QUERIES))(jax.random.split(key, TASKS))
    return error(learner, train[characters, drawings])


def by_names(pair, key):
    """Ordinary classification of all characters to learn from."""
    network, last = pair
    images = jax.random.randint(key, BATCH, 0, len(train) * EXAMPLES)
    f = jax.vmap(last)(features(network, train.reshape(-1, SIDE, SIDE)[images]))
    return optax.softmax_cross_entropy_with_integer_labels(f, images // EXAMPLES).mean()


@eqx.filter_jit
def update(objective, model, state, key):
    traced.append(objective)  # Python runs this when it traces, never when the program runs
    value, gradient = eqx.filter_value_and_grad(objective)(model, key)
    updates, state = optimizer.update(gradient, state)
    return eqx.apply_updates(model, updates), state, value


@partial(jax.jit, static_argnums=0)
def accuracy(loss, z, tasks, log_alphas):
    """Of each task, number of examples and strength, log_alphas (len(SHOTS), n): (n_tasks, len(SHOTS), n)."""

    def one(task):
        by_strength = jax.vmap(partial(scores, loss), (None, None, 0))
        return jax.vmap(by_strength, (None, 0, 0))(z[task], WEIGHTS, log_alphas)

    return jax.lax.map(lambda task: (one(task).argmax(-1) == LABELS).mean((-2, -1)), tasks, batch_size=25)


def many(seed, n, images):
    return jax.vmap(lambda key: draw(key, len(images), EXAMPLES - max(SHOTS)))(
        jax.random.split(jax.random.key(seed), n)
    )


chosen_by, judged_on = many(1, 100, choice), many(2, 400, test)
BOTH = np.broadcast_to(GRID, (len(SHOTS), len(GRID)))
prepared = eqx.filter_jit(features)


def unit(z):
    return z / jnp.linalg.norm(z, axis=-1, keepdims=True)


def by_strength(z):
    """Accuracies on the characters to choose by, (len(SHOTS), len(GRID))."""
    return np.asarray(accuracy(Squared(), z, chosen_by, BOTH).mean(0))


def tuned(represent):
    """As judged, (n_tasks, len(SHOTS)), at the strengths that are best on the characters to choose by."""
    found = {change: by_strength(change(represent(choice))) for change in (jnp.asarray, unit)}
    columns = []
    for i in range(len(SHOTS)):
        change = max(found, key=lambda change: found[change][i].max())
        at = found[change][i].argmax()
        columns.append(accuracy(Squared(), change(represent(test)), judged_on, BOTH)[:, i, at])
    return np.stack(columns, 1)


def learnt(learner, images, tasks):
    """At the strengths that were learnt with the features."""
    z = prepared(learner.network, images)
    return np.asarray(accuracy(learner.loss, z, tasks, learner.log_alpha[:, None])[..., 0])


def learn(name, objective, model, look):
    """The model after STEPS steps, and what `look` saw on the way: (n_looks, len(SHOTS))."""
    state, before, seconds, curve = optimizer.init(eqx.filter(model, eqx.is_inexact_array)), len(traced), [], []
    for i, key in enumerate(jax.random.split(jax.random.key(3), STEPS)):
        if i % EVERY == 0:
            curve.append(look(model))
        start = perf_counter()
        model, state, value = update(objective, model, state, key)
        value.block_until_ready()
        seconds.append(perf_counter() - start)
    curve.append(look(model))
    print(
        f"{name:<28} traced {len(traced) - before}×, first step {seconds[0]:.1f} s, ",
        f"then {np.median(seconds) * 1e3:.0f} ms each, {sum(seconds):.0f} s in all",
        sep="",
        flush=True,
    )
    return model, np.array(curve)


def look_tuned(pair):
    z = prepared(pair[0], choice)
    return np.maximum(by_strength(z), by_strength(unit(z))).max(1)


def look_learnt(learner):
    return learnt(learner, choice, chosen_by).mean(0)


print(f"{STEPS} steps of {BATCH} images")
fresh = Network(jax.random.key(0))
names = eqx.nn.Linear(FEATURES, len(train), key=jax.random.key(1))
strengths = jnp.full(
    len(SHOTS), -2.0, jnp.float32
)  # of a stated type: a weak one would become strong in the first step
curves = {}
(named, _), curves["softmax"] = learn("softmax of all characters", by_names, (fresh, names), look_tuned)
ridge = Learner(fresh, strengths, jnp.float32(np.log(5)), Squared())
ridge, curves["ridge"] = learn("through a ridge head", by_tasks, ridge, look_learnt)
logistic = Learner(fresh, strengths, jnp.float32(0), Multinomial())
logistic, curves["logistic"] = learn("through a logistic head", by_tasks, logistic, look_learnt)

# %%
# What came of it
# ---------------
# Tasks are the same for all, so that what two have between them is surer than either.

results = {
    "pixels": tuned(lambda images: images.reshape(*images.shape[:2], -1)),
    "untrained network": tuned(partial(prepared, fresh)),
    "softmax network": tuned(partial(prepared, named)),
    "through a ridge head": learnt(ridge, test, judged_on),
    "through a logistic head": learnt(logistic, test, judged_on),
}


def interval(of_tasks):
    """Mean in percent, and half of its 95 % interval over tasks."""
    return 100 * of_tasks.mean(0), 196 * of_tasks.std(0, ddof=1) / np.sqrt(len(of_tasks))


def stated(of_tasks, sign=""):
    return "".join(f"{mean:{sign}10.1f} ± {half:.1f} %" for mean, half in zip(*interval(of_tasks), strict=True))


print(f"accuracy on characters never seen, {WAY} classes, means of {len(judged_on[0])} tasks and their 95 % intervals")
print(f"{'':<28}" + "".join(f"{f'{shots}-shot':>18}" for shots in SHOTS))
for name, of_tasks in results.items():
    print(f"{name:<28}{stated(of_tasks)}")
for other in ("softmax network", "through a logistic head"):
    print(f"{f'ridge less {other.split()[-2]}':<28}{stated(results['through a ridge head'] - results[other], '+')}")
for name, learner in (("ridge", ridge), ("logistic", logistic)):
    print(f"strengths learnt, {name:<10}" + "".join(f"{float(a):18.3f}" for a in jnp.exp(learner.log_alpha)))
print(f"{'the ridge, best by choice':<28}{stated(tuned(partial(prepared, ridge.network)))}")

# %%
# The picture
# -----------

red, blue, green, grey = "#c4441c", "#2a6fb0", "#4a8a3f", "0.6"
colors = {"softmax": blue, "ridge": red, "logistic": green}
labels = {
    "softmax": "softmax of all characters",
    "ridge": "through a ridge head",
    "logistic": "through a logistic head",
}
plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False})
figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
(drawings, curve_plot), (bar_plot, strength_plot) = axes

tiles = np.asarray(test[:16, :5]).reshape(2, 8, 5, SIDE, SIDE)  # two columns of eight characters
tiles = np.pad(tiles, [(0, 0), (0, 0), (0, 0), (1, 1), (1, 1)], constant_values=np.nan)
blocks = tiles.transpose(0, 1, 3, 2, 4).reshape(2, 8 * (SIDE + 2), -1)
gap = np.full((blocks.shape[1], SIDE // 2), np.nan)
drawings.imshow(np.hstack([blocks[0], gap, blocks[1]]), cmap="gray_r", vmin=0, vmax=1)
drawings.set_title("16 of the characters never seen, five drawings of each")
drawings.axis("off")

seen = np.arange(STEPS // EVERY + 1) * EVERY * BATCH / 1000
for name, curve in curves.items():
    for i, line in enumerate(("-", "--")):
        curve_plot.plot(seen, 100 * curve[:, i], line, color=colors[name], label=None if i else labels[name])
for shots, line in zip(SHOTS, ("-", "--"), strict=True):
    curve_plot.plot([], [], line, color="0.3", label=f"{shots}-shot")
curve_plot.set(xlabel="thousand images seen", ylabel="accuracy in %", title="On the characters to choose by")
curve_plot.legend(frameon=False, loc="lower right")

tints = [grey, "0.4", blue, red, green]
for i in range(len(SHOTS)):
    for j, (of_tasks, tint) in enumerate(zip(results.values(), tints, strict=True)):
        mean, half = (part[i] for part in interval(of_tasks))
        at = i * (len(results) + 1) + j
        bar_plot.barh(at, mean, xerr=half, color=tint, ecolor="0.1", capsize=2)
        bar_plot.annotate(f"{mean:.1f}", (mean + half + 1, at), va="center")
places = [i * (len(results) + 1) + j for i in range(len(SHOTS)) for j in range(len(results))]
bar_plot.set(yticks=places, yticklabels=[*results] * len(SHOTS))
for i, shots in enumerate(SHOTS):
    bar_plot.annotate(f"{shots}-shot", (100, i * (len(results) + 1)), ha="right", va="center", weight="bold")
bar_plot.invert_yaxis()
bar_plot.axvline(100 / WAY, color="0.5", ls=":", lw=1)
bar_plot.set(xlabel="accuracy in %, chance dotted", xlim=(0, 104), title=f"{WAY} characters never seen")

for name, network in (("softmax", named), ("ridge", ridge.network)):
    found = 100 * by_strength(prepared(network, choice))
    for i, line in enumerate(("-", "--")):
        strength_plot.plot(np.exp(GRID), found[i], line, color=colors[name], label=None if i else labels[name])
own = 100 * look_learnt(ridge)
strength_plot.plot(np.exp(ridge.log_alpha), own, "o", color=red, label="strengths learnt")
strength_plot.set(xscale="log", xlabel="strength of the ridge penalty", ylabel="accuracy in %", ylim=(60, 95))
strength_plot.set_title("Other strengths, on the characters to choose by")
strength_plot.legend(frameon=False, loc="lower left", ncols=2)
path = Path(__file__ if "__file__" in globals() else "experiments/few_shot.py").with_suffix(".png")
figure.savefig(path, dpi=120)
print(f"wrote {path.name}")
