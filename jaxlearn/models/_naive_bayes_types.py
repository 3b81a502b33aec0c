"""What naive Bayes classifiers are given, what they need of the rows, and what follows from it."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.design import Design
from jaxlearn.access.groups import look_up

__all__ = [
    "Bernoulli",
    "Categorical",
    "Complement",
    "Counts",
    "Fitted",
    "FittedBernoulli",
    "FittedCategorical",
    "FittedComplement",
    "FittedCounts",
    "FittedGaussian",
    "Gaussian",
    "Model",
    "Moments",
    "Multinomial",
    "Scores",
    "Statistics",
]


class Gaussian(eqx.Module):
    """Features with a normal distribution in each class: an immutable configuration whose numbers are leaves.

    Parameters
    ----------
    var_smoothing : float
        Share of the largest variance of a feature that is added to all variances.
    priors : (n_classes,), optional
        Probabilities of the classes; by default their shares of the weight.
    """

    var_smoothing: ArrayLike = 1e-9
    priors: ArrayLike | None = None

    def with_smoothing(self, value: Array) -> Gaussian:
        """The same with another `var_smoothing`."""
        return Gaussian(value, self.priors)

    def fitted(self, seen: Moments) -> FittedGaussian:
        """Means and smoothed variances; those of a class without weight are zero and the smoothing alone."""
        share = seen.weight / _positive(seen.weight.sum())
        centre = jnp.einsum("c,cp->p", share, seen.mean)
        between = jnp.einsum("c,cp->p", share, jnp.square(seen.mean - centre[None]))
        within = seen.squares.sum(0) / _positive(seen.weight.sum())
        epsilon = jnp.asarray(self.var_smoothing, share.dtype) * (within + between).max()
        var = seen.squares / _positive(seen.weight)[:, None] + epsilon
        return FittedGaussian(_log_prior(self.priors, seen.weight), seen.mean, var, epsilon)


class Multinomial(eqx.Module):
    """Counts of events, as of words in a text.

    Parameters
    ----------
    alpha : float or (n_features,)
        Added to each count.
    priors : (n_classes,), optional
        Probabilities of the classes; by default their shares of the weight.
    """

    alpha: ArrayLike = 1.0
    priors: ArrayLike | None = None

    def with_smoothing(self, value: Array) -> Multinomial:
        """The same with another `alpha`."""
        return eqx.tree_at(lambda model: model.alpha, self, value)

    def fitted(self, seen: Counts) -> FittedCounts:
        """Logarithms of the smoothed shares of the features in each class."""
        smooth = seen.counts + _by_feature(self.alpha, seen.counts)
        log_prob = jnp.log(smooth) - jnp.log(smooth.sum(1, keepdims=True))
        return FittedCounts(_log_prior(self.priors, seen.weight), log_prob)


class Complement(Multinomial):
    """As `Multinomial`, from what each class does *not* have: of use where classes are of different sizes.

    Parameters
    ----------
    alpha, priors
        As of `Multinomial`; priors matter to a single class only.
    norm : bool
        Divide the weights of each class by their sum.

    References
    ----------
    Rennie, Shih, Teevan and Karger, "Tackling the poor assumptions of naive Bayes text classifiers", ICML 2003.
    """

    norm: bool = eqx.field(static=True, default=False)

    def fitted(self, seen: Counts) -> FittedComplement:
        """Weights of the features in each class."""
        total = (
            jnp.ones(len(seen.counts), seen.counts.dtype) @ seen.counts
        )  # a sum over classes takes 40 times as long on a CPU
        rest = total[None] + _by_feature(self.alpha, seen.counts) - seen.counts
        logs = jnp.log(rest) - jnp.log(rest.sum(1, keepdims=True))
        weights = logs / logs.sum(1, keepdims=True) if self.norm else -logs
        return FittedComplement(_log_prior(self.priors, seen.weight), weights)


class Bernoulli(Multinomial):
    """Features that are there or not.

    Parameters
    ----------
    alpha : float or (n_features,)
        Added to the count of either outcome.
    priors : (n_classes,), optional
        As of `Multinomial`.
    binarize : float, optional
        Larger numbers are there; None takes X as zeros and ones.
    """

    binarize: ArrayLike | None = 0.0

    def fitted(self, seen: Counts) -> FittedBernoulli:
        """Logarithms of the smoothed share of the rows of each class that have a feature, and that have it not."""
        alpha, weight = _by_feature(self.alpha, seen.counts), seen.weight[:, None]
        log_total = jnp.log(weight + 2 * alpha)
        there, not_there = jnp.log(seen.counts + alpha), jnp.log(weight - seen.counts + alpha)
        prior = _log_prior(self.priors, seen.weight)
        return FittedBernoulli(prior, there - log_total, not_there - log_total, self.binarize)


class Categorical(eqx.Module):
    """Features of which each is one of the categories 0, 1, ….

    Parameters
    ----------
    n_categories : (n_features,) of int
        How many; X holds smaller numbers.
    n_columns : int
        At least their sum: models of nearby sizes may share a program.
    alpha : float
        Added to each count.
    priors : (n_classes,), optional
        As of `Multinomial`.
    """

    n_categories: ArrayLike
    n_columns: int = eqx.field(static=True)
    alpha: ArrayLike = 1.0
    priors: ArrayLike | None = None

    @property
    def first(self) -> Array:
        """Column of the counts where the categories of a feature begin, (n_features,)."""
        sizes = jnp.asarray(self.n_categories, jnp.int32)
        return jnp.cumsum(sizes) - sizes

    def with_smoothing(self, value: Array) -> Categorical:
        """The same with another `alpha`."""
        return Categorical(self.n_categories, self.n_columns, value, self.priors)

    def fitted(self, seen: Counts) -> FittedCategorical:
        """Logarithms of the smoothed shares of the categories of each feature, in each class."""
        ends = jnp.cumsum(jnp.asarray(self.n_categories, jnp.int32))
        feature = jnp.searchsorted(ends, jnp.arange(self.n_columns, dtype=jnp.int32), side="right")
        smooth = seen.counts + jnp.asarray(self.alpha, seen.counts.dtype)
        totals = jax.ops.segment_sum(smooth.T, feature, len(ends) + 1)  # the last one of what fills up
        log_prob = jnp.log(smooth) - jnp.log(totals)[feature].T
        return FittedCategorical(_log_prior(self.priors, seen.weight), log_prob, self.first)


class Moments(eqx.Module):
    """Of the rows that a Gaussian model has seen.

    Attributes
    ----------
    weight : (n_classes,)
        ``Σ w`` of each class.
    mean : (n_classes, n_features)
        ``Σ w x / Σ w``; zero without weight.
    squares : (n_classes, n_features)
        ``Σ w (x − mean)²``.

    References
    ----------
    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """

    weight: Array
    mean: Array
    squares: Array

    def plus(self, other: Moments) -> Moments:
        """Of the rows of both."""
        weight = self.weight + other.weight
        share, gap = (other.weight / _positive(weight))[:, None], other.mean - self.mean
        squares = self.squares + other.squares + self.weight[:, None] * share * jnp.square(gap)
        return Moments(weight, self.mean + share * gap, squares)

    def minus(self, part: Moments) -> Moments:
        """Of the rows that are not among those of `part`."""
        weight = self.weight - part.weight
        left = (weight > 0)[:, None]
        ratio = (part.weight / _positive(weight))[:, None]
        mean = jnp.where(left, self.mean + ratio * (self.mean - part.mean), 0)
        share = (weight / _positive(self.weight))[:, None]
        squares = self.squares - part.squares - part.weight[:, None] * share * jnp.square(part.mean - mean)
        return Moments(weight, mean, jnp.where(left, jnp.maximum(squares, 0), 0))


class Counts(eqx.Module):
    """Of the rows that a model of discrete features has seen.

    Attributes
    ----------
    weight : (n_classes,)
        ``Σ w`` of each class.
    counts : (n_classes, n_columns)
        ``Σ w x`` of each class, or of what x is encoded as.
    negative : scalar
        Below zero if there are negative numbers, where there must not be any.
    """

    weight: Array
    counts: Array
    negative: Array

    def plus(self, other: Counts) -> Counts:
        """Of the rows of both."""
        return jax.tree.map(jnp.add, self, other)

    def minus(self, part: Counts) -> Counts:
        """Of the rows that are not among those of `part`."""
        return jax.tree.map(jnp.subtract, self, part)


class FittedGaussian(eqx.Module):
    """Distributions of the classes and of the features in them.

    Attributes
    ----------
    class_log_prior : (n_classes,)
    mean, var : (n_classes, n_features)
        `var` with the smoothing.
    epsilon : scalar
        The smoothing.
    """

    class_log_prior: Array
    mean: Array
    var: Array
    epsilon: Array

    def joint(self, X: Design) -> Array:
        """Differences before squares: an expansion of ``(x − mean)²`` costs the digits that small variances need."""
        rows = X.entries
        dtype = rows.dtype
        constant = self.class_log_prior - 0.5 * jnp.log(2 * jnp.pi * self.var).sum(1)

        def one(lane: tuple[Array, Array, Array]) -> Array:
            mean, precision, constant = lane
            squares = jnp.square(rows - mean[None])
            return constant - 0.5 * jnp.matmul(squares, precision, precision=lax.Precision.HIGHEST)

        return lax.map(one, (self.mean.astype(dtype), (1 / self.var).astype(dtype), constant.astype(dtype))).T


class FittedCounts(eqx.Module):
    """Distributions of the classes and of the features in them.

    Attributes
    ----------
    class_log_prior : (n_classes,)
    feature_log_prob : (n_classes, n_features)
    """

    class_log_prior: Array
    feature_log_prob: Array

    def linear(self) -> tuple[Array, Array]:
        """Coefficients (n_classes, n_features) and intercepts (n_classes,) of the joint log-probability."""
        return self.feature_log_prob, self.class_log_prior

    def encoded(self, X: Design) -> Design:
        """What it is linear in."""
        return X

    def joint(self, X: Design) -> Array:
        """``log p(x, c)``, but for what is the same for all classes, (n, n_classes)."""
        coef, intercept = (leaf.astype(X.dtype) for leaf in self.linear())
        return self.encoded(X).matvec(coef.T) + intercept[None]


class FittedComplement(FittedCounts):
    """As `FittedCounts`, with weights in the place of log-probabilities."""

    def linear(self):
        alone = len(self.class_log_prior) == 1
        return self.feature_log_prob, self.class_log_prior if alone else jnp.zeros_like(self.class_log_prior)


class FittedBernoulli(FittedCounts):
    """As `FittedCounts`; `feature_log_prob` is of features that are there, `absent_log_prob` of those that are not."""

    absent_log_prob: Array
    binarize: ArrayLike | None

    def linear(self):
        return self.feature_log_prob - self.absent_log_prob, self.class_log_prior + self.absent_log_prob.sum(1)

    def encoded(self, X):
        return binary(X, self.binarize)


class FittedCategorical(eqx.Module):
    """Distributions of the classes and of the categories in them.

    Attributes
    ----------
    class_log_prior : (n_classes,)
    log_prob : (n_classes, n_columns)
        Of all categories, feature by feature.
    first : (n_features,)
        Where those of a feature begin.
    """

    class_log_prior: Array
    log_prob: Array
    first: Array

    def joint(self, X: Design) -> Array:
        """``log p(x, c)``, (n, n_classes)."""
        return look_up(X, self.first, self.log_prob.astype(X.dtype)) + self.class_log_prior.astype(X.dtype)[None]


class Scores(NamedTuple):
    """Of rows that a fit has not seen.

    Attributes
    ----------
    accuracy, log_likelihood : (n_values, n_folds), or (n_values,)
        Weighted shares of the rows whose class is the likeliest one, and means of the log-probability of their class.
    """

    accuracy: Array
    log_likelihood: Array


Model = Gaussian | Multinomial | Categorical
Statistics = Moments | Counts
Fitted = FittedGaussian | FittedCounts | FittedCategorical


def binary(X: Design, threshold: ArrayLike | None) -> Design:
    """Ones where X is larger, zeros elsewhere; X itself without a threshold."""
    return X if threshold is None else X.with_entries((X.entries > jnp.asarray(threshold, X.dtype)).astype(X.dtype))


def _positive(weight: Array) -> Array:
    return jnp.where(weight > 0, weight, 1)


def _by_feature(alpha: ArrayLike, counts: Array) -> Array:
    return jnp.broadcast_to(jnp.asarray(alpha, counts.dtype), counts.shape[1:])[None]


def _log_prior(priors: ArrayLike | None, weight: Array) -> Array:
    """Minus infinity for a class without weight."""
    if priors is not None:
        return jnp.log(jnp.asarray(priors, weight.dtype))
    return jnp.log(weight) - jnp.log(weight.sum())
