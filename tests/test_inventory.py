"""What there is, is listed: targets and files of the workflow, and reference tables with what made them."""

import re

from workflows import ROOT, rule_names

REFERENCES = ROOT / "results/reference"
RULES = {path: path.read_text() for path in [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]}


def rules():
    """(name, body) of each rule."""
    for text in RULES.values():
        for part in re.split(r"^(?=(?:use )?rule )", text, flags=re.MULTILINE)[1:]:
            name = re.match(r"(?:use rule \w+ as|rule) (\w+)", part)[1]
            yield name, part


def spelled_out(text):
    """The words in backticks of a page, with {a,b} written out."""
    words = set()
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for word in re.findall(r"`([^`]+)`", text):
        brace = re.search(r"\{([^{}]*,[^{}]*)\}", word)
        options = brace[1].split(",") if brace else [""]
        words |= {word[: brace.start()] + one + word[brace.end() :] if brace else word for one in options}
    return words


def test_the_page_of_commands_has_every_target():
    page = (ROOT / "docs/reference.md").read_text()
    targets = {
        name for name, body in rules() if "    output:" not in body and not body.startswith("use rule")
    }
    assert {"all", "certify", "check", "bless", "readme", "benchmark"} <= targets
    commands = re.findall(r"^snakemake (?:--cores all)?(.*?)#", page, flags=re.MULTILINE)
    named = {word for command in commands for word in re.findall(r"[\w]+", command)}
    assert targets - named == {"all"}  # which is what snakemake makes if nothing is named


def test_the_page_of_files_has_every_table():
    listed = " ".join(spelled_out((ROOT / "docs/reference.md").read_text()))
    tables = {
        name for text in RULES.values() for name in re.findall(r"results/tables/(\w+\.(?:csv|txt))", text)
    }
    assert {"bounds.csv", "certification.csv", "benchmark_rounds.csv", "sound.txt"} <= tables
    assert {name for name in tables if f"results/tables/{name}" not in listed} == set()


def test_every_reference_is_listed_with_what_makes_it():
    page = (REFERENCES / "README.md").read_text()
    lines = re.findall(r"^\| (`.*?) \| .*? \| (.*) \|$", page, flags=re.MULTILINE)
    listed = [name for files, _ in lines for name in re.findall(r"`([^`]+)`", files)]
    there = {path.relative_to(REFERENCES).as_posix() for path in REFERENCES.rglob("*") if path.is_file()}
    assert sorted(listed) == sorted(there - {"README.md"})
    targets = rule_names()
    makefile = (ROOT / "Makefile").read_text()
    for _, makers in lines:
        for program, name in re.findall(r"`(snakemake|make|python) ([\w/.]+)", makers):
            known = {
                "snakemake": name in targets,
                "make": f"\n{name}:" in makefile,
                "python": (ROOT / name).exists(),
            }
            assert known[program], f"{program} {name}"
