"""Matrix decompositions, under the names of scikit-learn."""

from .estimators.dictionary_learning import DictionaryLearning, dict_learning
from .estimators.incremental_pca import IncrementalPCA
from .estimators.matrix_completion import MatrixCompletion
from .estimators.minibatch_dictionary_learning import MiniBatchDictionaryLearning, dict_learning_online
from .estimators.minibatch_nmf import MiniBatchNMF
from .estimators.nmf import NMF, non_negative_factorization
from .estimators.pca import PCA
from .estimators.sparse_coding import SparseCoder, sparse_encode
from .estimators.sparse_pca import MiniBatchSparsePCA, SparsePCA
from .estimators.stochastic_factorization import StochasticFactorization
from .estimators.truncated_svd import TruncatedSVD, randomized_range_finder, randomized_svd

__all__ = [
    "NMF",
    "PCA",
    "DictionaryLearning",
    "IncrementalPCA",
    "MatrixCompletion",
    "MiniBatchDictionaryLearning",
    "MiniBatchNMF",
    "MiniBatchSparsePCA",
    "SparseCoder",
    "SparsePCA",
    "StochasticFactorization",
    "TruncatedSVD",
    "dict_learning",
    "dict_learning_online",
    "non_negative_factorization",
    "randomized_range_finder",
    "randomized_svd",
    "sparse_encode",
]
