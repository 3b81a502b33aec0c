"""A matrix of which few entries are observed, as biases and a product of few factors: alternating least squares.

*Minimises* ``½ Σ_ij (x_ij − b_i − c_j − u_i·v_j)² + ½ alpha (Σ_i (n_i + beta) ‖u_i‖² + Σ_j (m_j + beta) ‖v_j‖²)
+ ½ beta (Σ_i b_i² + Σ_j c_j²)`` over biases b, c and factors u, v of rows and columns; the first sum runs over the observed
entries, n_i of them in row i and m_j in column j.

*Step* The best (u_i, b_i) of each row for given columns, then the best (v_j, c_j) of each column for given rows: one regression
on k + 1 features each. The two are one program, of the matrix and of its transpose.

*Reads the data by* map: each row is solved for alone.

*Cost per step* 4 k² flops for each entry, and k³ / 3 for each row and column.

*Starts from* biases alone, and the leading singular vectors of what they leave, with entries divided by ``√(n_i m_j)``: from
noise the first steps would only find those.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxlearn.access.observed import Batch, Observed
from jaxlearn.linalg import cholesky, cholesky_qr

__all__ = ["Factors", "MatrixCompletion", "State", "encode", "start", "step"]

HIGHEST = lax.Precision.HIGHEST
# Before the first step: alternations of biases alone, and products with the matrix and its transpose. Such a pair of products
# costs a fifth of a step; ten of them stood for four to eight steps where factors are hardly above the noise.
BIAS_STEPS, PRODUCTS = 3, 10


class MatrixCompletion(eqx.Module):
    """What to find: an immutable configuration, whose numbers are array leaves.

    Parameters
    ----------
    n_components : int
        k, factors.
    alpha : float
        > 0, of the factors: each entry weighs it once, so that rows and columns of many entries are shrunk like those of few.
    beta : float
        ≥ 0, entries at the mean that each row and column is imagined to have beside those observed.

    References
    ----------
    Zhou, Wilkinson, Schreiber, Pan, "Large-scale parallel collaborative filtering for the Netflix prize", AAIM 2008. Keshavan,
    Montanari, Oh, "Matrix completion from a few entries", IEEE Trans. Information Theory 2010 (the start).
    """

    n_components: int = eqx.field(static=True)
    alpha: ArrayLike = 0.1
    beta: ArrayLike = 5.0

    def __check_init__(self) -> None:
        if self.n_components < 1:
            raise ValueError(f"`n_components` must be at least 1, got {self.n_components}.")


class Factors(eqx.Module):
    """Of the rows, or of the columns.

    Attributes
    ----------
    codes : (n, k)
        u; zero without entries.
    bias : (n,)
        b; zero without entries.
    """

    codes: Array
    bias: Array


class State(eqx.Module):
    """What is known after some steps, a pytree.

    Attributes
    ----------
    rows, columns : Factors
    objective : scalar
        What is minimised; infinite before the first step.
    n_steps : int32 scalar
    """

    rows: Factors
    columns: Factors
    objective: Array
    n_steps: Array


def start(model: MatrixCompletion, by_row: Observed, by_column: Observed, key: Array) -> State:
    """Biases, and factors of the columns; rows have none yet.

    Parameters
    ----------
    model : MatrixCompletion
    by_row, by_column : Observed
        The entries, and those of the transpose.
    key : PRNG key
    """
    dtype, k = by_row.values.dtype, model.n_components
    none = lambda side: Factors(jnp.zeros((side.n_rows, 0), dtype), jnp.zeros(side.n_rows, dtype))  # noqa: E731

    def alternate(_: Array, sides: tuple[Factors, Factors]) -> tuple[Factors, Factors]:
        rows = _regressed(model, by_row, sides[1])[0]
        return rows, _regressed(model, by_column, rows)[0]

    rows, columns = lax.fori_loop(0, BIAS_STEPS, alternate, (none(by_row), none(by_column)))

    def multiply(_: Array, basis: Array) -> Array:
        left = _product(by_row, by_column, (rows.bias, columns.bias), basis)
        return cholesky_qr(_product(by_column, by_row, (columns.bias, rows.bias), left))[0]

    drawn = jax.random.normal(key, (by_column.n_rows, k), dtype)
    codes = lax.fori_loop(0, PRODUCTS, multiply, drawn) * _per_entry(by_column.counts)[:, None]
    # factors of this size on both sides would make entries as large as those observed are
    size = jnp.square(by_row.values).sum() / jnp.maximum(by_row.counts.sum(), 1)
    scale = (size / k) ** 0.25 / jnp.sqrt(jnp.maximum(jnp.square(codes).mean(), jnp.finfo(dtype).tiny))
    rows = Factors(jnp.zeros((by_row.n_rows, k), dtype), rows.bias)
    return State(rows, Factors(scale * codes, columns.bias), jnp.asarray(jnp.inf, dtype), jnp.int32(0))


def step(model: MatrixCompletion, state: State, by_row: Observed, by_column: Observed) -> State:
    """Rows for given columns, then columns for given rows."""
    rows, _ = _regressed(model, by_row, state.columns)
    columns, value = _regressed(model, by_column, rows)
    return State(rows, columns, value + _penalty(model, by_row, rows), state.n_steps + jnp.int32(1))


def encode(model: MatrixCompletion, columns: Factors, by_row: Observed) -> Factors:
    """Codes and biases of rows, given the factors of the columns."""
    return _regressed(model, by_row, columns)[0]


def _regressed(model: MatrixCompletion, side: Observed, other: Factors) -> tuple[Factors, Array]:
    """The best factors of one side, and ``½ Σ residual² + penalty`` of them."""
    k, dtype = other.codes.shape[1], other.codes.dtype
    alpha, beta = (jnp.asarray(number, dtype) for number in (model.alpha, model.beta))
    features = jnp.concatenate([other.codes, jnp.ones_like(other.bias)[:, None], other.bias[:, None]], axis=1)

    def solve(batch: Batch) -> Array:
        features, offsets = batch.features[..., :-1], batch.features[..., -1]
        F = jnp.concatenate([features, (batch.values - offsets)[..., None]], axis=2)
        moments = batch.sum_by_row(jnp.einsum("pwk,pwl->pkl", F, F, precision=HIGHEST))
        gram, correlations, energy = moments[:, :-1, :-1], moments[:, :-1, -1], moments[:, -1, -1]
        ridge = alpha * (gram[:, -1, -1] + beta)  # the feature that is one counts the entries
        ridge = jnp.concatenate([jnp.broadcast_to(ridge[:, None], (len(ridge), k)), jnp.full((len(ridge), 1), beta)], 1)
        shifted = gram + ridge[:, :, None] * jnp.eye(k + 1, dtype=dtype)[None]
        found = jax.vmap(lambda A, b: cholesky.solve(cholesky.factor(A), b))(shifted, correlations)
        value = 0.5 * (energy - (correlations * found).sum(1))
        return jnp.concatenate([found, value[:, None]], axis=1)

    out = side.map(solve, features, k + 2)
    return Factors(out[:, :k], out[:, k]), out[:, k + 1].sum()


def _penalty(model: MatrixCompletion, side: Observed, factors: Factors) -> Array:
    alpha, beta = (jnp.asarray(number, factors.bias.dtype) for number in (model.alpha, model.beta))
    of_codes = (side.counts + beta) @ jnp.square(factors.codes).sum(1)
    return 0.5 * (alpha * of_codes + beta * jnp.square(factors.bias).sum())


def _product(side: Observed, transpose: Observed, biases: tuple[Array, Array], basis: Array) -> Array:
    """What biases leave of the entries, divided by ``√(n_i m_j)``, times `basis`."""
    bias, other_bias = biases
    features = jnp.concatenate([basis * _per_entry(transpose.counts)[:, None], other_bias[:, None]], axis=1)

    def multiply(batch: Batch) -> Array:
        own = jnp.pad(jnp.pad(bias, (0, 1))[batch.rows], (0, 1))[batch.owner]
        y = batch.values - batch.features[..., -1] - own[:, None]
        return batch.sum_by_row((batch.features[..., :-1] * y[..., None]).sum(1))

    return side.map(multiply, features, basis.shape[1]) * _per_entry(side.counts)[:, None]


def _per_entry(counts: Array) -> Array:
    return 1 / jnp.sqrt(jnp.maximum(counts, 1))
