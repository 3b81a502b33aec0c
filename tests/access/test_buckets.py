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
