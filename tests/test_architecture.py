"""The rules of the house, held by reading its source and by importing it in a fresh process.

Each rule is a function from a module to its offences. It is registered with sources that break it, so that it is seen
to work, and then runs over the whole package.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "jaxlearn"
STOREYS = ("linalg", "objectives", "solvers", "access", "models", "estimators", "doors")  # ground to top
OUTER_LOOP = "solvers/solve.py"
MAX_LINES = 400
MAX_POSITIONAL = 5
# Processor time of all doors and models together, of that of JAX and scikit-learn: a machine of any speed can be asked that.
LONGEST_IMPORT = 0.6

COLLECTIVES = [
    "psum",
    "pmean",
    "pmax",
    "pmin",
    "psum_scatter",
    "pshuffle",
    "pswapaxes",
    "ppermute",
    "pbroadcast",
    "pcast",
]
COLLECTIVES += ["all_gather", "all_to_all", "ragged_all_to_all", "axis_index", "axis_size"]
BANNED = {  # name: what to write instead
    "jax.numpy.empty": "`jnp.zeros`: from JAX 0.11 on it is not initialised",
    "jax.numpy.empty_like": "`jnp.zeros_like`: from JAX 0.11 on it is not initialised",
    "jax.core": "public names only",
    "jax._src": "public names only",
    "jax.experimental.enable_x64": "`jax.enable_x64`",
    "jax.experimental.pjit": "`jax.jit`",
    "jax.experimental.shard_map": "`jax.shard_map`",
    "jax.experimental.sparse": "our own kernels",
    "jax.lax.pvary": "`jax.lax.pcast`",
    "jax.device_put_sharded": "`jax.device_put`",
    "jax.device_put_replicated": "`jax.device_put`",
}
# (path, expression): why XLA does not copy X here, or why the copy does not matter
TRANSPOSED_PRODUCTS: dict[tuple[str, str], str] = {}


@dataclass(frozen=True)
class Module:
    path: str  # inside the package: "solvers/solve.py"
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @property
    def name(self) -> str:
        return ".".join(("jaxlearn", *Path(self.path).with_suffix("").parts)).removesuffix(".__init__")

    @property
    def storey(self) -> str:
        return storey(self.name)

    @property
    def on_host(self) -> bool:
        """Of the storeys that may use scikit-learn and SciPy: a module of access/ is if its first line says so."""
        docstring = ast.get_docstring(self.tree) or ""
        return self.storey == "estimators" or (self.storey == "access" and "host" in docstring.partition("\n")[0])

    @cached_property
    def exports(self) -> list[str] | None:
        """``__all__``, or None if there is none."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                return ast.literal_eval(node.value)
        return None

    @cached_property
    def imports(self) -> list[tuple[int, str, str]]:
        """(line, name here, absolute dotted name) of everything imported."""
        found = []
        package = ("jaxlearn", *Path(self.path).parts[:-1])
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += [(node.lineno, a.asname or a.name, a.name) for a in node.names]
            elif isinstance(node, ast.ImportFrom):
                origin = package[: len(package) - node.level + 1] if node.level else ()
                origin = ".".join((*origin, *filter(None, [node.module])))
                found += [(node.lineno, a.asname or a.name, f"{origin}.{a.name}") for a in node.names]
        return found

    @cached_property
    def uses(self) -> list[tuple[int, str]]:
        """(line, absolute dotted name) of everything imported, and of every attribute of it."""
        origin = {here: name for _, here, name in self.imports}
        found = {(line, name) for line, _, name in self.imports}
        for node in self.nodes:
            if isinstance(node, ast.Attribute) and re.fullmatch(r"[\w.]+", chain := ast.unparse(node)):
                first, _, rest = chain.partition(".")
                if first in origin:
                    found.add((node.lineno, f"{origin[first]}.{rest}"))
                elif any(here.startswith(first + ".") for here in origin):  # `import jax.numpy` binds `jax`
                    found.add((node.lineno, chain))
        return sorted(found)


def storey(name: str) -> str:
    part = (name.split(".") + [""])[1]
    return part if part in STOREYS else "doors"


def within(name: str, *tops: str) -> bool:
    return any(name == top or name.startswith(top + ".") for top in tops)


def documented() -> set[str]:
    """The dotted names that the pages of docs/api list."""
    names = set()
    for page in sorted((ROOT / "docs" / "api").glob("*.rst")):
        module = ""
        for line in page.read_text().splitlines():
            if directive := re.match(r"\.\. (?:currentmodule|automodule):: ([\w.]+)", line):
                names.add(module := directive[1])
            elif entry := re.fullmatch(r"\s+([\w.]+)", line):
                names.add(f"{module}.{entry[1]}")
    return names


Offences = Iterator[tuple[int, str]]
RULES: list[tuple[Callable[[Module], Offences], list[Module], list[Module]]] = []


def rule(breaks: list[tuple[str, str]], keeps: tuple[tuple[str, str], ...] = ()):
    def register(check):
        RULES.append((check, [Module(*m) for m in breaks], [Module(*m) for m in keeps]))
        return check

    return register


@rule(
    breaks=[
        ("solvers/a.py", "from ..access import Dense"),
        ("objectives/a.py", "import jaxlearn.solvers.solve"),
        ("estimators/a.py", "from jaxlearn import linear_model"),
        ("models/a.py", "def f():\n    from jaxlearn.estimators.glm import Lasso"),
    ],
    keeps=[
        ("models/a.py", "from ..access import Dense\nfrom . import b\nfrom .b import c"),
        ("linear_model.py", "from .estimators.glm import Lasso"),
    ],
)
def imports_point_downward(module: Module) -> Offences:
    for line, _, name in module.imports:
        if within(name, "jaxlearn") and STOREYS.index(storey(name)) > STOREYS.index(module.storey):
            yield line, f"{module.storey} imports {name}"


@rule(
    breaks=[
        ("models/a.py", "from sklearn.base import clone"),
        ("access/a.py", '"""Dense designs."""\nimport scipy.sparse'),
    ],
    keeps=[
        ("access/a.py", '"""Designs from what the host holds."""\nimport scipy.sparse'),
        ("objectives/a.py", "import jax.scipy\nfrom jax.scipy.special import xlogy"),
    ],
)
def scikit_learn_and_scipy_stay_on_the_host(module: Module) -> Offences:
    for line, name in module.uses:
        if within(name, "sklearn", "scipy") and not module.on_host:
            yield line, name


@rule(
    breaks=[
        ("solvers/a.py", "from jax import lax\ng = lambda x: lax.psum(x, 'rows')"),
        ("models/a.py", "from jax.lax import all_gather as gather"),
        ("estimators/a.py", "import jax.lax\njax.lax.axis_index('rows')"),
    ],
    keeps=[("access/a.py", "from jax import lax\ng = lambda x: lax.psum(x, 'rows')")],
)
def collectives_are_in_access(module: Module) -> Offences:
    for line, name in module.uses:
        if module.storey != "access" and within(name, *(f"jax.lax.{c}" for c in COLLECTIVES)):
            yield line, name


@rule(
    breaks=[("solvers/newton.py", "import jax\njax.lax.while_loop(a, b, c)")],
    keeps=[(OUTER_LOOP, "import jax\njax.lax.while_loop(a, b, c)")],
)
def there_is_one_outer_loop(module: Module) -> Offences:
    for line, name in module.uses:
        if module.path != OUTER_LOOP and within(name, "jax.lax.while_loop"):
            yield line, f"{name} belongs in {OUTER_LOOP}"


@rule(
    breaks=[
        ("access/a.py", "g = X.T @ u"),
        ("access/a.py", "g = self.X.T @ (w * u)"),
        ("access/a.py", "import jax.numpy as jnp\ng = jnp.dot(X.T, u)"),
    ],
    keeps=[("access/a.py", "g = u @ X\nh = (X @ b.T)")],
)
def no_product_with_a_transpose(module: Module) -> Offences:
    """XLA copies X at every ``X.T @ u``; ``u @ X`` is the same vector without the copy."""
    for node in module.nodes:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            left = node.left
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("dot", "matmul") and node.args:
            left = node.args[0]
        else:
            continue
        if isinstance(left, ast.Attribute) and left.attr in ("T", "mT"):
            expression = ast.unparse(node)
            if (module.path, expression) not in TRANSPOSED_PRODUCTS:
                yield node.lineno, expression


@rule(
    breaks=[
        ("solvers/a.py", "import jax.numpy as jnp\nz = jnp.empty(3)"),
        ("access/a.py", "from jax.experimental import sparse"),
        ("access/a.py", "from jax.experimental.shard_map import shard_map"),
        ("models/a.py", "import jax\nx = jax.core.Tracer"),
        ("models/a.py", "from jax._src import config"),
    ],
    keeps=[("models/a.py", "import jax.numpy as jnp\nz = jnp.zeros(3)")],
)
def no_banned_jax_names(module: Module) -> Offences:
    for line, name in module.uses:
        for banned, instead in BANNED.items():
            if within(name, banned):
                yield line, f"{name}; use {instead}"


@rule(
    breaks=[
        ("solvers/a.py", "import jax\nwith jax.enable_x64(True): pass"),
        ("estimators/a.py", "import jax\njax.config.update('jax_enable_x64', True)"),
        ("a.py", "import jax\njax.config.update('jax_enable_x64', True)"),
    ],
    keeps=[
        ("estimators/a.py", "import jax\nwith jax.enable_x64(True): pass"),
        ("a.py", "import jax\ndef enable_compile_cache():\n    jax.config.update('jax_compilation_cache_dir', '.')"),
    ],
)
def settings_of_jax_are_left_alone(module: Module) -> Offences:
    """Estimators enter double precision as a context; only `enable_compile_cache` changes a setting, on request."""
    allowed = {
        line
        for node in module.nodes
        if isinstance(node, ast.FunctionDef) and node.name == "enable_compile_cache"
        for line in range(node.lineno, node.end_lineno + 1)
    }
    for line, name in module.uses:
        if within(name, "jax.config.update") and line not in allowed:
            yield line, name
        if within(name, "jax.enable_x64") and module.storey != "estimators":
            yield line, name


@rule(
    breaks=[
        ("models/a.py", "def fit(): pass"),
        ("models/a.py", "__all__ = ['fit']\ndef fit(): pass"),
        ("models/a.py", "__all__ = ['Config']\nclass Config: pass"),
    ],
    keeps=[("models/a.py", "__all__ = ['fit']\ndef fit():\n    '''Fit.'''")],
)
def exports_are_listed_and_have_docstrings(module: Module) -> Offences:
    if module.exports is None:
        yield 1, "no `__all__`"
    for node in module.tree.body:
        public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name in (module.exports or ())
        if public and not ast.get_docstring(node):
            yield node.lineno, f"{node.name} has no docstring"


@rule(
    breaks=[
        ("linear_model.py", "__all__ = ['NoSuchModel']"),
        ("models/glm.py", "__all__ = ['no_such_function']"),
        ("solvers/__init__.py", "__all__ = ['NoSuchSolver']"),
    ],
    keeps=[("solvers/a.py", "__all__ = ['no_such_function']"), ("_a.py", "__all__ = ['no_such_function']")],
)
def public_names_are_in_the_docs(module: Module) -> Offences:
    whole = module.storey in ("doors", "models") or module.path in ("solvers/__init__.py", "objectives/__init__.py")
    if whole and "._" not in module.name:
        for name in module.exports or ():
            if not name.startswith("_") and f"{module.name}.{name}" not in documented():
                yield 1, f"docs/api does not list {module.name}.{name}"


@rule(
    breaks=[
        ("linear_model.py", "def f(): pass"),
        ("linear_model.py", "from .estimators import glm\nLasso = glm.Lasso"),
    ],
    keeps=[("linear_model.py", "'''Linear models.'''\nfrom .estimators.glm import Lasso\n__all__ = ['Lasso']")],
)
def doors_hold_no_code(module: Module) -> Offences:
    if "/" in module.path or module.path.startswith("_"):
        return
    for node in module.tree.body:
        if not isinstance(node, (ast.Import, ast.ImportFrom)) and not re.match(r"__all__ =|['\"]", ast.unparse(node)):
            yield node.lineno, ast.unparse(node).partition("\n")[0]


@rule(breaks=[("solvers/a.py", "x = 1\n" * (MAX_LINES + 1))], keeps=[("solvers/a.py", "x = 1\n" * MAX_LINES)])
def files_are_short(module: Module) -> Offences:
    lines = len(module.source.splitlines())
    if lines > MAX_LINES:
        yield MAX_LINES + 1, f"{lines} lines, more than {MAX_LINES}"


@rule(
    breaks=[("solvers/a.py", "def f(a, b, c, d, e, f): pass"), ("models/a.py", "def f(a, b, c, /, d, e, f=1): pass")],
    keeps=[
        ("solvers/a.py", "class A:\n    def f(self, a, b, c, d, e, *, f): pass"),
        ("estimators/a.py", "def f(a, b, c, d, e, f): pass"),
    ],
)
def positional_parameters_are_few(module: Module) -> Offences:
    if module.storey == "estimators":
        return
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef):
            names = [a.arg for a in node.args.posonlyargs + node.args.args if a.arg not in ("self", "cls")]
            if len(names) > MAX_POSITIONAL:
                yield node.lineno, f"{node.name} takes {len(names)}, more than {MAX_POSITIONAL}"


@rule(
    breaks=[("models/a.py", "print('here')"), ("models/a.py", "# TODO later"), ("models/a.py", "x = 1  # FIXME")],
    keeps=[("models/a.py", "import pprint\n'''Prints nothing.'''")],
)
def nothing_is_printed_or_left_to_do(module: Module) -> Offences:
    for node in module.nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield node.lineno, ast.unparse(node)
    for line, text in enumerate(module.source.splitlines(), 1):
        if re.search(r"\b(TODO|FIXME|XXX)\b", text):
            yield line, text.strip()


@pytest.fixture(scope="module")
def package() -> list[Module]:
    modules = [Module(str(p.relative_to(PACKAGE)), p.read_text()) for p in sorted(PACKAGE.rglob("*.py"))]
    assert len(modules) >= len(STOREYS), "fewer modules than storeys: the scan would prove nothing"
    return modules


@pytest.mark.parametrize("check", [check for check, *_ in RULES], ids=lambda check: check.__name__)
def test_house_keeps(check, package):
    offences = [f"jaxlearn/{m.path}:{line}: {what}" for m in package for line, what in check(m)]
    assert not offences, "\n".join(["", *offences])


@pytest.mark.parametrize(("check", "breaks", "keeps"), RULES, ids=[check.__name__ for check, *_ in RULES])
def test_rule_works(check, breaks, keeps):
    for module in breaks:
        assert list(check(module)), f"not seen: {module.source[:200]}"
    for module in keeps:
        assert not list(check(module)), f"wrongly accused: {module.source[:200]}"


def test_exceptions_are_in_use(package):
    expressions = {(m.path, ast.unparse(node)) for m in package for node in m.nodes if isinstance(node, ast.expr)}
    assert expressions >= set(TRANSPOSED_PRODUCTS)


IMPORT = """
import json, os, sys, time
start = time.process_time()
import jax, sklearn.linear_model
settings, environment, middle = dict(jax.config.values), dict(os.environ), time.process_time()
import {modules}
share = (time.process_time() - middle) / (middle - start)
from jax._src import xla_bridge
changed = {{k for k in jax.config.values if settings.get(k) != jax.config.values[k]}}
changed |= {{k for k in os.environ.keys() | environment if environment.get(k) != os.environ.get(k)}}
print(json.dumps([share, xla_bridge.backends_are_initialized(), sorted(changed)]))
"""


def import_afresh(package: list[Module]) -> tuple[float, bool, list[str]]:
    """Import every door and model in a new process: share of time, backend up, settings changed."""
    names = [m.name for m in package if m.storey in ("doors", "models")]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    code = IMPORT.format(modules=", ".join(names))
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_import_is_quiet_and_quick(package):
    """Of processor time. One import within the limit shows that it takes no more."""
    shares = []
    for _ in range(5):
        took, initialised, changed = import_afresh(package)
        assert not initialised, "importing initialises a backend"
        assert set(changed) <= {"XLA_FLAGS"}, changed
        shares.append(took)
        if took <= LONGEST_IMPORT:
            return
    pytest.fail(f"importing takes {min(shares):.2f} of the time of JAX and scikit-learn, the least of {shares}")
