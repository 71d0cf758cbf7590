"""imports.py: which modules a module depends on."""

from aevb import imports


def test_modules_are_followed_through_imports():
    ours = imports.modules("training", "estimators/aevb")
    assert {
        "training",
        "estimators/aevb",
        "models",
        "distributions",
        "optimisers",
        "bounds",
        "streams",
    } <= set(ours)
    assert "hmc" not in ours
    assert "store" not in ours
    assert "hmc" in imports.modules("training", "estimators/mcem")


def test_sources_are_the_files_of_the_modules():
    files = imports.sources("evidence/appendix_d")
    assert len(files) == len(imports.modules("evidence/appendix_d"))
    assert any(file.endswith("evidence/appendix_d.py") for file in files)
    assert any(file.endswith("hmc.py") for file in files)
