"""Penalties: prox by brute force on a fine grid, conjugates by definition, subdifferentials at known optima."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.objectives import L1, L2, ElasticNet, NoPenalty

PENALTIES = [
    NoPenalty(),
    L2(0.7),
    L1(0.4),
    ElasticNet(0.9, 0.3),
    ElasticNet(0.9, 0.3, positive=True),
    L1(0.4, positive=True),
]
GRID = np.linspace(-4, 4, 80001)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("v", [-2.0, -0.3, 0.0, 0.25, 1.7])
def test_prox_minimises(penalty, v, x64):
    step = 0.8
    grid = GRID[GRID >= 0] if getattr(penalty, "positive", False) else GRID
    value = np.array([penalty.value(jnp.array([0.0]))]) * 0 + 0.5 * (grid - v) ** 2
    l1, l2 = penalty.strengths(jnp.zeros(1))
    value = value + step * (float(l1[0]) * abs(grid) + 0.5 * float(l2[0]) * grid**2)
    np.testing.assert_allclose(penalty.prox(jnp.array([v]), step)[0], grid[value.argmin()], atol=1e-4)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("v", [-2.0, -0.3, 0.25, 1.7])
def test_the_prox_has_no_subdifferential_distance(penalty, v, x64):
    """b = prox(v) means v − b ∈ ∂Ω(b): with −gradient = v − b the distance vanishes, and nowhere near it."""
    v = jnp.array([v])
    b = penalty.prox(v, 1.0)
    np.testing.assert_allclose(penalty.subdifferential_distance(b, b - v), 0, atol=1e-15)
    moved = jnp.abs(b) + 0.1
    assert penalty.subdifferential_distance(moved, moved - v)[0] > 0.05


@pytest.mark.parametrize("penalty", [L2(0.7), ElasticNet(0.9, 0.3), ElasticNet(0.9, 0.3, positive=True)])
@pytest.mark.parametrize("u", [-1.5, 0.1, 0.8])
def test_conjugate_is_the_supremum(penalty, u, x64):
    grid = GRID[GRID >= 0] if getattr(penalty, "positive", False) else GRID
    l1, l2 = penalty.strengths(jnp.zeros(1))
    value = u * grid - float(l1[0]) * abs(grid) - 0.5 * float(l2[0]) * grid**2
    np.testing.assert_allclose(penalty.conjugate(jnp.array([u])), value.max(), atol=1e-6)


def test_conjugate_of_l1_is_an_indicator(x64):
    assert L1(0.4).conjugate(jnp.array([0.3, -0.4])) == 0
    assert L1(0.4).conjugate(jnp.array([0.3, -0.5])) == np.inf


def test_a_strength_for_each_feature_broadcasts_over_targets(x64):
    penalty = L2(jnp.array([1.0, 0.0]))
    coef = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    assert penalty.value(coef) == 0.5 * (1 + 4)
    np.testing.assert_array_equal(penalty.smooth_gradient(coef), [[1, 2], [0, 0]])
