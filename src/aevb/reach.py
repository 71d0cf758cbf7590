"""How far our runs go beside the paper's curves, a line for the panels of a figure that are followed alike."""

import pandas as pd

from aevb import markdown
from aevb.closeness import GROUPS, PANEL, millions
from aevb.curves import method_name
from aevb.datasets import dataset_name
from aevb.experiments import CERTIFIED, Cell

SEVERAL = 3  # seeds


def shown(bounds: pd.DataFrame, likelihoods: pd.DataFrame) -> pd.DataFrame:
    """The last sample that a figure shows of each run; the log p(x) of Figure 3 may end before its run does.

    bounds, likelihoods: as kept, of the cells of Figures 2 and 3. Columns: those that name a run, figure, samples.
    """
    certified = likelihoods[likelihoods["evidence_estimator"] == CERTIFIED]
    points = pd.concat([bounds.assign(figure=2), certified.assign(figure=3)], ignore_index=True)
    return points.groupby([*Cell.IDENTITY, "seed", "figure"], sort=False)["samples"].max().reset_index()


def table(runs: pd.DataFrame, paper: pd.DataFrame) -> str:
    """Training samples that SEVERAL seeds have, and that the longest runs have, beside the end of the paper's curves.

    runs: of both figures, columns those of PANEL with `estimator` for `method`, and `samples`. paper: as
    results/reference/paper.csv.
    """
    lengths = runs.rename(columns={"estimator": "method"}).groupby(PANEL, sort=False)["samples"]
    ends = paper.groupby(PANEL)["samples"].max().rename("paper")
    panels = lengths.agg(several=_several, most=_most).join(ends, how="inner").reset_index()
    lines = []
    for figure, dataset in GROUPS:
        of = panels[panels[["figure", "dataset"]].eq([figure, dataset]).all(axis=1)]
        size, column = ("N_z", "n_latent") if figure == 2 else ("N_train", "n_train")
        for (method, several, most), alike in of.groupby(["method", "several", "most"], sort=False):
            sizes = ", ".join(map(str, sorted(alike[column])))
            name = f"Figure {figure}, {dataset_name(dataset)}: {method_name(str(method))}, {size} = {sizes}"
            first, last = millions(alike["paper"].min()), millions(alike["paper"].max())
            lines.append([name, several, most, first if first == last else f"{first} to {last}"])
    head = ["curves", f"with {SEVERAL} seeds or more", "then with fewer", "the paper"]
    return markdown.table(head, "lrrr", lines)


def _several(samples: pd.Series) -> str:
    return millions(samples.nlargest(SEVERAL).min()) if len(samples) >= SEVERAL else ""


def _most(samples: pd.Series) -> str:
    """The length of the longest runs, and how many they are, where they are fewer than SEVERAL."""
    longest = int((samples == samples.max()).sum())
    if longest >= SEVERAL:
        return ""
    return f"{millions(samples.max())} ({longest} seed{'s' * (longest != 1)})"
