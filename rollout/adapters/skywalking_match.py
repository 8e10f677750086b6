"""Which SkyWalking instances are which pods. Pure.

An agent names its instance by its settings; the stock Java agent, when nothing is set, `<UUID>@<IP>`. In order: the template
that the plan gives, the pod's IP, the pod's name, a name that ends with `@IP`, the reported `ipv4s`. The first rule that finds
something decides for a pod. Several instances of one pod are a process that was restarted: both are the pod's. An instance
that two pods would claim belongs to neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rollout.core.signals import PodKey

_CUT_AT = (50, 70)
"""Names are cut by the Java agent at 50 and by OAP at 70 characters."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as OAP lists it. `ips`: what the agent reported as `ipv4s`."""

    id: str
    name: str
    ips: tuple[str, ...] = ()


def parse_instances(listed: object) -> tuple[Instance, ...] | None:
    """Read `[{id name attributes{name value}}]`; None when it is not that."""
    if not isinstance(listed, list):
        return None
    found: list[Instance] = []
    for item in listed:
        match item:
            case {"id": str() as identity, "name": str() as name}:
                found.append(Instance(identity, name, _ips(item.get("attributes"))))
            case _:
                return None
    return tuple(found)


def _ips(attributes: object) -> tuple[str, ...]:
    for attribute in attributes if isinstance(attributes, list) else []:
        match attribute:
            case {"name": "ipv4s", "value": str() as value}:
                return tuple(part for part in value.replace(",", " ").replace(";", " ").split() if part)
    return ()


def match_instances(
    pods: Sequence[PodKey], instances: Sequence[Instance], template: str = ""
) -> Mapping[str, tuple[Instance, ...]]:
    """Find the instances of each pod, by pod name; pods without one are not in the mapping.

    `template` may use `{{ip}}`, `{{name}}`, `{{namespace}}`, for example `{{name}}@{{ip}}`.
    """
    claims: dict[str, list[str]] = {}
    found: dict[str, tuple[Instance, ...]] = {}
    for pod in pods:
        for rule in _rules(pod, template):
            if chosen := tuple(instance for instance in instances if rule(instance)):
                found[pod.name] = chosen
                for instance in chosen:
                    claims.setdefault(instance.id, []).append(pod.name)
                break
    contested = {identity for identity, names in claims.items() if len(names) > 1}
    own = {name: tuple(i for i in chosen if i.id not in contested) for name, chosen in found.items()}
    return {name: chosen for name, chosen in own.items() if chosen}


def _rules(pod: PodKey, template: str) -> list[Callable[[Instance], bool]]:
    rules: list[Callable[[Instance], bool]] = []
    if template:
        wanted = template.replace("{{ip}}", pod.ip).replace("{{name}}", pod.name).replace("{{namespace}}", pod.namespace)
        rules.append(lambda instance: _same(instance.name, wanted))
    if pod.ip:
        rules.append(lambda instance: instance.name == pod.ip)
    rules.append(lambda instance: _same(instance.name, pod.name))
    if pod.ip:
        rules.append(lambda instance: instance.name.endswith(f"@{pod.ip}"))
        rules.append(lambda instance: pod.ip in instance.ips)
    return rules


def _same(shown: str, wanted: str) -> bool:
    return shown == wanted or any(len(shown) == cut and wanted[:cut] == shown for cut in _CUT_AT)
