"""Requests through the gateway, from the addresses that matter, to see what it really does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import httpx
from pydantic import SecretStr

from rollout.adapters.apisix_admin import ApisixSettings
from rollout.adapters.http import trust
from rollout.core.gate_probe import ProbeResult, Vantage
from rollout.core.wording import span
from rollout.ports import Clock

BODY_SHOWN = 2000


class Prober:
    """Asks every node of one gateway. Each probe is a new connection: a kept one could be bound to another address."""

    def __init__(self, settings: ApisixSettings, clock: Clock) -> None:
        self._clock = clock
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
        credential = self._credentials.get(vantage.credential, {})
        if vantage.credential and not credential:
            return ProbeResult(vantage, node, error=f"no credential is called {vantage.credential!r} in the gateway's settings")
        timeout = httpx.Timeout(self._timeout.total_seconds(), connect=self._connect_timeout.total_seconds())
        deadline = self._clock.monotonic() + self._timeout.total_seconds()
        try:
            transport = httpx.HTTPTransport(local_address=vantage.source_address or None, verify=self._trust)
            with (
                httpx.Client(transport=transport, timeout=timeout, trust_env=False) as client,
                client.stream(vantage.method, url, headers=_headers(vantage, credential), extensions=_sni(vantage)) as answer,
            ):
                body = self._beginning(answer, deadline)
            if body is None:
                return ProbeResult(vantage, node, error=f"no whole answer within {span(self._timeout)}")
            return ProbeResult(vantage, node, answer.status_code, body)
        except httpx.TimeoutException:
            return ProbeResult(vantage, node, error=f"no answer within {span(self._timeout)}")
        except httpx.ConnectError as error:
            return ProbeResult(vantage, node, error=_why(error, vantage))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return ProbeResult(vantage, node, error=f"the request failed ({type(error).__name__})")

    def _beginning(self, answer: httpx.Response, deadline: float) -> str | None:
        """Read no more of the body than is judged (a download behind the gate is not ours to fetch); None when it drips."""
        body = bytearray()
        for piece in answer.iter_bytes():
            body += piece
            if len(body) >= BODY_SHOWN:
                break
            if self._clock.monotonic() > deadline:
                return None
        return bytes(body[:BODY_SHOWN]).decode("utf-8", "replace")


def _headers(vantage: Vantage, credential: Mapping[str, SecretStr]) -> dict[str, str]:
    headers = {"User-Agent": "rollout-probe", "Connection": "close"}
    if vantage.host:
        headers["Host"] = vantage.host
    if vantage.forwarded_for:
        headers["X-Forwarded-For"] = vantage.forwarded_for
    return {**headers, **{name: value.get_secret_value() for name, value in credential.items()}}


def _sni(vantage: Vantage) -> dict[str, str]:
    return {"sni_hostname": vantage.host.partition(":")[0]} if vantage.host else {}


def _why(error: httpx.ConnectError, vantage: Vantage) -> str:
    if vantage.source_address and "assign" in str(error).lower():
        return f"{vantage.source_address} is no address of this machine"
    return "no connection"


def _shown(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}"
