# Section 5, "training": the step size chosen on training performance, then every seed of a cell as one stack.


rule step_size:
    input:
        points="results/data/{dataset}.npz",
        code=training_code,
    output:
        "results/runs/{dataset}/{estimator}/{sizes}/step_size.csv",
    log:
        "results/logs/step_size/{dataset}-{estimator}-{sizes}.log",
    benchmark:
        "results/benchmarks/step_size/{dataset}-{estimator}-{sizes}.tsv"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=2000,
        runtime=60,
    params:
        search=lambda wildcards: canonical(EXPERIMENTS.search(cell_of(wildcards))),
        device=EXPERIMENTS.device,
    shell:
        "python -m aevb step-size --search {params.search:q} --points {input.points} --store-root {STORE}"
        " --output {output} --device {params.device} --threads {threads} 2> {log}"


rule train:
    input:
        points="results/data/{dataset}.npz",
        step_sizes=rules.step_size.output,
        code=training_code,
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
        mem_mb=2000,
        runtime=1440,
    params:
        job=lambda wildcards: canonical(EXPERIMENTS.job(cell_of(wildcards))),
        device=EXPERIMENTS.device,
        folder="results/runs/{dataset}/{estimator}/{sizes}",
    shell:
        "python -m aevb train --job {params.job:q} --points {input.points} --step-sizes {input.step_sizes}"
        " --store-root {STORE} --output {params.folder} --device {params.device} --threads {threads} 2> {log}"
