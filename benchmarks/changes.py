"""A change of one text in a copy of the package: a bug that is planted, another reading of the paper."""

from pathlib import Path
from typing import NamedTuple


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
