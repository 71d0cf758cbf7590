"""The names of learning algorithms and the settings they take, read from the source without importing it."""

import ast
import re
from pathlib import Path
from typing import Any

from aevb import UserError
from aevb.imports import PACKAGE, file_of

IN_TABLES = (
    "nan",
    "null",
    "true",
    "false",
    "inf",
    "infinity",
)  # are read as no value, as a truth or as a number
IDENTIFIER = rf"(?!({'|'.join(IN_TABLES)})$)[a-z][a-z0-9_]*"
BUILD = ["model", "optimiser", "n_train"]  # what every build() is given


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
            f"underscores, with a letter first, and not to one of {', '.join(IN_TABLES)}."
        )
    if name in estimators():
        raise UserError(f"The estimator {source} has the name of the suite's own '{name}': rename its file.")
    return name


def require_build(path: Path) -> None:
    """Raises UserError unless the file is Python and defines the build() of a learning algorithm."""
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


def settings_of(module: str, function: str) -> dict[str, Any]:
    """The settings that a module's function takes, its arguments that have a default, with that default where it is a
    literal and None where it is not."""
    found = _function(ast.parse(file_of(module).read_text(encoding="utf-8")), function)
    assert found is not None, f"{module} has no {function}()"
    names = found.args.args[len(found.args.args) - len(found.args.defaults) :] + found.args.kwonlyargs
    defaults = [*found.args.defaults, *found.args.kw_defaults]
    return {
        name.arg: default.value if isinstance(default, ast.Constant) else None
        for name, default in zip(names, defaults, strict=True)
    }


def _function(tree: ast.Module, name: str) -> ast.FunctionDef | None:
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    return functions[-1] if functions else None
