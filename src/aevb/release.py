"""Trained runs as one file, for others to draw every figure from without training.

    weights.tar
        manifest.json                      what is in it, and what each run depended on
        {digest}/seed{S}/*.safetensors     the run's checkpoints and the weights it kept, as they lie in the store

A run is found again by its address, a digest of all that its numbers depend on. Put into the store of a clone of the
same code, it is therefore taken for trained; under other code it lies there unused.
"""

import hashlib
import io
import re
import tarfile
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

from aevb import UserError
from aevb.experiments import Strict
from aevb.files import replace, write_bytes
from aevb.store import RunStore

MANIFEST = "manifest.json"
# without the lock; with the checkpoint before, lest a run whose stack-mates are not here step back to its beginning
CHECKPOINTS = ("checkpoint.safetensors", "checkpoint.previous.safetensors")
KEPT = (*CHECKPOINTS, "weights-*.safetensors")


class Manifest(Strict):
    """What an archive holds: the cell.json of each run that a figure shows, and the sha256 of every file."""

    runs: tuple[dict[str, Any], ...]
    files: dict[str, str]


def pack(folders: Iterable[Path], runs: Sequence[dict[str, Any]], output: Path) -> Manifest:
    """Write the runs in these folders of a store, {digest}/seed{S}, to `output`: the same runs are the same bytes.

    runs: the content of each cell.json, for the manifest. Raises UserError when a folder has no checkpoint or
    `output` cannot be written.
    """
    paths = {
        f"{folder.parent.name}/{folder.name}/{path.name}": path
        for folder in folders
        for path in _kept(folder)
    }
    digests = {name: _sha256(path.read_bytes()) for name, path in sorted(paths.items())}
    manifest = Manifest(runs=tuple(runs), files=digests)

    def write(stream: BinaryIO) -> None:
        with tarfile.open(fileobj=stream, mode="w") as archive:
            _add(archive, MANIFEST, manifest.model_dump_json(indent=1).encode())
            for name in digests:
                _add(archive, name, paths[name].read_bytes())

    replace(output, write)
    return manifest


def unpack(archive: Path, store: Path) -> tuple[Manifest, list[str]]:
    """Put the runs of an archive into a store; what was new there comes back: {digest}/seed{S} of each.

    A run of which the store has a checkpoint stays as it is. Of a new one the checkpoints come last, so that one that
    was cut short is taken for new again. Runs are locked while they are written.

    Raises UserError, and leaves the store as it was, for an archive that is damaged or holds anything but runs.
    """
    try:
        with tarfile.open(archive, mode="r:") as opened:
            manifest = Manifest.model_validate_json(_content(opened, MANIFEST))
            for name, digest in manifest.files.items():
                _require_run(name)
                if _sha256(_content(opened, name)) != digest:
                    raise ValueError(f"{name} is not what the manifest says")
            new = [
                run
                for run, names in groupby(sorted(manifest.files, key=_checkpoints_last), run_of)
                if _put(opened, store, run, list(names))
            ]
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        raise UserError(f"{archive} is no whole archive of trained runs: {error}. Fetch it again.") from None
    return manifest, new


def run_of(name: str) -> str:
    """{digest}/seed{S} of a file's name."""
    return name.rsplit("/", 1)[0]


def _checkpoints_last(name: str) -> tuple[str, bool, str]:
    return run_of(name), name.endswith(CHECKPOINTS), name


def _put(archive: tarfile.TarFile, store: Path, run: str, names: Sequence[str]) -> bool:
    """Whether the run was new."""
    with RunStore(store / run).lock():
        new = not any((store / run / name).exists() for name in CHECKPOINTS)
        for name in names if new else ():
            write_bytes(store / name, _content(archive, name))
    return new


def _kept(folder: Path) -> list[Path]:
    if not any((folder / name).exists() for name in CHECKPOINTS):
        raise UserError(
            f"{folder} has no checkpoint, and without that run others would have to train. Move results/runs and "
            "results/step_sizes away and release again: what the store has is not trained again."
        )
    return [path for pattern in KEPT for path in folder.glob(pattern)]


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # without owner and time
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)
    if stream is None:
        raise KeyError(f"{name} is no file")
    return stream.read()


def _require_run(name: str) -> None:
    """Nothing may be written but where a store keeps a run."""
    if not re.fullmatch(r"[0-9a-f]+/seed\d+/(checkpoint(\.previous)?|weights-\d+)\.safetensors", name):
        raise ValueError(f"{name!r} is no file of a run")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
