"""Naive Bayes classifiers: sums over the rows of each class, in one pass, and closed forms of them.

Given its class, the features of a row are independent: ``log p(x, c) = log p(c) + Σ_j log p(x_j | c)``. All that a model needs
of the rows are sums for each class. Those of different rows are merged in any order, those of a fold are taken out of those
of all rows, and a smoothing may be chosen after the rows have been read. Everything here may be called under ``jit``, under
``vmap`` over smoothing or weights, and under ``grad`` with respect to X, weights, smoothing and priors.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.blocks import UNIT
from jaxlearn.access.dense import as_design
from jaxlearn.access.design import Design
from jaxlearn.access.groups import class_counts, class_moments, class_sums

from ._naive_bayes_types import (
    Bernoulli,
    Categorical,
    Complement,
    Counts,
    Fitted,
    FittedBernoulli,
    FittedCategorical,
    FittedComplement,
    FittedCounts,
    FittedGaussian,
    Gaussian,
    Model,
    Moments,
    Multinomial,
    Scores,
    Statistics,
    binary,
)

__all__ = [
    "Bernoulli",
    "Categorical",
    "Complement",
    "Counts",
    "FittedBernoulli",
    "FittedCategorical",
    "FittedComplement",
    "FittedCounts",
    "FittedGaussian",
    "Gaussian",
    "Moments",
    "Multinomial",
    "Scores",
    "cross_validate",
    "fit",
    "fitted",
    "joint_log_proba",
    "merge",
    "predict_log_proba",
    "score",
    "statistics",
    "without",
]

# Rows for each class that tell about where its rows lie.
SAMPLE = 16


def fit(
    model: Model,
    X: ArrayLike | Design,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    n_classes: int | None = None,
    axis_name: str | None = None,
) -> Fitted:
    """Fit a classifier: `fitted` of `statistics`.

    Parameters
    ----------
    model : Gaussian, Multinomial, Complement, Bernoulli or Categorical
    X, y, sample_weight, n_classes, axis_name
        As in `statistics`.

    Returns
    -------
    FittedGaussian, FittedCounts, FittedComplement, FittedBernoulli or FittedCategorical

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jaxlearn.models import naive_bayes
    >>> X, y = jnp.array([[2.0, 0.0], [1.0, 1.0], [0.0, 3.0]]), jnp.array([0, 0, 1])
    >>> found = naive_bayes.fit(naive_bayes.Multinomial(), X, y, n_classes=2)
    >>> naive_bayes.joint_log_proba(found, X).argmax(1).tolist()
    [0, 0, 1]
    >>> first = lambda alpha: naive_bayes.fit(naive_bayes.Multinomial(alpha), X, y, n_classes=2).feature_log_prob[0, 0]
    >>> [round(float(value), 3) for value in jnp.exp(jax.vmap(first)(jnp.array([0.0, 1.0])))]
    [0.75, 0.667]
    """
    return fitted(model, statistics(model, X, y, sample_weight, n_classes=n_classes, axis_name=axis_name))


def statistics(
    model: Model,
    X: ArrayLike | Design,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    n_classes: int | None = None,
    axis_name: str | None = None,
) -> Statistics:
    """All that the model needs of these rows: one pass over them.

    Sums are in double precision where JAX is in double precision, whatever the dtype of X.

    Parameters
    ----------
    model : Gaussian, Multinomial, Complement, Bernoulli or Categorical
        Its smoothing and priors do not matter.
    X : (n_samples, n_features) array, or Design
        Dense for `Gaussian` and `Categorical`.
    y : (n_samples,) of int, or (n_samples, n_classes)
        Codes 0 … n_classes − 1, or the share of each class in each row.
    sample_weight : (n_samples,), optional
        ≥ 0; zero is a row that is not there.
    n_classes : int, optional
        Where y holds codes.
    axis_name : str, optional
        Inside ``shard_map``, ``pmap`` or ``vmap``: the axis over which the rows are split.

    Returns
    -------
    Moments of a `Gaussian`, else Counts
    """
    design = as_design(X, axis_name)
    if jnp.ndim(y) == 1 and n_classes is None:
        raise ValueError("`y` has shape (n_samples,): codes of classes want `n_classes`.")
    if design.is_sparse and isinstance(model, (Gaussian, Categorical)):
        raise ValueError(f"`{type(model).__name__}` takes dense rows, and `X` is sparse.")
    w: Any = jnp.ones(design.shape[0], design.dtype) if sample_weight is None else sample_weight
    rows: Any = (y, w) if design.on_host else (jnp.asarray(y), jnp.asarray(w, design.dtype))
    classes = jnp.arange(jnp.shape(y)[1] if n_classes is None else n_classes, dtype=jnp.int32)
    if isinstance(model, Gaussian):
        location = _near(design, classes, *rows)
        weight, first, second = design.fold(_moments, location, *rows)
        shift = first / _positive(weight)[:, None]
        mean = jnp.where((weight > 0)[:, None], location.astype(shift.dtype) + shift, 0)
        return Moments(weight, mean, jnp.maximum(second - first * shift, 0))
    if isinstance(model, Categorical):
        return Counts(*design.fold(_categories, (classes, model), *rows))
    if isinstance(model, Bernoulli):
        return Counts(*design.fold(_outcomes, (classes, model.binarize), *rows))
    return Counts(*design.fold(_events, classes, *rows))


def fitted(model: Model, seen: Statistics) -> Fitted:
    """The classifier that these statistics ask for: no row is read.

    Parameters
    ----------
    model : Gaussian, Multinomial, Complement, Bernoulli or Categorical
    seen : Moments or Counts
    """
    return model.fitted(seen)  # type: ignore[arg-type]


def merge(a: Statistics, b: Statistics) -> Statistics:
    """Of the rows of both."""
    return a.plus(b)  # type: ignore[arg-type]


def without(a: Statistics, part: Statistics) -> Statistics:
    """Of the rows of `a` that are not among those of `part`, which all are in `a`."""
    return a.minus(part)  # type: ignore[arg-type]


def joint_log_proba(fitted: Fitted, X: ArrayLike | Design) -> Array:
    """``log p(x, c)``, (n_samples, n_classes): a map over rows.

    Of discrete features without the multinomial coefficient, which is the same for all classes.
    """
    return fitted.joint(as_design(X))


def predict_log_proba(fitted: Fitted, X: ArrayLike | Design) -> Array:
    """``log p(c | x)``, (n_samples, n_classes): a map over rows."""
    return jax.nn.log_softmax(joint_log_proba(fitted, X), axis=1)


def cross_validate(
    model: Model,
    X: Any,
    y: ArrayLike,
    smoothing: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    n_classes: int,
) -> Scores:
    """How well rows of each fold are predicted from those of all others, for each of some smoothings.

    The rows are read once for the statistics of each fold, and once for each smoothing, to be predicted: a fit to the other
    folds is a difference of statistics.

    Parameters
    ----------
    model : Gaussian, Multinomial, Complement, Bernoulli or Categorical
    X : (n_folds, m, n_features), or a stack of sparse designs as `jaxlearn.access.host.split_rows` makes it
        The rows of each fold; folds of fewer rows are filled up at weight zero.
    y : (n_folds, m) of int
    smoothing : (n_values,)
        In the place of ``alpha`` or ``var_smoothing``.
    sample_weight : (n_folds, m), optional
    n_classes : int

    Returns
    -------
    Scores
    """
    y = jnp.asarray(y)
    w = jnp.ones(y.shape, X.dtype) if sample_weight is None else jnp.asarray(sample_weight, X.dtype)
    parts = lax.map(lambda fold: statistics(model, *fold, n_classes=n_classes), (X, y, w))
    rest = jax.tree.map(lambda leaf: leaf[1:], parts)
    total, _ = lax.scan(lambda a, b: (a.plus(b), None), jax.tree.map(lambda leaf: leaf[0], parts), rest)

    def one(fold: tuple[Any, Array, Array, Statistics]) -> Scores:
        rows, codes, weight, part = fold
        return score(model, without(total, part), rows, codes, smoothing, sample_weight=weight)

    return jax.tree.map(jnp.transpose, lax.map(one, (X, y, w, parts)))


def score(
    model: Model,
    seen: Statistics,
    X: ArrayLike | Design,
    y: ArrayLike,
    smoothing: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
) -> Scores:
    """How well some rows are predicted from others, for each of some smoothings.

    Parameters
    ----------
    model : Gaussian, Multinomial, Complement, Bernoulli or Categorical
    seen : Moments or Counts
        Of the rows that are learnt from.
    X : (n_samples, n_features) array, or Design
    y : (n_samples,) of int
    smoothing : (n_values,), or (n_values, n_features)
        In the place of ``alpha`` or ``var_smoothing``.
    sample_weight : (n_samples,), optional

    Returns
    -------
    Scores
        Of shape (n_values,).
    """
    X = X if isinstance(X, Design) else jnp.asarray(X)
    y = jnp.asarray(y)
    w = jnp.ones(y.shape, X.dtype) if sample_weight is None else jnp.asarray(sample_weight, X.dtype)
    # logarithms in the precision of the rows that they are multiplied by
    seen = jax.tree.map(lambda leaf: leaf.astype(X.dtype), seen)
    return Scores(*lax.map(lambda s: _score(fitted(model.with_smoothing(s), seen), X, y, w), smoothing))


def _score(fitted: Fitted, X: Any, y: Array, w: Array) -> tuple[Array, Array]:
    """Accuracy and mean log-likelihood; of many dense rows block by block, lest each class makes a copy of all of them."""
    if isinstance(X, Design) or len(X) % UNIT:
        right, log_proba = _sums_of_scores(fitted, X, y, w)
    else:
        blocks = jax.tree.map(lambda rows: rows.reshape(-1, UNIT, *rows.shape[1:]), (X, y, w))
        parts = lax.map(lambda block: _sums_of_scores(fitted, *block), blocks)
        right, log_proba = jax.tree.map(lambda sums: sums.sum(0), parts)
    return right / w.sum(), log_proba / w.sum()


def _sums_of_scores(fitted: Fitted, X: Any, y: Array, w: Array) -> tuple[Array, Array]:
    joint = joint_log_proba(fitted, X)
    classes = jnp.arange(joint.shape[1], dtype=jnp.int32)[None]
    best = joint.max(1, keepdims=True)
    # the first of the likeliest ones, by a minimum: an arg-max is slow on a CPU
    likeliest = jnp.where(joint == best, classes, joint.shape[1]).min(1)
    of_class = jnp.where(classes == y[:, None], joint, -jnp.inf).max(1)
    log_proba = of_class - jax.nn.logsumexp(joint, axis=1)
    return w @ (likeliest == y).astype(w.dtype), w @ jnp.where(w > 0, log_proba, 0)


def _near(design: Any, classes: Array, y: Any, w: Any) -> Array:
    """The mean of some rows of each class, or of all classes where none of one is among them, (n_classes, n_features)."""
    if design.on_host:
        some, n_rows = design.head(), design.head().shape[0]
        y, w = y[:n_rows], w[:n_rows]
    else:
        n_rows = design.shape[0]
        n_some = min(SAMPLE * len(classes), n_rows)
        index = jnp.arange(n_some, dtype=jnp.int32) * (n_rows // n_some)
        some, y, w = design.some(index), y[index], w[index]
    weight, sums = some.fold(_sums, classes, y, w)
    overall = sums.sum(0) / _positive(weight.sum())
    near = jnp.where((weight > 0)[:, None], sums / _positive(weight)[:, None], overall[None])
    return lax.stop_gradient(near.astype(design.dtype))


def _sums(classes: Array, X: Design, y: Array, w: Array) -> tuple[Array, Array]:
    return class_sums(X, classes, y, w)


def _moments(location: Array, X: Design, y: Array, w: Array) -> tuple[Array, Array, Array]:
    return class_moments(X, location, y, w)


def _events(classes: Array, X: Design, y: Array, w: Array) -> tuple[Array, Array, Array]:
    weight, counts = class_sums(X, classes, y, w)
    below = X.entries < 0 if X.is_sparse else (X.entries < 0) & (w > 0)[:, None]
    # by columns: on a CPU a sum of all numbers takes as long again as the sums of the classes
    negative = -jnp.sum(below.any(0))
    return weight, counts, negative.astype(weight.dtype)


def _outcomes(query: tuple[Array, Any], X: Design, y: Array, w: Array) -> tuple[Array, Array, Array]:
    classes, threshold = query
    weight, counts = class_sums(binary(X, threshold), classes, y, w)
    return weight, counts, jnp.zeros((), weight.dtype)


def _categories(query: tuple[Array, Categorical], X: Design, y: Array, w: Array) -> tuple[Array, Array, Array]:
    classes, model = query
    weight, counts = class_counts(X, (model.first, model.n_columns), classes, y, w)
    return weight, counts, jnp.zeros((), weight.dtype)


def _positive(weight: Array) -> Array:
    return jnp.where(weight > 0, weight, 1)
