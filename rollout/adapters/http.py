"""HTTP as every backend needs it: a bounded pool, a limit on every wait and every body, a breaker, and no secret in any text.

httpx puts URLs into its exceptions and its log lines, and a webhook's URL is a password. So its exceptions end here
(`from None`), its loggers are quiet, and what is shown of a URL is scheme, host, port and path, or nothing at all.
"""

from __future__ import annotations

import json
import logging
import re
import ssl
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from rollout.adapters.breaker import Breaker
from rollout.adapters.http_body import ENCODING, BodyError, TimeLeft, in_time, unpacked
from rollout.adapters.tls import context_for
from rollout.core.errors import Rejected, Unavailable
from rollout.core.quantities import Duration, Flag, Whole, wrong
from rollout.core.wording import listed, span
from rollout.ports import Clock

LONGEST_BODY = 32 * 1024 * 1024
"""Bytes of an answer that are read at most; a backend that sends more is not believed."""
_SHOWN = 160
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_TAGS = re.compile(r"<[^>]*>")

for _logger in ("httpx", "httpcore"):
    # They log full URLs at INFO and DEBUG, whatever level the root logger has.
    logging.getLogger(_logger).setLevel(logging.WARNING)


def check_url(url: str) -> str:
    """Accept an absolute http or https URL without userinfo, query and fragment; give it back without a closing slash."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable, parts = False, urlsplit("")
    if not usable:
        raise wrong("this is not an absolute URL", "for example http://prometheus.monitoring:9090")
    if parts.username is not None or parts.password is not None:
        raise wrong("a URL that holds a password is shown in logs", "use `username` and `password` beside it")
    if parts.query or parts.fragment:
        raise wrong("a query or fragment has no place in a backend's URL", "give scheme, host, port and path prefix")
    return url.rstrip("/")


def check_secret_url(url: SecretStr) -> SecretStr:
    """Accept an absolute http or https URL whose every part may be secret. The text of it never enters the message."""
    try:
        parts = urlsplit(url.get_secret_value())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise wrong("this is not an absolute http or https URL", "paste the webhook's URL as the chat service shows it")
    return url


BackendUrl = Annotated[str, AfterValidator(check_url)]
SecretUrl = Annotated[SecretStr, AfterValidator(check_secret_url)]


def check_header(secret: SecretStr) -> SecretStr:
    """Accept what can stand in a header: printable ASCII. The text of it never enters the message."""
    value = secret.get_secret_value()
    if not (value.isascii() and value.isprintable()):
        raise wrong("a header or token holds a character that no header can carry", "plain ASCII in one line, without a line break")
    return secret


HeaderSecret = Annotated[SecretStr, AfterValidator(check_header)]


class ConnectionSettings(BaseModel):
    """How to reach one HTTP backend, but for its URL. The environment's proxy variables are not read."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    timeout: Duration = timedelta(seconds=10)
    connect_timeout: Duration = timedelta(seconds=3)
    connections: Annotated[Whole, Field(ge=1, le=64)] = 4
    username: str = ""
    password: SecretStr | None = None
    bearer_token: HeaderSecret | None = None
    bearer_token_file: Path | None = None
    headers: Mapping[Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")], HeaderSecret] = Field(default_factory=dict)
    proxy: SecretUrl | None = None
    ca_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    insecure_skip_verify: Flag = False

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        """Refuse what would be left out without a word."""
        ways = {"username": self.username, "bearer_token": self.bearer_token, "bearer_token_file": self.bearer_token_file}
        given = [name for name, value in ways.items() if value]
        if len(given) > 1:
            raise wrong(f"{listed(given)} are given, and only one of them can be shown", "keep one of them", given[-1])
        if self.password is not None and not self.username:
            raise wrong("a password without a username is shown to nobody", "give `username` beside it", "password")
        if self.client_key is not None and self.client_certificate is None:
            raise wrong("a key without its certificate is shown to nobody", "give `client_certificate` beside it", "client_key")
        return self


class BackendSettings(ConnectionSettings):
    """A backend whose URL is no secret: `url` may hold a path prefix."""

    url: BackendUrl


class _TokenFile(httpx.Auth):
    """A bearer token that something else rotates (a projected service account token): read again for every request."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._path.read_text(encoding='utf-8').strip()}"
        yield request


@dataclass(frozen=True, slots=True)
class Reply:
    """One complete answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text; bytes that are not UTF-8 are replaced."""
        return self.body.decode("utf-8", errors="replace")

    @property
    def said_at(self) -> datetime | None:
        """The other side's own clock, from the Date header (whole seconds); None when it sent none."""
        try:
            at = parsedate_to_datetime(self.headers.get("date", ""))
        except (ValueError, TypeError):
            return None
        return at if at.tzinfo else at.replace(tzinfo=UTC)


class Backend:
    """One HTTP peer: its client, its pool, its breaker. Thread-safe."""

    def __init__(
        self, name: str, settings: ConnectionSettings, clock: Clock, *, url: str = "", breaker: Breaker | None = None
    ) -> None:
        self.name = name
        self._url = url
        self._clock = clock
        self._settings = settings
        self._limit = settings.timeout.total_seconds()
        self._client = _client(settings)
        self.breaker = breaker or Breaker(name, clock)

    @property
    def shown_url(self) -> str:
        """The URL without userinfo and query."""
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def close(self) -> None:
        """Give back connections."""
        self._client.close()

    def send(
        self,
        method: str,
        path: str = "",
        *,
        params: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        content: bytes | None = None,
        content_type: str = "application/json",
    ) -> Reply:
        """Send one request and read the whole answer.

        Any status below 500 but 429 comes back as a Reply; so does a 5xx whose body is JSON, because GraphQL and Prometheus say
        in it what is wrong, unless it asks for a pause (Retry-After). Raises Unavailable: no connection, a timeout, an answer cut
        off or too long, 429, another 5xx, an open breaker.
        """
        headers = {"Accept": "application/json"}
        if content is not None:
            headers["Content-Type"] = content_type
        with self.breaker.attempt():
            reply = self._exchange(method, path, params, form, content, headers)
            self._refuse_overload(reply)
            return reply

    def _exchange(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        form: Mapping[str, str] | None,
        content: bytes | None,
        headers: Mapping[str, str],
    ) -> Reply:
        deadline = self._clock.monotonic() + self._limit
        try:
            with self._client.stream(
                method, self._url + path, params=params, data=form, content=content, headers=dict(headers),
                extensions={"timeout": self._client.timeout.as_dict() | {"read": TimeLeft(self._clock, deadline)}},
            ) as answer:  # fmt: skip
                body = self._read(answer, deadline)
                return Reply(answer.status_code, {k.lower(): v for k, v in answer.headers.items()}, body)
        except (httpx.HTTPError, httpx.InvalidURL, BodyError, UnicodeError, OSError) as error:
            failure = self._worded(error)
        raise Unavailable(self.name, failure, maybe_done=method not in {"GET", "HEAD"}) from None

    def _worded(self, error: Exception) -> str:
        """Say what went wrong, without the exception's own text, which may hold the URL."""
        match error:
            case BodyError():
                return str(error)
            case httpx.ConnectError():
                return connect_failure(error)
            case OSError():
                return f"a file of its settings cannot be read ({error.strerror or type(error).__name__})"
        settings = self._settings
        words = next((words for kinds, words in _FAILURES if isinstance(error, kinds)), "the request failed ({kind})")
        return words.format(
            connect=span(settings.connect_timeout), all=span(settings.timeout), connections=settings.connections,
            kind=type(error).__name__,
        )  # fmt: skip

    def _read(self, answer: httpx.Response, deadline: float) -> bytes:
        pieces = in_time(answer.iter_raw(), self._clock, deadline, self._settings.timeout)
        return unpacked(pieces, answer.headers.get("content-encoding", ""), LONGEST_BODY)

    def _refuse_overload(self, reply: Reply) -> None:
        wait = retry_after(reply, self._clock.now())
        if reply.status == httpx.codes.TOO_MANY_REQUESTS:
            raise Unavailable(self.name, "HTTP 429: too many requests", retry_after=wait)
        if reply.status >= httpx.codes.INTERNAL_SERVER_ERROR and (wait is not None or not is_json(reply)):
            raise Unavailable(self.name, describe(reply), retry_after=wait)


_FAILURES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (httpx.ConnectTimeout, "no connection within {connect}"),
    (httpx.PoolTimeout, "all {connections} connections to it were busy for {all}"),
    (httpx.TimeoutException, "no answer within {all}"),
    ((httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError), "the connection broke before the answer was complete"),
    (httpx.InvalidURL, "the URL cannot be used"),
    (UnicodeError, "what it is to be shown (a token, a header) is no plain text"),
)


def _client(settings: ConnectionSettings) -> httpx.Client:
    timeout = httpx.Timeout(settings.timeout.total_seconds(), connect=settings.connect_timeout.total_seconds())
    limits = httpx.Limits(max_connections=settings.connections, max_keepalive_connections=settings.connections)
    headers = {
        "User-Agent": "rollout",
        "Accept-Encoding": ENCODING,
        **{name: value.get_secret_value() for name, value in settings.headers.items()},
    }
    auth: httpx.Auth | None = None
    if settings.bearer_token_file is not None:
        auth = _TokenFile(settings.bearer_token_file)
    elif settings.bearer_token is not None:
        headers["Authorization"] = f"Bearer {settings.bearer_token.get_secret_value()}"
    elif settings.username:
        auth = httpx.BasicAuth(settings.username, settings.password.get_secret_value() if settings.password else "")
    proxy = settings.proxy.get_secret_value() if settings.proxy else None
    return httpx.Client(
        timeout=timeout, limits=limits, headers=headers, auth=auth, proxy=proxy, verify=trust(settings), trust_env=False
    )


def trust(settings: ConnectionSettings) -> ssl.SSLContext:
    """Make the TLS context of a backend. Raises Refused for files that cannot be used."""
    return context_for(
        ca_file=settings.ca_file, certificate=settings.client_certificate, key=settings.client_key,
        verify=not settings.insecure_skip_verify,
    )  # fmt: skip


def connect_failure(error: httpx.ConnectError) -> str:
    """Word a failure to connect by its kind; the exception's own text may hold the host of a secret URL."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its TLS certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed ({cause.reason or 'no reason given'})"
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        cause = cause.__cause__ or cause.__context__
    if "name" in str(error).lower():  # socket.gaierror does not survive httpcore's translation
        return "its host name is not known"
    return "no connection"


def retry_after(reply: Reply, now: datetime) -> timedelta | None:
    """Read Retry-After, in seconds (Discord sends fractions) or as a date; None when absent or nonsense. At most an hour."""
    value = reply.headers.get("retry-after", "").strip()
    if not value:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
        wait = timedelta(seconds=float(value))
    else:
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, TypeError):
            return None
        wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
    return min(max(wait, timedelta(0)), timedelta(hours=1))


def is_json(reply: Reply) -> bool:
    """Say whether the body is a complete JSON document that is an object or an array."""
    try:
        return isinstance(json.loads(reply.body), (dict, list))
    except (ValueError, RecursionError):
        return False


def parse_json(backend: str, reply: Reply) -> object:
    """Parse the body, whatever the status.

    Raises Unavailable when it is not JSON (HTML of a proxy, a login page, a body cut off), Rejected when the status says why.
    """
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        refuse_status(backend, reply)
        raise Unavailable(backend, describe(reply)) from None


def describe(reply: Reply) -> str:
    """Say in a few words what came instead of what was expected: `HTTP 502 with an HTML page (502 Bad Gateway)`."""
    text = reply.text.strip()
    status = f"HTTP {reply.status}"
    if location := reply.headers.get("location", ""):
        return f"{status}: it redirects to {_host(location)} (a login page, or a wrong URL?)"
    if not text:
        return f"{status} with an empty body"
    if text[:1] == "<":  # not by content type: Slack says `no_service` as text/html
        title = _TITLE.search(text)
        return f"{status} with an HTML page instead of JSON ({shorten(title[1] if title else _TAGS.sub(' ', text))})"
    if text[:1] in "{[" and not is_json(reply):
        return f"{status} with JSON that is cut off or broken after {len(reply.body)} bytes"
    return f"{status}: {shorten(text)}"


def _host(location: str) -> str:
    """Where a redirect leads: host and port alone, because a path or a query may hold a token."""
    try:
        return shorten(urlsplit(location).netloc.rpartition("@")[2], 80) or "another path"
    except ValueError:
        return "a place that is no URL"


def shorten(text: str, limit: int = _SHOWN) -> str:
    """Make foreign text fit for one line: control characters and runs of blanks become one blank, the rest is cut."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: limit * 8]).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def refuse_status(backend: str, reply: Reply, *, about: str = "") -> None:
    """Raise for a status that is not 2xx: Rejected for 3xx and 4xx with a remedy where one is known, Unavailable for 5xx."""
    if httpx.codes.is_success(reply.status):
        return
    words = about or describe(reply)
    match reply.status:
        case 401:
            raise Rejected(backend, f"HTTP 401: it wants credentials, or does not accept ours ({words})", code=401)
        case 403:
            raise Rejected(backend, f"HTTP 403: our credentials do not permit this ({words})", code=403)
        case 404:
            raise Rejected(backend, f"HTTP 404: nothing is there; is the path prefix right? ({words})", code=404)
        case status if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise Unavailable(backend, words if words.startswith("HTTP") else f"HTTP {status}: {words}")
        case status:
            raise Rejected(backend, words if words.startswith("HTTP") else f"HTTP {status}: {words}", code=status)
