"""records.py: a row for every run, and what runs have in common."""

from aevb import records


def test_costs_have_a_row_for_every_run():
    cell = dict.fromkeys(records.COSTS, 3) | {"versions": {"torch": "2"}}
    assert records.costs([cell, cell]).shape == (2, len(records.COSTS))
    assert records.costs([]).columns.tolist() == records.COSTS


def run(**changes):
    """What `records.provenance` reads of a cell.json."""
    versions = {"python": "3.11.9", "torch": "2.6.0"}
    cell = {"dataset": "mnist", "estimator": "aevb", "data": "d1", "numerics": "a1", "device": "cpu"}
    return cell | {"versions": versions, "seed": 0} | changes


def test_provenance_counts_the_runs_that_share_a_value():
    other = {"dataset": "frey", "estimator": "mcem", "data": "d2", "numerics": "m1", "device": "cuda"}
    table = records.provenance([run(), run(seed=1), run(**other)])
    assert table.columns.tolist() == ["item", "value", "runs"]
    assert sorted(table.itertuples(index=False, name=None)) == [
        ("data: frey", "d2", 1),
        ("data: mnist", "d1", 2),
        ("device", "cpu", 2),
        ("device", "cuda", 1),
        ("numerics: aevb", "a1", 2),
        ("numerics: mcem", "m1", 1),
        ("python", "3.11.9", 3),
        ("torch", "2.6.0", 3),
    ]


def test_provenance_shows_runs_of_different_software_apart():
    old = run(versions={"python": "3.11.9", "torch": "2.5.1"}, numerics="a0")
    table = records.provenance([run(), old]).set_index("item")["value"]
    assert sorted(table["torch"]) == ["2.5.1", "2.6.0"]
    assert sorted(table["numerics: aevb"]) == ["a0", "a1"]
    assert table["python"] == "3.11.9"


def test_no_runs_have_no_provenance():
    table = records.provenance([])
    assert table.empty
    assert table.columns.tolist() == ["item", "value", "runs"]
