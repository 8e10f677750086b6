"""`rollout preview` of an offline plan: what is announced when, how long each step may take, and until when a way back fits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from rollout.cli.timetable import Entry, Timetable
from rollout.core.plan_offline import OfflinePlan, OnFailure
from rollout.core.quantities import format_duration
from rollout.core.wording import listed, plural
from rollout.engine.restores import MeasuredRestore


def offline_timetable(plan: OfflinePlan, now: datetime, measured: MeasuredRestore | None = None) -> Timetable:
    """Lay an offline plan out in time. Its beginning is fixed; `now` says which announcements come too late for their time.

    `measured`: the longest restore of an earlier rollout of the target, where the database knows one.
    """
    took = measured.took if measured is not None else None
    entries = tuple(Entry(at, what) for at, what in _entries(plan, now, took))
    return Timetable(plan.name, plan.spec.window.timezone, entries, tuple(_notes(plan, measured)))


def _entries(plan: OfflinePlan, now: datetime, earlier_restore: timedelta | None) -> Iterator[tuple[datetime, str]]:
    spec, window = plan.spec, plan.spec.window
    missed = [format_duration(offset) for offset, at in plan.announcements if at <= now]
    if missed and now < window.starts_at:
        yield now, f"announced once, for {listed(missed)} before, which {'is' if len(missed) == 1 else 'are'} over"
    for offset, at in plan.announcements:
        if at > now:
            yield at, f"announced, {format_duration(offset)} before"
    at = window.starts_at
    yield at, f"the gate is closed for all but {listed(spec.gate.config.allow)}, and proven"
    if spec.stop:
        yield at, f"stopped: {listed(map(str, plan.targets))} at 0" + (", no foreign session left" if spec.quiesce.sessions else "")
    words = {"backup": "the backup is made and verified", "migrate": "the migration runs"}
    for name, took in spec.time_there():
        if name in words:
            yield at, f"{words[name]} ({format_duration(took) if took else 'the plan does not say how long'})"
            at += took
    yield at, f"the new version starts, in at most {format_duration(spec.start_deadline)}: {_images(plan)}"
    yield at, f"{plural(len(spec.tests), 'test')} through the allow-list, at most {format_duration(spec.test_time)}"
    at += spec.test_time
    if spec.quiesce.undo:
        yield at, f"what was quiesced is undone: {listed(hook.name for hook in spec.quiesce.undo)}"
    yield at, f"the gate is opened as it was; watched for {format_duration(spec.watch)}"
    what = "asks; after it, it goes back by itself where nothing can be lost" if spec.on_failure is OnFailure.ASK else "goes back"
    yield plan.latest_rollback_start(earlier_restore), f"the last moment for a way back (until then a critical failure {what})"
    yield window.ends_at, "the window ends"


def _images(plan: OfflinePlan) -> str:
    return listed(f"{target.stable} {plan.image_of(target)}" for target in plan.targets)


def _notes(plan: OfflinePlan, measured: MeasuredRestore | None) -> Iterator[str]:
    spec = plan.spec
    if spec.impact.acknowledgement:
        yield "nothing is begun before a person has acknowledged the report (`rollout acknowledge`)"
    if not spec.gate.probes.outside:
        yield "gate: no probe from outside; that it is closed stays unproven, as the plan accepts"
    yield f"started later than {format_duration(spec.window.start_grace)} after its time, it is cancelled and announced"
    took = measured.took if measured is not None else None
    back = " + ".join(f"{name} {format_duration(span)}" for name, span in spec.time_back(took) if span)
    yield f"a way back takes {back or 'no time that the plan names'}"
    if measured is not None and spec.restore is not None:
        planned = f"the plan says {format_duration(spec.restore.takes)}" if spec.restore.takes else "the plan does not say"
        counts = "the longer of the two counts" if spec.restore.takes else "that counts"
        yield f"restore: {format_duration(measured.took)} was measured in rollout {measured.rollout}, {planned}; {counts}"
