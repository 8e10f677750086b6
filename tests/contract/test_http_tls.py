"""TLS as operators set it up: an authority of their own, a name that is not the certificate's, certificates on both sides."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.http import Backend, BackendSettings
from rollout.core.errors import Refused, Unavailable
from tests.peers.fixtures import require
from tests.peers.process import on_path

pytestmark = pytest.mark.peer("openssl")


@dataclass(frozen=True)
class Pair:
    """A certificate that signed itself, and its key."""

    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require(lambda: None if on_path("openssl") else "openssl is missing (Debian package openssl)")
    return tmp_path_factory.mktemp("tls")


def pair(folder: Path, name: str, address: str, *, password: str = "") -> Pair:
    made = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    secret = ["-passout", f"pass:{password}"] if password else ["-noenc"]
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2",
        "-subj", f"/CN={name}", "-addext", f"subjectAltName=IP:{address}",
        "-keyout", str(made.key), "-out", str(made.certificate), *secret,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return made


@pytest.fixture(scope="module")
def ours(folder: Path) -> Pair:
    return pair(folder, "ours", "127.0.0.1")


@pytest.fixture(scope="module")
def daemon(folder: Path) -> Pair:
    return pair(folder, "daemon", "127.0.0.1")


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *words: object) -> None:
        del words


class Quiet(ThreadingHTTPServer):
    def handle_error(self, *about: object) -> None:
        """A client that does not believe us is what these tests are about."""


@contextmanager
def serving(own: Pair | None, *, believes: Pair | None = None) -> Iterator[str]:
    """A server with this certificate (None: without TLS) that wants one of its clients where it `believes` in some."""
    with Quiet(("127.0.0.1", 0), Answering) as server:
        if own is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(own.certificate, own.key)
            if believes is not None:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(believes.certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def status(url: str, **settings: object) -> int:
    made = BackendSettings.model_validate({"url": url, "timeout": timedelta(seconds=20), **settings})
    with closing(Backend("logs", made, SystemClock(), url=url)) as backend:
        return backend.send("GET", "/").status


def test_an_authority_of_ones_own_is_believed_where_its_file_is_given(ours: Pair) -> None:
    with serving(ours) as url:
        assert status(url, ca_file=ours.certificate) == 200
        with pytest.raises(Unavailable, match="its TLS certificate is not trusted"):
            status(url)
        assert status(url, insecure_skip_verify=True) == 200


def test_a_certificate_for_another_place_is_not_trusted_and_says_so(folder: Path) -> None:
    elsewhere = pair(folder, "elsewhere", "192.0.2.1")
    with serving(elsewhere) as url, pytest.raises(Unavailable, match=r"not trusted \(.*127\.0\.0\.1"):
        status(url, ca_file=elsewhere.certificate)


def test_who_must_show_a_certificate_shows_it(ours: Pair, daemon: Pair) -> None:
    shown = {"client_certificate": daemon.certificate, "client_key": daemon.key}
    with serving(ours, believes=daemon) as url:
        assert status(url, ca_file=ours.certificate, **shown) == 200
        with pytest.raises(Unavailable):
            status(url, ca_file=ours.certificate)


def test_a_port_without_tls_is_told_from_one_that_is_not_trusted() -> None:
    with serving(None) as url, pytest.raises(Unavailable, match="logs: TLS failed"):
        status(url)


def test_files_that_cannot_be_used_are_refused_by_name_before_anything_is_asked(folder: Path, ours: Pair, daemon: Pair) -> None:
    garbage = folder / "garbage.pem"
    garbage.write_text("no PEM")
    locked = pair(folder, "locked", "127.0.0.1", password="secret-words")  # noqa: S106 - it is to be forgotten
    wrong: dict[str, dict[str, object]] = {
        "caFile /nowhere/ca.pem cannot be read (No such file or directory)": {"ca_file": "/nowhere/ca.pem"},
        f"caFile {garbage} cannot be used": {"ca_file": garbage},
        f"clientCertificate {garbage} cannot be used": {"client_certificate": garbage},
        "cannot be used (key values mismatch)": {"client_certificate": ours.certificate, "client_key": daemon.key},
        "the key without a password": {"client_certificate": locked.certificate, "client_key": locked.key},
    }
    for words, settings in wrong.items():
        with pytest.raises(Refused) as caught:
            status("https://127.0.0.1:1", **settings)
        assert words in str(caught.value)
