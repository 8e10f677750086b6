"""The metrics that the pretend Prometheus has scraped: the pods' own, and APISIX's about them. All read the one traffic."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rollout.sandbox.kube_objects import uid_of
from rollout.sandbox.promql_series import Family, Series
from rollout.sandbox.storage import Change, ChangeType
from rollout.sandbox.traffic_counts import TrafficCounts
from rollout.sandbox.world import World

BUCKETS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000)
"""APISIX's buckets, milliseconds."""
KEPT = timedelta(hours=6)
_CACHE = 8_192
GATEWAY_MS = 2.0
"""What the gateway itself adds to a request."""


@dataclass(slots=True)
class Target:
    """One pod that is or was scraped; `until` is when it vanished."""

    uid: str
    namespace: str
    name: str
    ip: str
    app: str
    since: float
    until: float = math.inf


class TrafficMetrics:
    """Families of series over all pods of a world, those that vanished in the last six hours too."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._targets: dict[str, Target] = {}
        self._totals: dict[tuple[str, str, float], TrafficCounts] = {}
        for pod in world.objects("pods"):
            self._note(pod)
        world.observers.append(self._saw)

    def families(self) -> Mapping[str, Family]:
        """Every metric by name."""
        return {
            "up": self._up,
            "http_requests_total": self._requests,
            "http_request_duration_seconds_bucket": self._buckets,
            "http_request_duration_seconds_sum": lambda: self._per_pod(lambda c: c.latency_sum_ms / 1_000),
            "http_request_duration_seconds_count": lambda: self._per_pod(lambda c: float(c.requests)),
            "log_error_lines_total": lambda: self._per_pod(lambda c: float(c.error_logs)),
            "apisix_http_status": self._gateway_status,
            "apisix_http_latency_bucket": self._gateway_buckets,
            "apisix_http_latency_count": lambda: self._gateway_latency("_count"),
            "apisix_http_latency_sum": lambda: self._gateway_latency("_sum"),
        }

    def targets(self) -> Iterable[Target]:
        """The pods that are or lately were scraped."""
        return tuple(self._targets.values())

    def _saw(self, change: Change) -> None:
        if change.resource != "pods":
            return
        uid = uid_of(change.new)
        if change.type is not ChangeType.DELETED:
            if uid not in self._targets:
                self._note(change.new)
        elif uid in self._targets:
            self._targets[uid].until = change.at.timestamp()
            self._forget(change.at)

    def _note(self, pod: dict[str, object] | Mapping[str, object]) -> None:
        began = self._world.traffic.started_at(uid_of(dict(pod)))
        if began is None:
            return
        metadata, status = dict(pod)["metadata"], dict(pod)["status"]
        assert isinstance(metadata, dict)  # noqa: S101 - narrows JSON for the type checker
        assert isinstance(status, dict)  # noqa: S101 - as above
        app = (metadata.get("labels") or {}).get("app", "")
        place = (metadata["namespace"], metadata["name"], status.get("podIP", ""))
        self._targets[metadata["uid"]] = Target(metadata["uid"], *place, app, began.timestamp())

    def _forget(self, now: datetime) -> None:
        for uid, target in list(self._targets.items()):
            if target.until < (now - KEPT).timestamp():
                del self._targets[uid]
                self._world.traffic.forget(uid)

    def _total(self, uid: str, at: float, service: str = "") -> TrafficCounts:
        key = (uid, service, at)
        known = self._totals.get(key)
        if known is None:
            if len(self._totals) >= _CACHE:
                self._totals.clear()
            known = self._world.traffic.total(uid, datetime.fromtimestamp(at, UTC), service or None)
            self._totals[key] = known
        return known

    def _labels(self, target: Target) -> dict[str, str]:
        place = {"namespace": target.namespace, "pod": target.name, "app": target.app}
        return {**place, "instance": f"{target.ip}:9102", "job": "pods"}

    def _up(self) -> Iterator[Series]:
        for target in self.targets():
            yield Series(self._labels(target), lambda _: 1.0, target.since, target.until)

    def _per_pod(self, read: Callable[[TrafficCounts], float], **more: str) -> Iterator[Series]:
        for target in self.targets():
            yield self._series(target, {**self._labels(target), **more}, read)

    def _series(self, target: Target, labels: Mapping[str, str], read: Callable[[TrafficCounts], float]) -> Series:
        return Series(labels, lambda at: read(self._total(target.uid, at)), target.since, target.until, monotone=True)

    def _requests(self) -> Iterator[Series]:
        yield from self._per_pod(lambda c: float(c.requests - c.errors), code="200")
        yield from self._per_pod(lambda c: float(c.errors), code="500")

    def _buckets(self) -> Iterator[Series]:
        for limit in (*BUCKETS_MS, math.inf):
            le = "+Inf" if math.isinf(limit) else f"{limit / 1_000:g}"
            yield from self._per_pod(lambda c, limit=limit: float(c.within(limit)), le=le)  # type: ignore[misc]

    def _gateway(self) -> Iterator[tuple[Target, str, dict[str, str]]]:
        """Each pair of pod and Service that the gateway has sent to; the route has the Service's name."""
        for target in self.targets():
            for service in self._world.traffic.services_of(target.uid):
                name = service.split("/", 1)[1]
                labels = {"route": name, "service": "", "consumer": "", "node": target.ip}
                yield target, service, {**labels, "instance": "apisix-0:9091", "job": "apisix"}

    def _flow(self, target: Target, service: str, labels: Mapping[str, str], read: Callable[[TrafficCounts], float]) -> Series:
        """A series of the gateway: it begins with the first request and stays when the pod has gone."""
        return Series(labels, lambda at: read(self._total(target.uid, at, service)), target.since, monotone=True)

    def _gateway_status(self) -> Iterator[Series]:
        for target, service, labels in self._gateway():
            named = {**labels, "matched_uri": "/*", "matched_host": ""}
            ok, failed = {**named, "code": "200"}, {**named, "code": "500"}
            yield self._flow(target, service, ok, lambda c: float(c.requests - c.errors))
            yield self._flow(target, service, failed, lambda c: float(c.errors))

    def _gateway_buckets(self) -> Iterator[Series]:
        for target, service, labels in self._gateway():
            for kind, added in (("upstream", 0.0), ("request", GATEWAY_MS)):
                for limit in (*BUCKETS_MS, math.inf):
                    le = "+Inf" if math.isinf(limit) else str(limit)
                    named = {**labels, "type": kind, "le": le}
                    shorter = limit - added
                    yield self._flow(target, service, named, lambda c, limit=shorter: float(c.within(limit)))  # type: ignore[misc]

    def _gateway_latency(self, what: str) -> Iterator[Series]:
        for target, service, labels in self._gateway():
            for kind, added in (("upstream", 0.0), ("request", GATEWAY_MS)):
                named = {**labels, "type": kind}
                if what == "_count":
                    yield self._flow(target, service, named, lambda c: float(c.requests))
                else:
                    yield self._flow(
                        target, service, named, lambda c, added=added: c.latency_sum_ms + added * c.requests  # type: ignore[misc]
                    )  # fmt: skip
