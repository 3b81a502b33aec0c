"""Losses: derivatives against autodiff and finite differences, conjugates against their definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import mean_tweedie_deviance

from jaxlearn.objectives import Gamma, Logistic, Multinomial, Poisson, Squared, Tweedie
from jaxlearn.objectives.margins import (
    EpsilonInsensitive,
    Hinge,
    Huber,
    LogisticMargin,
    ModifiedHuber,
    SquaredEpsilonInsensitive,
    SquaredHinge,
)

TWEEDIE = [(Gamma(), [0.5, 3.0])] + [(Tweedie(power), [0.5, 3.0]) for power in (-1.0, 0.0, 1.0, 1.3, 3.0)]
SCALAR = [(Squared(), [-2.0, 0.5, 3.0]), (Logistic(), [0.0, 1.0, 0.3]), (Poisson(), [0.0, 1.0, 3.0])]


@pytest.mark.parametrize(("loss", "targets"), SCALAR + TWEEDIE)
def test_derivatives_are_those_of_the_value(loss, targets, x64):
    f = jnp.linspace(-4.0, 4.0, 9)
    for target in targets:
        y = jnp.full_like(f, target)
        gradient = jax.vmap(jax.grad(lambda f, y: loss.value(y, f)))(f, y)
        curvature = jax.vmap(jax.grad(jax.grad(lambda f, y: loss.value(y, f))))(f, y)
        np.testing.assert_allclose(loss.gradient(y, f), gradient, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(loss.hessian(y, f), curvature, rtol=1e-10, atol=1e-14)
        assert (loss.hessian(y, f) <= loss.curvature_bound).all()


@pytest.mark.parametrize("loss", [Logistic(), Multinomial()])
def test_what_is_wanted_together_takes_its_exponentials_once(loss):
    def all_three(y, f):
        return loss.value(y, f), loss.gradient(y, f), loss.hessian(y, f)

    y = jnp.eye(5)
    text = jax.jit(all_three).lower(y, y).compile().as_text()
    assert text.count(" exponential(") == 1


@pytest.mark.parametrize("f", [-1e3, -90.0, 90.0, 1e3])
def test_margins_that_single_precision_holds(f):
    """No overflow, and no digit lost where the model is sure."""
    f = jnp.float32(f)
    wrong, right = jnp.float32(f < 0), jnp.float32(f > 0)
    assert Logistic().value(wrong, f) == abs(f)
    assert Logistic().gradient(wrong, f) == jnp.sign(f)
    assert Logistic().value(right, f) == Logistic().hessian(right, f) == jnp.exp(-abs(f))
    assert Logistic().gradient(right, f) == -jnp.sign(f) * jnp.exp(-abs(f))
    pair = jnp.stack([f, -f])
    assert Multinomial().value(jnp.stack([wrong, right]), pair) == 2 * abs(f)
    assert Multinomial().value(jnp.stack([right, wrong]), pair) == 0


@pytest.mark.parametrize(("loss", "targets"), SCALAR)
def test_conjugate_is_the_supremum(loss, targets, x64):
    for target in targets:
        y = jnp.asarray(target)
        for f in (-1.5, 0.2, 2.0):
            u = float(loss.gradient(y, jnp.asarray(f)))  # inside the domain, where the supremum is attained
            best = minimize_scalar(
                lambda f, u=u, y=y: float(loss.value(y, jnp.asarray(f))) - u * f, bounds=(-9, 9), method="bounded"
            )
            np.testing.assert_allclose(float(loss.conjugate(y, jnp.asarray(u))), -best.fun, atol=1e-8)


@pytest.mark.parametrize("power", [-1.0, 0.0, 1.0, 1.3, 2.0, 3.0])
def test_tweedie(power, x64):
    """Least at the mean, whatever the link; half scikit-learn's deviance but for terms in y; infinite where no mean is."""
    y = jnp.array([0.5, 1.0, 3.0])
    by_log, by_mean = Tweedie(power), Tweedie(power, "identity")
    np.testing.assert_allclose(by_log.gradient(y, jnp.log(y)), 0, atol=1e-14)
    np.testing.assert_allclose(by_mean.gradient(y, y), 0, atol=1e-14)
    mean = jnp.array([2.0, 0.3, 4.0])
    np.testing.assert_allclose(by_log.value(y, jnp.log(mean)), by_mean.value(y, mean))
    deviance = [mean_tweedie_deviance([a], [b], power=power) for a, b in zip(y, mean, strict=True)]
    np.testing.assert_allclose(by_mean.value(y, mean) - by_mean.value(y, y), np.array(deviance) / 2)
    for derivative, exact in ((jax.grad, by_mean.gradient), (lambda g: jax.grad(jax.grad(g)), by_mean.hessian)):
        found = jax.vmap(derivative(lambda f, y: by_mean.value(y, f)))(mean, y)
        np.testing.assert_allclose(exact(y, mean), found, rtol=1e-12)
    assert (by_mean.value(y, -mean) == jnp.inf).all() == (power != 0)
    if power == 1:
        np.testing.assert_allclose(by_log.value(y, mean), Poisson().value(y, mean))


def test_tweedie_without_a_distribution():
    with pytest.raises(ValueError, match="no distribution"):
        Tweedie(0.5)
    with pytest.raises(ValueError, match="expected 'log' or 'identity'"):
        Tweedie(1.5, "logit")


def test_fenchel_young_is_an_equality_at_the_gradient(dtype):
    tol = 32 * np.finfo(dtype).eps
    f = jnp.asarray(np.linspace(-5, 5, 12).reshape(4, 3), dtype)
    y = jnp.eye(3, dtype=dtype)[jnp.array([0, 1, 2, 1])]
    u = Multinomial().gradient(y, f)
    np.testing.assert_allclose(
        Multinomial().value(y, f) + Multinomial().conjugate(y, u), (u * f).sum(-1), atol=10 * tol
    )
    for loss in (Squared(), Logistic()):
        u = loss.gradient(y, f)
        np.testing.assert_allclose(loss.value(y, f) + loss.conjugate(y, u), u * f, atol=30 * tol)


def test_multinomial_hessian(x64):
    f, y = jnp.array([0.3, -1.0, 2.0]), jnp.array([0.0, 0.0, 1.0])
    expected = jax.hessian(lambda f: Multinomial().value(y[None], f[None])[0])(f)
    np.testing.assert_allclose(Multinomial().hessian(y[None], f[None])[0], expected, atol=1e-14)
    assert np.linalg.eigvalsh(expected).max() <= Multinomial.curvature_bound


@pytest.mark.parametrize("f", [-200.0, 200.0])
def test_logistic_keeps_its_digits_far_out(f, dtype):
    """At |f| = 200 the textbook 1 − σ(f) is zero or one; the derivative on the wrong side is one to the last bit."""
    f = jnp.asarray(f, dtype)
    y = jnp.asarray(f < 0, dtype)
    loss = Logistic()
    np.testing.assert_allclose(loss.value(y, f), abs(f))
    np.testing.assert_allclose(loss.gradient(y, f), np.sign(f))
    assert 0 <= loss.value(1 - y, f) < 1e-80 or dtype == np.float32
    assert loss.conjugate(y, jnp.asarray(3.0, dtype)) == np.inf


def test_inverse_links(dtype):
    f = jnp.asarray([[0.0, 1.0, -1.0]], dtype)
    np.testing.assert_allclose(Multinomial().inverse_link(f).sum(-1), 1, rtol=8 * np.finfo(dtype).eps)
    np.testing.assert_allclose(Logistic().inverse_link(f[0, :1]), 0.5)
    np.testing.assert_array_equal(Squared().inverse_link(f), f)
    np.testing.assert_allclose(Poisson().inverse_link(f[0, :1]), 1)


MARGINS = [Hinge(), Hinge(0.0), SquaredHinge(), ModifiedHuber(), LogisticMargin()]
RESIDUALS = [Huber(0.5), EpsilonInsensitive(0.5), SquaredEpsilonInsensitive(0.5)]


@pytest.mark.parametrize("loss", [*MARGINS, *RESIDUALS], ids=str)
def test_slopes_of_margins_and_residuals(loss, x64):
    """Of the value, where it has one; at a kink, one between those of both sides."""
    f = jnp.linspace(-3.1, 3.2, 41)
    for target in (-1.0, 1.0) if loss in MARGINS else (0.3, -2.0):
        y = jnp.full_like(f, target)
        step = 1e-6
        slope = (loss.value(y, f + step) - loss.value(y, f - step)) / (2 * step)
        np.testing.assert_allclose(loss.gradient(y, f), slope, atol=1e-5)
        assert (loss.value(y, f) >= 0).all()
