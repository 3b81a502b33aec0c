"""
A codebook inside a training step
=================================

An autoencoder of 16×16 pieces of photographs that says each piece by four words of a codebook of 128 (van den Oord, Vinyals
and Kavukcuoglu, "Neural discrete representation learning", 2017). The words are k-means centers *inside* the compiled
training step: ``kmeans.quantize`` puts the nearest word in the place of what the encoder says and hands its gradient on as if
nothing had happened; then the batch moves the words by ``minibatch_kmeans.step``, which is what `MiniBatchKMeans` makes of it,
with a memory of earlier batches that fades.

Beside it: words that do not move, and words that learn by the gradient of their own distance to what the encoder says.
The photographs are two that scikit-learn brings along. All takes about two minutes on two cores.
"""

import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax
from sklearn.datasets import load_sample_images

from jaxlearn.models import kmeans, minibatch_kmeans

mpl.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

SIDE, CODES, WIDTH, WORDS = 16, 4, 8, 128  # pixels; words of a piece; numbers of a word; words there are
BATCH, STEPS, EVERY = 256, 3000, 100
CONTRAST, FADING, COMMITMENT = 0.05, 0.99, 0.25

# %%
# Pieces of two photographs: the left three quarters to learn from, the rest to be judged on.

photographs = [image.mean(2).astype(np.float32) / 255 for image in load_sample_images().images]


def pieces(images, stride):
    windows = [np.lib.stride_tricks.sliding_window_view(image, (SIDE, SIDE))[::stride, ::stride] for image in images]
    found = np.concatenate([w.reshape(-1, SIDE * SIDE) for w in windows])
    return found[found.std(1) > CONTRAST]  # sky and darkness need no words


learnt = jnp.asarray(pieces([image[:, :480] for image in photographs], 3))
judged = jnp.asarray(pieces([image[:, 480:] for image in photographs], SIDE))

# %%
# Encoder and decoder are small. The codebook is a state of mini-batch k-means.


class Autoencoder(eqx.Module):
    encoder: eqx.nn.MLP
    decoder: eqx.nn.MLP

    def __init__(self, key):
        one, other = jax.random.split(key)
        self.encoder = eqx.nn.MLP(SIDE * SIDE, CODES * WIDTH, 256, 2, jax.nn.gelu, key=one)
        self.decoder = eqx.nn.MLP(CODES * WIDTH, SIDE * SIDE, 256, 2, jax.nn.gelu, key=other)

    def encode(self, X):
        return jax.vmap(self.encoder)(X - X.mean(1, keepdims=True)).reshape(-1, WIDTH)

    def decode(self, words, means):
        return jax.vmap(self.decoder)(words.reshape(-1, CODES * WIDTH)) + means


def reconstruct(network, book, X, said=None):
    said = network.encode(X) if said is None else said
    return network.decode(kmeans.quantize(book, said), X.mean(1, keepdims=True))


def loss(trained, book, X, kind):
    network, centers = trained
    book = eqx.tree_at(lambda b: b.centers, book, centers if kind == "by gradient" else book.centers)
    said = network.encode(X)
    words = book.centers[kmeans.predict(book, said)]
    error = jnp.square(reconstruct(network, book, X, said) - X).mean()
    total = error + COMMITMENT * jnp.square(said - jax.lax.stop_gradient(words)).mean()
    if kind == "by gradient":
        total = total + jnp.square(jax.lax.stop_gradient(said) - words).mean()
    return total, said


def train(kind, seed=0):
    """Held-out mean squared errors, and the network and codebook at the end."""
    key = jax.random.key(seed)
    network = Autoencoder(key)
    start = network.encode(learnt[:: len(learnt) // (WORDS // CODES)][: WORDS // CODES])
    book = minibatch_kmeans.init(start)
    trained, optimizer = (network, start), optax.adam(1e-3)
    state = optimizer.init(eqx.filter(trained, eqx.is_array))

    def step(carry, key):
        trained, book, state = carry
        X = learnt[jax.random.randint(key, (BATCH,), 0, len(learnt))]
        (_, said), slope = eqx.filter_value_and_grad(loss, has_aux=True)(trained, book, X, kind)
        change, state = optimizer.update(slope, state)
        trained = eqx.apply_updates(trained, change)
        if kind == "by k-means":
            faded = eqx.tree_at(lambda b: b.counts, book, FADING * book.counts)
            book = minibatch_kmeans.step(minibatch_kmeans.MiniBatchKMeans(), faded, said, key=key)
            book = eqx.tree_at(lambda b: b.done, book, jnp.bool_(False))  # what the words are to say goes on changing
        elif kind == "by gradient":
            book = eqx.tree_at(lambda b: b.centers, book, trained[1])
        return (trained, book, state), None

    arrays, static = eqx.partition((trained, book, state), eqx.is_array)

    @jax.jit
    def some_steps(arrays, keys):
        run = lambda arrays, key: (eqx.filter(step(eqx.combine(arrays, static), key)[0], eqx.is_array), None)  # noqa: E731
        return jax.lax.scan(run, arrays, keys)[0]

    @jax.jit
    def judge(arrays):
        (network, _), book, _ = eqx.combine(arrays, static)
        words = kmeans.predict(book, network.encode(judged))
        share = jnp.bincount(words, length=WORDS) / len(words)
        used = jnp.exp(-jnp.sum(jnp.where(share > 0, share * jnp.log(share), 0)))
        return jnp.square(reconstruct(network, book, judged) - judged).mean(), used

    curve = []
    for keys in jax.random.split(key, (STEPS // EVERY, EVERY)):
        arrays = some_steps(arrays, keys)
        curve.append([float(value) for value in judge(arrays)])
    (network, _), book, _ = eqx.combine(arrays, static)
    return np.array(curve), network, book


# %%
# A flat piece, its mean alone, is the least that a code may say.

flat = float(jnp.square(judged - judged.mean(1, keepdims=True)).mean())
found = {kind: train(kind) for kind in ("by k-means", "by gradient", "not at all")}
for kind, (curve, _, _) in found.items():
    print(
        f"words learn {kind:11s}: {curve[-1, 0] / flat:6.1%} of the variance is lost on new pieces; as if {curve[-1, 1]:.0f} words were used"
    )

# %%
# The figure: what is lost as learning goes on, and how many words are of use; then new pieces, and what 28 bits say of them.

figure, axes = plt.subplots(2, 2, figsize=(9, 6), height_ratios=[1.4, 1])
for kind, (curve, _, _) in found.items():
    steps = EVERY * np.arange(1, len(curve) + 1)
    axes[0, 0].plot(steps, curve[:, 0] / flat, label=kind)
    axes[0, 1].plot(steps, curve[:, 1], label=kind)
axes[0, 0].set(xlabel="steps", ylabel="share of the variance lost")
axes[0, 1].set(xlabel="steps", ylabel="words in use (exp of entropy)")
axes[0, 0].legend(title="words learn")
some = judged[:: len(judged) // 24][:24]
_, network, book = found["by k-means"]
said = reconstruct(network, book, some)
for ax, rows, title in ((axes[1, 0], some, "new pieces"), (axes[1, 1], said, "by four words and a mean")):
    framed = np.pad(np.asarray(rows).reshape(3, 8, SIDE, SIDE), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=1)
    ax.imshow(framed.swapaxes(1, 2).reshape(3 * (SIDE + 2), -1), cmap="gray", vmin=0, vmax=1)
    ax.set_title(title, fontsize=10)
    ax.axis("off")
figure.tight_layout()
# not __file__, which the gallery of the documentation does not define
picture = Path(sys.argv[0]).resolve().with_suffix(".png")
figure.savefig(picture, dpi=110)
print(f"The picture: {picture}")
