"""jaxlearn: scikit-learn's models as JAX programs.

The estimators are in modules named as in scikit-learn (``jaxlearn.linear_model``); the pure functions behind them, for
use inside ``jit``, ``vmap`` and ``grad``, in ``jaxlearn.models``.
"""

from ._runtime import enable_compile_cache, tune_xla
from .access.mesh import shard_rows
from .access.streamed import stream

__version__ = "0.1.0"
__all__ = ["__version__", "enable_compile_cache", "shard_rows", "stream"]

tune_xla()
