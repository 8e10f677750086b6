"""What `doctor`, `signals test` and `notify test` ask, so that the command line only prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from rollout.core.history import Notice, NoticeKind
from rollout.core.observation import Line
from rollout.ports import Check, Message, RolloutError, Store

LOOK = timedelta(seconds=10)


@runtime_checkable
class Checkable(Protocol):
    """Whatever can say how it is."""

    def check(self) -> Sequence[Check]:
        """Tell: reachable, which version, clock skew."""
        ...


def check_up(store: Store, others: Mapping[str, object]) -> Iterator[Line]:
    """Ask the database, and everything else that can say how it is, by the name under which to show it."""
    try:
        store.ping()
    except RolloutError as error:
        yield Line("database", "refused", str(error), "see the database's own log")
    else:
        yield Line("database", "ok", "reads and writes")
    for name, other in others.items():
        try:
            checks = other.check() if isinstance(other, Checkable) else ()
        except RolloutError as error:
            yield Line(name, "refused", str(error), "is its address right, and does it run?")
            continue
        for check in checks:
            yield Line(f"{name}: {check.name}", check.level, check.message, check.remedy)


def test_message(now: datetime) -> Message:
    """Make the notice that `notify test` sends."""
    why = "Somebody ran `rollout notify test`; nothing is upgraded."
    evidence = ("If you can read this, this channel works.",)
    notice = Notice("0000-test", NoticeKind.STEP, "rollout: test notice", why, now, evidence, "Nothing to do.")
    return Message(notice, "test", "test", "none", "none", "none", "none")
