"""Cross-validation folds as weights over one X, so that all of them share one compiled program."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from sklearn.metrics import make_scorer
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _raise_for_params,
    _routing_enabled,
    process_routing,
)

__all__ = ["SplitterRouting", "fold_weights", "of_rows", "routed_to_scorer", "scorer_of_all_classes"]


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


def of_rows(value: Any, n_samples: int, rows: Any) -> Any:
    """Some rows of what has one for each sample; anything else as it is."""
    return np.asarray(value)[rows] if np.shape(value)[:1] == (n_samples,) else value


def routed_to_scorer(estimator: Any, sample_weight: Any, params: dict) -> Any:
    """What ``fit`` passes to the splitter and to the scorer: without metadata routing, weights to the scorer."""
    if _routing_enabled():
        return process_routing(estimator, "fit", sample_weight=sample_weight, **params)
    weights = {} if sample_weight is None else {"sample_weight": np.asarray(sample_weight)}
    return Bunch(splitter=Bunch(split={}), scorer=Bunch(score=weights))


def scorer_of_all_classes(scorer: Any, classes: np.ndarray) -> Any:
    """A scorer whose score takes labels is told all of them: a test fold may lack some."""
    known = inspect.signature(scorer._score_func).parameters if hasattr(scorer, "_score_func") else {}
    if "labels" not in known:
        return scorer
    labels = {"labels": classes}
    if "pos_label" in known and len(classes) == 2:
        labels["pos_label"] = classes[1]
    method = scorer._response_method
    named = labels | scorer._kwargs
    return make_scorer(scorer._score_func, response_method=method, greater_is_better=scorer._sign == 1, **named)


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
