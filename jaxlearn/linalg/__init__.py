"""Factorisations: small dense ones, orthonormal bases of tall matrices, leading singular vectors by random projection."""

from . import cholesky, eigenspace, lanczos, spectral
from .orthonormal import cholesky_qr, tsqr
from .randomized import block_krylov_svd, nystrom, randomized_svd, range_finder, single_pass_svd

__all__ = [
    "block_krylov_svd",
    "cholesky",
    "cholesky_qr",
    "eigenspace",
    "lanczos",
    "nystrom",
    "randomized_svd",
    "range_finder",
    "single_pass_svd",
    "spectral",
    "tsqr",
]
