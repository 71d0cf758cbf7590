"""Runs on disk: content-addressed, atomic, resumable.

    {root}/{digest of all that the numbers depend on}/seed{S}/
        lock                            held while a process trains this run; names that process
        checkpoint.safetensors          the newest state, curve and counters
        checkpoint.previous.safetensors the one before
        weights-{samples}.safetensors   weights kept at a report point

Snakemake deletes a job's declared outputs before it starts and after it fails, so what must survive lives here,
undeclared. Each file is written atomically and carries the digest of its content; the same content is the same bytes.
"""

import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from aevb import UserError
from aevb.files import replace


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
        # whether the newest is worth keeping at the next save; known once this object has read or written it
        self._keep_newest: bool | None = None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run: a second process that wants to train it says so, and waits until the first is done.

        Raises UserError where the folder cannot be written or its file system has no locks.
        """
        with self._open_lock() as handle:
            self._acquire(handle)
            _sign(handle)
            self._sweep()
            yield

    def _open_lock(self) -> TextIO:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return open(self.folder / "lock", "a+")  # not "w": that would wipe out the holder's signature
        except OSError as error:
            raise UserError(
                f"Cannot write to {self.folder}: {error}. Mend its disk or permissions."
            ) from error

    def _acquire(self, handle: TextIO) -> None:
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(
                    f"Waiting for {_holder(handle)}, which trains {self.folder}", file=sys.stderr, flush=True
                )
                fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise UserError(
                f"Cannot lock {self.folder}: {error}. Put it on a file system with locks, such as a local disk."
            ) from error

    def _sweep(self) -> None:
        """Remove what killed processes left half-written: only the lock's holder writes here."""
        for temporary in self.folder.glob("*.tmp"):
            with suppress(OSError):
                temporary.unlink()

    def save_checkpoint(self, record: Record) -> None:
        """Write a new checkpoint; the present one becomes the previous one.

        Raises UserError when it cannot be written; what `load_checkpoint` finds is then as intact as before.
        """
        if self._keep_newest is None:
            self._keep_newest = _intact(self._checkpoint)
        # a damaged one must not take the place of the one before
        _write(self._checkpoint, record, keep=self._previous if self._keep_newest else None)
        self._keep_newest = True

    def load_checkpoint(self) -> Record | None:
        """The newest intact checkpoint, or None when the run has not begun.

        Raises UserError when there are checkpoints and none is intact.
        """
        broken = []
        for path in (self._checkpoint, self._previous):
            try:
                record = _read(path)
                self._keep_newest = path == self._checkpoint
                return record
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

    def load_previous(self) -> Record | None:
        """The checkpoint before the newest, or None when there is none that is intact."""
        try:
            return _read(self._previous)
        except (FileNotFoundError, ValueError):
            return None

    def step_back(self) -> None:
        """Go on from before the newest checkpoint: the next save replaces it and leaves the previous one."""
        self._keep_newest = False

    def save_weights(self, samples: int, record: Record) -> None:
        """Raises UserError when they cannot be written."""
        _write(self._weights(samples), record)

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
            raise UserError(
                f"{path}: {error}. Move {self.folder} away, and the run's cell.json below results/, to train it anew."
            ) from None

    def _weights(self, samples: int) -> Path:
        return self.folder / f"weights-{samples}.safetensors"


def _sign(handle: TextIO) -> None:
    """Write into a held lock who holds it, for those who wait; nothing depends on it."""
    with suppress(OSError):  # a full disk: whoever only reads a finished run needs no space
        os.ftruncate(handle.fileno(), 0)
        os.write(handle.fileno(), b"%d\n" % os.getpid())


def _holder(handle: TextIO) -> str:
    """Who signed the lock; nobody by number when that process has died and the holder has not signed yet."""
    handle.seek(0)
    signature = handle.read().strip()
    try:
        os.kill(int(signature), 0)
    except PermissionError:  # alive, and another user's
        pass
    except (ValueError, ProcessLookupError):
        return "another process"
    return f"process {signature}"


def _content_digest(tensors: dict[str, Tensor], meta: str) -> str:
    digest = hashlib.sha256(meta.encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())  # numpy does not know every type
    return digest.hexdigest()


def _write(path: Path, record: Record, keep: Path | None = None) -> None:
    tensors = {name: value.detach().cpu().contiguous() for name, value in record.tensors.items()}
    digest = _content_digest(tensors, json.dumps(record.meta))
    # one key only: safetensors writes several in an order of its own, another one in every process
    header = {"record": json.dumps({"meta": record.meta, "digest": digest})}
    replace(path, lambda stream: stream.write(safetensors.torch.save(tensors, header)), keep)


def _read(path: Path) -> Record:
    """Raises FileNotFoundError, ValueError when the content does not match its digest, and UserError when the file is
    there and cannot be read: whoever took that for no file would train anew over it."""
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        with safetensors.safe_open(path, framework="pt") as handle:
            header = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(f"damaged ({error})") from None
    except OSError as error:  # it says FileNotFoundError whatever the reason
        raise _unreadable(path, error) from error
    try:
        record = json.loads(header["record"])
        meta, digest = record["meta"], record["digest"]
    except (KeyError, TypeError, ValueError):
        raise ValueError("damaged (its header is not one of ours)") from None
    if _content_digest(tensors, json.dumps(meta)) != digest:
        raise ValueError("damaged (its content does not match its digest)")
    return Record(tensors, meta)


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path} is there and cannot be read: {error}. Nothing was changed: mend that (whose file is it, is its disk "
        "there?) and run again."
    )


def _intact(path: Path) -> bool:
    try:
        _read(path)
    except (FileNotFoundError, ValueError):
        return False
    return True


def export_weights(path: Path, record: Record) -> None:
    """Copy weights out of the store to a job's declared output.

    Raises UserError when they cannot be written.
    """
    _write(path, record)


def read_weights(path: Path) -> Record:
    """Read exported weights.

    Raises UserError when the file is missing or damaged.
    """
    try:
        return _read(path)
    except (FileNotFoundError, ValueError) as error:
        raise UserError(f"{path}: {error}. Run the cell's training again.") from None
