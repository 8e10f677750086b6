"""What `doctor`, `signals test` and `notify test` ask, so that the command line only prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from rollout.core.history import Notice, NoticeKind
from rollout.core.observation import Line
from rollout.core.wording import plural
from rollout.ports import Check, Message, RolloutError, Store
from rollout.ports_standing import Standing

LOOK = timedelta(seconds=10)


@runtime_checkable
class Checkable(Protocol):
    """Whatever can say how it is."""

    def check(self) -> Sequence[Check]:
        """Tell: reachable, which version, clock skew."""
        ...


def check_up(store: Store | None, others: Mapping[str, object]) -> Iterator[Line]:
    """Ask the database where it is there, and everything else that can say how it is, by the name under which to show it."""
    if store is not None:
        yield from _database(store)
    for name, other in others.items():
        try:
            checks = other.check() if isinstance(other, Checkable) else ()
        except RolloutError as error:
            yield Line(name, "refused", str(error), "is its address right, and does it run?")
            continue
        for check in checks:
            yield Line(_label(name, check.name), check.level, _words(name, check.message), check.remedy)


def _database(store: Store) -> Iterator[Line]:
    try:
        store.ping()
    except RolloutError as error:
        yield Line("database", "refused", str(error), "see the database's own log")
    else:
        yield Line("database", "ok", "reads and writes")
        yield from _standing(store.standing())


def _words(name: str, message: str) -> str:
    """Leave out the name where it is said already: `backend prometheus` and `prometheus: HTTP 500`."""
    return message.removeprefix(f"{name}: ").removeprefix(f"{name.split(' ', 1)[-1]}: ")


def _label(name: str, check: str) -> str:
    """Name a check once: `backend prometheus` and `prometheus clock` are `backend prometheus: clock`."""
    rest = check.removeprefix(name).removeprefix(name.split(" ", 1)[-1]).strip(" :")
    return f"{name}: {rest}" if rest else name


def _standing(standing: Standing) -> Iterator[Line]:
    """Say whether a daemon runs on this database, and whether notices were given up."""
    if standing.daemons:
        yield Line("daemon", "ok", f"{plural(len(standing.daemons), 'daemon')} on this database: {', '.join(standing.daemons)}")
    else:
        yield Line("daemon", "warning", "no daemon runs on this database: what is submitted waits", "start one: `rollout serve`")
    dead = sum(standing.dead.values())
    if dead:
        where = ", ".join(sorted(standing.dead)[:5])
        remedy = "`rollout notify test` tries the channels; `rollout history --notices ROLLOUT` says what was lost"
        yield Line("notices", "warning", f"{plural(dead, 'notice')} never arrived, of {where}", remedy)


def test_message(now: datetime) -> Message:
    """Make the notice that `notify test` sends."""
    why = "Somebody ran `rollout notify test`; nothing is upgraded."
    evidence = ("If you can read this, this channel works.",)
    notice = Notice("0000-test", NoticeKind.STEP, "rollout: test notice", why, now, evidence, "Nothing to do.")
    return Message(notice, "test", "test", "none", "none", "none", "none")
