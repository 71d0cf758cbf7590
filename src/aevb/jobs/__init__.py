"""What the workflow's rules do, one function a job: files in, files out.

`python -m aevb NAME --option value` calls the function of that name; the annotations of its arguments say how an
option's text is read. They are apart in modules so that none waits for
libraries that it does not use.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic

MODULES = {
    "compute": ("prepare_data", "step_size", "train"),
    "evidence": ("evidence",),
    "certify": ("certify_exact", "certify_cell", "certification", "certified"),
    "represent": ("prepare_labels", "represent", "yardstick", "representation_table"),
    "gradients": ("gradients",),
    "collect": (
        *("run_tables", "sound", "concatenate"),
        *("paper_comparison", "bound_and_likelihood", "html"),
    ),
    "keep": ("keep", "readme"),
    "compare": ("conform", "compare", "full_vb"),
    "check": ("measure", "check", "regression_tables", "verdict", "gate_nights", "regression_page"),
    "bless": ("bless", "bless_golden"),
    "share": ("release", "install"),
    "draw": (
        *("figure2", "figure3", "distances", "figure4", "figure5"),
        *("certification_figure", "comparison_figures", "gradient_figure"),
    ),
}
NAMES = tuple(name.replace("_", "-") for names in MODULES.values() for name in names)


def load(name: str) -> Callable[..., None]:
    """The job of that name."""
    function = name.replace("-", "_")
    module = next(module for module, names in MODULES.items() if function in names)
    job: Callable[..., None] = getattr(importlib.import_module(f"aevb.jobs.{module}"), function)
    return job


def parse(words: list[str], kind: Any) -> Any:
    """One option's words as the type that its annotation names.

    Raises ValueError when they are not of that type.
    """
    if kind == list[Path]:
        return [Path(word) for word in words]
    if len(words) > 1:
        raise ValueError(f"one value is expected, not {len(words)}: {' '.join(words)}")
    adapter = pydantic.TypeAdapter(kind)
    if kind in (str, Path, int):
        return adapter.validate_strings(words[0])
    return adapter.validate_json(words[0])
