"""YAML as a user means it: one mapping, each key once."""

from pathlib import Path
from typing import Any

import yaml

from aevb import UserError


class _UniqueKeys(yaml.SafeLoader):
    """A YAML loader that refuses a key given twice, of which PyYAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            problem = f"the key {', '.join(sorted(twice))} is given twice"
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def load(path: Path) -> dict[str, Any]:
    """The mapping that a file holds.

    Raises UserError when the file cannot be read, is no YAML mapping, or gives a key twice.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: of a number or a date that is none
        where = str(error).replace('in "<unicode string>", ', "at ")
        raise UserError(f"{path} is not valid YAML: {where}") from None
    except RecursionError:
        raise UserError(f"{path} is not valid YAML: it is nested too deeply") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path} must be a YAML mapping")
    return raw
