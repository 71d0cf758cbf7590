"""What the tests of data and download share: made-up remote files, and no way to another machine."""

import hashlib
import socket
from pathlib import Path

import pytest

from aevb import download
from aevb.download import RemoteFile


def remote(content: bytes, *mirrors: str, name: str = "tiny.bin") -> RemoteFile:
    mirrors = mirrors or ("http://unknown.invalid/",)
    return RemoteFile(name, len(content), hashlib.sha256(content).hexdigest(), mirrors)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(autouse=True)
def isolated(monkeypatch):
    """No mirror of the user's, no proxy, no waiting, and no name lookup beyond this machine."""
    lookup = socket.getaddrinfo

    def loopback_only(host, *args, **kwargs):
        if host != "127.0.0.1":
            raise socket.gaierror(f"a test looked up {host}")
        return lookup(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", loopback_only)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("AEVB_DATA_MIRROR", raising=False)
    monkeypatch.setattr(download, "BACKOFF", 0.01)
