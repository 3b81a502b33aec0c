"""What is beside jaxlearn in a race of completions: both programs learn, and alternating least squares is the same problem."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from benchmarks import completion, data
from jaxlearn.decomposition import MatrixCompletion


@pytest.fixture(scope="module")
def marks():
    known, heldout, _ = data.ratings(600, 200, 20_000, 2)
    known, heldout = known.astype(float), heldout.astype(float)
    mean = known.data.mean()
    centred = csr_array((known.data - mean, known.indices, known.indptr), shape=known.shape)
    judge = lambda factors: completion.error(factors, heldout, mean, (1.0, 5.0))  # noqa: E731
    return known, heldout, centred, judge


def test_alternating_least_squares_and_jaxlearn_end_at_the_same_error(marks):
    known, heldout, centred, judge = marks
    curve = completion.timed(
        completion.alternating(centred, 2, 0.07 * known.data.std()), lambda f: f, judge, n_steps=60, budget=60
    )
    mine = -MatrixCompletion(2, tol=0, max_iter=60, random_state=0).fit(known).score(heldout)
    assert curve[-1][1] == pytest.approx(mine, rel=1e-3)


def test_published_algorithm_learns_more_than_biases(marks):
    _, _, centred, judge = marks
    online = completion.Published(centred, 2, 1.0, batch_size=100)
    b, c = online.b, online.c
    biases = judge((np.zeros((600, 1)), np.zeros((200, 1)), b, c))
    curve = completion.timed(iter(online), lambda f: (online.codes(online.X), *f[1:]), judge, n_steps=5, budget=60)
    assert curve[-1][1] < 0.97 * biases
    np.testing.assert_array_less(np.linalg.norm(online.D, axis=1), 1 + 1e-9)
