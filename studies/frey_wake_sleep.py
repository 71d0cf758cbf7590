"""Wake-sleep on Frey Face with minibatches of 500: which readings begin as the paper's curves, and which stay there?

    python studies/frey_wake_sleep.py POINTS FOLDER > results/reference/frey_wake_sleep.csv
    python studies/frey_wake_sleep.py --page results/reference/frey_wake_sleep.csv docs/deviations.md

POINTS: results/data/frey.npz. FOLDER keeps the copies of the source and the runs; what is trained there is not
trained again. A reading has to have the paper's first train point, the mean since the start (`frey_start.py`), and
then to stay at the likelihood of one Gaussian per pixel, 569, in all four panels. Each, alone or with others, is put
into a copy of the source. The csv has the bounds along training, in nats per data point.
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
from frey_pace import FIVE_HUNDRED, shown, trained

METHOD, LATENTS, SAMPLES = "wake_sleep", (2, 5, 10, 20), 1_000_000
BOTH = (alternatives.UNCLIPPED, *alternatives.AS_PUBLISHED)
# the later version as it is: where its log-variance fits, a layer of softplus units stands before the last one
LATER = alternatives.DEEP_DECODER._replace(
    new=alternatives.DEEP_DECODER.new.replace(
        'torch.tanh(affine(weights, "first", x))', 'torch.nn.functional.softplus(affine(weights, "first", x))'
    )
)
OURS, SOFT, SOFT_PUBLISHED = (
    "as we read it",
    "dreams through softplus units",
    "dreams through softplus units, recognition model as published",
)
READINGS = {
    OURS: (),
    "dreams not clipped": (alternatives.UNCLIPPED,),
    "recognition model as published": alternatives.AS_PUBLISHED,
    "both": BOTH,
    "two hidden layers in the decoder": (alternatives.DEEP_DECODER,),
    "both, and two hidden layers": (alternatives.DEEP_DECODER, *BOTH),
    SOFT: (alternatives.SOFT_DREAMS,),
    SOFT_PUBLISHED: (alternatives.SOFT_DREAMS, *alternatives.AS_PUBLISHED),
    "the later version's two hidden layers, dreams and recognition model": (
        LATER,
        alternatives.SOFT_DREAMS,
        *alternatives.AS_PUBLISHED,
    ),
    "prior in full": (alternatives.FULL_PRIOR_ASLEEP,),
    "prior in full on the encoder": (alternatives.FULL_PRIOR_ENCODER,),
}
RUNS = (  # reading, N_z, seed and samples
    *(
        (name, n_latent, 0, 10 * SAMPLES if name == SOFT and n_latent >= 10 else SAMPLES)
        for name in READINGS
        for n_latent in LATENTS
    ),
    *((name, n, seed, SAMPLES) for name in (OURS, SOFT, SOFT_PUBLISHED) for n in LATENTS for seed in (1, 2)),
)
COLUMNS = ["reading", "seed", "n_latent", "split", "samples", "nats"]


def main(points: Path, folder: Path) -> None:
    found = readings.found(__file__, READINGS, RUNS, points, folder)
    rows = [[name, seed, *row] for (name, _, seed, _), rows in zip(RUNS, found, strict=True) for row in rows]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(sys.stdout, index=False, float_format="%.3f")


# ------------------------------------------------------------------------------------------------- the page


def lines(table: pd.DataFrame, paper: pd.DataFrame) -> Iterator[str]:
    """Of each reading and panel, by seed, the first train point and the test bound at 10^6, less the paper's."""
    yield "| reading | " + " | ".join(f"N_z = {n}: first train point | test at 1 M" for n in LATENTS) + " |"
    yield f"|---|{2 * len(LATENTS) * '---|'}"
    for name in READINGS:
        cells = []
        for n_latent in LATENTS:
            theirs = shown(paper, n_latent, METHOD)
            rows = table[(table["reading"] == name) & (table["n_latent"] == n_latent)]
            cells += seeds.cells((behind(run, theirs) for run in seeds.of(rows)), "{:+.0f}")
        yield f"| {name} | {' | '.join(cells)} |"


def behind(run: pd.DataFrame, theirs: pd.DataFrame) -> list[float]:
    """What a run has less the paper at its first train point and, on test, at SAMPLES."""
    return seeds.behind(run, theirs, [SAMPLES])


def page(table: pd.DataFrame) -> str:
    _, paper = figure2.ours_and_papers()
    return "\n".join(lines(table, paper))


if __name__ == "__main__":
    if sys.argv[1] == "--train":
        (n_latent, seed, samples), places = json.loads(sys.argv[2]), map(Path, sys.argv[3:])
        print(json.dumps(trained(FIVE_HUNDRED, METHOD, n_latent, samples, *places, seed)))
    elif sys.argv[1] == "--page":
        pages.show("frey-wake-sleep", page, *sys.argv[2:])
    else:
        main(*(Path(one).absolute() for one in sys.argv[1:]))
