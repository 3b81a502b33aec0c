"""Products of some rows: every form that a CPU is given, in lanes and with derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxlearn.linalg.crossprod import NARROWEST, SHORT, crossprod, of_upper, upper_gram


def gram(X, d):
    return of_upper(upper_gram(X, d))


@pytest.mark.parametrize("n_rows", [0, 1, 40, SHORT + 1])
@pytest.mark.parametrize("p", [1, NARROWEST - 1, 2 * NARROWEST + 3, 5 * NARROWEST + 1])
def test_products(n_rows, p, dtype):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((n_rows, p)).astype(dtype), rng.standard_normal((n_rows, 3)).astype(dtype)
    d = rng.uniform(-1, 1, n_rows).astype(dtype)
    X64, unit = X.astype(float), 4 * np.finfo(dtype).eps
    found = jax.jit(gram)(X, d)
    assert found.dtype == dtype
    assert (np.abs(found - (X64.T * d) @ X64) <= unit * (1 + n_rows) * (np.abs(X64.T) * np.abs(d)) @ np.abs(X64)).all()
    found = jax.jit(crossprod)(X, Y)
    assert (np.abs(found - X64.T @ Y) <= unit * (1 + n_rows) * np.abs(X64.T) @ np.abs(Y)).all()


def test_blocks_below_the_diagonal_are_those_above(x64):
    X = np.random.default_rng(0).standard_normal((30, 4 * NARROWEST + 1))
    parts = upper_gram(X, np.ones(30))
    assert [part.shape for part in parts] == [(100, 401), (100, 301), (100, 201), (101, 101)]
    found = np.asarray(of_upper(parts))
    np.testing.assert_array_equal(found[250:, :100], found[:100, 250:].T)


def test_lanes_and_derivatives(x64):
    rng = np.random.default_rng(0)
    X, d = rng.standard_normal((2, 9, 2 * NARROWEST)), rng.uniform(0.5, 1, (2, 9))
    found = jax.vmap(gram)(X, d)
    np.testing.assert_allclose(found, [(x.T * w) @ x for x, w in zip(X, d, strict=True)], atol=1e-12)
    shared = jax.vmap(gram, (None, 0))(X[0], d)
    np.testing.assert_allclose(shared[1], (X[0].T * d[1]) @ X[0], atol=1e-12)
    check_grads(lambda d: jnp.sin(gram(X[0], d)), (d[0],), order=2, modes=["fwd", "rev"])
