"""Requests through the gateway, from the addresses that matter, to see what it really does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx

from rollout.adapters.apisix_admin import ApisixSettings
from rollout.adapters.http import trust
from rollout.adapters.http_body import ENCODING, BodyError, SlowBodyError, TimeLeft, beginning, in_time
from rollout.core.errors import Refused
from rollout.core.gate_probe import ProbeResult, Vantage
from rollout.core.wording import span
from rollout.ports import Clock
from rollout.ports_offline import Credentials

BODY_SHOWN = 2000


class Prober:
    """Asks every node of one gateway. Each probe is a new connection: a kept one could be bound to another address."""

    def __init__(self, settings: ApisixSettings, clock: Clock, shared: Credentials | None = None) -> None:
        self._clock = clock
        self._shared = shared
        self._nodes = settings.nodes
        self._credentials = settings.credentials
        self._timeout = min(settings.timeout, timedelta(seconds=10))
        self._connect_timeout = settings.connect_timeout
        self._trust = trust(settings.model_copy(update={"client_certificate": None}))  # that one is for the Admin API

    def probe(self, vantage: Vantage) -> tuple[ProbeResult, ...]:
        """Ask the vantage's full URL once, or its path on every configured node."""
        if vantage.url.startswith(("http://", "https://")):
            return (self._ask(vantage, vantage.url, _shown(vantage.url)),)
        if not self._nodes:
            return (ProbeResult(vantage, "no node", error="no gateway node is configured, and the probe has only a path"),)
        path = "/" + vantage.url.lstrip("/")
        return tuple(self._ask(vantage, node + path, _shown(node)) for node in self._nodes)

    def _ask(self, vantage: Vantage, url: str, node: str) -> ProbeResult:
        try:
            credential = self._credential(vantage.credential, url)
        except Refused as no:
            return ProbeResult(vantage, node, error=str(no))
        timeout = httpx.Timeout(self._timeout.total_seconds(), connect=self._connect_timeout.total_seconds())
        deadline = self._clock.monotonic() + self._timeout.total_seconds()
        extensions = {"timeout": timeout.as_dict() | {"read": TimeLeft(self._clock, deadline)}, **_sni(vantage)}
        try:
            transport = httpx.HTTPTransport(local_address=vantage.source_address or None, verify=self._trust)
            with (
                httpx.Client(transport=transport, timeout=timeout, trust_env=False) as client,
                client.stream(vantage.method, url, headers=_headers(vantage, credential), extensions=extensions) as answer,
            ):
                body = self._beginning(answer, deadline)
            return ProbeResult(vantage, node, answer.status_code, body.decode("utf-8", "replace"))
        except SlowBodyError:
            return ProbeResult(vantage, node, error=f"no whole answer within {span(self._timeout)}")
        except httpx.TimeoutException:
            return ProbeResult(vantage, node, error=f"no answer within {span(self._timeout)}")
        except httpx.ConnectError as error:
            return ProbeResult(vantage, node, error=_why(error, vantage))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return ProbeResult(vantage, node, error=f"the request failed ({type(error).__name__})")

    def _credential(self, name: str, url: str) -> Mapping[str, str]:
        """Look up the gateway's own, and then the daemon's. Raises Refused."""
        if name in self._credentials:
            return {header: value.get_secret_value() for header, value in self._credentials[name].items()}
        if name and self._shared is not None:
            return self._shared.of(name, url).headers
        if name:
            raise Refused(f"no credential is called {name!r} in the gateway's settings")
        return {}

    def _beginning(self, answer: httpx.Response, deadline: float) -> bytes:
        """Read no more of the body than is judged: a download behind the gate is not ours to fetch."""
        try:
            pieces = in_time(answer.iter_raw(), self._clock, deadline, self._timeout)
            return beginning(pieces, answer.headers.get("content-encoding", ""), BODY_SHOWN)
        except SlowBodyError:
            raise
        except BodyError:
            return b""  # it cannot be read, and proves no gate; its status still says who was let through


def _headers(vantage: Vantage, credential: Mapping[str, str]) -> dict[str, str]:
    headers = {"User-Agent": "rollout-probe", "Connection": "close", "Accept-Encoding": ENCODING}
    if vantage.host:
        headers["Host"] = vantage.host
    if vantage.forwarded_for:
        headers["X-Forwarded-For"] = vantage.forwarded_for
    return {**headers, **credential}


def _sni(vantage: Vantage) -> dict[str, Any]:
    return {"sni_hostname": vantage.host.partition(":")[0]} if vantage.host else {}


def _why(error: httpx.ConnectError, vantage: Vantage) -> str:
    if vantage.source_address and "assign" in str(error).lower():
        return f"{vantage.source_address} is no address of this machine"
    return "no connection"


def _shown(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}"
