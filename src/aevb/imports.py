"""Which modules a module depends on.

They are found by following imports in the source, without importing anything, so the workflow can declare them as
inputs and the store can address runs by them. A module of the package is named by its path below it without the
suffix, such as `estimators/aevb`; a file of the reader's by its absolute path.
"""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent
# modules that move bytes about without deciding a number; the data's content is in every run's address by its digest
PLUMBING = frozenset(
    {
        "__init__",
        "algorithms",
        "builds",
        "config",
        "data",
        "download",
        "energy",
        "experiments",
        "files",
        "imports",
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
    return [str(file_of(module)) for module in modules(*roots)]


def file_of(module: str) -> Path:
    """Where that module is."""
    return Path(module) if module.endswith(".py") else PACKAGE / f"{module}.py"


def _imports(module: str) -> list[str]:
    """Modules that this one imports; of a reader's package, all files beside it."""
    tree = ast.parse(file_of(module).read_text(encoding="utf-8"))
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    ours = [name for name in names if name.split(".")[0] == "aevb"]
    paths = {name.removeprefix("aevb").lstrip(".").replace(".", "/") for name in ours}
    candidates = {path or "__init__" for path in paths} | {f"{path}/__init__" for path in paths if path}
    found = [candidate for candidate in candidates if file_of(candidate).is_file()]
    if module.endswith(".py") and (file_of(module).parent / "__init__.py").exists():
        found += map(str, file_of(module).parent.glob("*.py"))
    return found
