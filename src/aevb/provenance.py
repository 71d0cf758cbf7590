"""Which code a run's numbers come from: where its learning algorithm lies, and a digest of all that decides them."""

import ast
import hashlib
import importlib.util
import sys
from pathlib import Path

from aevb import UserError, algorithms
from aevb.imports import file_of, modules


def estimator(name: str, source: str = "") -> str:
    """The module of a learning algorithm: the package's own of that name, or where `source` says.

    source: a path that ends in .py, or the dotted name of a module that Python finds from here.

    Raises UserError when there is no such file, or none that defines build().
    """
    if not source:
        known = algorithms.estimators()
        if name not in known:
            raise UserError(f"There is no estimator '{name}'. Known ones: {', '.join(known)}.")
        return f"estimators/{name}"
    path = Path(source).expanduser().absolute() if source.endswith(".py") else _installed(source)
    if not path.is_file():
        raise UserError(f"There is no estimator at {path}.")
    algorithms.require_build(path)
    return str(path)


def _installed(module: str) -> Path:
    find_here()
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise UserError(f"There is no module {module} for an estimator: {error}.") from error
    except Exception as error:  # its package is imported on the way
        raise UserError(f"The package of {module}, an estimator, cannot be imported: {error!r}.") from error
    if found is None or found.origin is None:
        raise UserError(f"There is no module {module} for an estimator; a path must end in .py.")
    return Path(found.origin)


def find_here() -> None:
    """Let this process find modules in the present folder, after all others: for an estimator of the reader's."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))


def numerics_digest(estimator: str) -> str:
    """A digest of the code that decides a run's weights and curve; comments and docstrings do not change it.

    estimator: the module of the learning algorithm. A file of the reader's may lie anywhere.
    """
    digest = hashlib.sha256()
    for module in modules("training", "processor", estimator):
        name = Path(module).name if module.endswith(".py") else module
        digest.update(f"{name}\n{_code(file_of(module))}".encode())
    return digest.hexdigest()


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
