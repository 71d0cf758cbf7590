"""Jobs as separate processes that a cluster's submit command starts; a real Slurm is tested by `make test-slurm`."""

import re

import yaml

from workflows import ROOT, RUN, SMOKE_DIGITS, assert_same_weights, snakemake, succeeded


def test_jobs_that_a_submit_command_starts_give_the_same_bytes(digits, source, tmp_path):
    """cluster-generic, with a shell for a scheduler: each job is another snakemake, which reads everything anew."""
    for name in ("yaml", "random", "torch"):  # nothing that lies there is taken for a library's
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the work folder')\n")
    scheduler = tmp_path / "submit.sh"
    scheduler.write_text('echo "$1" >> submitted.txt && bash "$1"\n')
    command = f"bash {scheduler}"
    submit = ["--executor", "cluster-generic", "--cluster-generic-submit-cmd", command, "--jobs", "2"]
    succeeded(snakemake(source, tmp_path, "figure4", *submit, config=SMOKE_DIGITS))
    submitted = (tmp_path / "submitted.txt").read_text().splitlines()
    assert len(submitted) == 2  # the search and the training; the rest is too small for a queue
    assert (tmp_path / "results/figures/figure4.svg").exists()
    assert_same_weights(tmp_path, digits)


def test_a_gpu_is_asked_for_by_name_where_the_login_node_has_none(source, tmp_path):
    """`device: auto` looks at this machine; on a cluster one says cuda."""
    said = succeeded(snakemake(source, tmp_path, "--dry-run", RUN, config=[*SMOKE_DIGITS, "device=cuda"]))
    assert said.count("gpu=1") == 2
    said = succeeded(snakemake(source, tmp_path, "--dry-run", RUN, config=[*SMOKE_DIGITS, "device=cpu"]))
    assert said.count("gpu=0") == 2


def test_the_page_has_every_rule_that_asks_for_a_gpu():
    text = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    bodies = dict(re.findall(r"^rule (\w+):\n((?:    .*\n|\n)*)", text, re.MULTILINE))
    asking = {name for name, body in bodies.items() if "gpu=GPU" in body}
    asking |= {
        new for old, new in re.findall(r"^use rule (\w+) as (\w+) with", text, re.MULTILINE) if old in asking
    }
    [row] = re.findall(r"^\| a partition for GPUs .*", (ROOT / "docs/scaling.md").read_text(), re.MULTILINE)
    assert len(asking) > 10
    assert asking == {name for name in asking if re.search(rf"\b{name}\b", row)}


def test_profiles_say_how_and_where_and_never_what():
    for path in sorted((ROOT / "profiles").glob("*/profile.yaml")):
        said = yaml.safe_load(path.read_text())
        assert not {"config", "configfile", "configfiles", "set-threads"} & set(said), path
    assert {path.name for path in (ROOT / "profiles").iterdir()} == {"default", "slurm"}
