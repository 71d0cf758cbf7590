"""markdown.py: what stands between a page's markers."""

import pytest

from aevb import UserError, markdown


def test_markers():
    text = "before\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter <!-- other:begin -->x<!-- other:end -->"
    block = r"| \1 | new |"
    once = markdown.insert_between_markers(text, "results", block)
    assert once == text.replace("old", block)
    assert markdown.insert_between_markers(once, "results", block) == once
    for broken in ["no markers", "<!-- results:begin -->", "<!-- results:end --><!-- results:begin -->"]:
        with pytest.raises(UserError, match="results:begin"):
            markdown.insert_between_markers(broken, "results", block)
