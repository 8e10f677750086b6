"""The further roles that the outside world plays for an offline upgrade: Jobs, requests, commands, and who calls whom.

The same rules as in ports.py: every call has its own timeout and raises only `Unavailable`, `Rejected` or `Refused`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol


class JobPhase(StrEnum):
    """Where a Job stands. `HALTED`: suspended, and no pod of it is left."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    HALTED = "halted"


@dataclass(frozen=True, slots=True)
class JobSeen:
    """One Job as the cluster shows it.

    `trouble`: why its pod cannot start (not schedulable, image not pulled, no such Secret), empty while it can. `log` is the
    tail of its newest pod's, empty where there is none (any more).
    """

    phase: JobPhase
    why: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    trouble: str = ""
    log: str = ""


class Jobs(Protocol):
    """Jobs of one cluster, by name."""

    def ensure(self, namespace: str, manifest: Mapping[str, Any]) -> None:
        """Create it; one of that name that is there already is left as it is. Raises Unavailable (`maybe_done`), Rejected."""
        ...

    def look(self, namespace: str, name: str) -> JobSeen | None:
        """Look at it; None when there is none of that name."""
        ...

    def halt(self, namespace: str, manifest: Mapping[str, Any]) -> JobSeen:
        """Suspend it, or create it suspended: from then on it can neither run nor begin late. Say where it stands."""
        ...

    def may_create(self, namespace: str) -> str:
        """Say what our account may not do with Jobs in this namespace; empty when it may do all that is needed."""
        ...

    def service_addresses(self, namespace: str, deployment: str) -> Sequence[str]:
        """List the addresses of the Services that lead to its pods: cluster, external and load balancer's."""
        ...

    def unseen_ways(self, namespace: str, deployment: str) -> Sequence[str]:
        """List, in words, what a gateway does not see: Services of the pods, NodePorts, CronJobs of the namespace."""
        ...

    def service_names(self, namespace: str, deployment: str) -> Sequence[str]:
        """List the Services that lead to the pods of a Deployment."""
        ...


@dataclass(frozen=True, slots=True)
class Answered:
    """What a request or a command brought. `code`: HTTP status or exit code; `output` the body or what was printed, cut short."""

    code: int
    output: str
    took: timedelta


class Requests(Protocol):
    """HTTP requests of hooks and tests."""

    def send(self, method: str, url: str, headers: Mapping[str, str], body: str, *, timeout: timedelta) -> Answered:
        """Send one. Raises Unavailable when no answer came in time."""
        ...


@dataclass(frozen=True, slots=True)
class Shown:
    """A credential, read for one request: the `headers` that carry it, and its secret parts, which no answer may bring back."""

    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    def masked(self, text: str) -> str:
        """Blank what an answer repeats of it."""
        for secret in sorted(filter(None, self.secrets), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


NOTHING_SHOWN = Shown({}, ())


class Credentials(Protocol):
    """The daemon's credentials, by the names that plans use."""

    def of(self, name: str, url: str) -> Shown:
        """Look one up for this address, now. Raises Refused: no such name, not meant for that host, its file cannot be read."""
        ...


class Commands(Protocol):
    """Programs of hooks and tests, started without a shell."""

    def run(self, words: Sequence[str], environment: Mapping[str, str], *, timeout: timedelta) -> Answered:
        """Run one to its end. Raises Unavailable when it did not end in time (it is killed), Refused when it cannot be started."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One service calls another. `per_minute` None: how often is not known."""

    caller: str
    callee: str
    per_minute: float | None = None


class Topology(Protocol):
    """Who calls whom, as traces show it."""

    def calls(self, service: str, *, hops: int) -> Sequence[Call]:
        """List the calls to and from a service, up to so many hops. Raises Unavailable, Rejected."""
        ...
