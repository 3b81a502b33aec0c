"""Distances: all pairs as pair by pair, scores as ranks, ranks as distances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from jaxlearn.access.dense import Dense
from jaxlearn.objectives.distances import (
    Chebyshev,
    Cosine,
    Euclidean,
    Haversine,
    Manhattan,
    Minkowski,
    SquaredEuclidean,
)

W = np.linspace(0.5, 2, 13)
CASES = [
    (Euclidean(), "euclidean", {}),
    (SquaredEuclidean(), "sqeuclidean", {}),
    (Cosine(), "cosine", {}),
    (Manhattan(), "cityblock", {}),
    (Chebyshev(), "chebyshev", {}),
    (Minkowski(3.0), "minkowski", {"p": 3}),
    (Minkowski(1.5, W), "minkowski", {"p": 1.5, "w": W}),
]


@pytest.mark.parametrize(("distance", "name", "options"), CASES, ids=[name for _, name, _ in CASES])
def test_formulas(distance, name, options, x64):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((20, 13)) + 1, rng.standard_normal((7, 13))
    expected = cdist(X, Y, name, **options)
    ranks = distance.ranks(jnp.asarray(X), jnp.asarray(Y))
    np.testing.assert_allclose(distance.distance(ranks), expected, rtol=1e-12)
    np.testing.assert_allclose(distance.rank(X[:, None], Y[None]), ranks, rtol=1e-12)
    np.testing.assert_allclose(distance.rank_of(jnp.asarray(expected)), ranks, rtol=1e-12)
    if distance.by_product:
        squares = [jnp.square(a).sum(1) for a in (X, Y)]
        scores = distance.scores(Dense(jnp.asarray(X)), jnp.asarray(Y), squares[0])
        np.testing.assert_allclose(scores + distance.rest(squares[1])[None], ranks, atol=1e-12)
    if distance.shift_invariant:
        np.testing.assert_allclose(distance.ranks(jnp.asarray(X + 3), jnp.asarray(Y + 3)), ranks, rtol=1e-10)


def test_zero_rows(x64):
    zero, one = jnp.zeros((1, 3)), jnp.ones((1, 3))
    for x, y, expected in ((zero, zero, 1), (zero, one, 1), (one, one, 0), (one, -one, 2)):
        assert float(Cosine().ranks(x, y)[0, 0]) == pytest.approx(expected, abs=1e-15)
        assert float(Cosine().rank(x, y)[0]) == pytest.approx(expected, abs=1e-15)
    assert float(jax.grad(lambda x: Euclidean().distance(Euclidean().rank(x, one)).sum())(one).sum()) == 0


def test_cities(x64):
    """Buenos Aires and Paris are 11,099.54 km apart."""
    cities = np.radians([[-34.83333, -58.5166646], [49.0083899664, 2.53844117956]])
    angle = Haversine().distance(Haversine().rank(jnp.asarray(cities[0]), jnp.asarray(cities[1])))
    assert float(angle) * 6371.0 == pytest.approx(11099.54, abs=0.01)
