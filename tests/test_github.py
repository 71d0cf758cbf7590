"""What the workflows of .github type is there to be typed."""

import re
import subprocess

import pytest
import yaml

from aevb import jobs
from workflows import ROOT, rule_names

FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
COMMANDS = [
    (path.name, step["run"])
    for path in FILES
    for job in yaml.safe_load(path.read_text())["jobs"].values()
    for step in job["steps"]
    if "run" in step
]
MAKEFILE = (ROOT / "Makefile").read_text()


def test_there_are_workflows():
    assert {path.name for path in FILES} == {"ci.yml", "release.yml"}
    assert {"ci.yml", "release.yml"} == {name for name, _ in COMMANDS}


@pytest.mark.parametrize(("file", "command"), COMMANDS)
def test_commands_are_shell_and_name_what_exists(file, command):
    plain = re.sub(r"\$\{\{.*?\}\}", "x", command)
    subprocess.run(["bash", "-n", "-c", plain], check=True)
    for target in re.findall(r"\bmake (\w+)", command):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
    for rule in re.findall(r"snakemake --cores all (\w+)", command):
        assert rule in rule_names()
    for job in re.findall(r"python -m aevb (\w+)", command):
        assert job in jobs.NAMES


def test_a_release_has_the_archive_that_the_page_installs():
    release = " ".join(command for name, command in COMMANDS if name == "release.yml")
    assert "results/release/laptop.tar" in release
    options = "--store-root results/.cells"
    assert re.search(rf"python -m aevb install --archive \S+ {options}", release)
    page = " ".join((ROOT / "docs/scaling.md").read_text().split())
    assert f"python -m aevb install --archive FILE {options}" in page
