# `snakemake certify`: the estimators of log p(x) against exact answers. Not part of `all`: it is about the estimators,
# not about the paper.
CERTIFIED = {cell.path: cell for cell in EXPERIMENTS.evidence_cells()}
EXACT = {job.n_latent: job for job in EXPERIMENTS.exact_jobs()}
CERTIFICATION_FIGURE = figure_files(
    "certification", "certification_figure", "certification"
)


rule certify:
    input:
        "results/tables/certification.csv",
        "results/tables/html/certification.html",
        CERTIFICATION_FIGURE,
        "results/tables/certified.txt",
    localrule: True


rule certify_exact:
    input:
        code=[*sources("certification", "ppca", *EVIDENCE_CODE), job("certify")],
    output:
        "results/certification/ppca/z{n_latent}.csv",
    log:
        "results/logs/certify/ppca-z{n_latent}.log",
    benchmark:
        "results/benchmarks/certify/ppca-z{n_latent}.tsv"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=MEMORY_MB,
        runtime=120,
    params:
        job=lambda wildcards: canonical(EXACT[int(wildcards.n_latent)]),
        device=EXPERIMENTS.device,
    shell:
        "python -m aevb certify-exact --job {params.job:q} --output {output} --device {params.device}"
        " --threads {threads} 2> {log}"


rule certify_cell:
    input:
        points="results/data/{dataset}.npz",
        run="results/runs/{dataset}/{estimator}/{sizes}/seed0/cell.json",
        code=[*sources("certification", *EVIDENCE_CODE), job("certify")],
    output:
        "results/certification/{dataset}/{estimator}/{sizes}.csv",
    log:
        "results/logs/certify/{dataset}-{estimator}-{sizes}.log",
    benchmark:
        "results/benchmarks/certify/{dataset}-{estimator}-{sizes}.tsv"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=MEMORY_MB,
        runtime=240,
    params:
        job=lambda wildcards: canonical(
            EXPERIMENTS.certification_job(CERTIFIED[path_of(wildcards)])
        ),
        device=EXPERIMENTS.device,
    shell:
        "python -m aevb certify-cell --job {params.job:q} --points {input.points} --run {input.run}"
        " --output {output} --device {params.device} --threads {threads} 2> {log}"


rule certification:
    input:
        parts=listed(
            [
                *[f"results/certification/ppca/z{n_latent}.csv" for n_latent in EXACT],
                *[f"results/certification/{path}.csv" for path in CERTIFIED],
            ]
        ),
        code=[*sources("certification"), job("certify")],
    output:
        "results/tables/certification.csv",
    log:
        "results/logs/tables/certification.log",
    localrule: True
    shell:
        "python -m aevb certification --inputs {input.parts} --output {output} 2> {log}"


use rule html as certification_page with:
    input:
        tables="results/tables/certification.csv",
        code=sources("pages"),
    output:
        page("certification"),
    log:
        "results/logs/tables/certification_page.log",


rule certification_figure:
    input:
        table="results/tables/certification.csv",
        code=[*sources("forest"), STYLE],
    output:
        CERTIFICATION_FIGURE,
    log:
        "results/logs/figures/certification.log",
    localrule: True
    shell:
        "python -m aevb certification-figure --certification {input.table}"
        " --output results/figures/certification 2> {log}"


# last: where an estimator is wrong, table and figure are made before the whole ends with status 1
rule certified:
    input:
        certification="results/tables/certification.csv",
        before=["results/tables/html/certification.html", CERTIFICATION_FIGURE],
    output:
        "results/tables/certified.txt",
    log:
        "results/logs/tables/certified.log",
    retries: 0
    localrule: True
    shell:
        "python -m aevb certified --certification {input.certification} --output {output} 2> {log}"
