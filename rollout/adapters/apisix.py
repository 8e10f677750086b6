"""APISIX as a gateway: one gate, found exactly, closed, opened, rehearsed and proven.

Nothing here believes an answer: after every write the object is read again, and after a write whose answer is lost it is read
until two reads a settle time apart agree. A PATCH that its client had given up was seen to land when a stopped etcd resumed,
two minutes later; so whoever holds a gate goes on reading it.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

from rollout.adapters.apisix_admin import AdminClient, ApisixSettings, Value
from rollout.adapters.apisix_crd import CustomGates, CustomObjects
from rollout.adapters.apisix_probe import Prober
from rollout.adapters.apisix_rehearsal import check, rehearse
from rollout.core.errors import Conflict, Refused, Rejected, Unavailable
from rollout.core.gate import GateConfig, GateObject, GateTarget, GateWrite, Nothing, Place, PlaceKind, SavedGate
from rollout.core.gate_checks import config_problems, target_problems
from rollout.core.gate_plan import is_as_saved, is_closed, plan_close, plan_open
from rollout.core.gate_probe import ProbeResult, Vantage
from rollout.core.gate_view import GatewayView, RouteReach, besides, bypasses, hosts_of, owner_of, routes_reaching, uris_of
from rollout.core.wording import listed, span
from rollout.ports import Check, Clock
from rollout.ports_offline import Credentials

__all__ = ["ApisixGateway", "ApisixSettings", "CustomObjects"]

Wait = Callable[[float], object]


class ApisixGateway:
    """One configured gateway.

    `objects` reaches the custom objects of its cluster, `credentials` are the daemon's; `wait` and `jitter` are for tests.
    """

    def __init__(
        self,
        name: str,
        settings: ApisixSettings,
        clock: Clock,
        *,
        objects: CustomObjects | None = None,
        credentials: Credentials | None = None,
        wait: Wait | None = None,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._admin = AdminClient(name, settings, clock) if settings.admin_url else None
        self._custom = CustomGates(name, objects) if objects is not None else None
        self._prober = Prober(settings, clock, credentials)
        self._wait: Wait = wait or threading.Event().wait
        self._jitter = jitter or random.SystemRandom().random

    @property
    def name(self) -> str:
        """The gateway's name in the daemon's configuration."""
        return self._name

    @property
    def admin(self) -> AdminClient:
        """The Admin API. Raises Refused where none is configured."""
        if self._admin is None:
            raise Refused(f"gateway {self._name} has no admin_url; only gates in Kubernetes objects can be written")
        return self._admin

    def close(self) -> None:
        """Give back connections."""
        if self._admin is not None:
            self._admin.close()

    def find(self, target: GateTarget, plugin: str) -> GateObject:
        """Find exactly one object. Raises Refused: none, several (all named), badly worded, owned by a controller."""
        problems = target_problems(target)
        if problems:
            raise Refused(f"the gate cannot be looked for: {problems[0]}", problems)
        if target.kind.in_cluster:
            return self._read(Place(target.kind, f"{target.namespace}/{target.name}"), plugin, target.rule)
        place = Place(target.kind, target.id) if target.id else self._look_up(target)
        found = self._read(place, plugin)
        _refuse_owned(found)
        return found

    def read(self, place: Place, plugin: str, rule: str = "") -> GateObject:
        """Read one object again; `rule` picks one of an ApisixRoute's. Raises Rejected with code 404 when it is gone."""
        try:
            return self._read(place, plugin, rule)
        except Refused as gone:
            raise Rejected(self._name, str(gone), code=404) from gone

    def _read(self, place: Place, plugin: str, rule: str = "") -> GateObject:
        if place.kind.in_cluster:
            if self._custom is None:
                raise Refused(f"gateway {self._name} knows no cluster, so {place} cannot be read")
            return self._custom.get(place, plugin, rule)
        found = self.admin.get(place, plugin)
        if found is None:
            raise Refused(f"there is no {place} on gateway {self._name}; nothing is created in its place")
        return found

    def _look_up(self, target: GateTarget) -> Place:
        # The server's name filter is a regular expression, and 2.x ignores it: what comes back is compared again.
        filters = {"name": f"^{re.escape(target.name)}$"} if target.name else None
        values = self.admin.listed(target.kind.value, filters)
        services = self.admin.listed("services") if target.host and target.kind is PlaceKind.ROUTE else ()
        view = GatewayView(services=services)
        found = [value for value in values if _is(target, value, view)]
        if not found:
            names = listed(sorted({str(value.get("name") or value.get("id")) for value in values}))
            raise Refused(f"no {target} on gateway {self._name}" + (f"; near it: {names}" if names else ""))
        if len(found) > 1:
            names = listed(f"{value.get('id')} ({value.get('name') or 'no name'})" for value in found)
            raise Refused(f"{len(found)} objects match {target} on gateway {self._name}: {names}; name one by its id")
        return Place(target.kind, str(found[0].get("id")))

    def close_gate(self, place: Place, config: GateConfig, rule: str = "") -> GateObject:
        """Make it exactly `config` (the caller has saved what stood there), return what was read after. Raises Conflict."""
        problems = config_problems(config, self._admin.version if self._admin else None)
        if problems:
            raise Refused(f"the gate on {place} cannot be closed like this: {problems[0]}", problems)

        def step(current: GateObject) -> None:
            if place.kind.in_cluster:
                self._customs.close_gate(place, config, rule)
                return
            _refuse_owned(current)
            self._write(plan_close(current, config))

        return self._reach(place, config.plugin, rule, step, lambda seen: is_closed(seen, config))

    def open_gate(self, saved: SavedGate) -> GateObject:
        """Put back exactly what was saved, return what was read after. Raises Conflict when others keep writing."""

        def step(current: GateObject) -> None:
            if saved.place.kind.in_cluster:
                self._customs.open_gate(saved)
            else:
                self._write(plan_open(saved, current))

        return self._reach(saved.place, saved.plugin, "", step, lambda seen: is_as_saved(seen, saved))

    @property
    def _customs(self) -> CustomGates:
        if self._custom is None:
            raise Refused(f"gateway {self._name} knows no cluster")
        return self._custom

    def _write(self, write: GateWrite | Nothing) -> None:
        if not isinstance(write, Nothing):
            self.admin.write(write)

    def _reach(
        self,
        place: Place,
        plugin: str,
        rule: str,
        step: Callable[[GateObject], None],
        reached: Callable[[GateObject], bool],
    ) -> GateObject:
        """Look, write, look again, until the object is as wanted; a lost race is run again after a pause of random length."""
        seen = self.read(place, plugin, rule)
        for attempt in range(self._settings.tries):
            if reached(seen):
                return seen
            if attempt:
                self._wait(min(0.05 * 2**attempt, 2.0) * (0.5 + self._jitter()))
                seen = self.read(place, plugin, rule)
            try:
                step(seen)
            except Conflict:
                continue
            except Rejected:
                # A null for a plugin that somebody took away in the meantime is declined: then it is as wanted.
                seen = self.read(place, plugin, rule)
                if reached(seen):
                    return seen
                raise
            except Unavailable as lost:
                return self._settled(place, plugin, rule, reached, lost)
            seen = self.read(place, plugin, rule)
        if reached(seen):
            return seen
        raise Conflict(self._name, f"{place}: others kept writing it, {self._settings.tries} attempts were lost; look who does")

    def _settled(
        self, place: Place, plugin: str, rule: str, reached: Callable[[GateObject], bool], lost: Unavailable
    ) -> GateObject:
        """Look until two reads a settle time apart agree. Raises Unavailable (`maybe_done`) unless they show what was wanted."""
        deadline = self._clock.monotonic() + self._settings.patience.total_seconds()
        last: GateObject | None = None
        while self._clock.monotonic() < deadline:
            try:
                seen = self.read(place, plugin, rule)
            except Unavailable:
                last = None
            else:
                if last is not None and last.parts == seen.parts:
                    if reached(seen):
                        return seen
                    break
                last = seen
            self._wait(self._settings.settle.total_seconds())
        waited = span(timedelta(seconds=self._settings.patience.total_seconds()))
        state = "it has not arrived so far" if last is not None else f"it could not be read for {waited}"
        reason = str(lost).removeprefix(f"{self._name}: ")
        raise Unavailable(
            self._name, f"write of {place}: {reason}; {state}, and the write may still land: look again", maybe_done=True
        ) from lost

    def probe(self, vantage: Vantage) -> Sequence[ProbeResult]:
        """Ask through the data plane, once for every configured node; failures are results."""
        return self._prober.probe(vantage)

    def rehearse(self, target: GateTarget, config: GateConfig, vantages: Sequence[Vantage] = ()) -> Sequence[Check]:
        """Check that closing would work: found, ours to write, the key may write, the probes answer. Changes nothing."""
        return rehearse(self, self._admin, target, config, vantages)

    def bypasses(self, gate: GateObject) -> Sequence[str]:
        """List, in words, the ways past the gate that the configuration shows."""
        if self._admin is None:
            return (f"gateway {self._name} has no admin_url: other routes to the same pods cannot be looked for",)
        view = self._admin.view()
        if not gate.place.kind.in_cluster:
            return bypasses(view, gate)
        if gate.place.kind is PlaceKind.APISIX_PLUGIN_CONFIG:
            return (f"which routes use {gate.place} does not show on the gateway: their own plugins would win over it",)
        made = [Place(PlaceKind.ROUTE, str(route.get("id"))) for route in view.routes if _made_from(route, gate)]
        return bypasses(view, gate, made) if made else (f"{gate.place} has made no route on gateway {self._name} yet",)

    def besides(self, gate: GateObject) -> Sequence[str]:
        """List, in words, the rules of the gate's kind that act besides it, or that it takes the place of."""
        if self._admin is None:
            return ()
        view = self._admin.view()
        made = [Place(PlaceKind.ROUTE, str(route.get("id"))) for route in view.routes if _made_from(route, gate)]
        return besides(view, gate, made) if made or not gate.place.kind.in_cluster else ()

    def routes_reaching(self, nodes: Sequence[str], services: Sequence[str] = ()) -> Sequence[RouteReach]:
        """Find the routes that lead to these hosts (pod IPs, Service names) or gateway services."""
        return routes_reaching(self.admin.view(), nodes, services)

    def check(self) -> Sequence[Check]:
        """Tell for doctor: reachable, which version, whether the key may write."""
        return check(self._name, self._admin)


def _refuse_owned(found: GateObject) -> None:
    if found.owner:
        raise Refused(
            f"{found} is written by {found.owner}, which would undo a change; say `via: ApisixRoute` (or ApisixPluginConfig) "
            "with its namespace and name"
        )


def _is(target: GateTarget, value: Value, view: GatewayView) -> bool:
    """Compare exactly what the target names."""
    if target.name:
        return value.get("name") == target.name
    if target.label:
        key, _, wanted = target.label.partition("=")
        labels = value.get("labels")
        return isinstance(labels, dict) and labels.get(key) == wanted
    hosts = tuple(value.get("hosts") or ()) if target.kind is PlaceKind.SERVICE else hosts_of(view, value)
    host_fits = not target.host or target.host in hosts
    return host_fits and (not target.uri or target.uri in uris_of(value))


def _made_from(route: Value, gate: GateObject) -> bool:
    """Recognise the routes that a controller made of an ApisixRoute: named `namespace_name_rule`."""
    prefix = gate.place.id.replace("/", "_", 1)
    return bool(owner_of(route)) and str(route.get("name")) in {f"{prefix}_{part.rule}" for part in gate.parts}
