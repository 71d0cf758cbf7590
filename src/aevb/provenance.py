"""Which code, versions and settings a number depends on.

Modules are found by following imports in the source, without importing anything, so the workflow can declare them as
inputs and the store can address runs by them.
"""

import ast
import hashlib
from pathlib import Path

PACKAGE = Path(__file__).parent
# modules that move bytes about without deciding a number; the data's content is in every run's address by its digest
PLUMBING = frozenset(
    {
        "__init__",
        "config",
        "data",
        "download",
        "experiments",
        "files",
        "interrupts",
        "labels",
        "provenance",
        "store",
    }
)


def modules(*roots: str) -> list[str]:
    """The package's modules reachable from `roots` by imports, roots included, without PLUMBING.

    A module is named by its path below the package without the suffix, such as `estimators/aevb`.
    """
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


def settings_of(module: str, function: str) -> set[str]:
    """The names of the settings that a module's function takes: its arguments that have a default."""
    tree = ast.parse(_file(module).read_text(encoding="utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    named = found.args.args[len(found.args.args) - len(found.args.defaults) :] + found.args.kwonlyargs
    return {argument.arg for argument in named}


def numerics_digest(estimator: str) -> str:
    """A digest of the code that decides a run's weights and curve; comments and docstrings do not change it."""
    digest = hashlib.sha256()
    for module in modules("training", "processor", f"estimators/{estimator}"):
        digest.update(f"{module}\n{_code(_file(module))}".encode())
    return digest.hexdigest()


def _file(module: str) -> Path:
    return PACKAGE / f"{module}.py"


def _imports(module: str) -> list[str]:
    tree = ast.parse(_file(module).read_text(encoding="utf-8"))
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "aevb":
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    paths = {name.removeprefix("aevb").lstrip(".").replace(".", "/") for name in names}
    candidates = {path or "__init__" for path in paths} | {f"{path}/__init__" for path in paths if path}
    return [candidate for candidate in candidates if _file(candidate).is_file()]


def _code(path: Path) -> str:
    """The syntax tree of a file without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)
