"""Files, written atomically: a reader sees the whole file or the one before it, whatever dies or fills up."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from aevb import UserError

if TYPE_CHECKING:
    import pandas as pd  # half a second, which checkpoints need not pay


def replace(path: Path, write: Callable[[BinaryIO], object], keep: Path | None = None) -> None:
    """Let `write` fill a file beside `path`, flush it to the disk and move it over `path`.

    keep: where the file that is at `path` now moves to, in the instant before.
    Raises: UserError where the disk or the permissions do not let it. Nothing half-written is left behind.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(beside, path)
    except OSError as error:
        raise UserError(
            f"Cannot write {path}: {error}. What was there before is intact. "
            "Free space there or mend its permissions."
        ) from error
    finally:
        with suppress(OSError):  # the temporary is moved or was never made; or its disk is beyond help
            beside.unlink()
    _flush_folder(path)


def require_writable(*folders: Path) -> None:
    """Raises UserError when one of the folders is there and cannot be written."""
    for folder in folders:
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(
                f"{folder.absolute()} cannot be written. Mend its permissions; or work elsewhere, "
                "`snakemake --directory FOLDER ...`, with a copy of results/ in that folder: what is trained stays "
                "trained."
            )


def _flush_folder(path: Path) -> None:
    """A move survives a loss of power only when the folder, which holds the names, is on the disk too."""
    try:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise UserError(
            f"Cannot flush {path.parent} to the disk: {error}. {path.name} is there and whole; after a loss of "
            "power the file before it, intact, may be back. Mend the disk."
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    replace(path, lambda stream: stream.write(content))


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_table(path: Path, frame: "pd.DataFrame") -> None:
    write_text(path, frame.to_csv(index=False))


def read_tables(paths: Iterable[Path]) -> "pd.DataFrame":
    """One table from several with the same columns, in their order.

    Raises UserError that names the path of what is no table.
    """
    import pandas as pd

    tables = []
    for path in paths:
        try:
            tables.append(pd.read_csv(path))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is no table ({type(error).__name__}: {error}).") from None
    filled = [table for table in tables if len(table)]  # one without rows has no types
    return pd.concat(filled or tables[:1], ignore_index=True)
