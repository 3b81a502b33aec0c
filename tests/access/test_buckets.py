"""Row buckets: how much they pad, and who shares one."""

from jaxlearn.access.buckets import row_bucket


def test_padding_is_bounded_and_monotone():
    previous = 0
    for n in range(1, 100_001):
        size = row_bucket(n)
        assert n <= size
        assert size - n < 8 or size <= 1.125 * n
        assert previous <= size == row_bucket(size)
        previous = size


def test_round_numbers_share_a_bucket_with_their_neighbours():
    assert {row_bucket(n) for n in range(1000, 1101)} == {row_bucket(1000)}


def test_buckets_are_few():
    assert len({row_bucket(n) for n in range(128, 8193)}) < 45


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
