"""Balls of atoms: projections against a bisection in double precision."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.objectives import ElasticNetBall, L2Ball

BALLS = [
    L2Ball(),
    L2Ball(2.0, positive=True),
    ElasticNetBall(l1_ratio=1.0),
    ElasticNetBall(0.5, l1_ratio=0.3),
    ElasticNetBall(1.0, positive=True, l1_ratio=0.9),
    ElasticNetBall(l1_ratio=0.0),
]


def by_bisection(v, ball, budget):
    """The projection of one vector, from its optimality condition."""
    ratio = 0.0 if isinstance(ball, L2Ball) else ball.l1_ratio
    v = np.maximum(v, 0) if ball.positive else v

    def point(multiplier):
        return np.sign(v) * np.maximum(abs(v) - multiplier * ratio, 0) / (1 + 2 * multiplier * (1 - ratio))

    def norm(d):
        return ratio * abs(d).sum() + (1 - ratio) * (d * d).sum()

    if norm(v) <= budget:
        return v
    low, high = 0.0, 1.0
    while norm(point(high)) > budget:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if norm(point(middle)) > budget else (low, middle)
    return point(high)


@pytest.mark.parametrize("ball", BALLS, ids=str)
@pytest.mark.parametrize("size", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("p", [3, 1000])
def test_projection(ball, size, p, dtype):
    v = (size * np.random.default_rng(p).standard_normal((40, p))).astype(dtype)
    budget = np.linspace(0.01, ball.radius, len(v))
    expected = np.stack([by_bisection(row.astype(float), ball, b) for row, b in zip(v, budget, strict=True)])
    projected = np.asarray(ball.project(jnp.asarray(v), jnp.asarray(budget, dtype)))
    # a projection moves no further than its argument: the argument's rounding errors are what may be left
    error = np.abs(projected - expected).max(1)
    assert (error <= 8 * np.finfo(dtype).eps * (np.abs(v).max(1) + 1)).all()
    assert (np.asarray(ball.norm(jnp.asarray(projected))) <= budget * (1 + 20 * np.finfo(dtype).eps)).all()


@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_edges(ball):
    zero, inside = jnp.zeros((2, 4)), 1e-3 * jnp.ones((1, 4))
    assert (ball.project(zero) == 0).all()
    assert (ball.project(inside) == inside).all()
    assert (ball.project(jnp.ones((2, 4)), jnp.zeros(2)) == 0).all()
    scaled = ball.scaled(5 * jnp.ones((2, 4)))
    assert (ball.norm(scaled) <= ball.radius * (1 + 1e-6)).all()
    assert (scaled > 0).all()
