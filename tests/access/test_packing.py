"""Observed entries in batches: sums over the entries of a row, whatever its length and wherever its pieces lie."""

import numpy as np
import pytest
import scipy.sparse

from jaxlearn.access.packing import pack


@pytest.mark.parametrize("n_features", [1, 40, 1000])  # one batch; more, of fewer pieces; of the fewest there may be
def test_map_gives_each_row_its_entries(dtype, n_features):
    rng = np.random.default_rng(0)
    there = rng.random((300, 700)) < 0.02
    there[7], there[100:110], there[-1] = True, False, False  # 44 pieces, and none
    X = scipy.sparse.csr_array((rng.normal(size=there.sum()).astype(dtype), np.nonzero(there)), shape=there.shape)
    packed = pack(X.indptr, X.indices, X.data, 700, n_features=n_features)
    assert (packed.n_filled > 1) == (n_features == 1000)
    np.testing.assert_array_equal(packed.counts[:300], there.sum(1))
    features = rng.normal(size=(packed.n_columns, 2)).astype(dtype)

    def products(batch):
        return batch.sum_by_row((batch.values[..., None] * batch.features).sum(1))

    out = np.asarray(packed.map(products, features, 2))
    assert out.shape == (packed.n_rows, 2)
    tol = 700 * np.finfo(dtype).eps
    np.testing.assert_allclose(out[:300], X.astype(float) @ features[:700].astype(float), rtol=0, atol=tol)
    assert not out[300:].any()


def test_nearby_matrices_share_shapes():
    def shapes(n, p, seed):
        X = scipy.sparse.random_array((n, p), density=0.1, format="csr", rng=np.random.default_rng(seed))
        packed = pack(X.indptr, X.indices, X.data, p, n_features=4)
        return packed.values.shape, packed.rows.shape, packed.n_rows, packed.n_columns

    assert shapes(1000, 200, 0) == shapes(1010, 205, 1)
