"""Configuration and state of the online factorization."""

from __future__ import annotations

import equinox as eqx
from jax import Array
from jax.typing import ArrayLike

from jaxlearn.objectives import L1, Ball, L2Ball, Penalty

__all__ = ["MatrixFactorization", "State"]


class MatrixFactorization(eqx.Module):
    """What to learn and how: an immutable configuration, whose numbers are array leaves.

    Parameters
    ----------
    n_components : int
        k, atoms of the dictionary.
    penalty : Penalty
        Ω: `L1`, `ElasticNet` (over ``a ≥ 0`` if positive), or `L2`, whose codes are a ridge regression.
    ball : Ball
        Where atoms live: `L2Ball`, `ElasticNetBall` (of ``l1_ratio=1``, the l1 ball), over ``d ≥ 0`` if positive.
    reduction : int
        r. A step looks at one r-th of the features to code its samples, and updates the atoms there; all features of the
        samples join the sums. 1 is the online algorithm of Mairal et al., more is that of Mensch et al.
    average : bool
        With r > 1: the correlations of a sample are averaged over its visits (memory n k), and the Gram matrix is that of all
        features.
    learning_decay : float
        u: sample i joins the sums with weight ``i⁻ᵘ``; convergence is proven for u in (3/4, 1], 0 remembers the last batch
        alone.
    tol : float
        Duality gap of the codes of a step, in units of their objective. What is learnt from codes to two digits of
        ``½ ‖X‖²`` is no better, except for a weak penalty, whose objective is small.
    max_steps : int
        Steps of five iterations that codes may take.

    References
    ----------
    Mairal, Bach, Ponce, Sapiro, "Online learning for matrix factorization and sparse coding", JMLR 2010. Mensch, Mairal,
    Thirion, Varoquaux, "Stochastic subsampling for factorizing huge matrices", IEEE Trans. Signal Processing 2018.
    """

    n_components: int = eqx.field(static=True)
    penalty: Penalty = L1(0.1)  # noqa: RUF009
    ball: Ball = L2Ball()  # noqa: RUF009
    reduction: int = eqx.field(static=True, default=1)
    average: bool = eqx.field(static=True, default=False)
    learning_decay: ArrayLike = 0.76
    tol: ArrayLike = 0.3
    max_steps: ArrayLike = 40

    def __check_init__(self) -> None:
        if self.n_components < 1:
            raise ValueError(f"`n_components` must be at least 1, got {self.n_components}.")
        if self.reduction < 1:
            raise ValueError(f"`reduction` must be at least 1, got {self.reduction}.")
        if self.average and self.reduction == 1:
            raise ValueError("`average` needs `reduction` > 1: without subsampling there is nothing to average.")


class State(eqx.Module):
    """What is known after some samples, a pytree.

    Attributes
    ----------
    dictionary : (k, p)
        D.
    gram : (k, k) or None
        ``D Dᵀ``; None with ``reduction > 1``, unless averaged.
    first : (k, p)
        B, the weighted mean of ``aᵀ x``.
    second : (k, k)
        C, that of ``aᵀ a``.
    slack : (k,) or None
        With ``reduction > 1``: what an atom leaves of its radius.
    idle : (k,)
        Weight of the samples since a code has last used an atom.
    weight_seen : scalar
        Σ of the weights of all samples so far.
    n_steps, n_reseeded : int32 scalars
        Batches, and atoms that were replaced by a sample because no code used them.
    key : PRNG key data
        What windows and new atoms are drawn by, with `n_steps`.
    averages, visits : (n, k) and (n,), or None
        Averaged correlations of each sample and how often it was seen.
    """

    dictionary: Array
    gram: Array | None
    first: Array
    second: Array
    slack: Array | None
    idle: Array
    weight_seen: Array
    n_steps: Array
    n_reseeded: Array
    key: Array
    averages: Array | None = None
    visits: Array | None = None
