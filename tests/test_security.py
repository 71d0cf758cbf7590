"""What the suite never does, read off its source: so that whoever adds it meets a test."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aevb import data, labels, provenance
from workflows import SMOKE_DIGITS, snakemake, succeeded

ROOT = Path(__file__).parents[1]
SOURCES = [path for code in ("src", "benchmarks", "studies") for path in sorted((ROOT / code).rglob("*.py"))]
UNPICKLING = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# calls that unpickle, run text as a program, or make objects from YAML
FORBIDDEN = {"torch.load", "pd.read_pickle", "np.lib.format.read_array", "yaml.unsafe_load", "yaml.full_load"}
FORBIDDEN |= {"eval", "exec", "os.system", "os.popen", "tempfile.mktemp"}
FORBIDDEN |= {"sklearn.datasets.fetch_openml", "scipy.io.loadmat", "requests.get", "urllib.request.urlopen"}


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def problems(text: str) -> list[str]:
    """What in a module's text is forbidden."""
    found = []
    for node in ast.walk(tree := ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [f"imports {name}" for name in names if name.split(".")[0] in UNPICKLING]
    for call in calls(tree):
        name = ast.unparse(call.func)
        words = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if name in FORBIDDEN:
            found.append(name)
        if name == "yaml.load" and words.get("Loader") != "_UniqueKeys":
            found.append("yaml.load")
        if name.endswith("np.load") and words.get("allow_pickle") != "False":
            found.append("np.load")
        if (
            words.get("shell") == "True"
            or words.get("verify") == "False"
            or words.get("trust_repo") == "True"
        ):
            found.append(f"{name}({words})")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unpickles_or_runs_what_it_reads(path):
    assert problems(path.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        *("import pickle", "from pickle import loads", "import joblib.numpy_pickle", "torch.load(path)"),
        *("np.load(path)", "np.load(path, allow_pickle=True)", "yaml.load(text)", "eval(text)"),
        *("yaml.load(text, Loader=yaml.Loader)", "subprocess.run(text, shell=True)"),
        "session.get(address, verify=False)",
    ],
)
def test_the_reading_of_the_source_finds_what_is_forbidden(text):
    assert problems(text)


def test_the_yaml_loader_makes_no_objects():
    tree = ast.parse((ROOT / "src/aevb/strict_yaml.py").read_text())
    [loader] = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert [ast.unparse(base) for base in loader.bases] == ["yaml.SafeLoader"]


def test_every_address_is_https_with_a_digest_and_a_size():
    known = [*data.DATASETS.values(), *labels.SOURCES.values()]
    files = [file for dataset in known for file in dataset.files]
    assert len(files) == 5
    for file in files:
        assert all(mirror.startswith("https://") for mirror in file.mirrors)
        assert len(file.sha256) == 64
        assert file.size > 0


# ------------------------------------------------------------------------------ what is loaded, and where is written

SPY = "from pathlib import Path\nPath({marker!r}).touch()\n"


def test_an_estimator_is_imported_by_jobs_that_train_it_and_planning_only_reads_it(source, tmp_path):
    mine, marker = tmp_path / "mine.py", tmp_path / "imported"
    mine.write_text(
        SPY.format(marker=str(marker)) + "def build(model, optimiser, n_train):\n    return None\n"
    )
    succeeded(snakemake(source, tmp_path, "--dry-run", "compare", config=[*SMOKE_DIGITS, f"add={mine}"]))
    succeeded(snakemake(source, tmp_path, "results/data/digits.npz", config=SMOKE_DIGITS))
    assert not marker.exists()
    conformance = "results/conformance/mine.txt"
    snakemake(source, tmp_path, conformance, config=[*SMOKE_DIGITS, f"add={mine}"])
    assert marker.exists()


def test_a_module_that_lies_in_the_work_folder_is_not_taken_for_a_librarys(source, tmp_path):
    for name in ("random", "torch", "aevb", "yaml"):
        (tmp_path / f"{name}.py").write_text(SPY.format(marker=str(tmp_path / f"{name} imported")))
    succeeded(snakemake(source, tmp_path, "results/data/digits.npz", config=SMOKE_DIGITS))
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith("imported")] == []


def test_a_dotted_name_is_found_from_here_after_all_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "package").mkdir()
    (tmp_path / "package/ours.py").write_text("def build(model, optimiser, n_train):\n    return None\n")
    code = "from aevb import estimators; print(estimators.load('ours', 'package.ours').__name__)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "build\n"
    before = list(sys.path)
    assert provenance.estimator("ours", "package.ours") == str(tmp_path / "package/ours.py")
    assert provenance.estimator("ours", "package.ours") == str(tmp_path / "package/ours.py")
    assert sys.path == [*before, str(tmp_path)]


CACHES = {
    "snakemake",
    "matplotlib",
    "fontconfig",
}  # of libraries, below the user's cache folder; of ours, none


def test_nothing_is_written_outside_the_work_folder(source, tmp_path):
    """A whole small run with a home, a cache and a place for temporary files of its own."""
    outside = {name: tmp_path / name for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TMPDIR")}
    for folder in outside.values():
        folder.mkdir()
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*") if _is_kept(path)}
    environment = {name: str(folder) for name, folder in outside.items()}
    work = tmp_path / "work"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        succeeded(snakemake(source, work, "figure4", config=SMOKE_DIGITS))
    assert {path.name for path in outside["XDG_CACHE_HOME"].iterdir()} <= CACHES
    assert {path.name for path in outside["XDG_CONFIG_HOME"].iterdir()} <= CACHES
    assert list(outside["HOME"].iterdir()) == []
    assert [path for path in outside["TMPDIR"].rglob("*") if path.is_file()] == []
    assert {path: path.stat().st_mtime_ns for path in source.rglob("*") if _is_kept(path)} == before
    assert {path.name for path in work.iterdir()} == {".snakemake", "results"}


def _is_kept(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts and os.access(path, os.R_OK)
