"""Disks that are full: made up, at a chosen moment of an atomic write, and real ones."""

import errno
import io
import itertools
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aevb import UserError, files

MOMENTS = ("open", "write", "fsync", "move", "flush of the folder")


def no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Half(io.FileIO):
    """A file that takes half of what is written to it."""

    def write(self, content):
        super().write(content[: len(content) // 2])
        no_space()


def fill(patch: pytest.MonkeyPatch, moment: str, moves: int = 0) -> None:
    """Let the disk be full at that moment of `files.replace`; the first `moves` moves still succeed."""
    genuine_fsync, genuine_replace = os.fsync, os.replace
    moved = itertools.count()

    def fsync(descriptor):
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        return no_space() if folder == (moment == "flush of the folder") else genuine_fsync(descriptor)

    def replace(*paths):
        return genuine_replace(*paths) if next(moved) < moves else no_space()

    if moment in ("open", "write"):
        patch.setattr(files, "open", no_space if moment == "open" else Half, raising=False)
    elif moment == "move":
        patch.setattr(os, "replace", replace)
    else:
        patch.setattr(os, "fsync", fsync)


def check_failed_save(
    save: Callable[[Path], object], path: Path, patch: pytest.MonkeyPatch, moment: str
) -> None:
    """On a disk that is full then, saving over a file says so, and the file before is all that lies there."""
    path.write_bytes(b"old")
    fill(patch, moment)
    with pytest.raises(UserError, match=rf"Cannot write .*{re.escape(path.name)}: .*No space left"):
        save(path)
    assert path.read_bytes() == b"old"
    assert [found.name for found in path.parent.iterdir()] == [path.name]


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow beyond `size` bytes (EFBIG): no rights needed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))  # Python ignores the signal that comes with it
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def run_on_small_disk(code: str, disk: Path, *arguments: str) -> None:
    """Run `code` with a disk of 4 MB mounted at the folder `disk`, its argv[1], where nobody else sees it.

    Skips where this user may not mount: it takes Linux with user namespaces, or root.
    """
    private = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = 'mount -t tmpfs -o size=4m none "$1"'
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare, with which to mount a small disk")
    trial = subprocess.run([*private, mount, "sh", disk], capture_output=True, text=True)
    if trial.returncode:
        pytest.skip(f"this user may not mount a small disk: {trial.stderr.strip()}")
    script = f'{mount} && shift && exec "$@"'
    command = [*private, script, "sh", disk, sys.executable, "-c", code, disk, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def read_only(folder: Path, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `command` where nothing can be written below `folder`, not even by root; its output is one text.

    Skips where this user may not mount.
    """
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare, with which to mount a folder")
    private = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"'
    trial = subprocess.run([*private, mount, "sh", folder], capture_output=True, text=True)
    if trial.returncode:
        pytest.skip(f"this user may not mount a folder: {trial.stderr.strip()}")
    script = f'{mount} && shift && exec "$@"'
    return subprocess.run(
        [*private, script, "sh", folder, *command],
        **options,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
