"""How data is read: the access patterns, for dense, sparse, sharded and streamed designs."""

from .dense import Dense, as_design
from .design import Centered, Design, Scaled, WithIntercept
from .mesh import shard_rows
from .sparse import Sparse
from .streamed import Streamed, stream

__all__ = [
    "Centered",
    "Dense",
    "Design",
    "Scaled",
    "Sparse",
    "Streamed",
    "WithIntercept",
    "as_design",
    "shard_rows",
    "stream",
]
