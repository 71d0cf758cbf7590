"""Tables as pages of the report, in HTML."""

from typing import Any

import great_tables
import pandas as pd
from pandas.api.types import is_float_dtype

SENTENCE = 18  # characters from which a column of words is shown wide enough to be read
COUNTS = {"samples", "n_hidden", "n_latent", "n_train", "n_points"}  # shown with thousands separators
THREE_DIGITS, FIVE_DIGITS, FOUR_DECIMALS = {"n_sigfig": 3}, {"n_sigfig": 5}, {"decimals": 4}
# of a table's columns, by its name, where `_with_digits` would not do
FORMATS: dict[str, dict[str, dict[str, Any]]] = {
    "gradient_variance": dict.fromkeys(  # they span many powers of ten
        [
            *("squared_norm", "variance", "relative_variance", "snr", "snr_low", "snr_high", "data_variance"),
            *("squared_norm_error", "variance_error", "relative_variance_error", "data_variance_error"),
        ],
        THREE_DIGITS,
    ),
    "comparison": {
        **dict.fromkeys(["value", "baseline_value"], FIVE_DIGITS),  # nats in one row, samples in another
        **dict.fromkeys(["p_value", "p_adjusted"], THREE_DIGITS),
    },
    "regression": dict.fromkeys(["p_drop", "p_rise"], THREE_DIGITS),
    "claims": dict.fromkeys(["p_broken"], THREE_DIGITS),
    "certification": dict.fromkeys(  # in nats, and some are far below one
        ["bias", "ci_low", "ci_high", "std_error", "rms_error", "claimed_error"], FOUR_DECIMALS
    ),
}


def to_html(frame: pd.DataFrame, named: str) -> str:
    """results/tables/{named}.csv as a self-contained HTML page; NaN is shown as a dash."""
    table = great_tables.GT(frame, id="table").tab_header(named.replace("_", " ").capitalize())
    table = table.tab_source_note(f"Source: results/tables/{named}.csv")
    formats = FORMATS.get(named, {})
    for name in frame.columns:
        if name in COUNTS:
            table = table.fmt_integer(name)
        elif name in formats:
            table = table.fmt_number(name, **formats[name])
        elif is_float_dtype(frame[name]):
            table = _with_digits(table, name, frame[name].abs().max())
    for name in frame.select_dtypes(["object", "str"]).columns:
        longest = int(frame[name].dropna().astype(str).str.len().max()) if frame[name].notna().any() else 0
        if longest > SENTENCE:
            wide = great_tables.style.css(f"min-width: {min(24, longest // 2 + 2)}em; text-align: left")
            table = table.tab_style(wide, great_tables.loc.body(columns=[name]))
    return table.sub_missing(missing_text="–").as_raw_html(make_page=True)


def _with_digits(table: great_tables.GT, name: str, largest: float) -> great_tables.GT:
    """Two decimals for nats and seconds, three digits for a column of small numbers, none for a large one."""
    if largest < 1:
        return table.fmt_number(name, n_sigfig=3)
    return table.fmt_number(name, decimals=0 if largest >= 1e4 else 2)
