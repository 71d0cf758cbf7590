"""provenance.py: which edits make a stored run another run."""

import ast
import shutil

import pytest

from aevb import UserError, algorithms, imports, provenance


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package that may be edited."""
    copy = tmp_path / "aevb"
    shutil.copytree(imports.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(imports, "PACKAGE", copy)
    return copy


def edit(path, old, new):
    text = path.read_text()
    assert old in text, f"{path} no longer contains {old!r}"
    path.write_text(text.replace(old, new, 1))


def test_the_digest_does_not_depend_on_where_the_package_lies(tmp_path, monkeypatch):
    before = provenance.numerics_digest("estimators/mcem")
    shutil.copytree(imports.PACKAGE, tmp_path / "elsewhere")
    monkeypatch.setattr(imports, "PACKAGE", tmp_path / "elsewhere")
    assert provenance.numerics_digest("estimators/mcem") == before


EDITS = {
    "comment": ("distributions.py", "LOG_2PI =", "# a comment\nLOG_2PI ="),
    "module docstring": ("distributions.py", "The two distributions", "Both distributions"),
    "method docstring": ("distributions.py", '"""x in {0, 1}', '"""Pixels in {0, 1}'),
    "layout": ("models.py", "INITIAL_STD = 0.01", "INITIAL_STD  =  0.01"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_of_words_keeps_the_digest(package, name):
    before = provenance.numerics_digest("estimators/aevb")
    file, old, new = EDITS[name]
    edit(package / file, old, new)
    assert provenance.numerics_digest("estimators/aevb") == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("distributions.py", "2 * math.pi", "2.1 * math.pi"),
        ("optimisers.py", "eps: float = 1e-8", "eps: float = 1e-6"),
        ("estimators/aevb.py", "- q.kl()", "+ q.kl()"),
        ("estimators/__init__.py", "value.sum()", "2 * value.sum()"),
        ("schedule.py", "10_000", "20_000"),
        ("training.py", '"weights"', '"Weights"'),  # the key of a random stream
        ("engine.py", '"noise"', '"Noise"'),
        ("recording.py", "for n, tensor in", "for m, tensor in"),
    ],
)
def test_an_edit_of_code_changes_the_digest(package, file, old, new):
    before = provenance.numerics_digest("estimators/aevb")
    edit(package / file, old, new)
    assert provenance.numerics_digest("estimators/aevb") != before


def test_an_edit_of_one_algorithm_leaves_the_runs_of_another_alone(package):
    before = {
        name: provenance.numerics_digest(f"estimators/{name}") for name in ("aevb", "mcem", "wake_sleep")
    }
    edit(package / "hmc.py", "0.5 * eps", "0.6 * eps")
    edit(package / "estimators/wake_sleep.py", "def sleep", "def asleep")
    after = {name: provenance.numerics_digest(f"estimators/{name}") for name in before}
    assert {name for name in before if before[name] != after[name]} == {"mcem", "wake_sleep"}


def test_an_edit_of_plumbing_changes_no_run(package):
    before = provenance.numerics_digest("estimators/aevb")
    edit(package / "store.py", "[:24]", "[:20]")
    assert provenance.numerics_digest("estimators/aevb") == before


def test_a_runs_address_does_not_depend_on_what_a_later_python_adds_to_a_syntax_tree(tmp_path):
    """Python 3.12 gives every function and class an empty list of type parameters."""
    path = tmp_path / "one.py"
    path.write_text("class A:\n    def b(self, c, *, d=None):\n        return [c, {d: ()}, f'{c!r}']\n")
    tree = ast.parse(path.read_text())
    before = provenance._dump(tree)
    assert before == provenance._code(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            node.type_params = []
            node._fields = (*node._fields, "type_params")
    assert "type_params=[]" in ast.dump(tree)
    assert provenance._dump(tree) == before
    for old, new in (("b(", "e("), ("[c, ", "["), ("d=None", "d=0"), ("!r", "")):
        path.write_text(path.read_text().replace(old, new))
        changed = provenance._code(path)
        assert changed != before
        before = changed


# ---------------------------------------------------------------------------------------- the reader's own files

MINE = "from aevb.estimators.aevb import elbo\n\n\ndef build(model, optimiser, n_train, n_samples=1):\n    return 1\n"


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "my file" / "mine.py"
    path.parent.mkdir()
    path.write_text(MINE)
    return path


def test_a_file_of_the_readers_is_addressed_by_its_code_and_by_what_it_imports_from_the_suite(mine, tmp_path):
    module = provenance.estimator("mine", str(mine))
    assert module == str(mine)
    assert algorithms.settings_of(module, "build") == {"n_samples": 1}
    assert {str(mine), "estimators/aevb", "models"} <= set(imports.modules(module))
    before = provenance.numerics_digest(module)
    elsewhere = tmp_path / "mine.py"
    elsewhere.write_text("# a comment\n" + MINE)
    assert provenance.numerics_digest(str(elsewhere)) == before
    elsewhere.write_text(MINE.replace("return 1", "return 2"))
    assert provenance.numerics_digest(str(elsewhere)) != before


@pytest.mark.parametrize(
    "statement",
    [
        "import aevb.hmc",
        "import math, aevb.hmc as hmc",
        "from aevb import hmc",
        "from aevb.hmc import transition",
    ],
)
def test_however_a_file_imports_a_module_of_the_suite_the_runs_depend_on_it(mine, package, statement):
    mine.write_text(f"{statement}\n{MINE}")
    before = provenance.numerics_digest(str(mine))
    edit(package / "hmc.py", "0.5 * eps", "0.6 * eps")
    assert provenance.numerics_digest(str(mine)) != before


def test_a_module_of_a_package_is_addressed_with_the_code_beside_it(tmp_path, monkeypatch):
    package = tmp_path / "mine_of_package"
    package.mkdir()
    for name, text in {"__init__": "", "method": MINE, "helpers": "ONE = 1\n"}.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    module = provenance.estimator("method", "mine_of_package.method")
    before = provenance.numerics_digest(module)
    (package / "helpers.py").write_text("ONE = 2\n")
    assert provenance.numerics_digest(module) != before


def test_what_does_not_exist_is_refused_by_name(tmp_path):
    for source, words in {
        str(tmp_path / "none.py"): "There is no estimator at",
        "no_such_package.method": "no module no_such_package.method",
        "": "There is no estimator 'mine'. Known ones: aevb",
    }.items():
        with pytest.raises(UserError, match=words):
            provenance.estimator("mine", source)


@pytest.mark.parametrize("text", ["raise RuntimeError('out of order')", "def broken(:"])
def test_a_module_whose_package_cannot_be_imported_is_refused_by_name(tmp_path, monkeypatch, text):
    folder = tmp_path / f"spoilt{len(text)}"  # a name that nothing has imported
    folder.mkdir()
    (folder / "__init__.py").write_text(text)
    (folder / "mine.py").write_text("def build(model, optimiser, n_train):\n    return None\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        UserError, match=f"{folder.name}.mine, an estimator, cannot be imported: (Runtime|Syntax)Err"
    ):
        provenance.estimator("mine", f"{folder.name}.mine")
