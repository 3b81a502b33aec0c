"""The host side of sparse data: from SciPy's matrices to `Sparse`, in sizes that nearby matrices share."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse

from .sparse import Sparse

__all__ = ["entry_bucket", "from_scipy", "split_rows"]

# One scattered addition, in multiply-adds of a matrix product: 9 ns against 10 ps on a CPU of 2 cores.
SCATTER_COST = 1000


def entry_bucket(size: int) -> int:
    """The smallest ``m 2^e ≥ size`` with m ≤ 16: at most 12.5 % more, eight sizes per octave."""
    step = 1 << max((size - 1).bit_length() - 4, 0) if size else 1
    return -(-size // step) * step


def from_scipy(matrix: Any, dtype: Any = None, *, n_rows: int | None = None, axis_name: str | None = None) -> Sparse:
    """A SciPy sparse matrix or array on the default device.

    Parameters
    ----------
    matrix : scipy sparse matrix or array, (n_samples, n_features)
        In any format; duplicates are summed, explicit zeros are kept, and the input is left as it is.
    dtype : dtype, optional
        That of the fit; the matrix's own by default. float64 needs ``jax.enable_x64``.
    n_rows : int, optional
        Rows of the result, at least n_samples; the rows added are empty and want a weight of zero.
    axis_name : str, optional
        As in `Sparse`.

    Returns
    -------
    Sparse
        Its number of entries is rounded up by `entry_bucket`.

    Raises
    ------
    ValueError
        `n_rows` is smaller than the matrix, or an index does not fit into int32.
    """
    csr = _canonical(matrix, dtype)
    size = csr.shape[0] if n_rows is None else n_rows
    if size < csr.shape[0]:
        raise ValueError(f"`n_rows` must be at least the {csr.shape[0]} rows of the matrix, got {size}.")
    data, rows, columns = map(jnp.asarray, _entries(csr, size, entry_bucket(csr.nnz)))
    return Sparse(data, rows, columns, (size, csr.shape[1]), _longest(csr), axis_name)


def split_rows(
    matrix: Any, n_shards: int, dtype: Any = None, *, n_rows: int | None = None, axis_name: str | None = None
) -> Sparse:
    """Equal blocks of rows, stacked on a new first axis of the arrays.

    Map over that axis with ``vmap``, ``pmap`` or ``shard_map`` (which leaves it in place, of length one) to have in
    each shard a `Sparse` of `n_rows` local rows. What goes with the rows is padded to ``n_shards * n_rows``, its
    weights with zeros, and reshaped to (n_shards, n_rows, ...).

    Parameters
    ----------
    matrix, dtype, axis_name
        As in `from_scipy`.
    n_shards : int
        Number of blocks.
    n_rows : int, optional
        Rows per block; ``ceil(n_samples / n_shards)`` by default.

    Returns
    -------
    Sparse
        Its arrays are (n_shards, n_entries), its `shape` is that of one block.
    """
    csr = _canonical(matrix, dtype)
    size = -(-csr.shape[0] // n_shards) if n_rows is None else n_rows
    if n_shards * size < csr.shape[0]:
        raise ValueError(f"`n_rows` must be at least {-(-csr.shape[0] // n_shards)} for {n_shards} shards, got {size}.")
    blocks = [csr[i * size : (i + 1) * size] for i in range(n_shards)]
    n_entries = entry_bucket(max(block.nnz for block in blocks))
    stacked = zip(*(_entries(block, size, n_entries) for block in blocks), strict=True)
    data, rows, columns = (jnp.asarray(np.stack(parts)) for parts in stacked)
    return Sparse(data, rows, columns, (size, csr.shape[1]), _longest(csr), axis_name)


def _canonical(matrix: Any, dtype: Any) -> Any:
    """CSR with sorted, unique columns in each row; shares memory with the input only where nothing had to change."""
    if max(*matrix.shape, matrix.nnz) > np.iinfo(np.int32).max:
        raise ValueError(f"Indices must fit into int32, got shape {matrix.shape} and {matrix.nnz} entries.")
    csr: Any = scipy.sparse.csr_array(matrix, dtype=dtype)
    if not csr.has_canonical_format:
        csr = csr.copy()  # sum_duplicates works in place, and the constructor may have shared the arrays
        csr.sum_duplicates()
    return csr


def _longest(csr: Any) -> int | None:
    """A power of two that bounds the rows where pairs of non-zeros make the Gram matrix faster than dense blocks do."""
    longest = 1 << (max(int(np.diff(csr.indptr).max(initial=0)), 1) - 1).bit_length()
    n_samples, n_features = csr.shape
    return longest if csr.nnz * longest * SCATTER_COST <= n_samples * n_features**2 else None


def _entries(csr: Any, n_rows: int, n_entries: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    padding = 0, n_entries - csr.nnz
    rows = np.repeat(np.arange(csr.shape[0], dtype=np.int32), np.diff(csr.indptr))
    return (
        np.pad(csr.data, padding),
        np.pad(rows, padding, constant_values=max(n_rows - 1, 0)),
        np.pad(csr.indices.astype(np.int32), padding, constant_values=max(csr.shape[1] - 1, 0)),
    )
