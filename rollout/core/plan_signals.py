"""Signals as a plan writes them, and their compilation: a preset's name, a preset with tuning, or PromQL of one's own.

For example `skywalking-traces`, or `{preset: apisix-5xx, limit: 5%, kOfN: 3 of 5}`, or
`{name: errors, promql: {events: 'sum by (pod) (errors_total{pod=~"{{pods}}"})', label: pod}}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue

from rollout.core.plan_base import Contradiction, Part
from rollout.core.plan_errors import unknown
from rollout.core.presets import PRESETS, Preset, implied
from rollout.core.quantities import (
    Duration,
    DurationOrZero,
    Flag,
    Label,
    Line,
    Number,
    Text,
    Whole,
    as_text,
    format_share,
    parse_duration,
    parse_share,
    seen,
    wrong,
)
from rollout.core.signals_compiled import JudgeKind, Signal, SignalKind
from rollout.core.target import Target

PROMETHEUS, SKYWALKING = "prometheus", "skywalking"
SHORTEST_WINDOW, LONGEST_WINDOW = timedelta(seconds=10), timedelta(hours=1)
LARGEST_N = 60
_K_OF_N = re.compile(r"(\d{1,3}) of (\d{1,3})")
_PLACEHOLDER = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
PLACEHOLDERS = ("pods", "namespace", "window")
KNOWN_PLACEHOLDERS = "known are " + ", ".join(f"{{{{{word}}}}}" for word in PLACEHOLDERS)


@dataclass(frozen=True, slots=True)
class KOfN:
    """`k` bad ones among the last `n`."""

    k: int
    n: int

    def __str__(self) -> str:
        return f"{self.k} of {self.n}"


def _parse_k_of_n(value: object) -> KOfN:
    if isinstance(value, KOfN):
        return value
    match = _K_OF_N.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise wrong(f"{seen(value)} was seen", "write for example 3 of 5")
    k, n = int(match[1]), int(match[2])
    if not 1 <= k <= n <= LARGEST_N:
        raise wrong(f"{seen(value)} cannot be", f"k of n with 1 <= k <= n <= {LARGEST_N}")
    return KOfN(k, n)


@dataclass(frozen=True, slots=True)
class Limit:
    """An absolute limit in the signal's unit, and how it was written."""

    value: float
    unit: str = ""

    def __str__(self) -> str:
        return format_share(self.value) if self.unit == "%" else f"{self.value:.10g}{self.unit}"


def _parse_limit(value: object) -> Limit:
    written = as_text(value)
    if isinstance(value, Limit):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return Limit(float(value))
    if isinstance(written, str) and written.endswith("%"):
        return Limit(parse_share(written), "%")
    if isinstance(written, str) and re.fullmatch(r"\d{1,9}ms", written):
        return Limit(float(written[:-2]), "ms")
    if isinstance(written, str) and re.fullmatch(r"[\dhms]+", written):
        return Limit(parse_duration(written).total_seconds() * 1000, "ms")
    raise wrong(f"{seen(value)} is not a limit", "a percentage (5%), a time (800ms, 2s) or a number that is not negative")


def _write_limit(limit: Limit) -> str | float:
    return str(limit) if limit.unit else limit.value


def _window(value: object) -> timedelta:
    span = parse_duration(value)
    if not SHORTEST_WINDOW <= span <= LONGEST_WINDOW:
        raise wrong(f"{seen(value)} is not a useful window", "from 10s to 1h, and at least four scrape intervals")
    if 3_600 % span.total_seconds():
        raise wrong(f"{seen(value)} does not divide an hour", "for example 30s, 60s, 2m or 5m: windows lie on a fixed grid")
    return span


KOfNText = Annotated[
    KOfN,
    BeforeValidator(_parse_k_of_n),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d+ of \d+$", "examples": ["3 of 5"]}),
]
LimitText = Annotated[
    Limit,
    BeforeValidator(_parse_limit),
    PlainSerializer(_write_limit),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}], "examples": ["5%", "800ms", 0.5]}),
]
WindowLength = Annotated[Duration, BeforeValidator(_window)]
Query = Annotated[str, BeforeValidator(as_text), Field(min_length=1, max_length=8_000)]


class PromQL(Part):
    """Counters (`events`, perhaps `requests`) or a `gauge`, as PromQL in which `{{pods}}` stands for the pods asked about.

    Counters are read at both ends of the window: write the bare counter, not `rate()` or `increase()`. `label` names the label
    of the answer that says which pod, `by` what stands there: its name, its IP, or IP:port.
    """

    events: Query | None = None
    requests: Query | None = None
    gauge: Query | None = None
    label: Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,99}$")] = "pod"
    by: Literal["name", "ip", "address"] = "name"

    def contradictions(self) -> Iterator[Contradiction]:
        """One kind of question, about these pods."""
        if (self.events is None) == (self.gauge is None):
            yield Contradiction(
                "", "either events or gauge is expected", "events counts what is bad; gauge measures each pod", ("events", "gauge")
            )
        if self.requests is not None and self.events is None:
            yield Contradiction("requests", "requests only go with events", also=("events",))
        for key in ("events", "requests", "gauge"):
            template = getattr(self, key)
            if template is None:
                continue
            found = [match[1] for match in _PLACEHOLDER.finditer(template)]
            if "pods" not in found:
                yield Contradiction(key, "{{pods}} is missing, so the answer would not be about these pods",
                                    'write for example {pod=~"{{pods}}"}')  # fmt: skip
            for word in found:
                if word not in PLACEHOLDERS:
                    yield Contradiction(key, f"{{{{{word[:40]}}}}} is not known", KNOWN_PLACEHOLDERS)


class BurstCap(Part):
    """How many events of one pod and window count at most: errors come in clumps, and a clump is one piece of evidence."""

    candidate: Annotated[Whole, Field(ge=1, le=1_000)] = 2
    baseline: Annotated[Whole, Field(ge=1, le=10_000)] = 20


class SignalSpec(Part):
    """One entry of `spec.signals`. Everything but the source has a default."""

    bare: ClassVar[str] = "preset"

    preset: Line | None = None
    name: Label | None = None
    promql: PromQL | None = None
    backend: Label | None = None
    limit: LimitText | None = None
    k_of_n: KOfNText = Field(default=KOfN(3, 5), alias="kOfN")
    window: WindowLength = timedelta(seconds=60)
    delay: DurationOrZero | None = None
    required: Flag = True
    dry_run: Flag = False
    r0: Annotated[Number, Field(ge=1, le=20)] | None = None
    alpha: Annotated[Number, Field(gt=0, le=0.2)] = 0.01
    tolerance: Annotated[Number, Field(ge=0, le=10)] = 0.2
    min_requests: Annotated[Whole, Field(ge=0, le=1_000_000)] = 1
    burst_cap: BurstCap = BurstCap()
    weight: Annotated[Number, Field(gt=0, le=100)] = 1.0
    parameters: dict[Line, Text] = Field(default={})

    @classmethod
    def bare_schema(cls) -> JsonSchemaValue:
        """A preset's name."""
        return {"type": "string", "enum": list(PRESETS)}

    def contradictions(self) -> Iterator[Contradiction]:
        """A source, and only settings that this source and its judge know."""
        if (self.preset is None) == (self.promql is None):
            yield Contradiction("", "either preset or promql is expected", f"presets: {', '.join(PRESETS)}", ("preset", "promql"))
            return
        if self.preset is not None and self.preset not in PRESETS:
            yield Contradiction("preset", f"{seen(self.preset)} is not a preset", unknown(self.preset, tuple(PRESETS)))
            return
        source = ("preset", "promql")
        if self.promql is not None and self.name is None:
            yield Contradiction("name", "a signal with promql needs a name", also=("promql",))
        if self.limit is not None and self._kind is SignalKind.ALARMS:
            yield Contradiction("limit", "alarms have no limit", "the rule that raises the alarm has it", source)
        if self.limit is not None and self.limit.unit == "ms" and self._kind is SignalKind.COUNTS:
            yield Contradiction("limit", f"{self.limit} is a time, this signal counts", "for example 5%", source)
        if self.promql is not None and self.limit is not None and self.limit.unit == "%" and self._counts_alone:
            yield Contradiction("limit", "a percentage of what? promql.requests is missing", "add promql.requests", source)
        if self._preset.backend == SKYWALKING and self.window % timedelta(minutes=1):
            yield Contradiction("window", "SkyWalking counts by the minute", "for example 60s or 2m", source)
        yield from self._unknown_parameters()

    def _unknown_parameters(self) -> Iterator[Contradiction]:
        known = PRESETS[self.preset].parameters if self.preset is not None else ()
        for key in self.parameters:
            if key not in known:
                yield Contradiction("parameters", f"unknown parameter {seen(key)}", unknown(key, known or ("none",)), ("preset",))

    @property
    def _counts_alone(self) -> bool:
        return self.promql is not None and self.promql.events is not None and self.promql.requests is None

    @property
    def _preset(self) -> Preset:
        if self.preset is not None:
            return PRESETS[self.preset]
        gauge = self.promql is not None and self.promql.gauge is not None
        kind, judge = (SignalKind.GAUGE, JudgeKind.RANK) if gauge else (SignalKind.COUNTS, JudgeKind.RATIO)
        return Preset(PROMETHEUS, "promql", kind, judge, timedelta(seconds=15), "PromQL", 1.5 if self._counts_alone else 1.0)

    @property
    def _kind(self) -> SignalKind:
        return self._preset.kind

    @property
    def source(self) -> str:
        """The backend that is asked; empty where the preset is not known."""
        known = self.preset is None or self.preset in PRESETS
        return self.backend or (self._preset.backend if known else "")

    @property
    def counts(self) -> bool:
        """Say whether the verdict counts for the rollout."""
        return self.required and not self.dry_run

    @property
    def label(self) -> str:
        """The name under which the signal is seen: its own, or the preset's."""
        return self.name or self.preset or ""

    def compile(self, target: Target) -> Signal:
        """Fill in every default."""
        preset = self._preset
        parameters = implied(preset, target) | self.parameters
        if self.promql is not None:
            parameters |= self.promql.model_dump(exclude_none=True)
        return Signal(
            name=self.label,
            backend=self.backend or preset.backend,
            ask=preset.ask,
            parameters=tuple(sorted(parameters.items())),
            kind=preset.kind,
            judge=JudgeKind.LIMIT if self.limit is not None else preset.judge,
            window=self.window,
            delay=preset.delay if self.delay is None else self.delay,
            required=self.required,
            dry_run=self.dry_run,
            limit=None if self.limit is None else self.limit.value,
            k=self.k_of_n.k,
            n=self.k_of_n.n,
            r0=preset.r0 if self.r0 is None else self.r0,
            alpha=self.alpha,
            tolerance=self.tolerance,
            min_requests=self.min_requests,
            burst_candidate=self.burst_cap.candidate,
            burst_baseline=self.burst_cap.baseline,
            weight=self.weight,
        )
