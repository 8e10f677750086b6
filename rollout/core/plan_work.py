"""Work that a plan gives to others: Jobs by template or written out, HTTP requests, commands; and the tests made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from rollout.core.job_template import namespace_of
from rollout.core.plan_base import Contradiction, Part
from rollout.core.plan_secrets import VARIABLE, secret_fields, secret_headers, secret_parameters, secret_words
from rollout.core.quantities import Duration, DurationOrZero, Label, Line, Text, Whole, check_address, wrong

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""A token of RFC 9110."""
_LARGEST_MANIFEST = 64 * 1024
_STORED = "and a plan is stored, shown and logged"


def _check_job(manifest: dict[str, Any]) -> dict[str, Any]:
    """Accept what has the outline of a Job; the API server checks the rest. Numbers lose the memory of how they were written."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(manifest, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise wrong("holds a value that a manifest cannot have") from error
    if len(json.dumps(plain)) > _LARGEST_MANIFEST:
        raise wrong(f"is larger than {_LARGEST_MANIFEST // 1024} KiB")
    if plain.get("apiVersion") != "batch/v1" or plain.get("kind") != "Job":
        raise wrong("is not a Job", "apiVersion: batch/v1, kind: Job")
    pod: Any = plain
    for key in ("spec", "template", "spec"):
        pod = pod.get(key) if isinstance(pod, dict) else None
    containers = pod.get("containers") if isinstance(pod, dict) else None
    if not isinstance(containers, list) or not containers:
        raise wrong("has no containers", "spec.template.spec.containers is a list")
    return plain


class Job(Part):
    """A Kubernetes Job: a `template` by name (config/kubernetes/), or a whole `manifest`.

    `parameters` become environment variables of its containers. `expected`: how long it usually takes, for the timetable.
    """

    bare: ClassVar[str] = "template"

    template: Line | None = None
    manifest: Annotated[dict[str, Any], AfterValidator(_check_job)] | None = None
    parameters: dict[Line, Text] = Field(default={})
    expected: Duration | None = None
    deadline: Duration = timedelta(hours=1)

    def contradictions(self) -> Iterator[Contradiction]:
        """Either by name or written out."""
        if (self.template is None) == (self.manifest is None):
            yield Contradiction("", "either template or manifest is expected", also=("template", "manifest"))
        metadata = (self.manifest or {}).get("metadata", {})
        if not isinstance(metadata, dict) or not isinstance(metadata.get("namespace", ""), str):
            yield Contradiction("manifest.metadata", "is no metadata of a Job", "namespace: a name, or left out for the target's")
        for key, name in self._secrets():
            words = f"{name} looks like a secret, {_STORED}"
            yield Contradiction(key, words, "put it into a Kubernetes Secret, and name that with envFrom or secretKeyRef")
        if self.expected is not None and self.expected > self.deadline:
            yield Contradiction("expected", "is longer than deadline", "raise deadline", ("deadline",))

    def _secrets(self) -> Iterator[tuple[str, str]]:
        yield from ((f"parameters.{name}", name) for name, value in self.parameters.items() if value and VARIABLE.search(name))
        pod = self.manifest["spec"]["template"]["spec"] if self.manifest is not None else {}
        groups = [pod.get(key) for key in ("initContainers", "containers")]
        for container in (one for group in groups if isinstance(group, list) for one in group):
            if not isinstance(container, dict):
                continue
            items = container.get("env")
            for item in items if isinstance(items, list) else ():
                if isinstance(item, dict) and item.get("value") and VARIABLE.search(str(item.get("name"))):
                    yield "manifest", str(item["name"])
            said = (container.get(key) for key in ("command", "args"))
            words = (word for several in said if isinstance(several, list) for word in several if isinstance(word, str))
            yield from (("manifest", name) for name in secret_words(words))

    @property
    def namespace(self) -> str:
        """The namespace that a written out manifest names; empty where it is the target's, or a template's business."""
        return namespace_of(self.manifest or {}, self.parameters)

    @property
    def takes(self) -> timedelta:
        """How long it is expected to take; 0 where the plan does not say."""
        return self.expected or timedelta(0)


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise wrong("a header's name has only letters, digits and hyphens")
        if not value.isascii():
            raise wrong(f"header {name} has letters that HTTP does not carry", "only ASCII")
    return headers


class HttpRequest(Part):
    """One request. It passes when the status is among `status` and the body holds `contains`.

    `credential` names one of the daemon's `credentials`: a plan holds no secrets.
    """

    url: Annotated[Line, Field(pattern=r"^https?://[^\s/@]+(/\S*)?$"), AfterValidator(check_address)]
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    headers: Annotated[dict[Line, Line], AfterValidator(_check_headers)] = Field(default={})
    body: Text = ""
    status: Annotated[tuple[Annotated[Whole, Field(ge=100, le=599)], ...], Field(min_length=1, max_length=50)] = (200,)
    contains: Text = ""
    credential: Label | None = None

    def contradictions(self) -> Iterator[Contradiction]:
        """No secret stands in it."""
        remedy = "configure it as one of the daemon's credentials, and say credential: NAME"
        for name in secret_headers(self.headers):
            yield Contradiction(f"headers.{name}", f"{name} carries a credential, {_STORED}", remedy)
        for name in secret_parameters(self.url):
            yield Contradiction("url", f"{name} looks like a secret, {_STORED}", "send it in a header: " + remedy)
        for name in secret_fields(self.body):
            yield Contradiction(
                "body", f"{name} looks like a secret, {_STORED}", "use a Job that takes it from a Kubernetes Secret"
            )


Command = Annotated[tuple[Text, ...], Field(min_length=1, max_length=100)]
"""Program and arguments, run by the daemon without a shell."""


class Severity(StrEnum):
    """A `critical` failure decides about the upgrade; a `minor` one is reported."""

    CRITICAL = "critical"
    MINOR = "minor"


class Work(Part):
    """One thing to do: exactly one of `http`, `job` and `command`."""

    name: Line
    http: HttpRequest | None = None
    job: Job | None = None
    command: Command | None = None
    timeout: Duration = timedelta(seconds=60)
    retries: Annotated[Whole, Field(ge=0, le=20)] = 0
    pause: DurationOrZero = timedelta(seconds=5)
    """Between attempts."""

    def contradictions(self) -> Iterator[Contradiction]:
        """One way of doing it."""
        given = [key for key in ("http", "job", "command") if getattr(self, key) is not None]
        if len(given) != 1:
            seen = f"{' and '.join(given)} are given" if given else "nothing is to be done"
            kinds = ("http", "job", "command")
            yield Contradiction(given[-1] if given else "", seen, "exactly one of http, job and command", kinds)
        for name in secret_words(self.command or ()):
            remedy = "let a script read it from a file, or ask by http with a credential"
            yield Contradiction("command", f"{name} looks like a secret, {_STORED}", remedy)

    @property
    def longest(self) -> timedelta:
        """How long one attempt may take: a Job is ended at its own deadline."""
        return self.job.deadline if self.job is not None else self.timeout


class TestCase(Work):
    """One test through the allow-list."""

    __test__ = False

    severity: Severity = Severity.CRITICAL
    retries: Annotated[Whole, Field(ge=0, le=20)] = 2
