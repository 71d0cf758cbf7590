"""Learning curves in the paper's terms: which of our rows belong to Figures 2 and 3, and their mean over seeds.

Figures 2 and 3 of the paper show one curve per data set, method, N_z, N_train and split. `figure2_curves` and
`figure3_curves` turn our two result tables into that form, one row per seed and report point with the columns
`dataset, method, n_latent, n_train, split, seed, samples, nats, error`; `over_seeds` averages them. The paper's own
curves (results/reference/paper.csv) carry the same names, so the two are drawn and compared by the same code.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from aevb import UserError
from aevb.experiments import AS_PUBLISHED, CERTIFIED, Cell
from aevb.intervals import half_width

CURVE = ["dataset", "method", "n_latent", "n_train", "split"]  # what identifies one curve of a figure
PAPERS_HIDDEN = {2: {"mnist": 500, "frey": 200}, 3: {"mnist": 100}}  # section 5: hidden units, by figure
METHOD_NAMES = {  # as their papers write them
    "aevb": "AEVB",
    "wake_sleep": "Wake-Sleep",
    "mcem": "MCEM",
    "sgvb_a": "SGVB-A",
    "score_function": "score function",
    "score_function_loo": "score function, leave one out",
    "iwae": "IWAE",
    "sticking_the_landing": "sticking the landing",
    "dreg": "DReG",
    "reweighted_wake_sleep": "reweighted wake-sleep",
    "renyi": "Rényi",
    "full_vb": "Full VB",
}


def method_name(method: str) -> str:
    """As its paper writes it; a reader's own estimator keeps its identifier."""
    return METHOD_NAMES.get(method, method)


def select(rows: pd.DataFrame, cells: Sequence[Cell]) -> pd.DataFrame:
    """The rows of a table that belong to these cells."""
    wanted = pd.DataFrame([cell.identity for cell in cells], columns=list(Cell.IDENTITY))
    return rows.merge(wanted, on=list(Cell.IDENTITY))


def of_the_papers(paper: pd.DataFrame, figure: int, ours: pd.DataFrame) -> pd.DataFrame:
    """The paper's curves of a figure whose data set, sizes and N_train are those of one of the cells of ours: no
    others may stand beside them. ours: rows that name their cell."""
    sizes = ["dataset", "n_hidden", "n_latent", "n_train"]
    theirs = paper[paper["figure"] == figure]
    named = theirs.assign(n_hidden=theirs["dataset"].map(PAPERS_HIDDEN[figure]))[sizes]
    mine = set(ours[sizes].itertuples(index=False, name=None))
    return theirs[np.array([cell in mine for cell in named.itertuples(index=False, name=None)], bool)]


def figure2_curves(bounds: pd.DataFrame) -> pd.DataFrame:
    """The rows of `bounds` that Figure 2 shows, its train curve being our split `train_running`."""
    shown = bounds[bounds["split"].isin(["train_running", "test"])]
    shown = shown.replace({"split": {"train_running": "train"}})
    shown = shown.rename(columns={"estimator": "method", "bound": "nats"}).assign(error=np.nan)
    return shown[[*CURVE, "seed", "samples", "nats", "error"]]


def figure3_curves(marginal: pd.DataFrame) -> pd.DataFrame:
    """The rows of `marginal` that Figure 3 shows; `error` is 1.96 `std_error_points`.

    Where several evidence estimators were run, CERTIFIED is shown. Raises UserError when they do not include it.
    """
    present = sorted(marginal["evidence_estimator"].unique())
    if len(present) > 1:
        if CERTIFIED not in present:
            raise UserError(f"Figure 3 needs evidence estimator {CERTIFIED}; the table has {present}")
        marginal = marginal[marginal["evidence_estimator"] == CERTIFIED]
    return _evidence_curves(marginal, marginal["log_likelihood"], marginal["std_error_points"])


def figure3_differences(marginal: pd.DataFrame) -> pd.DataFrame:
    """What the paper's estimator would have reported less the certified value, where both were run.

    `nats` is the difference of the means over points; `error` 1.96 times its Monte Carlo error.
    """
    keys = [*Cell.IDENTITY, "seed", "split", "samples"]
    chosen = {name: marginal[marginal["evidence_estimator"] == name] for name in (AS_PUBLISHED, CERTIFIED)}
    both = chosen[AS_PUBLISHED].merge(chosen[CERTIFIED], on=keys, suffixes=("", "_certified"))
    difference = both["log_likelihood"] - both["log_likelihood_certified"]
    variance = both["std_error"] ** 2 + both["std_error_certified"] ** 2
    return _evidence_curves(both, difference, variance**0.5)


def _evidence_curves(rows: pd.DataFrame, nats: pd.Series, standard_error: pd.Series) -> pd.DataFrame:
    shown = rows.rename(columns={"estimator": "method"}).assign(nats=nats, error=1.96 * standard_error)
    return shown[[*CURVE, "seed", "samples", "nats", "error"]]


def over_seeds(curves: pd.DataFrame) -> pd.DataFrame:
    """Mean of each curve at every report point over the seeds that got so far: `n_seeds` of them.

    Returns the columns of CURVE, `samples`, `nats`, `low`, `high`, `n_seeds`, `n_diverged`, sorted by samples.
    `low, high` is the 95 % t-interval over seeds; for a single seed it is `nats` -+ `error` (NaN without one).
    Seeds of several sittings may end at different points; where one ends the mean may step by what seeds differ. A
    point that a seed has passed without a report is left out. A diverged seed (not finite at its last point) makes
    the mean NaN from there on: the mean over the survivors would be that of a better method than the one that was
    run.
    """
    nats = curves["nats"].astype(float)  # a table without rows has no type
    rows = curves.assign(nats=nats.where(np.isfinite(nats))).sort_values("samples")
    rows["sound"] = rows["samples"].where(rows["nats"].notna(), -1)
    seeds = rows.groupby([*CURVE, "seed"], as_index=False).agg(end=("samples", "max"), sound=("sound", "max"))
    diverged = seeds[seeds["sound"] < seeds["end"]].groupby(CURVE, as_index=False)
    lost = diverged.agg(n_diverged=("seed", "size"), all_sound_until=("sound", "min"))
    points = rows.groupby([*CURVE, "samples"], as_index=False).agg(
        n_seeds=("seed", "nunique"),
        nats=("nats", lambda nats: nats.mean(skipna=False)),
        spread=("nats", lambda nats: nats.std(skipna=False)),
        error=("error", "first"),
    )
    points = _that_all_report(points, seeds)
    points = points.merge(lost, on=CURVE, how="left").sort_values([*CURVE, "samples"])
    points["nats"] = points["nats"].where(~(points["samples"] > points["all_sound_until"]))
    points["n_diverged"] = points["n_diverged"].fillna(0).astype(int)
    n = points["n_seeds"]
    half = np.where(n > 1, half_width(points["spread"], n), points["error"])
    points = points.assign(low=points["nats"] - half, high=points["nats"] + half)
    return points[[*CURVE, "samples", "nats", "low", "high", "n_seeds", "n_diverged"]].reset_index(drop=True)


def bands(points: pd.DataFrame) -> pd.DataFrame:
    """The points of `over_seeds` with what a figure shades: of two seeds what lies between them.

    Their t-interval is 12.7 times as wide, and would hide the panel.
    """
    from_mean = half_width(2**0.5, 2)  # of two seeds at -1 and 1
    share = np.where(points["n_seeds"] == 2, 1 / from_mean, 1.0)
    low, high = (points["nats"] + share * (points[name] - points["nats"]) for name in ("low", "high"))
    return points.assign(low=low, high=high)


def _that_all_report(points: pd.DataFrame, seeds: pd.DataFrame) -> pd.DataFrame:
    """Those of the points, with their `n_seeds`, that every seed that got so far, by its `end`, has reported."""
    passed = points[[*CURVE, "samples"]].merge(seeds, on=CURVE)
    passed = passed[passed["end"] >= passed["samples"]]
    counts = passed.groupby([*CURVE, "samples"], as_index=False).agg(n_passed=("seed", "size"))
    points = points.merge(counts, on=[*CURVE, "samples"])
    return points[points["n_seeds"] == points["n_passed"]]


def interpolate(curve: pd.DataFrame, samples: float | np.ndarray) -> np.ndarray:
    """Nats of a digitised `curve` (columns samples, nats) at `samples`, linear in log samples between its points."""
    curve = curve.sort_values("samples")
    at = np.log(np.asarray(samples, float))
    return np.asarray(np.interp(at, np.log(curve["samples"]), curve["nats"]))
