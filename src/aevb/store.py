"""Runs on disk: content-addressed, atomic, resumable.

    {root}/{digest of all that the numbers depend on}/seed{S}/
        lock                            held while a process trains this run
        checkpoint.safetensors          the newest state, curve and counters
        checkpoint.previous.safetensors the one before
        weights-{samples}.safetensors   weights kept at a report point

Snakemake deletes a job's declared outputs before it starts and after it fails, so what must survive lives here,
undeclared. A file is written beside its target, flushed, and moved over it; each carries the digest of its content.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
from torch import Tensor

from aevb import UserError


class Record(NamedTuple):
    """Named tensors with what goes beside them (JSON values)."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


def run_digest(**identity: Any) -> str:
    """The content address of a run: a digest of everything that its numbers depend on."""
    text = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class RunStore:
    """One run's folder: the checkpoints and weights of one seed with one step size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._checkpoint = self.folder / "checkpoint.safetensors"
        self._previous = self.folder / "checkpoint.previous.safetensors"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run: a second process that wants to train it waits until the first is done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def save_checkpoint(self, record: Record) -> None:
        """Write a new checkpoint; the present one becomes the previous one."""
        new = _write_beside(self._checkpoint, record)
        if _intact(self._checkpoint):  # a damaged one must not take the place of the one before
            os.replace(self._checkpoint, self._previous)
        _move(new, self._checkpoint)

    def load_checkpoint(self) -> Record | None:
        """The newest intact checkpoint, or None when the run has not begun.

        Raises UserError when there are checkpoints and none is intact.
        """
        broken = []
        for path in (self._checkpoint, self._previous):
            try:
                return _read(path)
            except FileNotFoundError:
                continue
            except ValueError as error:
                broken.append(f"  {path}: {error}")
        if broken:
            raise UserError(
                "No checkpoint of this run is intact:\n"
                + "\n".join(broken)
                + f"\nMove {self.folder} away to train this run anew."
            )
        return None

    def save_weights(self, samples: int, record: Record) -> None:
        path = self._weights(samples)
        _move(_write_beside(path, record), path)

    def load_weights(self, samples: int) -> Record | None:
        """The weights kept at that report point, or None.

        Raises UserError when the file is damaged.
        """
        path = self._weights(samples)
        try:
            return _read(path)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise UserError(f"{path}: {error}. Move {self.folder} away to train this run anew.") from None

    def _weights(self, samples: int) -> Path:
        return self.folder / f"weights-{samples}.safetensors"


def _content_digest(tensors: dict[str, Tensor], meta: str) -> str:
    digest = hashlib.sha256(meta.encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def _write_beside(path: Path, record: Record) -> Path:
    tensors = {name: value.detach().cpu().contiguous() for name, value in record.tensors.items()}
    meta = json.dumps(record.meta)
    content = safetensors.torch.save(tensors, {"meta": meta, "digest": _content_digest(tensors, meta)})
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise UserError(f"Cannot write {path}: {error.strerror}. The previous state is intact.") from None
    return beside


def _move(beside: Path, path: Path) -> None:
    os.replace(beside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> Record:
    """Raises FileNotFoundError, or ValueError when the content does not match its digest."""
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        with safetensors.safe_open(path, framework="pt") as handle:
            header = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(f"damaged ({error})") from None
    if "meta" not in header or _content_digest(tensors, header["meta"]) != header.get("digest"):
        raise ValueError("damaged (its content does not match its digest)")
    return Record(tensors, json.loads(header["meta"]))


def _intact(path: Path) -> bool:
    try:
        _read(path)
    except (FileNotFoundError, ValueError):
        return False
    return True


def export_weights(path: Path, record: Record) -> None:
    """Copy weights out of the store to a job's declared output."""
    _move(_write_beside(path, record), path)


def read_weights(path: Path) -> Record:
    """Read exported weights.

    Raises UserError when the file is missing or damaged.
    """
    try:
        return _read(path)
    except (FileNotFoundError, ValueError) as error:
        raise UserError(f"{path}: {error}. Run the cell's training again.") from None
