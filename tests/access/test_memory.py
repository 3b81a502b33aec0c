"""Memory that a CPU device uses where it lies."""

import numpy as np
import pytest

from jaxlearn.access import memory


@pytest.mark.parametrize("shape", [(5,), (1000, 3), (300_001, 4)])
def test_copies_lie_where_a_cpu_device_uses_them(shape):
    rows = np.random.default_rng(0).standard_normal(shape)
    target = memory.aligned((shape[0] + 3, *shape[1:]), rows.dtype)
    assert target.ctypes.data % 64 == 0
    memory.fill(target, rows)
    np.testing.assert_array_equal(target[: shape[0]], rows)
    assert not target[shape[0] :].any()
    if len(shape) == 2:
        memory.fill(target, rows, rows.mean(0))
        np.testing.assert_array_equal(target[: shape[0]], rows - rows.mean(0))
