# `snakemake compare`: paired runs of every estimator against the baseline. Not part of `all`: its runs have more seeds
# than the paper's figures, and lie apart from theirs. A run that both need, with the same step size, is trained once,
# since they share the store; searches are longer here, and have their own.
COMPARED = EXPERIMENTS.cells("comparison")
CONTESTS = [
    *figure_files("comparison_curves", "comparison_figure", "comparison, curves"),
    *figure_files("comparison_forest", "comparison_figure", "comparison, forest"),
]


rule compare:
    input:
        "results/tables/comparison.csv",
        "results/tables/html/comparison.html",
        CONTESTS,
    localrule: True


use rule step_size as step_size_compared with:
    output:
        "results/comparison/{dataset}/{estimator}/{sizes}/step_sizes.csv",
    log:
        "results/logs/comparison/step_size-{dataset}-{estimator}-{sizes}.log",
    benchmark:
        "results/benchmarks/comparison/step_size-{dataset}-{estimator}-{sizes}.tsv"
    params:
        search=lambda wildcards: canonical(
            EXPERIMENTS.comparison_search(cell_of(wildcards))
        ),
        device=EXPERIMENTS.device,
        # apart from the figures': of MCEM a run has one objective, that of its end
        store="results/.searches",


use rule train as train_compared with:
    input:
        promises_of,
        points="results/data/{dataset}.npz",
        step_sizes=rules.step_size_compared.output,
        code=training_code,
    output:
        [
            f"results/comparison/{{dataset}}/{{estimator}}/{{sizes}}/seed{seed}/{file}"
            for seed in range(EXPERIMENTS.budget.comparison_seeds)
            for file in ("curve.csv", "weights.safetensors", "cell.json")
        ],
    log:
        "results/logs/comparison/{dataset}-{estimator}-{sizes}.log",
    benchmark:
        "results/benchmarks/comparison/{dataset}-{estimator}-{sizes}.tsv"
    params:
        job=lambda wildcards: canonical(EXPERIMENTS.comparison_job(cell_of(wildcards))),
        device=EXPERIMENTS.device,
        store=STORE,
        folder=lambda wildcards, output: Path(output[0]).parents[1],


use rule evidence as evidence_compared with:
    input:
        points="results/data/{dataset}.npz",
        runs=[
            f"results/comparison/{{dataset}}/{{estimator}}/{{sizes}}/seed{seed}/cell.json"
            for seed in range(EXPERIMENTS.budget.comparison_seeds)
        ],
        code=[*sources("evidence/refused", *EVIDENCE_CODE), job("evidence")],
    output:
        "results/comparison/{dataset}/{estimator}/{sizes}/evidence.csv",
    log:
        "results/logs/comparison/evidence-{dataset}-{estimator}-{sizes}.log",
    benchmark:
        "results/benchmarks/comparison/evidence-{dataset}-{estimator}-{sizes}.tsv"
    params:
        job=lambda wildcards: canonical(
            EXPERIMENTS.comparison_evidence_job(cell_of(wildcards))
        ),
        device=EXPERIMENTS.device,


rule comparison:
    input:
        runs=of_section(
            "comparison.sizes",
            COMPARED,
            beside_rivals(COMPARED, compared(COMPARED, "cell.json")),
        ),
        curves=compared(COMPARED, "curve.csv"),
        evidence=[f"results/comparison/{cell.path}/evidence.csv" for cell in COMPARED],
        code=[*sources("comparison"), job("compare"), job("collect")],
    output:
        table="results/tables/comparison.csv",
        curves="results/tables/comparison_curves.csv",
    log:
        "results/logs/tables/comparison.log",
    localrule: True
    params:
        baseline=EXPERIMENTS.comparison.baseline,
    shell:
        "python -m aevb compare --runs {input.runs} --evidence {input.evidence} --baseline {params.baseline}"
        " --curves {output.curves} --output {output.table} 2> {log}"


use rule html as comparison_page with:
    input:
        tables="results/tables/comparison.csv",
        code=sources("pages"),
    output:
        page("comparison"),
    log:
        "results/logs/tables/comparison_page.log",


rule comparison_figures:
    input:
        table="results/tables/comparison.csv",
        curves="results/tables/comparison_curves.csv",
        code=[*sources("contests"), STYLE],
    output:
        CONTESTS,
    log:
        "results/logs/figures/comparison.log",
    localrule: True
    shell:
        "python -m aevb comparison-figures --curves {input.curves} --comparison {input.table}"
        " --folder results/figures 2> {log}"
