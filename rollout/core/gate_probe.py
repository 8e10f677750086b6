"""What a request through the gateway proves about the gate.

Reading a gate back proves what the Admin API holds. Only a request from outside proves what the data plane does: after an etcd
outage it was seen to lag by seconds, and a route cloned beside ours passes the gate without touching it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

from rollout.core.gate import CONSUMER_RESTRICTION, GateConfig

_SERVER_ERRORS = (502, 503, 504)
_NOBODY = (
    "Missing authentication or identity verification.",
    "please check the consumer_name for this request",
    "Missing API key",
)
"""How the gateway turns away (401) a client without the identity that `consumer-restriction` needs; an open gate does too."""


class Passage(StrEnum):
    """What became of a request. Stored: never rename.

    `OPEN_DOWN`: let through, and nobody answered behind the gate. `FORBIDDEN`: a 403 that is not the gate's, by the service or by
    another restriction before it (a global rule, a firewall): it proves neither an open nor a closed gate.
    """

    BLOCKED = "blocked"
    FORBIDDEN = "forbidden, but not by the gate"
    SERVED = "served"
    OPEN_DOWN = "let through, nothing behind"
    NO_ROUTE = "no route"
    UNREACHABLE = "unreachable"

    @property
    def let_through(self) -> bool:
        """Say whether the gate let the request pass."""
        return self in (Passage.SERVED, Passage.OPEN_DOWN)


@dataclass(frozen=True, slots=True)
class Vantage:
    """A place to look at the gate from.

    `allowed` says whether it stands inside the allow-list. `url` is the full address to ask, or only a path when every node of
    the gateway is to be asked in turn; `host` overrides the Host header. `source_address` is the local address to bind,
    `forwarded_for` a value for X-Forwarded-For, for gateways that trust it. `credential` names a set of headers in the
    gateway's settings, for gates that know consumers; the headers themselves are secrets and stay there.
    """

    name: str
    allowed: bool
    url: str
    host: str = ""
    source_address: str = ""
    forwarded_for: str = ""
    credential: str = ""
    method: str = "GET"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One answer. `status` is 0 and `error` says why when none came; `body` holds its first 2,000 characters."""

    vantage: Vantage
    node: str
    status: int = 0
    body: str = ""
    error: str = ""


def passage(result: ProbeResult, config: GateConfig) -> Passage:
    """Judge one answer against the closed gate's fixed one: the status and the message, both."""
    if not result.status:
        return Passage.UNREACHABLE
    words = _words(result.body)
    told = result.vantage.method == "HEAD" or words.get("message") == config.message  # an answer to HEAD has no body
    if result.status == config.response_code and told:
        return Passage.BLOCKED
    if result.status == 401 and config.plugin == CONSUMER_RESTRICTION and _unknown(words):  # noqa: PLR2004 - unauthorized
        return Passage.BLOCKED
    if result.status == 403:  # noqa: PLR2004 - forbidden
        return Passage.FORBIDDEN
    if result.status == 404 and words.get("error_msg") == "404 Route Not Found":  # noqa: PLR2004 - not found
        return Passage.NO_ROUTE
    return Passage.OPEN_DOWN if result.status in _SERVER_ERRORS else Passage.SERVED


def proves(result: ProbeResult, config: GateConfig, *, closed: bool) -> bool:
    """Say whether the answer is the one that a closed (or an open) gate gives at this vantage."""
    seen = passage(result, config)
    if closed and not result.vantage.allowed:
        return seen is Passage.BLOCKED
    return seen.let_through if closed else seen is Passage.SERVED


def explain(result: ProbeResult, config: GateConfig, *, closed: bool) -> str:
    """Word what was seen and what was expected, for history and notices."""
    seen = passage(result, config)
    expected = "the fixed answer" if closed and not result.vantage.allowed else "the service"
    came = result.error or f"HTTP {result.status}, {seen.value}"
    return f"{result.vantage.name} at {result.node}: {came}; expected {expected} from {'a closed' if closed else 'an open'} gate"


def _unknown(words: dict[str, object]) -> bool:
    return any(part in str(words.get("message")) for part in _NOBODY)


def _words(body: str) -> dict[str, object]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
