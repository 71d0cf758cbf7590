"""One intact file from a list of addresses, none of which is trusted.

pooch does the hashing, the temporary file and the renaming; this module adds what it lacks: several mirrors,
a total deadline, a size cap, and one error that says what each address did.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pooch
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from aevb import UserError

DEADLINE = 300.0  # seconds that one address gets in total, retries included
STALL = 20.0  # seconds that an address may stay silent
BACKOFF = 1.0  # urllib3's factor: the two retries of a transient status wait 0 and 2 seconds
TRANSIENT = (429, 500, 502, 503, 504)  # HTTP statuses that are worth another try


class RemoteFile(NamedTuple):
    """A file that public mirrors serve as `mirror + name`."""

    name: str
    size: int  # bytes
    sha256: str
    mirrors: tuple[str, ...]


def fetch(file: RemoteFile, cache: Path) -> Path:
    """Return the path of an intact `file` in the folder `cache`, downloading it if need be.

    The cache never holds a half-written file: pooch downloads beside it, checks the digest and renames, so
    two processes may fetch at once, and a damaged file stays until an intact one replaces it. An intact
    file is used without a look at the network, so the cache may then be read-only.

    Raises: UserError listing every address tried with its reason, or saying why `cache` is of no use.
    """
    reasons = []
    for address in _addresses(file):
        try:
            return Path(pooch.retrieve(address, file.sha256, file.name, cache, downloader=_downloader(file)))
        except ValueError as reason:  # the downloader's, or pooch's for a wrong digest
            reasons.append(f"  {address}\n    {' '.join(str(reason).split())}")
        except OSError as error:  # not the address: the disk
            raise UserError(
                f"Cannot use {cache} for {file.name}: {error}. Free space there or mend its permissions."
            ) from error
    raise UserError(
        f"No address served {file.name} ({file.size} bytes, sha256 {file.sha256}):\n"
        + "\n".join(reasons)
        + f"\nTo use a local copy, put {file.name} into a folder and set AEVB_DATA_MIRROR to that folder."
    )


def _addresses(file: RemoteFile) -> list[str]:
    mirrors = [f"{mirror}{file.name}" for mirror in file.mirrors]
    own = os.environ.get("AEVB_DATA_MIRROR", "")
    if not own:
        return mirrors
    base = own if "://" in own else Path(own).expanduser().absolute().as_uri()
    return [f"{base.rstrip('/')}/{file.name}", *mirrors]


def _downloader(file: RemoteFile) -> Callable[[str, str, object], None]:
    """A downloader for pooch, which keeps the hashing, the temporary file and the renaming.

    pooch's own HTTPDownloader has a timeout between two packets only, so a server that drips bytes holds it
    for ever, and it writes whatever arrives, however much. This one has a total deadline and a size cap.
    Whatever goes wrong at the address is a ValueError; an OSError can therefore only be the disk.
    """

    def download(address: str, output_file: str, _: object) -> None:
        try:
            content = _within(DEADLINE, lambda: _read(address, file.size + 1))
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        if len(content) != file.size:
            found = f"{len(content)} bytes" if len(content) < file.size else "more"
            raise ValueError(f"served {found}, not {file.size} bytes; they begin with {content[:24]!r}")
        Path(output_file).write_bytes(content)

    return download


def _within(seconds: float, work: Callable[[], bytes]) -> bytes:
    """Run `work` for at most `seconds`, wherever it hangs: name lookup, headers, body or a dead network disk.

    A thread, because no timeout of requests covers all of these; a daemon, so that leaving it behind, with
    nothing but its own buffer, does not keep the process from ending.
    """
    result: Future[bytes] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except Exception as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return result.result(timeout=seconds)
    except TimeoutError:
        if result.done():  # the work's own time-out, which says more
            raise
        raise TimeoutError(f"not complete after {seconds:g} seconds") from None


def _read(address: str, limit: int) -> bytes:
    """The first `limit` bytes at a file, http or https address, exactly as stored there."""
    if address.startswith("file:"):
        with open(url2pathname(urlsplit(address).path), "rb") as stream:
            return stream.read(limit)
    retry = Retry(
        total=2,
        connect=0,
        read=0,
        status_forcelist=TRANSIENT,
        backoff_factor=BACKOFF,
        respect_retry_after_header=False,  # it may ask for an hour
        raise_on_status=False,
    )
    with requests.Session() as session:
        encrypted = address.lower().startswith("https:")
        session.mount("http://", _Refused() if encrypted else HTTPAdapter(max_retries=retry))
        session.mount("https://", HTTPAdapter(max_retries=retry))
        # A .gz must arrive compressed, even from a server that calls the compression a transfer encoding.
        response = session.get(address, stream=True, timeout=STALL, headers={"Accept-Encoding": "identity"})
        response.raise_for_status()
        content: bytes = response.raw.read(limit, decode_content=False)
        return content


class _Refused(HTTPAdapter):
    """What an https address redirects to may not be read by anyone on the way."""

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        raise ValueError(f"redirects from https to {request.url}, which is not encrypted")
