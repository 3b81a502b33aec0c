"""Labels of classes, and the codes 0, 1, … that programs take in their place."""

from __future__ import annotations

import numpy as np

__all__ = ["codes_of", "labels_of"]

# Integers of at most so many different values are counted instead of sorted: a million of them in 5 ms instead of 50.
RANGE = 1 << 16


def labels_of(y: np.ndarray) -> np.ndarray:
    """The different labels, sorted."""
    if _is_narrow(y):
        low = int(y.min())
        return (np.flatnonzero(np.bincount(y.astype(np.intp, copy=False) - low)) + low).astype(y.dtype)
    return np.unique(y)


def codes_of(y: np.ndarray, classes: np.ndarray, name: str) -> np.ndarray:
    """The place of each label among sorted `classes`, int32.

    Parameters
    ----------
    y : ndarray, (n,)
    classes : ndarray, (n_classes,)
    name : str
        What an error message calls the labels.
    """
    if _is_narrow(y) and _is_narrow(classes):
        low = int(min(y.min(), classes.min()))
        table = np.full(int(max(y.max(), classes.max())) - low + 1, -1, np.int32)
        table[classes.astype(np.intp, copy=False) - low] = np.arange(len(classes), dtype=np.int32)
        codes = table[y.astype(np.intp, copy=False) - low]
        unseen = codes < 0
    else:
        codes = np.minimum(np.searchsorted(classes, y), len(classes) - 1).astype(np.int32)
        unseen = classes[codes] != y
    if unseen.any():
        raise ValueError(
            f"The target label(s) {np.unique(y[unseen])} in {name} do not exist in the initial classes {classes}"
        )
    return codes


def _is_narrow(values: np.ndarray) -> bool:
    """Whether they are integers, near each other and near zero."""
    return values.dtype.kind in "iu" and len(values) > 0 and values.min() > -RANGE and values.max() < RANGE
