"""studies/laptop_time.py: what of a folder is a job's time and what arithmetic; what docs/speed.md says of it."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest
import torch

import laptop_time
from aevb import markdown
from aevb.store import Record, RunStore

ROOT = Path(__file__).parents[1]
TABLE = pd.read_csv(ROOT / "results/reference/laptop_time.csv")


def noted(work, name, **note):
    file = work / ".snakemake/metadata" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"starttime": 100.0, "endtime": 110.0} | note))


def test_a_job_counts_once_however_many_files_it_made(tmp_path):
    for number, file in enumerate(("curve", "weights", "cell")):  # noted one after the other
        noted(tmp_path, file, rule="train", log=["a.log"], endtime=110.0 + number / 1e4)
    noted(tmp_path, "other", rule="train", log=["b.log"], endtime=105.0)
    assert sorted(laptop_time.jobs(tmp_path)["seconds"].round(2)) == [5.0, 10.0]


def test_runs_that_are_shown_were_trained_and_the_others_searched(tmp_path):
    for place, seconds in (("one/seed0", 5.0), ("one/seed1", 7.0), ("two/seed1000", 3.0)):
        store = RunStore(tmp_path / "results/.cells" / place)
        store.save_checkpoint(Record({"theta.w": torch.ones(1)}, {"device_seconds": seconds}))
    for seed in (0, 1):
        record = tmp_path / f"results/runs/cell/seed{seed}/cell.json"
        record.parent.mkdir(parents=True)
        record.write_text(json.dumps({"store": f"results/.cells/one/seed{seed}"}))
    assert laptop_time.trained_seconds(tmp_path) == {"train": 12.0, "step_size": 3.0}


def test_an_estimator_takes_its_seconds_a_point_times_its_points(tmp_path):
    table = tmp_path / "results/runs/cell/evidence.csv"
    table.parent.mkdir(parents=True)
    pd.DataFrame({"seconds_per_point": [0.5, 0.25], "n_points": [10, 4]}).to_csv(table)
    assert laptop_time.evidence_seconds(tmp_path) == 6.0


def test_what_no_job_has_is_left_of_all_cores_seconds(tmp_path, capsys):
    noted(tmp_path, "one", rule="evidence", log=["a.log"])
    noted(tmp_path, "two", rule="figure", log=["b.log"], endtime=104.0)
    (tmp_path / "results/runs").mkdir(parents=True)
    laptop_time.main(str(tmp_path), "20", "2")
    table = pd.read_csv(io.StringIO(capsys.readouterr().out)).set_index("what")
    assert table["seconds"].to_dict() == {"evidence": 10.0, laptop_time.OTHER: 4.0, "no job": 26.0}
    assert table["jobs"].tolist() == [1, 1, 0]


def test_the_page_shows_the_table_and_less_than_15_percent_is_no_arithmetic():
    text = (ROOT / "docs/speed.md").read_text(encoding="utf-8")
    assert markdown.insert_between_markers(text, "laptop-time", laptop_time.page(TABLE)) == text
    assert TABLE["arithmetic"].sum() > 0.85 * TABLE["seconds"].sum()
    assert TABLE["seconds"].sum() / 2 == pytest.approx(20 * 60 + 26, abs=1)  # the wall that the page names
