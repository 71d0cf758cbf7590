# Figures 2-5 of the paper, ours in front of the paper's own curves.
STYLE = str(PACKAGE / "paper.mplstyle")
FIGURES = [
    f"results/figures/figure{n}.{format}"
    for n in (2, 3, 4, 5)
    if EXPERIMENTS.cells(f"figure{n}")
    for format in ("pdf", "png", "svg")
]
# where the paper has curves
if any(DATASETS[dataset].in_paper for dataset in EXPERIMENTS.datasets):
    FIGURES += [
        f"results/figures/distances.{format}" for format in ("pdf", "png", "svg")
    ]


rule figure2:
    input:
        bounds="results/tables/bounds.csv",
        paper=PAPER,
        code=[*sources("figures"), STYLE],
    output:
        files_of(2),
    log:
        "results/logs/figures/figure2.log",
    localrule: True
    params:
        cells=as_json(EXPERIMENTS.cells("figure2")),
    shell:
        "python -m aevb figure2 --bounds {input.bounds} --paper {input.paper:q} --cells {params.cells:q}"
        " --output results/figures/figure2 2> {log}"


rule figure3:
    input:
        marginal=of_section(
            "figures.figure3",
            EXPERIMENTS.cells("figure3"),
            listed(per_cell(EXPERIMENTS.cells("figure3"), "evidence.csv")),
        ),
        paper=PAPER,
        code=[*sources("figures"), STYLE],
    output:
        files_of(3),
    log:
        "results/logs/figures/figure3.log",
    localrule: True
    params:
        cells=as_json(EXPERIMENTS.cells("figure3")),
    shell:
        "python -m aevb figure3 --marginal {input.marginal} --paper {input.paper:q} --cells {params.cells:q}"
        " --output results/figures/figure3 2> {log}"


# ours less the paper's
rule distances:
    input:
        comparison="results/tables/paper_comparison.csv",
        code=[*sources("distances"), STYLE],
    output:
        figure_files("distances", "distances", "ours less the paper's"),
    log:
        "results/logs/figures/distances.log",
    localrule: True
    shell:
        "python -m aevb distances --comparison {input.comparison} --output results/figures/distances 2> {log}"


rule figure4:
    input:
        weights=weights_of("figure4"),
        points=[
            f"results/data/{cell.dataset}.npz" for cell in EXPERIMENTS.cells("figure4")
        ],
        code=[*sources("galleries", "generation"), job("draw"), STYLE],
    output:
        files_of(4),
    log:
        "results/logs/figures/figure4.log",
    localrule: True
    params:
        cells=as_json(EXPERIMENTS.cells("figure4")),
    shell:
        "python -m aevb figure4 --weights {input.weights} --points {input.points} --cells {params.cells:q}"
        " --output results/figures/figure4 2> {log}"


rule figure5:
    input:
        weights=weights_of("figure5"),
        points=[
            f"results/data/{cell.dataset}.npz" for cell in EXPERIMENTS.cells("figure5")
        ],
        code=[*sources("galleries", "generation"), job("draw"), STYLE],
    output:
        files_of(5),
    log:
        "results/logs/figures/figure5.log",
    localrule: True
    params:
        cells=as_json(EXPERIMENTS.cells("figure5")),
    shell:
        "python -m aevb figure5 --weights {input.weights} --points {input.points} --cells {params.cells:q}"
        " --output results/figures/figure5 2> {log}"


# last of all: where a run diverged, figures and tables are made before the whole ends with status 1
rule sound:
    input:
        runs="results/tables/soundness.csv",
        before=[*FIGURES, *TABLES],
    output:
        SOUND,
    log:
        "results/logs/tables/sound.log",
    retries: 0
    localrule: True
    shell:
        "python -m aevb sound --runs {input.runs} --output {output} 2> {log}"
