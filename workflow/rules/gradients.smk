# `snakemake gradients`: how noisy each estimator's gradient is along one run (sections 2.2 and 2.3). Not part of `all`:
# the paper argues it and shows no figure of it.
FOLLOWED = {cell.path: cell for cell in EXPERIMENTS.gradient_cells()}
GRADIENT_CODE = [
    *sources(
        *("gradients", "processor", "bounds", "streams"),
        *(f"estimators/{name}" for name in EXPERIMENTS.gradients.estimators),
    ),
    job("gradients"),  # chooses minibatches and noise
]
GRADIENT_FIGURE = figure_files(
    "gradient_variance", "gradient_variance_figure", "gradient variance"
)


rule gradients:
    input:
        "results/tables/gradient_variance.csv",
        "results/tables/html/gradient_variance.html",
        GRADIENT_FIGURE,
    localrule: True


rule gradients_of_cell:
    input:
        points="results/data/{dataset}.npz",
        run="results/runs/{dataset}/{estimator}/{sizes}/seed0/cell.json",
        code=GRADIENT_CODE,
    output:
        "results/gradients/{dataset}/{estimator}/{sizes}.csv",
    log:
        "results/logs/gradients/{dataset}-{estimator}-{sizes}.log",
    benchmark:
        "results/benchmarks/gradients/{dataset}-{estimator}-{sizes}.tsv"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=MEMORY_MB,
        runtime=240,
    params:
        job=lambda wildcards: canonical(
            EXPERIMENTS.gradient_job(FOLLOWED[path_of(wildcards)])
        ),
        device=EXPERIMENTS.device,
    shell:
        "python -m aevb gradients --job {params.job:q} --points {input.points} --run {input.run}"
        " --output {output} --device {params.device} --threads {threads} 2> {log}"


rule gradient_variance:
    input:
        of_section(
            "gradients.runs",
            FOLLOWED,
            [f"results/gradients/{path}.csv" for path in FOLLOWED],
        ),
    output:
        "results/tables/gradient_variance.csv",
    log:
        "results/logs/tables/gradient_variance.log",
    localrule: True
    shell:
        "python -m aevb concatenate --inputs {input} --output {output} 2> {log}"


use rule html as gradient_variance_page with:
    input:
        tables="results/tables/gradient_variance.csv",
        code=sources("pages"),
    output:
        page("gradient_variance"),
    log:
        "results/logs/tables/gradient_variance_page.log",


rule gradient_variance_figure:
    input:
        table="results/tables/gradient_variance.csv",
        code=[*sources("variances"), STYLE],
    output:
        GRADIENT_FIGURE,
    log:
        "results/logs/figures/gradient_variance.log",
    localrule: True
    shell:
        "python -m aevb gradient-figure --gradients {input.table} --output results/figures/gradient_variance 2> {log}"
