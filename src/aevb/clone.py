"""The clone that a reference is made in, and its commit."""

import subprocess
from pathlib import Path

from aevb import UserError

COMMITTED = ("src", "workflow", "Snakefile", "config.yaml", "requirements.lock", "pyproject.toml")


def commit(root: Path) -> str:
    """The commit that the clone at `root` is at.

    Raises UserError when it is no clone, or its code or configuration differ from the commit's.
    """
    try:
        changed = _git(root, "status", "--porcelain", "--", *COMMITTED)
        found = _git(root, "rev-parse", "HEAD").strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"A reference names the commit it was made at, and {root} is no git clone: {error}"
        ) from None
    if changed:
        raise UserError(
            f"A reference names the commit it was made at, and these differ from it:\n{changed}Commit them first."
        )
    return found


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
