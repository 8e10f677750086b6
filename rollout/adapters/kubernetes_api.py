"""One pool of connections to one Kubernetes API, with every wait bounded and every failure translated.

The official client brings what is hard: kubeconfig, contexts, in-cluster tokens that rotate, exec plugins, TLS. Requests and
answers stay plain JSON: the generated models cost memory, imports at first use, and rewrite what is sent.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode, urlsplit

import urllib3
import yaml
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from rollout.core.errors import Conflict, Refused, Rejected, RolloutError, Unavailable
from rollout.core.quantities import parse_duration
from rollout.ports import Clock

Document = Mapping[str, Any]
"""A JSON object as the API sent it."""

Span = Annotated[timedelta, BeforeValidator(parse_duration)]

READ_CHUNK = 65536
LARGEST_ANSWER = 256 * 1024 * 1024
"""Bytes. A namespace of 10,000 pods is about 100 MB as JSON; beyond this something else answers than a Kubernetes API."""
IDLE_SECONDS = 15.0
"""A pooled connection idle for longer is not trusted: a firewall that forgot it would cost a whole read timeout."""
STATUS_WORDS = 600


class ClusterSettings(BaseModel):
    """One cluster of the daemon's configuration. Keys may be written in camelCase.

    Without `kubeconfig` and `in_cluster` the service account is used inside a pod, and else kubectl's own default file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)

    name: str = Field(min_length=1)
    kubeconfig: Path | None = None
    context: str = ""
    in_cluster: bool | None = None
    connect_timeout: Span = Field(default=timedelta(seconds=3), gt=timedelta(0))
    read_timeout: Span = Field(default=timedelta(seconds=10), gt=timedelta(0))
    watch_for: Span = Field(default=timedelta(seconds=20), ge=timedelta(seconds=1))
    """A watch is asked to end after this, and resumed where it ended: the proof that a quiet watch still lives."""
    stale_after: Span = Field(default=timedelta(seconds=30), gt=timedelta(0))
    field_manager: Literal["rollout"] = "rollout"
    """Under no other name: what this manager wrote is what decisions know as ours (core/cohorts.py)."""

    @property
    def from_pod(self) -> bool:
        """Say whether the service account of the pod is used."""
        if self.in_cluster is not None:
            return self.in_cluster
        return self.kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ


@dataclass(frozen=True, slots=True)
class Reply:
    """What the API answered, with any HTTP status. `document` is empty where the body was no JSON object."""

    status: int
    document: Document
    retry_after: timedelta | None = None
    at: datetime | None = None
    """The server's own clock when it answered (the Date header, whole seconds)."""

    @property
    def ok(self) -> bool:
        """Say whether it is the wanted answer."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the 2xx family of RFC 9110

    @property
    def message(self) -> str:
        """The server's own words (`message` of a Status object), cut short."""
        return str(self.document.get("message", ""))[:STATUS_WORDS] or "no explanation given"


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `verb` is RBAC's word for it (`get`, `list`, `watch`, `patch`, `create`, ...), for messages and the method."""

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""
    group: str = ""
    version: str = "v1"
    subresource: str = ""
    query: tuple[tuple[str, str], ...] = ()
    body: object = None
    content_type: str = "application/json"

    @property
    def method(self) -> str:
        """The HTTP method."""
        return {"patch": "PATCH", "create": "POST", "delete": "DELETE"}.get(self.verb, "GET")

    @property
    def writes(self) -> bool:
        """Say whether a lost answer leaves doubt about what was done."""
        return self.method != "GET" and self.resource != "selfsubjectaccessreviews"

    @property
    def path(self) -> str:
        """The path and query of the URL."""
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}" if self.version else ""
        space = ("namespaces", self.namespace) if self.namespace else ()
        parts = [part for part in (*space, self.resource, self.name, self.subresource) if part]
        path = "/".join([base, *(quote(part, safe="") for part in parts)])
        return f"{path}?{urlencode(self.query)}" if self.query else path

    def __str__(self) -> str:
        """Word it as RBAC does: `patch deployments.apps "web" in namespace "shop"`."""
        resource = (f"{self.resource}.{self.group}" if self.group else self.resource) + (
            self.subresource and f"/{self.subresource}"
        )
        name = f' "{self.name}"' if self.name else ""
        return f"{self.verb} {resource}{name}" + (f' in namespace "{self.namespace}"' if self.namespace else "")


def failure(cluster: str, request: Request, reply: Reply) -> RolloutError:
    """Translate an answer that is not 2xx into the error that the callers of ports.Cluster know."""
    backend = f"kubernetes {cluster}"
    status, words = reply.status, reply.message
    if status == 401:  # noqa: PLR2004 - HTTP status codes are clearer as numbers, here and below
        return Unavailable(backend, f"401: the API server does not accept our credentials for {request} ({words}); check the token")
    if status == 403:  # noqa: PLR2004 - as above
        remedy = "grant it as config/kubernetes/rbac.yaml does"
        return Rejected(backend, f"403: our account may not {request} ({words}); {remedy}", code=status)
    if status == 404:  # noqa: PLR2004 - as above
        return Rejected(backend, f"404: cannot {request}: there is no such object ({words})", code=status)
    if status == 409:  # noqa: PLR2004 - as above
        return Conflict(backend, f"409: cannot {request}: it has changed since it was seen ({words}); look again", code=status)
    if status in {408, 410, 429} or status >= 500 or status < 400:  # noqa: PLR2004 - as above
        done = request.writes and status >= 500  # noqa: PLR2004 - as above
        return Unavailable(
            backend, f"{status}: no answer to {request} now ({words})", retry_after=reply.retry_after, maybe_done=done
        )
    return Rejected(backend, f"{status}: {request} was declined ({words})", code=status)


def configuration(settings: ClusterSettings) -> Configuration:
    """Read the credentials. Never the client's process-wide default. Raises Refused that names file and context."""
    wanted = Configuration(retries=0)
    where = "the pod's service account" if settings.from_pod else f"kubeconfig {settings.kubeconfig or '(the default)'}"
    try:
        if settings.from_pod:
            load_incluster_config(client_configuration=wanted)  # type: ignore[no-untyped-call]  # the client types it not
        else:
            load_kube_config(  # type: ignore[no-untyped-call]  # as above
                config_file=str(settings.kubeconfig) if settings.kubeconfig else None,
                context=settings.context or None,
                client_configuration=wanted,
                persist_config=False,
            )
    except ConfigException as error:
        context = f", context {settings.context}" if settings.context else ""
        raise Refused(f"cluster {settings.name}: {where}{context} cannot be used: {error}") from error
    except (OSError, yaml.YAMLError, ValueError, TypeError, AttributeError) as error:  # what a broken kubeconfig brings
        raise Refused(f"cluster {settings.name}: {where} cannot be read ({type(error).__name__})") from error
    wanted.retries = False
    wanted.socket_options = _socket_options()
    return wanted


def _socket_options() -> list[tuple[int, int, int]]:
    """Let the kernel find a dead peer within about 20 s, on Linux; elsewhere the read timeouts alone do."""
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    wanted = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2}
    options += [(socket.IPPROTO_TCP, getattr(socket, key), value) for key, value in wanted.items() if hasattr(socket, key)]
    return options


@dataclass(slots=True)
class Stream:
    """A streaming answer, read line by line. `stop` may be called from any thread and ends a blocked read."""

    response: urllib3.BaseHTTPResponse
    backend: str
    _rest: bytes = field(default=b"", repr=False)

    def lines(self) -> Sequence[bytes] | None:
        """Wait for what comes next: the complete lines so far (perhaps none), None at the end. Raises Unavailable."""
        try:
            chunk = self.response.read1(READ_CHUNK)
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:  # the last two: closed meanwhile
            raise Unavailable(self.backend, f"a watch broke off ({type(error).__name__})") from error
        if not chunk:
            return None
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LARGEST_ANSWER:
            raise Unavailable(self.backend, "a watch sent a line without end")
        return [line for line in whole if line.strip()]

    def stop(self) -> None:
        """End it from outside."""
        try:
            self.response.shutdown()
        except (ValueError, RuntimeError, OSError):
            return  # it has ended by itself

    def close(self) -> None:
        """Give the socket back."""
        self.response.close()


class Connection:
    """A pool of connections of its own, for one purpose. Safe to use from several threads."""

    def __init__(self, settings: ClusterSettings, clock: Clock, *, sockets: int = 8) -> None:
        self._settings = settings
        self._clock = clock
        wanted = configuration(settings)
        wanted.connection_pool_maxsize = sockets
        self._client = ApiClient(wanted)
        self._client.user_agent = settings.field_manager
        self._used = clock.monotonic()
        place = urlsplit(wanted.host)
        self.server = f"{place.scheme}://{place.hostname}" + (f":{place.port}" if place.port else "")
        self.cluster = settings.name
        self.backend = f"kubernetes {settings.name}"

    def ask(self, request: Request, *, timeout: timedelta | None = None) -> Reply:
        """Send, and read the whole answer within `timeout` (default: the read timeout). Raises only Unavailable."""
        seconds = min(timeout or self._settings.read_timeout, self._settings.read_timeout).total_seconds()
        deadline = self._clock.monotonic() + (timeout or self._settings.read_timeout).total_seconds()
        response = self._open(request, seconds)
        try:
            body = self._body(response, deadline)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unavailable(request, error, seconds) from error
        finally:
            _give_back(response)
        return self._reply(request, response, body)

    def want(self, request: Request, *, timeout: timedelta | None = None) -> Document:
        """As `ask`, but anything else than 2xx raises (Unavailable, Rejected, Conflict)."""
        reply = self.ask(request, timeout=timeout)
        if not reply.ok:
            raise failure(self._settings.name, request, reply)
        return reply.document

    def text(self, request: Request, *, timeout: timedelta | None = None) -> str:
        """As `want`, for an answer that is plain text (a pod's log)."""
        seconds = (timeout or self._settings.read_timeout).total_seconds()
        deadline = self._clock.monotonic() + seconds
        response = self._open(request, seconds)
        try:
            body = self._body(response, deadline)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unavailable(request, error, seconds) from error
        finally:
            _give_back(response)
        if response.status != 200:  # noqa: PLR2004 - a log has no other good answer
            raise failure(self._settings.name, request, self._reply(request, response, body))
        return body.decode("utf-8", "replace")

    def stream(self, request: Request, *, silence: timedelta) -> Stream | Reply:
        """Open a watch whose reads wait for at most `silence`; a Reply where the answer is not 200. Raises Unavailable."""
        response = self._open(request, silence.total_seconds())
        if response.status == 200 and "json" in response.headers.get("Content-Type", ""):  # noqa: PLR2004 - how a watch begins
            return Stream(response, self.backend)
        try:
            body = self._body(response, self._clock.monotonic() + silence.total_seconds())
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unavailable(request, error, silence.total_seconds()) from error
        finally:
            response.close()
        return self._reply(request, response, body)

    def close(self) -> None:
        """Give back every connection."""
        self._client.close()  # type: ignore[no-untyped-call]  # the client types it not

    def _open(self, request: Request, read_seconds: float) -> urllib3.BaseHTTPResponse:
        now = self._clock.monotonic()
        if now - self._used > IDLE_SECONDS:
            self._client.rest_client.close()  # forgets idle sockets; those in use stay with their users
        self._used = now
        connect = min(self._settings.connect_timeout.total_seconds(), read_seconds)
        try:
            method, url, headers, body, _ = self._client.param_serialize(
                request.method,
                request.path,
                header_params={"Accept": "application/json", "Content-Type": request.content_type},
                body=request.body,
                auth_settings=["BearerToken"],
            )
            answer = self._client.call_api(method, url, headers, body, _request_timeout=(connect, read_seconds))
        except (urllib3.exceptions.HTTPError, OSError, ApiException, ConfigException) as error:
            raise self._unavailable(request, error, read_seconds) from error
        response: urllib3.BaseHTTPResponse = answer.response
        return response

    def _body(self, response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
        parts: list[bytes] = []
        size = 0
        while chunk := response.read1(READ_CHUNK):
            parts.append(chunk)
            size += len(chunk)
            if self._clock.monotonic() > deadline:
                raise TimeoutError("the answer trickles")
            if size > LARGEST_ANSWER:
                raise OSError("the answer has no end")
        return b"".join(parts)

    def _reply(self, request: Request, response: urllib3.BaseHTTPResponse, body: bytes) -> Reply:
        document = _document(body)
        if not document and 200 <= response.status < 300:  # noqa: PLR2004 - the 2xx family
            begin = body[:60].decode("utf-8", "replace").strip()
            seen = f"{self.server} answered {response.status} with something other than a JSON object ({begin!r})"
            raise Unavailable(self.backend, f"{seen}; is a proxy in between?", maybe_done=request.writes)
        return Reply(response.status, document, _retry_after(response.headers), _date(response.headers))

    def _unavailable(self, request: Request, error: Exception, seconds: float) -> Unavailable:
        not_sent = isinstance(error, (urllib3.exceptions.ConnectTimeoutError, ConfigException))
        reason = _reason(error)
        if isinstance(error, ConfigException):
            words = f"the credentials cannot be read ({error})"
        elif isinstance(error, urllib3.exceptions.ConnectTimeoutError):  # NewConnectionError (refused, no such host) is one too
            words = reason or f"no connection within {self._settings.connect_timeout.total_seconds():g} s"
        elif isinstance(error, (urllib3.exceptions.ReadTimeoutError, TimeoutError)):
            words = f"no whole answer within {seconds:g} s"
        else:
            words = reason or type(error).__name__
        return Unavailable(self.backend, f"{self.server}: {words}, for {request}", maybe_done=request.writes and not not_sent)


def _reason(error: BaseException) -> str:
    """The system's own words (`Connection refused`, `certificate verify failed`), from the depth where they stand."""
    here: BaseException | None = error
    for _ in range(8):
        if here is None:
            break
        if isinstance(here, OSError) and here.strerror:
            return here.strerror
        here = here.__cause__ or here.__context__
    return ""


def _give_back(response: urllib3.BaseHTTPResponse) -> None:
    """Return the socket to the pool when the answer was read to its end, else close it: its rest would be the next answer."""
    if response.length_remaining == 0:
        response.release_conn()
    elif response.connection is not None:
        response.close()


def _document(body: bytes) -> Document:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _date(headers: Mapping[str, str]) -> datetime | None:
    try:
        return parsedate_to_datetime(headers.get("Date", "")).astimezone(UTC)
    except ValueError:
        return None


def _retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """`Retry-After` in seconds, the only form that Kubernetes sends; capped at an hour."""
    seconds = headers.get("Retry-After", "")
    return timedelta(seconds=min(int(seconds), 3600)) if seconds.isascii() and seconds.isdigit() else None
