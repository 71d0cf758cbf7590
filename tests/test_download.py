"""download.py: every fault of a download, served by a loopback server from small made-up files."""

import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from aevb import UserError, download
from aevb.download import fetch
from disks import read_only
from offline import isolated, names, remote  # noqa: F401

BODY = bytes(range(256)) * 40


# ------------------------------------------------------------------------------------------------ the server


class Server(ThreadingHTTPServer):
    """Serves /{behaviour}/{file}; a behaviour is a method of `Handler`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        self.released = threading.Event()  # what a hanging handler waits for
        self.pair = threading.Barrier(2)  # holds a request until there are two

    def mirror(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{behaviour}/"

    def handle_error(self, request, client_address):
        pass  # clients that hang up are what these tests are about


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        behaviour = unquote(self.path).split("/")[1]
        self.server.requests.append(behaviour)
        getattr(self, behaviour.split()[0])()

    def log_message(self, *args):
        pass

    def reply(self, body=b"", status=200, length=None, **headers):
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def good(self):
        self.reply(BODY, length=len(BODY))

    def missing(self):
        self.reply(status=404)

    def forbidden(self):
        self.reply(status=403)

    def flaky(self):
        self.good() if len(self.server.requests) > 2 else self.reply(status=500)

    def busy(self):
        self.good() if len(self.server.requests) > 1 else self.reply(status=429, **{"Retry-After": "3600"})

    def always_busy(self):
        self.reply(status=429)

    def hang(self):
        self.server.released.wait(20)

    def hang_in_body(self):
        self.reply(BODY[:100], length=len(BODY))
        self.wfile.flush()
        self.server.released.wait(20)

    def drip(self):
        self.reply(length=len(BODY))
        while not self.server.released.wait(0.02):
            self.wfile.write(b"x")

    def reset(self):
        self.reply(BODY[:100], length=len(BODY))
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.wfile.close()
        self.connection.close()

    def short(self):
        self.reply(BODY[:100], length=len(BODY))

    def short_without_length(self):
        self.reply(BODY[:100])

    def html(self):
        self.reply(b"<!DOCTYPE html><p>Please log in to this network", **{"Content-Type": "text/html"})

    def loop(self):
        self.reply(status=302, Location=self.path)

    def away(self):
        self.reply(status=302, Location=unquote(self.path).split("to ")[1])

    def wrong(self):
        self.reply(BODY[::-1])

    def endless(self):
        self.reply()
        while not self.server.released.is_set():
            self.wfile.write(BODY)

    def meet(self):
        self.server.pair.wait(30)
        self.good()

    def encoded(self):
        self.reply(BODY, length=len(BODY), **{"Content-Encoding": "gzip"})


@pytest.fixture
def server():
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield running
        running.released.set()
        running.shutdown()


@pytest.fixture
def encrypted(tmp_path_factory, monkeypatch):
    """A server of https, whose certificate REQUESTS_CA_BUNDLE would let a client trust."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl, with which to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]
    names_it = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([*request, *names_it], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Server() as running:
        running.socket = context.wrap_socket(running.socket, server_side=True)
        running.certificate = certificate
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield running
        running.released.set()
        running.shutdown()


# ------------------------------------------------------------------------------------------- download faults


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("missing", "404"),
        ("forbidden", "403"),
        ("always_busy", "429"),
        ("hang", "not complete after 0.3 seconds"),
        ("hang_in_body", "not complete after 0.3 seconds"),
        ("drip", "not complete after 0.3 seconds"),
        ("reset", "ProtocolError|ConnectionError"),
        ("short", "100 bytes"),
        ("short_without_length", "served 100 bytes, not 10240"),
        ("html", "<!DOCTYPE html>"),
        ("loop", "TooManyRedirects"),
        ("wrong", "hash"),
        ("endless", "served more"),
    ],
)
def test_a_bad_address_is_named_with_its_reason_and_leaves_nothing_behind(
    server, tmp_path, monkeypatch, behaviour, reason
):
    monkeypatch.setattr(download, "DEADLINE", 0.3 if "hang" in behaviour or behaviour == "drip" else 10)
    began = time.monotonic()
    with pytest.raises(UserError, match=reason) as error:
        fetch(remote(BODY, server.mirror(behaviour)), tmp_path)
    assert time.monotonic() - began < 5
    assert server.mirror(behaviour) + "tiny.bin" in str(error.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("behaviour", ["missing", "hang_in_body", "reset", "html", "wrong", "endless"])
def test_the_second_mirror_mends_the_first(server, tmp_path, monkeypatch, behaviour):
    monkeypatch.setattr(download, "DEADLINE", 1.5)
    path = fetch(remote(BODY, server.mirror(behaviour), server.mirror("good")), tmp_path)
    assert path.read_bytes() == BODY
    assert names(tmp_path) == ["tiny.bin"]


@pytest.mark.parametrize(("behaviour", "requests"), [("flaky", 3), ("busy", 2)])
def test_transient_statuses_are_tried_again(server, tmp_path, monkeypatch, behaviour, requests):
    monkeypatch.setattr(download, "DEADLINE", 10)
    assert fetch(remote(BODY, server.mirror(behaviour)), tmp_path).read_bytes() == BODY
    assert len(server.requests) == requests


def test_silence_is_noticed_before_the_deadline(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "STALL", 0.2)
    with pytest.raises(UserError, match="timed out"):
        fetch(remote(BODY, server.mirror("hang_in_body")), tmp_path)


def test_a_content_encoding_does_not_unpack_the_file(server, tmp_path):
    assert fetch(remote(BODY, server.mirror("encoded")), tmp_path).read_bytes() == BODY


def test_https_is_followed_to_https_and_never_to_http(server, encrypted, tmp_path, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(encrypted.certificate))
    secure = encrypted.mirror("good").replace("http:", "https:")

    def away_to(there):
        return f"{secure.removesuffix('good/')}away to {there}tiny.bin"

    with pytest.raises(ValueError, match=r"redirects from https to http://.* which is not encrypted"):
        download._read(away_to(server.mirror("good")), len(BODY))
    assert server.requests == []
    assert download._read(away_to(secure), len(BODY)) == BODY
    assert fetch(remote(BODY, secure), tmp_path).read_bytes() == BODY


def test_a_certificate_that_nobody_vouches_for_is_refused(encrypted, tmp_path):
    with pytest.raises(UserError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(remote(BODY, encrypted.mirror("good").replace("http:", "https:")), tmp_path)
    assert encrypted.requests == []


def test_all_mirrors_bad_lists_each_and_tells_how_to_go_on(server, tmp_path):
    mirrors = [server.mirror(behaviour) for behaviour in ("missing", "html", "wrong")]
    with pytest.raises(UserError) as error:
        fetch(remote(BODY, *mirrors, "http://unknown.invalid/"), tmp_path)
    message = str(error.value)
    addresses = [line for line in message.splitlines() if line.startswith("  http")]
    assert addresses == [f"  {mirror}tiny.bin" for mirror in [*mirrors, "http://unknown.invalid/"]]
    assert "404" in message
    assert message.endswith("put tiny.bin into a folder and set AEVB_DATA_MIRROR to that folder.")


@pytest.mark.parametrize("form", [str, Path.as_uri, lambda folder: f"{folder}/"])
def test_the_users_folder_comes_first(server, tmp_path, monkeypatch, form):
    folder = tmp_path / "my mirror, où ça #1"
    folder.mkdir()
    (folder / "tiny.bin").write_bytes(BODY)
    monkeypatch.setenv("AEVB_DATA_MIRROR", form(folder))
    cache = tmp_path / "a cache with ü"
    assert fetch(remote(BODY, server.mirror("good")), cache).read_bytes() == BODY
    assert server.requests == []


def test_the_users_address_comes_first_and_may_hold_spaces_and_unicode(server, tmp_path, monkeypatch):
    monkeypatch.setenv("AEVB_DATA_MIRROR", server.mirror("good où ça"))
    assert fetch(remote(BODY, server.mirror("missing")), tmp_path).read_bytes() == BODY
    assert server.requests == ["good où ça"]


@pytest.mark.parametrize("content", [None, BODY[:-1], BODY + b"x", BODY[::-1]])
def test_a_bad_local_mirror_is_passed_over(server, tmp_path, monkeypatch, content):
    folder, cache = tmp_path / "mirror", tmp_path / "cache"
    folder.mkdir()
    if content is not None:
        (folder / "tiny.bin").write_bytes(content)
    monkeypatch.setenv("AEVB_DATA_MIRROR", str(folder))
    assert fetch(remote(BODY, server.mirror("good")), cache).read_bytes() == BODY


def test_a_cached_file_is_used_offline(tmp_path):
    (tmp_path / "tiny.bin").write_bytes(BODY)
    assert fetch(remote(BODY), tmp_path).read_bytes() == BODY


def test_a_corrupt_cached_file_is_replaced_but_only_by_a_good_one(server, tmp_path):
    cached = tmp_path / "tiny.bin"
    cached.write_bytes(b"corrupt")
    with pytest.raises(UserError, match="404"):
        fetch(remote(BODY, server.mirror("missing")), tmp_path)
    assert cached.read_bytes() == b"corrupt"
    fetch(remote(BODY, server.mirror("good")), tmp_path)
    assert cached.read_bytes() == BODY
    assert names(tmp_path) == ["tiny.bin"]


def test_a_read_only_cache(server, tmp_path, monkeypatch):
    """Root may write anywhere, so it is the making of temporary files that is refused."""

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    with pytest.raises(UserError, match=r"Cannot use .*Permission denied.*mend its permissions"):
        fetch(remote(BODY, server.mirror("good")), tmp_path)
    (tmp_path / "tiny.bin").write_bytes(BODY)
    assert fetch(remote(BODY, server.mirror("good")), tmp_path).read_bytes() == BODY
    assert server.requests == []


def test_a_cache_on_a_read_only_disk(tmp_path):
    """For root too: an intact file is used, a missing one says why it cannot be had."""
    mirror, cache = tmp_path / "mirror", tmp_path / "cache"
    for folder in (mirror, cache):
        folder.mkdir()
    (mirror / "tiny.bin").write_bytes(BODY)
    file = remote(BODY, f"{mirror.as_uri()}/")
    code = f"from aevb.download import *; print(fetch(RemoteFile(*{tuple(file)!r}), Path({str(cache)!r})))"
    said = read_only(cache, [sys.executable, "-c", code])
    assert re.search(r"UserError: Cannot use .*Read-only file system.*mend its permissions", said.stdout)
    (cache / "tiny.bin").write_bytes(BODY)
    said = read_only(cache, [sys.executable, "-c", code])
    assert said.stdout == f"{cache / 'tiny.bin'}\n"


def test_a_full_disk_is_not_blamed_on_the_mirrors(server, tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"Cannot use .*No space left.*Free space"):
        fetch(remote(BODY, server.mirror("good")), tmp_path)
    assert names(tmp_path) == []


def test_two_processes_at_once(server, tmp_path):
    file = remote(BODY, server.mirror("meet"))
    code = f"from aevb.download import *; fetch(RemoteFile(*{tuple(file)!r}), Path({str(tmp_path)!r}))"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert server.requests == ["meet", "meet"]
    assert (tmp_path / "tiny.bin").read_bytes() == BODY
    assert names(tmp_path) == ["tiny.bin"]
