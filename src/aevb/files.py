"""Small text files, written atomically: a reader sees the whole file or none."""

import os
from pathlib import Path

import pandas as pd


def write_text(path: Path, text: str) -> None:
    """Write beside the target and move over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def write_table(path: Path, frame: pd.DataFrame) -> None:
    write_text(path, frame.to_csv(index=False))
