"""How data is read: the access patterns, for dense, sparse, sharded and streamed designs."""

from .blocks import Blocks, in_blocks
from .dense import Dense, as_design
from .design import Centered, Design, Scaled, WithIntercept
from .mesh import shard_rows
from .sparse import Sparse
from .streamed import Streamed, stream
from .tiles import Tiles, write_tiles
from .virtual import virtual

__all__ = [
    "Blocks",
    "Centered",
    "Dense",
    "Design",
    "Scaled",
    "Sparse",
    "Streamed",
    "Tiles",
    "WithIntercept",
    "as_design",
    "in_blocks",
    "shard_rows",
    "stream",
    "virtual",
    "write_tiles",
]
