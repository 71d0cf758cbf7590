"""Blocks of a page in Markdown, and their place there: between two markers."""

import re
from collections.abc import Iterable, Mapping, Sequence

from aevb import UserError


def table(head: Sequence[str], alignment: str, rows: Iterable[Sequence[object]]) -> str:
    """A line for each row of cells below the head; alignment: a column's side, l or r, for every column."""
    sides = "".join("--:|" if side == "r" else "---|" for side in alignment)
    first, *others = (f"| {' | '.join(map(str, cells))} |" for cells in (head, *rows))
    return "\n".join([first, f"|{sides}", *others])


def filled(text: str, blocks: Mapping[str, str]) -> str:
    """The page with each block between the markers of its name.

    Raises UserError when a pair of markers is missing.
    """
    for name, block in blocks.items():
        text = insert_between_markers(text, name, block)
    return text


def insert_between_markers(text: str, name: str, block: str) -> str:
    """Replace what stands between `<!-- {name}:begin -->` and `<!-- {name}:end -->` in `text` by `block`.

    Raises UserError when the pair of markers is missing.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    pattern = re.compile(f"({re.escape(begin)}).*?({re.escape(end)})", re.DOTALL)
    replaced, found = pattern.subn(lambda markers: f"{markers[1]}\n{block}\n{markers[2]}", text, count=1)
    if not found:
        raise UserError(f"no place for the table: put the lines {begin} and {end} where it belongs")
    return replaced
