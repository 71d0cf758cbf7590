"""pages.py: numbers can be read off a page, and it needs nothing but itself."""

import re

import numpy as np
import pandas as pd

from aevb import pages


def test_html_is_self_contained_and_formats_numbers():
    frame = pd.DataFrame(
        {
            "samples": [1_000_000, 20],
            "bound": [-153.04321, np.nan],
            "std_error": [0.01234, 0.5],
            "rate": [12345.6, 1],
        }
    )
    html = pages.to_html(frame, "a_<_b")
    cells = re.findall(r'<td headers="[^>]*>([^<]*)</td>', html)
    assert cells == ["1,000,000", "−153.04", "0.0123", "12,346", "20", "–", "0.500", "1"]
    assert "A &lt; b" in html
    assert "Source: results/tables/a_&lt;_b.csv" in html
    assert not re.search(r"https?:|src=|@import|url\(", html)
    assert pages.to_html(frame, "a_<_b") == html


def test_a_table_without_a_row_has_a_page():
    assert "samples" in pages.to_html(pd.DataFrame(columns=["samples", "ours"]), "paper_comparison")


def test_a_column_is_shown_as_its_own_table_wants_it_whatever_stands_beside_it():
    frame = pd.DataFrame({"bias": [2.5], "std_error": [0.00012], "baseline": ["aevb"], "value": [52508.7]})

    def shown(name):
        return re.findall(r'<td headers="[^>]*>([^<]*)</td>', pages.to_html(frame, name))

    assert shown("certification") == ["2.5000", "0.0001", "aevb", "52,509"]
    assert shown("regression") == shown("new") == ["2.50", "0.000120", "aevb", "52,509"]
    whole = pd.DataFrame({"baseline": ["aevb"], "value": [26.46313]})
    assert "26.463" in pages.to_html(whole, "comparison")
    assert "26.46<" in pages.to_html(whole, "new")


def test_an_error_far_below_the_margin_can_be_read_off_its_page():
    row = {"n_latent": 3.0, "bias": -0.0004, "ci_low": -0.002, "ci_high": 0.0012, "verdict": "accurate"}
    row["refusal"] = "3 of 100 points: split R-hat above 1.1"
    page = pages.to_html(pd.DataFrame([row, row | {"bias": -2.5}]), "certification")
    assert "0.0004" in page
    assert ">3<" in page
    assert "min-width" in page


def test_values_of_a_comparison_have_five_digits_and_those_of_provenance_are_words():
    compared = pd.DataFrame(
        {"baseline": ["aevb"] * 2, "value": [-26.46313, 52508.7], "p_value": [0.03125, 1.0]}
    )
    page = pages.to_html(compared, "comparison")
    assert all(text in page for text in ("26.463", "52,509", "0.0312"))
    versions = pd.DataFrame({"item": ["torch"], "value": ["2.13.0"]})
    assert "2.13.0" in pages.to_html(versions, "provenance")
