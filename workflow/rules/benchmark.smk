# Speed beside what one would pick instead. Not part of `all`: it takes the machine for itself, and `make benchmark`
# installs the peers first.
BENCHMARKS = ROOT / "benchmarks"
BENCHMARK_CODE = [
    *map(str, sorted(BENCHMARKS.rglob("*.py"))),
    *sources("training", "processor", "hmc"),
]
SPEED = report(
    "results/figures/benchmark.svg",
    caption="../report/benchmark.rst",
    category="Figures",
    labels={"figure": "benchmark"},
)


rule benchmark:
    input:
        "results/tables/benchmark.csv",
        "results/tables/benchmark_stacks.csv",
        "results/tables/benchmark_evidence.csv",
    localrule: True


rule benchmark_evidence:
    input:
        points="results/data/mnist.npz",
        program=str(BENCHMARKS / "evidence.py"),
        code=[*BENCHMARK_CODE, *sources(*EVIDENCE_CODE)],
    output:
        "results/tables/benchmark_evidence.csv",
    log:
        "results/logs/benchmark_evidence.log",
    threads: lambda wildcards: workflow.cores
    shell:
        "python {input.program:q} --points results/data --table {output} --threads {threads} 2> {log}"


rule benchmark_stacks:
    input:
        points=["results/data/mnist.npz", "results/data/frey.npz"],
        program=str(BENCHMARKS / "stacks.py"),
        code=BENCHMARK_CODE,
    output:
        "results/tables/benchmark_stacks.csv",
    log:
        "results/logs/benchmark_stacks.log",
    threads: lambda wildcards: workflow.cores
    resources:
        gpu=GPU,
    shell:
        "python {input.program:q} --points results/data --table {output} 2> {log}"


rule benchmark_peers:
    input:
        points=["results/data/mnist.npz", "results/data/frey.npz"],
        program=str(BENCHMARKS / "__main__.py"),
        code=BENCHMARK_CODE,
    output:
        table="results/tables/benchmark.csv",
        rounds="results/tables/benchmark_rounds.csv",
        figure=[SPEED, "results/figures/benchmark.pdf", "results/figures/benchmark.png"],
    log:
        "results/logs/benchmark.log",
    threads: lambda wildcards: workflow.cores
    shell:
        "python {input.program:q} --points results/data --table {output.table} --rounds-table {output.rounds}"
        " --figure results/figures/benchmark 2> {log}"
