"""The rehearsal of a gate: everything that closing it will need is tried, but nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from rollout.adapters.apisix_admin import AdminClient
from rollout.core.errors import Refused, Rejected, RolloutError, Unavailable
from rollout.core.gate import IP_RESTRICTION, GateConfig, GateObject, GateTarget
from rollout.core.gate_checks import config_problems
from rollout.core.gate_plan import is_closed, needs_whole_put
from rollout.core.gate_probe import Passage, ProbeResult, Vantage, passage
from rollout.ports import Check

DEFAULT_CODE = 403


class Rehearsed(Protocol):
    """The parts of a gateway that a rehearsal uses."""

    @property
    def name(self) -> str:
        """The gateway's name."""
        ...

    def find(self, target: GateTarget, plugin: str) -> GateObject:
        """Find exactly one object."""
        ...

    def bypasses(self, gate: GateObject) -> Sequence[str]:
        """List the ways past the gate."""
        ...

    def besides(self, gate: GateObject) -> Sequence[str]:
        """List the rules that act besides the gate, or that it takes the place of."""
        ...

    def probe(self, vantage: Vantage) -> Sequence[ProbeResult]:
        """Ask through the data plane."""
        ...


def rehearse(
    gateway: Rehearsed, admin: AdminClient | None, target: GateTarget, config: GateConfig, vantages: Sequence[Vantage]
) -> tuple[Check, ...]:
    """Try everything but the write. The first refusal about the object ends it: the rest would be about nothing."""
    try:
        found = gateway.find(target, config.plugin)
    except Unavailable as away:
        return (Check("gate", "warning", str(away), "the rehearsal is repeated; look at the gateway's Admin API"),)
    except (Refused, Rejected) as no:
        return (Check("gate", "refused", str(no), "correct the plan's `gate`, or the gateway"),)
    return (
        _standing(found, config),
        *_configuration(found, config, admin),
        *(_permission(admin) if admin is not None and not found.place.kind.in_cluster else ()),
        *_beside(gateway, found),
        *_probes(gateway, config, vantages),
    )


def _standing(found: GateObject, config: GateConfig) -> Check:
    version = f" on APISIX {found.version}" if found.version else ""
    if is_closed(found, config):
        words = f"{found}{version} is closed already, exactly as this plan would: what stood there before is not known"
        return Check("gate", "refused", words, "open it first, or wait for the maintenance that has closed it")
    now = "has none" if found.save().absent else "has one, which is put back afterwards"
    return Check("gate", "ok", f"{found}{version} is found; of {config.plugin} it {now}")


def _configuration(found: GateObject, config: GateConfig, admin: AdminClient | None) -> Iterator[Check]:
    for problem in config_problems(config, found.version):
        yield Check("gate configuration", "refused", problem.message, problem.remedy)
    hidden = found.version is None and admin is not None and config.plugin == IP_RESTRICTION
    if hidden and config.response_code != DEFAULT_CODE and admin is not None and not _knows_code(admin):
        words = f"this server stores `responseCode: {config.response_code}` and still answers {DEFAULT_CODE}"
        yield Check("gate configuration", "refused", words, "leave responseCode out, or upgrade the gateway to 3.13")
    if found.owner:
        words = f"{found} is also written by {found.owner}"
        yield Check("gate owner", "warning", words, "pause its sync for the window, or it opens the gate again")
    if needs_whole_put(found.version, found.plugins) and not found.place.kind.in_cluster:
        words = f"{found} carries plugins with secrets that a PATCH of this version damages; it is written whole, last writer wins"
        yield Check("gate write", "warning", words, "let nobody else change this object during the window")
    if config.plugin != IP_RESTRICTION and not any(name.endswith("-auth") for name in found.plugins):
        words = f"{found} has no plugin that names a consumer, so {config.plugin} would turn everybody away with 401"
        yield Check("gate consumers", "warning", words, "put key-auth or another authentication on the route or its service")


def _knows_code(admin: AdminClient) -> bool:
    try:
        return admin.knows_response_code()
    except RolloutError:
        return False


def _permission(admin: AdminClient) -> Iterator[Check]:
    try:
        admin.may_write()
    except RolloutError as no:
        level = "warning" if isinstance(no, Unavailable) else "refused"
        yield Check("gate permission", level, str(no), "use a key of the role admin, from an address in allow_admin")
    else:
        yield Check("gate permission", "ok", "the key may write")


def _beside(gateway: Rehearsed, found: GateObject) -> Iterator[Check]:
    try:
        ways, rules = gateway.bypasses(found), gateway.besides(found)
    except RolloutError as no:
        yield Check("gate bypass", "warning", f"other ways to the pods could not be looked for: {no}")
        return
    for rule in rules:
        yield Check("gate precedence", "warning", rule, "look whether the testers pass, and nobody else")
    for way in ways:
        yield Check("gate bypass", "warning", way, "gate it too, or accept that it stays open")
    if not ways:
        yield Check("gate bypass", "ok", "no other way to the same pods is configured")


def _probes(gateway: Rehearsed, config: GateConfig, vantages: Sequence[Vantage]) -> Iterator[Check]:
    for vantage in vantages:
        for result in gateway.probe(vantage):
            seen = passage(result, config)
            where = f"{vantage.name} at {result.node}"
            if seen is Passage.SERVED:
                yield Check("gate probe", "ok", f"{where}: HTTP {result.status}")
                continue
            words = result.error or f"HTTP {result.status}, {seen.value}"
            yield Check("gate probe", "warning", f"{where}: {words}; expected the service", "a gate cannot be proven from here")


def check(name: str, admin: AdminClient | None) -> tuple[Check, ...]:
    """Tell for doctor: reachable, which version, whether the key may write."""
    if admin is None:
        return (Check(name, "ok", "no admin_url: gates are only written through Kubernetes objects"),)
    try:
        routes = len(admin.listed("routes"))
    except RolloutError as no:
        return (Check(name, "refused", str(no), f"look at {admin.shown_url}"),)
    version = str(admin.version) if admin.version else "of unknown version"
    return (Check(name, "ok", f"APISIX {version} at {admin.shown_url}, {routes} routes"), *_permission(admin))
