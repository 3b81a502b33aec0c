"""Divergences against scikit-learn's, and their derivatives against automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition._nmf import _beta_divergence

from jaxlearn.objectives.divergence import BetaDivergence

BETAS = [-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0]


@pytest.mark.parametrize("beta", BETAS)
def test_values(beta, dtype):
    rng = np.random.default_rng(0)
    W, H, X = rng.random((20, 3)), rng.random((3, 8)), rng.random((20, 8)) + 0.01
    ours = BetaDivergence(beta).value(jnp.asarray(X, dtype), jnp.asarray(W @ H, dtype)).sum()
    # differences of powers cancel, of terms of the size of X
    np.testing.assert_allclose(ours, _beta_divergence(X, W, H, beta), rtol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("beta", BETAS)
def test_derivatives_and_the_parts_of_zeros(beta, x64):
    loss, x, y = BetaDivergence(beta), jnp.asarray([0.3, 2.0, 0.7]), jnp.asarray([0.5, 0.4, 0.7])
    slope = jax.vmap(jax.grad(loss.value, 1))(x, y)
    np.testing.assert_allclose(slope, loss.repulsion(y) - loss.attraction(x, y), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(loss.known(x, y) + loss.anywhere(y), loss.value(x, y), rtol=1e-12, atol=1e-12)
    assert float(loss.known(jnp.zeros(1), y[:1])[0]) == 0
    assert (np.asarray(loss.value(y, y)) < 1e-15).all()
