"""A change of one text in a copy of the package: a bug that is planted, another reading of the paper."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = Path(__file__).parents[1] / "src/aevb"


class Change(NamedTuple):
    """A text of a file below src/aevb, and what stands there instead; an empty text changes nothing."""

    file: str
    old: str
    new: str


def make(change: Change, package: Path) -> None:
    """In the copy of src/aevb at `package`. Raises AssertionError when the text is not there exactly once."""
    if change.old:
        file = package / change.file
        text = file.read_text()
        assert text.count(change.old) == 1, f"{change.file} does not hold {change.old!r} once"
        file.write_text(text.replace(change.old, change.new))


def changed_copy(folder: Path, *made: Change) -> Path:
    """A fresh folder below `folder` that holds the package with the changes: a PYTHONPATH."""
    source = folder / "src"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(PACKAGE, source / "aevb", ignore=shutil.ignore_patterns("__pycache__"))
    for one in made:
        make(one, source / "aevb")
    return source


def printed_with(source: Path, script: str, *arguments: str) -> Any:
    """What the script prints, as JSON, in a process of its own that imports the package of `source`."""
    environment = os.environ | {"PYTHONPATH": str(source)}
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)
