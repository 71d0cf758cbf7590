# Names that several stages share: cells by their folder, and the code each stage depends on.
import json
from functools import cache

from aevb import references
from aevb.clone import commit
from aevb.datasets import DATASETS
from aevb.experiments import EVIDENCE as ESTIMATORS, canonical
from aevb.imports import PACKAGE, sources
from aevb.provenance import estimator

PAPER_CELLS = EXPERIMENTS.all_cells()
CELLS = {cell.path: cell for cell in EXPERIMENTS.every_cell()}


def searches_of(cells):
    """The searches for the cells' step sizes, each once, by the path of the cell that it trains."""
    return {search.cell.path: search for search in map(EXPERIMENTS.search, cells)}


FIGURES_CELLS = {
    cell.path: cell for cell in [*PAPER_CELLS, *EXPERIMENTS.cells("full_vb")]
}
SEARCHES = searches_of(FIGURES_CELLS.values())
EVIDENCE_CODE = [
    *("bounds", "processor", "streams"),
    *sorted({f"evidence/{module}" for module, _, _ in ESTIMATORS.values()}),
]
STORE = "results/.cells"
BLESSED = ROOT / "results/reference"
REASON = EXPERIMENTS.reason.strip()
GPU = int(EXPERIMENTS.uses_gpu())
MEMORY_MB = 8000 if GPU else 2000  # of the host: CUDA's libraries alone take gigabytes
LONGEST = 120_000  # characters of a command's lists: the kernel takes 128 KiB


def job(module):
    """The file of a job that itself chooses points, streams or noise, so that results depend on it too."""
    return str(PACKAGE / f"jobs/{module}.py")


wildcard_constraints:
    dataset="|".join(DATASETS),
    estimator="[a-z][a-z0-9_]*",
    sizes=r"h\d+-z\d+-n\d+",


def path_of(wildcards):
    return f"{wildcards.dataset}/{wildcards.estimator}/{wildcards.sizes}"


def cell_of(wildcards):
    path = path_of(wildcards)
    if path not in CELLS:
        raise WorkflowError(
            f"config.yaml has no cell {path} for scale {EXPERIMENTS.scale} and the chosen datasets."
        )
    return CELLS[path]


def step_size_path(cell):
    """Where the search writes that chooses the cell's step size."""
    return f"results/step_sizes/{EXPERIMENTS.search(cell).cell.path}.csv"


def step_size_of(wildcards):
    """That file for a run of the figures, or of Full VB's study."""
    cell = cell_of(wildcards)
    if cell.path not in FIGURES_CELLS:
        raise WorkflowError(
            f"No figure trains {cell.path}. `snakemake compare` does, in results/comparison/{cell.path}/."
        )
    return step_size_path(cell)


def training_code(wildcards):
    return code_of(wildcards.estimator)


@cache
def code_of(name):
    """The sources of training with that estimator; reading their imports anew for each cell would take the most time
    of planning a sweep."""
    located = estimator(name, EXPERIMENTS.estimators[name].source)
    return sources("training", "processor", located)


def promises_of(wildcards):
    """An estimator of the reader's is held to the rules before anything is trained with it."""
    name = wildcards.estimator
    if name not in EXPERIMENTS.estimators:
        raise WorkflowError(f"config.yaml has no estimator {name}.")
    added = EXPERIMENTS.estimators[name].source
    return f"results/conformance/{name}.txt" if added else []


def labels_of(wildcards):
    """The dataset's labels, where it has them."""
    known = DATASETS[wildcards.dataset].labelled
    return [f"results/data/{wildcards.dataset}_labels.npz"] if known else []


def runs(cells, file):
    """That file of every seed of these cells."""
    return [
        f"results/runs/{cell.path}/seed{seed}/{file}"
        for cell in cells
        for seed in EXPERIMENTS.seeds
    ]


def per_cell(cells, file):
    return [f"results/runs/{cell.path}/{file}" for cell in cells]


def fitting(words, lists):
    """The words of one of so many lists in a command, each of which has its share of the room."""
    length, room = sum(len(word) + 1 for word in words), LONGEST // lists
    if length > room:
        raise WorkflowError(
            f"So many cells and seeds do not fit into the command that collects them ({length} characters, of at most"
            f" {room}): run several smaller configurations, or the target trained; see docs/scaling.md."
        )
    return words


def listed(words, lists=2):
    """The same once a job needs them, which is before anything runs."""
    return lambda wildcards: fitting(words, lists)


def of_section(section, cells, files):
    """Files of the cells that a section of config.yaml asks for, of which the chosen data sets may have none."""

    def refuse(wildcards):
        raise WorkflowError(
            f"{section} has no entry for {' or '.join(EXPERIMENTS.datasets)}:"
            " give it one in config.yaml, or choose other datasets."
        )

    return files if cells else refuse


def beside_rivals(cells, files):
    """Files of the comparison's cells, once one of them is not the baseline's."""
    baseline = EXPERIMENTS.comparison.baseline

    def asked(wildcards):
        if all(cell.estimator == baseline for cell in cells):
            raise WorkflowError(
                f"There is nothing to compare with {baseline}: name an estimator under comparison.estimators in"
                " config.yaml, or your own with --config add=path/to/mine.py."
            )
        return listed(files)(wildcards)

    return asked


def as_json(cells, lists=2):
    text = "[" + ",".join(canonical(cell) for cell in cells) + "]"
    return lambda wildcards: fitting([text], lists)[0]


def page(table):
    """A table's page in the report."""
    return report(
        f"results/tables/html/{table}.html",
        caption=f"../report/{table}.rst",
        category="Tables",
        labels={"table": table.replace("_", " ")},
    )


def figure_files(name, caption, label):
    """A figure's three files, of which the report shows the svg."""
    shown = report(
        f"results/figures/{name}.svg",
        caption=f"../report/{caption}.rst",
        category="Figures",
        labels={"figure": label},
    )
    return [shown, f"results/figures/{name}.pdf", f"results/figures/{name}.png"]


def files_of(n):
    return figure_files(f"figure{n}", f"figure{n}", str(n))


def compared(cells, file):
    """That file of every seed of the comparison."""
    return [
        f"results/comparison/{cell.path}/seed{seed}/{file}"
        for cell in cells
        for seed in range(EXPERIMENTS.budget.comparison_seeds)
    ]


def first_runs(cells, file):
    """That file of the first seed of these cells."""
    return [f"results/runs/{cell.path}/seed0/{file}" for cell in cells]


def weights_of(figure):
    """The final weights that the figure shows."""
    cells = EXPERIMENTS.cells(figure)
    return of_section(
        f"figures.{figure}", cells, first_runs(cells, "weights.safetensors")
    )


def accepted(datasets):
    """The references of these data sets."""
    try:
        return list(map(str, references.files(BLESSED, datasets, EXPERIMENTS.scales)))
    except UserError as error:
        raise WorkflowError(str(error)) from None


@cache
def gated():
    """What is checked, by the cell's path, with the number of tests; and what is not, with its verdict."""
    from aevb import gate  # scipy, which other targets need not wait for

    jobs = [EXPERIMENTS.check_job(cell) for cell in PAPER_CELLS]
    try:
        known = [references.read(Path(file)) for file in accepted(EXPERIMENTS.datasets)]
        return gate.plan(jobs, known, EXPERIMENTS.scale)
    except UserError as error:
        raise WorkflowError(str(error)) from None


def judged(file, lists):
    return lambda wildcards: fitting(
        [f"results/check/{path}/{file}" for path in gated()[0]], lists
    )


def checking_code(wildcards):
    return sorted(
        {
            *training_code(wildcards),
            *sources("gate", *EVIDENCE_CODE),
            job("check"),
            job("evidence"),
        }
    )


def with_reason(files):
    """What a new reference is made from, once there is a reason, and a commit that it can name."""

    def allowed(wildcards):
        free = ("scale", "datasets", "device", "reason")
        given = {name: getattr(EXPERIMENTS, name) for name in free}
        try:
            references.stated(REASON)
            commit(ROOT)
            if schema.read(ROOT / "config.yaml", **given) != EXPERIMENTS:
                raise UserError(
                    "A reference is of config.yaml as it is committed: with bless, --config may give scale, datasets,"
                    " device and reason alone."
                )
        except UserError as error:
            raise WorkflowError(str(error)) from None
        return fitting(files, lists=1)

    return allowed
