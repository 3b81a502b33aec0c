"""Both forms of the sweep over atoms against the textbook's, on random problems."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.objectives import ElasticNetBall, L2Ball
from jaxlearn.solvers.dictionary_update import by_blocks, by_gram, sweep

PROBLEMS, K, P = 200, 19, 45  # more than a block of atoms, and no multiple of one


def problems(dtype, seed=0):
    """Dictionaries, and sums of codes whose sizes differ a hundredfold; one atom is never used."""
    rng = np.random.default_rng(seed)
    D = rng.standard_normal((PROBLEMS, K, P))
    D /= np.linalg.norm(D, axis=2, keepdims=True)
    codes = rng.standard_normal((PROBLEMS, 60, K)) * np.geomspace(10, 0.1, K)
    codes[:, :, 3] = 0
    X = codes @ rng.standard_normal((PROBLEMS, K, P)) / 5 + rng.standard_normal((PROBLEMS, 60, P))
    C, B = np.einsum("qnk,qnl->qkl", codes, codes) / 60, np.einsum("qnk,qnp->qkp", codes, X) / 60
    return [np.asarray(a, dtype) for a in (D, B, C)]


def textbook(D, B, C, ball, budget):
    """One atom after the other, of all problems at once, in double precision."""
    D, B, C = D.astype(float), B.astype(float), C.astype(float)
    project = jax.jit(ball.project)
    for j in range(K):
        c = C[:, j, j, None]
        free = D[:, j] + (B[:, j] - np.einsum("qk,qkp->qp", C[:, j], D)) / np.where(c > 0, c, 1)
        new = project(jnp.asarray(free), jnp.full(PROBLEMS, float(budget[j])))
        D[:, j] = np.where(c > 0, new, D[:, j])
    return D


@pytest.mark.parametrize(
    ("form", "ball"),
    [
        (by_gram, L2Ball()),
        (by_blocks, L2Ball()),
        (by_blocks, L2Ball(positive=True)),
        (by_blocks, ElasticNetBall(l1_ratio=1.0)),
        (by_blocks, ElasticNetBall(l1_ratio=0.5, positive=True)),
    ],
)
def test_equals_the_textbook(form, ball, dtype):
    D, B, C = problems(dtype)
    budget = np.linspace(0.3, 1, K).astype(dtype)
    D = np.asarray(jax.vmap(ball.project, in_axes=(0, None))(D, budget))  # atoms are in their balls from the start

    def solve(D, B, C):
        if form is by_gram:
            return by_gram(D, B, C, ball, gram=jnp.matmul(D, D.T), budget=jnp.asarray(budget))
        atoms = by_blocks(D, B, C, ball, jnp.asarray(budget))
        return atoms, jnp.matmul(atoms, atoms.T)

    atoms, gram = map(np.asarray, jax.jit(jax.vmap(solve))(D, B, C))
    with jax.enable_x64(True):
        expected = textbook(D, B, C, ball, budget)
    error = np.linalg.norm(atoms - expected, axis=(1, 2)) / np.linalg.norm(expected, axis=(1, 2))
    assert error.max() <= (1e-5 if dtype == np.float32 else 1e-12)
    products = np.einsum("qkp,qlp->qkl", atoms, atoms)
    np.testing.assert_allclose(gram, products, atol=200 * np.finfo(dtype).eps)


@pytest.mark.parametrize("p", [30, 600])
def test_lowers_the_surrogate(p):
    """The sweep is exact over each atom, so it may not raise ½ tr(C D Dᵀ) − tr(B Dᵀ)."""
    rng = np.random.default_rng(0)
    D = rng.standard_normal((2, p), np.float32)
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    codes = rng.standard_normal((50, 2), np.float32)
    X = rng.standard_normal((50, p), np.float32)
    B, C = codes.T @ X / 50, codes.T @ codes / 50

    def surrogate(D):
        return 0.5 * np.sum(C * (D @ D.T)) - np.sum(B * D)

    values = [surrogate(D)]
    update = jax.jit(partial(sweep, ball=L2Ball()))
    for _ in range(5):
        D, gram = map(np.asarray, update(D, B, C, gram=D @ D.T))
        np.testing.assert_allclose(gram, D @ D.T, atol=1e-5)
        values.append(surrogate(D))
    assert values[1] < values[0]
    assert (np.diff(values) <= 1e-5).all()
