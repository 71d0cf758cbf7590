"""docs/reliability.md names tests that are there, and messages that the source can say."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/reliability.md").read_text()
ROWS = [
    line
    for line in PAGE.splitlines()
    if line.startswith("|") and not re.match(r"\|[-| ]+\|$|\| (fault|promise) ", line)
]
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)
SOURCES = [*(ROOT / "src").rglob("*.py"), *(ROOT / "workflow").rglob("*.smk")]
WORDS = re.compile(r"[A-Za-z]{2,}")


def fragments(message: str) -> list[str]:
    """What stands between two ellipses, where it has words."""
    parts = [part.strip(" :.,;()'") for part in message.split("…")]
    return [part for part in parts if WORDS.search(part)]


def told() -> list[str]:
    """The page's quoted messages: in backticks, with words and spaces, or an ellipsis."""
    quoted = re.findall(r"`([^`]+)`", PAGE)
    return [text for text in quoted if fragments(text) and "…" in text and not text.startswith("results/")]


def sayings(path: Path) -> list[str]:
    """Every string of a module, with … for what is put into it; strings beside each other are one."""
    text = path.read_text()
    if path.suffix == ".smk":
        return re.findall(r'"([^"\n]+)"', text)
    found = []
    tree = ast.parse(text)
    for node in ast.walk(tree):  # what stands in docstrings is said to nobody
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:]
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


SAID = [saying for path in SOURCES for saying in sayings(path)]


def unsaid(message: str) -> list[str]:
    return [part for part in fragments(message) if not any(part in saying for saying in SAID)]


@pytest.mark.parametrize("message", told())
def test_a_message_of_the_page_is_one_that_the_source_says(message):
    assert fragments(message)
    assert unsaid(message) == []


def test_a_message_that_nobody_says_is_noticed():
    assert unsaid("Cannot read …: …. Delete it and run again.") == []
    assert unsaid("Cannot find …: …. Delete it and run again.")


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)))
def test_a_test_of_the_page_is_there(file, name):
    tree = ast.parse((ROOT / "tests" / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_row_names_a_test():
    assert len(ROWS) > 80
    last = [row.strip("| ").rsplit("|", 1)[-1] for row in ROWS]
    assert [
        row for row, cell in zip(ROWS, last, strict=True) if "::" not in cell and "the same" not in cell
    ] == []
