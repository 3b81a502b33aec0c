"""The penalty of groups beside its definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.objectives import ElasticNet, GroupElasticNet, as_groups

LABELS = np.array([2, 0, 1, 0, 2, 2])
GROUPED = GroupElasticNet(np.array([0.5, 1.0, 0.2]), 0.7, as_groups(LABELS))


def test_groups_of_labels():
    np.testing.assert_array_equal(as_groups(["b", "a", "b"]), [[1, 3], [0, 2]])


def test_rows_and_back(x64):
    b = jnp.arange(1.0, 7.0)
    np.testing.assert_array_equal(GROUPED.rows(b), [[2, 4, 0], [3, 0, 0], [1, 5, 6]])
    np.testing.assert_array_equal(GROUPED.joined(GROUPED.rows(b), 6), b)


def test_value(x64):
    b = np.arange(1.0, 7.0)
    expected = sum(
        a * (0.7 * np.linalg.norm(b[g == LABELS]) + 0.15 * np.sum(b[g == LABELS] ** 2))
        for g, a in enumerate((0.5, 1.0, 0.2))
    )
    np.testing.assert_allclose(GROUPED.value(jnp.asarray(b)), expected, rtol=1e-14)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_the_prox_has_no_subdifferential_distance(scale, x64):
    v = scale * jnp.asarray(np.random.default_rng(0).standard_normal(6))
    b = GROUPED.prox(v, 1.0)
    np.testing.assert_allclose(GROUPED.subdifferential_distance(b, b - v), 0, atol=1e-14)
    assert float(GROUPED.subdifferential_distance(b + 0.1, b + 0.1 - v).max()) > 0.05


def test_the_subgradient_is_that_of_the_value(x64):
    b = jnp.asarray(np.random.default_rng(0).standard_normal(6))
    np.testing.assert_allclose(GROUPED.subgradient(b), jax.grad(GROUPED.value)(b), rtol=1e-13)


def test_fenchel_and_young(x64):
    rng = np.random.default_rng(0)
    for _ in range(20):
        b, u = jnp.asarray(rng.standard_normal((2, 6)))
        assert GROUPED.value(b) + GROUPED.conjugate(u) >= b @ u
    touching = GROUPED.subgradient(b)
    np.testing.assert_allclose(GROUPED.value(b) + GROUPED.conjugate(touching), b @ touching, rtol=1e-13)


def test_rows_of_one_number_are_the_elastic_net(x64):
    b = jnp.array([0.3, -2.0, 0.0, 1.0])
    one, each = ElasticNet(0.6, 0.7), GroupElasticNet(0.6, 0.7)
    np.testing.assert_allclose(each.value(b[:, None]), one.value(b), rtol=1e-14)
    np.testing.assert_allclose(each.prox(b[:, None], 0.5)[:, 0], one.prox(b, 0.5), rtol=1e-14)
    np.testing.assert_allclose(each.conjugate(b[:, None]), one.conjugate(b), rtol=1e-14)
