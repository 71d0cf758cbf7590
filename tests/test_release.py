"""release.py: what was trained goes into one file and comes out of it as it was, or not at all."""

import io
import json
import shutil
import tarfile

import pytest

from aevb import UserError, provenance, release
from aevb.experiments import Job, Search
from aevb.jobs import compute, share
from helpers import CELL
from workflows import RUN, SMOKE_DIGITS, edited, snakemake, stored, succeeded, with_value

STORED = "0123456789abcdef01234567/seed0"
FILES = {
    "checkpoint.safetensors": b"c",
    "checkpoint.previous.safetensors": b"p",
    "weights-100.safetensors": b"w",
    "weights-20000.safetensors": b"ww",
}
NUMERICS = provenance.numerics_digest("estimators/aevb")


@pytest.fixture
def store(tmp_path):
    """Runs of three seeds, with what is not handed on."""
    root = tmp_path / "store"
    for seed in (0, 1, 1000):
        folder = root / STORED.replace("seed0", f"seed{seed}")
        folder.mkdir(parents=True)
        for name, content in FILES.items():
            (folder / name).write_bytes(content + str(seed).encode())
        (folder / "lock").write_text("1\n")
    return root


def two(store):
    """The folders that are packed of the store's."""
    return [store / STORED, store / STORED.replace("seed0", "seed1000")]


def cell(**changes):
    return {"estimator": "aevb", "seed": 0, "numerics": NUMERICS} | changes


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def test_what_was_packed_comes_out_as_it_was(store, tmp_path):
    archive = tmp_path / "runs.tar"
    release.pack(two(store), [cell()], archive)
    manifest, new = release.unpack(archive, tmp_path / "other")
    assert new == [STORED, STORED.replace("seed0", "seed1000")]
    expected = {name: text for name, text in content(store).items() if "seed1/" not in name}
    assert content(tmp_path / "other") == expected
    assert manifest.runs == (cell(),)


def test_the_same_runs_are_the_same_bytes(store, tmp_path):
    for name in ("a.tar", "b.tar"):
        release.pack([store / STORED], [cell()], tmp_path / name)
        for path in store.rglob("*.safetensors"):
            path.touch()
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_run_that_is_there_stays_as_it_is(store, tmp_path):
    archive = tmp_path / "runs.tar"
    release.pack(two(store), [cell()], archive)
    mine = tmp_path / "mine"
    (mine / STORED).mkdir(parents=True)
    (mine / STORED / "checkpoint.safetensors").write_bytes(b"further")
    _, new = release.unpack(archive, mine)
    assert new == [STORED.replace("seed0", "seed1000")]
    assert content(mine / STORED) == {"checkpoint.safetensors": b"further"}


def test_an_installation_that_was_cut_short_is_made_whole_by_the_next(store, tmp_path, monkeypatch):
    archive, mine = tmp_path / "runs.tar", tmp_path / "mine"
    release.pack([store / STORED], [cell()], archive)
    (mine / STORED).mkdir(parents=True)
    (mine / STORED / "lock").write_text("1\n")  # of a training that was killed before its first checkpoint
    write, written = release.write_bytes, []

    def full(path, text):
        if len(written) == 2:
            raise OSError("No space left on device")
        written.append(path.name)
        write(path, text)

    monkeypatch.setattr(release, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        release.unpack(archive, mine)
    assert sorted(written) == ["weights-100.safetensors", "weights-20000.safetensors"]
    monkeypatch.setattr(release, "write_bytes", write)
    assert release.unpack(archive, mine)[1] == [STORED]
    assert content(mine) == {name: text for name, text in content(store).items() if "seed0/" in name}


def test_a_run_that_the_store_has_lost_is_missed(store, tmp_path):
    lost = store / STORED.replace("seed0", "seed2")
    with pytest.raises(
        UserError, match="seed2 has no checkpoint, and without that run others would have to train"
    ):
        release.pack([*two(store), lost], [cell()], tmp_path / "runs.tar")
    assert not (tmp_path / "runs.tar").exists()


def test_a_release_has_its_runs_with_their_searches_and_nothing_else_of_the_store(tmp_path):
    """Not what older code, another scale or another data set has left there; and nothing of it is trained again."""
    points, archive = tmp_path / "digits.npz", tmp_path / "runs.tar"
    compute.prepare_data("digits", tmp_path, points)
    search = Search(cell=CELL, candidates=(0.02, 0.05), seeds=(1000,), samples=10_000)

    def train(folder, *seeds):
        place = {"points": points, "store_root": folder / "store", "device": "cpu", "threads": 1}
        compute.step_size(search, output=folder / "sizes.csv", **place)
        job = Job(cell=CELL, seeds=seeds, samples=10_000)
        compute.train(job, step_sizes=folder / "sizes.csv", output=folder / "runs", **place)
        return folder / "runs/seed0/cell.json"

    run = train(tmp_path / "giver", 0, 1)
    giver, taker = tmp_path / "giver/store", tmp_path / "taker/store"
    needed = {
        path.parent.relative_to(giver).as_posix() for path in giver.glob("*/seed*/checkpoint.safetensors")
    }
    needed = {name for name in needed if not name.endswith("/seed1")}
    for name in sorted(needed):
        shutil.copytree(giver / name, giver / f"{0:024}" / name.split("/")[1], dirs_exist_ok=True)
    share.release([run], [search], [points], giver, archive)
    assert {*release.unpack(archive, taker)[1]} == needed
    assert len(needed) == 3
    before = content(taker)
    train(tmp_path / "taker", 0)
    assert content(taker) == before


def forged(path, files, manifest=None):
    """An archive with these files, and a manifest that agrees unless one is given."""
    digests = {name: release._sha256(text) for name, text in files.items()}
    listed = manifest if manifest is not None else json.dumps({"runs": [], "files": digests}).encode()
    with tarfile.open(path, "w") as archive:
        for name, text in {release.MANIFEST: listed, **files}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    return path


@pytest.mark.parametrize(
    "name",
    [
        "../../x/checkpoint.safetensors",
        "/etc/passwd",
        f"{STORED}/lock",
        f"{STORED}/../checkpoint.safetensors",
        f"{STORED}/weights-1.safetensors/x",
        "abc/seed0/run.py",
    ],
)
def test_nothing_is_written_anywhere_but_where_runs_lie(tmp_path, name):
    archive = forged(tmp_path / "evil.tar", {f"{STORED}/checkpoint.safetensors": b"fine", name: b"evil"})
    with pytest.raises(UserError, match="is no file of a run"):
        release.unpack(archive, tmp_path / "deep" / "store")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.tar"]


def test_a_damaged_archive_is_refused_whole(store, tmp_path):
    archive = tmp_path / "runs.tar"
    release.pack(two(store), [cell()], archive)
    whole = archive.read_bytes()
    at = whole.index(b"ww1000")  # of the last file
    damages = [whole[: at - 600], whole[:at] + b"x" + whole[at + 1 :], b"", b"no archive", whole[:600]]

    def check(damaged):
        archive.write_bytes(damaged)
        with pytest.raises(UserError, match="is no whole archive of trained runs"):
            release.unpack(archive, tmp_path / "other")
        assert not (tmp_path / "other").exists()

    for damaged in damages:
        check(damaged)
    archive.write_bytes(whole)
    with pytest.raises(pytest.fail.Exception):
        check(whole)


@pytest.mark.parametrize(
    "manifest", [b"", b"{}", b'{"runs": [], "files": {"a": 1}}', b'{"files": {}, "runs": 3}']
)
def test_a_manifest_that_is_none_is_refused(tmp_path, manifest):
    with pytest.raises(UserError, match="is no whole archive"):
        release.unpack(forged(tmp_path / "a.tar", {}, manifest), tmp_path / "store")


def test_runs_of_other_code_are_told(store, tmp_path, capsys):
    archive = tmp_path / "runs.tar"
    release.pack([store / STORED], [cell(), cell(numerics="other"), cell(estimator="mine")], archive)
    share.install(archive, tmp_path / "a")
    assert "of 3 cells, 1 are of this code" in capsys.readouterr().out
    release.pack([store / STORED], [cell(numerics="other")], archive)
    with pytest.raises(UserError, match="was trained by other code than this"):
        share.install(archive, tmp_path / "b")


def test_figures_are_drawn_from_a_release_without_training(digits, source, tmp_path):
    """The first seeds of one folder, released, and installed into an empty one, where one seed is asked for."""
    giver, taker = shutil.copytree(digits, tmp_path / "giver"), tmp_path / "taker"
    succeeded(snakemake(source, giver, "release", config=SMOKE_DIGITS))
    taker.mkdir()
    share.install(giver / "results/release/smoke.tar", taker / "results/.cells")
    before = stored(taker)
    with edited(source / "config.yaml", with_value("scales.smoke.seeds", 1)):
        succeeded(snakemake(source, taker, "figure4", "step_sizes", config=SMOKE_DIGITS))
    assert stored(taker) == before
    assert (taker / RUN).read_bytes() == (digits / RUN).read_bytes()
