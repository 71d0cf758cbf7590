"""Readings of the paper, each put into its own copy of the source: what they train, in processes of their own."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from changes import Change, changed_copy, printed_with
from frey_pace import WORKERS


def found(
    script: str,
    readings: Mapping[str, Sequence[Change]],
    runs: Sequence[Sequence[Any]],
    points: Path,
    folder: Path,
) -> list[list[list[Any]]]:
    """The rows of each run, a reading's name and what `script --train` is told, WORKERS of them at a time.

    The copies of the source lie in `folder`, and so does the store: what is trained there is not trained again."""
    sources = {name: changed_copy(folder / name, *made) for name, made in readings.items()}

    def of(run: Sequence[Any]) -> list[list[Any]]:
        name, *what = run
        arguments = "--train", json.dumps(what), str(points), str(folder / "store")
        rows: list[list[Any]] = printed_with(sources[name], script, *arguments)
        return rows

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(of, runs))
