# What the README shows: the comparison with the paper and the figures, kept in the repository. Only on request.
rule readme:
    input:
        comparison="results/tables/paper_comparison.csv",
        costs="results/tables/costs.csv",
        figures=[figure for figure in FIGURES if figure.endswith(".png")],
        code=sources("tables", "markdown"),
    output:
        "results/tables/readme.md",
    log:
        "results/logs/tables/readme.log",
    localrule: True
    params:
        figure2=as_json(EXPERIMENTS.cells("figure2")),
        figure3=as_json(EXPERIMENTS.cells("figure3")),
        scale=EXPERIMENTS.scale,
        references=str(ROOT / "results/reference"),
        readme=str(ROOT / "README.md"),
        shown=str(ROOT / "docs/figures"),
    shell:
        "python -m aevb readme --comparison {input.comparison} --costs {input.costs} --figures {input.figures}"
        " --figure2 {params.figure2:q} --figure3 {params.figure3:q} --scale {params.scale}"
        " --references {params.references:q} --readme {params.readme:q} --shown {params.shown:q} --output {output}"
        " 2> {log}"
