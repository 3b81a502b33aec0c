from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def test_devices_and_ranks():
    assert jax.device_count() == 8
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.ones((2, 3)) + jnp.ones(3)


def test_dtype_is_kept(dtype):
    assert jnp.asarray(np.ones(3, dtype)).dtype == dtype


def test_compiles_are_counted_once(count_compiles):
    def cube(x):
        return x**3

    x = jnp.ones(7)
    cubed = jax.jit(cube)
    with count_compiles() as compiled:
        cubed(x)
        cubed(x)
    assert compiled.count == 1, compiled.names
    with count_compiles() as compiled:
        cubed(x)
    assert compiled.count == 0, compiled.names


def test_long_tests_are_there():
    """A test that was renamed would run in `make test` again."""
    here = Path(__file__).parent
    for name in (here / "long.txt").read_text("utf-8").splitlines()[1:]:
        path, *_, function = name.partition("[")[0].split("::")
        assert f"def {function}(" in (here / path).read_text("utf-8"), name
