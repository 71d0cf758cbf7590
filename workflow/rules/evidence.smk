# log p(x): along training for Figure 3, at its end for Figures 2 and 3, by every estimator.


rule evidence:
    input:
        points="results/data/{dataset}.npz",
        runs=[
            f"results/runs/{{dataset}}/{{estimator}}/{{sizes}}/seed{seed}/cell.json"
            for seed in EXPERIMENTS.seeds
        ],
        code=[*sources("evidence/refused", *EVIDENCE_CODE), job("evidence")],
    output:
        "results/runs/{dataset}/{estimator}/{sizes}/evidence.csv",
    log:
        "results/logs/evidence/{dataset}-{estimator}-{sizes}.log",
    benchmark:
        "results/benchmarks/evidence/{dataset}-{estimator}-{sizes}.tsv"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=MEMORY_MB,
        runtime=240,
    params:
        job=lambda wildcards: canonical(EXPERIMENTS.evidence_job(cell_of(wildcards))),
        device=EXPERIMENTS.device,
    shell:
        "python -m aevb evidence --job {params.job:q} --points {input.points} --runs {input.runs}"
        " --output {output} --device {params.device} --threads {threads} 2> {log}"
