"""AEVB on Frey Face with minibatches of 500: what else in the method moves its start and its pace, and how far?

    python studies/frey_readings.py POINTS FOLDER > results/reference/frey_readings.csv
    python studies/frey_readings.py --page results/reference/frey_readings.csv docs/deviations.md

POINTS: results/data/frey.npz. FOLDER keeps the copies of the source and the runs. With N_z = 5, whose pace is
furthest from the paper's, every reading; the one that passes the paper there in the other panels too. One seed each.
The csv has the bounds along training, in nats per data point.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

import alternatives
import figure2
import pages
import readings
import seeds
from changes import Change
from frey_pace import FASTER, FIVE_HUNDRED, shown, trained

SAMPLES, SHOWN = 4_000_000, (1_000_000, 4_000_000)
LATENTS, ALONE = (2, 5, 10, 20), (5,)


def seen(x: str) -> Change:
    """The encoder sees this of the pixels x."""
    return Change("models.py", "mlp(phi, x).chunk", f"mlp(phi, {x}).chunk")


SOFT = Change(
    "models.py",
    "def is_weight(name: str)",
    "def mlps(weights, x):\n"
    '    return affine(weights, "out", torch.nn.functional.softplus(affine(weights, "h", x)))\n\n\n'
    "def is_weight(name: str)",
)
SOFT_DECODER = Change("models.py", "mu, log_var = mlp(theta,", "mu, log_var = mlps(theta,")
SOFT_ENCODER = Change("models.py", "Gaussian(*mlp(phi, x)", "Gaussian(*mlps(phi, x)")
# of the mean of M = 500 points: 1e-8 is added to g^2 / M^2
MEAN_GRADIENT = alternatives.MEAN_GRADIENT._replace(new="eps: float = 2.5e-3")
NO_SPREAD = Change(
    "models.py",
    "        theta = self._init_mlp(generator, self.n_latent, self.outputs * self.n_features)\n",
    "        theta = self._init_mlp(generator, self.n_latent, self.outputs * self.n_features)\n"
    "        theta['w_out'][..., self.n_features:] = 0; theta['b_out'][..., self.n_features:] = 0\n",
)
DEVIATIONS = (
    Change(
        "models.py",
        "        # threshold is clamp",
        "        log_var = 2 * log_var\n        # threshold is clamp",
    ),
    Change(
        "models.py",
        "        return Gaussian(*mlp(phi, x).chunk(2, -1))",
        "        a, b = mlp(phi, x).chunk(2, -1)\n        return Gaussian(a, 2 * b)",
    ),
)
OURS, CENTRED = "as we read it", "the encoder sees x - 0.5"
READINGS = {
    OURS: (),
    CENTRED: (seen("x - 0.5"),),
    "the encoder sees 2x - 1": (seen("2 * x - 1"),),
    "the encoder sees 2x": (seen("2 * x"),),
    "the encoder sees 0.5x": (seen("0.5 * x"),),
    "the encoder sees 0.2x": (seen("0.2 * x"),),
    "biases begin at zero": (alternatives.NO_BIAS,),
    "softplus units in the encoder": (SOFT, SOFT_ENCODER),
    "softplus units in the decoder": (SOFT, SOFT_DECODER),
    "softplus units in both": (SOFT, SOFT_DECODER, SOFT_ENCODER),
    "the encoder as wake-sleep's is published": alternatives.AS_PUBLISHED,
    "networks give log sigma, not log sigma^2": DEVIATIONS,
    "the decoder's log-variance begins at zero": (NO_SPREAD,),
    "gradient of a minibatch's mean, not sum": (MEAN_GRADIENT,),
    "SGVB-A (eq. 6)": (alternatives.SGVB_A,),
}
STEP_SIZE = FIVE_HUNDRED.step_size
RUNS = (  # reading, N_z and step size
    *((name, n, STEP_SIZE) for name in READINGS for n in (LATENTS if name in (OURS, CENTRED) else ALONE)),
    *((CENTRED, n, FASTER.step_size) for n in LATENTS),
)
COLUMNS = ["reading", "step_size", "n_latent", "split", "samples", "nats"]


def main(points: Path, folder: Path) -> None:
    found = readings.found(__file__, READINGS, RUNS, points, folder)
    rows = [
        [name, step_size, *row]
        for (name, _, step_size), rows in zip(RUNS, found, strict=True)
        for row in rows
    ]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(sys.stdout, index=False, float_format="%.3f")


# ------------------------------------------------------------------------------------------------- the page


def lines(table: pd.DataFrame, paper: pd.DataFrame) -> Iterator[str]:
    """Each run less the paper: the first train point, and test at SHOWN; in the order of RUNS."""
    tested = " | ".join(f"test at {samples / 1e6:g} M" for samples in SHOWN)
    yield f"| reading | step size | N_z | first train point | {tested} |"
    yield f"|---|{(3 + len(SHOWN)) * '--:|'}"
    for (name, step_size, n_latent), run in table.groupby(["reading", "step_size", "n_latent"], sort=False):
        values = seeds.behind(run, shown(paper, n_latent), SHOWN)
        yield f"| {name} | {step_size:g} | {n_latent} | {' | '.join(f'{value:+.0f}' for value in values)} |"


def page(table: pd.DataFrame) -> str:
    _, paper = figure2.ours_and_papers()
    return "\n".join(lines(table, paper))


if __name__ == "__main__":
    if sys.argv[1] == "--train":
        (n_latent, step_size), places = json.loads(sys.argv[2]), map(Path, sys.argv[3:])
        reading = FIVE_HUNDRED._replace(step_size=step_size)
        print(json.dumps(trained(reading, "aevb", n_latent, SAMPLES, *places)))
    elif sys.argv[1] == "--page":
        pages.show("frey-readings", page, *sys.argv[2:])
    else:
        main(*(Path(one).absolute() for one in sys.argv[1:]))
