# `snakemake check`: the paper's cells beside results/reference, and `snakemake bless`, which moves that.
# See docs/regression.md. Runs lie apart from the figures', with which they share the store.


rule check:
    input:
        "results/tables/html/regression.html",
        "results/tables/html/claims.html",
        regression="results/tables/regression.csv",
        claims="results/tables/claims.csv",
    log:
        "results/logs/check/verdict.log",
    retries: 0
    localrule: True
    shell:
        "python -m aevb verdict --regression-table {input.regression} --claims-table {input.claims} 2> {log}"


rule check_cell:
    input:
        promises_of,
        points="results/data/{dataset}.npz",
        step_sizes=step_size_of,
        references=lambda wildcards: accepted([wildcards.dataset]),
        code=checking_code,
    output:
        seeds="results/check/{dataset}/{estimator}/{sizes}/seeds.json",
        rows="results/check/{dataset}/{estimator}/{sizes}/rows.csv",
    log:
        "results/logs/check/{dataset}-{estimator}-{sizes}.log",
    benchmark:
        "results/benchmarks/check/{dataset}-{estimator}-{sizes}.tsv"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=MEMORY_MB,
        runtime=1440,
    params:
        job=lambda wildcards: canonical(gated()[0][path_of(wildcards)]),
        device=EXPERIMENTS.device,
        store=STORE,
    shell:
        "python -m aevb check --job {params.job:q} --known {input.references:q} --points {input.points}"
        " --step-sizes {input.step_sizes} --store-root {params.store} --seeds {output.seeds} --output {output.rows}"
        " --device {params.device} --threads {threads} 2> {log}"


rule measure:
    input:
        promises_of,
        points="results/data/{dataset}.npz",
        step_sizes=step_size_of,
        code=checking_code,
    output:
        "results/check/{dataset}/{estimator}/{sizes}/reference.json",
    log:
        "results/logs/check/measure-{dataset}-{estimator}-{sizes}.log",
    benchmark:
        "results/benchmarks/check/measure-{dataset}-{estimator}-{sizes}.tsv"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=MEMORY_MB,
        runtime=1440,
    params:
        job=lambda wildcards: canonical(EXPERIMENTS.check_job(cell_of(wildcards))),
        device=EXPERIMENTS.device,
        store=STORE,
    shell:
        "python -m aevb measure --job {params.job:q} --points {input.points} --step-sizes {input.step_sizes}"
        " --store-root {params.store} --output {output} --device {params.device} --threads {threads} 2> {log}"


rule regression:
    input:
        seeds=judged("seeds.json", lists=5),
        rows=judged("rows.csv", lists=5),
        paper=PAPER,
        code=sources("gate", "claims", "paper_comparison"),
    output:
        regression="results/tables/regression.csv",
        claims="results/tables/claims.csv",
    log:
        "results/logs/tables/regression.log",
    localrule: True
    params:
        figure2=as_json(EXPERIMENTS.cells("figure2"), lists=5),
        figure3=as_json(EXPERIMENTS.cells("figure3"), lists=5),
        unchecked=lambda wildcards: fitting([json.dumps(gated()[1])], lists=5)[0],
    shell:
        "python -m aevb regression-tables --judged {input.rows} --seeds {input.seeds} --paper {input.paper:q}"
        " --unchecked {params.unchecked:q}"
        " --figure2 {params.figure2:q} --figure3 {params.figure3:q} --output {output.regression}"
        " --claimed {output.claims} 2> {log}"


use rule html as regression_pages with:
    input:
        tables=["results/tables/regression.csv", "results/tables/claims.csv"],
        code=sources("pages"),
    output:
        [page("regression"), page("claims")],
    log:
        "results/logs/tables/regression_pages.log",


rule bless:
    input:
        with_reason(
            [f"results/check/{cell.path}/reference.json" for cell in PAPER_CELLS]
        ),
    log:
        "results/logs/check/bless.log",
    localrule: True
    params:
        scale=EXPERIMENTS.scale,
        reason=REASON,
        command=f"snakemake bless --config scale={EXPERIMENTS.scale} datasets={','.join(EXPERIMENTS.datasets)}"
        f" device={EXPERIMENTS.device}",
        root=str(ROOT),
    shell:
        "python -m aevb bless --runs {input} --scale {params.scale} --reason {params.reason:q}"
        " --command {params.command:q} --root {params.root:q} 2> {log}"


rule bless_golden:
    input:
        with_reason(["results/data/digits.npz"]),
    log:
        "results/logs/check/bless_golden.log",
    localrule: True
    params:
        reason=REASON,
        command="snakemake bless_golden",
        root=str(ROOT),
    shell:
        "python -m aevb bless-golden --points {input} --reason {params.reason:q} --command {params.command:q}"
        " --root {params.root:q} 2> {log}"


rule gate_nights:
    input:
        code=sources("nights"),
    output:
        "results/tables/gate_nights.csv",
    log:
        "results/logs/tables/gate_nights.log",
    params:
        nights=10_000,
    shell:
        "python -m aevb gate-nights --nights {params.nights} --output {output} 2> {log}"


rule regression_page:
    input:
        nights=str(BLESSED / "gate_nights.csv"),
        mutations=str(BLESSED / "mutations_smoke.csv"),
    log:
        "results/logs/check/regression_page.log",
    localrule: True
    params:
        page=str(ROOT / "docs/regression.md"),
    shell:
        "python -m aevb regression-page --nights-table {input.nights:q} --mutations {input.mutations:q}"
        " --page {params.page:q} 2> {log}"
