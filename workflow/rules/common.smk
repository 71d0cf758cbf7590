# Names that several stages share: cells by their folder, and the code each stage depends on.
from aevb.experiments import canonical
from aevb.provenance import sources

CELLS = {cell.path: cell for cell in EXPERIMENTS.all_cells()}
STORE = "results/.cells"
GPU = 0 if EXPERIMENTS.device == "cpu" else int(Path("/dev/nvidia0").exists())


wildcard_constraints:
    dataset="mnist|frey|digits",
    estimator="[a-z][a-z0-9_]*",
    sizes=r"h\d+-z\d+-n\d+",
    seed=r"\d+",
    table="[a-z_]+",


def cell_of(wildcards):
    return CELLS[f"{wildcards.dataset}/{wildcards.estimator}/{wildcards.sizes}"]


def training_code(wildcards):
    return sources("training", f"estimators/{wildcards.estimator}")


def runs(cells, file):
    """That file of every seed of these cells."""
    return [
        f"results/runs/{cell.path}/seed{seed}/{file}"
        for cell in cells
        for seed in EXPERIMENTS.seeds
    ]


def per_cell(cells, file):
    return [f"results/runs/{cell.path}/{file}" for cell in cells]


def as_json(cells):
    return "[" + ",".join(canonical(cell) for cell in cells) + "]"
