"""Jobs that hand trained runs on, and take those of others. Files in, files out."""

import json
import sys
from pathlib import Path

import torch

from aevb import UserError, data, provenance
from aevb import release as archives
from aevb.experiments import Search
from aevb.jobs.compute import members
from aevb.training import Trainer


def release(
    runs: list[Path], searches: list[Search], points: list[Path], store_root: Path, output: Path
) -> None:
    """One archive of runs, given by their cell.json, and of the searches for their step sizes; points: the data."""
    cells = [json.loads(path.read_text()) for path in runs]
    splits = {path.stem: data.load(path) for path in points}
    folders = [Path(cell["store"]) for cell in cells]
    for search in searches:
        trainer = Trainer(search.cell, splits[search.cell.dataset], torch.device("cpu"), store_root)
        folders += [trainer.open(member).folder for member in members(search)]
    manifest = archives.pack(folders, cells, output)
    megabytes = output.stat().st_size / 1e6
    print(f"{output}: {len(manifest.files)} files of runs, {megabytes:.0f} MB", file=sys.stderr)


def install(archive: Path, store_root: Path) -> None:
    """Put an archive's runs into the store, and tell how many of them this code would take for its own.

    Raises UserError where no run of the archive is of this code.
    """
    manifest, new = archives.unpack(archive, store_root)
    used = [run for run in manifest.runs if run["numerics"] == _numerics(run)]
    if not used:
        raise UserError(
            f"{archive} was trained by other code than this: its runs are in {store_root} and would not be used. "
            "Take the release that belongs to this version."
        )
    print(
        f"{len(new)} runs are new in {store_root}; of {len(manifest.runs)} cells, {len(used)} are of this code"
    )


def _numerics(run: dict[str, object]) -> str | None:
    """The digest that this code would give the run."""
    try:
        return provenance.numerics_digest(provenance.estimator(str(run["estimator"])))
    except UserError:
        return None  # of an estimator that only its author has
