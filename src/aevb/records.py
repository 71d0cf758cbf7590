"""What the runs cost and what they depended on, as their records, cell.json, say."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

COSTS = [
    *["dataset", "estimator", "n_hidden", "n_latent", "n_train", "seed", "samples", "seconds"],
    *["samples_per_second", "joules", "device", "threads", "diverged"],
]


def costs(cells: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """What every run cost: one row per cell.json, columns COSTS.

    `seconds` of training on `device`, of runs that trained side by side each its share, so that they add up; `joules`
    likewise, and none where the device has no meter to read. The curve's `seconds` are those of the clock.
    """
    return pd.DataFrame([{name: cell[name] for name in COSTS} for cell in cells], columns=COSTS)


def provenance(cells: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """What the runs depended on: item, value, and how many runs have that value."""
    items: Counter[tuple[str, str]] = Counter()
    for cell in cells:
        items[f"data: {cell['dataset']}", cell["data"]] += 1
        items[f"numerics: {cell['estimator']}", cell["numerics"]] += 1
        items["device", cell["device"]] += 1
        for name, version in cell["versions"].items():
            items[name, version] += 1
    rows = [{"item": item, "value": value, "runs": n} for (item, value), n in sorted(items.items())]
    return pd.DataFrame(rows, columns=["item", "value", "runs"])
