# `snakemake full_vb`: Appendix F, which the paper derives and does not run. Not part of `all`.
POSTERIOR_CELLS = EXPERIMENTS.cells("full_vb")
POSTERIOR_FIGURE = figure_files("full_vb", "full_vb", "Appendix F")


rule full_vb:
    input:
        "results/tables/full_vb.csv",
        "results/tables/html/full_vb.html",
        POSTERIOR_FIGURE,
    localrule: True


rule full_vb_results:
    input:
        runs=of_section(
            "full_vb", POSTERIOR_CELLS, listed(runs(POSTERIOR_CELLS, "cell.json"))
        ),
        curves=runs(POSTERIOR_CELLS, "curve.csv"),
        evidence=per_cell(POSTERIOR_CELLS, "evidence.csv"),
        code=[*sources("appendix_f"), STYLE],
    output:
        table="results/tables/full_vb.csv",
        figure=POSTERIOR_FIGURE,
    log:
        "results/logs/tables/full_vb.log",
    localrule: True
    shell:
        "python -m aevb full-vb --runs {input.runs} --evidence {input.evidence} --output {output.table}"
        " --figure results/figures/full_vb 2> {log}"


use rule html as full_vb_page with:
    input:
        tables="results/tables/full_vb.csv",
        code=sources("pages"),
    output:
        page("full_vb"),
    log:
        "results/logs/tables/full_vb_page.log",
