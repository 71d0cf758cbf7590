"""A study's table on a page, between the markers of its name, and its figure."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib import style
from matplotlib.figure import Figure

from aevb import markdown
from aevb.drawing import STYLE


def show(name: str, page: Callable[[pd.DataFrame], str], table: str, document: str) -> None:
    """Put what `page` makes of the csv `table` into `document`."""
    place, block = Path(document), page(pd.read_csv(table))
    place.write_text(markdown.insert_between_markers(place.read_text(), name, block))


def save(figure: Figure, place: str) -> None:
    """The same figure gives the same bytes."""
    with style.context(STYLE):
        figure.savefig(place, metadata={"Software": None})
