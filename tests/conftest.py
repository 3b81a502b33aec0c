"""What every test runs under: eight simulated devices, strict ranks, a compile cache that outlives the run."""

from __future__ import annotations

import itertools
import os
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Tests run thousands of small programs once each: they are compiled as fast as can be, with JAX 0.10 a Lasso in a quarter of
# the time. `make test-all` compiles as users do.
FAST_COMPILER = "--xla_backend_optimization_level=0"
if tuple(map(int, version("jax").split(".")[:2])) < (0, 11):
    FAST_COMPILER += " --xla_cpu_use_fusion_emitters=false"  # later versions have no others

assert "jax" not in sys.modules, "JAX reads these when it is imported"
for name, value in {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": "8",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "XLA_FLAGS": FAST_COMPILER,
    "MPLBACKEND": "Agg",
    "OPENBLAS_NUM_THREADS": "1",  # two processes test: the threads of both would wait for each other, some for minutes
}.items():
    os.environ.setdefault(name, value)

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

DATA = Path(os.environ.get("JAXLEARN_DATA", ROOT.parent / "shared" / "data"))


def pytest_terminal_summary(terminalreporter):
    if not DATA.is_dir():
        terminalreporter.write_line("JAXLEARN_DATA names no folder: only data bundled with scikit-learn was used")


# Whose tests compile much: there single precision is a matter of the slow tests, where the same test runs in double precision.
COMPILE_MUCH = {
    "test_conformance",
    "test_decomposition",
    "test_decompositions",
    "test_dictionary_learning",
    "test_factorizations",
    "test_glm_gradients",
    "test_matrix_factorization",
    "test_nmf",
    "test_pca",
    "test_solve",
    "test_sparse_codes",
    "test_sparse_coding",
    "test_stochastic_factorization",
}


LONG = set((ROOT / "tests" / "long.txt").read_text("utf-8").splitlines()[1:])


def pytest_collection_modifyitems(items):
    names = {item.nodeid for item in items}
    for item in items:
        both = "float32" in item.name and item.nodeid.replace("float32", "float64") in names
        if (both and item.path.stem in COMPILE_MUCH) or item.nodeid.removeprefix("tests/") in LONG:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def data_dir() -> Path | None:
    """The folder of real data, or None: then a test falls back on a bundled set, or skips."""
    return DATA if DATA.is_dir() else None


@pytest.fixture
def x64():
    """JAX in double precision."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=["float32", "float64"])
def data_dtype(request) -> np.dtype:
    """Both dtypes of the data, JAX left alone: for estimators, which choose the precision themselves."""
    return np.dtype(request.param)


@pytest.fixture
def dtype(data_dtype):
    """Both dtypes of the data, JAX in that precision: for the functional core."""
    with jax.enable_x64(data_dtype == np.float64):
        yield data_dtype


# Each program is some mappings of memory, of which Linux gives a process 65,530: beyond them the compiler dies.
MOST_MAPPINGS, TESTS_BETWEEN = 30_000, 20
MAPPINGS = Path("/proc/self/maps")
COUNT = itertools.count()


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Programs are dropped after each module."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def few_mappings():
    """And within one that makes thousands."""
    yield
    if next(COUNT) % TESTS_BETWEEN == 0 and MAPPINGS.exists():
        with MAPPINGS.open("rb") as mappings:
            many = sum(1 for _ in mappings) > MOST_MAPPINGS
        if many:
            jax.clear_caches()


class CountCompiles:
    """The programs that JAX compiled inside the ``with``; one read from the persistent cache counts as well.

    ``count`` is their number, ``names`` says which, ``misses`` is how many the persistent cache did not have.
    """

    def __init__(self):
        self.names: list[str] = []
        self.misses = 0

    @property
    def count(self) -> int:
        return len(self.names)

    def _compiled(self, event, duration, **metadata):
        if event == "/jax/core/compile/backend_compile_duration":
            self.names.append(metadata.get("fun_name", "?"))

    def _missed(self, event, **metadata):
        self.misses += event == "/jax/compilation_cache/cache_misses"

    def __enter__(self):
        jax.monitoring.register_event_duration_secs_listener(self._compiled)
        jax.monitoring.register_event_listener(self._missed)
        return self

    def __exit__(self, *exception):
        jax.monitoring.unregister_event_duration_listener(self._compiled)
        jax.monitoring.unregister_event_listener(self._missed)


@pytest.fixture
def count_compiles() -> type[CountCompiles]:
    """``with count_compiles() as compiled: ...`` and then ``assert compiled.count == 1, compiled.names``."""
    return CountCompiles
