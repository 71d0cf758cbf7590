# `snakemake representation`: reconstruction, denoising, active units, and classes from neighbours in latent space. Not
# part of `all`: the paper claims these uses and measures none.
REPRESENTED = {cell.path: cell for cell in EXPERIMENTS.cells("figure2")}


rule representation:
    input:
        "results/tables/representation.csv",
        "results/tables/html/representation.html",
    localrule: True


rule labels:
    input:
        points="results/data/{dataset}.npz",
        code=[
            str(PACKAGE / f"{module}.py") for module in ("labels", "data", "download")
        ],
    output:
        "results/data/{dataset}_labels.npz",
    log:
        "results/logs/data/{dataset}_labels.log",
    localrule: True
    shell:
        "python -m aevb prepare-labels --dataset {wildcards.dataset} --points {input.points}"
        " --cache results/data/raw --output {output} 2> {log}"


rule represent:
    input:
        points="results/data/{dataset}.npz",
        labels=labels_of,
        weights=[
            f"results/runs/{{dataset}}/{{estimator}}/{{sizes}}/seed{seed}/weights.safetensors"
            for seed in EXPERIMENTS.seeds
        ],
        code=[*sources("representation", "processor", "streams"), job("represent")],
    output:
        "results/representation/{dataset}/{estimator}/{sizes}.csv",
    log:
        "results/logs/representation/{dataset}-{estimator}-{sizes}.log",
    benchmark:
        "results/benchmarks/representation/{dataset}-{estimator}-{sizes}.tsv"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=MEMORY_MB,
        runtime=60,
    params:
        job=lambda wildcards: canonical(
            EXPERIMENTS.job(REPRESENTED[path_of(wildcards)])
        ),
        device=EXPERIMENTS.device,
    shell:
        "python -m aevb represent --job {params.job:q} --points {input.points} --labels {input.labels}"
        " --weights {input.weights} --output {output} --device {params.device} --threads {threads} 2> {log}"


rule yardstick:
    input:
        points="results/data/{dataset}.npz",
        labels=labels_of,
        code=[*sources("representation", "processor", "streams"), job("represent")],
    output:
        "results/representation/{dataset}/n{n_train}.csv",
    log:
        "results/logs/representation/{dataset}-n{n_train}.log",
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=MEMORY_MB,
        runtime=60,
    params:
        device=EXPERIMENTS.device,
    shell:
        "python -m aevb yardstick --dataset {wildcards.dataset} --n-train {wildcards.n_train} --points {input.points}"
        " --labels {input.labels} --output {output} --device {params.device} --threads {threads} 2> {log}"


rule representation_table:
    input:
        cells=of_section(
            "figures.figure2",
            REPRESENTED,
            listed([f"results/representation/{path}.csv" for path in REPRESENTED]),
        ),
        yardsticks=sorted(
            {
                f"results/representation/{cell.dataset}/n{cell.n_train}.csv"
                for cell in REPRESENTED.values()
            }
        ),
        code=sources("representation_table"),
    output:
        "results/tables/representation.csv",
    log:
        "results/logs/tables/representation.log",
    localrule: True
    shell:
        "python -m aevb representation-table --cells {input.cells} --yardsticks {input.yardsticks}"
        " --output {output} 2> {log}"


use rule html as representation_page with:
    input:
        tables="results/tables/representation.csv",
        code=sources("pages"),
    output:
        page("representation"),
    log:
        "results/logs/tables/representation_page.log",
