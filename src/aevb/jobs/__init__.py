"""What the workflow's rules do, one function a job: files in, files out.

`python -m aevb NAME --option value` calls the function of that name; the annotations of its arguments say how an
option's text is read. `compute` and `present` are apart so that training does not wait for plotting libraries.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic

COMPUTE = ("prepare_data", "step_size", "train", "evidence")
PRESENT = (
    *("bounds", "concatenate", "costs", "paper_comparison"),
    *("figure2", "figure3", "figure4", "figure5", "html", "readme"),
)
NAMES = tuple(name.replace("_", "-") for name in COMPUTE + PRESENT)


def load(name: str) -> Callable[..., None]:
    """The job of that name."""
    function = name.replace("-", "_")
    module = "compute" if function in COMPUTE else "present"
    job: Callable[..., None] = getattr(importlib.import_module(f"aevb.jobs.{module}"), function)
    return job


def parse(text: list[str], kind: Any) -> Any:
    """One option's words as the type its annotation names."""
    adapter = pydantic.TypeAdapter(kind)
    if kind in (str, Path, int):
        return adapter.validate_strings(text[0])
    if kind == list[Path]:
        return [Path(word) for word in text]
    return adapter.validate_json(text[0])
