"""What jaxlearn asks of the process it runs in: one XLA flag at import, and a compilation cache on request."""

from __future__ import annotations

import os
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

__all__ = ["enable_compile_cache", "tune_xla"]

SMALL_LOOP_FLAG = "xla_cpu_small_while_loop_byte_threshold"


def tune_xla() -> None:
    """Let XLA:CPU compile loops over up to 64 kB into one function, as JAX ≥ 0.12 does by itself.

    Small sequential loops (coordinate sweeps) run up to 50 times faster. The flag is added to ``XLA_FLAGS`` before the
    first compilation; it has no effect on programs that are compiled already, nor on accelerators. Set
    ``JAXLEARN_XLA_TUNE=0``, or give ``xla_backend_extra_options`` a value of your own, and it is left alone.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    wanted = os.environ.get("JAXLEARN_XLA_TUNE", "1") != "0" and "xla_backend_extra_options" not in flags
    if wanted and jax.__version_info__ < (0, 12):
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_extra_options={SMALL_LOOP_FLAG}=65536".strip()


def enable_compile_cache(path: str | os.PathLike[str] | None = None) -> Path:
    """Keep compiled programs on disk, so that a new process compiles nothing that an earlier one did.

    A program in the cache is code that will be executed: the folder should be writable by you alone.

    Parameters
    ----------
    path : path-like, optional
        By default ``jaxlearn`` in ``$XDG_CACHE_HOME`` or ``~/.cache``, created readable by its owner only. It grows
        with the programs that are compiled, some 100 kB each; it may be deleted at any time.

    Returns
    -------
    Path
        The folder.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(path) if path is not None else home / "jaxlearn"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # the defaults keep only programs that took a second to compile, which few of these models do
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # a process that has compiled already has settled on having no cache
    compilation_cache.reset_cache()
    return folder
