# The numbers: one tidy table per question, and its page in the report.
EVIDENCE = per_cell(EXPERIMENTS.evidence_cells(), "evidence.csv")
MARGINAL = ["results/tables/marginal_likelihood.csv"] if EVIDENCE else []
REPORTED = [
    "paper_comparison",
    "final_bounds",
    *(["marginal_likelihood", "bound_and_likelihood"] if EVIDENCE else []),
    "step_sizes",
    "soundness",
    "costs",
    "provenance",
]
TABLES = [
    *expand("results/tables/{table}.csv", table=["bounds", *REPORTED]),
    *expand("results/tables/html/{table}.html", table=REPORTED),
]
SOUND = "results/tables/sound.txt"  # only where no run diverged: without it, the whole ends with status 1
PAPER = str(ROOT / "results/reference/paper.csv")


rule tables:
    input:
        TABLES,
    localrule: True


rule run_tables:
    input:
        runs=listed(runs(PAPER_CELLS, "cell.json")),
        curves=runs(PAPER_CELLS, "curve.csv"),
        code=sources("records", "soundness"),
    output:
        bounds="results/tables/bounds.csv",
        final="results/tables/final_bounds.csv",
        costs="results/tables/costs.csv",
        provenance="results/tables/provenance.csv",
        soundness="results/tables/soundness.csv",
    log:
        "results/logs/tables/run_tables.log",
    localrule: True
    shell:
        "python -m aevb run-tables --runs {input.runs} --bounds {output.bounds} --final {output.final}"
        " --costs {output.costs} --provenance {output.provenance} --soundness {output.soundness} 2> {log}"


rule marginal_likelihood:
    input:
        listed(EVIDENCE),
    output:
        "results/tables/marginal_likelihood.csv",
    log:
        "results/logs/tables/marginal_likelihood.log",
    localrule: True
    shell:
        "python -m aevb concatenate --inputs {input} --output {output} 2> {log}"


rule bound_and_likelihood:
    input:
        marginal=MARGINAL,
        code=sources("bound_and_likelihood"),
    output:
        "results/tables/bound_and_likelihood.csv",
    log:
        "results/logs/tables/bound_and_likelihood.log",
    localrule: True
    shell:
        "python -m aevb bound-and-likelihood --marginal {input.marginal} --output {output} 2> {log}"


rule step_sizes:
    input:
        listed(sorted({step_size_path(cell) for cell in PAPER_CELLS})),
    output:
        "results/tables/step_sizes.csv",
    log:
        "results/logs/tables/step_sizes.log",
    localrule: True
    shell:
        "python -m aevb concatenate --inputs {input} --output {output} 2> {log}"


rule paper_comparison:
    input:
        bounds="results/tables/bounds.csv",
        marginal=MARGINAL,
        paper=PAPER,
        code=sources("paper_comparison"),
    output:
        "results/tables/paper_comparison.csv",
    log:
        "results/logs/tables/paper_comparison.log",
    localrule: True
    params:
        figure2=as_json(EXPERIMENTS.cells("figure2")),
        figure3=as_json(EXPERIMENTS.cells("figure3")),
    shell:
        "python -m aevb paper-comparison --bounds {input.bounds} --marginal {input.marginal} --paper {input.paper:q}"
        " --figure2 {params.figure2:q} --figure3 {params.figure3:q} --output {output} 2> {log}"


rule html:
    input:
        tables=expand("results/tables/{table}.csv", table=REPORTED),
        code=sources("pages"),
    output:
        [page(table) for table in REPORTED],
    log:
        "results/logs/tables/html.log",
    localrule: True
    shell:
        "python -m aevb html --inputs {input.tables} --outputs {output} 2> {log}"
