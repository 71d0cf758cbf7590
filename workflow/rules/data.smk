# Section 5, "data": downloaded, verified, split.


rule data:
    input:
        code=[str(PACKAGE / "data.py"), str(PACKAGE / "download.py")],
    output:
        "results/data/{dataset}.npz",
    log:
        "results/logs/data/{dataset}.log",
    localrule: True
    shell:
        "python -m aevb prepare-data --dataset {wildcards.dataset} --cache results/data/raw --output {output} 2> {log}"
