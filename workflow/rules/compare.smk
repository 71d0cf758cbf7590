# `snakemake compare`: paired runs of every estimator against the baseline. Not part of `all`: its runs have more seeds
# than the paper's figures, and lie apart from theirs. What both need is trained once, since they share the store.
COMPARED = EXPERIMENTS.cells("comparison")
CONTESTS = [
    f"results/figures/comparison_{name}.{format}"
    for name in ("curves", "forest")
    for format in ("pdf", "png", "svg")
]


def compared(file):
    """That file of every seed of the comparison."""
    return [
        f"results/comparison/{cell.path}/seed{seed}/{file}"
        for cell in COMPARED
        for seed in range(EXPERIMENTS.budget.comparison_seeds)
    ]


def contest(name):
    return report(
        f"results/figures/comparison_{name}.svg",
        caption="../report/comparison_figure.rst",
        category="Figures",
        labels={"figure": f"comparison, {name}"},
    )


rule compare:
    input:
        "results/tables/comparison.csv",
        "results/tables/html/comparison.html",
        CONTESTS,
    localrule: True


use rule train as train_compared with:
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
        code=sources(*EVIDENCE_CODE),
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
        runs=compared("cell.json"),
        curves=compared("curve.csv"),
        evidence=[f"results/comparison/{cell.path}/evidence.csv" for cell in COMPARED],
        code=sources("comparison"),
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


rule comparison_page:
    input:
        table="results/tables/comparison.csv",
        code=sources("tables"),
    output:
        page("comparison"),
    log:
        "results/logs/tables/comparison_page.log",
    localrule: True
    shell:
        "python -m aevb html --inputs {input.table} --outputs {output} 2> {log}"


rule comparison_figures:
    input:
        table="results/tables/comparison.csv",
        curves="results/tables/comparison_curves.csv",
        code=[*sources("contests"), STYLE],
    output:
        [
            contest("curves"),
            contest("forest"),
            *(file for file in CONTESTS if not file.endswith("svg")),
        ],
    log:
        "results/logs/figures/comparison.log",
    localrule: True
    shell:
        "python -m aevb comparison-figures --curves {input.curves} --comparison {input.table}"
        " --folder results/figures 2> {log}"
