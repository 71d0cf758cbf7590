"""docs/paper.md: its files are there, they cite what it says they hold, and its example runs."""

import re

import pytest

from workflows import ROOT, rule_names

PAGE = (ROOT / "docs/paper.md").read_text()
PACKAGE, TESTS = ROOT / "src/aevb", ROOT / "tests"
ROWS = re.findall(
    r"^\| ((?:section|eq\.|Algorithm|Figure|Appendix).*?) \| .*? \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE
)


def files(cell, folder):
    return [folder / name for name in re.findall(r"`([^`]+\.py)`", cell)]


def cites(text, reference):
    """Whether a text names a section, equation, algorithm, figure or appendix, be it as the second of two."""
    kind, number = reference.split(" ")
    kind = {"Figure": "Fig(ure|\\.)", "eq.": "eq\\."}.get(kind, kind)
    return re.search(rf"(?i)\b{kind}s? ([\w.]+ and )?{re.escape(number)}(?![.\d]*\d)", text) is not None


def test_there_is_a_row_for_every_part_of_the_paper():
    named = {reference for references, *_ in ROWS for reference in references.split(", ")}
    assert {f"Appendix {letter}" for letter in "ABCDEF"} <= named
    assert {f"eq. {n}" for n in (4, 6, 7, 8, 9, 10, 24)} <= named
    assert {"Figure 2", "Figure 3", "Algorithm 1", "section 2.2", "section 5"} <= named


@pytest.mark.parametrize(("references", "code", "held"), ROWS, ids=[row[0] for row in ROWS])
def test_files_are_there_and_cite_what_they_hold(references, code, held):
    assert files(code, PACKAGE)
    assert files(held, TESTS)
    for path in files(code, PACKAGE) + files(held, TESTS):
        assert path.exists(), path
    cited = {
        path.name: {reference for reference in references.split(", ") if cites(path.read_text(), reference)}
        for path in files(code, PACKAGE)
    }
    assert all(cited.values()), cited
    assert set.union(*cited.values()) == set(references.split(", "))


def test_a_file_that_does_not_cite_is_noticed():
    assert not cites("the KL divergence of Appendix B", "Appendix C")
    assert not cites("section 2.4", "section 2")
    assert not cites("eq. 70", "eq. 7")
    assert not cites("Figure 2", "Figure 3")
    assert cites("eq. 7 and 10", "eq. 10")
    assert cites("Figures 2 and 3", "Figure 3")
    assert cites("(Fig. 4)", "Figure 4")


def test_its_commands_name_rules():
    targets = re.findall(r"^\| [^|]* \| `(\w+)`", PAGE.split("## Questions")[1], re.MULTILINE)
    assert len(targets) == 7
    assert set(targets) <= rule_names()


def test_algorithm_1_by_hand(capsys):
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "docs/paper.md", "exec"), found := {})
    bound, exact = found["bound"].item(), found["exact"].item()
    x = found["test"] / found["digits"].scale
    mean = found["x"].mean(0).clamp(1e-6, 1 - 1e-6)
    without_z = (x * mean.log() + (1 - x) * (1 - mean).log()).sum(1).mean().item()
    assert without_z < bound < exact
    assert f"log p(x) {exact:.2f}" in capsys.readouterr().out
