"""SkyWalking as a signal source: traces, calls, times, logs and alarms of the instances that are the pods asked about.

One poll makes three rounds, whatever the number of rollouts: who is alive, what they did, and further pages where a page was
full. Each round is as few documents as the server's complexity limit allows.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field

from rollout.adapters.http import Backend, BackendSettings, shorten
from rollout.adapters.remedies import remedy_for
from rollout.adapters.skywalking_answers import Server, Transport
from rollout.adapters.skywalking_asks import MOST_PAGES, SKEW_TOLD, Asked, Results, calls_of, further, prepare, reading_of, shown
from rollout.adapters.skywalking_graphql import HEALTH, Call, instances
from rollout.adapters.skywalking_match import parse_instances
from rollout.adapters.skywalking_time import MINUTE
from rollout.core.errors import Rejected, Unavailable
from rollout.core.quantities import Duration, DurationOrZero, Whole
from rollout.core.signals import Answer, Question, Reading, Unreachable
from rollout.core.wording import span
from rollout.ports import Check, Clock

ALIVE = timedelta(minutes=3)
"""An agent's heartbeat comes every 30 s: who was not seen for this long is not alive."""


class SkyWalkingSettings(BackendSettings):
    """An OAP server (`url` without `/graphql`).

    `settle`: how long after its end a minute is still being written. `alarm_memory`: for how long an alarm counts as firing,
    because OAP says once that it fired and, before 10.4, never that it ended. `complexity`: fields of one document, when the
    server's limit is not the default of its version.
    """

    type: Literal["skywalking"] = "skywalking"
    settle: DurationOrZero = timedelta(seconds=60)
    alarm_memory: Duration = timedelta(minutes=5)
    log_presence: Duration = timedelta(hours=1)
    complexity: Annotated[Whole, Field(ge=10, le=100_000)] | None = None


@dataclass(slots=True)
class _Memory:
    lock: threading.Lock = field(default_factory=threading.Lock)
    server: Server | None = None
    until: float = 0.0


class SkyWalkingSource:
    """Answers `error-traces`, `success-rate`, `response-time`, `error-logs` and `alarms`."""

    def __init__(self, name: str, settings: SkyWalkingSettings, clock: Clock) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._backend = Backend(name, settings, clock, url=settings.url)
        self._transport = Transport(name, self._backend)
        self._memory = _Memory()

    @property
    def name(self) -> str:
        """The backend's name in the daemon's configuration."""
        return self._name

    def close(self) -> None:
        """Give back connections."""
        self._backend.close()

    def read(self, questions: Sequence[Question]) -> Mapping[Question, Answer]:
        """Answer every question; when the server cannot be asked, all of them in the same words."""
        at = self._clock.now()
        try:
            server = self._server()
        except (Unavailable, Rejected) as failure:
            return {q: Answer(q, Unreachable(str(failure)), "(not asked)", at) for q in questions}
        prepared = {q: prepare(q, server, at, self._settings.settle) for q in questions}
        asked = [item for item in prepared.values() if isinstance(item, Asked)]
        results = Results()
        self._run(server, self._who_is_alive(server, asked, at), results)
        for item in asked:
            item.match(parse_instances(results.answers.get(("instances", item.service))))
        self._run(server, [call for item in asked for call in self._calls(item, server, at)], results)
        for page in range(2, MOST_PAGES + 1):
            more = [call for item in asked for call in further(item, server, results, page)]
            if not more:
                break
            self._run(server, more, results)
        answers = {}
        for question, ready in prepared.items():
            reading: Reading = reading_of(ready, results, self._name, at) if isinstance(ready, Asked) else ready
            query = shown(ready, server) if isinstance(ready, Asked) else "(not asked)"
            answers[question] = Answer(question, reading, query, at)
        return answers

    def _who_is_alive(self, server: Server, asked: Sequence[Asked], at: datetime) -> list[Call]:
        theirs = server.time.now(at)
        since: dict[str, datetime] = {}
        for item in asked:
            start = min(item.question.window.start, theirs - ALIVE)
            since[item.service] = min(since.get(item.service, start), start)
        return [
            instances(("instances", name), server.dialect, name, server.time.minutes(start, theirs + MINUTE))
            for name, start in since.items()
        ]

    def _calls(self, item: Asked, server: Server, at: datetime) -> list[Call]:
        return calls_of(item, server, at, alarm_memory=self._settings.alarm_memory, log_presence=self._settings.log_presence)

    def _run(self, server: Server, calls: Sequence[Call], results: Results) -> None:
        once: dict[Hashable, Call] = {call.key: call for call in calls}
        limit = self._settings.complexity or server.dialect.complexity
        if self._transport.run(once.values(), limit, results):
            with self._memory.lock:  # the schema is not what we think: perhaps another version answers now
                self._memory.server = None

    def _server(self) -> Server:
        """Tell version and clock; asked again every hour, because of DST, and after a document was not valid."""
        with self._memory.lock:
            if self._memory.server is not None and self._clock.monotonic() < self._memory.until:
                return self._memory.server
        server = self._transport.meet(self._clock.now())
        with self._memory.lock:
            self._memory.server = server
            self._memory.until = self._clock.monotonic() + timedelta(hours=1).total_seconds()
        return server

    def check(self) -> Sequence[Check]:
        """Tell for doctor: version, clock, health."""
        with self._memory.lock:
            self._memory.server = None
        try:
            server = self._server()
        except (Unavailable, Rejected) as failure:
            remedy = f"see that {self._backend.shown_url} is the OAP's REST port (12800) and can be reached from the daemon"
            return [Check(self._name, "refused", str(failure), remedy_for(failure, remedy))]
        words = f"SkyWalking {server.dialect.version}, time zone {_zone(server.time.offset)}"
        return [Check(self._name, "ok", words), self._clock_check(server), *self._health()]

    def _clock_check(self, server: Server) -> Check:
        skew = server.time.skew
        if abs(skew) <= SKEW_TOLD:
            return Check(f"{self._name} clock", "ok", f"its clock is within {span(SKEW_TOLD)} of ours")
        side = "ahead of" if skew > timedelta(0) else "behind"
        remedy = "synchronise the clocks (NTP); windows follow our clock, the finished minute follows its own"
        return Check(f"{self._name} clock", "warning", f"its clock is {span(abs(skew))} {side} ours", remedy)

    def _health(self) -> list[Check]:
        try:
            found = self._transport.ask(HEALTH).get("checkHealth")
        except (Unavailable, Rejected):
            return []  # before 10.3 the health checker is off by default, and the field answers an error
        match found:
            case {"score": int() as score, "details": details} if score != 0:
                words = "has not started yet" if score < 0 else f"reports unhealthy modules: {shorten(str(details))}"
                return [Check(f"{self._name} health", "warning", f"SkyWalking {words}", "see the OAP's log")]
            case {"score": 0}:
                return [Check(f"{self._name} health", "ok", "all modules are healthy")]
            case _:
                return []


def _zone(offset: timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"
