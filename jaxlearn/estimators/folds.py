"""Cross-validation folds as weights over one X, so that all of them share one compiled program."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.model_selection import check_cv
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _raise_for_params,
    _routing_enabled,
    process_routing,
)

__all__ = ["SplitterRouting", "fold_weights"]


def fold_weights(folds: list[tuple[Any, Any]], weight: np.ndarray, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of training and of testing rows, each (n_rows, n_folds).

    Parameters
    ----------
    folds : list of (train, test)
        Indices, repeated or not, or masks.
    weight : (n_rows,)
        Sample weights, padding included.
    n_samples : int
        Rows that may be indexed.
    """

    def times(indices: Any) -> np.ndarray:
        counts = np.zeros(len(weight), weight.dtype)
        np.add.at(counts, np.arange(n_samples)[indices], 1)
        return counts * weight

    train, test = (np.stack([times(fold[part]) for fold in folds], axis=1) for part in (0, 1))
    return train, test


class SplitterRouting:
    """An estimator whose ``cv`` may ask for metadata, ``groups`` for instance."""

    cv: Any

    def get_metadata_routing(self):
        """Where metadata goes, see scikit-learn's user guide.

        Returns
        -------
        MetadataRouter
        """
        mapping = MethodMapping().add(caller="fit", callee="split")
        return MetadataRouter(owner=self).add_self_request(self).add(splitter=check_cv(self.cv), method_mapping=mapping)

    def _split(self, X: Any, y: Any, sample_weight: Any, params: dict) -> list[tuple[Any, Any]]:
        """The folds; `params` go to the splitter, which scikit-learn allows with metadata routing enabled."""
        _raise_for_params(params, self, "fit")
        routed = {}
        if _routing_enabled():
            routed = process_routing(self, "fit", sample_weight=sample_weight, **params).splitter.split
        splitter: Any = check_cv(self.cv)
        return list(splitter.split(X, y, **routed))
