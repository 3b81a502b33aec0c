"""How many rows a fit is compiled for: nearby sample counts share one program, the added rows have weight zero."""

from __future__ import annotations

import math

__all__ = ["row_bucket"]

# Twenty sizes to the decade, placed so that a round number and what is 10 % from it on one side share one: 1000 … 1104.
ANCHOR, PER_DECADE = 1104, 20
# Outside of these, steps that add less than an eighth, or than eight rows.
SMALL, LARGE = 256, 8192


def row_bucket(n_samples: int) -> int:
    """Padded number of rows: at most 12.5 % more, or fewer than eight rows.

    Parameters
    ----------
    n_samples : int

    Returns
    -------
    int
        At least `n_samples`, and monotone in it. A bucket is its own bucket.

    Examples
    --------
    >>> {row_bucket(n) for n in range(1000, 1101)}
    {1104}
    """
    if n_samples > LARGE:
        return _up(n_samples, LARGE // 8)
    if n_samples <= SMALL:
        return _up(max(n_samples, 1), 8 if n_samples <= SMALL // 2 else SMALL // 16)
    step = math.ceil(PER_DECADE * math.log10(n_samples / ANCHOR))
    # rounding to fours may have left room in the size below, and that of the logarithm may ask for the one above
    return min(size for j in (step - 1, step, step + 1) if (size := _size(j)) >= n_samples)


def _size(step: int) -> int:
    return min(_up(math.ceil(ANCHOR * 10 ** (step / PER_DECADE)), 4), LARGE)


def _up(n: int, step: int) -> int:
    return -(-n // step) * step
