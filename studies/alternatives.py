"""What would another reading of the paper give? Each alternative is put alone into a copy of the source and trained.

    python studies/alternatives.py FOLDER > results/reference/alternatives_laptop.csv
    python studies/alternatives.py --page results/reference/alternatives_laptop.csv docs/deviations.md

The runs are paired: the same seeds, hence the same initial draws, minibatches and noise, the same step size. FOLDER
holds the copies, the raw files and what was found; what was tried there is not tried again. One row an alternative,
cell and split: our bound, the alternative's, their mean difference over seeds and its standard error, in nats per
data point after `samples` training samples; NaN where a seed diverged. `--page` puts them into the page's table.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import changes
import pages
from aevb import curves
from aevb.datasets import dataset_name
from changes import Change

ROOT = Path(__file__).parents[1]
SEEDS = (0, 1, 2)


class Cell(NamedTuple):
    dataset: str
    estimator: str
    n_latent: int
    step_size: float  # of our laptop runs: results/reference/paper_comparison_laptop.csv
    batch_size: int = 100
    samples: int = 1_000_000


TRIED = ["question", "alternative", *Cell._fields]  # what identifies a line of the page
COLUMNS = [*TRIED, "seeds", "split", "ours", "theirs", "difference", "std_error"]
MNIST, SMALL_MNIST = Cell("mnist", "aevb", 10, 0.02), Cell("mnist", "aevb", 3, 0.02)
FREY = Cell("frey", "aevb", 10, 0.01)
SLEEPY_MNIST, SLEEPY_FREY = Cell("mnist", "wake_sleep", 10, 0.02), Cell("frey", "wake_sleep", 10, 0.01)
RESTLESS_FREY = SLEEPY_FREY._replace(n_latent=20)  # it leaves the paper's value within 10^6 samples
LONG_RESTLESS, LONG_FREY, LONG_MNIST, LONG_SLEEPY = (
    cell._replace(samples=10_000_000) for cell in (RESTLESS_FREY, FREY, SMALL_MNIST, SLEEPY_FREY)
)


class Alternative(NamedTuple):
    question: str
    answer: str
    cells: tuple[Cell, ...]
    change: Change


NOTHING = Change("__init__.py", "", "")
BINARISED = Change("bounds.py", ".div_(scale)", ".div_(scale).round_()")
SCALE = Change("data.py", "        256.0,", "        255.0,")
MNIST_SCALE = Change("data.py", "        255.0,", "        256.0,")
SPLIT = Change("data.py", "np.random.RandomState(0)", "np.random.RandomState(1)")
WIDE_START = Change("models.py", "INITIAL_STD = 0.01", "INITIAL_STD = 0.1")
NO_BIAS = Change(
    "models.py",
    "device=generator.device)\n            for",
    "device=generator.device) * is_weight(name)\n            for",
)
NO_PRIOR = Change("optimisers.py", "weight_decay=decay", "weight_decay=0.0")
FULL_PRIOR = Change("estimators/__init__.py", "grads, batch_size / n_train)", "grads, 1.0)")
FULL_PRIOR_ASLEEP = Change("estimators/wake_sleep.py", "grads, batch_size / n_train)", "grads, 1.0)")
# of N(0, 1/16), whose gradient is 16 times that of N(0, 1): on Frey Face, where M/N is 1/16, FULL_PRIOR
NARROW_PRIOR = FULL_PRIOR._replace(new="grads, 16.0 * batch_size / n_train)")
NARROW_PRIOR_ASLEEP = FULL_PRIOR_ASLEEP._replace(new=NARROW_PRIOR.new)
ASLEEP = "estimators/wake_sleep.py", "grads = Params(wake_grads.theta, sleep_grads.phi)"
# the gradient of one network's weights with the rest of the prior, of which the optimiser adds M/N
WHOLE = "{n: g - (n[0] == 'w') * (1 - batch_size / n_train) * %s[n] for n, g in %s.items()}"
FULL_PRIOR_DECODER = Change(
    *ASLEEP, f"grads = Params({WHOLE % ('theta', 'wake_grads.theta')}, sleep_grads.phi)"
)
FULL_PRIOR_ENCODER = Change(
    *ASLEEP, f"grads = Params(wake_grads.theta, {WHOLE % ('phi', 'sleep_grads.phi')})"
)
FULL_PRIOR_AEVB_ENCODER = Change(
    "estimators/__init__.py",
    "        params, optimiser_state = optimiser.ascend(state.optimiser, state.params, grads,",
    f"        grads = Params(grads.theta, {WHOLE % ('state.params.phi', 'grads.phi')})\n"
    "        params, optimiser_state = optimiser.ascend(state.optimiser, state.params, grads,",
)
BIAS_PRIOR = Change("optimisers.py", "(False, 0.0)", "(False, prior)")
NO_WARM_UP = Change("optimisers.py", ">= warm_up", ">= 0")
UNCLIPPED = Change("models.py", ".clamp(0, 1)", "")
SOFT_DREAMS = Change(  # decoded by softplus units, not clipped; the densities' units stay tanh
    "estimators/wake_sleep.py",
    "        return model.generate(theta, noise.z, noise.x).squeeze(1)",
    "        tanh, torch.tanh = torch.tanh, torch.nn.functional.softplus\n"
    "        try:\n"
    "            return super(type(model), model).generate(theta, noise.z, noise.x).squeeze(1)\n"
    "        finally:\n"
    "            torch.tanh = tanh",
)
DEEP_DECODER = Change(  # z, a hidden layer of tanh units, another one, p(x | z)
    "models.py",
    "def build(n_features: int,",
    """_mlp, _init = mlp, Model.init


def mlp(weights: Weights, x: Tensor) -> Tensor:
    if "w_first" not in weights:
        return _mlp(weights, x)
    return _mlp(weights, torch.tanh(affine(weights, "first", x)))


def _with_another_layer(self: Model, generator: torch.Generator) -> Params:
    params = _init(self, generator)
    theta, shape = params.theta, (self.n_hidden, self.n_hidden)
    theta |= {"w_first": theta["w_h"], "b_first": theta["b_h"]}
    for name, size in ("w_h", shape), ("b_h", (1, self.n_hidden)):
        theta[name] = INITIAL_STD * torch.randn(size, generator=generator, device=generator.device)
    return params


Model.init = _with_another_layer


def build(n_features: int,""",
)
# as in the authors' library: 0.1 times the layer that gives log sigma^2, its bias apart
LOG_VARIANCE = Change(
    "models.py",
    "        return Gaussian(*mlp(phi, x).chunk(2, -1))",
    "        (mu, log_var), bias = mlp(phi, x).chunk(2, -1), phi['b_out'].chunk(2, -1)[1]\n"
    "        return Gaussian(mu, bias + 0.1 * (log_var - bias))",
)
FROM_ZERO = Change(  # and that layer at the start
    "models.py",
    "        return Params(theta, phi)",
    '        for name in ("w_out", "b_out"):\n'
    "            phi[name][..., self.n_latent :] = 0\n"
    "        return Params(theta, phi)",
)
AS_PUBLISHED = LOG_VARIANCE, FROM_ZERO
SCALED = Change("models.py", "*mlp(phi, x).chunk(2, -1)", "(h := mlp(phi, x).chunk(2, -1))[0], 0.1 * h[1]")
IN_EPOCHS = Change(  # each model's list of minibatches left in its epoch hangs on the tensor of points
    "engine.py",
    "torch.randint(len(self.points), (self.rows,), generator=generator, device=generator.device)",
    "left.pop() if (left := vars(self.points).setdefault(generator, [])) else"
    " left.extend(torch.randperm(len(self.points), generator=generator).split(self.rows)) or left.pop()",
)
NO_FLOOR = Change("models.py", "self.log_var_floor, self.log_var_floor)", "-1e9, -1e9)")

DRAWN = Change(  # in training alone
    "engine.py",
    "return self.points.index_select(0, torch.cat(chosen)).unflatten(0, (len(generators), self.rows))",
    "x = self.points.index_select(0, torch.cat(chosen)).unflatten(0, (len(generators), self.rows))\n"
    "        return torch.stack([torch.bernoulli(one, generator=g) for one, g in zip(x, generators)])",
)
SGVB_A = Change(
    "estimators/aevb.py",
    "model.log_likelihood(params.theta, x, z).mean(1) - q.kl().squeeze(1)",
    "(model.log_joint(params.theta, x, z) - q.log_prob(z)).mean(1)",
)
# of the mean of M = 100 points: 1e-8 is added to g^2 / M^2, which is to add 1e-4 to g^2
MEAN_GRADIENT = Change("optimisers.py", "eps: float = 1e-8", "eps: float = 1e-4")

BOTH = (MNIST, FREY)
OTHER_SLEEPY_MNIST = tuple(SLEEPY_MNIST._replace(n_latent=n) for n in (3, 5, 20))
ALL_FREY = (*(FREY._replace(n_latent=n) for n in (2, 5, 10, 20)), RESTLESS_FREY)


def with_step_size(step_size: float, *cells: Cell) -> tuple[Cell, ...]:
    return tuple(cell._replace(step_size=step_size) for cell in cells)


ALTERNATIVES = (
    Alternative(
        "as we read it",
        "",
        (MNIST, SMALL_MNIST, SLEEPY_MNIST, *OTHER_SLEEPY_MNIST, SLEEPY_FREY, *ALL_FREY),
        NOTHING,
    ),
    Alternative("grey levels of MNIST", "binarised at 1/2", (MNIST,), BINARISED),
    Alternative("scale of Frey Face", "/255", (FREY,), SCALE),
    Alternative("split of Frey Face", "another permutation", (FREY,), SPLIT),
    Alternative("initialisation", "variance 0.01", BOTH, WIDE_START),
    Alternative("initialisation", "biases at zero", BOTH, NO_BIAS),
    Alternative("prior on parameters", "none", BOTH, NO_PRIOR),
    Alternative("prior on parameters", "in full for every minibatch", BOTH, FULL_PRIOR),
    Alternative("prior on parameters", "on biases too", BOTH, BIAS_PRIOR),
    Alternative("Adagrad", "no accumulation before the first step", BOTH, NO_WARM_UP),
    Alternative("step size", "0.01", with_step_size(0.01, MNIST, SMALL_MNIST), NOTHING),
    Alternative("step size", "0.02", with_step_size(0.02, FREY, SLEEPY_FREY, RESTLESS_FREY), NOTHING),
    Alternative("step size", "0.1", with_step_size(0.1, MNIST, SMALL_MNIST), NOTHING),
    Alternative("wake-sleep's dreams", "not clipped", (SLEEPY_FREY,), UNCLIPPED),
    Alternative("wake-sleep's log-variance", "times 0.1", (SLEEPY_MNIST, SLEEPY_FREY, RESTLESS_FREY), SCALED),
    Alternative("floor of the variance", "none", (FREY,), NO_FLOOR),
    Alternative(
        "batch size on Frey Face", "500", tuple(cell._replace(batch_size=500) for cell in ALL_FREY), NOTHING
    ),
    Alternative("step size", "0.005, none of the paper's", with_step_size(0.005, FREY), NOTHING),
    Alternative("step size", "0.002, none of the paper's", with_step_size(0.002, FREY), NOTHING),
    Alternative("minibatches", "in epochs, without replacement", BOTH, IN_EPOCHS),
    Alternative(
        "as we read it, for longer", "", (LONG_RESTLESS, LONG_FREY, LONG_MNIST, LONG_SLEEPY), NOTHING
    ),
    Alternative("step size", "0.02", with_step_size(0.02, LONG_RESTLESS), NOTHING),
    Alternative(
        "wake-sleep's log-variance", "times 0.1, step size 0.02", with_step_size(0.02, LONG_RESTLESS), SCALED
    ),
    Alternative(
        "prior on parameters",
        "in full for every minibatch",
        (SLEEPY_MNIST, SLEEPY_FREY, RESTLESS_FREY, LONG_RESTLESS),
        FULL_PRIOR_ASLEEP,
    ),
    Alternative("prior on parameters", "in full on the decoder alone", (RESTLESS_FREY,), FULL_PRIOR_DECODER),
    Alternative(
        "prior on parameters",
        "in full on the encoder alone",
        (SLEEPY_MNIST, RESTLESS_FREY),
        FULL_PRIOR_ENCODER,
    ),
    Alternative("batch size on Frey Face", "500", (LONG_FREY._replace(batch_size=500),), NOTHING),
    Alternative("step size", "0.01", with_step_size(0.01, LONG_MNIST), NOTHING),
    Alternative("grey levels of MNIST", "drawn as 0 or 1 at every visit", (MNIST,), DRAWN),
    Alternative("prior on parameters", "in full on the encoder alone", BOTH, FULL_PRIOR_AEVB_ENCODER),
    Alternative("estimator of the bound", "SGVB-A (eq. 6)", BOTH, SGVB_A),
    Alternative("Adagrad", "gradient of a minibatch's mean, not sum", BOTH, MEAN_GRADIENT),
    Alternative("prior on parameters", "of standard deviation 1/4", (MNIST,), NARROW_PRIOR),
    Alternative("prior on parameters", "of standard deviation 1/4", (SLEEPY_MNIST,), NARROW_PRIOR_ASLEEP),
    Alternative("prior on parameters", "in full for every minibatch", (LONG_SLEEPY,), FULL_PRIOR_ASLEEP),
    Alternative("scale of MNIST", "/256", (MNIST,), MNIST_SCALE),
    Alternative(
        "wake-sleep's dreams",
        "by softplus units, not clipped",
        (SLEEPY_MNIST, RESTLESS_FREY),
        SOFT_DREAMS,
    ),
    Alternative(
        "hidden layers of the decoder", "two", (FREY, SLEEPY_FREY, RESTLESS_FREY, LONG_RESTLESS), DEEP_DECODER
    ),
    Alternative("wake-sleep's log-variance", "times 0.1", OTHER_SLEEPY_MNIST, SCALED),
)


def trained(cell: Cell, source: Path, folder: Path) -> dict[str, list[float]]:
    """The last bounds of each seed, by split, with the package of `source`."""
    result: dict[str, list[float]] = changes.printed_with(
        source, __file__, "--train", json.dumps(cell), str(folder)
    )
    return result


def train(cell: Cell, folder: Path) -> dict[str, list[float]]:
    """In a process of its own, which imports the copy."""
    import torch

    from aevb import config, data
    from aevb.stack import Member
    from aevb.training import Trainer

    torch.set_num_threads(1)
    protocol = config.read(ROOT / "config.yaml")
    sizes = {"mnist": (500, 50_000), "frey": (200, 1_600)}[cell.dataset]
    one = protocol.cell(cell.dataset, cell.estimator, sizes[0], cell.n_latent, sizes[1])  # type: ignore[arg-type]
    one = one.model_copy(update={"batch_size": cell.batch_size})
    points = data.prepare(cell.dataset, folder.parents[1] / "raw")
    trainer = Trainer(one, points, torch.device("cpu"), folder / "store")
    runs = trainer.train([Member(seed, cell.step_size) for seed in SEEDS], cell.samples)

    def last(split: str) -> list[float]:
        return [[row["bound"] for row in run.trace.rows if row["split"] == split][-1] for run in runs]

    return {split: last(split) for split in ("train", "test")}


def rows_of(alternative: Alternative, cell: Cell, found: Any, ours: Any) -> list[dict[str, Any]]:
    """A row for each split."""
    rows = []
    for split, theirs in found.items():
        differences = [a - b for a, b in zip(theirs, ours[split], strict=True)]
        rows.append(
            {
                "question": alternative.question,
                "alternative": alternative.answer,
                **cell._asdict(),
                "seeds": len(SEEDS),
                "split": split,
                "ours": np.mean(ours[split]),
                "theirs": np.mean(theirs),
                "difference": np.mean(differences),
                "std_error": np.std(differences, ddof=1) / len(SEEDS) ** 0.5,
            }
        )
    return rows


def page(table: pd.DataFrame) -> str:
    """The table as docs/deviations.md shows it: a line an alternative and cell."""
    lines = [
        "| question | another reading | tried on | test: ours | so read | difference | train: difference |",
        "|---|---|---|--:|--:|--:|--:|",
    ]
    for (question, alternative, *cell), rows in table.groupby(TRIED, sort=False):
        lines.append(f"| {question} | {alternative} | {_tried_on(Cell(*cell))} | {_bounds(rows)} |")
    return "\n".join(lines)


def _tried_on(cell: Cell) -> str:
    names = dataset_name(cell.dataset), curves.method_name(cell.estimator)
    return f"{', '.join(names)}, N_z = {cell.n_latent}, {cell.samples / 1e6:.0f} M"


def _bounds(rows: pd.DataFrame) -> str:
    at = rows.set_index("split")
    ours, theirs = at.loc["test", ["ours", "theirs"]]
    if at["theirs"].isna().any():
        return f"{ours:.1f} | a seed diverged | – | –"
    differences = [f"{at.difference[split]:+.1f} ({at.std_error[split]:.1f})" for split in ("test", "train")]
    return f"{ours:.1f} | {theirs:.1f} | {' | '.join(differences)}"


def main(folder: Path) -> None:
    table = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    table.writeheader()
    ours: dict[Any, Any] = {}
    for n, alternative in enumerate(ALTERNATIVES):
        for cell in alternative.cells:
            place = folder / f"{n:02}" / "-".join(map(str, cell))
            known = place / "bounds.json"
            if not known.exists():
                bounds = trained(cell, changes.changed_copy(place, alternative.change), place)
                known.write_text(json.dumps(bounds))
            found = json.loads(known.read_text())
            reference = ours.setdefault((*cell[:3], cell.samples), found)
            if alternative.answer:
                table.writerows(rows_of(alternative, cell, found, reference))
                sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "--train":
        print(json.dumps(train(Cell(*json.loads(sys.argv[2])), Path(sys.argv[3]))))
    elif sys.argv[1] == "--page":
        pages.show("alternatives", page, *sys.argv[2:])
    else:
        main(Path(sys.argv[1]).absolute())
