# Section 5, "training": the step size chosen on training performance, then every seed of a cell as one stack.


# `snakemake trained`: every run of the figures, and nothing that collects them
rule trained:
    input:
        runs(PAPER_CELLS, "cell.json"),
    localrule: True


rule conform:
    input:
        code=training_code,
    output:
        "results/conformance/{estimator}.txt",
    log:
        "results/logs/conformance/{estimator}.log",
    params:
        cell=lambda wildcards: canonical(
            next(
                cell
                for cell in CELLS.values()
                if cell.estimator == wildcards.estimator
            )
        ),
    shell:
        "python -m aevb conform --cell {params.cell:q} --output {output} 2> {log}"


rule step_size:
    input:
        promises_of,
        points="results/data/{dataset}.npz",
        code=lambda wildcards: [*training_code(wildcards), job("compute")],
    output:
        "results/step_sizes/{dataset}/{estimator}/{sizes}.csv",
    log:
        "results/logs/step_size/{dataset}-{estimator}-{sizes}.log",
    benchmark:
        "results/benchmarks/step_size/{dataset}-{estimator}-{sizes}.tsv"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=MEMORY_MB,
        runtime=60,
    params:
        search=lambda wildcards: canonical(SEARCHES[path_of(wildcards)]),
        device=EXPERIMENTS.device,
        store=STORE,
    shell:
        "python -m aevb step-size --search {params.search:q} --points {input.points} --store-root {params.store}"
        " --output {output} --device {params.device} --threads {threads} 2> {log}"


rule train:
    input:
        promises_of,
        points="results/data/{dataset}.npz",
        step_sizes=step_size_of,
        code=lambda wildcards: [*training_code(wildcards), *sources("floor")],
    output:
        [
            f"results/runs/{{dataset}}/{{estimator}}/{{sizes}}/seed{seed}/{file}"
            for seed in EXPERIMENTS.seeds
            for file in ("curve.csv", "weights.safetensors", "cell.json")
        ],
    log:
        "results/logs/train/{dataset}-{estimator}-{sizes}.log",
    benchmark:
        "results/benchmarks/train/{dataset}-{estimator}-{sizes}.tsv"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=MEMORY_MB,
        runtime=1440,
    params:
        job=lambda wildcards: canonical(EXPERIMENTS.job(cell_of(wildcards))),
        device=EXPERIMENTS.device,
        store=STORE,
        folder=lambda wildcards, output: Path(output[0]).parents[1],
    shell:
        "python -m aevb train --job {params.job:q} --points {input.points} --step-sizes {input.step_sizes}"
        " --store-root {params.store} --output {params.folder} --device {params.device} --threads {threads} 2> {log}"


# `snakemake release`: what is trained, for others to draw every figure from; `python -m aevb install` takes it
rule release:
    input:
        f"results/release/{EXPERIMENTS.scale}.tar",
    localrule: True


rule archive:
    input:
        runs=listed(first_runs(PAPER_CELLS, "cell.json")),
        points=expand("results/data/{dataset}.npz", dataset=EXPERIMENTS.datasets),
        code=[str(PACKAGE / "release.py"), job("share")],
    output:
        rules.release.input,
    log:
        f"results/logs/release/{EXPERIMENTS.scale}.log",
    localrule: True
    params:
        searches=as_json(searches_of(PAPER_CELLS).values()),
        store=STORE,
    shell:
        "python -m aevb release --runs {input.runs} --searches {params.searches:q} --points {input.points}"
        " --store-root {params.store} --output {output} 2> {log}"
