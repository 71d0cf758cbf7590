"""Are the paper's 50 posterior samples 25 + 25 or 50 + 50? What the estimator of Appendix D gives for each reading.

    python studies/kernel_density.py POINTS RUN... > results/reference/kernel_density_overnight.csv

POINTS: results/data/mnist.npz. RUN: folders of runs, such as results/runs/mnist/aevb/h100-z3-n50000/seed0. One row a
run and number of draws: the mean difference of `appendix_d_paper`, with so many draws to fit the density and as many
to evaluate it, from `appendix_d_robust` on the first 1000 test points, in nats per data point, with its 95 %
interval.
"""

import json
import sys
from pathlib import Path

import pandas as pd
import torch

from aevb import data, models, store
from aevb.bounds import to_unit
from aevb.certification import against
from aevb.evidence import appendix_d
from aevb.experiments import Cell
from aevb.streams import stream

DRAWS = (25, 50, 100)
POINTS = 1000
COLUMNS = [
    *(*Cell.IDENTITY, "samples", "draws", "n_points"),
    *("bias", "ci_low", "ci_high", "rms_error", "claimed_error"),
]


def rows(split: data.Split, folder: Path) -> list[dict[str, object]]:
    """A row for each number of draws."""
    run = json.loads((folder / "cell.json").read_text())
    cell, device = Cell.model_validate(run["cell"]), torch.device("cpu")
    model = models.build(split.test.shape[1], **cell.model_sizes)
    params = models.stack_weights([store.read_weights(folder / "weights.safetensors").tensors], device)
    x = to_unit(torch.from_numpy(split.test[:POINTS]), split.scale)
    truth = appendix_d.evidence(model, params, x, [stream(device, 0, "robust")]).estimate[0]
    found = []
    for draws in DRAWS:
        generators = [stream(device, 0, "paper", draws)]
        estimate = appendix_d.evidence_paper(model, params, x, generators, draws=draws)
        row = against(estimate, truth, appendix_d.DIRECTION)
        found.append(cell.identity | {"samples": run["samples"], "draws": draws} | row)
    return found


def main(points: Path, folders: list[Path]) -> None:
    torch.set_num_threads(1)
    split = data.load(points)
    frame = pd.DataFrame([row for folder in folders for row in rows(split, folder)], columns=COLUMNS)
    frame.to_csv(sys.stdout, index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
