"""The gate of an offline plan: which object of the gateway, who is still let in, what the others are told, where it is probed."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from rollout.core.gate import CONSUMER_RESTRICTION, IP_RESTRICTION, GateConfig, GateTarget, PlaceKind
from rollout.core.gate_checks import config_problems, target_problems
from rollout.core.gate_probe import Vantage
from rollout.core.plan_base import Contradiction, Part
from rollout.core.plan_secrets import secret_parameters
from rollout.core.quantities import Label, Line, Name, Whole, check_address


class Via(StrEnum):
    """How the gate is written: by the Admin API, or in the Kubernetes object where an ingress controller owns the route."""

    ADMIN_API = "AdminApi"
    APISIX_ROUTE = "ApisixRoute"
    APISIX_PLUGIN_CONFIG = "ApisixPluginConfig"


class GateObjectName(Part):
    """Which object: `id`, exact `name`, `host` with or without `uri`, or `label` (`key=value`).

    With `via: ApisixRoute` or `ApisixPluginConfig`: `namespace` and `name`, and perhaps one `rule` of an ApisixRoute.
    """

    id: Line | None = None
    name: Line | None = None
    host: Line | None = None
    uri: Line | None = None
    label: Line | None = None
    namespace: Label | None = None
    rule: Line | None = None


class Probe(Part):
    """A place to look at the gate from. A `url` that is only a path is asked of every node of the gateway in turn.

    `credential` names headers in the gateway's settings: a plan holds no secrets.
    """

    name: Line | None = None
    url: Annotated[Line, Field(pattern=r"^(https?://[^\s/@]+(/\S*)?|/\S*)$"), AfterValidator(check_address)]
    host: Line | None = None
    source_address: Line | None = None
    forwarded_for: Line | None = None
    credential: Label | None = None
    method: Literal["GET", "HEAD", "POST", "OPTIONS"] = "GET"

    def contradictions(self) -> Iterator[Contradiction]:
        """No secret stands in its address."""
        for name in secret_parameters(self.url):
            words = f"{name} looks like a secret, and a plan is stored, shown and logged"
            yield Contradiction("url", words, "put it as a header into the gateway's settings, and say credential: NAME")

    def vantage(self, number: int, *, allowed: bool) -> Vantage:
        """Make the value that a gateway's probe takes."""
        name = self.name or f"{'inside' if allowed else 'outside'}-{number}"
        return Vantage(
            name,
            allowed,
            self.url,
            self.host or "",
            self.source_address or "",
            self.forwarded_for or "",
            self.credential or "",
            method=self.method,
        )


class Probes(Part):
    """Where the gate is proven from: `outside` must get the fixed answer, `inside` the service."""

    outside: Annotated[tuple[Probe, ...], Field(max_length=20)] = ()
    inside: Annotated[tuple[Probe, ...], Field(max_length=20)] = ()


class Gate(Part):
    """A closed gate. Exactly one of `route`, `service` and `pluginConfig`, and one of `allow` and `allowConsumers`."""

    gateway: Label = "apisix"
    """The gateway's name in the daemon's configuration."""
    via: Via = Via.ADMIN_API
    route: GateObjectName | None = None
    service: GateObjectName | None = None
    plugin_config: GateObjectName | None = None
    allow: Annotated[tuple[Line, ...], Field(max_length=1_000)] = ()
    allow_consumers: Annotated[tuple[Name, ...], Field(max_length=1_000)] = ()
    message: Line = "Under maintenance, please try again later"
    response_code: Whole = 403
    probes: Probes = Probes()

    def contradictions(self) -> Iterator[Contradiction]:
        """One object, one list, and a list that lets in some and not all."""
        if self.allow and self.allow_consumers:
            remedy = "let in by address or by consumer, not both"
            yield Contradiction("allowConsumers", "goes not together with allow", remedy, ("allow",))
        keys = [key for key in ("route", "service", "pluginConfig") if self._named(key) is not None]
        if len(keys) != 1:
            seen = f"{' and '.join(keys)} are given" if keys else "nothing says where the gate is"
            remedy = "exactly one of route, service and pluginConfig"
            yield Contradiction(keys[-1] if keys else "", seen, remedy, ("route", "service", "pluginConfig"))
        elif (self.via, keys[0]) in _MISFITS:
            fits = "route" if self.via is Via.APISIX_ROUTE else "pluginConfig"
            yield Contradiction(
                keys[0], f"via: {self.via.value} is written by {fits}", f"put {fits} instead of {keys[0]}", ("via",)
            )
        else:
            for problem in target_problems(self.target):
                key = problem.key.removeprefix("gate").lstrip(".")
                yield Contradiction(".".join(filter(None, (keys[0], key))), problem.message, problem.remedy, ("via",))
        for problem in config_problems(self.config) if not (self.allow and self.allow_consumers) else ():
            key = problem.key.removeprefix("gate").lstrip(".")
            key = "allowConsumers" if key == "allow" and self.allow_consumers else key
            yield Contradiction(key, problem.message, problem.remedy, ("allow", "allowConsumers"))

    def _named(self, key: str) -> GateObjectName | None:
        return {"route": self.route, "service": self.service, "pluginConfig": self.plugin_config}[key]

    @property
    def target(self) -> GateTarget:
        """The object as the gateway looks for it."""
        named = self.route or self.service or self.plugin_config or GateObjectName()
        words = {key: value or "" for key, value in named.model_dump().items()}
        return GateTarget(self._kind, **words)

    @property
    def _kind(self) -> PlaceKind:
        if self.via is Via.APISIX_ROUTE:
            return PlaceKind.APISIX_ROUTE
        if self.via is Via.APISIX_PLUGIN_CONFIG:
            return PlaceKind.APISIX_PLUGIN_CONFIG
        if self.service is not None:
            return PlaceKind.SERVICE
        return PlaceKind.PLUGIN_CONFIG if self.plugin_config is not None else PlaceKind.ROUTE

    @property
    def config(self) -> GateConfig:
        """What the closed gate is."""
        plugin = CONSUMER_RESTRICTION if self.allow_consumers else IP_RESTRICTION
        return GateConfig(self.allow or self.allow_consumers, self.message, plugin, self.response_code)

    @property
    def vantages(self) -> tuple[Vantage, ...]:
        """Where the gate is probed from, outside first."""
        outside = (probe.vantage(n, allowed=False) for n, probe in enumerate(self.probes.outside, 1))
        inside = (probe.vantage(n, allowed=True) for n, probe in enumerate(self.probes.inside, 1))
        return (*outside, *inside)


_MISFITS = {(Via.APISIX_ROUTE, "service"), (Via.APISIX_ROUTE, "pluginConfig"),
            (Via.APISIX_PLUGIN_CONFIG, "route"), (Via.APISIX_PLUGIN_CONFIG, "service")}  # fmt: skip
