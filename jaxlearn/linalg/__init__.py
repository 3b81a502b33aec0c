"""Small dense factorisations."""

from . import cholesky, spectral

__all__ = ["cholesky", "spectral"]
