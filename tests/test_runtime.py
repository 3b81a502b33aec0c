"""The process: the one flag set at import, the compile cache, and what a second process compiles."""

import os
import subprocess
import sys

import jax
import pytest

FIT = """
import sys, numpy as np, jax
import jaxlearn
from jaxlearn.linear_model import Lasso, Ridge
misses = []
jax.monitoring.register_event_listener(lambda event, **_: misses.append(event) if event.endswith("cache_misses") else None)
jaxlearn.enable_compile_cache(sys.argv[1])
X = np.random.default_rng(0).standard_normal((60, 5))
Lasso(0.1).fit(X, X[:, 0])
Ridge(0.1).fit(X, X[:, 0])
print(len(misses))
"""


def run(code, *arguments, **env):
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("JAX_COMPILATION", "JAX_PERSISTENT", "XLA_FLAGS"))
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment | env,
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )
    return done.stdout.strip()


def test_a_second_process_compiles_nothing(tmp_path):
    assert int(run(FIT, str(tmp_path))) > 0
    assert int(run(FIT, str(tmp_path))) == 0


FLAGS = "import jaxlearn, os; print(os.environ.get('XLA_FLAGS', ''))"


@pytest.mark.skipif(jax.__version_info__ >= (0, 12), reason="JAX folds small loops by itself")
def test_the_flag_is_added_to_those_that_are_set():
    assert "small_while_loop" in run(FLAGS)
    assert "--xla_cpu_enable_fast_math=false " in run(FLAGS, XLA_FLAGS="--xla_cpu_enable_fast_math=false")


def test_the_flag_can_be_declined():
    assert "small_while_loop" not in run(FLAGS, JAXLEARN_XLA_TUNE="0")
    own = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=1024"
    assert run(FLAGS, XLA_FLAGS=own) == own


def test_the_cache_is_private(tmp_path):
    code = "import jaxlearn, sys; print(jaxlearn.enable_compile_cache(sys.argv[1]))"
    folder = tmp_path / "programs"
    assert run(code, str(folder)) == str(folder)
    assert folder.stat().st_mode & 0o077 == 0


LANES = """
import sys, jax, jax.numpy as jnp
from jaxlearn.models import glm
from jaxlearn.objectives import L2
keys = jax.random.split(jax.random.key(0), 4)
W, X = jax.random.normal(keys[0], (32, 32)), jax.random.normal(keys[1], (16, 20, 32))
y, queries = jax.random.normal(keys[2], (16, 20, 4)), jax.random.normal(keys[3], (16, 60, 32))

def loss(W, alpha):
    def head(X, y, queries):
        model = glm.GLM(penalty=L2(alpha), solver=sys.argv[1])
        return jnp.mean(glm.predict(glm.fit(model, jnp.tanh(X @ W), y), jnp.tanh(queries @ W)) ** 2)

    return jax.vmap(head)(X, y, queries).mean()

step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
for _ in range(400):
    value, _ = jax.block_until_ready(step(W, jnp.float32(0.1)))
print(bool(jnp.isfinite(value)))
"""


@pytest.mark.parametrize(
    "solver",
    ["newton", pytest.param("spectral", marks=pytest.mark.slow), pytest.param("lbfgs", marks=pytest.mark.slow)],
)
def test_lanes_of_fits_under_grad_return_with_a_pool_of_two_threads(solver):
    # JAX before 0.11.2: lanes of a factorisation are tasks of the pool, whose thread waits for them
    assert run(LANES, solver, JAX_NUM_CPU_DEVICES="1", PJRT_NPROC="2") == "True"


CONCAVE = """
import jax, jax.numpy as jnp
from jaxlearn.models import glm
from jaxlearn.objectives import MCP
keys = jax.random.split(jax.random.key(0), 2)
X = jax.random.normal(keys[0], (200, 300))
y = X[:, :40].sum(1) + jax.random.normal(keys[1], (200,))

@jax.jit
def follow(X, y):
    model = glm.GLM(penalty=MCP(jnp.float32(1), 3.0))
    return glm.path(model, X, y, glm.alpha_max(model, X, y) * jnp.geomspace(1, 0.1, 30))

for _ in range(10):
    path = jax.block_until_ready(follow(X, y))
print(bool((path.status >= 0).all()))
"""


def test_a_path_from_two_starts_returns_with_a_pool_of_two_threads():
    assert run(CONCAVE, JAX_NUM_CPU_DEVICES="1", PJRT_NPROC="2") == "True"
