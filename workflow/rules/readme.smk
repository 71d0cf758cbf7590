# What the README shows, kept in the repository. Only on request, and whenever requested: `keep` trains what the present
# scale lacks and adds it to what is kept; `readme` makes tables, Figures 2 and 3 and the distances from what is kept, and
# trains nothing. SHOWN is config.yaml whatever the command line chooses: the paper's figures.
rule keep:
    input:
        runs=listed(runs(PAPER_CELLS, "cell.json")),
        curves=runs(PAPER_CELLS, "curve.csv"),
        marginal=listed(per_cell(EXPERIMENTS.cells("figure3"), "evidence.csv")),
        pictures=[
            figure
            for figure in FIGURES
            if EXPERIMENTS.datasets == SHOWN.datasets
            and figure.endswith(("4.png", "5.png"))
        ],
    log:
        "results/logs/tables/keep.log",
    localrule: True
    params:
        references=str(ROOT / "results/reference"),
        shown=str(ROOT / "docs/figures"),
    shell:
        "python -m aevb keep --runs {input.runs} --marginal {input.marginal} --pictures {input.pictures}"
        " --references {params.references:q} --shown {params.shown:q} 2> {log}"


rule readme:
    input:
        kept=str(ROOT / "results/reference/kept/runs.csv"),
        reasons=str(ROOT / "results/reference/reasons.csv"),
        paper=PAPER,
    log:
        "results/logs/tables/readme.log",
    localrule: True
    params:
        figure2=as_json(SHOWN.cells("figure2")),
        figure3=as_json(SHOWN.cells("figure3")),
        references=lambda wildcards, input: Path(input.paper).parent,
        readme=str(ROOT / "README.md"),
        curves=str(ROOT / "docs/curves.md"),
        shown=str(ROOT / "docs/figures"),
    shell:
        "python -m aevb readme --paper {input.paper:q} --figure2 {params.figure2:q} --figure3 {params.figure3:q}"
        " --references {params.references:q} --readme {params.readme:q} --curves {params.curves:q}"
        " --shown {params.shown:q} --drawn results/figures/kept 2> {log}"
