# What the README shows, kept in the repository. Only on request: `keep` adds the present scale's runs to those that are
# kept, of however many sittings; `readme` makes table and Figure 2 from what is kept, and trains nothing.
rule keep:
    input:
        runs=listed(runs(PAPER_CELLS, "cell.json")),
        curves=runs(PAPER_CELLS, "curve.csv"),
        marginal=MARGINAL,
        pictures=[
            f for f in FIGURES if f.endswith(".png") and not f.endswith("figure2.png")
        ],
        code=sources("kept"),
    output:
        "results/tables/kept.txt",
    log:
        "results/logs/tables/keep.log",
    localrule: True
    params:
        references=str(ROOT / "results/reference"),
        shown=str(ROOT / "docs/figures"),
    shell:
        "python -m aevb keep --runs {input.runs} --marginal {input.marginal} --pictures {input.pictures}"
        " --references {params.references:q} --shown {params.shown:q} > {output} 2> {log}"


rule readme:
    input:
        kept=[
            str(ROOT / f"results/reference/kept/{table}.csv")
            for table in ("runs", "bounds", "likelihoods")
        ],
        paper=PAPER,
        code=[*sources("kept", "tables", "markdown", "figures"), STYLE],
    output:
        block="results/tables/readme.md",
        figure=multiext("results/figures/kept_figure2", ".pdf", ".png", ".svg"),
    log:
        "results/logs/tables/readme.log",
    localrule: True
    params:
        figure2=as_json(EXPERIMENTS.cells("figure2")),
        figure3=as_json(EXPERIMENTS.cells("figure3")),
        references=lambda wildcards, input: Path(input.paper).parent,
        readme=str(ROOT / "README.md"),
        shown=str(ROOT / "docs/figures"),
        drawn=lambda wildcards, output: Path(output.figure[0]).with_suffix(""),
    shell:
        "python -m aevb readme --paper {input.paper:q} --figure2 {params.figure2:q} --figure3 {params.figure3:q}"
        " --references {params.references:q} --readme {params.readme:q} --shown {params.shown:q}"
        " --drawn {params.drawn} --output {output.block} 2> {log}"
