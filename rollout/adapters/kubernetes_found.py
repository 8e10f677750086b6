"""What preflight has read of a target, raw, and the small questions that its checks ask of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rollout.adapters.kubernetes_slim import Document
from rollout.core.target import Target
from rollout.ports import Check


@dataclass(frozen=True, slots=True)
class Found:
    """The answers of the API about one target. None: there is no such object. `denied`: what we may not read, by resource."""

    target: Target
    image: str
    stable: Document | None = None
    canary: Document | None = None
    service: Document | None = None
    namespace: Document | None = None
    pods: Sequence[Document] = ()
    autoscalers: Sequence[Document] = ()
    scaled_objects: Sequence[Document] = ()
    budgets: Sequence[Document] = ()
    quotas: Sequence[Document] = ()
    denied: Mapping[str, str] = field(default_factory=dict)
    permitted: Mapping[str, bool] = field(default_factory=dict)
    """For each permission that was asked about (`patch deployments.apps`): whether we have it."""

    @property
    def both(self) -> Sequence[tuple[str, Document]]:
        """Stable and canary, those that exist, by name."""
        pairs = ((self.target.stable, self.stable), (self.target.canary, self.canary))
        return [(name, document) for name, document in pairs if document is not None]


def ok(name: str, message: str) -> Check:
    """Word a check that passed."""
    return Check(name, "ok", message)


def warning(name: str, message: str, remedy: str) -> Check:
    """Word a check that does not stop the rollout."""
    return Check(name, "warning", message, remedy)


def refused(name: str, message: str, remedy: str) -> Check:
    """Word a check that stops the rollout."""
    return Check(name, "refused", message, remedy)


def dig(document: Document | None, *path: str) -> Any:  # noqa: ANN401 - JSON of any shape
    """Walk down a document; None wherever the path ends early."""
    here: Any = document
    for key in path:
        here = here.get(key) if isinstance(here, Mapping) else None
    return here


def mapping(document: Document | None, *path: str) -> Mapping[str, Any]:
    """As `dig`, for a map; empty where there is none."""
    value = dig(document, *path)
    return value if isinstance(value, Mapping) else {}


def rows(document: Document | None, *path: str) -> Sequence[Document]:
    """As `dig`, for a list of maps; empty where there is none."""
    value = dig(document, *path)
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def name_of(document: Document) -> str:
    """`metadata.name`."""
    return str(dig(document, "metadata", "name") or "")


def template_labels(document: Document) -> Mapping[str, str]:
    """The labels of a Deployment's pods."""
    return mapping(document, "spec", "template", "metadata", "labels")


def containers(document: Document, *, template: bool = True) -> Iterator[Document]:
    """Every container, init containers included, of a Deployment's template or of a pod."""
    spec = mapping(document, "spec", "template", "spec") if template else mapping(document, "spec")
    for kind in ("initContainers", "containers"):
        yield from rows(spec, kind)


def container(document: Document, name: str) -> Document | None:
    """The named container of a Deployment's template."""
    return next((c for c in rows(document, "spec", "template", "spec", "containers") if c.get("name") == name), None)


def environment(one: Document) -> Mapping[str, str]:
    """A container's variables; a value that comes from elsewhere is shown as its source, such as `status.podIP`."""
    values: dict[str, str] = {}
    for variable in rows(one, "env"):
        field_path = dig(variable, "valueFrom", "fieldRef", "fieldPath")
        values[str(variable.get("name", ""))] = str(variable.get("value") or field_path or "")
    return values


def selects(selector: Document, labels: Mapping[str, str]) -> bool:
    """Say whether a label selector (`matchLabels`, `matchExpressions`) matches these labels."""
    wanted = mapping(selector, "matchLabels")
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_expression(row, labels) for row in rows(selector, "matchExpressions"))


def _expression(row: Document, labels: Mapping[str, str]) -> bool:
    key, values = str(row.get("key", "")), row.get("values") or ()
    match row.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False


def words(labels: Mapping[str, Any]) -> str:
    """Write labels as kubectl does: `app=nginx,role=canary`."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "nothing"
