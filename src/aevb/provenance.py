"""Which code, versions and settings a number depends on.

Modules are found by following imports in the source, without importing anything, so the workflow can declare them as
inputs and the store can address runs by them. A module of the package is named by its path below it without the
suffix, such as `estimators/aevb`; a file of the reader's by its absolute path.
"""

import ast
import hashlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

from aevb import UserError

PACKAGE = Path(__file__).parent
IDENTIFIER = r"[a-z][a-z0-9_]*"
BUILD = ["model", "optimiser", "n_train"]  # what every build() is given
# modules that move bytes about without deciding a number; the data's content is in every run's address by its digest
PLUMBING = frozenset(
    {
        "__init__",
        "config",
        "data",
        "download",
        "energy",
        "experiments",
        "files",
        "interrupts",
        "labels",
        "provenance",
        "store",
    }
)


def modules(*roots: str) -> list[str]:
    """The modules reachable from `roots` by imports, roots included, without PLUMBING."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        if module not in found and module not in PLUMBING:
            found.add(module)
            waiting += _imports(module)
    return sorted(found)


def sources(*roots: str) -> list[str]:
    """The files of `modules(*roots)`."""
    return [str(_file(module)) for module in modules(*roots)]


def estimators() -> list[str]:
    """The identifiers of the package's learning algorithms."""
    return sorted(path.stem for path in (PACKAGE / "estimators").glob("[a-z]*.py"))


def name_of(source: str) -> str:
    """The identifier of a learning algorithm outside the package: the last part of its path or module's name.

    Raises UserError where that is no identifier, or that of one of the package's own.
    """
    name = source.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".py").rsplit(".", 1)[-1]
    if not re.fullmatch(IDENTIFIER, name):
        raise UserError(
            f"The estimator {source} cannot be called '{name}': rename its file to small letters, digits and "
            "underscores, with a letter first."
        )
    if name in estimators():
        raise UserError(f"The estimator {source} has the name of the suite's own '{name}': rename its file.")
    return name


def estimator(name: str, source: str = "") -> str:
    """The module of a learning algorithm: the package's own of that name, or where `source` says.

    source: a path that ends in .py, or the dotted name of a module that Python finds from here.

    Raises UserError when there is no such file, or none that defines build().
    """
    if not source:
        if name not in estimators():
            raise UserError(f"There is no estimator '{name}'. Known ones: {', '.join(estimators())}.")
        return f"estimators/{name}"
    path = Path(source).expanduser().absolute() if source.endswith(".py") else _installed(source)
    if not path.is_file():
        raise UserError(f"There is no estimator at {path}.")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), path.name)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise UserError(f"The estimator {path} is not Python: {error}.") from error
    build = _function(tree, "build")
    given = [argument.arg for argument in build.args.args[:3]] if build else []
    if build is None or given != BUILD or len(build.args.args) - len(build.args.defaults) > len(BUILD):
        raise UserError(
            f"The estimator {path} must define build(model, optimiser, n_train, ...) -> Estimator; arguments after "
            "these three are settings and need defaults."
        )
    return str(path)


def _installed(module: str) -> Path:
    find_here()
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise UserError(f"There is no module {module} for an estimator: {error}.") from error
    if found is None or found.origin is None:
        raise UserError(f"There is no module {module} for an estimator; a path must end in .py.")
    return Path(found.origin)


def find_here() -> None:
    """Let this process find modules in the present folder, after all others: for an estimator of the reader's."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))


def _function(tree: ast.Module, name: str) -> ast.FunctionDef | None:
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    return functions[-1] if functions else None


def settings_of(module: str, function: str) -> dict[str, Any]:
    """The settings that a module's function takes, its arguments that have a default, with that default where it is a
    literal and None where it is not."""
    found = _function(ast.parse(_file(module).read_text(encoding="utf-8")), function)
    assert found is not None, f"{module} has no {function}()"
    names = found.args.args[len(found.args.args) - len(found.args.defaults) :] + found.args.kwonlyargs
    defaults = [*found.args.defaults, *found.args.kw_defaults]
    return {
        name.arg: default.value if isinstance(default, ast.Constant) else None
        for name, default in zip(names, defaults, strict=True)
    }


def numerics_digest(estimator: str) -> str:
    """A digest of the code that decides a run's weights and curve; comments and docstrings do not change it.

    estimator: the module of the learning algorithm. A file of the reader's may lie anywhere.
    """
    digest = hashlib.sha256()
    for module in modules("training", "processor", estimator):
        name = Path(module).name if module.endswith(".py") else module
        digest.update(f"{name}\n{_code(_file(module))}".encode())
    return digest.hexdigest()


def _file(module: str) -> Path:
    return Path(module) if module.endswith(".py") else PACKAGE / f"{module}.py"


def _imports(module: str) -> list[str]:
    """Modules that this one imports; of a reader's package, all files beside it."""
    tree = ast.parse(_file(module).read_text(encoding="utf-8"))
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    ours = [name for name in names if name.split(".")[0] == "aevb"]
    paths = {name.removeprefix("aevb").lstrip(".").replace(".", "/") for name in ours}
    candidates = {path or "__init__" for path in paths} | {f"{path}/__init__" for path in paths if path}
    found = [candidate for candidate in candidates if _file(candidate).is_file()]
    if module.endswith(".py") and (_file(module).parent / "__init__.py").exists():
        found += map(str, _file(module).parent.glob("*.py"))
    return found


def _code(path: Path) -> str:
    """The syntax tree of a file without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return _dump(tree)


def _dump(node: object) -> str:
    """A syntax tree as text: without what a node leaves out, of which every Python has more than the one before."""
    if isinstance(node, ast.AST):
        fields = {name: _dump(value) for name, value in ast.iter_fields(node) if value not in (None, [])}
        return f"{type(node).__name__}({', '.join(f'{name}={text}' for name, text in fields.items())})"
    if isinstance(node, list):
        return f"[{', '.join(map(_dump, node))}]"
    return repr(node)
