"""markdown.py: a table's lines, and what stands between a page's markers."""

import pytest

from aevb import UserError, markdown


def test_a_table_has_a_line_a_row_and_columns_on_their_sides():
    lines = ["| name | n |", "|---|--:|", "| a | 1 |", "|  | – |"]
    assert markdown.table(["name", "n"], "lr", [("a", 1), ["", "–"]]).splitlines() == lines
    assert markdown.table(["name", "n"], "lr", []).splitlines() == lines[:2]


def test_markers():
    text = "before\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter <!-- other:begin -->x<!-- other:end -->"
    block = r"| \1 | new |"
    once = markdown.insert_between_markers(text, "results", block)
    assert once == text.replace("old", block)
    assert markdown.insert_between_markers(once, "results", block) == once
    for broken in ["no markers", "<!-- results:begin -->", "<!-- results:end --><!-- results:begin -->"]:
        with pytest.raises(UserError, match="results:begin"):
            markdown.insert_between_markers(broken, "results", block)
